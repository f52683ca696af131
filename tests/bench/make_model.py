#!/usr/bin/env python3
"""Writes a GGUF of a real model's shape with random weights, for benchmarks: speed depends on shapes, not on values.

    make_model.py SHAPE TYPE OUT.gguf [VOCABULARY]     e.g. make_model.py llama-3.2-1b q4_k_m /tmp/1b.gguf

Needs numpy. The vocabulary is made up (one token an id), so that other programs load the file too; or VOCABULARY is a
folder with a real one's encoder.json and vocab.bpe, where grammars are to be followed.
"""
import json
import pathlib
import struct
import sys

import numpy as np

SHAPES = {  # architecture, layers, width, ffn, heads, kv heads, head width, vocabulary, tied head, q/k/v biases
    "llama-3.2-1b": ("llama", 16, 2048, 8192, 32, 8, 64, 128256, True, False),
    "tinyllama-1.1b": ("llama", 22, 2048, 5632, 32, 4, 64, 32000, False, False),
    "qwen2.5-0.5b": ("qwen2", 24, 896, 4864, 14, 2, 64, 151936, True, True),
    "granite-1b-a400m": ("llama", 24, 1024, 512, 16, 8, 64, 49152, True, False),  # but for its scalings
    "lfm2-1.2b": ("lfm2", 16, 2048, 8192, 32, 8, 64, 65536, True, False),
    "granite-4-h-1b": ("granitehybrid", 40, 1536, 4096, 12, 4, 128, 100352, True, False),
    "qwen3.5-0.8b": ("qwen35", 24, 1024, 3584, 8, 2, 256, 248320, True, False),
    "tiny": ("llama", 2, 256, 512, 8, 4, 32, 2048, True, False),
}
EXPERTS = {"granite-1b-a400m": (32, 8)}  # in a layer, and taken by a token
# Layers that attend; the others keep a state.
ATTENDING = {"lfm2-1.2b": [2, 5, 8, 10, 12, 14], "granite-4-h-1b": [5, 15, 25, 35], "qwen3.5-0.8b": list(range(3, 24, 4))}
STATES = {"granite-4-h-1b": (48, 64, 1, 128), "qwen3.5-0.8b": (16, 128, 16, 128)}  # heads, their width; groups, their width
FORMATS = {  # ggml's id, elements and bytes of a block; where its f16 scale and min lie; the min, in scales, that
    # centres random codes; the root mean square of an element made of random bytes at scale 1
    "f32": (0, 1, 4), "f16": (1, 1, 2), "bf16": (30, 1, 2),
    "q8_0": (8, 32, 34, 0, None, 0, 74), "q4_0": (2, 32, 18, 0, None, 0, 4.6), "q4_1": (3, 32, 20, 0, 2, -7.5, 4.6),
    "q5_0": (6, 32, 22, 0, None, 0, 9.2), "q5_1": (7, 32, 24, 0, 2, -15.5, 9.2),
    "q2_k": (10, 256, 84, 80, 82, 1.5, 14), "q3_k": (11, 256, 110, 108, None, 0, 43),
    "q4_k": (12, 256, 144, 0, 2, 7.5, 258), "q5_k": (13, 256, 176, 0, 2, 15.5, 528),
    "q6_k": (14, 256, 210, 208, None, 0, 1363), "iq4_nl": (20, 32, 18, 0, None, 0, 67),
    "iq4_xs": (23, 256, 136, 0, None, 0, 1243), "mxfp4": (39, 32, 17, None, None, 0, 5.9),
}
# What llama.cpp's quantiser takes where a row is no multiple of 256.
FALLBACKS = {"q2_k": "iq4_nl", "q3_k": "iq4_nl", "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0", "iq4_xs": "iq4_nl"}
TYPES = [*FORMATS, "q4_k_m"]
PEAK = 6.0
rng = np.random.default_rng(1)


def element_type(kind, name, layer, layers, tied, columns):
    """The type of a matrix in a file of `kind`. q4_k_m gives some tensors more bits, as llama.cpp's quantiser does: the
    head, and the values and the feed-forward's way down in the outer eighths and in every third layer between."""
    if kind == "q4_k_m":
        outer = layers // 8
        more = layer < outer or layer >= 7 * layers // 8 or (layer - outer) % 3 == 2
        head = name == "output.weight" or (tied and name == "token_embd.weight")
        kind = "q6_k" if head or (more and name.endswith(("attn_v.weight", "ffn_down.weight"))) else "q4_k"
    return FALLBACKS[kind] if columns % FORMATS[kind][1] else kind


