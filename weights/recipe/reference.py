"""expected.json of a model folder: what an engine that computes in f32 over the folder's bf16 weights should answer.

Greedy continuations and last logits of a few prompts, the perplexity of a fixed held-out text, and how many passes the first
32 tokens of its windows take with keys and values in bf16. Converged prefill is to answer as sequential does.
"""
import torch

from . import evaluate, huggingface
from .tokenizer import Tokenizer, write_json

PROMPTS = ["Call me", "In the beginning", "And it came to pass", "The whale", "The LORD is my shepherd; I shall not", "Now Ahab"]
GREEDY_TOKENS = 32


@torch.no_grad()
def greedy(model, prompt):
    """({logits_last, greedy, min_top2_gap}) with the definition itself, token by token; does not stop at the end of text."""
    cache, ids, gap = {}, [], float("inf")
    logits = first = model.sequential(torch.tensor([prompt]), cache)[0, -1]
    while True:
        top = logits.topk(2).values
        gap = min(gap, (top[0] - top[1]).item())
        ids.append(int(logits.argmax()))
        if len(ids) == GREEDY_TOKENS:
            break
        logits = model.sequential(torch.tensor([ids[-1:]]), cache)[0, -1]
    return {"logits_last": [float(f"{value:.6g}") for value in first.tolist()], "greedy": ids, "min_top2_gap": round(gap, 6)}


@torch.no_grad()
def sample(model, prompt, count, temperature, seed):
    generator, cache = torch.Generator().manual_seed(seed), {}
    ids, fed = list(prompt), list(prompt)
    for _ in range(count):
        logits = model.sequential(torch.tensor([fed]), cache)[0, -1]
        fed = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator).tolist()
        ids += fed
    return ids


def write(folder, held_out):
    """held_out: ids (windows, context + 1); the first `context` of a window are the prompt, each next id is judged."""
    model, tokenizer = huggingface.load_model(folder), Tokenizer.load(folder)
    results = []
    for text in PROMPTS:
        prompt = tokenizer.encode(text)
        answer = greedy(model, prompt)
        results.append({"text": text, "prompt": prompt, **answer, "continuation": tokenizer.decode(answer["greedy"])})
    inputs, following = held_out[:, :-1], held_out[:, 1:]
    write_json(folder / "expected.json", {
        "computed": "PyTorch, f32 arithmetic and f32 keys and values over the bf16 weights",
        "results": results,
        "perplexity": {"windows": "../held-out.json",
                       "sequential": evaluate.perplexity(model.sequential, inputs, following),
                       "iterative:7+2": evaluate.perplexity(model.iterative, inputs, following)},
        "passes": {"32 tokens, bf16": evaluate.passes(model, inputs, 32, torch.bfloat16)}}, indent=None)
