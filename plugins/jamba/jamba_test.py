"""Jamba (arXiv 2403.19887): Mamba layers with norms, attention without rope in some, and experts in every other one, weighed by
their share of a softmax over all."""
import mamba1
from lab import *


def forward(config, w, tokens):
    heads, kv_heads, _, epsilon = sizes(config)
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = layers.rms_norm(x, b["input_layernorm.weight"], epsilon)
        if layer % config["attn_layer_period"] == config["attn_layer_offset"]:
            q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
            y = b.linear(layers.attention(q, k, v, heads, kv_heads), "self_attn.o_proj")
        else:
            y = mamba1.forward(b, "mamba.", y, shape_of(config),
                               lambda part, name: layers.rms_norm(part, b[name + ".weight"], epsilon))
        x = x + y
        y = layers.rms_norm(x, b["pre_ff_layernorm.weight"], epsilon)
        x = x + (experts(config, b, y) if has_experts(config, layer) else gated(b, y, prefix="feed_forward."))
    return head(w, layers.rms_norm(x, w["model.final_layernorm.weight"], epsilon))


def experts(config, b, x):
    shares, used = layers.softmax(b.linear(x, "feed_forward.router")), config["num_experts_per_tok"]

    def choose(row):
        chosen = layers.best(shares[row], used)
        return chosen, shares[row][chosen]
    return layers.experts(x, choose, used, lambda e, row: gated(b, row, prefix=f"feed_forward.experts.{e}."))


def has_experts(config, layer):
    return config["num_experts"] > 1 and layer % config["expert_layer_period"] == config["expert_layer_offset"]


def shape_of(config):
    return mamba1.Shape(config["mamba_expand"] * config["hidden_size"], config["mamba_d_state"], config["mamba_dt_rank"],
                        config["mamba_d_conv"])


NAMES = {"model.final_layernorm": "output_norm", "pre_ff_layernorm": "ffn_norm", "feed_forward.gate_proj": "ffn_gate",
         "feed_forward.up_proj": "ffn_up", "feed_forward.down_proj": "ffn_down"}


def model(name, seed, experts, refused=(), unsaid=()):
    """Without the keys in `unsaid`, which are what is usual."""
    random, hidden = Random(seed), 48
    config = llama_config("JambaForCausalLM", rms_norm_eps=0.01, intermediate_size=hidden, num_hidden_layers=4,
                          attn_layer_period=3, attn_layer_offset=1, expert_layer_period=2, expert_layer_offset=1,
                          num_experts=experts, num_experts_per_tok=min(2, experts), mamba_d_state=16, mamba_d_conv=4,
                          mamba_expand=2, mamba_dt_rank=4, mamba_conv_bias=True, mamba_proj_bias=False)
    plain = llama_weights(config, random, norms=("input_layernorm", "pre_ff_layernorm"))
    weights = {}
    for key, tensor in plain.items():
        layer = int(key.split(".")[2]) if ".layers." in key else None
        if "self_attn" in key and layer % 3 != 1 or ".mlp." in key and has_experts(config, layer):
            continue
        weights[key.replace(".mlp.", ".feed_forward.").replace("model.norm", "model.final_layernorm")] = tensor
    gguf = to_gguf(weights, NAMES)
    for layer in range(4):
        block = f"model.layers.{layer}."
        if layer % 3 != 1:
            made = mamba1.weights(random, block + "mamba.", shape_of(config), 64, norms=True)
            weights |= made
            gguf |= {f"blk.{layer}.{new}": tensor for new, tensor in
                     (mamba1.gguf_tensor(part.removeprefix(block + "mamba."), made[part]) for part in made)}
        if has_experts(config, layer):
            made, stacked = mixture_weights(random, [layer], experts, hidden)
            weights |= {part.replace("mlp.gate.", "feed_forward.router.").replace(".mlp.", ".feed_forward."): tensor
                        for part, tensor in made.items()}
            gguf |= stacked
    keys = gguf_keys("jamba", config, **mamba1.gguf_keys(shape_of(config)), **{
        "attention.head_count_kv": [2 if layer % 3 == 1 else 0 for layer in range(4)], "expert_count": experts,
        "expert_used_count": min(2, experts), "rope.freq_base": None, "rope.dimension_count": None})
    said = {key: value for key, value in config.items() if key not in unsaid}
    return Model(name, said, weights, lambda _, *of: forward(config, *of), keys, gguf, refused=list(refused))


def models():
    refused = [("hf", {"attn_layer_offset": 3}, "config.json: 'attn_layer_offset' is 3, which is not below attn_layer_period"),
               ("hf", {"sliding_window": 16}, "config.json: 'sliding_window' is set, which is not supported"),
               ("gguf", {"jamba.ssm.time_step_rank": None}, "metadata key 'jamba.ssm.time_step_rank' is missing")]
    unsaid = ("num_experts", "num_experts_per_tok", "expert_layer_period", "expert_layer_offset", "mamba_d_state", "mamba_d_conv",
              "mamba_expand", "mamba_dt_rank", "mamba_conv_bias", "mamba_proj_bias")
    return [model("jamba", 165, 6, refused), model("jamba-dense", 166, 1), model("jamba-unsaid", 167, 16, unsaid=unsaid)]
