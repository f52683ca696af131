"""gpt-oss (arXiv 2508.10925 and its reference code): attention sinks, every second layer windowed, YaRN without rounding, a
softmax over the best experts' logits, swiglu cut at 7 with alpha 1.702 and up + 1. Once in F32, once with the experts in
MXFP4 (OCP Microscaling Formats 1.0: 32 elements of E2M1 share an exponent of E8M0)."""
from files import Packed
from lab import *

ELEMENTS = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])


def yarn(config):
    scaling, width = config["rope_scaling"], config["head_dim"]
    f = layers.frequencies(width, config["rope_theta"])

    def border(turns):
        return width * np.log(scaling["original_max_position_embeddings"] / (turns * 2 * np.pi)) / (
            2 * np.log(config["rope_theta"]))
    low, high = max(border(scaling["beta_fast"]), 0), min(border(scaling["beta_slow"]), width - 1)
    if scaling["truncate"]:
        low, high = np.floor(low), np.ceil(high)
    stretch = np.clip((np.arange(width // 2) - low) / (high - low), 0, 1)
    return f * (stretch / scaling["factor"] + 1 - stretch), 0.1 * np.log(scaling["factor"]) + 1


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn, magnitude = yarn(config)
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = layers.rms_norm(x, b["input_layernorm.weight"], epsilon)
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        y = layers.attention(layers.rope_half(q, heads, turn, magnitude), layers.rope_half(k, kv_heads, turn, magnitude),
                             v, heads, kv_heads, window=config["sliding_window"] if layer % 2 == 0 else None,
                             sinks=b["self_attn.sinks"])
        x = x + b.linear(y, "self_attn.o_proj")
        x = x + mixture(config, b, layers.rms_norm(x, b["post_attention_layernorm.weight"], epsilon))
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon))


def mixture(config, b, x):
    used, scores, limit = config["num_experts_per_tok"], b.linear(x, "mlp.router"), config["swiglu_limit"]

    def choose(row):
        chosen = layers.best(scores[row], used)
        return chosen, layers.softmax(scores[row][chosen])

    def expert(index, row):
        y = row @ b["mlp.experts.gate_up_proj"][index] + b["mlp.experts.gate_up_proj_bias"][index]
        gate, up = np.minimum(y[::2], limit), np.clip(y[1::2], -limit, limit)
        y = gate / (1 + np.exp(-1.702 * gate)) * (up + 1)
        return y @ b["mlp.experts.down_proj"][index] + b["mlp.experts.down_proj_bias"][index]
    return layers.experts(x, choose, used, expert)


def draw(random, shape):
    """(values, codes [.., K], exponents [.., K / 32]) of an MXFP4 matrix."""
    codes = random.generator.integers(0, 16, shape).astype(np.uint8)
    exponents = random.generator.integers(122, 125, shape[:-1] + (shape[-1] // 32,)).astype(np.uint8)
    scale = np.repeat(2.0 ** (exponents.astype(float) - 127), 32, axis=-1)
    return (ELEMENTS[codes] * scale).astype(np.float32), codes, exponents


def gguf_blocks(codes, exponents):
    """ggml's block_mxfp4: the exponent, then bytes of which element i and i + 16 share one."""
    halves = codes.reshape(*codes.shape[:-1], -1, 2, 16)
    data = np.concatenate([exponents[..., None], halves[..., 0, :] | halves[..., 1, :] << 4], axis=-1)
    return Packed("mxfp4", codes.shape, np.ascontiguousarray(data).tobytes())


def pairs(codes):
    """The checkpoint's blocks: two neighbours a byte, the first in the low half."""
    return (codes[..., ::2] | codes[..., 1::2] << 4).reshape(*codes.shape[:-1], -1, 16)


def models():
    random, count, hidden = Random(71), 4, 64
    config = llama_config("GptOssForCausalLM", num_hidden_layers=3, intermediate_size=hidden, num_local_experts=count,
                          num_experts_per_tok=2, sliding_window=16, swiglu_limit=7.0, rope_theta=150000.0,
                          rope_scaling={"rope_type": "yarn", "factor": 8.0, "beta_fast": 32.0, "beta_slow": 1.0,
                                        "truncate": False, "original_max_position_embeddings": 32})
    projections = ("q_proj", "k_proj", "v_proj", "o_proj")
    weights = llama_weights(config, random, bias=projections, feed_forward=False)
    gguf, packed_gguf, packed = {}, {}, {}
    for layer in range(config["num_hidden_layers"]):
        block, to = f"model.layers.{layer}.", f"blk.{layer}."
        weights[block + "self_attn.sinks"] = random.vector(4, 1.0)
        weights[block + "mlp.router.weight"] = random.matrix(count, 64, gain=3.0)
        weights[block + "mlp.router.bias"] = random.vector(count)
        part = block + "mlp.experts."
        for name, outputs in (("gate_up_proj", 2 * hidden), ("down_proj", 64)):
            values, codes, exponents = draw(random, (count, outputs, 64))
            bias = np.stack([random.vector(outputs, 0.5) for _ in range(count)])
            weights[part + name] = values.swapaxes(1, 2)  # [experts, inputs, outputs]
            weights[part + name + "_bias"] = bias
            packed[part + name + "_blocks"], packed[part + name + "_scales"] = pairs(codes), exponents
            cuts = {"gate": np.s_[:, ::2], "up": np.s_[:, 1::2]} if name == "gate_up_proj" else {"down": np.s_[:]}
            for half, cut in cuts.items():
                gguf[f"{to}ffn_{half}_exps.weight"] = values[cut]
                gguf[f"{to}ffn_{half}_exps.bias"] = bias[cut]
                packed_gguf[f"{to}ffn_{half}_exps.weight"] = gguf_blocks(codes[cut], exponents[cut])
    names = {"self_attn.sinks": "attn_sinks", "mlp.router": "ffn_gate_inp",
             "post_attention_layernorm": "post_attention_norm"}
    gguf |= to_gguf({name: tensor for name, tensor in weights.items() if ".experts." not in name}, names)
    experts = ("gate_up_proj", "down_proj")
    stored = {name: tensor for name, tensor in weights.items() if not name.endswith(experts)} | packed
    keys = gguf_keys("gpt-oss", config, **{
        "expert_count": count, "expert_used_count": 2, "expert_feed_forward_length": hidden,
        "attention.sliding_window": 16, "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0,
        "rope.scaling.original_context_length": 32})
    # GGUF cannot say that the borders are not rounded, and llama.cpp rounds them: its file has a model of its own.
    rounded = config | {"rope_scaling": config["rope_scaling"] | {"truncate": True}}
    return [Model("gpt-oss", rounded, weights, forward, keys, gguf),
            Model("gpt-oss-exact", config, weights, forward, None, None,
                  conversion=refused_by_gguf("whose frequencies are a list (YaRN with truncate: false) cannot be said in GGUF")),
            Model("gpt-oss-mxfp4", rounded, weights, forward, keys, gguf | packed_gguf, stored=stored,
                  gguf_values=gguf, tolerance={"cpu": 0.1}, llama_cpp_tolerance=0.1)]  # both round activations to 8 bits
