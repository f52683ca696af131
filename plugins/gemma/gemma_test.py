"""Gemma 1 to 3 (arXiv 2403.08295, 2408.00118, 2503.19786): embeddings times sqrt(width), norms by 1 + weight, GELU gates.
2: norms behind both halves, soft caps, every second layer windowed. 3: norms of q and k, every sixth layer sees everything,
the windowed ones turn with a base of their own."""
from lab import *


def forward(config, w, tokens):
    config, w = text_part(config, w)
    heads, kv_heads, head_width, epsilon = sizes(config)
    number = {"GemmaForCausalLM": 1, "Gemma2ForCausalLM": 2, "Gemma3ForCausalLM": 3,
              "Gemma3ForConditionalGeneration": 3}[config["architectures"][0]]
    scale = config["query_pre_attn_scalar"] ** -0.5 if number > 1 else head_width**-0.5

    def norm(x, weight):
        return layers.rms_norm(x, 1 + weight, epsilon)

    x = w["model.embed_tokens.weight"][tokens] * np.sqrt(config["hidden_size"])
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        windowed = number > 1 and (layer + 1) % (2 if number == 2 else 6) != 0
        base = config["rope_local_base_freq"] if number == 3 and windowed else config["rope_theta"]
        turn = layers.frequencies(head_width, base)
        if config.get("rope_scaling") and not windowed:
            turn = turn / config["rope_scaling"]["factor"]
        y = norm(x, b["input_layernorm.weight"])
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        if number == 3:
            q, k = (norm(t.reshape(-1, head_width), b[f"self_attn.{name}_norm.weight"]).reshape(t.shape)
                    for t, name in ((q, "q"), (k, "k")))
        y = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn), v, heads, kv_heads,
                             scale, config["sliding_window"] if windowed else None, config.get("attn_logit_softcapping"))
        y = b.linear(y, "self_attn.o_proj")
        x = x + (norm(y, b["post_attention_layernorm.weight"]) if number > 1 else y)
        y = norm(x, b["post_attention_layernorm.weight" if number == 1 else "pre_feedforward_layernorm.weight"])
        y = gated(b, y, layers.gelu_tanh)
        x = x + (norm(y, b["post_feedforward_layernorm.weight"]) if number > 1 else y)
    return layers.soft_cap(head(w, norm(x, w["model.norm.weight"])), config.get("final_logit_softcapping"))


def generation(number, seed, gguf_changes, head_norm=None, **changes):
    name = f"Gemma{number if number > 1 else ''}ForCausalLM"
    config = llama_config(name, tie_word_embeddings=True, hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6,
                          **changes)
    norms = ["input_layernorm", "post_attention_layernorm"]
    names = {}
    if number > 1:
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
        names = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
                 "post_feedforward_layernorm": "post_ffw_norm"}
    weights = llama_weights(config, Random(seed), norms, head_norm=head_norm, norm_around=0.0)
    weights["model.embed_tokens.weight"] /= 4  # it is the head too, and is scaled as embedding
    prefix = f"gemma{number if number > 1 else ''}"
    gguf = to_gguf(weights, names, lambda name, tensor: tensor + 1 if "norm" in name else tensor)
    return Model(prefix, config, weights, forward, gguf_keys(prefix, config, **gguf_changes), gguf,
                 llama_cpp_tolerance=GELU_TABLE)


def models():
    # llama.cpp knows no query_pre_attn_scalar, so these have the one that it assumes: the head's width.
    gemma2 = generation(2, 42, {"attn_logit_softcapping": 5.0, "final_logit_softcapping": 6.0,
                                "attention.sliding_window": 16}, num_hidden_layers=4, attn_logit_softcapping=5.0,
                        final_logit_softcapping=6.0, sliding_window=16, query_pre_attn_scalar=16)
    gemma3 = generation(3, 43, {"attention.sliding_window": 16, "rope.scaling.type": "linear",
                                "rope.scaling.factor": 8.0}, (16, 16), num_hidden_layers=7, sliding_window=16,
                        query_pre_attn_scalar=16, rope_theta=1000000.0, rope_local_base_freq=10000.0,
                        rope_scaling={"rope_type": "linear", "factor": 8.0}, attn_logit_softcapping=None,
                        final_logit_softcapping=None)
    both = seeing(gemma3, "Gemma3ForConditionalGeneration", "gemma3-seeing")
    text = both.config["text_config"]
    both.refused = [  # published files leave out what is usual: 8 heads of 256, 4 for keys
        ("hf", {"text_config": {key: value for key, value in text.items() if key != left_out}},
         f"weight blk.0.attn_{part}.weight: tensor 'language_model.model.layers.0.self_attn.{part}_proj.weight' has shape [{rows}, 64], "
         f"[{expected}, 64] was expected")
        for left_out, part, rows, expected in (("num_attention_heads", "q", 64, 128), ("num_key_value_heads", "k", 32, 64),
                                               ("head_dim", "q", 64, 1024))]
    return [generation(1, 41, {}), gemma2, gemma3, both]
