"""OLMo 2 (arXiv 2501.00656, section 3.2): the norms stand behind attention and feed-forward, q and k are normed as wholes.
OLMo 3 (arXiv 2512.13961, section 3.2): the same with a window on three of four layers; YaRN (arXiv 2309.00071, section 3.2) is on the
others alone.
OLMoE (arXiv 2409.02060, section 2): they stand before the two, and experts are the best of a softmax over all."""
from lab import *


def yarn(config):
    """(frequencies, magnitude) of the stretched context."""
    scaling = config["rope_scaling"]
    return layers.yarn(config["head_dim"], config["rope_theta"], scaling), scaling["attention_factor"]


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    plain = layers.frequencies(head_width, config["rope_theta"]), 1.0
    is_moe = "num_experts" in config
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")

        def norm(y, name):
            return layers.rms_norm(y, b[name + ".weight"], epsilon)
        y = norm(x, "input_layernorm") if is_moe else x
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        q, k = norm(q, "self_attn.q_norm"), norm(k, "self_attn.k_norm")
        window = config["sliding_window"] if config.get("layer_types", ["full_attention"] * 99)[layer] == "sliding_attention" else None
        turn = yarn(config) if config.get("rope_scaling") and not window else plain
        y = layers.attention(layers.rope_half(q, heads, *turn), layers.rope_half(k, kv_heads, *turn), v, heads, kv_heads, window=window)
        y = b.linear(y, "self_attn.o_proj")
        if is_moe:
            x = x + y
            y = norm(x, "post_attention_layernorm")
            p = layers.softmax(b.linear(y, "mlp.gate"))
            x = x + mixture(b, y, p, config["num_experts_per_tok"], config["norm_topk_prob"])
        else:
            x = x + norm(y, "post_attention_layernorm")
            x = x + norm(gated(b, x), "post_feedforward_layernorm")
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon))


def moe():
    random = Random(62)  # as many KV heads as heads: llama.cpp knows no other
    config = llama_config("OlmoeForCausalLM", num_key_value_heads=4, intermediate_size=32, num_experts=8,
                          num_experts_per_tok=3, norm_topk_prob=False, clip_qkv=None)
    weights = llama_weights(config, random, head_norm=(64, 64), feed_forward=False)
    experts, stacked = mixture_weights(random, range(3), 8, 32)
    keys = gguf_keys("olmoe", config, expert_count=8, expert_used_count=3)
    return Model("olmoe", config, weights | experts, forward, keys, to_gguf(weights) | stacked, refused=[
        ("hf", {"clip_qkv": 8.0}, "config.json: 'clip_qkv' is not supported")])


def third(name, scaling, seed):
    kinds = ["sliding_attention"] * 3 + ["full_attention", "sliding_attention"]
    config = llama_config("Olmo3ForCausalLM", num_hidden_layers=5, rope_theta=500000.0, rms_norm_eps=1e-6, sliding_window=16,
                          layer_types=kinds, rope_scaling=scaling)
    weights = llama_weights(config, Random(seed), tuple(NORMS), head_norm=(64, 32))
    stretched = {"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 32} if scaling else {}
    keys = gguf_keys("olmo2", config, **{"attention.sliding_window": 16}, **stretched)
    return Model(name, config, weights, forward, keys, to_gguf(weights, NORMS), refused=[
        ("hf", {"layer_types": ["full_attention", "chunked_attention"]}, "config.json: 'layer_types' has 'chunked_attention' for layer 1")])


NORMS = {"post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm"}
YARN = {"rope_type": "yarn", "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0, "original_max_position_embeddings": 32,
        "attention_factor": 0.1 * float(np.log(8.0)) + 1}


def models():
    config = llama_config("Olmo2ForCausalLM", rope_theta=500000.0, rms_norm_eps=1e-6)
    weights = llama_weights(config, Random(61), tuple(NORMS), head_norm=(64, 32))
    biases = llama_weights(config, Random(65), tuple(NORMS), ("q_proj", "k_proj", "v_proj", "o_proj"), head_norm=(64, 32))
    biased = Model("olmo2-bias", config | {"attention_bias": True}, biases, forward, gguf_keys("olmo2", config),
                   to_gguf(biases, NORMS), reads_like_llama_cpp=False)  # it knows no biases
    return [Model("olmo2", config, weights, forward, gguf_keys("olmo2", config), to_gguf(weights, NORMS)), biased,
            third("olmo3", YARN, 63), third("olmo3-short", None, 64), moe()]
