"""Falcon-H1 (arXiv 2507.22448): attention and a Mamba-2 layer side by side in each block, then a gated feed-forward part, with
multipliers (section 2.3) of what goes in and out, which llama.cpp's converter puts into the matrices."""
import mamba
from lab import *


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn, shape, gate, down = layers.frequencies(head_width, config["rope_theta"]), shape_of(config), *config["mlp_multipliers"]
    x = w["model.embed_tokens.weight"][tokens] * config["embedding_multiplier"]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        before = layers.rms_norm(x, b["input_layernorm.weight"], epsilon)
        y = mamba.forward(b, "mamba.", before * config["ssm_in_multiplier"], shape, epsilon, config["ssm_multipliers"])
        q, k, v = (b.linear(before * config["attention_in_multiplier"], f"self_attn.{name}_proj") for name in "qkv")
        k = k * config["key_multiplier"]
        a = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn), v, heads, kv_heads)
        x = x + y * config["ssm_out_multiplier"] + b.linear(a, "self_attn.o_proj") * config["attention_out_multiplier"]
        y = layers.rms_norm(x, b["pre_ff_layernorm.weight"], epsilon)
        y = layers.silu(b.linear(y, "feed_forward.gate_proj") * gate) * b.linear(y, "feed_forward.up_proj")
        x = x + b.linear(y, "feed_forward.down_proj") * down
    return head(w, layers.rms_norm(x, w["model.final_layernorm.weight"], epsilon)) * config["lm_head_multiplier"]


def shape_of(config):
    norm = "none" if not config["mamba_rms_norm"] else "before" if config["mamba_norm_before_gate"] else "behind"
    return mamba.Shape(config["mamba_n_heads"], config["mamba_d_head"], config["mamba_n_groups"], config["mamba_d_state"],
                       config["mamba_d_conv"], norm)


def folded(config, name, tensor):
    """The tensor with its multipliers in it."""
    shape, gate, down = shape_of(config), *config["mlp_multipliers"]
    into = config["attention_in_multiplier"]
    factors = {"q_proj": into, "k_proj": into * config["key_multiplier"], "v_proj": into,
               "o_proj": config["attention_out_multiplier"], "gate_proj": gate, "down_proj": down,
               "out_proj": config["ssm_out_multiplier"], "embed_tokens": config["embedding_multiplier"],
               "lm_head": config["lm_head_multiplier"]}
    stem = name.removesuffix(".weight").split(".")[-1]
    if stem == "in_proj":
        shared = shape.groups * shape.state
        rows = np.repeat(config["ssm_multipliers"], [shape.inner, shape.inner, shared, shared, shape.heads])
        return (tensor * rows[:, None] * config["ssm_in_multiplier"]).astype(np.float32)
    return (tensor * factors.get(stem, 1)).astype(np.float32)


def model(name, seed, refused=(), **changes):
    random = Random(seed)
    multipliers = {"embedding_multiplier": 2.0, "lm_head_multiplier": 0.5, "attention_in_multiplier": 1.25,
                   "attention_out_multiplier": 0.75, "key_multiplier": 0.625, "mlp_multipliers": [0.875, 0.625],
                   "ssm_in_multiplier": 1.25, "ssm_out_multiplier": 0.5, "ssm_multipliers": [0.75, 0.875, 1.125, 1.25, 0.625]}
    config = llama_config("FalconH1ForCausalLM", mamba_d_ssm=96, mamba_n_heads=6, mamba_d_head=16, mamba_n_groups=2,
                          mamba_d_state=16, mamba_d_conv=4, mamba_expand=2, mamba_conv_bias=True, mamba_proj_bias=False,
                          projectors_bias=False, time_step_limit=[0.0, float("inf")], **multipliers, **changes)
    shape, names = shape_of(config), {"post_attention_layernorm": "pre_ff_layernorm", "mlp.": "feed_forward.",
                                      "model.norm": "model.final_layernorm"}
    weights = {}
    for full, tensor in llama_weights(config, random).items():
        for old, new in names.items():
            full = full.replace(old, new)
        weights[full] = tensor
    table = {"pre_ff_layernorm": "ffn_norm", "model.final_layernorm": "output_norm"}
    table |= {f"feed_forward.{part}_proj": f"ffn_{part}" for part in ("gate", "up", "down")}
    gguf = to_gguf({full: folded(config, full, tensor) for full, tensor in weights.items()}, table)
    gguf = {full.replace("ffn_norm.weight", "ffn_norm"): tensor for full, tensor in gguf.items()}
    for layer in range(config["num_hidden_layers"]):
        made = mamba.weights(random, "", shape, 64)
        weights |= {f"model.layers.{layer}.mamba.{part}": tensor for part, tensor in made.items()}
        for part, tensor in made.items():
            new, tensor = mamba.gguf_tensor(part, folded(config, part, tensor), shape)
            gguf[f"blk.{layer}.{new}"] = tensor
    keys = gguf_keys("falcon-h1", config, **mamba.gguf_keys(shape))
    without = config["mamba_rms_norm"] and config["mamba_norm_before_gate"]  # GGUF does not tell, llama.cpp does not know it
    return Model(name, config, weights, forward, None if without else keys, None if without else gguf, gguf_adapter=False,
                 conversion=refused_by_gguf("'mamba_norm_before_gate' with a norm cannot be said in GGUF") if without else {},
                 refused_adapter="expected an adapter in the model's own format", refused=list(refused))


def models():
    refused = [("hf", {"mlp_multipliers": [1.0]}, "config.json: 'mlp_multipliers' has 1 numbers, expected 2"),
               ("hf", {"key_multiplier": 0.0}, "config.json: 'key_multiplier' is not between 1e-6 and 1e6"),
               ("hf", {"attention_bias": True}, "config.json: 'attention_bias' is true, which this plugin does not know"),
               ("hf", {"mamba_d_ssm": 128},
                "config.json: 'mamba_d_ssm' is 128, expected mamba_n_heads times mamba_d_head, 96")]
    return [model("falcon-h1", 171, refused, mamba_rms_norm=False, mamba_norm_before_gate=False),
            model("falcon-h1-norm", 172, mamba_rms_norm=True, mamba_norm_before_gate=False),
            model("falcon-h1-norm-first", 173, mamba_rms_norm=True, mamba_norm_before_gate=True)]
