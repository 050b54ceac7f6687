#!/usr/bin/env python3
"""Greedy decode with transformers' Llama and its static cache, random weights of a config's shape.

    transformers_decode.py CONFIG.json --model 1.1B --sequences 1 --context 128 [--steps 128] [--device cuda] [--eager]

generate() with cache_implementation="static" compiles the decode step where it can (--eager: told not to). The time of a
token is the difference between a long and a short answer, after both have been made once. Prints one JSON line as
pytorch_decode.py does.
"""
import argparse
import json
import sys
import time

import torch
import transformers


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--model", required=True)
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--eager", action="store_true")
    args = parser.parse_args()
    torch.manual_seed(1)
    with open(args.config) as file:
        values = json.load(file)
    for name in ("architectures", "model_type", "torch_dtype", "rope_scaling"):
        values.pop(name, None)
    values["max_position_embeddings"] = max(2048, args.context + args.steps + 64)
    config = transformers.LlamaConfig(**values)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(args.device):
        model = transformers.LlamaForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    model.eval()
    prompt = torch.randint(3, config.vocab_size, (args.sequences, args.context), device=args.device)
    options = {"cache_implementation": "static", "do_sample": False, "pad_token_id": 0, "attention_mask": torch.ones_like(prompt)}
    if args.eager:
        options["disable_compile"] = True

    def seconds(count):
        # min = max: random weights may say the end of the text at any token.
        if args.device.startswith("cuda"):
            torch.cuda.synchronize()
        start = time.perf_counter()
        with torch.no_grad():
            answer = model.generate(prompt, min_new_tokens=count, max_new_tokens=count, **options)
        if args.device.startswith("cuda"):
            torch.cuda.synchronize()
        assert answer.shape[1] == args.context + count
        return time.perf_counter() - start

    # The long answer first: the cache that it makes is kept and serves the short one, so that nothing is compiled twice.
    short = max(2, args.steps // 8)
    for count in (args.steps, short):
        seconds(count)
    times = sorted(seconds(args.steps) - seconds(short) for _ in range(3))
    token = max(times[1], 1e-9) / (args.steps - short)
    way = "eager" if args.eager else "static"
    print(json.dumps({
        "key": f"peer/transformers-{way}/{args.model}/{args.sequences}",
        "what": f"transformers {transformers.__version__}, static cache{', not compiled' if args.eager else ''}, {args.model}, "
                f"{args.sequences} x {args.context} tokens",
        "value": args.sequences / token, "unit": "tokens/s", "us": token * 1e6, "note": f"bf16, PyTorch {torch.__version__}",
    }), flush=True)


if __name__ == "__main__":
    sys.exit(main())
