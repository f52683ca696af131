"""Mamba (arXiv 2312.00752) and Falcon Mamba: blocks of one layer each, behind an RMS norm. The latter norms what steps, B and C
come from, without weights."""
import backbone
import mamba1
from lab import *


def forward(config, w, tokens):
    shape, norm = shape_of(config), None
    if config["architectures"] == ["FalconMambaForCausalLM"]:
        norm = lambda x, name: layers.rms_norm(x, 1, config.get("mixer_rms_eps", 1e-6))
    return backbone.forward(config, w, tokens,
                            lambda prefix, x: mamba1.forward(Block(w, prefix), "mixer.", x, shape, norm))


def shape_of(config):
    rank = config["time_step_rank"]
    return mamba1.Shape(config["expand"] * config["hidden_size"], config["state_size"], 4 if rank == "auto" else rank,
                        config["conv_kernel"])


def model(name, seed, architecture, more_keys=None, refused=(), **changes):
    config = {"architectures": [architecture], "num_hidden_layers": 3, "hidden_size": 64, "expand": 2, "state_size": 16,
              "time_step_rank": "auto", "conv_kernel": 4, "use_bias": False, "use_conv_bias": True, "vocab_size": VOCABULARY,
              "layer_norm_epsilon": 1e-5, "hidden_act": "silu", "tie_word_embeddings": False,
              "max_position_embeddings": 256} | changes  # the last is not transformers'
    random, shape = Random(seed), shape_of(config)
    weights = backbone.weights(config, random, lambda prefix: mamba1.weights(
        random, prefix + "mixer.", shape, config["hidden_size"], False, config["use_conv_bias"], config["use_bias"]))
    keys = backbone.gguf_keys("mamba", config, {"ssm.dt_b_c_rms": architecture == "FalconMambaForCausalLM", **mamba1.gguf_keys(shape),
                                                **(more_keys or {})})
    return Model(name, config, weights, forward, keys, backbone.in_gguf(weights, mamba1.gguf_tensor), refused=list(refused))


def models():
    refused = [("hf", {"hidden_act": "gelu"}, "config.json: 'hidden_act' is not silu, which is all that Mamba layers are known "
                "with"),
               ("hf", {"expand": 4096}, "config.json: 'expand' makes 262144.000000 channels, expected 1 to 65536"),
               ("gguf", {"mamba.ssm.state_size": None}, "metadata key 'mamba.ssm.state_size' is missing"),
               ("gguf", {"blk.1.ssm_a": None}, "weight blk.1.ssm_a: tensor 'blk.1.ssm_a' is missing from the model file")]
    tied = model("mamba-tied", 161, "MambaForCausalLM", {"ssm.dt_b_c_rms": None}, tie_word_embeddings=True, state_size=8,
                 time_step_rank=6)
    tied.weights["backbone.embeddings.weight"] /= 4  # it is the head too
    biases = model("mamba-bias", 162, "MambaForCausalLM", use_bias=True, use_conv_bias=False, conv_kernel=3)
    biases.reads_like_llama_cpp = False  # it wants the convolution's bias, and knows no others
    own = model("falcon-mamba-epsilon", 164, "FalconMambaForCausalLM", {"ssm.dt_b_c_rms_epsilon": 0.02}, mixer_rms_eps=0.02)
    own.reads_like_llama_cpp = False  # it has one epsilon for all norms
    usual = model("falcon-mamba-unsaid", 165, "FalconMambaForCausalLM", {"ssm.dt_b_c_rms_epsilon": 1e-6})
    return [model("mamba", 160, "MambaForCausalLM", refused=refused), tied, biases,
            model("falcon-mamba", 163, "FalconMambaForCausalLM", mixer_rms_eps=1e-5), own, usual]
