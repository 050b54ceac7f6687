"""Llama (Touvron et al. 2023) whose layers may read the keys and values of other layers.

Parameter names are Hugging Face's, so that a state dict is a checkpoint. A layer that owns no keys and values has no
k_proj and v_proj. Shapes: x (batch, tokens, hidden); keys and values (batch, kv heads, tokens, head dim).
"""
from dataclasses import dataclass, field
from functools import lru_cache

import torch
from torch import nn
from torch.nn import functional

from . import sharing


@dataclass
class ModelConfig:
    vocab_size: int = 2048
    hidden_size: int = 128
    intermediate_size: int = 384
    num_hidden_layers: int = 8
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    max_position_embeddings: int = 256
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0
    targets: list = field(default_factory=list)      # empty: every layer owns its keys and values

    def __post_init__(self):
        self.targets = self.targets or list(range(self.num_hidden_layers))

    @property
    def head_dim(self):
        return self.hidden_size // self.num_attention_heads

    def kv_bytes_per_token(self, element_bytes=2):
        return len(sharing.owners(self.targets)) * 2 * self.num_key_value_heads * self.head_dim * element_bytes


class RmsNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + self.eps) * self.weight


class Rotary:
    """y = x cos + rotate_half(x) sin (Su et al. 2021), pairs (i, i + head_dim / 2) as Hugging Face's Llama lays them out."""

    def __init__(self, config):
        half = config.head_dim // 2
        frequency = config.rope_theta ** (-torch.arange(half, dtype=torch.float64) / half)
        angle = torch.arange(config.max_position_embeddings, dtype=torch.float64)[:, None] * frequency
        self.cos, self.sin = angle.cos().float(), angle.sin().float()       # (positions, head dim / 2)

    def __call__(self, x, start):
        cos, sin = self.cos[start:start + x.shape[-2]], self.sin[start:start + x.shape[-2]]
        low, high = x.chunk(2, dim=-1)
        return torch.cat((low * cos - high * sin, high * cos + low * sin), dim=-1)


@lru_cache(maxsize=8)
def hidden(queries, tokens):
    """-inf where a query may not look: the last query sits on the last key."""
    return torch.full((queries, tokens), float("-inf")).triu(tokens - queries + 1)


