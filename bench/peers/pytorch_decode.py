#!/usr/bin/env python3
"""Greedy decode of a Llama with random weights in plain PyTorch: what a careful user gets without another engine.

    pytorch_decode.py CONFIG.json --model 1.1B --sequences 1 --context 128 [--steps 128] [--device cuda] [--way graph]

Ways: graph (one step captured as a CUDA graph), compiled (torch.compile, then captured), eager. Fused QKV and gate|up
matrices, a static cache, one matrix product per group of query heads; tokens and positions stay on the device, so nothing
waits for the host. Prints one JSON line: {"key": "peer/pytorch-WAY/MODEL/SEQUENCES", "value": tokens per second, ...}.
--check compares the first steps with a pass over the whole sequence, in f32.
"""
import argparse
import json
import sys
import time

import torch
import torch.nn.functional as F


class Llama:
    """Weights, cache and one step. x: (sequences, dim); cache: (sequences, kv heads, tokens, head dim)."""

    def __init__(self, config, sequences, length, device, dtype):
        self.heads, self.kv_heads, self.head_dim = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
        self.dim, self.eps = config["hidden_size"], config["rms_norm_eps"]
        hidden, vocabulary = config["intermediate_size"], config["vocab_size"]
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim

        def weight(*shape):
            return torch.randn(*shape, device=device, dtype=dtype) * shape[-1] ** -0.5

        self.embedding, self.head = weight(vocabulary, self.dim), weight(vocabulary, self.dim)
        self.norm = torch.ones(self.dim, device=device, dtype=dtype)
        self.layers = [
            {"attention_norm": self.norm, "qkv": weight(queries + 2 * keys, self.dim), "out": weight(self.dim, queries),
             "mlp_norm": self.norm, "gate_up": weight(2 * hidden, self.dim), "down": weight(self.dim, hidden),
             "k": torch.randn(sequences, self.kv_heads, length, self.head_dim, device=device, dtype=dtype),
             "v": torch.randn(sequences, self.kv_heads, length, self.head_dim, device=device, dtype=dtype)}
            for _ in range(config["num_hidden_layers"])]
        pairs = torch.arange(0, self.head_dim, 2, device=device).float() / self.head_dim
        angles = torch.arange(length, device=device).float()[:, None] * (config["rope_theta"] ** -pairs)[None]
        self.cos, self.sin = angles.cos().to(dtype), angles.sin().to(dtype)  # (length, head dim / 2)
        self.places = torch.arange(length, device=device)

    def rms(self, x, weight):
        wide = x.float()
        return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)).to(x.dtype) * weight

    def rotate(self, x, position):
        cos, sin = self.cos.index_select(0, position), self.sin.index_select(0, position)  # (1, head dim / 2)
        low, high = x.chunk(2, -1)
        return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)

    def step(self, tokens, position):
        """tokens: (sequences), position: (1): the logits that follow, (sequences, vocabulary)."""
        x = self.embedding[tokens]
        unseen = (self.places > position)[None, None, None]
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        for w in self.layers:
            q, k, v = F.linear(self.rms(x, w["attention_norm"]), w["qkv"]).split((queries, keys, keys), -1)
            q = self.rotate(q.view(-1, self.kv_heads, self.heads // self.kv_heads, self.head_dim), position)
            k = self.rotate(k.view(-1, self.kv_heads, 1, self.head_dim), position)
            w["k"].index_copy_(2, position, k)
            w["v"].index_copy_(2, position, v.view(-1, self.kv_heads, 1, self.head_dim))
            scores = torch.matmul(q * self.head_dim ** -0.5, w["k"].transpose(-1, -2)).masked_fill(unseen, float("-inf"))
            y = torch.matmul(torch.softmax(scores.float(), -1).to(x.dtype), w["v"]).reshape(-1, queries)
            x = x + F.linear(y, w["out"])
            gate, up = F.linear(self.rms(x, w["mlp_norm"]), w["gate_up"]).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, w["down"])
        return F.linear(self.rms(x, self.norm), self.head)

    def whole(self, tokens):
        """The same over all tokens (count) at once, for --check: logits (count, vocabulary)."""
        x, count = self.embedding[tokens], len(tokens)
        places = torch.arange(count, device=x.device)
        later = places[None, :] > places[:, None]
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        for w in self.layers:
            q, k, v = F.linear(self.rms(x, w["attention_norm"]), w["qkv"]).split((queries, keys, keys), -1)

            def turned(t, heads):
                t = t.view(count, heads, self.head_dim).transpose(0, 1)
                low, high = t.chunk(2, -1)
                cos, sin = self.cos[:count], self.sin[:count]
                return torch.cat((low * cos - high * sin, high * cos + low * sin), -1)

            group = self.heads // self.kv_heads
            q, k = turned(q, self.heads), turned(k, self.kv_heads).repeat_interleave(group, 0)
            v = v.view(count, self.kv_heads, self.head_dim).transpose(0, 1).repeat_interleave(group, 0)
            scores = (q @ k.transpose(-1, -2) * self.head_dim ** -0.5).masked_fill(later, float("-inf"))
            x = x + F.linear((scores.softmax(-1) @ v).transpose(0, 1).reshape(count, queries), w["out"])
            gate, up = F.linear(self.rms(x, w["mlp_norm"]), w["gate_up"]).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, w["down"])
        return F.linear(self.rms(x, self.norm), self.head)


def check(config):
    model = Llama(config, 1, 32, "cpu", torch.float32)
    tokens = torch.randint(0, config["vocab_size"], (20,))
    expected = model.whole(tokens)
    for i, token in enumerate(tokens):
        got = model.step(token[None], torch.tensor([i]))
        torch.testing.assert_close(got[0], expected[i], rtol=1e-3, atol=1e-3)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--model", required=True)
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--way", choices=["graph", "compiled", "eager"], default="graph")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    with open(args.config) as file:
        config = json.load(file)
    torch.manual_seed(1)
    torch.set_grad_enabled(False)
    if args.check:
        check(config)
    cuda = args.device.startswith("cuda")
    if not cuda and args.way == "graph":
        args.way = "eager"
    repeats = 3
    length = -(-(args.context + args.steps * (repeats + 1) + 16) // 64) * 64
    model = Llama(config, args.sequences, length, args.device, torch.bfloat16)
    tokens = torch.full((args.sequences,), 5, device=args.device)
    position = torch.tensor([args.context], device=args.device)
    step = torch.compile(model.step) if args.way == "compiled" else model.step

    def advance():
        tokens.copy_(step(tokens, position).argmax(-1))
        position.add_(1)

    if cuda:
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                advance()
        torch.cuda.current_stream().wait_stream(side)
        torch.cuda.synchronize()
    run = advance
    if cuda and args.way != "eager":
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            advance()
        run = graph.replay

    def seconds():
        position.fill_(args.context)
        if cuda:
            torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(args.steps):
            run()
        if cuda:
            torch.cuda.synchronize()
        return time.perf_counter() - start

    seconds()
    least = sorted(seconds() for _ in range(repeats))[repeats // 2]
    print(json.dumps({
        "key": f"peer/pytorch-{args.way}/{args.model}/{args.sequences}",
        "what": f"PyTorch {torch.__version__}, {args.way}, {args.model}, {args.sequences} x {args.context} tokens",
        "value": args.sequences * args.steps / least, "unit": "tokens/s",
        "us": least / args.steps * 1e6, "note": "bf16, tokens stay on the device",
    }), flush=True)


if __name__ == "__main__":
    sys.exit(main())
