"""What a family's test writes its models with. plugins/NAME/NAME_test.py has a function models() that gives Models; each is
written as GGUF and as safetensors with the same random weights, and its logits come from its forward pass in NumPy."""
import dataclasses
from typing import Callable

import numpy as np

import layers

VOCABULARY = 320
GELU_TABLE = 2e-3  # llama.cpp looks GELU up in a table of F16, and has the tanh approximation where models have the erf


# Of a model whose safetensors `nacelle quantize` writes as GGUF: the line that it is refused with, whether today's converter
# lays it out otherwise than the GGUF at hand, and keys that are told otherwise.
CONVERSION = {"refused": "", "other_layout": False, "other_keys": []}
OTHER_LAYOUT = {"other_layout": True}


def refused_by_gguf(line):
    return {"refused": line}


def other_keys(*keys):
    return {"other_keys": list(keys)}


@dataclasses.dataclass
class Model:
    name: str
    config: dict  # config.json
    weights: dict  # tensors under Hugging Face's names; those that are stored packed are in `stored`
    forward: Callable  # (config, weights in float64, tokens) -> logits [tokens, vocabulary]
    gguf_keys: dict  # None, with gguf: the model has no GGUF
    gguf: dict  # tensors under GGUF's names
    gguf_values: dict = None  # the same where some of `gguf` are packed: all as numbers
    context: int = 128  # as loaded
    stored: dict = None  # what the safetensors file holds, where that is not `weights`
    exact: dict = None  # what a packed checkpoint says where the host rounds it to `weights`, by which logits differ by
    rounding: float = None  # this at most
    reads_like_llama_cpp: bool = True  # False: llama.cpp computes something else, see the family's test
    llama_cpp_tolerance: float = 1e-4
    tolerance: dict = dataclasses.field(default_factory=dict)  # by device, where quantised weights need more than 1e-4
    encoder: str = None  # "embed" or "rank": forward(config, weights, tokens, second) gives one vector
    gguf_adapter: bool = True  # False: the GGUF has no matrix for some pairs
    refused_adapter: str = ""  # the line with which the GGUF refuses adapters that were made for the safetensors
    conversion: dict = dataclasses.field(default_factory=dict)  # see CONVERSION
    between: int = 1  # special tokens between the two texts of a pair
    texts: dict = dataclasses.field(default_factory=dict)  # more files of the Hugging Face folder, by name
    # (format "gguf" or "hf", {key or tensor: value, None to take it away}, the line that it is refused with)
    refused: list = dataclasses.field(default_factory=list)


class Random:
    """Weights of the sizes that trained ones have: rows keep the length of what they are applied to."""

    def __init__(self, seed):
        self.generator = np.random.default_rng(seed)

    def matrix(self, *shape, gain=1.0):
        return (self.generator.standard_normal(shape) * gain / np.sqrt(shape[-1])).astype(np.float32)

    def vector(self, size, around=0.0):
        return (around + self.generator.standard_normal(size) * 0.2).astype(np.float32)


def llama_config(architecture, **changes):
    """config.json of a small Llama."""
    return {"architectures": [architecture], "num_hidden_layers": 3, "hidden_size": 64, "intermediate_size": 96,
            "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": VOCABULARY,
            "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "hidden_act": "silu",
            "tie_word_embeddings": False} | changes


def llama_weights(config, random, norms=("input_layernorm", "post_attention_layernorm"), bias=(), head_norm=None,
                  norm_around=1.0, feed_forward=True):
    """Tensors of a small Llama. `bias`: projections that have one. `head_norm`: widths of q_norm and k_norm."""
    width, hidden = config["hidden_size"], config["intermediate_size"]
    q, kv = (config[key] * config["head_dim"] for key in ("num_attention_heads", "num_key_value_heads"))
    weights = {"model.embed_tokens.weight": random.matrix(config["vocab_size"], width, gain=8.0),
               "model.norm.weight": random.vector(width, norm_around)}
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = random.matrix(config["vocab_size"], width, gain=3.0)
    shapes = {"self_attn.q_proj": (q, width), "self_attn.k_proj": (kv, width), "self_attn.v_proj": (kv, width),
              "self_attn.o_proj": (width, q)}
    if feed_forward:
        shapes |= {"mlp.gate_proj": (hidden, width), "mlp.up_proj": (hidden, width), "mlp.down_proj": (width, hidden)}
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}."
        for name in norms:
            weights[f"{block}{name}.weight"] = random.vector(width, norm_around)
        for name, shape in shapes.items():
            weights[f"{block}{name}.weight"] = random.matrix(*shape, gain=1.5)
            if name.split(".")[1] in bias:
                weights[f"{block}{name}.bias"] = random.vector(shape[0])
        if head_norm:
            weights[block + "self_attn.q_norm.weight"] = random.vector(head_norm[0], norm_around)
            weights[block + "self_attn.k_norm.weight"] = random.vector(head_norm[1], norm_around)
    return weights


