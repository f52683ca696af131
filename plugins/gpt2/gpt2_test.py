"""GPT-2 ("Language Models are Unsupervised Multitask Learners", and its code): learned positions, layer norms before both
halves, gelu by its tanh approximation. Hugging Face keeps matrices as [inputs, outputs]. GPTBigCode (arXiv 2305.06161): the same
with one head of keys and values, and matrices as [outputs, inputs]."""
from lab import *

HEADS = 4


def forward(config, w, tokens):
    epsilon, prefix = config["layer_norm_epsilon"], "" if "wte.weight" in w else "transformer."
    x = w[prefix + "wte.weight"][tokens] + w[prefix + "wpe.weight"][: len(tokens)]

    def norm(x, name):
        return layers.layer_norm(x, w[f"{prefix}{name}.weight"], w[f"{prefix}{name}.bias"], epsilon)

    big_code = config["architectures"] == ["GPTBigCodeForCausalLM"]

    def linear(x, name):
        matrix = w[f"{prefix}{name}.weight"]
        return x @ (matrix.T if big_code else matrix) + w[f"{prefix}{name}.bias"]
    kv_heads = 1 if big_code else HEADS
    for layer in range(config["n_layer"]):
        block = f"h.{layer}."
        q, k, v = np.split(linear(norm(x, block + "ln_1"), block + "attn.c_attn"), [64, 64 + kv_heads * 16], axis=1)
        x = x + linear(layers.attention(q, k, v, HEADS, kv_heads), block + "attn.c_proj")
        x = x + linear(layers.gelu_tanh(linear(norm(x, block + "ln_2"), block + "mlp.c_fc")), block + "mlp.c_proj")
    return norm(x, "ln_f") @ w[prefix + "wte.weight"].T


def big_code():
    random, width = Random(82), 64
    config = {"architectures": ["GPTBigCodeForCausalLM"], "n_layer": 3, "n_embd": width, "n_head": HEADS, "n_positions": 256,
              "vocab_size": VOCABULARY, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_pytorch_tanh"}
    weights = {"transformer.wte.weight": random.matrix(VOCABULARY, width, gain=3.0), "transformer.wpe.weight": random.matrix(256, width),
               "transformer.ln_f.weight": random.vector(width, 1.0), "transformer.ln_f.bias": random.vector(width)}
    for layer in range(3):
        block = f"transformer.h.{layer}."
        for name in ("ln_1", "ln_2"):
            weights |= {f"{block}{name}.weight": random.vector(width, 1.0), f"{block}{name}.bias": random.vector(width)}
        for name, outputs, inputs in (("attn.c_attn", 96, 64), ("attn.c_proj", 64, 64), ("mlp.c_fc", 256, 64), ("mlp.c_proj", 64, 256)):
            weights |= {f"{block}{name}.weight": random.matrix(outputs, inputs, gain=1.5), f"{block}{name}.bias": random.vector(outputs)}
    names = {"transformer.wte": "token_embd", "transformer.wpe": "position_embd", "transformer.ln_f": "output_norm"} | BLOCK_NAMES
    keys = {"block_count": 3, "context_length": 256, "embedding_length": width, "feed_forward_length": 256,
            "attention.head_count": HEADS, "attention.head_count_kv": 1, "attention.layer_norm_epsilon": 1e-5}
    keys = {"general.architecture": "starcoder"} | {f"starcoder.{key}": value for key, value in keys.items()}
    return Model("gpt-big-code", config, weights, forward, keys, to_gguf(weights, names), llama_cpp_tolerance=GELU_TABLE, refused=[
        ("hf", {"multi_query": False}, "config.json: 'multi_query' is false, which is not supported")])


BLOCK_NAMES = {"ln_1": "attn_norm", "ln_2": "ffn_norm", "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output",
               "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down"}


def models():
    random, width = Random(81), 64
    config = {"architectures": ["GPT2LMHeadModel"], "n_layer": 3, "n_embd": width, "n_head": HEADS, "n_positions": 256,
              "vocab_size": VOCABULARY, "layer_norm_epsilon": 1e-5, "activation_function": "gelu_new"}
    names = {"wte": "token_embd", "wpe": "position_embd", "ln_f": "output_norm"} | BLOCK_NAMES
    weights = {"transformer.wte.weight": random.matrix(VOCABULARY, width, gain=3.0),
               "transformer.wpe.weight": random.matrix(256, width)}
    norms = ["transformer.ln_f"]
    for layer in range(3):
        block = f"transformer.h.{layer}."
        norms += [block + "ln_1", block + "ln_2"]
        for name, outputs, inputs in (("attn.c_attn", 192, 64), ("attn.c_proj", 64, 64), ("mlp.c_fc", 256, 64),
                                      ("mlp.c_proj", 64, 256)):
            weights[f"{block}{name}.weight"] = np.ascontiguousarray(random.matrix(outputs, inputs, gain=1.5).T)
            weights[f"{block}{name}.bias"] = random.vector(outputs)
    for name in norms:
        weights[name + ".weight"], weights[name + ".bias"] = random.vector(width, 1.0), random.vector(width)
    gguf = {"token_embd.weight": weights["transformer.wte.weight"], "position_embd.weight": weights["transformer.wpe.weight"],
            "output_norm.weight": weights["transformer.ln_f.weight"], "output_norm.bias": weights["transformer.ln_f.bias"]}
    in_blocks = {name: tensor for name, tensor in weights.items() if ".h." in name}
    gguf |= to_gguf(in_blocks, names, lambda name, tensor: np.ascontiguousarray(tensor.T) if tensor.ndim == 2 else tensor)
    keys = {"general.architecture": "gpt2", "gpt2.block_count": 3, "gpt2.context_length": 256,
            "gpt2.embedding_length": width, "gpt2.feed_forward_length": 256, "gpt2.attention.head_count": HEADS,
            "gpt2.attention.layer_norm_epsilon": 1e-5}
    bare = {name.removeprefix("transformer."): tensor for name, tensor in weights.items()}
    refused = [("hf", {"activation_function": "quick_gelu"},
                "gpt2: config.json: 'activation_function' is 'quick_gelu', which this plugin does not know")]
    return [Model("gpt2", config, weights, forward, keys, gguf, llama_cpp_tolerance=GELU_TABLE, refused=refused),
            big_code(), Model("gpt2-bare", config, bare, forward, None, None, llama_cpp_tolerance=GELU_TABLE)]
