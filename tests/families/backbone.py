"""What models of one thing a block have around it, as Mamba's are: a norm in front of it, and the names "backbone." of Hugging
Face's files."""
import layers
from lab import VOCABULARY


def forward(config, w, tokens, block_of):
    """`block_of(prefix, x)` is what the block whose names begin with `prefix` adds, x behind its norm."""
    epsilon = config["layer_norm_epsilon"]
    x = w["backbone.embeddings.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        prefix = f"backbone.layers.{layer}."
        x = x + block_of(prefix, layers.rms_norm(x, w[prefix + "norm.weight"], epsilon))
    x = layers.rms_norm(x, w["backbone.norm_f.weight"], epsilon)
    return x @ w.get("lm_head.weight", w["backbone.embeddings.weight"]).T


def weights(config, random, block_of):
    """`block_of(prefix)` are a block's own."""
    width = config["hidden_size"]
    result = {"backbone.embeddings.weight": random.matrix(VOCABULARY, width, gain=8.0),
              "backbone.norm_f.weight": random.vector(width, 1.0)}
    if not config["tie_word_embeddings"]:
        result["lm_head.weight"] = random.matrix(VOCABULARY, width, gain=3.0)
    for layer in range(config["num_hidden_layers"]):
        prefix = f"backbone.layers.{layer}."
        result[prefix + "norm.weight"] = random.vector(width, 1.0)
        result |= block_of(prefix)
    return result


def in_gguf(weights, tensor_of):
    """`tensor_of(name, tensor)` turns what is behind "mixer."."""
    names = {"backbone.embeddings": "token_embd", "backbone.norm_f": "output_norm", "lm_head": "output"}
    result = {}
    for name, tensor in weights.items():
        stem, _, rest = name.removeprefix("backbone.layers.").partition(".")
        if not stem.isdigit():
            result[names[name.removesuffix(".weight")] + ".weight"] = tensor
        elif rest == "norm.weight":
            result[f"blk.{stem}.attn_norm.weight"] = tensor
        else:
            new, tensor = tensor_of(rest.removeprefix("mixer."), tensor)
            result[f"blk.{stem}.{new}"] = tensor
    return result


def gguf_keys(architecture, config, keys):
    keys = {"block_count": config["num_hidden_layers"], "context_length": 1 << 20, "embedding_length": config["hidden_size"],
            "feed_forward_length": 0, "attention.head_count": 0,
            "attention.layer_norm_rms_epsilon": config["layer_norm_epsilon"], "vocab_size": VOCABULARY, **keys}
    return {"general.architecture": architecture} | {f"{architecture}.{key}": value for key, value in keys.items()}
