"""Qwen2 (arXiv 2407.10671): Llama's graph with biases on q, k and v. Qwen2-MoE (section 2.2.2 there, and transformers'
configuration): experts by a softmax over all, not divided by their sum, and one for every token times the sigmoid of its gate.
Qwen2-VL and Qwen2.5-VL (arXiv 2502.13923, section 2.1): for text the three positions of their rope are one."""
from lab import *


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = layers.frequencies(head_width, config["rope_theta"])
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        window = config["sliding_window"] if config["use_sliding_window"] and layer >= config["max_window_layers"] else None
        y = layers.rms_norm(x, b["input_layernorm.weight"], epsilon)
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        y = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn), v, heads, kv_heads,
                             window=window)
        x = x + b.linear(y, "self_attn.o_proj")
        y = layers.rms_norm(x, b["post_attention_layernorm.weight"], epsilon)
        x = x + (experts(config, b, y) if "num_experts" in config else gated(b, y))
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon))


def experts(config, b, x):
    p = layers.softmax(b.linear(x, "mlp.gate"))
    shared = gated(b, x, prefix="mlp.shared_expert.") / (1 + np.exp(-b.linear(x, "mlp.shared_expert_gate")))
    return mixture(b, x, p, config["num_experts_per_tok"], config["norm_topk_prob"]) + shared


BIAS = ("q_proj", "k_proj", "v_proj")


def moe():
    random = Random(22)
    config = llama_config("Qwen2MoeForCausalLM", num_experts=6, num_experts_per_tok=2, moe_intermediate_size=32,
                          shared_expert_intermediate_size=96, norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[],
                          rope_theta=1000000.0, rms_norm_eps=1e-6, use_sliding_window=False)
    weights = llama_weights(config, random, bias=BIAS, feed_forward=False)
    for layer in range(3):
        block = f"model.layers.{layer}.mlp.shared_expert"
        weights |= {f"{block}.{part}_proj.weight": random.matrix(96, 64) for part in ("gate", "up")}
        weights |= {f"{block}.down_proj.weight": random.matrix(64, 96), f"{block}_gate.weight": random.matrix(1, 64, gain=2.0)}
    names = {f"mlp.shared_expert.{part}_proj": f"ffn_{part}_shexp" for part in ("gate", "up", "down")}
    gguf = to_gguf(weights, names | {"mlp.shared_expert_gate": "ffn_gate_inp_shexp"},
                   lambda name, tensor: tensor[0] if "inp_shexp" in name else tensor)
    experts, stacked = mixture_weights(random, range(3), 6, 32)
    keys = gguf_keys("qwen2moe", config, expert_count=6, expert_used_count=2, expert_feed_forward_length=32,
                     expert_shared_feed_forward_length=96)
    missing = "tensor 'model.layers.1.mlp.shared_expert_gate.weight' is missing from the model file"
    return Model("qwen2-moe", config, weights | experts, forward, keys, gguf | stacked, refused=[
        ("hf", {"model.layers.1.mlp.shared_expert_gate.weight": None}, "weight blk.1.ffn_gate_inp_shexp.weight: " + missing),
        ("hf", {"decoder_sparse_step": 0}, "config.json: 'decoder_sparse_step' is 0, expected 1 to ")])


def seeing_models():
    """With the settings of the part about text among the others, and apart."""
    config = llama_config("Qwen2VLForConditionalGeneration", rope_theta=1000000.0, use_sliding_window=False, sliding_window=16,
                          max_window_layers=1, rope_scaling={"type": "mrope", "mrope_section": [2, 3, 3]},
                          vision_config={"hidden_size": 32})
    weights = llama_weights(config, Random(23), bias=BIAS)
    tower = {"visual.patch_embed.proj.weight": Random(24).matrix(32, 3, 2, 2)}
    keys = gguf_keys("qwen2vl", config, **{"rope.dimension_sections": [2, 3, 3, 0]})
    first = Model("qwen2-vl", config, weights, forward, keys, to_gguf(weights), stored=weights | tower, refused=[
        ("hf", {"rope_scaling": {"type": "su"}}, "config.json: 'rope_scaling.type' is 'su', which this plugin does not know")])
    apart = seeing(first, "Qwen2_5_VLForConditionalGeneration", "qwen2.5-vl")
    apart.weights = {name.replace("model.", "model.language_model."): tensor for name, tensor in weights.items()}
    apart.stored = apart.weights | tower
    apart.forward = lambda config, w, tokens: forward(
        config["text_config"], {name.replace("model.language_model.", "model."): tensor for name, tensor in w.items()}, tokens)
    return [first, apart]


def mimo():
    """With a layer that predicts the token after next."""
    config = llama_config("MiMoForCausalLM", attention_bias=True, use_sliding_window=False,
                          num_nextn_predict_layers=1)
    weights = llama_weights(config, Random(25), bias=BIAS)
    further = {"model.mtp_layers.0.input_proj.weight": Random(26).matrix(64, 128)}
    return Model("mimo", config, weights, forward, gguf_keys("qwen2", config), to_gguf(weights), stored=weights | further)


def models():
    config = llama_config("Qwen2ForCausalLM", rope_theta=1000000.0, use_sliding_window=False, sliding_window=16,
                          max_window_layers=1)
    weights = llama_weights(config, Random(21), bias=BIAS)
    return [Model("qwen2", config, weights, forward, gguf_keys("qwen2", config), to_gguf(weights)), moe(), *seeing_models(), mimo()]
