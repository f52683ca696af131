#!/usr/bin/env python3
"""Logits of the twin family's test model, in float64 with NumPy, written into models.json."""
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "template/architecture"))
from nacelle_golden import attention, main, weight  # noqa: E402


def layer_norm(x, w, bias):
    centred = x - x.mean(axis=-1, keepdims=True)
    return centred / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + 1e-5) * w + bias


def rope(x, heads):
    """Neighbouring columns turn together."""
    rows, width = x.shape[0], x.shape[1] // heads
    x = x.reshape(rows, heads, width // 2, 2)
    angle = np.arange(rows)[:, None, None] * 10000.0 ** (-2 * np.arange(width // 2) / width)
    a, b = x[..., 0], x[..., 1]
    return np.stack([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], -1).reshape(rows, -1)


def forward(model):
    config = model["config"]
    heads, width, cap = config["n_head"], config["n_embd"], config["logit_cap"]

    def w(name, layer=None):
        pattern = name if layer is None else "blocks.{layer}." + name
        return weight(pattern.replace("{layer}", str(layer)), model["tensors"][pattern])

    x = w("embed.weight")[model["tokens"]]
    for layer in range(config["n_layer"]):
        h = layer_norm(x, w("norm.weight", layer), w("norm.bias", layer))
        q, k, v = np.split(h @ w("qkv.weight", layer).T, 3, axis=1)
        mixed = attention(rope(q, heads), rope(k, heads), v, heads, heads) @ w("out.weight", layer).T
        up = h @ w("up.weight", layer).T + w("up.bias", layer)
        gelu = up / 2 * (1 + np.tanh(np.sqrt(2 / np.pi) * (up + 0.044715 * up**3)))
        x = x + mixed + gelu @ w("down.weight", layer).T
    x = layer_norm(x, w("norm.weight"), w("norm.bias"))
    return cap * np.tanh(x @ w("embed.weight").T / cap)


if __name__ == "__main__":
    main(forward)
