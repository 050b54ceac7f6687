#!/usr/bin/env python3
"""Greedy decode with llama.cpp's shared objects, random weights of a config's shape.

    llama_cpp.py CONFIG.json --libraries FOLDER --work FOLDER --model 1.1B --sequences 1 --context 128 [--steps 128] [--layers-on-cpu]

FOLDER holds libllama, libggml and the backends (from a build, or the npm package @node-llama-cpp/linux-x64-cuda: version 3.14.5
carries sm_90 code and needs CUDA 13's libraries). A GGUF file of bf16 weights is written into the work folder once. Tokens are
chosen by nobody: the same one goes in again, so the figure is llama_decode alone. Prints one JSON line as pytorch_decode.py does.
"""
import argparse
import ctypes
import glob
import json
import os
import struct
import sys
import time

GGUF_F32, GGUF_BF16 = 0, 30


class Large(ctypes.Structure):
    """A parameter struct as bytes: larger than any version's, which the x86-64 calling convention allows for the last argument."""
    _fields_ = [("bytes", ctypes.c_ubyte * 1024)]


class Batch(ctypes.Structure):
    """llama_batch."""
    _fields_ = [("n_tokens", ctypes.c_int32), ("token", ctypes.POINTER(ctypes.c_int32)), ("embd", ctypes.c_void_p),
                ("pos", ctypes.POINTER(ctypes.c_int32)), ("n_seq_id", ctypes.POINTER(ctypes.c_int32)),
                ("seq_id", ctypes.POINTER(ctypes.POINTER(ctypes.c_int32))), ("logits", ctypes.POINTER(ctypes.c_int8))]


def tensors(c):
    """name, shape (rows, columns) or (length,)."""
    dim, keys = c["hidden_size"], c["num_key_value_heads"] * c["head_dim"]
    queries, hidden, vocabulary = c["num_attention_heads"] * c["head_dim"], c["intermediate_size"], c["vocab_size"]
    yield "token_embd.weight", (vocabulary, dim)
    for layer in range(c["num_hidden_layers"]):
        for name, shape in (("attn_norm", (dim,)), ("attn_q", (queries, dim)), ("attn_k", (keys, dim)), ("attn_v", (keys, dim)),
                            ("attn_output", (dim, queries)), ("ffn_norm", (dim,)), ("ffn_gate", (hidden, dim)), ("ffn_up", (hidden, dim)),
                            ("ffn_down", (dim, hidden))):
            yield f"blk.{layer}.{name}.weight", shape
    yield "output_norm.weight", (dim,)
    yield "output.weight", (vocabulary, dim)


