"""LFM2 (arXiv 2511.23404, section 2.1, and transformers' configuration): a layer mixes tokens by a gated short convolution, or by
attention whose queries and keys are normed a head before rope. LFM2-MoE (section 2.3): experts by sigmoid scores, chosen with a
bias and weighted without, the weights over their sum; the first layers are plain."""
from lab import *

WIDTH, HIDDEN, EXPERT, COUNT = 64, 96, 32, 6
KINDS = ["conv", "conv", "full_attention", "conv", "full_attention"]
NAMES = {"model.embedding_norm": "token_embd_norm", "operator_norm": "attn_norm", "ffn_norm": "ffn_norm",
         "self_attn.out_proj": "attn_output", "self_attn.q_layernorm": "attn_q_norm", "self_attn.k_layernorm": "attn_k_norm",
         "conv.in_proj": "shortconv.in_proj", "conv.conv": "shortconv.conv", "conv.out_proj": "shortconv.out_proj",
         "feed_forward.w1": "ffn_gate", "feed_forward.w3": "ffn_up", "feed_forward.w2": "ffn_down"}


def swiglu(b, x, prefix="feed_forward."):
    return b.linear(layers.silu(b.linear(x, prefix + "w1")) * b.linear(x, prefix + "w3"), prefix + "w2")


def short_convolution(b, x):
    before, behind, x = np.split(b.linear(x, "conv.in_proj"), 3, axis=1)
    filters = b["conv.conv.weight"][:, 0]
    x = before * x
    padded = np.concatenate([np.zeros((filters.shape[1] - 1, x.shape[1])), x])
    mixed = sum(padded[i : i + len(x)] * filters[:, i] for i in range(filters.shape[1]))
    return b.linear(behind * (mixed + b.weights.get(b.prefix + "conv.conv.bias", 0)), "conv.out_proj")