def attend(q, keys, values):
    """softmax(q k' / sqrt(d)) v, causal; the last query sits on the last key. q: (batch, heads, queries, head dim)."""
    batch, heads, queries, head_dim = q.shape
    kv_heads, tokens = keys.shape[1], keys.shape[2]
    q = q.reshape(batch, kv_heads, heads // kv_heads * queries, head_dim) * head_dim ** -0.5
    scores = (q @ keys.transpose(-1, -2)).view(batch, kv_heads, heads // kv_heads, queries, tokens)
    if queries > 1:
        scores = scores + hidden(queries, tokens)
    weights = scores.softmax(-1).view(batch, kv_heads, heads // kv_heads * queries, tokens)
    return (weights @ values).view(batch, heads, queries, head_dim)


def attend_strictly_earlier(q, keys, values):
    """Token n sees tokens < n: the queries of tokens 1.. over the keys of all but the last. Token 0 sees nothing: exactly 0."""
    nothing = torch.zeros_like(q[:, :, :1])
    if q.shape[2] == 1:
        return nothing
    return torch.cat((nothing, attend(q[:, :, 1:], keys[:, :, :-1], values[:, :, :-1])), dim=2)


class Attention(nn.Module):
    def __init__(self, config, owns_kv):
        super().__init__()
        hidden, head_dim = config.hidden_size, config.head_dim
        self.head_dim = head_dim
        self.q_proj = nn.Linear(hidden, config.num_attention_heads * head_dim, bias=False)
        if owns_kv:
            self.k_proj = nn.Linear(hidden, config.num_key_value_heads * head_dim, bias=False)
            self.v_proj = nn.Linear(hidden, config.num_key_value_heads * head_dim, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * head_dim, hidden, bias=False)

    def heads(self, x):
        return x.view(*x.shape[:2], -1, self.head_dim).transpose(1, 2)


class Mlp(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)

    def forward(self, x):
        return self.down_proj(functional.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, config, owns_kv):
        super().__init__()
        self.owns_kv = owns_kv
        self.input_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.self_attn = Attention(config, owns_kv)
        self.post_attention_layernorm = RmsNorm(config.hidden_size, config.rms_norm_eps)
        self.mlp = Mlp(config)


class Trunk(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config, layer in config.targets) for layer in range(config.num_hidden_layers))
        self.norm = RmsNorm(config.hidden_size, config.rms_norm_eps)


class Llama(nn.Module):
    """`iterative`: every cyclic run is passed through `passes` times from zero keys and values (training: the last
    `gradient_passes` of them with gradient). `converged`: until no bit changes. `sequential`: token by token."""

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.model = Trunk(config)
        self.rotary = Rotary(config)
        self.runs = sharing.plan(config.targets)

    def initialise(self, seed):
        """Normal(0, 0.02), projections into the residual smaller by sqrt(2 layers), as GPT-2 does."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.named_parameters():
                if parameter.dim() == 2:
                    into_residual = name.endswith(("o_proj.weight", "down_proj.weight"))
                    deviation = 0.02 / ((2 * self.config.num_hidden_layers) ** 0.5 if into_residual else 1)
                    parameter.normal_(0, deviation, generator=generator)
        return self

    def logits(self, x):
        return functional.linear(self.model.norm(x), self.model.embed_tokens.weight)

    def iterative(self, tokens, forward_passes=7, backward_passes=2):
        """Logits (batch, tokens, vocabulary) after forward_passes + backward_passes passes over the cyclic runs."""
        x, kv = self.model.embed_tokens(tokens), {}
        for run in self.runs:
            if run.iterated:
                settled = self.zero_kv(run, tokens)
                for number in range(forward_passes + backward_passes - 1):
                    with torch.set_grad_enabled(torch.is_grad_enabled() and number >= forward_passes):
                        settled = self.keys_and_values(run, x, kv, settled)
                x = self.forward_run(run, x, kv, settled)
            else:
                x = self.forward_run(run, x, kv, {})
        return self.logits(x)

    @torch.no_grad()
    def converged(self, tokens, kv_dtype=None, tolerance=0.0):
        """(logits, passes): every cyclic run iterated until a pass changes no key or value, kept in kv_dtype, by more.

        The passes are those of the run that needed most, the last, idle one included. Token n settles in n passes, so
        with tolerance 0 it may take one more than there are tokens.
        """
        x, kv, most = self.model.embed_tokens(tokens), {}, 1
        for run in self.runs:
            settled = {}
            if run.iterated:
                settled, passes, change = self.zero_kv(run, tokens), 0, float("inf")
                while change > tolerance and passes <= tokens.shape[1]:
                    update = self.keys_and_values(run, x, kv, settled)
                    if kv_dtype is not None:
                        update = {layer: tuple(side.to(kv_dtype).float() for side in pair) for layer, pair in update.items()}
                    change = max((new - old).abs().max().item()
                                 for layer in update for new, old in zip(update[layer], settled[layer]))
                    settled, passes = update, passes + 1
                most = max(most, passes)
            x = self.forward_run(run, x, kv, settled)
        return self.logits(x), most

    @torch.no_grad()
    def sequential(self, tokens, cache=None):
        """Logits, token by token; `cache` (a dict) keeps the keys and values between calls."""
        cache = {} if cache is None else cache
        rows = []
        for position in range(tokens.shape[1]):
            x = self.model.embed_tokens(tokens[:, position:position + 1])
            start = next(iter(cache.values()))[0].shape[2] if cache else 0
            earlier = dict(cache)
            for index, layer in enumerate(self.model.layers):
                h = layer.input_layernorm(x)
                if layer.owns_kv:
                    present = self.project_kv(layer, h, start)
                    cache[index] = present if start == 0 else tuple(
                        torch.cat(pair, dim=2) for pair in zip(earlier[index], present))
                target = self.config.targets[index]
                q = self.rotary(layer.self_attn.heads(layer.self_attn.q_proj(h)), start)
                if target <= index:
                    attended = attend(q, *cache[target])
                else:
                    attended = attend(q, *earlier[target]) if start else torch.zeros_like(q)
                x = self.finish(layer, x, attended)
            rows.append(self.logits(x))
        return torch.cat(rows, dim=1)

    def zero_kv(self, run, tokens):
        shape = (tokens.shape[0], self.config.num_key_value_heads, tokens.shape[1], self.config.head_dim)
        return {target: (torch.zeros(shape), torch.zeros(shape)) for target in self.upward_targets(run)}

    def upward_targets(self, run):
        return {self.config.targets[layer] for layer in range(run.first, run.last + 1) if self.config.targets[layer] > layer}

    def keys_and_values(self, run, x, kv, settled):
        """One pass for its keys and values only: the top layer is not computed beyond them."""
        fresh = dict(kv)
        for index in range(run.first, run.last + 1):
            layer = self.model.layers[index]
            if index == run.last:
                fresh[index] = self.project_kv(layer, layer.input_layernorm(x), 0)
            else:
                x = self.forward_layer(index, x, fresh, settled)
        return {target: fresh[target] for target in settled}

    def forward_run(self, run, x, kv, settled):
        for index in range(run.first, run.last + 1):
            x = self.forward_layer(index, x, kv, settled)
        return x

    def forward_layer(self, index, x, kv, settled):
        """Downward it reads kv, what this pass computed; upward it reads settled, what the pass before computed."""
        layer, target = self.model.layers[index], self.config.targets[index]
        h = layer.input_layernorm(x)
        if layer.owns_kv:
            kv[index] = self.project_kv(layer, h, 0)
        q = self.rotary(layer.self_attn.heads(layer.self_attn.q_proj(h)), 0)
        attended = attend(q, *kv[target]) if target <= index else attend_strictly_earlier(q, *settled[target])
        return self.finish(layer, x, attended)

    def project_kv(self, layer, h, start):
        attention = layer.self_attn
        return self.rotary(attention.heads(attention.k_proj(h)), start), attention.heads(attention.v_proj(h)).contiguous()

    def finish(self, layer, x, attended):
        x = x + layer.self_attn.o_proj(attended.transpose(1, 2).flatten(2))
        return x + layer.mlp(layer.post_attention_layernorm(x))