def write_gguf(path, c, context):
    """Matrices of small random bf16 numbers (one block of them, repeated), norms of ones."""
    def text(s):
        return struct.pack("<Q", len(s.encode())) + s.encode()

    def entry(key, kind, value):
        return text(key) + struct.pack("<I", kind) + value

    def u32(key, value):
        return entry(key, 4, struct.pack("<I", value))

    def f32(key, value):
        return entry(key, 6, struct.pack("<f", value))

    def array(key, kind, count, value):
        return entry(key, 9, struct.pack("<IQ", kind, count) + value)

    vocabulary = c["vocab_size"]
    tokens = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)]
    tokens += [f"\u2581w{i}" for i in range(len(tokens), vocabulary)]
    kinds = [2, 3, 3] + [6] * 256 + [1] * (vocabulary - 259)
    meta = [entry("general.architecture", 8, text("llama")), u32("llama.context_length", context),
            u32("llama.embedding_length", c["hidden_size"]), u32("llama.block_count", c["num_hidden_layers"]),
            u32("llama.feed_forward_length", c["intermediate_size"]), u32("llama.attention.head_count", c["num_attention_heads"]),
            u32("llama.attention.head_count_kv", c["num_key_value_heads"]), f32("llama.attention.layer_norm_rms_epsilon", c["rms_norm_eps"]),
            u32("llama.rope.dimension_count", c["head_dim"]), u32("llama.attention.key_length", c["head_dim"]),
            u32("llama.attention.value_length", c["head_dim"]), f32("llama.rope.freq_base", c["rope_theta"]), u32("llama.vocab_size", vocabulary),
            entry("tokenizer.ggml.model", 8, text("llama")), array("tokenizer.ggml.tokens", 8, vocabulary, b"".join(map(text, tokens))),
            array("tokenizer.ggml.scores", 6, vocabulary, b"\0" * 4 * vocabulary),
            array("tokenizer.ggml.token_type", 5, vocabulary, struct.pack(f"<{vocabulary}i", *kinds)),
            u32("tokenizer.ggml.bos_token_id", 1), u32("tokenizer.ggml.eos_token_id", 2)]
    infos, offset = b"", 0
    for name, shape in tensors(c):
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        infos += text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *reversed(shape))
        infos += struct.pack("<IQ", GGUF_F32 if len(shape) == 1 else GGUF_BF16, offset)
        offset += -(-count * (4 if len(shape) == 1 else 2) // 32) * 32
    # bf16: a random sign and mantissa under exponents of about 1/64.
    noise = bytearray(os.urandom(1 << 22))
    for i in range(1, len(noise), 2):
        noise[i] = noise[i] & 0x80 | 0x3C
    with open(path + ".part", "wb") as file:
        head = b"GGUF" + struct.pack("<IQQ", 3, sum(1 for _ in tensors(c)), len(meta)) + b"".join(meta) + infos
        file.write(head + b"\0" * (-len(head) % 32))
        for _, shape in tensors(c):
            size = struct.pack("<f", 1.0) * shape[0] if len(shape) == 1 else None
            if size is not None:
                file.write(size)
                written = len(size)
            else:
                left = written = 2 * shape[0] * shape[1]
                while left > 0:
                    part = min(left, len(noise))
                    file.write(memoryview(noise)[:part])
                    left -= part
            file.write(b"\0" * (-written % 32))
    os.replace(path + ".part", path)


def library(folder, pattern):
    found = sorted(glob.glob(os.path.join(folder, pattern)))
    if not found:
        sys.exit(f"llama_cpp.py: {folder} has no {pattern}")
    return ctypes.CDLL(found[0], mode=ctypes.RTLD_GLOBAL)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("config")
    parser.add_argument("--libraries", required=True)
    parser.add_argument("--work", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sequences", type=int, default=1)
    parser.add_argument("--context", type=int, default=128)
    parser.add_argument("--steps", type=int, default=128)
    parser.add_argument("--layers-on-cpu", action="store_true", help="for trying this script without a GPU")
    args = parser.parse_args()
    with open(args.config) as file:
        config = json.load(file)
    repeats = 3
    length = args.context + args.steps * (repeats + 1) + 16
    path = os.path.join(args.work, f"{args.model}-bf16.gguf")
    if not os.path.exists(path):
        write_gguf(path, config, 1 << 17)

    base = library(args.libraries, "libggml-base*.so*")
    ggml = library(args.libraries, "libggml.*so*")
    llama = library(args.libraries, "libllama.*so*")
    assert base is not None
    quiet = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p)(
        lambda level, line, _: sys.stderr.write(line.decode(errors="replace")) if level == 4 else None)
    llama.llama_log_set(quiet, None)
    ggml.ggml_backend_load_all_from_path(args.libraries.encode())
    for name in ("llama_model_default_params", "llama_context_default_params"):
        getattr(llama, name).restype = Large
    llama.llama_model_load_from_file.restype = llama.llama_init_from_model.restype = llama.llama_get_memory.restype = ctypes.c_void_p
    llama.llama_model_load_from_file.argtypes = [ctypes.c_char_p, Large]
    llama.llama_init_from_model.argtypes = [ctypes.c_void_p, Large]
    llama.llama_decode.argtypes = [ctypes.c_void_p, Batch]
    llama.llama_batch_init.restype = Batch
    llama.llama_synchronize.argtypes = llama.llama_get_memory.argtypes = [ctypes.c_void_p]
    llama.llama_memory_seq_rm.argtypes = [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]

    parameters = llama.llama_model_default_params()
    # Two pointers, then n_gpu_layers.
    layers = ctypes.c_int32.from_buffer(parameters, 16)
    if layers.value not in (-1, 0, 99, 999):
        sys.exit(f"llama_cpp.py: llama_model_params is laid out in another way (n_gpu_layers would be {layers.value})")
    layers.value = 0 if args.layers_on_cpu else 999
    model = llama.llama_model_load_from_file(path.encode(), parameters)
    if not model:
        sys.exit("llama_cpp.py: the model does not load")
    parameters = llama.llama_context_default_params()
    for place, value in enumerate((length * args.sequences, 2048, 512, args.sequences)):  # n_ctx, n_batch, n_ubatch, n_seq_max
        ctypes.c_uint32.from_buffer(parameters, 4 * place).value = value
    context = llama.llama_init_from_model(model, parameters)
    if not context:
        sys.exit("llama_cpp.py: no context of that size")
    memory = llama.llama_get_memory(context)
    batch = llama.llama_batch_init(2048, 0, 1)

    def decode(rows):
        """rows: (token, position, sequence, wanted)."""
        batch.n_tokens = len(rows)
        for i, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.logits[i] = token, position, 1, wanted
            batch.seq_id[i][0] = sequence
        result = llama.llama_decode(context, batch)
        if result != 0:
            sys.exit(f"llama_cpp.py: llama_decode returned {result}")

    for sequence in range(args.sequences):
        for start in range(0, args.context, 2048):
            end = min(start + 2048, args.context)
            decode([(300 + p % (config["vocab_size"] - 300), p, sequence, int(p == args.context - 1)) for p in range(start, end)])
    llama.llama_synchronize(context)

    def seconds():
        for sequence in range(args.sequences):
            llama.llama_memory_seq_rm(memory, sequence, args.context, -1)
        start = time.perf_counter()
        for step in range(args.steps):
            decode([(300, args.context + step, sequence, 1) for sequence in range(args.sequences)])
            llama.llama_synchronize(context)
        return time.perf_counter() - start

    seconds()
    median = sorted(seconds() for _ in range(repeats))[repeats // 2]
    print(json.dumps({
        "key": f"peer/llama.cpp/{args.model}/{args.sequences}", "what": f"llama.cpp, bf16, {args.model}, {args.sequences} x {args.context} tokens",
        "value": args.sequences * args.steps / median, "unit": "tokens/s", "us": median / args.steps * 1e6,
        "note": "no token is chosen: llama_decode alone" + (", on the CPU" if args.layers_on_cpu else ""),
    }), flush=True)


if __name__ == "__main__":
    sys.exit(main())
