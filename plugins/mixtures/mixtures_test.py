"""Mixtures by sigmoid scores, chosen with a bias and weighted without (DeepSeek-V3's router, arXiv 2412.19437, section 2.1.2):
dots.llm1 (arXiv 2506.05767, section 2), Ling 2 (arXiv 2510.22115, section 2: groups of experts, rope on half of each head, q, k
and v in one matrix) and MiniMax-M2 (its modeling_minimax_m2.py's configuration: one norm over all heads, no shared expert)."""
from lab import *

WIDTH, EXPERT, COUNT, USED = 64, 32, 8, 3
# Names that differ from Llama's, and what a mixture's parts are called.
BAILING = {"model.embed_tokens": "model.word_embeddings", "self_attn.q_norm": "attention.query_layernorm",
           "self_attn.k_norm": "attention.key_layernorm", "self_attn.o_proj": "attention.dense"}
MINIMAX = {"gate_proj": "w1", "up_proj": "w3", "down_proj": "w2"}


def route(config, b, module, bias_name, x):
    p = 1 / (1 + np.exp(-b.linear(x, module + "gate")))
    choice, groups = p + b[module + bias_name], config.get("n_group") or 1

    def choose(row):
        left = choice[row].copy()
        if groups > 1:
            worth = np.sort(left.reshape(groups, -1), axis=1)[:, -2:].sum(axis=1)
            kept = layers.best(worth, config["topk_group"])
            left[~np.isin(np.arange(COUNT) // (COUNT // groups), kept)] = -np.inf
        chosen = layers.best(left, USED)
        return chosen, config.get("routed_scaling_factor", 1) * p[row][chosen] / p[row][chosen].sum()
    return choose


def swiglu(b, x, prefix, names=("gate_proj", "up_proj", "down_proj")):
    gate, up, down = (prefix + name for name in names)
    return b.linear(layers.silu(b.linear(x, gate)) * b.linear(x, up), down)


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    family = config["architectures"][0]
    is_bailing, is_minimax = family == "BailingMoeV2ForCausalLM", family == "MiniMaxM2ForCausalLM"
    turned = config["rotary_dim"] if is_minimax else int(head_width * config.get("partial_rotary_factor", 1))
    turn = layers.frequencies(turned, config["rope_theta"])
    module, bias = ("block_sparse_moe.", "e_score_correction_bias") if is_minimax else (
        "mlp.", "gate.expert_bias" if is_bailing else "gate.e_score_correction_bias")
    names = tuple(MINIMAX.values()) if is_minimax else ("gate_proj", "up_proj", "down_proj")
    q_norm, k_norm = ("attention.query_layernorm", "attention.key_layernorm") if is_bailing else (
        "self_attn.q_norm", "self_attn.k_norm")
    x = w["model.word_embeddings.weight" if is_bailing else "model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")

        def norm(y, name):
            weight = b[name + ".weight"]
            return layers.rms_norm(y.reshape(-1, len(weight)), weight, epsilon).reshape(y.shape)
        y = norm(x, "input_layernorm")
        if is_bailing:
            q, k, v = np.split(b.linear(y, "attention.query_key_value"), np.cumsum([heads, kv_heads]) * head_width, axis=1)
        else:
            q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        q, k = layers.rope_half(norm(q, q_norm), heads, turn), layers.rope_half(norm(k, k_norm), kv_heads, turn)
        y = layers.attention(q, k, v, heads, kv_heads)
        x = x + b.linear(y, "attention.dense" if is_bailing else "self_attn.o_proj")
        y = norm(x, "post_attention_layernorm")
        if layer < config.get("first_k_dense_replace", 0):
            x = x + gated(b, y)
            continue
        x = x + layers.experts(y, route(config, b, module, bias, y), USED,
                               lambda e, row: swiglu(b, row, f"{module}experts.{e}.", names))
        if not is_minimax:
            x = x + swiglu(b, y, "mlp.shared_experts.")
    return layers.rms_norm(x, w["model.norm.weight"], epsilon) @ w["lm_head.weight"].T


def renamed(weights, names):
    def one(name):
        for own, theirs in names.items():
            name = name.replace(own, theirs)
        return name
    return {one(name): tensor for name, tensor in weights.items()}


def model(name, config, gguf_name, seed, keys, shared=0, norm_widths=(16, 16), refused=()):
    random = Random(seed)
    dense = config.get("first_k_dense_replace", 0)
    weights = llama_weights(config, random, head_norm=norm_widths)
    chosen, stacked = mixture_weights(random, range(dense, 3), COUNT, EXPERT)
    for layer in range(dense, 3):
        block = f"model.layers.{layer}.mlp."
        for part, shape in {"gate": (shared, WIDTH), "up": (shared, WIDTH), "down": (WIDTH, shared)}.items():
            del weights[f"{block}{part}_proj.weight"]
            if shared:
                weights[f"{block}shared_experts.{part}_proj.weight"] = random.matrix(*shape, gain=1.5)
        bias = random.vector(COUNT)  # as large as the distance between scores
        chosen[block + "gate.e_score_correction_bias"] = stacked[f"blk.{layer}.exp_probs_b.bias"] = bias
    names = {f"mlp.shared_experts.{part}_proj": f"ffn_{part}_shexp" for part in ("gate", "up", "down")}
    gguf = to_gguf(weights, names) | stacked
    weights |= chosen
    if gguf_name == "bailingmoe2":
        for layer in range(3):
            parts = [f"model.layers.{layer}.self_attn.{part}_proj.weight" for part in "qkv"]
            whole = np.concatenate([weights.pop(part) for part in parts])
            weights[f"model.layers.{layer}.attention.query_key_value.weight"] = whole
            for part in "qkv":
                del gguf[f"blk.{layer}.attn_{part}.weight"]
            gguf[f"blk.{layer}.attn_qkv.weight"] = whole
        weights = renamed(weights, BAILING | {"gate.e_score_correction_bias": "gate.expert_bias"})
    if gguf_name == "minimax-m2":
        weights = renamed(weights, {"mlp.gate.e_score": "mlp.e_score", "mlp.": "block_sparse_moe.", **{
            f"{own}.weight": f"{theirs}.weight" for own, theirs in MINIMAX.items()}})
    stored = None
    if gguf_name == "bailingmoe2":  # with a layer for further tokens
        stored = weights | {"model.layers.3.eh_proj.weight": random.matrix(WIDTH, 2 * WIDTH)}
    keys = gguf_keys(gguf_name, config, expert_count=COUNT, expert_used_count=USED, expert_feed_forward_length=EXPERT,
                     expert_gating_func=2, **keys)
    return Model(name, config, weights, forward, keys, gguf, stored=stored, refused=list(refused))


def models():
    common = {"num_experts_per_tok": USED, "moe_intermediate_size": EXPERT, "norm_topk_prob": True, "routed_scaling_factor": 2.5,
              "first_k_dense_replace": 1}
    routing = {"expert_weights_scale": 2.5, "expert_weights_norm": True, "leading_dense_block_count": 1}
    dots = llama_config("Dots1ForCausalLM", num_key_value_heads=4, n_routed_experts=COUNT, n_shared_experts=2, n_group=1,
                        topk_group=1, **common)
    bailing = llama_config("BailingMoeV2ForCausalLM", num_experts=COUNT, num_shared_experts=1, n_group=4, topk_group=2,
                           moe_shared_expert_intermediate_size=48, score_function="sigmoid", moe_router_enable_expert_bias=True,
                           partial_rotary_factor=0.5, use_qk_norm=True, use_qkv_bias=False, use_bias=False, **common)
    minimax = llama_config("MiniMaxM2ForCausalLM", intermediate_size=EXPERT, num_local_experts=COUNT, num_experts_per_tok=USED,
                           rotary_dim=8, scoring_func="sigmoid", use_routing_bias=True, use_qk_norm=True,
                           qk_norm_type="per_layer", attn_type_list=[1, 1, 1])
    groups = {"expert_group_count": 4, "expert_group_used_count": 2}
    return [
        model("dots1", dots, "dots1", 401, routing | {"expert_shared_count": 2}, shared=2 * EXPERT, refused=[
            ("hf", {"n_group": 3}, "config.json: 'n_group' is 3, which does not fit 8 experts of which 3 are used"),
            ("gguf", {"dots1.expert_gating_func": 1}, "metadata key 'dots1.expert_gating_func' is not 2 (sigmoid)")]),
        model("ling2", bailing, "bailingmoe2", 402,
              routing | groups | {"expert_shared_count": 1, "expert_shared_feed_forward_length": 48, "rope.dimension_count": 8},
              shared=48, refused=[
                  ("hf", {"score_function": "softmax"}, "config.json: 'score_function' is not 'sigmoid', which is all that is"),
                  ("hf", {"use_bias": True}, "config.json: 'use_bias' is true, which is not supported")]),
        model("minimax-m2", minimax, "minimax-m2", 403, {"rope.dimension_count": 8}, norm_widths=(64, 32), refused=[
            ("hf", {"attn_type_list": [1, 0, 1]},
             "config.json: 'attn_type_list' has a layer of another kind than 1: linear attention is not supported")])]
