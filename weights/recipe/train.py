"""The training loop: deterministic from its settings, resumable at any step, one line of progress every few seconds.

Batch n is a function of (seed, n) alone, so a resumed run sees what an uninterrupted one would have seen.
"""
import math
import time
from dataclasses import asdict, dataclass, field

import torch
from torch.nn import functional

from . import RecipeError, machine, optimiser
from .model import Llama, ModelConfig


@dataclass
class Settings:
    model: ModelConfig = field(default_factory=ModelConfig)
    tokens: int = 2_000_000          # the budget
    context: int = 256
    batch: int = 8                   # sequences per step
    matrix_rate: float = 0.01
    other_rate: float = 0.03
    warm_up: float = 0.02            # share of the budget
    cool_down: float = 0.5
    forward_passes: int = 7          # cyclic runs only: passes without gradient, and with
    backward_passes: int = 2
    seed: int = 1

    @property
    def steps(self):
        return math.ceil(self.tokens / (self.batch * self.context))


def batch_of(stream, settings, step):
    """(batch, context + 1) ids: the stream cut into windows at a random phase, shuffled anew in every epoch."""
    windows = (len(stream) - 1) // settings.context - 1
    rows = []
    for number in range(step * settings.batch, (step + 1) * settings.batch):
        epoch, index = divmod(number, windows)
        generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + epoch)
        phase = int(torch.randint(settings.context, (), generator=generator))
        start = phase + int(torch.randperm(windows, generator=generator)[index]) * settings.context
        rows.append(stream[start:start + settings.context + 1])
    return torch.stack(rows).long()


def rate(settings, step):
    """Linear warm-up, level, linear to zero."""
    done = (step + 1) / settings.steps
    return min(1.0, done / settings.warm_up, (1 - done) / settings.cool_down + 1e-3)


def train(stream, settings, checkpoint, start_from=None, every=30.0):
    """The trained model and the seconds it took; continues from `checkpoint` if that file is there."""
    machine.keep_freed_memory()
    model = Llama(settings.model).initialise(settings.seed)
    if start_from is not None:
        model.load_state_dict(start_from)
    optimisers = optimiser.optimisers(model, settings.matrix_rate, settings.other_rate)
    rates = [group["lr"] for one in optimisers for group in one.param_groups]
    first, seconds = restore(checkpoint, settings, model, optimisers)
    if first:
        print(f"{checkpoint.name}: continues at step {first} of {settings.steps}", flush=True)
    began = said = time.time()
    for step in range(first, settings.steps):
        for group, full in zip((group for one in optimisers for group in one.param_groups), rates):
            group["lr"] = full * rate(settings, step)
        loss = take_step(model, optimisers, batch_of(stream, settings, step), settings)
        now, last = time.time(), step + 1 == settings.steps
        if now - said >= every or last:
            said, spent = now, seconds + now - began
            save(checkpoint, settings, model, optimisers, step + 1, spent)
            print(f"{checkpoint.stem}: step {step + 1}/{settings.steps}  loss {loss.item():.3f}  "
                  f"{(step + 1 - first) * settings.batch * settings.context / (now - began):.0f} tokens/s  {spent:.0f} s", flush=True)
    return model.eval(), seconds + time.time() - began


def take_step(model, optimisers, rows, settings):
    logits = model.iterative(rows[:, :-1], settings.forward_passes, settings.backward_passes)
    loss = functional.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
    for one in optimisers:
        one.zero_grad()
    loss.backward()
    for one in optimisers:
        one.step()
    return loss


def seconds_per_step(stream, settings):
    """Processor time of one step, the best of four: what other work on the machine disturbs least."""
    machine.keep_freed_memory()
    model = Llama(settings.model).initialise(settings.seed)
    optimisers = optimiser.optimisers(model, settings.matrix_rate, settings.other_rate)
    rows, spent = batch_of(stream, settings, 0), []
    for _ in range(5):
        began = time.process_time()
        take_step(model, optimisers, rows, settings)
        spent.append(time.process_time() - began)
    return min(spent[1:])


def save(checkpoint, settings, model, optimisers, step, seconds):
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    unfinished = checkpoint.with_suffix(".unfinished")
    torch.save({"settings": asdict(settings), "model": model.state_dict(), "step": step, "seconds": seconds,
                "optimisers": [one.state_dict() for one in optimisers]}, unfinished)
    unfinished.replace(checkpoint)


def restore(checkpoint, settings, model, optimisers):
    if not checkpoint.exists():
        return 0, 0.0
    saved = torch.load(checkpoint)
    if saved["settings"] != asdict(settings):
        raise RecipeError(f"{checkpoint} was made with other settings; remove it to start anew")
    model.load_state_dict(saved["model"])
    for one, state in zip(optimisers, saved["optimisers"]):
        one.load_state_dict(state)
    return saved["step"], saved["seconds"]
