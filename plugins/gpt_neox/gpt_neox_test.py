"""GPT-NeoX (arXiv 2204.06745): rope on a quarter of each head, attention and feed-forward side by side or one after the
other, the exact gelu. Hugging Face keeps q, k and v of a head together."""
from lab import *

HEADS, HEAD_WIDTH, WIDTH = 4, 16, 64


def forward(config, w, tokens):
    epsilon = config["layer_norm_eps"]
    turn = layers.frequencies(int(HEAD_WIDTH * config["rotary_pct"]), config["rotary_emb_base"])

    def norm(x, name):
        return layers.layer_norm(x, w[name + ".weight"], w[name + ".bias"], epsilon)
    x = w["gpt_neox.embed_in.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"gpt_neox.layers.{layer}.")
        y = b.linear(norm(x, b.prefix + "input_layernorm"), "attention.query_key_value")
        q, k, v = (t.reshape(len(x), -1) for t in np.split(y.reshape(len(x), HEADS, 3 * HEAD_WIDTH), 3, axis=2))
        y = layers.attention(layers.rope_half(q, HEADS, turn), layers.rope_half(k, HEADS, turn), v, HEADS, HEADS)
        y = b.linear(y, "attention.dense")
        before = x if config["use_parallel_residual"] else x + y
        z = b.linear(norm(before, b.prefix + "post_attention_layernorm"), "mlp.dense_h_to_4h")
        x = x + y + b.linear(layers.gelu(z), "mlp.dense_4h_to_h")
    return norm(x, "gpt_neox.final_layer_norm") @ w["embed_out.weight"].T


def model(name, seed, parallel):
    random = Random(seed)
    config = {"architectures": ["GPTNeoXForCausalLM"], "num_hidden_layers": 3, "hidden_size": WIDTH,
              "intermediate_size": 128, "num_attention_heads": HEADS, "max_position_embeddings": 256,
              "vocab_size": VOCABULARY, "layer_norm_eps": 1e-5, "hidden_act": "gelu", "rotary_pct": 0.5,
              "rotary_emb_base": 10000, "use_parallel_residual": parallel, "tie_word_embeddings": False}
    weights = {"gpt_neox.embed_in.weight": random.matrix(VOCABULARY, WIDTH, gain=8.0),
               "embed_out.weight": random.matrix(VOCABULARY, WIDTH, gain=3.0)}
    norms = ["gpt_neox.final_layer_norm"]
    for layer in range(3):
        block = f"gpt_neox.layers.{layer}."
        norms += [block + "input_layernorm", block + "post_attention_layernorm"]
        for part, outputs, inputs in (("attention.query_key_value", 192, 64), ("attention.dense", 64, 64),
                                      ("mlp.dense_h_to_4h", 128, 64), ("mlp.dense_4h_to_h", 64, 128)):
            weights[f"{block}{part}.weight"] = random.matrix(outputs, inputs, gain=1.5)
            weights[f"{block}{part}.bias"] = random.vector(outputs)
    for norm in norms:
        weights[norm + ".weight"], weights[norm + ".bias"] = random.vector(WIDTH, 1.0), random.vector(WIDTH)
    names = {"gpt_neox.embed_in": "token_embd", "embed_out": "output", "gpt_neox.final_layer_norm": "output_norm",
             "attention.query_key_value": "attn_qkv", "attention.dense": "attn_output", "mlp.dense_h_to_4h": "ffn_up",
             "mlp.dense_4h_to_h": "ffn_down"}

    def apart(name, tensor):  # all of q, then all of k, then all of v
        if "attn_qkv" not in name:
            return tensor
        return tensor.reshape(HEADS, 3, HEAD_WIDTH, *tensor.shape[1:]).swapaxes(0, 1).reshape(tensor.shape)
    keys = {"block_count": 3, "context_length": 256, "embedding_length": WIDTH, "feed_forward_length": 128,
            "attention.head_count": HEADS, "attention.layer_norm_epsilon": 1e-5, "use_parallel_residual": parallel,
            "rope.dimension_count": 8}
    keys = {"general.architecture": "gptneox"} | {f"gptneox.{key}": value for key, value in keys.items()}
    return Model(name, config, weights, forward, keys, to_gguf(weights, names, apart), llama_cpp_tolerance=GELU_TABLE)


def models():
    return [model("gpt-neox", 91, True), model("gpt-neox-sequential", 92, False)]
