#!/usr/bin/env python3
"""usage: make_lora.py TINYSTORIES_FOLDER OUT_FOLDER

Low-rank adapters for TinyStories-656K, and the same model with each of them merged into its weights, W + scale * B A:
what a server with adapters must equal. Standard library only; shares no code with the server.

OUT_FOLDER gets a/ and b/ (as PEFT writes them), a.gguf (as llama.cpp's converter writes it), merged-a/, merged-b/ (Hugging
Face layout), merged-a.gguf, merged-c/ for c/, which changes head and embedding as well, and adapters that must be refused:
bad-shape/, bad-name/, trained-head/, resized/, norm/.
"""
import json
import math
import pathlib
import random
import shutil
import struct
import subprocess
import sys

source, out = map(pathlib.Path, sys.argv[1:3])
config = json.loads((source / "config.json").read_text())
heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]


def read_safetensors(path):
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    header = json.loads(data[8 : 8 + size])
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        assert entry["dtype"] == "F32"
        tensors[name] = (entry["shape"], list(struct.unpack_from(f"<{(end - begin) // 4}f", data, 8 + size + begin)))
    return tensors


def write_safetensors(path, tensors):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        packed = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(packed)]}
        data += packed
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def f32(values):
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))


def make_pair(rng, shape, rank, size):
    rows, columns = shape
    a = f32([rng.gauss(0, 1 / math.sqrt(columns)) for _ in range(rank * columns)])
    b = f32([rng.gauss(0, size) for _ in range(rows * rank)])
    return a, b


def merge(shape, weight, a, b, rank, scale):
    rows, columns = shape
    merged = []
    for n in range(rows):
        row = weight[n * columns : (n + 1) * columns]
        for i in range(rank):
            factor = scale * b[n * rank + i]
            low = a[i * columns : (i + 1) * columns]
            row = [w + factor * x for w, x in zip(row, low)]
        merged += row
    return shape, merged


def write_adapter(folder, pairs, rank, settings, more=None):
    folder.mkdir()
    settings = {"peft_type": "LORA", "r": rank, "bias": "none", "modules_to_save": None, **settings}
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    tensors = {}
    for module, (shape, a, b) in pairs.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = ([rank, shape[1]], a)
        tensors[f"base_model.model.{module}.lora_B.weight"] = ([shape[0], rank], b)
    write_safetensors(folder / "adapter_model.safetensors", tensors | (more or {}))


def write_merged(folder, base, pairs, rank, scale_of):
    folder.mkdir()
    for name in ("config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json"):
        shutil.copy(source / name, folder)
    merged = dict(base)
    for module, (shape, a, b) in pairs.items():
        merged[module + ".weight"] = merge(shape, base[module + ".weight"][1], a, b, rank, scale_of(module))
    write_safetensors(folder / "model.safetensors", merged)


def interleaved(values, columns, head_count):
    """Rows as GGUF's llama has them: the halves of each head in turns."""
    rows = [values[i : i + columns] for i in range(0, len(values), columns)]
    width = len(rows) // head_count
    order = [h * width + j * (width // 2) + i for h in range(head_count) for i in range(width // 2) for j in range(2)]
    return [x for row in order for x in rows[row]]


def write_gguf(path, pairs, rank, alpha):
    names = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
             "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
             "mlp.down_proj": "ffn_down"}
    text = lambda s: struct.pack("<Q", len(s)) + s.encode()
    keys = [text(key) + struct.pack("<I", 8) + text(value) for key, value in
            (("general.type", "adapter"), ("general.architecture", "llama"), ("adapter.type", "lora"))]
    keys.append(text("adapter.lora.alpha") + struct.pack("<If", 6, alpha))
    tensors = []
    for module, (shape, a, b) in pairs.items():
        _, _, layer, part = module.split(".", 3)
        name = f"blk.{layer}.{names[part]}.weight"
        if part in ("self_attn.q_proj", "self_attn.k_proj"):
            b = interleaved(b, rank, heads if "q_proj" in part else kv_heads)
        tensors.append((name + ".lora_a", [shape[1], rank], a))
        tensors.append((name + ".lora_b", [rank, shape[0]], b))
    infos, data = b"", b""
    for name, dims, values in tensors:
        infos += text(name) + struct.pack("<I2Q", 2, *dims) + struct.pack("<IQ", 0, len(data))
        data += struct.pack(f"<{len(values)}f", *values)
        data += b"\0" * (-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys)) + b"".join(keys) + infos
    path.write_bytes(head + b"\0" * (-len(head) % 32) + data)


