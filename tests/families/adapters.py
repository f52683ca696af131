"""Low-rank adapters for a family's test model: a random pair for every matrix of its blocks, experts among them, for the head and
for the embedding, as PEFT and as llama.cpp's converter write them, and the weights with scale * B A added, whose forward pass
gives what a server with the adapter must give."""
import json
import pathlib
import re

import numpy as np

import files

RANK, ALPHA = 3, 6.0
# Families whose forward pass takes a head of its own, also where the model's is the embedding.
HEADS = {"model.embed_tokens.weight": "lm_head.weight", "gpt_neox.embed_in.weight": "embed_out.weight",
         "model.language_model.embed_tokens.weight": "lm_head.weight", "model.word_embeddings.weight": "lm_head.weight",
         "language_model.model.embed_tokens.weight": "language_model.lm_head.weight",
         "backbone.embeddings.weight": "lm_head.weight"}
BLOCKS = ("layers.", ".h.", "h.", ".blocks.")


# Experts in one tensor [experts, inputs, outputs], and one by one.
MODULE = re.compile(r"(.*\.experts)\.(gate_up_proj|down_proj)$")
SINGLE = re.compile(r"(model\.layers\.\d+)\.(\w+)\.experts\.(\d+)\.(\w+)\.weight$")
RENAMED = {"block_sparse_moe": "mlp"}  # where transformers 5 has the module, if elsewhere
PARTS = {"w1": "gate", "w3": "up", "w2": "down", "gate_proj": "gate", "up_proj": "up", "down_proj": "down"}


def matrices_of(name, tensor):
    """(key of a pair, matrix [outputs, inputs]) of what takes pairs in the tensor."""
    if tensor.ndim == 3 and MODULE.match(name):
        return [((name, expert), matrix.T) for expert, matrix in enumerate(tensor)]
    # GGUF has one row as a vector; norms of heads' own are rows.
    takes_pair = tensor.ndim == 2 and len(tensor) > 1 and name.endswith(".weight") and "_norm." not in name and (
        name in HEADS.values() or any(block in name for block in BLOCKS))
    return [(name, tensor)] if takes_pair else []


def module_tensors(stem, a, b):
    """A [experts, rank, inputs] and B [experts, outputs, rank] as PEFT flattens them."""
    return {stem + ".lora_A.weight": a.reshape(-1, a.shape[2]),
            stem + ".lora_B.weight": b.transpose(1, 2, 0).reshape(b.shape[1], -1)}


