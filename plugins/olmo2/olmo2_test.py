"""OLMo 2 (arXiv 2501.00656, section 3.2): the norms stand behind attention and feed-forward, q and k are normed as wholes."""
from lab import *


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = layers.frequencies(head_width, config["rope_theta"])
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        q, k, v = (b.linear(x, f"self_attn.{name}_proj") for name in "qkv")
        q = layers.rms_norm(q, b["self_attn.q_norm.weight"], epsilon)
        k = layers.rms_norm(k, b["self_attn.k_norm.weight"], epsilon)
        y = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn), v, heads, kv_heads)
        x = x + layers.rms_norm(b.linear(y, "self_attn.o_proj"), b["post_attention_layernorm.weight"], epsilon)
        x = x + layers.rms_norm(gated(b, x), b["post_feedforward_layernorm.weight"], epsilon)
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon))


def models():
    config = llama_config("Olmo2ForCausalLM", rope_theta=500000.0, rms_norm_eps=1e-6)
    norms = {"post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm"}
    weights = llama_weights(config, Random(61), tuple(norms), head_norm=(64, 32))
    return [Model("olmo2", config, weights, forward, gguf_keys("olmo2", config), to_gguf(weights, norms))]
