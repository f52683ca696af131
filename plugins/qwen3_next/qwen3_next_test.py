"""Qwen3-Next and Qwen3.5 (transformers' configuration): the gated delta rule of arXiv 2412.06464, equation 10, on queries and
keys of length 1 behind a short convolution, its output normed a head and times silu of a gate; attention with normed queries and
keys, rope on a part of each head, its output times the sigmoid of a gate. Norms have weights around zero, but for the delta
rule's. Experts as in Qwen2-MoE. llama.cpp's converter tiles the value heads of Qwen3.5 and cuts Qwen3-Next's fused matrices."""
from lab import *

WIDTH, HIDDEN, EXPERT, SHARED, COUNT = 64, 96, 32, 48, 6
LAYERS, INTERVAL = 4, 2


def kinds():
    return ["full_attention" if (layer + 1) % INTERVAL == 0 else "linear_attention" for layer in range(LAYERS)]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def delta_sizes(config):
    return [config[f"linear_{name}"] for name in ("num_key_heads", "num_value_heads", "key_head_dim", "value_head_dim")]


def projections(config, b, x):
    """q, k, v [rows, heads * width], the gate, and what becomes strength and step [rows, value heads]."""
    groups, heads, key, value = delta_sizes(config)
    if b.prefix + "linear_attn.in_proj_qkv.weight" in b.weights:
        q, k, v = np.split(b.linear(x, "linear_attn.in_proj_qkv"), [groups * key, 2 * groups * key], axis=1)
        return q, k, v, *(b.linear(x, f"linear_attn.in_proj_{part}") for part in "zba")
    share = heads // groups
    fused = b.linear(x, "linear_attn.in_proj_qkvz").reshape(len(x), groups, -1)
    steps = b.linear(x, "linear_attn.in_proj_ba").reshape(len(x), groups, -1)
    parts = np.split(fused, [key, 2 * key, 2 * key + share * value], axis=2) + np.split(steps, 2, axis=2)
    return [part.reshape(len(x), -1) for part in parts]


def convolved(x, filters):
    padded = np.concatenate([np.zeros((filters.shape[1] - 1, x.shape[1])), x])
    return layers.silu(sum(padded[i : i + len(x)] * filters[:, i] for i in range(filters.shape[1])))


def delta_net(config, b, x):
    groups, heads, key, value = delta_sizes(config)
    *qkv, gate, strength, step = projections(config, b, x)
    mixed = convolved(np.concatenate(qkv, axis=1), b["linear_attn.conv1d.weight"][:, 0])
    q, k, v = np.split(mixed, [groups * key, 2 * groups * key], axis=1)
    q, k = (part.reshape(len(x), groups, key) for part in (q, k))
    q, k = (part / np.sqrt((part * part).sum(axis=2, keepdims=True) + 1e-6) for part in (q, k))
    q, k, v = q / np.sqrt(key), k, v.reshape(len(x), heads, value)
    decay = np.exp(-np.exp(b["linear_attn.A_log"]) * np.log1p(np.exp(step + b["linear_attn.dt_bias"])))
    strength = sigmoid(strength)
    out = np.empty((len(x), heads, value))
    for head in range(heads):
        state, group = np.zeros((key, value)), head // (heads // groups)
        for row in range(len(x)):
            state = state * decay[row, head]
            known = k[row, group] @ state
            state = state + strength[row, head] * np.outer(k[row, group], v[row, head] - known)
            out[row, head] = q[row, group] @ state
    out = layers.rms_norm(out, b["linear_attn.norm.weight"], config["rms_norm_eps"]).reshape(len(x), -1)
    return b.linear(out * layers.silu(gate), "linear_attn.out_proj")


