#!/usr/bin/env python3
"""Test models for nacelle-conformance out of the families' own tests: plugins/NAME/models.json.

    family_models.py NAME...   writes them anew (needs python3-numpy); a family that changes runs it again

Configuration, shapes and the forward pass in NumPy are those of plugins/NAME/NAME_test.py; the vocabulary is smaller, and the
weights follow from the tensors' names, as everywhere in models.json."""
import collections
import importlib
import re
import sys
from pathlib import Path

root = Path(__file__).resolve().parents[2]
sys.dont_write_bytecode = True
sys.path[:0] = [str(root / "tests/families"), str(root / "sdk/template/architecture")]
import lab  # noqa: E402
import nacelle_golden as golden  # noqa: E402

VOCABULARY, TOKENS = 24, 20  # more tokens than the narrowest window
ENDLESS = [0.0, float("inf")]  # what JSON cannot say, and what is so where the key is missing
# Of models that differ in their context or their GGUF alone, one; 27 layers are too many; packed ones have no shapes of
# their own.
LEFT_OUT = {"phi3-short", "mixtral-old", "gpt-oss-mxfp4", "deepseek-v2-lite", "deepseek-v2-lite-split",
            "deepseek-v3-whole", "qwen3-next-old"}


LAYER = re.compile(r"^((?:model|transformer|gpt_neox|backbone)\.(?:layers|h|blocks))\.(\d+)\.")
EXPERT = re.compile(r"\.experts\.(\d+)\.")


def patterns(tensors):
    """Layers and experts that are alike become one entry: a tensor that not every layer has keeps its number."""
    layers = len({match[2] for match in map(LAYER.match, tensors) if match})
    experts = max([0, *(int(match[1]) + 1 for match in map(EXPERT.search, tensors) if match)])
    single = {name: EXPERT.sub(".experts.{expert}.", name) for name in tensors}
    merged = {name: LAYER.sub(r"\1.{layer}.", name) for name in single.values()}
    counts = collections.Counter(merged.values())
    found = {}
    for name, shape in tensors.items():
        pattern = merged[single[name]] if counts[merged[single[name]]] == layers else single[name]
        if found.setdefault(pattern, shape) != shape:
            return dict(tensors), 0, 0
    return found, layers, experts


def convert(model):
    config = {key: value for key, value in model.config.items() if value is not None and value != ENDLESS}
    config |= {key: VOCABULARY for key in ("vocab_size", "padded_vocab_size") if key in config}
    tensors = {name: [VOCABULARY if n == lab.VOCABULARY else n for n in tensor.shape]
               for name, tensor in model.weights.items()}
    weights = {name: golden.weight(name, shape) for name, shape in tensors.items()}
    tokens = [int(token) for token in golden.mix(7, golden.np.arange(TOKENS, dtype=golden.np.uint64)) % VOCABULARY]
    found, layers, experts = patterns(tensors)
    return {"name": model.name, "format": "huggingface", "layers": layers, "experts": experts, "config": config,
            "tokens": tokens, "tensors": found, "logits": model.forward(model.config | config, weights, tokens).tolist()}


def main():
    golden.np.seterr(over="ignore")
    for name in sys.argv[1:]:
        sys.path.insert(0, str(root / "plugins" / name))
        models = [m for m in importlib.import_module(f"{name}_test").models() if m.name not in LEFT_OUT and not m.stored]
        golden.save(root / "plugins" / name / "models.json", [convert(model) for model in models])


if __name__ == "__main__":
    main()