class Adapter:
    """Pairs by Hugging Face's tensor names, or (name, expert): A [RANK, inputs], B [outputs, RANK]; the embedding's are
    A [RANK, vocabulary], B [width, RANK], and leave a head alone that is the same matrix."""

    def __init__(self, model, seed):
        random = np.random.default_rng(seed)
        self.model, self.pairs = model, {}
        self.transposed = model.config["architectures"][0] == "GPT2LMHeadModel"  # matrices are [inputs, outputs]
        for key, matrix in self.matrices():
            outputs, inputs = matrix.shape
            size = np.std(matrix) * 0.4 / (ALPHA / RANK)
            a = random.standard_normal((RANK, inputs)).astype(np.float32)
            b = (random.standard_normal((outputs, RANK)) * size / np.sqrt(RANK)).astype(np.float32)
            if (single := SINGLE.match(str(key))) and single[3] == "1":
                b[:] = 0  # as an adapter that leaves some experts alone
            self.pairs[key] = a, b
        self.embedding = next((name for name in HEADS if name in model.weights), None)
        if self.embedding:
            table = model.weights[self.embedding]
            a = random.standard_normal((RANK, len(table))).astype(np.float32)
            b = random.standard_normal((table.shape[1], RANK)) * np.std(table) * 0.4 / (ALPHA / RANK) / np.sqrt(RANK)
            self.embedding_pair = a, b.astype(np.float32)

    def matrices(self):
        for name, tensor in self.model.weights.items():
            for key, matrix in matrices_of(name, tensor):
                yield key, matrix.T if self.transposed else matrix

    def change(self, name):
        is_embedding = name == self.embedding
        a, b = (half.astype(np.float64) for half in (self.embedding_pair if is_embedding else self.pairs[name]))
        return ALPHA / RANK * ((b @ a).T if self.transposed or is_embedding else b @ a)

    def experts_of(self, name):
        """The pairs of a tensor of experts, A [experts, RANK, inputs] and B [experts, outputs, RANK]."""
        pairs = [self.pairs[name, expert] for expert in range(len(self.model.weights[name]))]
        return np.stack([a for a, _ in pairs]), np.stack([b for _, b in pairs])

    def merged(self):
        changed = {name: tensor.astype(np.float64) for name, tensor in self.model.weights.items()}
        if self.embedding:
            changed.setdefault(HEADS[self.embedding], changed[self.embedding])
        for key in [*self.pairs, *filter(None, [self.embedding])]:
            if isinstance(key, tuple):
                name, expert = key
                changed[name][expert] += self.change(key).T
            else:
                changed[key] = changed[key] + self.change(key)
        return changed

    def write_peft(self, folder):
        """With target_parameters where the model has its experts in one tensor."""
        more, tensors = {}, {}
        for name in self.model.weights:
            if (module := MODULE.match(name)) and (name, 0) in self.pairs:
                inner = ".base_layer" if module[2] == "gate_up_proj" else ""
                tensors |= module_tensors("base_model.model." + module[1] + inner, *self.experts_of(name))
                parent = ".".join(module[1].split(".")[-2:])
                more = {"target_parameters": [parent + ".gate_up_proj", parent + ".down_proj"]}
        singles = {name: pair for name, pair in self.pairs.items() if isinstance(name, str) and pair[1].any()}
        self.write_folder(folder, singles, tensors, more)

    def write_module_peft(self, folder, old):
        """The same where transformers 5 has the experts in one tensor and the file has them one by one: gate and up share
        one of twice the rank. Before PEFT 0.19 (`old`) A lay along the outputs of such tensors, too."""
        layers = {}
        for name in self.pairs:
            if isinstance(name, str) and (single := SINGLE.match(name)):
                module = f"{single[1]}.{RENAMED.get(single[2], single[2])}.experts"
                layers.setdefault(module, {})[PARTS[single[4]], int(single[3])] = self.pairs[name]
        if not layers:
            return
        tensors = {}
        for module, parts in layers.items():
            halves = {part: [np.stack([parts[part, e][half] for e in range(len(parts) // 3)]) for half in (0, 1)]
                      for part in ("gate", "up", "down")}
            (gate_a, gate_b), (up_a, up_b) = halves["gate"], halves["up"]
            both = np.zeros((len(gate_b), 2 * gate_b.shape[1], 2 * RANK), np.float32)
            both[:, : gate_b.shape[1], :RANK], both[:, gate_b.shape[1] :, RANK:] = gate_b, up_b
            pairs = {".base_layer": (np.concatenate([gate_a, up_a], axis=1), both), "": halves["down"]}
            for inner, (a, b) in pairs.items():
                a, b = (b.swapaxes(1, 2), a.swapaxes(1, 2)) if old else (a, b)
                tensors |= module_tensors(f"base_model.model.{module}{inner}", a, b)
        more = {"target_parameters": ["gate_up_proj", "down_proj"], "rank_pattern": {".*\\.gate_up_proj": 2 * RANK},
                "alpha_pattern": {".*\\.gate_up_proj": 2 * ALPHA}}
        alone = {name: tensor for name, tensor in tensors.items() if ".layers.0.mlp.experts.base_layer." in name}
        self.write_folder(f"{folder}-gate-up", {}, alone, more)  # of one layer, and nothing else
        self.write_folder(folder, {name: pair for name, pair in self.pairs.items() if not SINGLE.match(name)}, tensors, more)

    def write_folder(self, folder, pairs, tensors, more):
        folder = pathlib.Path(folder)
        folder.mkdir(parents=True)
        config = {"peft_type": "LORA", "r": RANK, "lora_alpha": ALPHA, "bias": "none", "fan_in_fan_out": self.transposed}
        (folder / "adapter_config.json").write_text(json.dumps(config | more))
        for name, (a, b) in pairs.items():
            stem = "base_model.model." + name.removesuffix(".weight")
            tensors |= {stem + ".lora_A.weight": a, stem + ".lora_B.weight": b}
        if self.embedding and pairs:
            stem = "base_model.model." + self.embedding.removesuffix(".weight")
            a, b = self.embedding_pair
            tensors |= {stem + ".lora_embedding_A": a, stem + ".lora_embedding_B": b,
                        stem + ".base_layer.weight": self.model.weights[self.embedding]}
        files.write_safetensors(folder / "adapter_model.safetensors", tensors)

    def write_gguf(self, path):
        """Rows of B go where the model's GGUF has the rows of the matrix, which are found by what is in them; so do columns of
        A where it has the columns in another order."""
        def places_of(turn):
            return {np.ascontiguousarray(values).tobytes(): (key, place) for key, matrix in self.matrices()
                    for place, values in enumerate(turn(matrix))}
        rows, columns = places_of(lambda matrix: matrix), places_of(np.transpose)
        tensors, found = {}, set()

        def source_of(name, places, lines):
            at = [places.get(np.ascontiguousarray(values).tobytes()) for values in lines]
            if None in at:
                return None, None
            sources = {source for source, _ in at}
            assert len(sources) == 1, f"{name} is made of {sources}"
            found.update(sources)
            return self.pairs[sources.pop()], [place for _, place in at]

        def pair_of(name, matrix):
            pair, order = source_of(name, rows, matrix)
            if pair:
                return pair[0], pair[1][order]
            pair, order = source_of(name, columns, matrix.T)
            return (np.ascontiguousarray(pair[0][:, order]), pair[1]) if pair else None

        for name, tensor in (self.model.gguf_values or self.model.gguf).items():
            if not isinstance(tensor, np.ndarray) or tensor.ndim not in (2, 3):
                continue
            pairs = [pair_of(name, matrix) for matrix in (tensor if tensor.ndim == 3 else [tensor])]
            if None in pairs:
                continue
            a, b = pairs[0] if tensor.ndim == 2 else (np.stack([pair[half] for pair in pairs]) for half in (0, 1))
            tensors |= {name + ".lora_a": a, name + ".lora_b": b}
        assert len(found) == len(self.pairs), "a pair has found no tensor of the GGUF file"
        if self.embedding:
            a, b = self.embedding_pair
            tensors |= {"token_embd.weight.lora_a": np.ascontiguousarray(a.T), "token_embd.weight.lora_b": b}
        keys = {"general.type": "adapter", "general.architecture": self.model.gguf_keys["general.architecture"],
                "adapter.type": "lora", "adapter.lora.alpha": ALPHA}
        files.write_gguf(path, keys, tensors)
