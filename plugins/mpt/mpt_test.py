"""MPT (MosaicML's llm-foundry): positions by ALiBi (arXiv 2108.12409) alone, layer norms without biases, exact gelu, the
head tied to the embedding."""
from lab import *

HEADS, WIDTH = 4, 64


def forward(config, w, tokens):
    attn, epsilon = config["attn_config"], 1e-5
    slopes = 2.0 ** (-attn["alibi_bias_max"] * np.arange(1, HEADS + 1) / HEADS)
    x = w["transformer.wte.weight"][tokens]
    for layer in range(config["n_layers"]):
        b = Block(w, f"transformer.blocks.{layer}.")
        y = b.linear(layers.layer_norm(x, b["norm_1.weight"], None, epsilon), "attn.Wqkv")
        q, k, v = np.split(y, 3, axis=1)
        x = x + b.linear(layers.attention(q, k, v, HEADS, HEADS, slopes=slopes), "attn.out_proj")
        y = b.linear(layers.layer_norm(x, b["norm_2.weight"], None, epsilon), "ffn.up_proj")
        x = x + b.linear(layers.gelu(y), "ffn.down_proj")
    x = layers.layer_norm(x, w["transformer.norm_f.weight"], None, epsilon)
    return x @ w["transformer.wte.weight"].T


def models():
    random = Random(111)
    config = {"architectures": ["MPTForCausalLM"], "d_model": WIDTH, "n_heads": HEADS, "n_layers": 3,
              "expansion_ratio": 2, "max_seq_len": 256, "vocab_size": VOCABULARY, "no_bias": True,
              "attn_config": {"alibi": True, "alibi_bias_max": 8, "clip_qkv": None, "qk_ln": False,
                              "softmax_scale": None}}
    weights = {"transformer.wte.weight": random.matrix(VOCABULARY, WIDTH, gain=3.0),
               "transformer.norm_f.weight": random.vector(WIDTH, 1.0)}
    for layer in range(3):
        block = f"transformer.blocks.{layer}."
        weights |= {block + "norm_1.weight": random.vector(WIDTH, 1.0), block + "norm_2.weight": random.vector(WIDTH, 1.0)}
        for part, outputs, inputs in (("attn.Wqkv", 192, 64), ("attn.out_proj", 64, 64), ("ffn.up_proj", 128, 64),
                                      ("ffn.down_proj", 64, 128)):
            weights[f"{block}{part}.weight"] = random.matrix(outputs, inputs, gain=1.5)
    names = {"transformer.wte": "token_embd", "transformer.norm_f": "output_norm", "norm_1": "attn_norm",
             "norm_2": "ffn_norm", "attn.Wqkv": "attn_qkv", "attn.out_proj": "attn_output", "ffn.up_proj": "ffn_up",
             "ffn.down_proj": "ffn_down"}
    keys = {"general.architecture": "mpt", "mpt.block_count": 3, "mpt.context_length": 256, "mpt.embedding_length": WIDTH,
            "mpt.feed_forward_length": 128, "mpt.attention.head_count": HEADS, "mpt.attention.max_alibi_bias": 8.0,
            "mpt.attention.layer_norm_epsilon": 1e-5}
    refused = [("hf", {"attn_config": {"alibi": True, "clip_qkv": 8.0}},
                "mpt: config.json: 'attn_config.clip_qkv' is not supported")]
    return [Model("mpt", config, weights, forward, keys, to_gguf(weights, names), llama_cpp_tolerance=GELU_TABLE,
                  refused=refused)]
