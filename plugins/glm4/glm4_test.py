"""ChatGLM and GLM-4-9B (their configurations): rope of neighbours on half of each head; GLM-4-0414 (transformers' configuration):
the same with norms behind both parts as before them. GLM-4.5 (arXiv 2508.06471, table 1, and DeepSeek-V3's router, arXiv
2412.19437, section 2.1.2): rope of halves, experts by sigmoid scores, chosen with a bias and weighted without, times a scale; the
first layer plain, one expert for every token."""
from lab import *

WIDTH, HIDDEN, EXPERT = 64, 96, 32


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    is_moe = "n_routed_experts" in config
    turn = layers.frequencies(int(head_width * config["partial_rotary_factor"]), config["rope_theta"])
    rope = layers.rope_half if is_moe else layers.rope_pairs
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")

        def norm(y, name):
            weight = b[name + ".weight"]
            return layers.rms_norm(y.reshape(-1, len(weight)), weight, epsilon).reshape(y.shape)
        y = norm(x, "input_layernorm")
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        if config.get("use_qk_norm"):
            q, k = norm(q, "self_attn.q_norm"), norm(k, "self_attn.k_norm")
        y = layers.attention(rope(q, heads, turn), rope(k, kv_heads, turn), v, heads, kv_heads)
        y = b.linear(y, "self_attn.o_proj")
        normed = b.prefix + "post_mlp_layernorm.weight" in w
        x = x + (norm(y, "post_self_attn_layernorm") if normed else y)
        y = norm(x, "post_attention_layernorm")
        if not is_moe:
            gate, up = np.split(b.linear(y, "mlp.gate_up_proj"), 2, axis=1)
            y = b.linear(layers.silu(gate) * up, "mlp.down_proj")
            x = x + (norm(y, "post_mlp_layernorm") if normed else y)
        elif layer < config.get("first_k_dense_replace", 1):
            x = x + gated(b, y)
        else:
            p = 1 / (1 + np.exp(-b.linear(y, "mlp.gate")))
            x = x + gated(b, y, prefix="mlp.shared_experts.") + mixture(
                b, y, p, config["num_experts_per_tok"], config.get("norm_topk_prob", True), b["mlp.gate.e_score_correction_bias"],
                config.get("routed_scaling_factor", 1))
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon))


def dense():
    random = Random(101)
    config = llama_config("Glm4ForCausalLM", partial_rotary_factor=0.5, attention_bias=True)
    norms = {"input_layernorm": "attn_norm", "post_self_attn_layernorm": "post_attention_norm",
             "post_attention_layernorm": "ffn_norm", "post_mlp_layernorm": "post_ffw_norm"}
    weights = llama_weights(config, random, tuple(norms), bias=("q_proj", "k_proj", "v_proj"), feed_forward=False)
    for layer in range(3):
        weights[f"model.layers.{layer}.mlp.gate_up_proj.weight"] = random.matrix(2 * HIDDEN, WIDTH, gain=1.5)
        weights[f"model.layers.{layer}.mlp.down_proj.weight"] = random.matrix(WIDTH, HIDDEN, gain=1.5)
    keys = gguf_keys("glm4", config, **{"rope.dimension_count": 8})
    return Model("glm4", config, weights, forward, keys, to_gguf(weights, norms | {"mlp.gate_up_proj": "ffn_up"}))


