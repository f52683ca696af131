"""Kimi Linear (arXiv 2510.26692, and the configuration of Kimi-Linear-48B-A3B): a delta rule whose state decays a key column at a
time, on queries and keys of length 1 behind short convolutions, its output normed a head and times the sigmoid of a gate; latent
attention as DeepSeek-V2's (arXiv 2405.04434), here whole, with no rope; experts as DeepSeek-V3's."""
from lab import *

WIDTH, HIDDEN, EXPERT, COUNT, HEADS, HEAD = 64, 96, 32, 6, 4, 16
PLAIN, SHARED_KEY, VALUE, RANK = 16, 8, 24, 32
KINDS = ["delta", "latent", "delta", "latent"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def convolved(x, filters):
    padded = np.concatenate([np.zeros((filters.shape[1] - 1, x.shape[1])), x])
    return layers.silu(sum(padded[i : i + len(x)] * filters[:, i] for i in range(filters.shape[1])))


def delta_attention(config, b, x):
    rows = len(x)
    q, k, v = (convolved(b.linear(x, f"self_attn.{part}_proj"), b[f"self_attn.{part}_conv1d.weight"][:, 0])
               .reshape(rows, HEADS, HEAD) for part in "qkv")
    q, k = (part / np.sqrt((part * part).sum(axis=2, keepdims=True) + 1e-6) for part in (q, k))
    q = q / np.sqrt(HEAD)
    pace = np.log1p(np.exp(b.linear(b.linear(x, "self_attn.f_a_proj"), "self_attn.f_b_proj") + b["self_attn.dt_bias"]))
    decay = np.exp(-np.exp(b["self_attn.A_log"]).reshape(HEADS, 1) * pace.reshape(rows, HEADS, HEAD))
    strength = sigmoid(b.linear(x, "self_attn.b_proj"))
    out = np.empty((rows, HEADS, HEAD))
    for head in range(HEADS):
        state = np.zeros((HEAD, HEAD))
        for row in range(rows):
            state = decay[row, head][:, None] * state
            known = k[row, head] @ state
            state = state + strength[row, head] * np.outer(k[row, head], v[row, head] - known)
            out[row, head] = q[row, head] @ state
    gate = b.linear(b.linear(x, "self_attn.g_a_proj"), "self_attn.g_b_proj")
    out = layers.rms_norm(out, b["self_attn.o_norm.weight"], config["rms_norm_eps"]).reshape(rows, -1)
    return b.linear(out * sigmoid(gate), "self_attn.o_proj")


def latent_attention(config, b, x):
    rows = len(x)
    q = b.linear(x, "self_attn.q_proj")
    both = b.linear(x, "self_attn.kv_a_proj_with_mqa")
    latent = layers.rms_norm(both[:, :RANK], b["self_attn.kv_a_layernorm.weight"], config["rms_norm_eps"])
    kv = b.linear(latent, "self_attn.kv_b_proj").reshape(rows, HEADS, -1)
    shared = np.repeat(both[:, None, RANK:], HEADS, axis=1)
    k = np.concatenate([kv[..., :PLAIN], shared], axis=-1).reshape(rows, -1)
    y = layers.attention(q, k, kv[..., PLAIN:].reshape(rows, -1), HEADS, HEADS)
    return b.linear(y, "self_attn.o_proj")


def swiglu(b, x, names):
    gate, up, down = names
    return b.linear(layers.silu(b.linear(x, gate)) * b.linear(x, up), down)


def experts(config, b, x):
    moe = "block_sparse_moe."
    p = sigmoid(b.linear(x, moe + "gate"))

    def choose(row):
        chosen = layers.best(p[row] + b[moe + "gate.e_score_correction_bias"], config["num_experts_per_token"])
        return chosen, config["routed_scaling_factor"] * p[row][chosen] / p[row][chosen].sum()
    chosen = layers.experts(x, choose, config["num_experts_per_token"],
                            lambda e, row: swiglu(b, row, [f"{moe}experts.{e}.{part}" for part in ("w1", "w3", "w2")]))
    return chosen + swiglu(b, x, [f"{moe}shared_experts.{part}_proj" for part in ("gate", "up", "down")])


def forward(config, w, tokens):
    x = w["model.embed_tokens.weight"][tokens]
    for layer, kind in enumerate(KINDS):
        b = Block(w, f"model.layers.{layer}.")
        y = layers.rms_norm(x, b["input_layernorm.weight"], config["rms_norm_eps"])
        x = x + (delta_attention if kind == "delta" else latent_attention)(config, b, y)
        y = layers.rms_norm(x, b["post_attention_layernorm.weight"], config["rms_norm_eps"])
        x = x + (gated(b, y) if layer < config["first_k_dense_replace"] else experts(config, b, y))
    return head(w, layers.rms_norm(x, w["model.norm.weight"], config["rms_norm_eps"]))


def settings():
    places = {kind: [layer + 1 for layer, own in enumerate(KINDS) if own == kind] for kind in ("delta", "latent")}
    return {"architectures": ["KimiLinearForCausalLM"], "num_hidden_layers": len(KINDS), "hidden_size": WIDTH,
            "intermediate_size": HIDDEN, "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "head_dim": 16,
            "vocab_size": VOCABULARY, "model_max_length": 256, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "rope_scaling": None,
            "hidden_act": "silu", "tie_word_embeddings": False, "kv_lora_rank": RANK, "q_lora_rank": None,
            "qk_nope_head_dim": PLAIN, "qk_rope_head_dim": SHARED_KEY, "v_head_dim": VALUE, "mla_use_nope": True,
            "linear_attn_config": {"full_attn_layers": places["latent"], "kda_layers": places["delta"], "head_dim": HEAD,
                                   "num_heads": HEADS, "short_conv_kernel_size": 4},
            "first_k_dense_replace": 1, "moe_layer_freq": 1, "moe_intermediate_size": EXPERT, "moe_renormalize": True,
            "moe_router_activation_func": "sigmoid", "num_experts": COUNT, "num_experts_per_token": 2, "num_shared_experts": 1,
            "num_expert_group": 1, "topk_group": 1, "routed_scaling_factor": 2.446}


def mixer_weights(random, kind):
    """By the tensor's name behind "self_attn.", and under GGUF's names."""
    columns = HEADS * HEAD
    shapes = {"q_proj": (columns, WIDTH), "k_proj": (columns, WIDTH), "v_proj": (columns, WIDTH), "o_proj": (WIDTH, columns),
              "f_a_proj": (HEAD, WIDTH), "f_b_proj": (columns, HEAD), "g_a_proj": (HEAD, WIDTH), "g_b_proj": (columns, HEAD),
              "b_proj": (HEADS, WIDTH)} if kind == "delta" else {
                  "q_proj": (HEADS * (PLAIN + SHARED_KEY), WIDTH), "kv_a_proj_with_mqa": (RANK + SHARED_KEY, WIDTH),
                  "kv_b_proj": (HEADS * (PLAIN + VALUE), RANK), "o_proj": (WIDTH, HEADS * VALUE)}
    names = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "f_a_proj": "ssm_f_a",
             "f_b_proj": "ssm_f_b", "g_a_proj": "ssm_g_a", "g_b_proj": "ssm_g_b", "b_proj": "ssm_beta",
             "kv_a_proj_with_mqa": "attn_kv_a_mqa"}
    weights = {f"{name}.weight": random.matrix(*shape, gain=1.5) for name, shape in shapes.items()}
    gguf = {f"{names[name]}.weight": weights[name + ".weight"] for name in shapes if name in names}
    if kind == "latent":
        weights["kv_a_layernorm.weight"] = gguf["attn_kv_a_norm.weight"] = random.vector(RANK, 1)
        of_heads = weights["kv_b_proj.weight"].reshape(HEADS, PLAIN + VALUE, RANK)
        return weights, gguf | {"attn_k_b.weight": np.ascontiguousarray(of_heads[:, :PLAIN].swapaxes(1, 2)),
                                "attn_v_b.weight": np.ascontiguousarray(of_heads[:, PLAIN:])}
    for part in "qkv":
        filters = random.matrix(columns, 1, 4, gain=1.5)
        weights[f"{part}_conv1d.weight"], gguf[f"ssm_conv1d_{part}.weight"] = filters, filters.reshape(1, columns, 1, 4)
    rate = random.vector(HEADS, 0.5).reshape(1, 1, HEADS, 1)
    weights |= {"A_log": rate, "dt_bias": random.vector(columns, -1.0), "o_norm.weight": random.vector(HEAD, 1)}
    gguf |= {"ssm_a": -np.exp(rate), "ssm_dt.bias": weights["dt_bias"], "ssm_norm.weight": weights["o_norm.weight"]}
    return weights, gguf