def tensor_bytes(kind, rows, columns):
    """Random weights of about 1/sqrt(columns), in `kind`."""
    scale = columns**-0.5
    if FORMATS[kind][1] > 1:
        _, elements, size, scale_at, min_at, centre, spread = FORMATS[kind]
        blocks = rng.integers(0, 256, (rows * columns // elements, size), np.uint8)
        if scale_at is None:  # a power of two
            blocks[:, 0] = 128 + round(np.log2(scale / spread))
            return blocks.tobytes()
        for at, value in ((scale_at, scale / spread), (min_at, centre * scale / spread)):
            if at is not None:
                blocks[:, at:at + 2] = np.frombuffer(np.float16(value).tobytes(), np.uint8)
        return blocks.tobytes()
    values = rng.standard_normal((rows, columns), np.float32) * np.float32(scale)
    if kind == "bf16":
        return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    return values.astype(np.float16 if kind == "f16" else np.float32).tobytes()


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def made_up(vocabulary):
    """(pre-tokenizer, tokens, types, merges, first and last id of a text): one merge joins two of the tokens."""
    names = {2: "t", 3: "0"}
    return "gpt-2", [names.get(i, f"t{i}") for i in range(vocabulary)], np.ones(vocabulary, np.int32), ["t 0"], (0, 1)


def real(vocabulary, folder):
    """The same, of Llama 3's form; ids behind the folder's are control tokens."""
    tokens = [f"<|special_{i}|>" for i in range(vocabulary)]
    types = np.full(vocabulary, 3, np.int32)
    for token, i in json.loads((folder / "encoder.json").read_text()).items():
        tokens[i], types[i] = token, 1
    merges = (folder / "vocab.bpe").read_text().split("\n")[1:]
    ends = int(np.argmax(types == 3))  # those of Llama 3: the first two behind the words
    return "llama-bpe", tokens, types, [merge for merge in merges if merge], (ends, ends + 1)


def recurrent_tensors(shape, width):
    """(name, rows, columns) of a layer that keeps a state."""
    if shape == "lfm2-1.2b":
        return [("shortconv.in_proj.weight", 3 * width, width), ("shortconv.conv.weight", width, 3),
                ("shortconv.out_proj.weight", width, width)]
    heads, head, groups, state = STATES[shape]
    inner, mixed = heads * head, heads * head + 2 * groups * state
    vectors = [("ssm_dt.bias", 1, heads), ("ssm_conv1d.weight", mixed, 4), ("ssm_out.weight", width, inner)]
    if shape == "granite-4-h-1b":
        return vectors + [("ssm_in.weight", inner + mixed + heads, width), ("ssm_conv1d.bias", 1, mixed),
                          ("ssm_a", heads, 1), ("ssm_d", heads, 1), ("ssm_norm.weight", groups, inner // groups)]
    return vectors + [("attn_qkv.weight", mixed, width), ("attn_gate.weight", inner, width), ("ssm_a", 1, heads),
                      ("ssm_alpha.weight", heads, width), ("ssm_beta.weight", heads, width), ("ssm_norm.weight", 1, head)]


def recurrent_metadata(shape, u32, f32):
    """What an architecture with states says beside what all say."""
    if shape == "lfm2-1.2b":
        return u32("shortconv.l_cache", 3)
    heads, head, groups, state = STATES[shape]
    for key, value in (("conv_kernel", 4), ("inner_size", heads * head), ("state_size", state), ("group_count", groups),
                       ("time_step_rank", heads)):
        u32("ssm." + key, value)
    if shape == "qwen3.5-0.8b":
        return u32("full_attention_interval", 4)
    for key in ("embedding_scale", "residual_scale", "logit_scale"):
        f32(key, 1.0)
    f32("attention.scale", 128**-0.5)


def metadata(shape, arch, layers, width, ffn, heads, kv_heads, head, vocabulary, experts, folder):
    pairs = []
    def add(key, kind, data):
        pairs.append(text(key) + struct.pack("<I", kind) + data)
    def u32(key, value):
        add(key, 4, struct.pack("<I", value))
    add("general.architecture", 8, text(arch))
    add("general.name", 8, text("random weights"))
    for key, value in (("block_count", layers), ("context_length", 8192), ("embedding_length", width),
                       ("feed_forward_length", ffn), ("attention.head_count", heads),
                       ("rope.dimension_count", head // 4 if arch == "qwen35" else head),
                       ("vocab_size", vocabulary), *zip(("expert_count", "expert_used_count"), experts)):
        u32(f"{arch}.{key}", value)
    if arch in ("lfm2", "granitehybrid"):
        kinds = [kv_heads if layer in ATTENDING[shape] else 0 for layer in range(layers)]
        add(f"{arch}.attention.head_count_kv", 9, struct.pack(f"<IQ{layers}I", 4, layers, *kinds))
    else:
        u32(f"{arch}.attention.head_count_kv", kv_heads)
    if arch == "qwen35":
        u32("qwen35.attention.key_length", head)
        u32("qwen35.attention.value_length", head)
        add("qwen35.rope.dimension_sections", 9, struct.pack("<IQ4I", 4, 4, 11, 11, 10, 0))
    if shape in ATTENDING:
        recurrent_metadata(shape, lambda key, value: u32(f"{arch}.{key}", value),
                           lambda key, value: add(f"{arch}.{key}", 6, struct.pack("<f", value)))
    add(f"{arch}.attention.layer_norm_rms_epsilon", 6, struct.pack("<f", 1e-5))
    add(f"{arch}.rope.freq_base", 6, struct.pack("<f", 500000.0))
    add("tokenizer.ggml.model", 8, text("gpt2"))
    pre, tokens, types, merges, ends = real(vocabulary, folder) if folder else made_up(vocabulary)
    def texts(key, values):
        add(key, 9, struct.pack("<IQ", 8, len(values)) + b"".join(text(value) for value in values))
    add("tokenizer.ggml.pre", 8, text(pre))
    texts("tokenizer.ggml.tokens", tokens)
    add("tokenizer.ggml.token_type", 9, struct.pack("<IQ", 5, vocabulary) + types.tobytes())
    texts("tokenizer.ggml.merges", merges)
    u32("tokenizer.ggml.bos_token_id", ends[0])
    u32("tokenizer.ggml.eos_token_id", ends[1])
    return pairs


def main():
    shape, kind, path = sys.argv[1:4]
    folder = pathlib.Path(sys.argv[4]) if len(sys.argv) > 4 else None
    if shape not in SHAPES or kind not in TYPES:
        sys.exit(f"shapes: {', '.join(SHAPES)}; types: {', '.join(TYPES)}")
    arch, layers, width, ffn, heads, kv_heads, head, vocabulary, tied, biases = SHAPES[shape]
    tensors = []

    def add(name, rows, columns, layer=0, count=1):
        plain = rows == 1 or columns < 32 or name.endswith(("ffn_gate_inp.weight", "ssm_norm.weight"))
        kind_of = "f32" if plain else element_type(kind, name, layer, layers, tied, columns)
        tensors.append((name, count, rows, columns, kind_of))

    add("token_embd.weight", vocabulary, width)
    add("token_embd_norm.weight" if arch == "lfm2" else "output_norm.weight", 1, width)
    if not tied:
        add("output.weight", vocabulary, width)
    experts = EXPERTS.get(shape, ())
    for layer in range(layers):
        attends = layer in ATTENDING.get(shape, [layer])
        mixing = [("attn_q.weight", heads * head * (2 if arch == "qwen35" else 1), width),
                  ("attn_k.weight", kv_heads * head, width), ("attn_v.weight", kv_heads * head, width),
                  ("attn_output.weight", width, heads * head)]
        if arch in ("lfm2", "qwen35"):
            mixing += [("attn_q_norm.weight", 1, head), ("attn_k_norm.weight", 1, head)]
        second = "post_attention_norm.weight" if arch == "qwen35" else "ffn_norm.weight"
        for name, rows, columns in (("attn_norm.weight", 1, width), (second, 1, width),
                                    *(mixing if attends else recurrent_tensors(shape, width))):
            add(f"blk.{layer}.{name}", rows, columns, layer)
        for name, rows, columns in (("gate", ffn, width), ("up", ffn, width), ("down", width, ffn)):
            form = f"ffn_{name}_exps.weight" if experts else f"ffn_{name}.weight"
            add(f"blk.{layer}.{form}", rows, columns, layer, *experts[:1])
        if experts:
            add(f"blk.{layer}.ffn_gate_inp.weight", experts[0], width)
        if biases:
            for name, rows in (("q", heads), ("k", kv_heads), ("v", kv_heads)):
                add(f"blk.{layer}.attn_{name}.bias", 1, rows * head)
    pairs = metadata(shape, arch, layers, width, ffn, heads, kv_heads, head, vocabulary, experts, folder)
    infos, offset = b"", 0
    for name, count, rows, columns, element in tensors:
        ggml_id, per_block, block_bytes = FORMATS[element][:3]
        dims = (columns,) if rows == 1 and not name.endswith("ssm_norm.weight") or shape == "qwen3.5-0.8b" and rows == 1 else (columns, rows) if count == 1 else (columns, rows, count)
        infos += text(name) + struct.pack("<I", len(dims)) + struct.pack(f"<{len(dims)}Q", *dims)
        infos += struct.pack("<IQ", ggml_id, offset)
        offset += -(-(count * rows * columns // per_block * block_bytes) // 32) * 32
    head_bytes = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(pairs)) + b"".join(pairs) + infos
    with open(path, "wb") as file:
        file.write(head_bytes + b"\0" * (-len(head_bytes) % 32))
        for name, count, rows, columns, element in tensors:
            if "norm" in name:  # logits as peaked as a trained model's: few tokens share most of the probability
                peak = PEAK if name in ("output_norm.weight", "token_embd_norm.weight") else 1
                data = np.full(rows * columns, peak, np.float32).tobytes()
            elif name.endswith("ssm_a"):
                data = np.full(rows * columns, -1, np.float32).tobytes()
            else:
                data = tensor_bytes(element, count * rows, columns)
            file.write(data + b"\0" * (-len(data) % 32))


if __name__ == "__main__":
    main()