def attention(config, b, x):
    heads, kv_heads, width, epsilon = sizes(config)
    turn = layers.frequencies(int(width * config["partial_rotary_factor"]), config["rope_theta"])
    q, gate = np.split(b.linear(x, "self_attn.q_proj").reshape(len(x), heads, 2 * width), 2, axis=2)
    k = b.linear(x, "self_attn.k_proj").reshape(len(x), kv_heads, width)
    q, k = (layers.rms_norm(part, 1 + b[f"self_attn.{name}_norm.weight"], epsilon).reshape(len(x), -1)
            for part, name in ((q, "q"), (k, "k")))
    mixed = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn),
                             b.linear(x, "self_attn.v_proj"), heads, kv_heads)
    return b.linear(mixed * sigmoid(gate.reshape(len(x), -1)), "self_attn.o_proj")


def experts(config, b, x):
    p = layers.softmax(b.linear(x, "mlp.gate"))
    shared = gated(b, x, prefix="mlp.shared_expert.") * sigmoid(b.linear(x, "mlp.shared_expert_gate"))
    return mixture(b, x, p, config["num_experts_per_tok"], True) + shared


def forward(config, w, tokens):
    prefix = next(name for name in w if name.endswith("embed_tokens.weight")).removesuffix("embed_tokens.weight")
    settings = config.get("text_config", config)
    settings = settings | settings.get("rope_parameters", {})
    epsilon = settings["rms_norm_eps"]
    x = w[prefix + "embed_tokens.weight"][tokens]
    for layer, kind in enumerate(kinds()):
        b = Block(w, f"{prefix}layers.{layer}.")
        y = layers.rms_norm(x, 1 + b["input_layernorm.weight"], epsilon)
        x = x + (attention if kind == "full_attention" else delta_net)(settings, b, y)
        y = layers.rms_norm(x, 1 + b["post_attention_layernorm.weight"], epsilon)
        x = x + (experts(settings, b, y) if b.prefix + "mlp.gate.weight" in w else gated(b, y))
    x = layers.rms_norm(x, 1 + w[prefix + "norm.weight"], epsilon)
    return x @ w.get("lm_head.weight", w[prefix + "embed_tokens.weight"]).T


def settings(**changes):
    return {"num_hidden_layers": LAYERS, "hidden_size": WIDTH, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
            "vocab_size": VOCABULARY, "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "hidden_act": "silu",
            "linear_conv_kernel_dim": 4, "linear_key_head_dim": 16, "linear_value_head_dim": 16, "linear_num_key_heads": 2,
            "linear_num_value_heads": 6, "tie_word_embeddings": False} | changes


