"""Hugging Face folders: config.json, generation_config.json, model.safetensors, and the tokenizer's two files.

safetensors = 8 bytes little-endian header length, a JSON header {name: {dtype, shape, data_offsets}}, the tensors' bytes.
"""
import ctypes
import json
import struct

import torch

from . import sharing
from .model import Llama, ModelConfig
from .tokenizer import write_json

DTYPES = {"BF16": torch.bfloat16, "F16": torch.float16, "F32": torch.float32}


def save_safetensors(path, tensors):
    header, blocks, offset = {"__metadata__": {"format": "pt"}}, [], 0
    for name, tensor in sorted(tensors.items()):
        tensor = tensor.detach().contiguous()
        dtype = next(key for key, value in DTYPES.items() if value == tensor.dtype)
        blocks.append(ctypes.string_at(tensor.data_ptr(), tensor.numel() * tensor.element_size()))     # NumPy has no bfloat16
        header[name] = {"dtype": dtype, "shape": list(tensor.shape), "data_offsets": [offset, offset + len(blocks[-1])]}
        offset += len(blocks[-1])
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blocks))


def load_safetensors(path):
    data = bytearray(path.read_bytes())
    length, = struct.unpack_from("<Q", data)
    header = json.loads(data[8:8 + length])
    tensors = {}
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = (8 + length + offset for offset in entry["data_offsets"])
            dtype = DTYPES[entry["dtype"]]
            tensors[name] = torch.frombuffer(data[begin:end], dtype=dtype).reshape(entry["shape"])
    return tensors


def save_model(folder, model, tokenizer):
    """The model in bf16. A standard map is plain `llama`; any other is `lckv-llama` with its `layer_types`."""
    folder.mkdir(parents=True, exist_ok=True)
    config, standard = model.config, model.config.targets == list(range(model.config.num_hidden_layers))
    values = {
        "architectures": ["LlamaForCausalLM" if standard else "LCKVLlamaForCausalLM"],
        "model_type": "llama" if standard else "lckv-llama", "hidden_act": "silu",
        "vocab_size": config.vocab_size, "hidden_size": config.hidden_size, "intermediate_size": config.intermediate_size,
        "num_hidden_layers": config.num_hidden_layers, "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads, "head_dim": config.head_dim,
        "max_position_embeddings": config.max_position_embeddings, "rms_norm_eps": config.rms_norm_eps,
        "rope_theta": config.rope_theta, "rope_scaling": None, "attention_bias": False, "mlp_bias": False,
        "tie_word_embeddings": True, "torch_dtype": "bfloat16", "use_cache": True,
        "bos_token_id": tokenizer.end_of_text, "eos_token_id": tokenizer.end_of_text}
    if not standard:
        values |= {"forward_passes": 7, "backward_passes": 2, "layer_types": "_".join(map(str, config.targets))}
    write_json(folder / "config.json", values)
    write_json(folder / "generation_config.json", {"bos_token_id": tokenizer.end_of_text, "eos_token_id": tokenizer.end_of_text})
    save_safetensors(folder / "model.safetensors", {name: value.bfloat16() for name, value in model.state_dict().items()})
    tokenizer.save(folder)


def load_model(folder):
    """The model with its weights widened to f32, which is how it is computed here."""
    values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = [name for name in ModelConfig.__dataclass_fields__ if name != "targets"]
    config = ModelConfig(**{name: values[name] for name in names},
                         targets=sharing.parse(values["layer_types"]) if "layer_types" in values else [])
    model = Llama(config)
    model.load_state_dict({name: tensor.float() for name, tensor in load_safetensors(folder / "model.safetensors").items()})
    return model.eval()
