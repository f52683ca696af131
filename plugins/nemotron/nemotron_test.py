"""Nemotron (arXiv 2407.14679): layer norms whose weights lack their 1, rope on half of each head, relu squared. Nemotron-H (arXiv
2504.03624): layers of one thing each, Mamba-2, attention without positions, or relu squared; Nemotron 3 Nano: experts of it,
chosen by sigmoid scores with a bias, and a shared one."""
import mamba
from lab import *


def relu_squared(x):
    return np.maximum(x, 0) ** 2


def plain(b, x, prefix):
    return b.linear(relu_squared(b.linear(x, prefix + "up_proj")), prefix + "down_proj")


# ---- Attention and a feed-forward part in each layer ----

def forward(config, w, tokens):
    heads, kv_heads, head_width, _ = sizes(config)
    epsilon = config["norm_eps"]
    turn = layers.frequencies(int(head_width * config["partial_rotary_factor"]), config["rope_theta"])

    def norm(x, name):
        return layers.layer_norm(x, w[name + ".weight"] + 1, w[name + ".bias"], epsilon)
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = norm(x, b.prefix + "input_layernorm")
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        y = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn), v, heads, kv_heads)
        x = x + b.linear(y, "self_attn.o_proj")
        x = x + plain(b, norm(x, b.prefix + "post_attention_layernorm"), "mlp.")
    return head(w, norm(x, "model.norm"))


def dense(name, seed, refused=(), **changes):
    random = Random(seed)
    config = llama_config("NemotronForCausalLM", norm_eps=1e-5, partial_rotary_factor=0.5, hidden_act="relu2", **changes)
    weights = llama_weights(config, random, norm_around=0.0)
    weights = {name: tensor for name, tensor in weights.items() if "gate_proj" not in name}
    for norm in [name for name in weights if "norm.weight" in name]:
        weights[norm.replace(".weight", ".bias")] = random.vector(64)
    keys = gguf_keys("nemotron", config, **{"attention.layer_norm_rms_epsilon": None, "attention.layer_norm_epsilon": 1e-5,
                                            "rope.dimension_count": 8})
    gguf = to_gguf(weights, change=lambda name, tensor: tensor + 1 if name.endswith("norm.weight") else tensor)
    return Model(name, config, weights, forward, keys, gguf, refused=list(refused))


# ---- One thing in each layer ----

def hybrid_forward(config, w, tokens):
    heads, kv_heads, epsilon = config["num_attention_heads"], config["num_key_value_heads"], config["layer_norm_epsilon"]
    x = w["backbone.embeddings.weight"][tokens]
    for layer, kind in enumerate(config["hybrid_override_pattern"]):
        b = Block(w, f"backbone.layers.{layer}.")
        y = layers.rms_norm(x, b["norm.weight"], epsilon)
        if kind == "M":
            y = mamba.forward(b, "mixer.", y, shape_of(config), epsilon)
        elif kind == "*":
            q, k, v = (b.linear(y, f"mixer.{name}_proj") for name in "qkv")
            y = b.linear(layers.attention(q, k, v, heads, kv_heads), "mixer.o_proj")
        else:
            y = plain(b, y, "mixer.") if kind == "-" else experts(config, b, y)
        x = x + y
    return layers.rms_norm(x, w["backbone.norm_f.weight"], epsilon) @ w["lm_head.weight"].T


def experts(config, b, x):
    p = 1 / (1 + np.exp(-b.linear(x, "mixer.gate")))
    used, scale = config["num_experts_per_tok"], config["routed_scaling_factor"]

    def choose(row):
        chosen = layers.best(p[row] + b["mixer.gate.e_score_correction_bias"], used)
        return chosen, scale * p[row][chosen] / (p[row][chosen].sum() if config["norm_topk_prob"] else 1)
    chosen = layers.experts(x, choose, used, lambda e, row: plain(b, row, f"mixer.experts.{e}."))
    return chosen + plain(b, x, "mixer.shared_experts.")


def shape_of(config):
    return mamba.Shape(config["mamba_num_heads"], config["mamba_head_dim"], config["n_groups"], config["ssm_state_size"],
                       config["conv_kernel"])


NAMES = {"norm": "attn_norm", "mixer.q_proj": "attn_q", "mixer.k_proj": "attn_k", "mixer.v_proj": "attn_v",
         "mixer.o_proj": "attn_output", "mixer.up_proj": "ffn_up", "mixer.down_proj": "ffn_down", "mixer.gate": "ffn_gate_inp",
         "mixer.shared_experts.up_proj": "ffn_up_shexp", "mixer.shared_experts.down_proj": "ffn_down_shexp",
         "backbone.embeddings": "token_embd", "backbone.norm_f": "output_norm", "lm_head": "output"}


