"""OLMo 2 (arXiv 2501.00656, section 3.2): the norms stand behind attention and feed-forward, q and k are normed as wholes.
OLMoE (arXiv 2409.02060, section 2): they stand before the two, and experts are the best of a softmax over all."""
from lab import *


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = layers.frequencies(head_width, config["rope_theta"])
    is_moe = "num_experts" in config
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")

        def norm(y, name):
            return layers.rms_norm(y, b[name + ".weight"], epsilon)
        y = norm(x, "input_layernorm") if is_moe else x
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        q, k = norm(q, "self_attn.q_norm"), norm(k, "self_attn.k_norm")
        y = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn), v, heads, kv_heads)
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


def models():
    config = llama_config("Olmo2ForCausalLM", rope_theta=500000.0, rms_norm_eps=1e-6)
    norms = {"post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm"}
    weights = llama_weights(config, Random(61), tuple(norms), head_norm=(64, 32))
    return [Model("olmo2", config, weights, forward, gguf_keys("olmo2", config), to_gguf(weights, norms)), moe()]
