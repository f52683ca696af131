#!/usr/bin/env python3
"""Writes a GGUF of a real model's shape with random weights, for benchmarks: speed depends on shapes, not on values.

    make_model.py SHAPE TYPE OUT.gguf      e.g. make_model.py llama-3.2-1b q8_0 /tmp/1b.gguf

Needs numpy. The vocabulary is made up (one token an id), so that other programs load the file too.
"""
import struct
import sys

import numpy as np

SHAPES = {  # architecture, layers, width, ffn, heads, kv heads, head width, vocabulary, tied head, q/k/v biases
    "llama-3.2-1b": ("llama", 16, 2048, 8192, 32, 8, 64, 128256, True, False),
    "tinyllama-1.1b": ("llama", 22, 2048, 5632, 32, 4, 64, 32000, False, False),
    "qwen2.5-0.5b": ("qwen2", 24, 896, 4864, 14, 2, 64, 151936, True, True),
    "tiny": ("llama", 2, 256, 512, 8, 4, 32, 2048, True, False),
}
F32, F16, Q4_0, Q8_0, BF16 = 0, 1, 2, 8, 30
TYPES = {"f32": F32, "f16": F16, "bf16": BF16, "q8_0": Q8_0, "q4_0": Q4_0}
rng = np.random.default_rng(1)


def tensor_bytes(kind, rows, columns):
    """Random weights of about 1/sqrt(columns), in `kind`."""
    scale = columns**-0.5
    if kind in (Q8_0, Q4_0):
        blocks = rows * columns // 32
        payload = 32 if kind == Q8_0 else 16
        out = np.empty((blocks, 2 + payload), np.uint8)
        d = np.full(blocks, scale / (64 if kind == Q8_0 else 4), np.float16)
        out[:, :2] = d.view(np.uint8).reshape(-1, 2)
        out[:, 2:] = rng.integers(0, 256, (blocks, payload), np.uint8)
        return out.tobytes()
    values = rng.standard_normal((rows, columns), np.float32) * np.float32(scale)
    if kind == BF16:
        return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return values.astype(np.float16 if kind == F16 else np.float32).tobytes()


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def metadata(arch, layers, width, ffn, heads, kv_heads, head, vocabulary):
    pairs = []
    def add(key, kind, data):
        pairs.append(text(key) + struct.pack("<I", kind) + data)
    def u32(key, value):
        add(key, 4, struct.pack("<I", value))
    add("general.architecture", 8, text(arch))
    add("general.name", 8, text("random weights"))
    for key, value in (("block_count", layers), ("context_length", 8192), ("embedding_length", width),
                       ("feed_forward_length", ffn), ("attention.head_count", heads),
                       ("attention.head_count_kv", kv_heads), ("rope.dimension_count", head),
                       ("vocab_size", vocabulary)):
        u32(f"{arch}.{key}", value)
    add(f"{arch}.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5))
    add(f"{arch}.rope.freq_base", 6, struct.pack("<f", 500000.0))
    add("tokenizer.ggml.model", 8, text("gpt2"))
    add("tokenizer.ggml.pre", 8, text("gpt-2"))
    tokens = b"".join(text(f"t{i}") for i in range(vocabulary))
    add("tokenizer.ggml.tokens", 9, struct.pack("<IQ", 8, vocabulary) + tokens)
    add("tokenizer.ggml.token_type", 9, struct.pack("<IQ", 5, vocabulary) + np.ones(vocabulary, np.int32).tobytes())
    add("tokenizer.ggml.merges", 9, struct.pack("<IQ", 8, 1) + text("t 0"))
    u32("tokenizer.ggml.bos_token_id", 0)
    u32("tokenizer.ggml.eos_token_id", 1)
    return pairs


def main():
    shape, kind_name, path = sys.argv[1:4]
    arch, layers, width, ffn, heads, kv_heads, head, vocabulary, tied, biases = SHAPES[shape]
    kind = TYPES[kind_name]
    tensors = [("token_embd.weight", vocabulary, width, kind), ("output_norm.weight", 1, width, F32)]
    if not tied:
        tensors.append(("output.weight", vocabulary, width, kind))
    for layer in range(layers):
        block = f"blk.{layer}."
        tensors += [(block + "attn_norm.weight", 1, width, F32), (block + "ffn_norm.weight", 1, width, F32),
                    (block + "attn_q.weight", heads * head, width, kind),
                    (block + "attn_k.weight", kv_heads * head, width, kind),
                    (block + "attn_v.weight", kv_heads * head, width, kind),
                    (block + "attn_output.weight", width, heads * head, kind),
                    (block + "ffn_gate.weight", ffn, width, kind), (block + "ffn_up.weight", ffn, width, kind),
                    (block + "ffn_down.weight", width, ffn, kind)]
        if biases:
            tensors += [(block + "attn_q.bias", 1, heads * head, F32), (block + "attn_k.bias", 1, kv_heads * head, F32),
                        (block + "attn_v.bias", 1, kv_heads * head, F32)]
    pairs = metadata(arch, layers, width, ffn, heads, kv_heads, head, vocabulary)
    infos, offset = b"", 0
    sizes = {F32: (1, 4), F16: (1, 2), BF16: (1, 2), Q8_0: (32, 34), Q4_0: (32, 18)}
    for name, rows, columns, element in tensors:
        per_block, block_bytes = sizes[element]
        dims = (columns,) if rows == 1 else (columns, rows)
        infos += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        infos += struct.pack("<IQ", element, offset)
        offset += -(-(rows * columns // per_block * block_bytes) // 32) * 32
    head_bytes = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs) + infos
    with open(path, "wb") as file:
        file.write(head_bytes + b"\0" * (-len(head_bytes) % 32))
        for name, rows, columns, element in tensors:
            data = np.ones(columns, np.float32).tobytes() if "norm" in name else tensor_bytes(element, rows, columns)
            file.write(data + b"\0" * (-len(data) % 32))


if __name__ == "__main__":
    main()