def mixture_weights(random, chosen_layers, count, hidden, width=64):
    """(tensors under Hugging Face's names, under GGUF's names) of experts and what scores them, one expert a tensor there,
    all in one here."""
    weights, stacked = {}, {}
    for layer in chosen_layers:
        block = f"model.layers.{layer}.mlp."
        router = random.matrix(count, width, gain=3.0)
        weights[block + "gate.weight"] = stacked[f"blk.{layer}.ffn_gate_inp.weight"] = router
        for name, shape in {"gate_proj": (hidden, width), "up_proj": (hidden, width), "down_proj": (width, hidden)}.items():
            each = [random.matrix(*shape, gain=1.5) for _ in range(count)]
            weights |= {f"{block}experts.{e}.{name}.weight": tensor for e, tensor in enumerate(each)}
            stacked[f"blk.{layer}.ffn_{name[:-5]}_exps.weight"] = np.stack(each)
    return weights, stacked


def gguf_keys(prefix, config, **changes):
    """The keys of llama.cpp's converter that every family has; `changes` are keys under "<prefix>."."""
    keys = {"block_count": config["num_hidden_layers"], "context_length": config["max_position_embeddings"],
            "embedding_length": config["hidden_size"], "feed_forward_length": config["intermediate_size"],
            "attention.head_count": config["num_attention_heads"],
            "attention.head_count_kv": config["num_key_value_heads"], "attention.key_length": config["head_dim"],
            "attention.value_length": config["head_dim"], "attention.layer_norm_rms_epsilon": config["rms_norm_eps"],
            "rope.freq_base": float(config["rope_theta"]), "rope.dimension_count": config["head_dim"],
            "vocab_size": config["vocab_size"]} | changes
    return {"general.architecture": prefix} | {f"{prefix}.{key}": v for key, v in keys.items() if v is not None}


GGUF_NAMES = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
              "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
              "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
              "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
              "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def to_gguf(weights, names=None, change=None):
    """Tensors under GGUF's names. `names` adds to GGUF_NAMES; `change(name, tensor)` is applied under the new name."""
    table, result = GGUF_NAMES | (names or {}), {}
    for name, tensor in weights.items():
        stem, suffix = name.rsplit(".", 1) if name.endswith((".weight", ".bias")) else (name, "weight")
        prefix = ""
        for blocks in ("model.layers.", "encoder.layer.", "encoder.layers.", "transformer.h.", "transformer.blocks.", "gpt_neox.layers."):
            if stem.startswith(blocks):
                layer, stem = stem[len(blocks):].split(".", 1)
                prefix = f"blk.{layer}."
        new = prefix + table[stem] + "." + suffix
        result[new] = change(new, tensor) if change else tensor
    return result


def interleaved(heads):
    """llama.cpp's order of the rows of one head in files whose rope turns neighbours: from halves to pairs."""
    def change(tensor, count):
        return tensor.reshape(count, 2, len(tensor) // count // 2, *tensor.shape[1:]).swapaxes(1, 2).reshape(tensor.shape)

    def by_name(name, tensor):
        for part, count in zip(("attn_q.", "attn_k."), heads):
            if part in name:
                return change(tensor, count)
        return tensor
    return by_name


class Block:
    """The weights of one layer, by what follows "model.layers.N."."""

    def __init__(self, weights, prefix):
        self.weights, self.prefix = weights, prefix

    def __getitem__(self, name):
        return self.weights[self.prefix + name]

    def linear(self, x, name):
        bias = self.weights.get(f"{self.prefix}{name}.bias", 0)
        return x @ self[name + ".weight"].T + bias


def sizes(config):
    return config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"], config["rms_norm_eps"]


def gated(block, x, activation=layers.silu, prefix="mlp."):
    return block.linear(activation(block.linear(x, prefix + "gate_proj")) * block.linear(x, prefix + "up_proj"),
                        prefix + "down_proj")


def mixture(block, x, p, used, divide, bias=0, scale=1):
    """x through the `used` experts whose p + bias [rows, experts] are largest, weighted by p, over their sum if `divide`."""
    def choose(row):
        chosen = layers.best(p[row] + bias, used)
        return chosen, scale * p[row][chosen] / (p[row][chosen].sum() if divide else 1)
    return layers.experts(x, choose, used, lambda e, row: gated(block, row, prefix=f"mlp.experts.{e}."))


def head(weights, x):
    return x @ weights.get("lm_head.weight", weights["model.embed_tokens.weight"]).T


IMAGES = "language_model."  # before the names of the part about text


def text_part(config, w):
    """The configuration and the weights of the part about text of a model that sees images."""
    return config.get("text_config", config) | {"architectures": config["architectures"]}, {
        name.removeprefix(IMAGES): tensor for name, tensor in w.items()}


def seeing(model, architecture, name):
    """The same model as checkpoints that see images have it: its settings and tensors apart, beside a tower for images."""
    text = {key: value for key, value in model.config.items() if key not in ("architectures", "tie_word_embeddings")}
    config = {"architectures": [architecture], "text_config": text, "vision_config": {"hidden_size": 32},
              "tie_word_embeddings": model.config["tie_word_embeddings"]}
    weights = {IMAGES + name: tensor for name, tensor in model.weights.items()}
    tower = {"vision_tower.patch_conv.weight": Random(1).matrix(32, 3, 2, 2), "multi_modal_projector.linear_1.weight": Random(2).matrix(64, 32)}
    return dataclasses.replace(model, name=name, config=config, weights=weights, stored=weights | tower, refused=[])