def mixture_of(random):
    moe, router, bias = "block_sparse_moe.", random.matrix(COUNT, WIDTH, gain=3.0), random.vector(COUNT)
    weights = {moe + "gate.weight": router, moe + "gate.e_score_correction_bias": bias}
    gguf = {"ffn_gate_inp.weight": router, "exp_probs_b.bias": bias}
    for name, part, shape in (("w1", "gate", (EXPERT, WIDTH)), ("w3", "up", (EXPERT, WIDTH)), ("w2", "down", (WIDTH, EXPERT))):
        each, shared = random.matrix(COUNT, *shape, gain=1.5), random.matrix(*shape, gain=1.5)
        weights |= {f"{moe}experts.{e}.{name}.weight": matrix for e, matrix in enumerate(each)}
        weights[f"{moe}shared_experts.{part}_proj.weight"] = shared
        gguf |= {f"ffn_{part}_exps.weight": each, f"ffn_{part}_shexp.weight": shared}
    return weights, gguf


def models():
    random, config = Random(351), settings()
    weights = {"model.embed_tokens.weight": random.matrix(VOCABULARY, WIDTH, gain=8.0),
               "model.norm.weight": random.vector(WIDTH, 1), "lm_head.weight": random.matrix(VOCABULARY, WIDTH, gain=3.0)}
    gguf = to_gguf(weights)
    for layer, kind in enumerate(KINDS):
        block = f"model.layers.{layer}."
        norms = {f"{block}{name}_layernorm.weight": random.vector(WIDTH, 1) for name in ("input", "post_attention")}
        own, theirs = mixer_weights(random, kind)
        plain = {f"{block}mlp.{part}_proj.weight": random.matrix(*shape, gain=1.5) for part, shape in
                 (("gate", (HIDDEN, WIDTH)), ("up", (HIDDEN, WIDTH)), ("down", (WIDTH, HIDDEN)))} if layer < 1 else {}
        mixture, stacked = mixture_of(random) if layer >= 1 else ({}, {})
        weights |= norms | plain | {f"{block}self_attn.{name}": tensor for name, tensor in own.items()}
        weights |= {block + name: tensor for name, tensor in mixture.items()}
        gguf |= to_gguf(norms | plain) | {f"blk.{layer}.{name}": tensor for name, tensor in (theirs | stacked).items()}
    keys = gguf_keys("kimi-linear", config | {"max_position_embeddings": 256}, **{
        "attention.head_count_kv": [0 if kind == "delta" else 1 for kind in KINDS], "attention.kv_lora_rank": RANK,
        "attention.key_length": RANK + SHARED_KEY, "attention.value_length": None, "attention.key_length_mla": PLAIN + SHARED_KEY,
        "attention.value_length_mla": VALUE, "rope.dimension_count": SHARED_KEY, "ssm.conv_kernel": 4, "kda.head_dim": HEAD,
        "expert_count": COUNT, "expert_used_count": 2, "expert_feed_forward_length": EXPERT, "expert_shared_count": 1,
        "expert_weights_scale": 2.446, "expert_gating_func": 2, "leading_dense_block_count": 1})
    bad = config["linear_attn_config"] | {"head_dim": 0}
    return [Model("kimi-linear", config, weights, forward, keys, gguf, gguf_adapter=False, refused=[
        ("hf", {"linear_attn_config": bad}, "config.json: 'linear_attn_config.head_dim' is 0, expected 1 to 4096"),
        ("hf", {"mla_use_nope": False}, "config.json: 'mla_use_nope' is false: attention with rope is not supported"),
        ("hf", {"num_expert_group": 2}, "config.json: 'num_expert_group' is not 1: groups of experts are not supported"),
        ("gguf", {"kimi-linear.expert_gating_func": 1},
         "metadata key 'kimi-linear.expert_gating_func' is not 2 (sigmoid), which is all that is supported"),
        ("gguf", {"blk.0.ssm_conv1d_k.weight": None},
         "weight blk.0.ssm_conv1d.weight: tensor 'blk.0.ssm_conv1d_k.weight' is missing")])]
