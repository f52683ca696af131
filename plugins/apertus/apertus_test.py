"""Apertus (arXiv 2509.14233, section 2.1): norms of each head in front of rope, no gate, and xIELU (arXiv 2411.13010) for the
activation, whose two slopes are kept as what softplus makes them of."""
from lab import *


def xielu(x, rise, fall, slope, epsilon):
    softplus = lambda y: np.log1p(np.exp(y))
    bent = np.where(x > 0, softplus(rise) * x * x, (slope + softplus(fall)) * (np.expm1(np.minimum(x, epsilon)) - x))
    return bent + slope * x


def frequencies(config):
    """As Llama 3.1's reference code."""
    f, scaling = layers.frequencies(config["head_dim"], config["rope_theta"]), config["rope_scaling"]
    turns = scaling["original_max_position_embeddings"] * f / (2 * np.pi)
    keep = np.clip((turns - scaling["low_freq_factor"]) / (scaling["high_freq_factor"] - scaling["low_freq_factor"]), 0, 1)
    return keep * f + (1 - keep) * f / scaling["factor"]


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = frequencies(config)
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = layers.rms_norm(x, b["attention_layernorm.weight"], epsilon)
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        q, k = (layers.rms_norm(t.reshape(-1, head_width), b[f"self_attn.{name}_norm.weight"], epsilon).reshape(t.shape)
                for t, name in ((q, "q"), (k, "k")))
        y = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn), v, heads, kv_heads)
        x = x + b.linear(y, "self_attn.o_proj")
        y = b.linear(layers.rms_norm(x, b["feedforward_layernorm.weight"], epsilon), "mlp.up_proj")
        y = xielu(y, *(b["mlp.act_fn." + name][0] for name in ("alpha_p", "alpha_n", "beta", "eps")))
        x = x + b.linear(y, "mlp.down_proj")
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon))


def model(name, seed, bias=(), refused=()):
    random = Random(seed)
    scaling = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}
    config = llama_config("ApertusForCausalLM", hidden_act="xielu", attention_bias=bool(bias) or None, rope_scaling=scaling)
    norms = ("attention_layernorm", "feedforward_layernorm")
    weights = llama_weights(config, random, norms, bias, head_norm=(16, 16))
    weights = {key: tensor for key, tensor in weights.items() if "gate_proj" not in key}
    gguf = to_gguf(weights, {"attention_layernorm": "attn_norm", "feedforward_layernorm": "ffn_norm"})
    factors = layers.frequencies(config["head_dim"], config["rope_theta"]) / frequencies(config)
    gguf["rope_freqs.weight"] = factors.astype(np.float32)
    keys = {}
    for part, around in (("alpha_p", 0.2), ("alpha_n", -1.0), ("beta", 0.5), ("eps", -1e-6)):
        values = random.vector(3, around) if part.startswith("alpha") else np.full(3, around, np.float32)
        weights |= {f"model.layers.{layer}.mlp.act_fn.{part}": values[layer:layer + 1] for layer in range(3)}
        keys[f"xielu.{part}"] = [float(value) for value in values]
    return Model(name, config, weights, forward, gguf_keys("apertus", config) | keys, gguf, refused=list(refused))


def models():
    refused = [("hf", {"hidden_act": "silu"}, "config.json: 'hidden_act' is 'silu', expected xielu"),
               ("gguf", {"xielu.beta": [0.5, 0.5]},
                "metadata key 'xielu.beta' has 2 numbers, expected one, or one for each of 3 layers"),
               ("gguf", {"xielu.eps": None}, "metadata key 'xielu.eps' is missing")]
    biases = model("apertus-bias", 46, ("q_proj", "k_proj", "v_proj", "o_proj"))
    return [model("apertus", 45, refused=refused), biases]
