"""Qwen2 (arXiv 2407.10671): Llama's graph with biases on q, k and v."""
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
        x = x + gated(b, layers.rms_norm(x, b["post_attention_layernorm.weight"], epsilon))
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon))


def models():
    config = llama_config("Qwen2ForCausalLM", rope_theta=1000000.0, use_sliding_window=False, sliding_window=16,
                          max_window_layers=1)
    weights = llama_weights(config, Random(21), bias=("q_proj", "k_proj", "v_proj"))
    return [Model("qwen2", config, weights, forward, gguf_keys("qwen2", config), to_gguf(weights))]
