"""Byte-level byte-pair encoding (Sennrich et al. 2016; the byte alphabet and word pattern of GPT-2).

Writes `tokenizer.json` in the Hugging Face form: ByteLevel pre-tokenizer with its built-in pattern, BPE, ByteLevel decoder.
Ids: the special token, then the 256 bytes, then one token per merge.
"""
import json
import re
from collections import Counter, defaultdict

END_OF_TEXT = "<|endoftext|>"

# GPT-2's pattern, '(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+, in the words of Python's re.
WORD = re.compile(r"'(?:[sdmt]|ll|ve|re)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")


def byte_alphabet():
    """byte -> printable character: the byte itself where it prints, else the next character from U+0100 on."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    alphabet = {byte: chr(byte) for byte in printable}
    for byte in range(256):
        if byte not in alphabet:
            alphabet[byte] = chr(256 + len(alphabet) - len(printable))
    return [alphabet[byte] for byte in range(256)]


ALPHABET = byte_alphabet()


def train(documents, vocabulary_size):
    """The merges, most frequent pair first; ties go to the pair that sorts first, so the result has one answer."""
    words = Counter(word for document in documents for word in WORD.findall(document))
    symbols = [[ALPHABET[byte] for byte in word.encode()] for word in words]
    counts = list(words.values())
    pairs, places = Counter(), defaultdict(set)
    for index, word in enumerate(symbols):
        for pair in zip(word, word[1:]):
            pairs[pair] += counts[index]
            places[pair].add(index)
    merges = []
    while len(merges) < vocabulary_size - 256 - 1:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for index in places.pop(best):
            word = symbols[index]
            for pair in zip(word, word[1:]):
                pairs[pair] -= counts[index]
            word = symbols[index] = merge(word, best)
            for pair in zip(word, word[1:]):
                pairs[pair] += counts[index]
                places[pair].add(index)
        del pairs[best]
    return merges


def merge(word, pair):
    merged, at = [], 0
    while at < len(word):
        if at + 1 < len(word) and word[at] == pair[0] and word[at + 1] == pair[1]:
            merged.append(pair[0] + pair[1])
            at += 2
        else:
            merged.append(word[at])
            at += 1
    return merged


class Tokenizer:
    def __init__(self, merges):
        self.merges = [tuple(pair) for pair in merges]
        self.rank = {pair: rank for rank, pair in enumerate(self.merges)}
        tokens = [END_OF_TEXT, *ALPHABET, *(left + right for left, right in self.merges)]
        self.ids = {token: number for number, token in enumerate(tokens)}
        if len(self.ids) != len(tokens):
            raise ValueError("tokenizer: two merges spell the same token")
        byte_of = {character: byte for byte, character in enumerate(ALPHABET)}
        self.bytes = [b"", *(bytes(byte_of[character] for character in token) for token in tokens[1:])]
        self.known_words = {}

    @property
    def end_of_text(self):
        return 0

    def __len__(self):
        return len(self.bytes)

    def encode(self, text):
        ids = []
        for word in WORD.findall(text):
            if word not in self.known_words:
                self.known_words[word] = self.encode_word(word)
            ids.extend(self.known_words[word])
        return ids

    def encode_word(self, word):
        symbols = [ALPHABET[byte] for byte in word.encode()]
        while len(symbols) > 1:
            pair = min(zip(symbols, symbols[1:]), key=lambda pair: self.rank.get(pair, len(self.rank)))
            if pair not in self.rank:
                break
            symbols = merge(symbols, pair)
        return [self.ids[symbol] for symbol in symbols]

    def decode(self, ids):
        return b"".join(self.bytes[number] for number in ids).decode(errors="replace")

    def save(self, folder):
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
        special = {"id": 0, "content": END_OF_TEXT, "single_word": False, "lstrip": False, "rstrip": False,
                   "normalized": False, "special": True}
        model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                 "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                 "vocab": self.ids, "merges": [f"{left} {right}" for left, right in self.merges]}
        write_json(folder / "tokenizer.json", {
            "version": "1.0", "truncation": None, "padding": None, "added_tokens": [special], "normalizer": None,
            "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level, "model": model}, indent=0)
        write_json(folder / "tokenizer_config.json", {
            "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": END_OF_TEXT, "eos_token": END_OF_TEXT,
            "add_bos_token": False, "clean_up_tokenization_spaces": False, "model_max_length": 256,
            "added_tokens_decoder": {"0": {key: special[key] for key in special if key != "id"}}})

    @staticmethod
    def load(folder):
        merges = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]["merges"]
        return Tokenizer(pair.split(" ") for pair in merges)


def write_json(path, value, indent=2):
    path.write_text(json.dumps(value, indent=indent, ensure_ascii=False) + "\n", encoding="utf-8")
