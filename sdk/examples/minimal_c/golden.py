#!/usr/bin/env python3
"""Logits of the attention-only test model, in float64 with NumPy, written into models.json."""
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "template/architecture"))
from nacelle_golden import attention, main, norm, weight  # noqa: E402


def forward(model):
    heads = model["config"]["attn_only.heads"]
    w = {name: weight(name, of) for name, of in model["tensors"].items()}
    x = w["embed"][model["tokens"]]
    h = norm(x, 1, 1e-6)
    q, k, v = (h @ w[name].T for name in ("query", "key", "value"))
    x = x + attention(q, k, v, heads, heads) @ w["out"].T
    return norm(x, 1, 1e-6) @ w["head"].T


if __name__ == "__main__":
    main(forward)