base = read_safetensors(source / "model.safetensors")
linear = [name[: -len(".weight")] for name in base if "_proj.weight" in name]
rng = random.Random(7)

pairs_a = {m: (base[m + ".weight"][0], *make_pair(rng, base[m + ".weight"][0], 8, 0.05)) for m in linear}
write_adapter(out / "a", pairs_a, 8, {"lora_alpha": 16})
write_merged(out / "merged-a", base, pairs_a, 8, lambda module: 16 / 8)
write_gguf(out / "a.gguf", pairs_a, 8, 16.0)
subprocess.run([sys.executable, source / "hf_to_gguf.py", out / "merged-a", out / "merged-a.gguf"], check=True,
               stdout=subprocess.DEVNULL)

# Some weights only, another rank, stabilised scale, and a scale of its own for one kind of module.
few = [m for m in linear if m.endswith(("q_proj", "down_proj"))]
pairs_b = {m: (base[m + ".weight"][0], *make_pair(rng, base[m + ".weight"][0], 4, 0.4)) for m in few}
write_adapter(out / "b", pairs_b, 4, {"lora_alpha": 2, "use_rslora": True, "alpha_pattern": {"down_proj": 3}})
write_merged(out / "merged-b", base, pairs_b, 4, lambda module: (3 if module.endswith("down_proj") else 2) / math.sqrt(4))

one = linear[0]
write_adapter(out / "bad-shape", {one: ([64, 128], *make_pair(rng, [64, 128], 4, 1))}, 4, {"lora_alpha": 4})
write_adapter(out / "bad-name", {"model.layers.9.mlp.up_proj": ([64, 128], *make_pair(rng, [64, 128], 4, 1))}, 4,
              {"lora_alpha": 4})

# The head and the embedding too, the embedding itself beside its pair as PEFT saves it (A [rank, vocabulary], B [width, rank]).
embedding, head = "model.embed_tokens", "lm_head"
assert config["tie_word_embeddings"]  # the head is the embedding; an adapter changes each alone
untied = {**base, embedding + ".weight": base[head + ".weight"]}
pairs_c = {m: (base[m + ".weight"][0], *make_pair(rng, base[m + ".weight"][0], 4, 0.1)) for m in [*few, head]}
vocabulary, width = untied[embedding + ".weight"][0]
low, high = make_pair(rng, [width, vocabulary], 4, 0.3)


def with_embedding(folder, name, tensor, more=()):
    write_adapter(out / folder, pairs_c, 4, {"lora_alpha": 8}, {
        f"base_model.model.{embedding}.lora_embedding_A": ([4, vocabulary], low),
        f"base_model.model.{embedding}.lora_embedding_B": ([width, 4], high), f"base_model.model.{name}": tensor, **dict(more)})


with_embedding("c", embedding + ".base_layer.weight", untied[embedding + ".weight"])
turned = [low[r * vocabulary + t] for t in range(vocabulary) for r in range(4)]
back = [high[w * 4 + r] for r in range(4) for w in range(width)]
write_merged(out / "merged-c", untied, {**pairs_c, embedding: ([vocabulary, width], back, turned)}, 4, lambda module: 8 / 4)
(out / "merged-c" / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": False}))
trained = [x + 0.1 for x in base[head + ".weight"][1]]
with_embedding("trained-head", head + ".weight", (base[head + ".weight"][0], trained))
with_embedding("resized", embedding + ".weight", ([vocabulary - 1, width], untied[embedding + ".weight"][1][width:]))
with_embedding("norm", "model.norm.weight", base["model.norm.weight"])
