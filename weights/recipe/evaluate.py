"""Perplexity on held-out text, exp of the mean cross-entropy of every next token, windows of one context each; and how many
passes a prompt takes."""
import math

import torch
from torch.nn import functional


def windows(stream, context, most=None):
    """(inputs, next tokens), both (windows, context): the stream in order, each window on its own."""
    count = (len(stream) - 1) // context if most is None else min(most, (len(stream) - 1) // context)
    stream = stream[:count * context + 1].long()
    return stream[:-1].view(count, context), stream[1:].view(count, context)


@torch.no_grad()
def perplexity(logits_of, inputs, following, together=16):
    """exp(mean cross-entropy); logits_of maps ids (batch, tokens) to logits (batch, tokens, vocabulary)."""
    total = 0.0
    for ids, targets in zip(inputs.split(together), following.split(together)):
        total += functional.cross_entropy(logits_of(ids).flatten(0, 1), targets.flatten(), reduction="sum").item()
    return math.exp(total / following.numel())


def passes(model, prompts, tokens, kv_dtype):
    """{mean, most}: passes over the cyclic layers until the first `tokens` of each prompt change no bit of keys and values."""
    needed = [model.converged(ids[None, :tokens], kv_dtype)[1] for ids in prompts]
    return {"mean": round(sum(needed) / len(needed), 1), "most": max(needed)}
