"""The study in small: one shape, one corpus, one token budget, one set of seeds; only the sharing map differs."""
import fcntl
import json

import torch

from . import RecipeError, evaluate, huggingface, machine, sharing, train
from .model import ModelConfig
from .tokenizer import write_json

KV_LAYERS = (4, 2)                   # a half and a quarter of the 8 layers
TOKENS = 500_000


def names(layers=ModelConfig.num_hidden_layers):
    """Every distinct map once, under its first name, the half before the quarter; with the other names of the same map."""
    found = {}
    for name in ["standard"] + [f"{partition}-{position}:{count}" for count in KV_LAYERS
                                for partition in sharing.PARTITIONS for position in sharing.POSITIONS]:
        found.setdefault(tuple(sharing.named(name, layers)), []).append(name)
    return {same[0]: same[1:] for same in found.values()}


def first_name(name):
    """The name that the map called `name` has in names(); `name` itself for other numbers of KV layers."""
    targets = sharing.named(name, ModelConfig.num_hidden_layers)
    return next((first for first in names() if sharing.named(first, len(targets)) == targets), name)


def file_name(name):
    return name.replace(":", "-")


def folder(work, seed):
    return work / "study" / f"seed-{seed}"


def run(name, corpus, folder, tokens=TOKENS, seed=1):
    """Trains, exports and measures one configuration; returns its results, or None while another process is at it."""
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / f"{file_name(name)}.json"
    with open(folder / f"{file_name(name)}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        config = ModelConfig(targets=sharing.named(name, ModelConfig.num_hidden_layers))
        settings = train.Settings(model=config, tokens=tokens, seed=seed)
        trained_on = settings.steps * settings.batch * settings.context
        if not results.exists():
            model, seconds = train.train(corpus.training, settings, folder / f"{file_name(name)}.pt")
            huggingface.save_model(folder / file_name(name), model, corpus.tokenizer)
            print(f"{file_name(name)}: trained; now measured", flush=True)
            write_json(results, {"name": name, "tokens": trained_on, "seed": seed, "machine": machine.processor("model name"),
                                 "training_seconds": round(seconds),
                                 "processor_seconds_per_step": round(train.seconds_per_step(corpus.training, settings), 3),
                                 **measure(folder / file_name(name), corpus)})
        result = json.loads(results.read_text())
        if result["tokens"] != trained_on:
            raise RecipeError(f"{results} is of {result['tokens']:,} tokens, not {trained_on:,}; remove it to train anew")
        return result


def measure(folder, corpus):
    """Of the exported folder, so of its bf16 weights. Every second held-out window; for passes, prompts of 32 and 256 tokens."""
    model = huggingface.load_model(folder)
    config = model.config
    inputs, following = (ids[::2] for ids in evaluate.windows(corpus.held_out, config.max_position_embeddings))
    prompts = corpus.some_windows(config.max_position_embeddings)[:, :-1]
    return {
        "layer_types": "_".join(map(str, config.targets)), "kv_layers": len(sharing.owners(config.targets)),
        "kv_bytes_per_token": config.kv_bytes_per_token(), "parameters": sum(one.numel() for one in model.parameters()),
        "perplexity": evaluate.perplexity(lambda ids: model.converged(ids, tolerance=1e-3)[0], inputs, following),
        "passes": {f"{tokens} tokens, {kind}": evaluate.passes(model, prompts, tokens, kv_dtype)
                   for tokens, kind, kv_dtype in ((32, "bf16", torch.bfloat16), (32, "f32", None), (256, "bf16", torch.bfloat16))}}


def results(work):
    """Every measured run, in the order of names(), other names behind, then by seed."""
    found = [json.loads(file.read_text()) for file in (work / "study").glob("seed-*/*.json")]
    order = list(names())
    return sorted(found, key=lambda run: (order.index(run["name"]) if run["name"] in order else len(order), run["name"], run["seed"]))


def by_name(results):
    """[(name, its runs)], in order."""
    groups = {}
    for result in results:
        groups.setdefault(result["name"], []).append(result)
    return list(groups.items())


def mean_perplexity(runs):
    return sum(run["perplexity"] for run in runs) / len(runs)


def spread(results):
    """(standard deviation of a run's perplexity about the mean of its map, pooled; runs beyond the first it rests on)."""
    squares, freedom = 0.0, 0
    for _, runs in by_name(results):
        squares += sum((run["perplexity"] - mean_perplexity(runs)) ** 2 for run in runs)
        freedom += len(runs) - 1
    return (squares / freedom) ** 0.5 if freedom else float("nan"), freedom


def table(results):
    lines = ["| configuration | `layer_types` | KV layers | KV bytes per token | held-out perplexity "
             "| training, processor time (of standard's) | passes, 32 tokens, bf16 | 32, f32 | 256, bf16 |",
             "|---|---|---:|---:|---:|---:|---:|---:|---:|"]
    standard = next((run for run in results if run["name"] == "standard"), results[0])
    same_map = names()
    for name, runs in by_name(results):
        first = runs[0]
        elsewhere = "" if first["machine"] == standard["machine"] else " \\*"
        seeds = f" ({', '.join(format(run['perplexity'], '.2f') for run in runs)})" if len(runs) > 1 else ""
        passes = ["1"] * 3 if looks_only_down(first) else [f"{one['mean']:g} (most {one['most']})" for one in first["passes"].values()]
        lines.append(f"| {' = '.join([name, *same_map.get(name, [])])}{elsewhere} | `{first['layer_types']}` | {first['kv_layers']} "
                     f"| {first['kv_bytes_per_token']:,} | {mean_perplexity(runs):.2f}{seeds} "
                     f"| {training_seconds(first):.0f} s ({training_seconds(first) / training_seconds(standard):.1f}) | {' | '.join(passes)} |")
    machines = {run["machine"] for run in results} - {standard["machine"]}
    if machines:
        lines.append(f"\n\\* trained and timed on {', '.join(sorted(machines))}; the others on {standard['machine']}.")
    deviation, freedom = spread(results)
    if freedom:
        lines.append(f"\nStandard deviation between seeds of one map: {deviation:.2f} ({freedom} degrees of freedom).")
    return "\n".join(lines)


def training_seconds(result):
    """Of processor time, all steps; `training_seconds` is by the clock, and what else the machine did is in it."""
    settings = train.Settings()
    return result["processor_seconds_per_step"] * result["tokens"] / (settings.batch * settings.context)


def looks_only_down(result):
    return not any(run.iterated for run in sharing.plan(sharing.parse(result["layer_types"])))