def hybrid(name, seed, pattern, refused=(), gguf_changes=None, **changes):
    random, width, count, hidden = Random(seed), 64, 6, 32
    config = {"architectures": ["NemotronHForCausalLM"], "num_hidden_layers": len(pattern), "hidden_size": width,
              "hybrid_override_pattern": pattern, "intermediate_size": 96, "num_attention_heads": 4, "num_key_value_heads": 2,
              "head_dim": 24, "vocab_size": VOCABULARY, "max_position_embeddings": 256, "layer_norm_epsilon": 1e-5,
              "mlp_hidden_act": "relu2", "mamba_num_heads": 8, "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 16,
              "conv_kernel": 4, "mamba_hidden_act": "silu", "use_conv_bias": True, "use_bias": False, "mlp_bias": False,
              "attention_bias": False, "time_step_limit": [0.0, float("inf")], "tie_word_embeddings": False} | changes
    if "E" in pattern:
        config |= {"n_routed_experts": count, "num_experts_per_tok": 2, "moe_intermediate_size": hidden, "n_shared_experts": 1,
                   "moe_shared_expert_intermediate_size": 48, "norm_topk_prob": True, "routed_scaling_factor": 2.5, "n_group": 1,
                   "topk_group": 1}
    attention = {"q_proj": (96, width), "k_proj": (48, width), "v_proj": (48, width), "o_proj": (width, 96)}
    shape = shape_of(config)
    weights = {"backbone.embeddings.weight": random.matrix(VOCABULARY, width, gain=8.0),
               "backbone.norm_f.weight": random.vector(width, 1.0), "lm_head.weight": random.matrix(VOCABULARY, width, gain=3.0)}
    gguf = {}
    for layer, kind in enumerate(pattern):
        block, to, made = f"backbone.layers.{layer}.mixer.", f"blk.{layer}.", {}
        weights[f"backbone.layers.{layer}.norm.weight"] = random.vector(width, 1.0)
        if kind == "M":
            made = mamba.weights(random, "", shape, width)
            gguf |= {to + new: tensor
                     for new, tensor in (mamba.gguf_tensor(part, tensor, shape) for part, tensor in made.items())}
        elif kind == "*":
            made = {part + ".weight": random.matrix(*size, gain=1.5) for part, size in attention.items()}
        elif kind == "-":
            made = {"up_proj.weight": random.matrix(96, width, gain=1.5), "down_proj.weight": random.matrix(width, 96, gain=1.5)}
        else:
            bias = random.vector(count)
            up, down = random.matrix(count, hidden, width, gain=1.5), random.matrix(count, width, hidden, gain=1.5)
            made = {"gate.weight": random.matrix(count, width, gain=3.0), "gate.e_score_correction_bias": bias,
                    "shared_experts.up_proj.weight": random.matrix(48, width, gain=1.5),
                    "shared_experts.down_proj.weight": random.matrix(width, 48, gain=1.5)}
            for e in range(count):
                made |= {f"experts.{e}.up_proj.weight": up[e], f"experts.{e}.down_proj.weight": down[e]}
            gguf |= {to + "exp_probs_b.bias": bias, to + "ffn_up_exps.weight": up, to + "ffn_down_exps.weight": down}
        weights |= {block + part: tensor for part, tensor in made.items()}
    for full, tensor in weights.items():
        layer, _, rest = full.removeprefix("backbone.layers.").partition(".")
        stem = (rest if layer.isdigit() else full).removesuffix(".weight")
        if stem in NAMES and full.endswith(".weight"):
            gguf[(f"blk.{layer}." if layer.isdigit() else "") + NAMES[stem] + ".weight"] = tensor
    inner = hidden if "E" in pattern else 96
    keys = {"block_count": len(pattern), "context_length": 256, "embedding_length": width, "vocab_size": VOCABULARY,
            "feed_forward_length": [inner if kind in "-E" else 0 for kind in pattern], "attention.head_count": 4,
            "attention.head_count_kv": [2 if kind == "*" else 0 for kind in pattern], "attention.key_length": 24,
            "attention.value_length": 24, "attention.layer_norm_rms_epsilon": 1e-5, "attention.layer_norm_epsilon": 1e-5,
            "rope.dimension_count": 24,
            "rope.scaling.finetuned": False, **mamba.gguf_keys(shape)}
    if "E" in pattern:
        keys |= {"expert_count": count, "expert_used_count": 2, "expert_feed_forward_length": hidden,
                 "expert_shared_feed_forward_length": 48, "expert_shared_count": 1, "expert_weights_norm": True,
                 "expert_weights_scale": 2.5, "expert_group_count": 1}
    architecture = "nemotron_h_moe" if "E" in pattern else "nemotron_h"
    keys = {"general.architecture": architecture} | {f"{architecture}.{key}": value for key, value in keys.items()}
    return Model(name, config, weights, hybrid_forward, keys, gguf, refused=list(refused),
                 conversion=other_keys("expert_group_count"))


def models():
    refused = [("hf", {"hybrid_override_pattern": "M-*M"}, "config.json: 'hybrid_override_pattern' has 4 letters for 6 layers"),
               ("hf", {"hybrid_override_pattern": "M-*XM-"},
                "config.json: 'hybrid_override_pattern' has 'X' for layer 3, expected M, *, - or E"),
               ("hf", {"mlp_hidden_act": "silu"}, "config.json: 'mlp_hidden_act' is 'silu', expected relu2"),
               ("gguf", {"nemotron_h.feed_forward_length": [0, 96, 0, 0, 0, 64]},
                "metadata key 'nemotron_h.feed_forward_length' has layers of different widths"),
               ("gguf", {"nemotron_h.feed_forward_length": 96},
                "metadata key 'nemotron_h.feed_forward_length' does not say a number for each layer")]
    moe_refused = [("hf", {"n_group": 2}, "config.json: 'n_group' is not 1: groups of experts are not supported")]
    return [dense("nemotron", 182, [("hf", {"hidden_act": "silu"}, "config.json: 'hidden_act' is 'silu', expected relu2")]),
            hybrid("nemotron-h", 182, "M-*MM-", refused), hybrid("nemotron-h-moe", 183, "ME*ME", moe_refused)]