def block_weights(config, random, fused, prefix="model.", dense=True):
    groups, heads, key, value = delta_sizes(config)
    q, kv = 2 * config["num_attention_heads"] * 16, config["num_key_value_heads"] * 16
    weights = {prefix + "embed_tokens.weight": random.matrix(VOCABULARY, WIDTH, gain=8.0),
               prefix + "norm.weight": random.vector(WIDTH)}
    if not config["tie_word_embeddings"]:
        weights["lm_head.weight"] = random.matrix(VOCABULARY, WIDTH, gain=3.0)
    keys, values = groups * key, heads * value
    delta = {"in_proj_qkvz": 2 * keys + 2 * values, "in_proj_ba": 2 * heads} if fused else {
        "in_proj_qkv": 2 * keys + values, "in_proj_z": values, "in_proj_b": heads, "in_proj_a": heads}
    for layer, kind in enumerate(kinds()):
        block = f"{prefix}layers.{layer}."
        weights |= {f"{block}{name}_layernorm.weight": random.vector(WIDTH) for name in ("input", "post_attention")}
        if kind == "full_attention":
            shapes = {"q_proj": (q, WIDTH), "k_proj": (kv, WIDTH), "v_proj": (kv, WIDTH), "o_proj": (WIDTH, q // 2)}
            weights |= {f"{block}self_attn.{name}.weight": random.matrix(*shape, gain=1.5) for name, shape in shapes.items()}
            weights |= {f"{block}self_attn.{name}_norm.weight": random.vector(16) for name in "qk"}
        else:
            own = block + "linear_attn."
            weights |= {f"{own}{name}.weight": random.matrix(rows, WIDTH, gain=1.5) for name, rows in delta.items()}
            weights |= {own + "conv1d.weight": random.matrix(2 * keys + values, 1, config["linear_conv_kernel_dim"], gain=1.5),
                        own + "A_log": random.vector(heads, 0.5), own + "dt_bias": random.vector(heads, -1.0),
                        own + "norm.weight": random.vector(value, 1),
                        own + "out_proj.weight": random.matrix(WIDTH, values, gain=1.5)}
        if dense:
            weights |= {f"{block}mlp.{name}_proj.weight": random.matrix(*shape, gain=1.5) for name, shape in
                        (("gate", (HIDDEN, WIDTH)), ("up", (HIDDEN, WIDTH)), ("down", (WIDTH, HIDDEN)))}
    return weights


def mixture_of(random):
    """Experts under Hugging Face's names, one by one and as transformers 5 has them, and under GGUF's."""
    single, module, stacked = {}, {}, {}
    for layer in range(LAYERS):
        block = f"model.layers.{layer}.mlp."
        common = {"gate": random.matrix(COUNT, WIDTH, gain=3.0), "shared_expert_gate": random.matrix(1, WIDTH, gain=2.0)}
        common |= {f"shared_expert.{part}_proj": random.matrix(*shape) for part, shape in
                   (("gate", (SHARED, WIDTH)), ("up", (SHARED, WIDTH)), ("down", (WIDTH, SHARED)))}
        names = {"gate": "ffn_gate_inp", "shared_expert_gate": "ffn_gate_inp_shexp"}
        names |= {f"shared_expert.{part}_proj": f"ffn_{part}_shexp" for part in ("gate", "up", "down")}
        for name, tensor in common.items():
            single[f"{block}{name}.weight"] = module[f"{block}{name}.weight"] = tensor
            stacked[f"blk.{layer}.{names[name]}.weight"] = tensor[0] if len(tensor) == 1 else tensor
        each = {part: random.matrix(COUNT, *shape, gain=1.5) for part, shape in
                (("gate", (EXPERT, WIDTH)), ("up", (EXPERT, WIDTH)), ("down", (WIDTH, EXPERT)))}
        for part, tensor in each.items():
            single |= {f"{block}experts.{e}.{part}_proj.weight": matrix for e, matrix in enumerate(tensor)}
            stacked[f"blk.{layer}.ffn_{part}_exps.weight"] = tensor
        module |= {block + "experts.gate_up_proj": np.concatenate([each["gate"], each["up"]], axis=1),
                   block + "experts.down_proj": each["down"]}
    return single, module, stacked


def tiled(config, tensor, each, axis=0):
    """From value heads that follow their key head to the first of each key head, the second of each, ..."""
    groups, heads, _, _ = delta_sizes(config)
    tensor = np.moveaxis(tensor, axis, 0)
    turned = tensor.reshape(groups, heads // groups, each, *tensor.shape[1:]).swapaxes(0, 1).reshape(tensor.shape)
    return np.ascontiguousarray(np.moveaxis(turned, 0, axis))


def gguf_of(config, weights, tile, prefix="model."):
    """As llama.cpp's converter writes them."""
    groups, heads, key, value = delta_sizes(config)
    keys, share = groups * key, heads // groups
    order = (lambda tensor, each, axis=0: tiled(config, tensor, each, axis)) if tile else lambda tensor, each, axis=0: tensor
    behind = lambda tensor: np.concatenate([tensor[: 2 * keys], order(tensor[2 * keys :], value)])
    result = {}
    for name, tensor in weights.items():
        stem = name.removesuffix(".weight").removeprefix(prefix)
        block = ""
        if stem.startswith("layers."):
            _, layer, stem = stem.split(".", 2)
            block = f"blk.{layer}."
        if stem.endswith("norm") and stem != "linear_attn.norm":
            tensor = tensor + np.float32(1)
        if stem == "linear_attn.in_proj_qkvz":
            apart = np.split(tensor.reshape(groups, -1, WIDTH), [key, 2 * key, 2 * key + share * value], axis=1)
            q, k, v, z = (part.reshape(-1, WIDTH) for part in apart)
            result |= {block + "attn_qkv.weight": np.concatenate([q, k, v]), block + "attn_gate.weight": z}
            continue
        known = {"linear_attn.A_log": ("ssm_a", lambda t: order(-np.exp(t), 1)),
                 "linear_attn.dt_bias": ("ssm_dt.bias", lambda t: order(t, 1)),
                 "linear_attn.conv1d": ("ssm_conv1d.weight", lambda t: behind(t[:, 0])),
                 "linear_attn.norm": ("ssm_norm.weight", lambda t: t),
                 "linear_attn.out_proj": ("ssm_out.weight", lambda t: order(t, value, 1)),
                 "linear_attn.in_proj_ba": ("ssm_ba.weight", lambda t: t),
                 "linear_attn.in_proj_qkv": ("attn_qkv.weight", behind),
                 "linear_attn.in_proj_z": ("attn_gate.weight", lambda t: order(t, value)),
                 "linear_attn.in_proj_b": ("ssm_beta.weight", lambda t: order(t, 1)),
                 "linear_attn.in_proj_a": ("ssm_alpha.weight", lambda t: order(t, 1)),
                 "post_attention_layernorm": ("post_attention_norm.weight", lambda t: t)}
        if stem in known:
            new, change = known[stem]
            result[block + new] = change(tensor)
        else:
            old = stem if block or stem == "lm_head" else "model." + stem
            result[block + GGUF_NAMES[old] + ".weight"] = tensor
    return result


def keys_of(prefix, config, **changes):
    groups, heads, key, value = delta_sizes(config)
    rope = config | config.get("rope_parameters", {})
    return gguf_keys(prefix, {"intermediate_size": HIDDEN} | rope, **{
        "rope.dimension_count": int(16 * rope["partial_rotary_factor"]), "ssm.conv_kernel": config["linear_conv_kernel_dim"],
        "ssm.state_size": key, "ssm.group_count": groups, "ssm.time_step_rank": heads, "ssm.inner_size": heads * value,
        "full_attention_interval": INTERVAL} | changes)


EXPERT_KEYS = {"expert_count": COUNT, "expert_used_count": 2, "expert_feed_forward_length": EXPERT,
               "expert_shared_feed_forward_length": SHARED}
EXPERT_SETTINGS = {"num_experts": COUNT, "num_experts_per_tok": 2, "moe_intermediate_size": EXPERT,
                   "shared_expert_intermediate_size": SHARED}


def next_model(name, seed, old_gguf=False):
    random = Random(seed)
    config = settings(architectures=["Qwen3NextForCausalLM"], intermediate_size=HIDDEN, full_attention_interval=INTERVAL,
                      rope_theta=1000000.0, partial_rotary_factor=0.5, norm_topk_prob=True, decoder_sparse_step=1,
                      mlp_only_layers=[], **EXPERT_SETTINGS)
    weights = block_weights(config, random, True, dense=False)
    single, _, stacked = mixture_of(random)
    gguf = gguf_of(config, weights, False) | stacked
    if old_gguf:
        gguf = {key: tensor for key, tensor in gguf.items() if not key.endswith(("attn_qkv.weight", "attn_gate.weight"))}
        gguf |= {f"blk.{layer}.ssm_in.weight": weights[f"model.layers.{layer}.linear_attn.in_proj_qkvz.weight"]
                 for layer, kind in enumerate(kinds()) if kind == "linear_attention"}
    return Model(name, config, weights | single, forward, keys_of("qwen3next", config, **EXPERT_KEYS), gguf,
                 conversion=OTHER_LAYOUT if old_gguf else {})


ROPE = {"rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0, "partial_rotary_factor": 0.5,
                            "mrope_section": [2, 1, 1], "mrope_interleaved": True}}
SECTIONS = {"rope.dimension_sections": [2, 1, 1, 0]}


def seeing():
    """Qwen3.5 as it is published: with the text part apart, a tower for images, and a layer that predicts the token after
    next, which GGUF has behind the model's own."""
    random, prefix = Random(342), "model.language_model."
    text = settings(intermediate_size=HIDDEN, layer_types=kinds(), attn_output_gate=True, mtp_num_hidden_layers=1, **ROPE)
    weights = block_weights(text, random, False, prefix)
    last = {f"mtp.layers.0.{name.split('.', 4)[4]}": tensor / 2 for name, tensor in weights.items()
            if name.startswith(f"{prefix}layers.{LAYERS - 1}.")}
    further = last | {"mtp.fc.weight": random.matrix(WIDTH, 2 * WIDTH), "mtp.norm.weight": random.vector(WIDTH),
                      "mtp.pre_fc_norm_embedding.weight": random.vector(WIDTH),
                      "mtp.pre_fc_norm_hidden.weight": random.vector(WIDTH),
                      "model.visual.blocks.0.attn.qkv.weight": random.matrix(96, 32),
                      "model.visual.patch_embed.proj.weight": random.matrix(32, 3, 2, 4)}
    gguf = gguf_of(text, weights, True, prefix)
    gguf |= {key.replace(f"blk.{LAYERS - 1}.", f"blk.{LAYERS}."): tensor / 2 for key, tensor in gguf.items()
             if key.startswith(f"blk.{LAYERS - 1}.")}
    gguf |= {f"blk.{LAYERS}.nextn.eh_proj.weight": further["mtp.fc.weight"],
             f"blk.{LAYERS}.nextn.shared_head_norm.weight": random.vector(WIDTH, 1),
             f"blk.{LAYERS}.nextn.enorm.weight": random.vector(WIDTH, 1),
             f"blk.{LAYERS}.nextn.hnorm.weight": random.vector(WIDTH, 1)}
    config = {"architectures": ["Qwen3_5ForConditionalGeneration"], "tie_word_embeddings": False, "text_config": text,
              "vision_config": {"hidden_size": 32, "depth": 1}}
    keys = keys_of("qwen35", text, block_count=LAYERS + 1, nextn_predict_layers=1, **SECTIONS)
    bad_heads = text | {"linear_num_value_heads": 5}
    return Model("qwen3.5", config, weights, forward, keys, gguf, stored=weights | further, conversion=OTHER_LAYOUT, refused=[
        ("hf", {"text_config": bad_heads},
         "config.json: 'text_config.linear_num_value_heads' is 5, which 2 key heads do not divide"),
        ("hf", {"text_config": text | {"attn_output_gate": False}},
         "config.json: 'text_config.attn_output_gate' is false, which this plugin does not know"),
        ("hf", {"text_config": text | {"layer_types": ["linear_attention", "sliding_attention"] * 2}},
         "config.json: 'text_config.layer_types' has 'sliding_attention' for layer 1, expected 'linear_attention' or "),
        ("gguf", {"qwen35.ssm.inner_size": 95}, "metadata key 'qwen35.ssm.inner_size' is 95, which does not fit 6 heads"),
        ("gguf", {"blk.0.ssm_a": None}, "weight blk.0.ssm_a: tensor 'blk.0.ssm_a' is missing from the model file")])


def moe():
    random = Random(313)
    config = settings(architectures=["Qwen3_5MoeForCausalLM"], layer_types=kinds(), **ROPE, **EXPERT_SETTINGS)
    weights = block_weights(config, random, False, dense=False)
    single, module, stacked = mixture_of(random)
    keys = keys_of("qwen35moe", config, feed_forward_length=None, **EXPERT_KEYS, **SECTIONS)
    return Model("qwen3.5-moe", config, weights | single, forward, keys, gguf_of(config, weights, True) | stacked,
                 stored=weights | module)


def text():
    """The text part alone, with as many key heads as value heads, which GGUF leaves in order, and a tied head."""
    config = settings(architectures=["Qwen3_5ForCausalLM"], intermediate_size=HIDDEN, full_attention_interval=INTERVAL,
                      linear_num_value_heads=2, linear_value_head_dim=16, tie_word_embeddings=True, **ROPE)
    weights = block_weights(config, Random(314), False)
    return Model("qwen3.5-text", config, weights, forward, keys_of("qwen35", config, **SECTIONS), gguf_of(config, weights, False))


def models():
    return [next_model("qwen3-next", 322), next_model("qwen3-next-old", 331, old_gguf=True), seeing(), moe(), text()]
