"""Which layer reads whose keys and values: the map, its nine names, and what has to be iterated.

A map is `targets`, one entry per layer: layer i attends to the K and V that layer targets[i] computes (Wu et al. 2024,
"A Systematic Study of Cross-Layer KV Sharing", arXiv 2410.14442). targets[i] > i looks upward: such a layer sees strictly
earlier tokens only, because its target has not been computed for the present token yet.
"""
import re
from collections import namedtuple

from . import RecipeError

PARTITIONS = ("pizza", "sandwich", "lasagna")
POSITIONS = ("bottom", "middle", "top")

Run = namedtuple("Run", "first last iterated")       # layers first..last, once, or until their K and V settle


def named(name, layers):
    """`standard`, or `sandwich-top:4` = partition - position : number of KV layers."""
    if name == "standard":
        return list(range(layers))
    match = re.fullmatch(f"({'|'.join(PARTITIONS)})-({'|'.join(POSITIONS)}):(\\d+)", name)
    partition, position, owners = match.groups() if match else ("", "", 0)
    owners = int(owners)
    if not 1 <= owners <= layers:
        raise RecipeError(f"{name!r} is neither `standard` nor PARTITION-POSITION:KV_LAYERS for {layers} layers; partitions are "
                          f"{', '.join(PARTITIONS)}, positions {', '.join(POSITIONS)}")
    if partition == "lasagna":
        return lasagna(position, owners, layers)
    above = (owners - 1) // 2 if partition == "sandwich" else 0
    low, high = owners - 1 - above, layers - 1 - above
    return [target(position, low, high) if low <= layer <= high else layer for layer in range(layers)]


def lasagna(position, owners, layers):
    targets = []
    for group in range(owners):                       # the first `layers % owners` groups have one layer more
        size = layers // owners + (group < layers % owners)
        first = len(targets)
        targets += [target(position, first, first + size - 1)] * size
    return targets


def target(position, low, high):
    return {"bottom": low, "middle": (low + high) // 2, "top": high}[position]


def parse(text):
    return [int(entry) for entry in text.split("_")]


def owners(targets):
    return sorted(set(targets))


def plan(targets):
    """Runs in order. A run is iterated if a layer in it looks upward; all others are computed once."""
    runs, layer = [], 0
    while layer < len(targets):
        last = layer
        if targets[layer] > layer:
            last = targets[layer]
            while last < max(targets[layer:last + 1]):
                last = max(targets[layer:last + 1])
        runs.append(Run(layer, last, targets[layer] > layer))
        layer = last + 1
    return runs
