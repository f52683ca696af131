"""Llama (arXiv 2302.13971) and its variants: Llama 3.1's scaled rope, Mistral's window, SmolLM3's layers without rope,
Granite's four scales."""
from lab import *


def frequencies(config):
    f = layers.frequencies(config["head_dim"], config["rope_theta"])
    scaling = config.get("rope_scaling")
    if not scaling:
        return f
    # Llama 3.1's reference code: long waves are slowed by `factor`, short ones kept, those between blended.
    turns = scaling["original_max_position_embeddings"] * f / (2 * np.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    keep = np.clip((turns - low) / (high - low), 0, 1)
    return keep * f + (1 - keep) * f / scaling["factor"]


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = frequencies(config)
    x = w["model.embed_tokens.weight"][tokens] * config.get("embedding_multiplier", 1)
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = layers.rms_norm(x, b["input_layernorm.weight"], epsilon)
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        if config.get("no_rope_layers", [1] * 99)[layer]:
            q, k = layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn)
        y = layers.attention(q, k, v, heads, kv_heads, config.get("attention_multiplier"), config.get("sliding_window"))
        x = x + b.linear(y, "self_attn.o_proj") * config.get("residual_multiplier", 1)
        y = layers.rms_norm(x, b["post_attention_layernorm.weight"], epsilon)
        x = x + gated(b, y) * config.get("residual_multiplier", 1)
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon)) / config.get("logits_scaling", 1)


def variant(name, architecture, gguf_architecture, seed, gguf_changes=None, bias=(), refused=(), **changes):
    config = llama_config(architecture, **changes)
    weights = llama_weights(config, Random(seed), bias=bias)
    gguf = to_gguf(weights, change=interleaved((4, 2)))
    if config.get("rope_scaling"):
        factors = layers.frequencies(config["head_dim"], config["rope_theta"]) / frequencies(config)
        gguf["rope_freqs.weight"] = factors.astype(np.float32)
    keys = gguf_keys(gguf_architecture, config, **(gguf_changes or {}))
    return Model(name, config, weights, forward, keys, gguf, refused=list(refused))


def models():
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 64}
    granite = {"embedding_multiplier": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2,
               "logits_scaling": 0.5}
    in_gguf = {"embedding_scale": 2.0, "residual_scale": 0.5, "attention.scale": 0.2, "logit_scale": 0.5}
    refused = [("gguf", {"llama.rope.scaling.type": "su"},
                "llama: metadata key 'llama.rope.scaling.type' is 'su', which this plugin does not know (none, linear, "
                "yarn)"),
               ("gguf", {"general.architecture": "lama"},
                "no plugin knows the architecture 'lama'; loaded architecture plugins: ")]
    mistral = variant("mistral", "MistralForCausalLM", "llama", 12, {"attention.sliding_window": 16}, sliding_window=16)
    mistral.reads_like_llama_cpp = False  # it leaves the window out
    return [variant("llama3", "LlamaForCausalLM", "llama", 11, rope_scaling=llama3, refused=refused), mistral,
            variant("llama-bias", "LlamaForCausalLM", "llama", 13, bias=("q_proj", "k_proj", "v_proj", "o_proj"),
                    attention_bias=True, tie_word_embeddings=True),
            variant("smollm3", "SmolLM3ForCausalLM", "smollm3", 14, num_hidden_layers=5, no_rope_layers=[1, 1, 1, 0, 1]),
            variant("granite", "GraniteForCausalLM", "granite", 15, in_gguf, **granite)]
