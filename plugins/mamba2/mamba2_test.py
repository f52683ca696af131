"""Mamba-2 (arXiv 2405.21060): blocks of one layer each, behind an RMS norm; no positions, no attention, no feed-forward part."""
import backbone
import mamba
from lab import *


def forward(config, w, tokens):
    shape, epsilon = shape_of(config), config["layer_norm_epsilon"]
    return backbone.forward(config, w, tokens,
                            lambda prefix, x: mamba.forward(Block(w, prefix), "mixer.", x, shape, epsilon))


def shape_of(config):
    return mamba.Shape(config["num_heads"], config["head_dim"], config["n_groups"], config["state_size"], config["conv_kernel"])


def model(name, seed, refused=(), **changes):
    config = {"architectures": ["Mamba2ForCausalLM"], "num_hidden_layers": 3, "hidden_size": 64, "expand": 2, "num_heads": 8,
              "head_dim": 16, "n_groups": 2, "state_size": 16, "conv_kernel": 4, "use_bias": False, "use_conv_bias": True,
              "vocab_size": VOCABULARY, "layer_norm_epsilon": 1e-5, "hidden_act": "silu", "rms_norm": True,
              "norm_before_gate": False, "max_position_embeddings": 256,  # the last is not transformers'
              "time_step_limit": [0.0, float("inf")], "tie_word_embeddings": False} | changes
    random, shape = Random(seed), shape_of(config)
    weights = backbone.weights(config, random, lambda prefix: mamba.weights(
        random, prefix + "mixer.", shape, config["hidden_size"], config["use_conv_bias"], config["use_bias"]))
    gguf = backbone.in_gguf(weights, lambda name, tensor: mamba.gguf_tensor(name, tensor, shape))
    return Model(name, config, weights, forward, backbone.gguf_keys("mamba2", config, mamba.gguf_keys(shape)), gguf,
                 refused=list(refused))


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
