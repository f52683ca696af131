"""Low-rank adapters for a family's test model: a random pair for every matrix of its blocks, for the head and for the embedding,
as PEFT and as llama.cpp's converter write them, and the weights with scale * B A added, whose forward pass gives what a server
with the adapter must give."""
import json
import pathlib

import numpy as np

import files

RANK, ALPHA = 3, 6.0
# Families whose forward pass takes a head of its own, also where the model's is the embedding.
HEADS = {"model.embed_tokens.weight": "lm_head.weight", "gpt_neox.embed_in.weight": "embed_out.weight"}
BLOCKS = ("layers.", ".h.", "h.", ".blocks.")


def takes_pair(name, tensor):
    return tensor.ndim == 2 and ".experts." not in name and name.endswith(".weight") and (
        name in HEADS.values() or any(block in name for block in BLOCKS))


class Adapter:
    """Pairs by Hugging Face's tensor names: A [RANK, inputs], B [outputs, RANK]; the embedding's are A [RANK, vocabulary],
    B [width, RANK], and leave a head alone that is the same matrix."""

    def __init__(self, model, seed):
        random = np.random.default_rng(seed)
        self.model, self.pairs = model, {}
        self.transposed = model.config["architectures"][0] == "GPT2LMHeadModel"  # matrices are [inputs, outputs]
        for name, tensor in model.weights.items():
            if not takes_pair(name, tensor):
                continue
            outputs, inputs = tensor.shape[::-1] if self.transposed else tensor.shape
            size = np.std(tensor) * 0.4 / (ALPHA / RANK)
            a = random.standard_normal((RANK, inputs)).astype(np.float32)
            b = (random.standard_normal((outputs, RANK)) * size / np.sqrt(RANK)).astype(np.float32)
            self.pairs[name] = a, b
        self.embedding = next((name for name in HEADS if name in model.weights), None)
        if self.embedding:
            table = model.weights[self.embedding]
            a = random.standard_normal((RANK, len(table))).astype(np.float32)
            b = random.standard_normal((table.shape[1], RANK)) * np.std(table) * 0.4 / (ALPHA / RANK) / np.sqrt(RANK)
            self.embedding_pair = a, b.astype(np.float32)

    def change(self, name):
        is_embedding = name == self.embedding
        a, b = (half.astype(np.float64) for half in (self.embedding_pair if is_embedding else self.pairs[name]))
        return ALPHA / RANK * ((b @ a).T if self.transposed or is_embedding else b @ a)

    def merged(self):
        changed = {name: tensor.astype(np.float64) for name, tensor in self.model.weights.items()}
        if self.embedding:
            changed.setdefault(HEADS[self.embedding], changed[self.embedding])
        for name in [*self.pairs, *filter(None, [self.embedding])]:
            changed[name] = changed[name] + self.change(name)
        return changed

    def write_peft(self, folder):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True)
        config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", "fan_in_fan_out": self.transposed}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        tensors = {}
        for name, (a, b) in self.pairs.items():
            stem = "base_model.model." + name.removesuffix(".weight")
            tensors |= {stem + ".lora_A.weight": a, stem + ".lora_B.weight": b}
        if self.embedding:
            stem = "base_model.model." + self.embedding.removesuffix(".weight")
            a, b = self.embedding_pair
            tensors |= {stem + ".lora_embedding_A": a, stem + ".lora_embedding_B": b,
                        stem + ".base_layer.weight": self.model.weights[self.embedding]}
        files.write_safetensors(folder / "adapter_model.safetensors", tensors)

    def write_gguf(self, path):
        """Rows of B go where the model's GGUF has the rows of the matrix, which are found by what is in them."""
        places = {}
        for name in self.pairs:
            tensor = self.model.weights[name]
            for row, values in enumerate(tensor.T if self.transposed else tensor):
                places[np.ascontiguousarray(values).tobytes()] = name, row
        tensors = {}
        for name, tensor in self.model.gguf.items():
            if not isinstance(tensor, np.ndarray) or tensor.ndim != 2:
                continue
            rows = [places.get(np.ascontiguousarray(values).tobytes()) for values in tensor]
            if None in rows:
                continue
            sources = {source for source, _ in rows}
            assert len(sources) == 1, f"{name} is made of {sources}"
            a, b = self.pairs[sources.pop()]
            tensors |= {name + ".lora_a": a, name + ".lora_b": b[[row for _, row in rows]]}
        assert len(tensors) == 2 * len(self.pairs), "a pair has found no tensor of the GGUF file"
        if self.embedding:
            a, b = self.embedding_pair
            tensors |= {"token_embd.weight.lora_a": np.ascontiguousarray(a.T), "token_embd.weight.lora_b": b}
        keys = {"general.type": "adapter", "general.architecture": self.model.gguf_keys["general.architecture"],
                "adapter.type": "lora", "adapter.lora.alpha": ALPHA}
        files.write_gguf(path, keys, tensors)
