"""Falcon (arXiv 2311.16867): attention and feed-forward side by side, one KV head (7B) or a few (40B, with a norm for each
half), rope, no biases in matrices. Hugging Face keeps the query heads of a KV head, its key and its value together."""
from lab import *

HEADS, HEAD_WIDTH, WIDTH = 4, 16, 64


def forward(config, w, tokens):
    kv_heads = config["num_kv_heads"] if config["new_decoder_architecture"] else 1
    epsilon, turn = config["layer_norm_epsilon"], layers.frequencies(HEAD_WIDTH, 10000.0)

    def norm(x, name):
        return layers.layer_norm(x, w[name + ".weight"], w[name + ".bias"], epsilon)
    x = w["transformer.word_embeddings.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"transformer.h.{layer}.")
        if config["new_decoder_architecture"]:
            own, other = norm(x, b.prefix + "ln_attn"), norm(x, b.prefix + "ln_mlp")
        else:
            own = other = norm(x, b.prefix + "input_layernorm")
        y = b.linear(own, "self_attention.query_key_value").reshape(len(x), kv_heads, -1)
        q, k, v = (t.reshape(len(x), -1) for t in np.split(y, [y.shape[2] - 2 * HEAD_WIDTH, y.shape[2] - HEAD_WIDTH], 2))
        y = layers.attention(layers.rope_half(q, HEADS, turn), layers.rope_half(k, kv_heads, turn), v, HEADS, kv_heads)
        z = layers.gelu(b.linear(other, "mlp.dense_h_to_4h"))
        x = x + b.linear(y, "self_attention.dense") + b.linear(z, "mlp.dense_4h_to_h")
    return norm(x, "transformer.ln_f") @ w["lm_head.weight"].T


def model(name, seed, kv_heads):
    random, grouped = Random(seed), kv_heads > 1
    config = {"architectures": ["FalconForCausalLM"], "num_hidden_layers": 3, "hidden_size": WIDTH,
              "num_attention_heads": HEADS, "vocab_size": VOCABULARY, "layer_norm_epsilon": 1e-5, "alibi": False,
              "bias": False, "multi_query": True, "parallel_attn": True, "new_decoder_architecture": grouped,
              "num_kv_heads": kv_heads, "tie_word_embeddings": False, "max_position_embeddings": 256}
    weights = {"transformer.word_embeddings.weight": random.matrix(VOCABULARY, WIDTH, gain=8.0),
               "lm_head.weight": random.matrix(VOCABULARY, WIDTH, gain=3.0)}
    norms = ["transformer.ln_f"]
    for layer in range(3):
        block = f"transformer.h.{layer}."
        norms += [block + part for part in (("ln_attn", "ln_mlp") if grouped else ("input_layernorm",))]
        for part, outputs, inputs in (("self_attention.query_key_value", (HEADS + 2 * kv_heads) * HEAD_WIDTH, WIDTH),
                                      ("self_attention.dense", WIDTH, WIDTH), ("mlp.dense_h_to_4h", 4 * WIDTH, WIDTH),
                                      ("mlp.dense_4h_to_h", WIDTH, 4 * WIDTH)):
            weights[f"{block}{part}.weight"] = random.matrix(outputs, inputs, gain=1.5)
    for norm in norms:
        weights[norm + ".weight"], weights[norm + ".bias"] = random.vector(WIDTH, 1.0), random.vector(WIDTH)
    names = {"transformer.word_embeddings": "token_embd", "transformer.ln_f": "output_norm",
             "self_attention.query_key_value": "attn_qkv", "self_attention.dense": "attn_output",
             "mlp.dense_h_to_4h": "ffn_up", "mlp.dense_4h_to_h": "ffn_down", "input_layernorm": "attn_norm",
             "ln_attn": "attn_norm_2", "ln_mlp": "attn_norm"}

    def apart(name, tensor):  # all query heads, then the keys, then the values
        if "attn_qkv" not in name:
            return tensor
        groups = tensor.reshape(kv_heads, HEADS // kv_heads + 2, HEAD_WIDTH, WIDTH)
        return np.concatenate([groups[:, :-2].reshape(-1, WIDTH), groups[:, -2].reshape(-1, WIDTH),
                               groups[:, -1].reshape(-1, WIDTH)])
    keys = {"block_count": 3, "context_length": 256, "embedding_length": WIDTH, "feed_forward_length": 4 * WIDTH,
            "attention.head_count": HEADS, "attention.head_count_kv": kv_heads, "attention.layer_norm_epsilon": 1e-5}
    keys = {"general.architecture": "falcon"} | {f"falcon.{key}": value for key, value in keys.items()}
    return Model(name, config, weights, forward, keys, to_gguf(weights, names, apart), llama_cpp_tolerance=GELU_TABLE)


def models():
    one = model("falcon", 101, 1)
    one.refused = [("hf", {"alibi": True}, "falcon: config.json: 'alibi' is true, which is not supported")]
    return [one, model("falcon-grouped", 102, 2)]
