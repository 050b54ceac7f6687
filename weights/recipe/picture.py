"""study.svg: held-out perplexity against KV bytes per token, both as small as possible at the lower left."""
import math

COLOURS = {"standard": "#444444", "pizza": "#c0392b", "sandwich": "#2471a3", "lasagna": "#1e8449"}
POSITIONS = ("bottom", "middle", "top")
WIDTH, HEIGHT, LEFT, RIGHT, ABOVE, BELOW = 760, 460, 60, 170, 34, 84
COLUMNS, BESIDE = 164, 12            # all partitions of one size together; from one position to the next


def draw(groups, same_map):
    """groups: [(name, runs)]; a run has kv_bytes_per_token and perplexity. A mark is the mean, a bar spans a map's seeds.
    same_map: {name: other names of the same map}."""
    sizes = sorted({runs[0]["kv_bytes_per_token"] for _, runs in groups})
    values = [run["perplexity"] for _, runs in groups for run in runs]
    margin = 0.06 * max(max(values) - min(values), 1.0)
    low, high = min(values) - margin, max(values) + margin
    left, right = math.log2(sizes[0]) - 0.6, math.log2(sizes[-1]) + 0.4

    def across(size):
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log2(size) - left) / (right - left)

    def up(value):
        return HEIGHT - BELOW - (HEIGHT - ABOVE - BELOW) * (value - low) / (high - low)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    step = next((step for step in (0.5, 1, 2, 5, 10, 20, 50) if (high - low) / step <= 9), 100)
    for tick in range(math.ceil(low / step), math.floor(high / step) + 1):
        parts.append(line(LEFT, up(tick * step), WIDTH - RIGHT, up(tick * step), "#e5e5e5"))
        parts.append(text(LEFT - 8, up(tick * step) + 4, f"{tick * step:g}", "end"))
    floor = HEIGHT - BELOW
    parts += [line(LEFT, floor, WIDTH - RIGHT, floor, "black"), line(LEFT, ABOVE, LEFT, floor, "black"),
              text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 10, "KV bytes per token (bf16; each step doubles)", "middle"),
              text(LEFT - 40, ABOVE - 14, "held-out perplexity", "start")]
    standard = [run["perplexity"] for name, runs in groups if name == "standard" for run in runs]
    if standard:
        level = up(sum(standard) / len(standard))
        parts.append(line(LEFT, level, WIDTH - RIGHT, level, "#aaaaaa", dashed=True))
        parts.append(text(WIDTH - RIGHT + 8, level + 4, "standard", "start", COLOURS["standard"]))
    for size in sizes:
        here = [(name, runs) for name, runs in groups if runs[0]["kv_bytes_per_token"] == size]
        parts.append(text(across(size), floor + 42, f"{size:,}", "middle", weight="bold"))
        partitions = list(dict.fromkeys(partition(name) for name, _ in here))
        for place, kind in enumerate(partitions):
            middle = across(size) + (place - (len(partitions) - 1) / 2) * COLUMNS / len(partitions)
            others = {partition(other) for name, _ in here if partition(name) == kind for other in same_map.get(name, [])}
            parts.append(text(middle, floor + 20, " = ".join([kind, *sorted(others - {kind})]), "middle", COLOURS[kind]))
            for name, runs in here:
                if partition(name) == kind:
                    seeds = [run["perplexity"] for run in runs]
                    x, y = middle + BESIDE * (POSITIONS.index(position(name)) - 1), up(sum(seeds) / len(seeds))
                    parts.append(line(x, up(min(seeds)), x, up(max(seeds)), COLOURS[kind]))
                    parts.append(mark(position(name), x, y, COLOURS[kind]))
    for place, words in enumerate(POSITIONS):
        y = floor - 66 + 22 * place
        parts.append(mark(words, WIDTH - RIGHT + 24, y, "#777777"))
        parts.append(text(WIDTH - RIGHT + 38, y + 4, f"target: {words}", "start"))
    return "\n".join(parts + ["</svg>", ""])


def partition(name):
    return name.split(":")[0].split("-")[0]


def position(name):
    return "middle" if name == "standard" else name.split(":")[0].split("-")[1]


def line(x, y, to_x, to_y, colour, dashed=False):
    dashes = ' stroke-dasharray="5 4"' if dashed else ""
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}"{dashes}/>'


def text(x, y, words, anchor, colour="black", weight="normal"):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-weight="{weight}">{words}</text>'


def mark(position, x, y, colour):
    """A triangle down, a disc, a triangle up: the target is the bottom, middle, top layer of its block."""
    if position == "middle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
    tip = 6 if position == "bottom" else -6
    return f'<path d="M{x - 6:.1f} {y - tip * 0.7:.1f}h12l-6 {tip * 1.7:.1f}z" fill="{colour}"/>'
