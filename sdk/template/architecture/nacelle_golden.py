"""What every golden.py needs: the weights of a test model by the rule of nacelle-conformance, a few parts of decoders in
float64, and the writing of models.json. Leave this file as it is."""
import json
import sys
from pathlib import Path

import numpy as np


def mix(seed, index):
    z = (np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + index + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def fnv1a(name):
    value = 0xCBF29CE484222325
    for byte in name.encode():
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return value


def weight(name, of):
    """Element i is uniform in [-1, 1) times scale plus offset, in f32; the seed is the hash of the tensor's name."""
    of = of if isinstance(of, dict) else {"shape": of}
    shape = of["shape"]
    scale = of.get("scale", np.sqrt(3 / shape[-1]) if len(shape) > 1 else 0.25)
    offset = of.get("offset", 1 if len(shape) == 1 and name.endswith(".weight") else 0)
    with np.errstate(over="ignore"):
        bits = mix(fnv1a(name), np.arange(np.prod(shape), dtype=np.uint64)) >> np.uint64(40)
    uniform = bits.astype(np.float64) / 8388608 - 1
    return (uniform * np.float32(scale) + np.float32(offset)).astype(np.float32).astype(np.float64).reshape(shape)


def norm(x, w, epsilon):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon) * w


def rope(x, heads, base):
    rows, half = x.shape[0], x.shape[1] // heads // 2
    x = x.reshape(rows, heads, 2 * half)
    angle = np.arange(rows)[:, None, None] * base ** (-np.arange(half) / half)
    a, b = x[..., :half], x[..., half:]
    turned = np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], axis=-1)
    return turned.reshape(rows, -1)


def attention(q, k, v, heads, kv_heads):
    rows, out = q.shape[0], []
    q, k, v = (t.reshape(rows, n, -1).transpose(1, 0, 2) for t, n in ((q, heads), (k, kv_heads), (v, kv_heads)))
    for head in range(heads):
        group = head // (heads // kv_heads)
        scores = q[head] @ k[group].T / np.sqrt(q.shape[2])
        scores = np.where(np.tril(np.ones((rows, rows))) > 0, scores, -np.inf)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        out.append(scores / scores.sum(axis=1, keepdims=True) @ v[group])
    return np.concatenate(out, axis=1)


def text(model):
    """One line for each key, and for each row of logits."""
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in model.items() if key not in ("tensors", "logits")]
    tensors = ",\n".join(f"    {json.dumps(name)}: {json.dumps(of)}" for name, of in model["tensors"].items())
    rows = ",\n".join("    [" + ", ".join(f"{value:.7g}" for value in row) + "]" for row in model["logits"])
    return "{\n" + ",\n".join(lines + [f'  "tensors": {{\n{tensors}\n  }}', f'  "logits": [\n{rows}\n  ]']) + "\n}"


def save(path, models):
    path.write_text('{"models": [\n' + ",\n".join(map(text, models)) + "\n]}\n")


def main(forward):
    """Puts forward(model)'s rows into each model of models.json, beside the script or as its argument."""
    path = Path(sys.argv[1] if len(sys.argv) > 1 else Path(sys.argv[0]).parent / "models.json")
    models = json.loads(path.read_text())["models"]
    for model in models:
        model["logits"] = forward(model).tolist()
    save(path, models)
