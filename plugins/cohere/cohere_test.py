"""Command-R and Command-R7B, from transformers' configurations: one layer norm without bias before attention and feed-forward,
which stand side by side; rope of neighbours; logits times a scale. Command-R+: heads of q
and k have layer norms of their own. Command-R7B: a window and rope on three of four layers."""
from lab import *


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = layers.frequencies(head_width, config["rope_theta"])
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = layers.layer_norm(x, b["input_layernorm.weight"], None, epsilon)
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        if config.get("use_qk_norm"):
            q, k = own_norms(q, b["self_attn.q_norm.weight"], epsilon), own_norms(k, b["self_attn.k_norm.weight"], epsilon)
        window = config.get("sliding_window") if (layer + 1) % 4 else None
        if window or "sliding_window" not in config:
            q, k = layers.rope_pairs(q, heads, turn), layers.rope_pairs(k, kv_heads, turn)
        z = layers.attention(q, k, v, heads, kv_heads, window=window)
        x = x + b.linear(z, "self_attn.o_proj") + gated(b, y)
    return head(w, layers.layer_norm(x, w["model.norm.weight"], None, epsilon)) * config["logit_scale"]


def own_norms(x, weights, epsilon):
    heads = x.reshape(len(x), *weights.shape)
    return layers.layer_norm(heads, weights, None, epsilon).reshape(x.shape)


def generation(name, architecture, gguf_architecture, seed, refused, gguf_changes, **changes):
    config = llama_config(architecture, tie_word_embeddings=True, layer_norm_eps=1e-5, rms_norm_eps=1e-5, logit_scale=8.0,
                          **changes)
    bias = ("q_proj", "k_proj", "v_proj", "o_proj") if config.get("attention_bias") else ()
    weights = llama_weights(config, Random(seed), ("input_layernorm",), bias)
    weights["model.embed_tokens.weight"] /= 8  # it is the head too
    if config.get("use_qk_norm"):
        random = Random(seed + 1000)
        weights |= {f"model.layers.{layer}.self_attn.{part}_norm.weight": random.vector((heads, 16), 1.0)
                    for layer in range(3) for part, heads in (("q", 4), ("k", 2))}
    keys = gguf_keys(gguf_architecture, config, logit_scale=8.0,
                     **{"attention.layer_norm_rms_epsilon": None, "attention.layer_norm_epsilon": 1e-5,
                        "rope.scaling.type": "none"} | gguf_changes)
    return Model(name, config, weights, forward, keys, to_gguf(weights), refused=refused,
                 conversion=other_keys("rope.scaling.type"))


def models():
    refused = [("gguf", {"command-r.logit_scale": None}, "metadata key 'command-r.logit_scale' is missing")]
    first = generation("cohere", "CohereForCausalLM", "command-r", 111, refused, {"context_length": 512}, use_qk_norm=False,
                       model_max_length=512)
    refused = [("hf", {"rotary_pct": 0.5}, "config.json: 'rotary_pct' is not 1"),
               ("hf", {"use_parallel_block": False}, "config.json: 'use_parallel_block' is false, which is not supported")]
    second = generation("cohere2", "Cohere2ForCausalLM", "cohere2", 112, refused, {"attention.sliding_window": 16},
                        num_hidden_layers=5, sliding_window=16, sliding_window_pattern=4, rotary_pct=1.0,
                        use_parallel_block=True)
    plus = generation("cohere-plus", "CohereForCausalLM", "command-r", 113, [], {}, use_qk_norm=True)
    plus.reads_like_llama_cpp = False  # which knows it by the number of layers: 64
    biases = generation("cohere-bias", "CohereForCausalLM", "command-r", 114, [], {}, attention_bias=True)
    biases.reads_like_llama_cpp = False  # it knows no biases
    return [first, plus, second, biases]
