"""Phi-3 and Phi-4-mini (arXiv 2404.14219, 2503.01743): q, k and v in one matrix, gate and up in another, rope on three
quarters of each head, LongRoPE's (arXiv 2402.13753) short factors up to the trained context and long ones beyond."""
from lab import *

PARTIAL, ORIGINAL = 12, 256  # columns that turn; the context of the first training


def forward_for(context):
    def forward(config, w, tokens):
        heads, kv_heads, head_width, epsilon = sizes(config)
        scaling, width = config["rope_scaling"], int(head_width * config["partial_rotary_factor"])
        longer = context > config["original_max_position_embeddings"]
        turn = layers.frequencies(width, config["rope_theta"])
        turn = turn / np.array(scaling["long_factor" if longer else "short_factor"])
        stretch = config["max_position_embeddings"] / config["original_max_position_embeddings"]
        magnitude = np.sqrt(1 + np.log(stretch) / np.log(config["original_max_position_embeddings"]))
        x = w["model.embed_tokens.weight"][tokens]
        for layer in range(config["num_hidden_layers"]):
            b = Block(w, f"model.layers.{layer}.")
            y = b.linear(layers.rms_norm(x, b["input_layernorm.weight"], epsilon), "self_attn.qkv_proj")
            q, k, v = np.split(y, [heads * head_width, (heads + kv_heads) * head_width], axis=1)
            y = layers.attention(layers.rope_half(q, heads, turn, magnitude),
                                 layers.rope_half(k, kv_heads, turn, magnitude), v, heads, kv_heads)
            x = x + b.linear(y, "self_attn.o_proj")
            y = b.linear(layers.rms_norm(x, b["post_attention_layernorm.weight"], epsilon), "mlp.gate_up_proj")
            gate, up = np.split(y, 2, axis=1)
            x = x + b.linear(layers.silu(gate) * up, "mlp.down_proj")
        return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon))
    return forward


def fuse(weights):
    result = {}
    for name, tensor in weights.items():
        if ".q_proj." in name:
            parts = [weights[name.replace("q_proj", part)] for part in ("q_proj", "k_proj", "v_proj")]
            result[name.replace("q_proj", "qkv_proj")] = np.concatenate(parts)
        elif ".gate_proj." in name:
            parts = [weights[name.replace("gate_proj", part)] for part in ("gate_proj", "up_proj")]
            result[name.replace("gate_proj", "gate_up_proj")] = np.concatenate(parts)
        elif not any(part in name for part in (".k_proj.", ".v_proj.", ".up_proj.")):
            result[name] = tensor
    return result


def models():
    short = [1.0, 1.05, 1.1, 1.2, 1.3, 1.5]
    long = [1.0, 1.5, 2.0, 3.0, 3.5, 4.0]
    config = llama_config("Phi3ForCausalLM", max_position_embeddings=1024, partial_rotary_factor=0.75, original_max_position_embeddings=ORIGINAL,
                          tie_word_embeddings=True, sliding_window=None,
                          rope_scaling={"type": "longrope", "short_factor": short, "long_factor": long})
    weights = fuse(llama_weights(config, Random(51)))
    gguf = to_gguf(weights, {"self_attn.qkv_proj": "attn_qkv", "mlp.gate_up_proj": "ffn_up"})
    gguf |= {"rope_factors_short.weight": np.array(short, np.float32),
             "rope_factors_long.weight": np.array(long, np.float32)}
    magnitude = float(np.sqrt(1 + np.log(4) / np.log(ORIGINAL)))
    keys = gguf_keys("phi3", config, **{"rope.dimension_count": PARTIAL, "rope.scaling.attn_factor": magnitude,
                                        "rope.scaling.original_context_length": ORIGINAL,
                                        "attention.sliding_window": 0})
    refused = [("hf", {"rope_scaling": {"type": "longrope", "short_factor": short, "long_factor": long[1:]}},
                "phi3: config.json: 'rope_scaling.long_factor' has 5 numbers, expected 6"),
               ("hf", {"rope_scaling": {"type": "su", "short_factor": short, "long_factor": long}},
                "phi3: config.json: 'rope_scaling.type' is 'su', which this plugin does not know (default, linear, "
                "llama3, yarn, longrope)")]
    return [Model("phi3-short", config, weights, forward_for(256), keys, gguf, context=256, refused=refused,
                  conversion=other_keys("attention.sliding_window")),
            Model("phi3-long", config, weights, forward_for(512), keys, gguf, context=512, conversion=other_keys("attention.sliding_window"))]