def glm(name="glm", seed=104, bias=("q_proj", "k_proj", "v_proj"), more_biases=(), head_dim=16):
    """`more_biases`: as only ChatGLM's own code has them."""
    random = Random(seed)
    config = llama_config("GlmForCausalLM", partial_rotary_factor=0.5, attention_bias=bool(bias), head_dim=head_dim)
    norms = {"input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
    weights = llama_weights(config, random, tuple(norms), bias=bias, feed_forward=False)
    for layer in range(3):
        weights[f"model.layers.{layer}.mlp.gate_up_proj.weight"] = random.matrix(2 * HIDDEN, WIDTH, gain=1.5)
        weights[f"model.layers.{layer}.mlp.down_proj.weight"] = random.matrix(WIDTH, HIDDEN, gain=1.5)
        for part in more_biases:
            matrix = weights[f"model.layers.{layer}.{part}.weight"]
            weights[f"model.layers.{layer}.{part}.bias"] = random.vector(len(matrix))
    keys = gguf_keys("chatglm", config, **{"rope.dimension_count": head_dim // 2})
    return Model(name, config, weights, forward, keys, to_gguf(weights, norms | {"mlp.gate_up_proj": "ffn_up"}))


CHATGLM_NAMES = {"model.embed_tokens": "transformer.embedding.word_embeddings", "model.norm": "transformer.encoder.final_layernorm",
                 "lm_head": "transformer.output_layer", "model.layers": "transformer.encoder.layers",
                 "self_attn.o_proj": "self_attention.dense", "mlp.gate_up_proj": "mlp.dense_h_to_4h",
                 "mlp.down_proj": "mlp.dense_4h_to_h"}


def chatglm(name="chatglm", rope_ratio=3.0, refused=(), **changes):
    """The same under the names and settings of the code that came with ChatGLM."""
    plain = glm(**changes)
    own = plain.config | {"rope_theta": 10000.0 * rope_ratio}
    head_dim, rows = own["head_dim"], [4 * own["head_dim"], 6 * own["head_dim"]]
    config = {"architectures": ["ChatGLMModel"], "num_layers": 3, "hidden_size": WIDTH, "ffn_hidden_size": HIDDEN,
              "num_attention_heads": 4, "multi_query_attention": True, "multi_query_group_num": 2, "kv_channels": head_dim,
              "layernorm_epsilon": own["rms_norm_eps"], "padded_vocab_size": VOCABULARY, "vocab_size": VOCABULARY, "seq_length": 256,
              "rope_ratio": rope_ratio, "add_qkv_bias": own["attention_bias"],
              "add_bias_linear": bool(changes.get("more_biases")), "rmsnorm": True, "original_rope": True}

    def theirs(name):
        for llama, other in CHATGLM_NAMES.items():
            name = name.replace(llama, other)
        return name
    weights, gguf, parts = {}, {}, ("q_proj", "k_proj", "v_proj")
    for own_name, tensor in plain.weights.items():
        if "q_proj" in own_name:
            weights[theirs(own_name).replace("self_attn.q_proj", "self_attention.query_key_value")] = np.concatenate(
                [plain.weights[own_name.replace("q_proj", part)] for part in parts])
        elif not any(part in own_name for part in parts):
            weights[theirs(own_name)] = tensor
    for own_name, tensor in plain.gguf.items():
        if "attn_q." in own_name:
            gguf[own_name.replace("attn_q", "attn_qkv")] = np.concatenate([plain.gguf[own_name.replace("attn_q", f"attn_{x}")] for x in "qkv"])
        elif not any(f"attn_{x}." in own_name for x in "kv"):
            gguf[own_name] = tensor
    back = {theirs(name): name for name in plain.weights}

    def whole(_, w, tokens):
        llama = {back[name]: tensor for name, tensor in w.items() if name in back}
        for name, tensor in w.items():
            if "query_key_value" in name:
                stem = name.replace("transformer.encoder", "model")
                for part, of in zip(parts, np.split(tensor, rows)):
                    llama[stem.replace("self_attention.query_key_value", "self_attn." + part)] = of
        return forward(own, llama, tokens)
    keys = gguf_keys("chatglm", own, **{"rope.dimension_count": head_dim // 2})
    return Model(name, config, weights, whole, keys, gguf, refused=list(refused))


def mixture_model(name, seed, next_in_gguf, scale, **changes):
    """With a layer that predicts the token after next behind the model's own, in one of the file formats."""
    random = Random(seed)
    config = llama_config("Glm4MoeForCausalLM", partial_rotary_factor=0.5, attention_bias=True, head_dim=32,
                          n_routed_experts=8, num_experts_per_tok=3, moe_intermediate_size=EXPERT, n_shared_experts=1,
                          norm_topk_prob=True, routed_scaling_factor=scale, first_k_dense_replace=1, n_group=1, topk_group=1,
                          num_nextn_predict_layers=1, **changes)
    weights = llama_weights(config, random, bias=("q_proj", "k_proj", "v_proj"),
                            head_norm=(32, 32) if config["use_qk_norm"] else None)
    chosen, stacked = mixture_weights(random, (1, 2), 8, EXPERT)
    for layer in (1, 2):
        block = f"model.layers.{layer}.mlp."
        for part, shape in {"gate": (EXPERT, WIDTH), "up": (EXPERT, WIDTH), "down": (WIDTH, EXPERT)}.items():
            del weights[f"{block}{part}_proj.weight"]
            weights[f"{block}shared_experts.{part}_proj.weight"] = random.matrix(*shape, gain=1.5)
        bias = random.vector(8)  # as large as the distance between scores
        chosen[block + "gate.e_score_correction_bias"] = stacked[f"blk.{layer}.exp_probs_b.bias"] = bias
    names = {f"mlp.shared_experts.{part}_proj": f"ffn_{part}_shexp" for part in ("gate", "up", "down")}
    gguf = to_gguf(weights, names | {"post_attention_layernorm": "post_attention_norm"}) | stacked
    weights |= chosen
    further = {"model.layers.3.eh_proj.weight": random.matrix(WIDTH, 2 * WIDTH),
               "model.layers.3.enorm.weight": random.vector(WIDTH)}
    if next_in_gguf:
        last = {name.replace("blk.2.", "blk.3."): tensor / 2 for name, tensor in gguf.items() if name.startswith("blk.2.")}
        gguf |= last | {"blk.3.nextn.eh_proj.weight": further["model.layers.3.eh_proj.weight"],
                        "blk.3.nextn.enorm.weight": random.vector(WIDTH, 1), "blk.3.nextn.hnorm.weight": random.vector(WIDTH, 1)}
    keys = gguf_keys("glm4moe", config, block_count=3 + next_in_gguf, nextn_predict_layers=int(next_in_gguf),
                     expert_count=8, expert_used_count=3, expert_shared_count=1, expert_feed_forward_length=EXPERT,
                     expert_gating_func=2, expert_weights_scale=scale, expert_weights_norm=True,
                     leading_dense_block_count=1, **{"rope.dimension_count": 16})
    return Model(name, config, weights, forward, keys, gguf, stored=None if next_in_gguf else weights | further,
                 conversion=OTHER_LAYOUT if next_in_gguf else other_keys("nextn_predict_layers"))


def models():
    air = mixture_model("glm4-moe", 102, True, 1.0, use_qk_norm=False)
    air.refused = [("hf", {"n_group": 2}, "config.json: 'n_group' is not 1: groups of experts are not supported"),
                   ("gguf", {"glm4moe.expert_gating_func": 1},
                    "metadata key 'glm4moe.expert_gating_func' is not 2 (sigmoid), which is all that is supported"),
                   ("gguf", {"blk.2.exp_probs_b.bias": None},
                    "weight blk.2.exp_probs_b.bias: tensor 'blk.2.exp_probs_b.bias' is missing from the model file")]
    for key in ("routed_scaling_factor", "norm_topk_prob", "first_k_dense_replace", "n_shared_experts", "n_group", "use_qk_norm"):
        del air.config[key]  # what is usual
    del air.gguf_keys["glm4moe.expert_gating_func"]
    refused = [("hf", {"rmsnorm": False}, "config.json: 'rmsnorm' is false, which is not supported"),
               ("hf", {"apply_residual_connection_post_layernorm": True},
                "config.json: 'apply_residual_connection_post_layernorm' is true, which is not supported"),
               ("gguf", {"chatglm.rope.dimension_sections": [4, 4]},
                "metadata key 'chatglm.rope.dimension_sections' is of models that see images, which are not supported")]
    biases = chatglm("chatglm-bias", seed=105, more_biases=("self_attn.o_proj", "mlp.gate_up_proj", "mlp.down_proj"), head_dim=32)
    biases.reads_like_llama_cpp = False  # it leaves them out
    usual = [chatglm("chatglm-unsaid", 1.0, seed=106, bias=()), glm("glm-unsaid", seed=107, bias=())]
    for key in ("multi_query_attention", "kv_channels", "rope_ratio", "add_qkv_bias", "add_bias_linear", "rmsnorm", "original_rope"):
        del usual[0].config[key]
    del usual[1].config["attention_bias"]
    return [glm(), chatglm(refused=refused), biases, *usual, dense(), air, mixture_model("glm4-moe-normed", 103, False, 2.5, use_qk_norm=True)]
