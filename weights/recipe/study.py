"""The study in small: one shape, one corpus, one token budget, one seed; only the sharing map differs."""
import fcntl
import json

import torch

from . import evaluate, huggingface, sharing, train
from .model import ModelConfig
from .tokenizer import write_json

KV_LAYERS = (4, 2)                   # a half and a quarter of the 8 layers
TOKENS = 400_000


def names(layers=ModelConfig.num_hidden_layers):
    """Every distinct map once, under its first name, the half before the quarter; with the other names of the same map."""
    found = {}
    for name in ["standard"] + [f"{partition}-{position}:{count}" for count in KV_LAYERS
                                for partition in sharing.PARTITIONS for position in sharing.POSITIONS]:
        found.setdefault(tuple(sharing.named(name, layers)), []).append(name)
    return {same[0]: same[1:] for same in found.values()}


def file_name(name):
    return name.replace(":", "-")


def run(name, corpus, folder, tokens=TOKENS, seed=1):
    """Trains, exports and measures one configuration; returns its results, or None while another process is at it."""
    folder.mkdir(parents=True, exist_ok=True)
    results = folder / f"{file_name(name)}.json"
    with open(folder / f"{file_name(name)}.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return None
        if not results.exists():
            config = ModelConfig(targets=sharing.named(name, ModelConfig.num_hidden_layers))
            settings = train.Settings(model=config, tokens=tokens, seed=seed)
            model, seconds = train.train(corpus.training, settings, folder / f"{file_name(name)}.pt")
            huggingface.save_model(folder / file_name(name), model, corpus.tokenizer)
            write_json(results, {"name": name, "tokens": settings.steps * settings.batch * settings.context, "seed": seed,
                                 "training_seconds": round(seconds), **measure(folder / file_name(name), corpus)})
        return json.loads(results.read_text())


def measure(folder, corpus):
    """Of the exported folder, so of its bf16 weights."""
    model = huggingface.load_model(folder)
    config = model.config
    inputs, following = evaluate.windows(corpus.held_out, config.max_position_embeddings)
    some = corpus.some_windows(config.max_position_embeddings)[:, :-1]
    passes = {kv: [model.converged(ids[None], dtype)[1] for ids in some]
              for kv, dtype in (("f32", None), ("bf16", torch.bfloat16))}
    return {
        "layer_types": "_".join(map(str, config.targets)), "kv_layers": len(sharing.owners(config.targets)),
        "kv_bytes_per_token": config.kv_bytes_per_token(), "parameters": sum(one.numel() for one in model.parameters()),
        "perplexity": evaluate.perplexity(lambda ids: model.converged(ids)[0], inputs, following),
        "perplexity_iterative_7_2": evaluate.perplexity(model.iterative, inputs, following),
        "passes_f32": {"mean": sum(passes["f32"]) / len(some), "most": max(passes["f32"])},
        "passes_bf16": {"mean": sum(passes["bf16"]) / len(some), "most": max(passes["bf16"])}}


def results(folder):
    files = [folder / f"{file_name(name)}.json" for name in names()]
    return [json.loads(file.read_text()) for file in files if file.exists()]


def table(results):
    same_map = names()
    lines = ["| configuration | KV layers | KV bytes per token | parameters | held-out perplexity | training time | passes to convergence, bf16 KV (f32 KV) |",
             "|---|---:|---:|---:|---:|---:|---:|"]
    for result in results:
        also = "".join(f", {other}" for other in same_map[result["name"]])
        passes = f"{result['passes_bf16']['mean']:.1f} ({result['passes_f32']['mean']:.1f})"
        lines.append(f"| {result['name']}{also} | {result['kv_layers']} | {result['kv_bytes_per_token']:,} | {result['parameters']:,} "
                     f"| {result['perplexity']:.2f} | {result['training_seconds']} s | {'1' if passes.startswith('1.0 ') else passes} |")
    return "\n".join(lines)
