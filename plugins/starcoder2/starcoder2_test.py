"""StarCoder2 (arXiv 2402.19173, section 6.1): layer norms, biases, rope, grouped queries, a feed-forward part of two matrices
with the tanh approximation of gelu, a window over all layers."""
from lab import *

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj")


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = layers.frequencies(head_width, config["rope_theta"])

    def norm(x, name):
        return layers.layer_norm(x, w[name + ".weight"], w[name + ".bias"], epsilon)
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = norm(x, b.prefix + "input_layernorm")
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        y = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn), v, heads, kv_heads,
                             window=config["sliding_window"])
        x = x + b.linear(y, "self_attn.o_proj")
        y = norm(x, b.prefix + "post_attention_layernorm")
        x = x + b.linear(layers.gelu_tanh(b.linear(y, "mlp.c_fc")), "mlp.c_proj")
    return head(w, norm(x, "model.norm"))


def model(name, seed, **changes):
    random = Random(seed)
    config = llama_config("Starcoder2ForCausalLM", hidden_act="gelu_pytorch_tanh", tie_word_embeddings=True,
                          norm_epsilon=1e-5, use_bias=True, **changes)
    weights = llama_weights(config, random, bias=PROJECTIONS, feed_forward=False)
    weights["model.embed_tokens.weight"] /= 8  # it is the head too
    weights["model.norm.bias"] = random.vector(64)
    for layer in range(3):
        block = f"model.layers.{layer}."
        weights |= {block + "mlp.c_fc.weight": random.matrix(96, 64, gain=1.5), block + "mlp.c_fc.bias": random.vector(96),
                    block + "mlp.c_proj.weight": random.matrix(64, 96, gain=1.5), block + "mlp.c_proj.bias": random.vector(64)}
        weights |= {f"{block}{norm}.bias": random.vector(64) for norm in ("input_layernorm", "post_attention_layernorm")}
    keys = gguf_keys("starcoder2", config, **{"attention.layer_norm_rms_epsilon": None, "attention.layer_norm_epsilon": 1e-5})
    gguf = to_gguf(weights, {"mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"})
    return Model(name, config, weights, forward, keys, gguf, llama_cpp_tolerance=GELU_TABLE)


def models():
    windowed = model("starcoder2-window", 132, sliding_window=16)
    windowed.gguf_keys = windowed.gguf = None  # llama.cpp's converter does not tell the window
    windowed.reads_like_llama_cpp = False
    return [model("starcoder2", 131, sliding_window=None), windowed]
