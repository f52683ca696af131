#!/usr/bin/env python3
"""Writes goldens.json: what llama.cpp's quantizer makes of the same weights and the same models.

    LD_LIBRARY_PATH=LIBS make_goldens.py LIBS > goldens.json

LIBS: the folder of libllama and libggml, as the npm package node-llama-cpp installs it
(node_modules/@node-llama-cpp/linux-x64/bins/linux-x64). Needs numpy.
"""
import ctypes
import glob
import json
import struct
import sys
import tempfile

import numpy as np

LIBS = sys.argv[1]
for pattern in ("libggml-base.so*", "libggml.*so*", "libllama.*so*"):
    library = ctypes.CDLL(glob.glob(f"{LIBS}/{pattern}")[0], ctypes.RTLD_GLOBAL)
    if pattern == "libggml-base.so*":
        ggml = library
    elif pattern == "libggml.*so*":
        library.ggml_backend_load_all_from_path(ctypes.c_char_p(LIBS.encode()))
ggml.ggml_quantize_chunk.restype = ctypes.c_size_t
ggml.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64,
                                     ctypes.c_int64, ctypes.c_void_p]

# ---- Errors: the same numbers as in encode_test.cpp ----------------------------------------------------------------

ROWS, COLUMNS = 8, 1024
TYPES = {"Q4_0": (2, 32, 18), "Q4_1": (3, 32, 20), "Q5_0": (6, 32, 22), "Q5_1": (7, 32, 24), "Q8_0": (8, 32, 34),
         "Q2_K": (10, 256, 84), "Q3_K": (11, 256, 110), "Q4_K": (12, 256, 144), "Q5_K": (13, 256, 176),
         "Q6_K": (14, 256, 210), "IQ4_NL": (20, 32, 18), "IQ4_XS": (23, 256, 136), "MXFP4": (39, 32, 17)}


class Traits(ctypes.Structure):
    _fields_ = [("name", ctypes.c_char_p), ("block", ctypes.c_int64), ("interleave", ctypes.c_int64),
                ("size", ctypes.c_size_t), ("quantized", ctypes.c_bool), ("to_float", ctypes.c_void_p)]


ggml.ggml_get_type_traits.restype = ctypes.POINTER(Traits)
TO_FLOAT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)


