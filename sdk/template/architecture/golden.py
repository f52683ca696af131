#!/usr/bin/env python3
"""Logits of the test models in models.json, computed in float64 with NumPy and written back there.

This is the second opinion that nacelle-conformance holds plugin.cpp against: write it from the model's paper, never from
plugin.cpp. FILL IN: forward(), and the names of the tensors."""
import numpy as np

from nacelle_golden import attention, main, norm, rope, weight

NAMES = {
    "gguf": {"table": "token_embd", "block": "blk.{layer}.", "attn_norm": "attn_norm", "q": "attn_q", "k": "attn_k",
             "v": "attn_v", "o": "attn_output", "ffn_norm": "ffn_norm", "gate": "ffn_gate", "up": "ffn_up",
             "down": "ffn_down", "norm": "output_norm", "head": "output"},
    "huggingface": {"table": "model.embed_tokens", "block": "model.layers.{layer}.", "attn_norm": "input_layernorm",
                    "q": "self_attn.q_proj", "k": "self_attn.k_proj", "v": "self_attn.v_proj", "o": "self_attn.o_proj",
                    "ffn_norm": "post_attention_layernorm", "gate": "mlp.gate_proj", "up": "mlp.up_proj",
                    "down": "mlp.down_proj", "norm": "model.norm", "head": "lm_head"},
}


def forward(model):
    config, names = model["config"], NAMES[model["format"]]
    gguf = model["format"] == "gguf"
    prefix = config.get("general.architecture")
    get = lambda gguf_key, key: config[f"{prefix}.{gguf_key}" if gguf else key]  # noqa: E731
    heads, kv_heads = get("attention.head_count", "num_attention_heads"), get("attention.head_count_kv", "num_key_value_heads")
    epsilon, base = get("attention.layer_norm_rms_epsilon", "rms_norm_eps"), get("rope.freq_base", "rope_theta")

    def w(name, layer=None):
        pattern = ("" if layer is None else names["block"]) + names[name] + ".weight"
        return weight(pattern.replace("{layer}", str(layer)), model["tensors"][pattern])

    def linear(x, name, layer):
        pattern = names["block"] + names[name] + ".bias"
        bias = model["tensors"].get(pattern)
        return x @ w(name, layer).T + (0 if bias is None else weight(pattern.replace("{layer}", str(layer)), bias))

    x = w("table")[model["tokens"]]
    for layer in range(model["layers"]):
        h = norm(x, w("attn_norm", layer), epsilon)
        q, k, v = (linear(h, name, layer) for name in "qkv")
        x = x + linear(attention(rope(q, heads, base), rope(k, kv_heads, base), v, heads, kv_heads), "o", layer)
        h = norm(x, w("ffn_norm", layer), epsilon)
        gate = linear(h, "gate", layer)
        x = x + linear(gate / (1 + np.exp(-gate)) * linear(h, "up", layer), "down", layer)
    tied = "output.weight" not in model["tensors"] if gguf else config.get("tie_word_embeddings", False)
    return norm(x, w("norm"), epsilon) @ w("table" if tied else "head").T


if __name__ == "__main__":
    main(forward)
