"""EXAONE 4 (arXiv 2507.11407, section 2.1): norms behind attention and feed-forward, of each head's q and k before rope; the
large one turns and windows three of four layers, the small one has Llama 3.1's scaled rope on all."""
from lab import *


def frequencies(config):
    f = layers.frequencies(config["head_dim"], config["rope_theta"])
    scaling = config.get("rope_scaling")
    if not scaling:
        return f
    turns = scaling["original_max_position_embeddings"] * f / (2 * np.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    keep = np.clip((turns - low) / (high - low), 0, 1)
    return keep * f + (1 - keep) * f / scaling["factor"]


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = frequencies(config)
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")

        def norm(y, name):
            weight = b[name + ".weight"]
            return layers.rms_norm(y.reshape(-1, len(weight)), weight, epsilon).reshape(y.shape)
        q, k, v = (b.linear(x, f"self_attn.{name}_proj") for name in "qkv")
        q, k = norm(q, "self_attn.q_norm"), norm(k, "self_attn.k_norm")
        window = config["sliding_window"] if (layer + 1) % 4 else None
        if window or not config["sliding_window"]:
            q, k = layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn)
        y = layers.attention(q, k, v, heads, kv_heads, window=window)
        x = x + norm(b.linear(y, "self_attn.o_proj"), "post_attention_layernorm")
        x = x + norm(gated(b, x), "post_feedforward_layernorm")
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon))


def model(name, seed, gguf_changes, **changes):
    config = llama_config("Exaone4ForCausalLM", **changes)
    norms = {"post_attention_layernorm": "post_attention_norm", "post_feedforward_layernorm": "post_ffw_norm"}
    weights = llama_weights(config, Random(seed), tuple(norms), head_norm=(16, 16))
    gguf = to_gguf(weights, norms)
    if config.get("rope_scaling"):
        factors = layers.frequencies(config["head_dim"], config["rope_theta"]) / frequencies(config)
        gguf["rope_freqs.weight"] = factors.astype(np.float32)
    return Model(name, config, weights, forward, gguf_keys("exaone4", config, **gguf_changes), gguf)


def models():
    scaling = {"rope_type": "llama3", "factor": 16.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}
    large = model("exaone4-sliding", 122, {"attention.sliding_window": 16}, num_hidden_layers=5, sliding_window=16,
                  layer_types=["full_attention" if i == 3 else "sliding_attention" for i in range(5)])
    large.reads_like_llama_cpp = False  # it has windows where there are 64 layers
    return [model("exaone4", 121, {}, sliding_window=None, rope_scaling=scaling), large]
