"""Llama 4 (its model card, and the configuration that comes with the checkpoints): layers that turn neighbours, norm each head
of q and k behind that and attend within chunks; layers that do neither, and whose queries grow with their position (arXiv
2501.19399, section 3); and experts, of which a row has one, that reads it times the sigmoid of its score, beside one for all
rows."""
from lab import *


def frequencies(config):
    """The long waves are slowed by `factor`, and none lies between them and the short ones."""
    f = layers.frequencies(config["head_dim"], config["rope_theta"])
    scaling = config.get("rope_scaling")
    if not scaling:
        return f
    turns = scaling["original_max_position_embeddings"] * f / (2 * np.pi)
    return np.where(turns < scaling["low_freq_factor"], f / scaling["factor"], f)


def forward(config, w, tokens):
    config, w = text_part(config, w)
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = frequencies(config)
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = layers.rms_norm(x, b["input_layernorm.weight"], epsilon)
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        turns = (layer + 1) % 4 != 0
        if turns:
            q, k = layers.rope_pairs(q, heads, turn), layers.rope_pairs(k, kv_heads, turn)
            if config.get("use_qk_norm", True):
                q, k = (layers.rms_norm(t.reshape(-1, head_width), 1, epsilon).reshape(t.shape) for t in (q, k))
        elif config["attn_temperature_tuning"]:
            q = layers.grown(q, config["attn_scale"], config["floor_scale"], 1)
        y = layers.attention(q, k, v, heads, kv_heads, chunk=config["attention_chunk_size"] if turns else None)
        x = x + b.linear(y, "self_attn.o_proj")
        x = x + feed_forward(config, b, layer, layers.rms_norm(x, b["post_attention_layernorm.weight"], epsilon))
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon))


def feed_forward(config, b, layer, x):
    if (layer + 1) % config.get("interleave_moe_layer_step", 1):
        return gated(b, x, prefix="feed_forward.")
    scores = b.linear(x, "feed_forward.router")
    out = gated(b, x, prefix="feed_forward.shared_expert.")
    for row, expert in enumerate(scores.argmax(axis=1)):
        gate, up = np.split(x[row] / (1 + np.exp(-scores[row, expert])) @ b["feed_forward.experts.gate_up_proj"][expert], 2)
        out[row] += (layers.silu(gate) * up) @ b["feed_forward.experts.down_proj"][expert]
    return out


def make(name, seed, count=4, step=1, architecture="Llama4ForCausalLM", keys=None, scaling=None, **changes):
    random, width, inner = Random(seed), 64, 32
    config = llama_config(architecture, num_hidden_layers=5, intermediate_size=inner, intermediate_size_mlp=96,
                          num_local_experts=count, num_experts_per_tok=1, interleave_moe_layer_step=step, use_qk_norm=True,
                          attn_temperature_tuning=True, attn_scale=0.1, floor_scale=8192, attention_chunk_size=8192,
                          no_rope_layers=[], attention_bias=False) | changes
    if scaling:
        config["rope_scaling"] = scaling
    bias = ("q_proj", "k_proj", "v_proj", "o_proj") if config["attention_bias"] else ()
    weights = llama_weights(config, random, bias=bias, feed_forward=False)
    gguf = to_gguf(weights)
    for layer in range(config["num_hidden_layers"]):
        block, to = f"model.layers.{layer}.feed_forward.", f"blk.{layer}.ffn_"
        mixed = (layer + 1) % step == 0
        plain = inner if mixed else config["intermediate_size_mlp"]
        for part, shape in {"gate": (plain, width), "up": (plain, width), "down": (width, plain)}.items():
            tensor = random.matrix(*shape, gain=1.5)
            weights[block + ("shared_expert." if mixed else "") + part + "_proj.weight"] = tensor
            gguf[f"{to}{part}{'_shexp' if mixed else ''}.weight"] = tensor
        if not mixed:
            continue
        router = random.matrix(count, width, gain=3.0)
        weights[block + "router.weight"] = gguf[to + "gate_inp.weight"] = router
        gate_up, down = random.matrix(count, 2 * inner, width, gain=1.5), random.matrix(count, width, inner, gain=1.5)
        weights[block + "experts.gate_up_proj"] = gate_up.swapaxes(1, 2)
        weights[block + "experts.down_proj"] = down.swapaxes(1, 2)
        gguf |= {to + "gate_exps.weight": gate_up[:, :inner], to + "up_exps.weight": gate_up[:, inner:],
                 to + "down_exps.weight": down}
    if scaling:
        factors = layers.frequencies(config["head_dim"], config["rope_theta"]) / frequencies(config)
        gguf["rope_freqs.weight"] = factors.astype(np.float32)
    own = gguf_keys("llama4", config, **{"feed_forward_length": 96, "expert_count": count, "expert_used_count": 1,
                                         "expert_feed_forward_length": inner, "interleave_moe_layer_step": step} | (keys or {}))
    return Model(name, config, weights, forward, own, gguf)


def models():
    # Chunks and steps that the prompts reach, which llama.cpp does not read.
    chunks = make("llama4-chunks", 41, attention_chunk_size=16, floor_scale=8, keys={
        "attention.sliding_window": 16, "attention.temperature_length": 8})
    chunks.reads_like_llama_cpp = False
    chunks.refused = [
        ("hf", {"num_experts_per_tok": 2}, "config.json: 'num_experts_per_tok' is 2, expected 1: what an expert reads"),
        ("hf", {"no_rope_layers": [1, 1]}, "config.json: 'no_rope_layers' has 2 entries for 5 layers"),
        ("hf", {"layer_types": ["sliding_attention"]}, "config.json: 'layer_types' has 'sliding_attention' for layer 0"),
        ("gguf", {"llama4.attention.sliding_window_pattern": 2},
         "metadata key 'llama4.attention.sliding_window_pattern' is 2, expected 4"),
        ("gguf", {"llama4.expert_used_count": 2}, "metadata key 'llama4.expert_used_count' is 2, expected 1: what an")]
    scout = make("llama4-scout", 42, scaling={"rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0,
                                              "high_freq_factor": 1.0, "original_max_position_embeddings": 128})
    # Every second layer has experts, and no norms: as no key of GGUF says that, it goes by the number of experts.
    maverick = make("llama4-maverick", 43, count=128, step=2, use_qk_norm=False, attn_temperature_tuning=4)
    plain = make("llama4-plain", 44, use_qk_norm=False)
    plain.gguf_keys = plain.gguf = None
    plain.conversion = refused_by_gguf("GGUF cannot say this model")
    biases = make("llama4-bias", 45, attention_bias=True)
    biases.reads_like_llama_cpp = False  # it knows no biases
    for key in ("num_experts_per_tok", "interleave_moe_layer_step", "use_qk_norm"):
        del biases.config[key]  # what is usual
    return [chunks, scout, maverick, plain, biases, seeing(scout, "Llama4ForConditionalGeneration", "llama4-text")]
