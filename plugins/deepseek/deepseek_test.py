"""DeepSeek-V2 and V3 (arXiv 2405.04434, 2412.19437 and modeling_deepseek.py of both): keys and values of all heads made of one
latent vector a token, here in the form of the papers, whole; a part of each head, and one key for all of them, turned by
YaRN whose mscale enters the scale of the scores; experts beside those that every token goes through, chosen among the best
groups, after layers that have none."""
from lab import *

HEADS, PLAIN, TURNED, VALUE, RANK = 4, 16, 8, 24, 32


def growth(scaling, mscale):
    return 0.1 * scaling.get(mscale, 0) * np.log(scaling["factor"]) + 1 if scaling else 1.0


def rope(config):
    """(radians a position of each pair, magnitude, scale of the scores)."""
    width, scaling = config["qk_rope_head_dim"], config["rope_scaling"]
    scale = (config["qk_nope_head_dim"] + width) ** -0.5
    f = layers.frequencies(width, config["rope_theta"])
    if not scaling:
        return f, 1.0, scale

    def border(turns):
        return width * np.log(scaling["original_max_position_embeddings"] / (turns * 2 * np.pi)) / (
            2 * np.log(config["rope_theta"]))
    low = max(np.floor(border(scaling["beta_fast"])), 0)
    high = min(np.ceil(border(scaling["beta_slow"])), width - 1)
    stretch = np.clip((np.arange(width // 2) - low) / max(high - low, 0.001), 0, 1)
    f = f * (stretch / scaling["factor"] + 1 - stretch)
    return f, growth(scaling, "mscale") / growth(scaling, "mscale_all_dim"), scale * growth(scaling, "mscale_all_dim") ** 2


def turn_pairs(x, heads, frequency, magnitude):
    """Turns neighbours (2i, 2i + 1) of each head."""
    rows = len(x)
    x = x.reshape(rows, heads, -1, 2)
    angle = np.arange(rows)[:, None, None] * frequency
    cos, sin = np.cos(angle) * magnitude, np.sin(angle) * magnitude
    a, b = x[..., 0], x[..., 1]
    return np.stack([a * cos - b * sin, b * cos + a * sin], axis=-1).reshape(rows, -1)


def attention(config, b, x):
    rows, heads = len(x), config["num_attention_heads"]
    plain, turned, rank = config["qk_nope_head_dim"], config["qk_rope_head_dim"], config["kv_lora_rank"]
    frequency, magnitude, scale = rope(config)
    turn = turn_pairs if config.get("rope_interleave", True) else layers.rope_half
    if config["q_lora_rank"]:
        q = layers.rms_norm(b.linear(x, "self_attn.q_a_proj"), b["self_attn.q_a_layernorm.weight"], 1e-6)
        q = b.linear(q, "self_attn.q_b_proj")
    else:
        q = b.linear(x, "self_attn.q_proj")
    q = q.reshape(rows, heads, plain + turned)
    both = b.linear(x, "self_attn.kv_a_proj_with_mqa")
    latent = layers.rms_norm(both[:, :rank], b["self_attn.kv_a_layernorm.weight"], 1e-6)
    kv = b.linear(latent, "self_attn.kv_b_proj").reshape(rows, heads, -1)
    one = turn(both[:, rank:], 1, frequency, magnitude).reshape(rows, 1, turned)
    q_turned = turn(q[..., plain:].reshape(rows, -1), heads, frequency, magnitude).reshape(rows, heads, turned)
    q = np.concatenate([q[..., :plain], q_turned], axis=-1)
    k = np.concatenate([kv[..., :plain], np.repeat(one, heads, axis=1)], axis=-1)
    y = layers.attention(q.reshape(rows, -1), k.reshape(rows, -1), kv[..., plain:].reshape(rows, -1), heads, heads, scale)
    return b.linear(y, "self_attn.o_proj")


def mixture(config, b, x):
    used, scores, count = config["num_experts_per_tok"], b.linear(x, "mlp.gate"), config["n_routed_experts"]
    groups, is_v3 = config["n_group"], config["architectures"] != ["DeepseekV2ForCausalLM"]
    p = 1 / (1 + np.exp(-scores)) if is_v3 else layers.softmax(scores)
    choice = p + b["mlp.gate.e_score_correction_bias"] if is_v3 else p

    def choose(row):
        left = choice[row].copy()
        if groups > 1:
            members = np.sort(left.reshape(groups, -1), axis=1)
            worth = members[:, -2:].sum(axis=1) if is_v3 else members[:, -1]
            kept = layers.best(worth, config["topk_group"])
            left[~np.isin(np.arange(count) // (count // groups), kept)] = -np.inf
        chosen = layers.best(left, used)
        weights = p[row][chosen]
        if config["norm_topk_prob"]:
            weights = weights / weights.sum()
            return chosen, weights * config["routed_scaling_factor"] if is_v3 else weights
        return chosen, weights * config["routed_scaling_factor"]
    return layers.experts(x, choose, used, lambda e, row: gated(b, row, prefix=f"mlp.experts.{e}.")) + gated(
        b, x, prefix="mlp.shared_experts.")


def forward(config, w, tokens):
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        x = x + attention(config, b, layers.rms_norm(x, b["input_layernorm.weight"], 1e-6))
        y = layers.rms_norm(x, b["post_attention_layernorm.weight"], 1e-6)
        x = x + (mixture(config, b, y) if layer >= config["first_k_dense_replace"] else gated(b, y))
    return head(w, layers.rms_norm(x, w["model.norm.weight"], 1e-6))


YARN = {"type": "yarn", "factor": 8.0, "beta_fast": 32, "beta_slow": 1, "original_max_position_embeddings": 32}
NAMES = {"self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
         "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
         "self_attn.kv_b_proj": "attn_kv_b", "mlp.gate": "ffn_gate_inp",
         "mlp.shared_experts.gate_proj": "ffn_gate_shexp", "mlp.shared_experts.up_proj": "ffn_up_shexp",
         "mlp.shared_experts.down_proj": "ffn_down_shexp"}


REFUSED = [
    ("hf", {"attention_bias": True}, "config.json: 'attention_bias' is true, which this plugin does not know"),
    ("hf", {"scoring_func": "softmax"},
     "config.json: 'scoring_func' is 'softmax', expected 'sigmoid' for DeepseekV3ForCausalLM"),
    ("hf", {"topk_method": "greedy"},
     "config.json: 'topk_method' is 'greedy', expected 'noaux_tc' for DeepseekV3ForCausalLM"),
    ("hf", {"moe_layer_freq": 2}, "config.json: 'moe_layer_freq' is above 1, which this plugin does not know"),
    ("hf", {"n_group": 3}, "config.json: 'n_group' is 3, which does not fit 8 experts of which 3 are used"),
    ("hf", {"model.layers.1.mlp.gate.e_score_correction_bias": None},
     "weight blk.1.exp_probs_b.bias: tensor 'model.layers.1.mlp.gate.e_score_correction_bias' is missing from the model file"),
    ("gguf", {"deepseek2.expert_gating_func": 3},
     "metadata key 'deepseek2.expert_gating_func' is 3, expected 1 (softmax) or 2 (sigmoid)"),
    ("gguf", {"deepseek2.rope.dimension_count": 24},
     "metadata key 'deepseek2.rope.dimension_count' is 24, which leaves nothing of a head of 24"),
    ("gguf", {"blk.2.attn_v_b.weight": None},
     "weight blk.2.attn_v_b.weight: tensor 'blk.2.attn_v_b.weight' is missing from the model file, tensor "
     "'blk.2.attn_kv_b.weight' is missing from the model file")]


def make_config(architecture, **changes):
    return {"architectures": [architecture], "num_hidden_layers": 3, "hidden_size": 64, "intermediate_size": 96,
            "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "vocab_size": VOCABULARY,
            "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
            "tie_word_embeddings": False, "q_lora_rank": None, "kv_lora_rank": RANK, "qk_nope_head_dim": PLAIN,
            "qk_rope_head_dim": TURNED, "v_head_dim": VALUE, "rope_scaling": None, "n_routed_experts": 8,
            "num_experts_per_tok": 3, "n_shared_experts": 2, "moe_intermediate_size": 32, "first_k_dense_replace": 1,
            "moe_layer_freq": 1, "n_group": 1, "topk_group": 1, "topk_method": "greedy", "scoring_func": "softmax",
            "norm_topk_prob": False, "routed_scaling_factor": 1.0} | changes


def make_weights(config, random):
    width, heads, experts = config["hidden_size"], config["num_attention_heads"], config["n_routed_experts"]
    head, rank = config["qk_nope_head_dim"] + config["qk_rope_head_dim"], config["kv_lora_rank"]
    kv = config["qk_nope_head_dim"] + config["v_head_dim"]
    weights = {"model.embed_tokens.weight": random.matrix(config["vocab_size"], width, gain=8.0),
               "model.norm.weight": random.vector(width, 1.0),
               "lm_head.weight": random.matrix(config["vocab_size"], width, gain=3.0)}
    gain = 1.5 * min(1.0, (3 / config["num_hidden_layers"]) ** 0.5)
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}."
        attention = {"kv_a_proj_with_mqa": (rank + config["qk_rope_head_dim"], width), "kv_b_proj": (heads * kv, rank),
                     "o_proj": (width, heads * config["v_head_dim"])}
        norms = {"kv_a_layernorm": rank}
        if config["q_lora_rank"]:
            attention |= {"q_a_proj": (config["q_lora_rank"], width), "q_b_proj": (heads * head, config["q_lora_rank"])}
            norms["q_a_layernorm"] = config["q_lora_rank"]
        else:
            attention["q_proj"] = heads * head, width
        shapes = {"self_attn." + name: shape for name, shape in attention.items()}

        def part(prefix, hidden):
            return {prefix + "gate_proj": (hidden, width), prefix + "up_proj": (hidden, width), prefix + "down_proj": (width, hidden)}
        if layer < config["first_k_dense_replace"]:
            shapes |= part("mlp.", config["intermediate_size"])
        else:
            hidden = config["moe_intermediate_size"]
            shapes |= part("mlp.shared_experts.", hidden * config["n_shared_experts"])
            for expert in range(experts):
                shapes |= part(f"mlp.experts.{expert}.", hidden)
            weights[block + "mlp.gate.weight"] = random.matrix(experts, width, gain=3.0)
            if config["scoring_func"] == "sigmoid":
                weights[block + "mlp.gate.e_score_correction_bias"] = random.vector(experts, 0.5)
        weights |= {f"{block}{name}.weight": random.matrix(*shape, gain=gain) for name, shape in shapes.items()}
        weights |= {f"{block}self_attn.{name}.weight": random.vector(size, 1.0) for name, size in norms.items()}
        weights |= {f"{block}{name}.weight": random.vector(width, 1.0)
                    for name in ("input_layernorm", "post_attention_layernorm")}
    return weights


def make_gguf(config, weights, split):
    """As llama.cpp's converter writes it: `split` since April 2025, for the absorbed form."""
    result = to_gguf({name: tensor for name, tensor in weights.items()
                      if ".experts." not in name and not name.endswith("_bias")}, NAMES)
    heads, rank = config["num_attention_heads"], config["kv_lora_rank"]
    for layer in range(config["num_hidden_layers"]):
        block, to = f"model.layers.{layer}.", f"blk.{layer}."
        if split:
            kv = result.pop(to + "attn_kv_b.weight").reshape(heads, -1, rank)
            result[to + "attn_k_b.weight"] = np.ascontiguousarray(kv[:, : config["qk_nope_head_dim"]].swapaxes(1, 2))
            result[to + "attn_v_b.weight"] = np.ascontiguousarray(kv[:, config["qk_nope_head_dim"]:])
        if layer < config["first_k_dense_replace"]:
            continue
        for part in ("gate", "up", "down"):
            result[f"{to}ffn_{part}_exps.weight"] = np.stack(
                [weights[f"{block}mlp.experts.{e}.{part}_proj.weight"] for e in range(config["n_routed_experts"])])
        if config["scoring_func"] == "sigmoid":
            result[to + "exp_probs_b.bias"] = weights[block + "mlp.gate.e_score_correction_bias"]
    return result


def make_keys(config, split):
    whole, scaling = config["qk_nope_head_dim"] + config["qk_rope_head_dim"], config["rope_scaling"]
    sizes = {"attention.head_count_kv": 1, "attention.key_length": config["kv_lora_rank"] + config["qk_rope_head_dim"],
             "attention.value_length": config["kv_lora_rank"], "attention.key_length_mla": whole,
             "attention.value_length_mla": config["v_head_dim"]} if split else {
                 "attention.key_length": whole, "attention.value_length": config["v_head_dim"]}
    more = {"rope.scaling.type": "yarn", "rope.scaling.factor": scaling["factor"],
            "rope.scaling.original_context_length": scaling["original_max_position_embeddings"],
            "rope.scaling.yarn_log_multiplier": 0.1 * scaling["mscale_all_dim"]} if scaling else {}
    groups = {"expert_group_count": config["n_group"], "expert_group_used_count": config["topk_group"]}
    return gguf_keys("deepseek2", config | {"head_dim": config["qk_rope_head_dim"]}, **{
        "attention.q_lora_rank": config["q_lora_rank"], "attention.kv_lora_rank": config["kv_lora_rank"],
        "expert_count": config["n_routed_experts"], "expert_used_count": config["num_experts_per_tok"],
        "expert_feed_forward_length": config["moe_intermediate_size"],
        "leading_dense_block_count": config["first_k_dense_replace"], "expert_shared_count": config["n_shared_experts"],
        "expert_weights_scale": config["routed_scaling_factor"], "expert_weights_norm": config["norm_topk_prob"],
        "expert_gating_func": 2 if config["scoring_func"] == "sigmoid" else 1,
        **(groups if config["n_group"] > 1 else {}), **sizes, **more})


def make(name, config, split, seed, **more):
    weights = make_weights(config, Random(seed))
    return Model(name, config, weights, forward, make_keys(config, split), make_gguf(config, weights, split),
                 gguf_adapter=not split, conversion={} if split else OTHER_LAYOUT, **more)  # split, keys lie the other way round


def models():
    v2_yarn = YARN | {"mscale": 0.707, "mscale_all_dim": 0.707}
    # llama.cpp knows the model without latent queries by its number of layers.
    v2_lite = make_config("DeepseekV2ForCausalLM", rope_scaling=v2_yarn, num_hidden_layers=27)
    v2 = make_config("DeepseekV2ForCausalLM", q_lora_rank=48, n_group=4, topk_group=2, topk_method="group_limited_greedy",
                     routed_scaling_factor=16.0, rope_scaling=v2_yarn)
    latest = {"q_lora_rank": 48, "topk_method": "noaux_tc", "scoring_func": "sigmoid", "norm_topk_prob": True}
    v3 = make_config("DeepseekV3ForCausalLM", **latest, n_group=4, topk_group=2, routed_scaling_factor=2.5,
                     rope_scaling=YARN | {"mscale": 1.0, "mscale_all_dim": 1.0})
    kimi = make_config("DeepseekV3ForCausalLM", **latest, routed_scaling_factor=2.827, n_shared_experts=1,
                       rope_theta=50000.0)
    flash = make_config("Glm4MoeLiteForCausalLM", **latest, routed_scaling_factor=1.8, n_shared_experts=1, rope_theta=1000000.0)
    # Unequal mscales make cosines and sines longer, which GGUF cannot say.
    halves = make_config("DeepseekV3ForCausalLM", **latest, rope_interleave=False,
                         rope_scaling=YARN | {"mscale": 1.3, "mscale_all_dim": 0.5})
    halves = Model("deepseek-v3-halves", halves, make_weights(halves, Random(95)), forward, None, None,
                   conversion=refused_by_gguf("GGUF cannot say this model: layer 0: rope of 8 columns"))
    return [make("deepseek-v2-lite", v2_lite, False, 94), make("deepseek-v2-lite-split", v2_lite, True, 94),
            make("deepseek-v2", v2, True, 82, reads_like_llama_cpp=False),  # it ranks groups as V3 does
            make("deepseek-v3", v3, True, 94, refused=REFUSED), make("deepseek-v3-whole", v3, False, 94), halves,
            make("kimi-k2", kimi, True, 99), make("glm-4.7-flash", flash, True, 100)]
