"""study.svg: held-out perplexity against KV bytes per token, both as small as possible at the lower left."""

COLOURS = {"standard": "#444444", "pizza": "#c0392b", "sandwich": "#2471a3", "lasagna": "#1e8449"}
MARKS = {"bottom": "v", "middle": "o", "top": "^"}
WIDTH, HEIGHT, LEFT, RIGHT, ABOVE, BELOW = 760, 440, 70, 250, 30, 60


def draw(results):
    """results: [{name, kv_bytes_per_token, perplexity}], one per configuration."""
    largest = max(result["kv_bytes_per_token"] for result in results)
    values = [result["perplexity"] for result in results]
    span = max(max(values) - min(values), 1.0)
    low, high = min(values) - 0.1 * span, max(values) + 0.1 * span

    def across(size):
        return LEFT + (WIDTH - LEFT - RIGHT) * size / (1.08 * largest)

    def up(value):
        return HEIGHT - BELOW - (HEIGHT - ABOVE - BELOW) * (value - low) / (high - low)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for size in sorted({result["kv_bytes_per_token"] for result in results}):
        parts.append(line(across(size), ABOVE, across(size), HEIGHT - BELOW, "#e5e5e5"))
        parts.append(text(across(size), HEIGHT - BELOW + 18, f"{size:,}", "middle"))
    step = next(step for step in (0.5, 1, 2, 5, 10, 20, 50, 100) if (high - low) / step <= 9)
    tick = step * -(-low // step)
    while tick <= high:
        parts.append(line(LEFT, up(tick), WIDTH - RIGHT, up(tick), "#e5e5e5"))
        parts.append(text(LEFT - 8, up(tick) + 4, f"{tick:g}", "end"))
        tick += step
    parts += [line(LEFT, HEIGHT - BELOW, WIDTH - RIGHT, HEIGHT - BELOW, "black"), line(LEFT, ABOVE, LEFT, HEIGHT - BELOW, "black"),
              text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 18, "KV bytes per token (bf16)", "middle"),
              text(LEFT, ABOVE - 10, "held-out perplexity", "middle")]
    names = sorted(results, key=lambda result: result["perplexity"], reverse=True)
    for place, result in enumerate(names):
        x, y = across(result["kv_bytes_per_token"]), up(result["perplexity"])
        beside = ABOVE + 8 + place * (HEIGHT - ABOVE - BELOW) / max(len(names) - 1, 1)
        parts.append(line(x + 6, y, WIDTH - RIGHT + 14, beside, "#dddddd"))
        parts.append(mark(result["name"], x, y))
        parts.append(mark(result["name"], WIDTH - RIGHT + 22, beside))
        parts.append(text(WIDTH - RIGHT + 34, beside + 4, f'{result["name"]}  {result["perplexity"]:.1f}', "start"))
    return "\n".join(parts + ["</svg>", ""])


def line(x, y, to_x, to_y, colour):
    return f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{to_x:.1f}" y2="{to_y:.1f}" stroke="{colour}"/>'


def text(x, y, words, anchor):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{words}</text>'


def mark(name, x, y):
    """Colour = partition; a triangle down, a disc, a triangle up = bottom, middle, top."""
    partition, position = (name.split(":")[0].split("-") + ["middle"])[:2]
    colour = COLOURS[partition]
    if MARKS[position] == "o":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="5" fill="{colour}"/>'
    tip = 6 if MARKS[position] == "v" else -6
    return f'<path d="M{x - 6:.1f} {y - tip * 0.7:.1f}h12l-6 {tip * 1.7:.1f}z" fill="{colour}"/>'