def uniform(seed, count):
    """splitmix64 of seed << 32 | index, as doubles in [0, 1)."""
    z = (np.uint64(seed) << np.uint64(32)) + np.arange(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        z = (z + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (z >> np.uint64(11)).astype(np.float64) / 2.0**53


def weights(kind):
    count = ROWS * COLUMNS
    x = uniform(1, count) + uniform(2, count) + uniform(3, count) + uniform(4, count) - 2
    if kind == "heavy":
        x = x * x * x
    if kind == "shifted":
        x = x + 0.5
    return (0.05 * x).astype(np.float32).reshape(ROWS, COLUMNS)


def errors():
    importance = (uniform(5, COLUMNS) ** 4 * 10 + 0.01).astype(np.float32)
    out = {}
    for name, (id_, elements, size) in TYPES.items():
        for kind in ("normal", "heavy", "shifted"):
            x = weights(kind)
            for weighed in (False, True):
                blocks = np.zeros(x.size // elements * size, np.uint8)
                ggml.ggml_quantize_chunk(id_, x.ctypes.data, blocks.ctypes.data, 0, ROWS, COLUMNS,
                                         importance.ctypes.data if weighed else None)
                y = np.zeros_like(x)
                TO_FLOAT(ggml.ggml_get_type_traits(id_).contents.to_float)(blocks.ctypes.data, y.ctypes.data, x.size)
                w = importance if weighed else np.ones(COLUMNS, np.float32)
                d = x.astype(np.float64) - y
                error = float(np.sqrt((w * d * d).sum() / (w * x.astype(np.float64) ** 2).sum()))
                out[f"{name} {kind}{' weighed' if weighed else ''}"] = float(f"{error:.6g}")
    return out


# ---- Mixes ---------------------------------------------------------------------------------------------------------

RECIPES = {"q8_0": 7, "q6_k": 18, "q5_k_m": 17, "q5_k_s": 16, "q5_1": 9, "q5_0": 8, "q4_k_m": 15, "q4_k_s": 14,
           "q4_1": 3, "q4_0": 2, "iq4_nl": 25, "iq4_xs": 30, "q3_k_l": 13, "q3_k_m": 12, "q3_k_s": 11, "q2_k": 10,
           "f16": 1, "bf16": 32}
NAMES = {0: "F32", 1: "F16", 30: "BF16", **{id_: name for name, (id_, _, _) in TYPES.items()}}


def text(value):
    return struct.pack("<Q", len(value)) + value.encode()


def model(arch, layers, heads, kv_heads, experts=0, tied=False, width=256, fused=False):
    tensors = [("token_embd.weight", (32, width)), ("output_norm.weight", (width,))]
    if not tied:
        tensors.append(("output.weight", (32, width)))
    for i in range(layers):
        names = ["attn_qkv"] if fused else ["attn_q", "attn_k", "attn_v"]
        parts = [("attn_norm", (width,))] + [(name, (2, width)) for name in names + ["attn_output"]]
        if experts:
            parts += [("ffn_gate_inp", (experts, width))]
            parts += [(f"ffn_{name}_exps", (experts, 2, width)) for name in ("gate", "up", "down")]
        else:
            parts += [(f"ffn_{name}", (2, width)) for name in (("up", "down") if fused else ("gate", "up", "down"))]
        tensors += [(f"blk.{i}.{name}.weight", shape) for name, shape in parts]
    return {"architecture": arch, "layers": layers, "heads": heads, "kv_heads": kv_heads, "experts": experts,
            "tied": tied, "tensors": tensors}


def write_gguf(m, path):
    a = m["architecture"]
    numbers = {"block_count": m["layers"], "context_length": 64, "embedding_length": 256, "feed_forward_length": 256,
               "attention.head_count": m["heads"], "attention.head_count_kv": m["kv_heads"]}
    if m["experts"]:
        numbers |= {"expert_count": m["experts"], "expert_used_count": 2}
    keys = [text("general.architecture") + struct.pack("<I", 8) + text(a),
            text(f"{a}.attention.layer_norm_rms_epsilon") + struct.pack("<If", 6, 1e-5)]
    keys += [text(f"{a}.{key}") + struct.pack("<II", 4, value) for key, value in numbers.items()]
    infos, data = b"", b""
    rng = np.random.default_rng(1)
    for name, shape in m["tensors"]:
        infos += text(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape[::-1], 0, len(data))
        data += rng.standard_normal(shape).astype(np.float32).tobytes()
        data += b"\0" * (-len(data) % 32)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(m["tensors"]), len(keys)) + b"".join(keys) + infos
    open(path, "wb").write(head + b"\0" * (-len(head) % 32) + data)


def read_types(path, count):
    """The types of a GGUF file without arrays in its metadata."""
    data = open(path, "rb").read()
    tensors, keys = struct.unpack_from("<QQ", data, 8)
    at = 24

    def string():
        nonlocal at
        size = struct.unpack_from("<Q", data, at)[0]
        at += 8 + size
        return data[at - size:at].decode()
    for _ in range(keys):
        string()
        kind = struct.unpack_from("<I", data, at)[0]
        at += 4
        if kind == 8:
            string()
        else:
            at += {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}[kind]
    types = {}
    for _ in range(tensors):
        name = string()
        rank = struct.unpack_from("<I", data, at)[0]
        types[name] = NAMES[struct.unpack_from("<I", data, at + 4 + 8 * rank)[0]]
        at += 16 + 8 * rank
    assert len(types) == count
    return types


class Parameters(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_ubyte * 128)]


def mixes():
    library.llama_backend_init()
    library.llama_model_quantize_default_params.restype = Parameters
    letters = {name: chr(ord("a") + i) for i, name in enumerate(NAMES.values())}
    models = [model("llama", 16, 8, 2), model("llama", 9, 8, 4, tied=True), model("llama", 8, 8, 2, experts=8),
              model("llama", 80, 8, 1), model("phi3", 8, 4, 4, fused=True), model("qwen2", 8, 4, 4, width=96)]
    with tempfile.TemporaryDirectory() as folder:
        for m in models:
            write_gguf(m, f"{folder}/in.gguf")
            m["types"] = {}
            for recipe, id_ in RECIPES.items():
                parameters = library.llama_model_quantize_default_params()
                struct.pack_into("<ii", parameters.bytes, 0, 1, id_)
                out = f"{folder}/out.gguf"
                if library.llama_model_quantize(f"{folder}/in.gguf".encode(), out.encode(), ctypes.byref(parameters)):
                    sys.exit(f"llama.cpp refused {recipe} of {m['architecture']}")
                types = read_types(out, len(m["tensors"]))
                m["types"][recipe] = "".join(letters[types[name]] for name, _ in m["tensors"])
    return {"letters": {letter: name for name, letter in letters.items()}, "models": models}


print(json.dumps({"errors": errors(), "mixes": mixes()}, separators=(",", ":")).replace("\"}},{", "\"}},\n{"))
