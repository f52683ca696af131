"""Mamba-2 (arXiv 2405.21060): blocks of one layer each, behind an RMS norm; no positions, no attention, no feed-forward part."""
import mamba
from lab import *


def forward(config, w, tokens):
    shape = shape_of(config)
    x = w["backbone.embeddings.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"backbone.layers.{layer}.")
        y = layers.rms_norm(x, b["norm.weight"], config["layer_norm_epsilon"])
        x = x + mamba.forward(b, "mixer.", y, shape, config["layer_norm_epsilon"])
    x = layers.rms_norm(x, w["backbone.norm_f.weight"], config["layer_norm_epsilon"])
    return x @ w.get("lm_head.weight", w["backbone.embeddings.weight"]).T


def shape_of(config):
    return mamba.Shape(config["num_heads"], config["head_dim"], config["n_groups"], config["state_size"], config["conv_kernel"])


def in_gguf(weights, shape):
    names = {"backbone.embeddings": "token_embd", "backbone.norm_f": "output_norm", "lm_head": "output"}
    result = {}
    for name, tensor in weights.items():
        stem, _, rest = name.removeprefix("backbone.layers.").partition(".")
        if not stem.isdigit():
            result[names[name.removesuffix(".weight")] + ".weight"] = tensor
        elif rest == "norm.weight":
            result[f"blk.{stem}.attn_norm.weight"] = tensor
        else:
            new, tensor = mamba.gguf_tensor(rest.removeprefix("mixer."), tensor, shape)
            result[f"blk.{stem}.{new}"] = tensor
    return result


def model(name, seed, refused=(), **changes):
    config = {"architectures": ["Mamba2ForCausalLM"], "num_hidden_layers": 3, "hidden_size": 64, "expand": 2, "num_heads": 8,
              "head_dim": 16, "n_groups": 2, "state_size": 16, "conv_kernel": 4, "use_bias": False, "use_conv_bias": True,
              "vocab_size": VOCABULARY, "layer_norm_epsilon": 1e-5, "hidden_act": "silu", "rms_norm": True,
              "norm_before_gate": False, "max_position_embeddings": 256,  # the last is not transformers'
              "time_step_limit": [0.0, float("inf")], "tie_word_embeddings": False} | changes
    random, shape, width = Random(seed), shape_of(config), config["hidden_size"]
    weights = {"backbone.embeddings.weight": random.matrix(VOCABULARY, width, gain=8.0),
               "backbone.norm_f.weight": random.vector(width, 1.0)}
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = random.matrix(VOCABULARY, width, gain=3.0)
    for layer in range(config["num_hidden_layers"]):
        block = f"backbone.layers.{layer}."
        weights[block + "norm.weight"] = random.vector(width, 1.0)
        weights |= mamba.weights(random, block + "mixer.", shape, width, config["use_conv_bias"], config["use_bias"])
    keys = {"block_count": 3, "context_length": 1 << 20, "embedding_length": width, "feed_forward_length": 0,
            "attention.head_count": 0, "attention.layer_norm_rms_epsilon": 1e-5, "vocab_size": VOCABULARY,
            **mamba.gguf_keys(shape)}
    keys = {"general.architecture": "mamba2"} | {f"mamba2.{key}": value for key, value in keys.items()}
    return Model(name, config, weights, forward, keys, in_gguf(weights, shape), refused=list(refused))


def models():
    refused = [("hf", {"time_step_limit": [0.0, 0.1]}, "config.json: 'time_step_limit' does not say 0 to Infinity: steps within "
                "bounds are not supported"),
               ("hf", {"rms_norm": False}, "config.json: 'rms_norm' is false: layers without the norm in front of out_proj are "
                "not supported"),
               ("hf", {"hidden_act": "gelu"}, "config.json: 'hidden_act' is not silu, which is all that Mamba-2 layers are known "
                "with"),
               ("hf", {"num_heads": 9}, "config.json: 'n_groups' is 2, which does not divide 9 heads"),
               ("gguf", {"mamba2.ssm.inner_size": 100}, "metadata key 'mamba2.ssm.inner_size' is 100, no multiple of 8 heads "
                "(mamba2.ssm.time_step_rank)"),
               ("gguf", {"blk.1.ssm_a": None}, "weight blk.1.ssm_a: tensor 'blk.1.ssm_a' is missing from the model "
                "file")]
    tied = model("mamba2-tied", 152, tie_word_embeddings=True, n_groups=1)
    tied.weights["backbone.embeddings.weight"] /= 4  # it is the head too
    biases = model("mamba2-bias", 153, use_bias=True, use_conv_bias=False)
    biases.reads_like_llama_cpp = False  # it wants the convolution's bias, and knows no others
    return [model("mamba2", 151, refused), tied, biases]