def attention(config, b, x):
    heads, kv_heads = config["num_attention_heads"], config["num_key_value_heads"]
    turn = layers.frequencies(WIDTH // heads, config["rope_theta"])
    q, k, v = (b.linear(x, f"self_attn.{name}_proj") for name in "qkv")

    def turned(x, name, count):
        weight = b[f"self_attn.{name}_layernorm.weight"]
        x = layers.rms_norm(x.reshape(len(x), count, -1), weight, config["norm_eps"])
        return layers.rope_half(x.reshape(len(x), -1), count, turn)
    mixed = layers.attention(turned(q, "q", heads), turned(k, "k", kv_heads), v, heads, kv_heads)
    return b.linear(mixed, "self_attn.out_proj")


def experts(config, b, x):
    p = 1 / (1 + np.exp(-b.linear(x, "feed_forward.gate")))
    bias = b["feed_forward.expert_bias"] if config["use_expert_bias"] else 0

    def choose(row):
        chosen = layers.best(p[row] + bias, config["num_experts_per_tok"])
        weights = p[row][chosen]
        if config["norm_topk_prob"]:
            weights = weights / (weights.sum() + 1e-6)
        return chosen, weights * config["routed_scaling_factor"]
    return layers.experts(x, choose, config["num_experts_per_tok"],
                          lambda e, row: swiglu(b, row, f"feed_forward.experts.{e}."))


def forward(config, w, tokens):
    x = w["model.embed_tokens.weight"][tokens]
    for layer, kind in enumerate(KINDS):
        b = Block(w, f"model.layers.{layer}.")
        y = layers.rms_norm(x, b["operator_norm.weight"], config["norm_eps"])
        x = x + (short_convolution(b, y) if kind == "conv" else attention(config, b, y))
        y = layers.rms_norm(x, b["ffn_norm.weight"], config["norm_eps"])
        x = x + (experts(config, b, y) if layer >= config.get("num_dense_layers", len(KINDS)) else swiglu(b, y))
    return head(w, layers.rms_norm(x, w["model.embedding_norm.weight"], config["norm_eps"]))


def settings(architecture, **changes):
    return {"architectures": [architecture], "num_hidden_layers": len(KINDS), "hidden_size": WIDTH, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": VOCABULARY, "max_position_embeddings": 256, "norm_eps": 1e-5,
            "rope_theta": 1000000.0, "conv_L_cache": 3, "conv_bias": False} | changes


def block_weights(config, random, plain_layers):
    weights = {"model.embed_tokens.weight": random.matrix(VOCABULARY, WIDTH, gain=8.0),
               "model.embedding_norm.weight": random.vector(WIDTH, 1)}
    shapes = {"self_attn.q_proj": (WIDTH, WIDTH), "self_attn.k_proj": (32, WIDTH), "self_attn.v_proj": (32, WIDTH),
              "self_attn.out_proj": (WIDTH, WIDTH), "conv.in_proj": (3 * WIDTH, WIDTH), "conv.out_proj": (WIDTH, WIDTH)}
    for layer, kind in enumerate(KINDS):
        block = f"model.layers.{layer}."
        own = "conv." if kind == "conv" else "self_attn."
        weights |= {f"{block}{name}.weight": random.vector(WIDTH, 1) for name in ("operator_norm", "ffn_norm")}
        weights |= {f"{block}{name}.weight": random.matrix(*shape, gain=1.5)
                    for name, shape in shapes.items() if name.startswith(own)}
        if kind == "conv":
            weights[block + "conv.conv.weight"] = random.matrix(WIDTH, 1, config["conv_L_cache"], gain=1.5)
            if config["conv_bias"]:
                weights |= {f"{block}conv.{name}.bias": random.vector(size)
                            for name, size in (("in_proj", 3 * WIDTH), ("conv", WIDTH), ("out_proj", WIDTH))}
        else:
            weights |= {f"{block}self_attn.{name}_layernorm.weight": random.vector(16, 1) for name in "qk"}
        if layer in plain_layers:
            weights |= {f"{block}feed_forward.{name}.weight": random.matrix(*shape, gain=1.5)
                        for name, shape in (("w1", (HIDDEN, WIDTH)), ("w3", (HIDDEN, WIDTH)), ("w2", (WIDTH, HIDDEN)))}
    return weights


def gguf_of(weights):
    return to_gguf({name: tensor[:, 0] if "conv.conv.weight" in name else tensor for name, tensor in weights.items()}, NAMES)


def keys_of(prefix, config, **changes):
    """No head's width: llama.cpp knows only that which follows from the heads."""
    config = config | {"head_dim": 16, "rms_norm_eps": config["norm_eps"], "intermediate_size": HIDDEN}
    return gguf_keys(prefix, config, **{
        "attention.head_count_kv": [0 if kind == "conv" else config["num_key_value_heads"] for kind in KINDS],
        "attention.key_length": None, "attention.value_length": None, "shortconv.l_cache": config["conv_L_cache"]}, **changes)


def dense():
    """With the configuration of the first checkpoints: a feed-forward width of int(2/3 * 120 * 1.1) = 88 rounded up to 96."""
    config = settings("Lfm2ForCausalLM", block_ff_dim=120, block_ffn_dim_multiplier=1.1, block_multiple_of=32,
                      full_attn_idxs=[layer for layer, kind in enumerate(KINDS) if kind != "conv"])
    weights = block_weights(config, Random(301), range(len(KINDS)))
    keys = keys_of("lfm2", config)
    embeds = "models that embed texts are not supported"
    return Model("lfm2", config, weights, forward, keys, gguf_of(weights), refused=[
        ("hf", {"block_ffn_dim_multiplier": -1.0}, "config.json: 'block_ffn_dim_multiplier' is not above 0 and at most 64"),
        ("hf", {"conv_L_cache": 1}, "config.json: 'conv_L_cache' is 1, expected 2 to 64"),
        ("gguf", {"lfm2.attention.head_count_kv": [0, 2, 2]},
         "metadata key 'lfm2.attention.head_count_kv' has 3 numbers, expected one, or one for each of 5 layers"),
        ("gguf", {"lfm2.attention.head_count_kv": [0, 2, 4, 0, 2]},
         "metadata key 'lfm2.attention.head_count_kv' has layers with different numbers of heads"),
        ("gguf", {"lfm2.attention.head_count_kv": [0] * 5},
         "metadata key 'lfm2.attention.head_count_kv' has no layer with 1 to 32768 heads"),
        ("gguf", {"lfm2.attention.causal": False}, "metadata key 'lfm2.attention.causal' is false: " + embeds),
        ("gguf", {"blk.3.shortconv.conv.weight": None},
         "weight blk.3.shortconv.conv.weight: tensor 'blk.3.shortconv.conv.weight' is missing from the model file")])


def biased():
    """As LFM2.5's configuration is written, with biases and filters of four; llama.cpp has no biases."""
    config = settings("Lfm2ForCausalLM", layer_types=KINDS, intermediate_size=HIDDEN, block_auto_adjust_ff_dim=False,
                      conv_bias=True, conv_L_cache=4, tie_embedding=False)
    random = Random(302)
    weights = block_weights(config, random, range(len(KINDS))) | {"lm_head.weight": random.matrix(VOCABULARY, WIDTH, gain=3.0)}
    return Model("lfm2-biased", config, weights, forward, keys_of("lfm2", config), gguf_of(weights), reads_like_llama_cpp=False,
                 refused=[("hf", {"layer_types": KINDS[:4] + ["mamba"]},
                           "config.json: 'layer_types' has 'mamba' for layer 4, expected 'conv' or 'full_attention'")])


def mixture_of(random, plain):
    weights, stacked = {}, {}
    for layer in range(plain, len(KINDS)):
        block = f"model.layers.{layer}.feed_forward."
        router, bias = random.matrix(COUNT, WIDTH, gain=3.0), random.vector(COUNT)
        weights |= {block + "gate.weight": router, block + "expert_bias": bias}
        stacked |= {f"blk.{layer}.ffn_gate_inp.weight": router, f"blk.{layer}.exp_probs_b.bias": bias}
        parts = (("w1", "gate", (EXPERT, WIDTH)), ("w3", "up", (EXPERT, WIDTH)), ("w2", "down", (WIDTH, EXPERT)))
        for name, part, shape in parts:
            each = [random.matrix(*shape, gain=1.5) for _ in range(COUNT)]
            weights |= {f"{block}experts.{e}.{name}.weight": tensor for e, tensor in enumerate(each)}
            stacked[f"blk.{layer}.ffn_{part}_exps.weight"] = np.stack(each)
    return weights, stacked


def moe():
    config = settings("Lfm2MoeForCausalLM", layer_types=KINDS, intermediate_size=HIDDEN, moe_intermediate_size=EXPERT,
                      num_dense_layers=2, num_experts=COUNT, num_experts_per_tok=2, use_expert_bias=True,
                      routed_scaling_factor=1.0, norm_topk_prob=True)
    random = Random(304)
    weights = block_weights(config, random, range(2))
    chosen, stacked = mixture_of(random, 2)
    keys = keys_of("lfm2moe", config, expert_count=COUNT, expert_used_count=2, expert_feed_forward_length=EXPERT,
                   expert_gating_func=2, leading_dense_block_count=2)
    return Model("lfm2-moe", config, weights | chosen, forward, keys, gguf_of(weights) | stacked, refused=[
        ("gguf", {"lfm2moe.expert_gating_func": 1},
         "metadata key 'lfm2moe.expert_gating_func' is not 2 (sigmoid), which is all that is supported"),
        ("hf", {"model.layers.2.feed_forward.gate.weight": None}, "weight blk.2.ffn_gate_inp.weight: tensor "
         "'model.layers.2.feed_forward.gate.weight' is missing from the model file")])


def models():
    return [dense(), biased(), moe()]
