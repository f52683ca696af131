"""StableLM 2 (arXiv 2402.17834, section 2): Llama's graph with layer norms, rope on a quarter of each head, biases of q, k and v;
side by side where the configuration says so, as in StableLM 2 12B, whose heads of q and k have layer norms of their own."""
from lab import *


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = layers.frequencies(int(head_width * config["partial_rotary_factor"]), config["rope_theta"])

    def norm(x, name):
        return layers.layer_norm(x, w[name + ".weight"], w[name + ".bias"], epsilon)
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        before = norm(x, b.prefix + "input_layernorm")
        q, k, v = (b.linear(before, f"self_attn.{name}_proj") for name in "qkv")
        if config["qk_layernorm"]:
            q, k = own_norms(b, "q", q, heads, epsilon), own_norms(b, "k", k, kv_heads, epsilon)
        y = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn), v, heads, kv_heads)
        x = x + b.linear(y, "self_attn.o_proj")
        x = x + gated(b, before if config["use_parallel_residual"] else norm(x, b.prefix + "post_attention_layernorm"))
    return head(w, norm(x, "model.norm"))


def own_norms(b, name, x, heads, epsilon):
    weights = [b[f"self_attn.{name}_layernorm.norms.{head}.weight"] for head in range(heads)]
    return np.concatenate([layers.layer_norm(part, weight, None, epsilon)
                           for part, weight in zip(np.split(x, heads, axis=1), weights)], axis=1)


def model(name, seed, refused=(), unsaid=(), **changes):
    """config.json is without the keys in `unsaid`, which are what is usual."""
    random = Random(seed)
    config = llama_config("StableLmForCausalLM", layer_norm_eps=1e-5, partial_rotary_factor=0.25, head_dim=32, hidden_size=128,
                          **{"use_qkv_bias": True, "qk_layernorm": False} | changes)
    norms = ("input_layernorm",) if config["use_parallel_residual"] else ("input_layernorm", "post_attention_layernorm")
    weights = llama_weights(config, random, norms, bias=("q_proj", "k_proj", "v_proj") if config["use_qkv_bias"] else ())
    weights["model.norm.bias"] = random.vector(128)
    weights |= {f"model.layers.{layer}.{norm}.bias": random.vector(128) for layer in range(3) for norm in norms}
    keys = gguf_keys("stablelm", config, use_parallel_residual=config["use_parallel_residual"], **{
        "attention.layer_norm_rms_epsilon": None, "attention.layer_norm_epsilon": 1e-5, "rope.dimension_count": 8})
    gguf = to_gguf(weights)
    if config["qk_layernorm"]:
        for layer in range(3):
            for part, heads in (("q", 4), ("k", 2)):
                norm = np.stack([random.vector(32, 1.0) for _ in range(heads)])
                block = f"model.layers.{layer}.self_attn.{part}_layernorm.norms."
                weights |= {f"{block}{head}.weight": one for head, one in enumerate(norm)}
                gguf[f"blk.{layer}.attn_{part}_norm.weight"] = norm
    said = {key: value for key, value in config.items() if key not in unsaid}
    return Model(name, said, weights, lambda _, *of: forward(config, *of), keys, gguf, refused=list(refused))


def models():
    refused = [("hf", {"model.layers.1.self_attn.k_layernorm.norms.1.weight": None}, "weight blk.1.attn_k_norm.weight: tensor "
                "'model.layers.1.self_attn.k_layernorm.norms.1.weight' is missing from the model file")]
    return [model("stablelm", 141, use_parallel_residual=False),
            model("stablelm-unsaid", 144, unsaid=("use_qkv_bias", "qk_layernorm", "use_parallel_residual", "layer_norm_eps"),
                  use_qkv_bias=False, use_parallel_residual=False),
            model("stablelm-parallel", 142, use_parallel_residual=True),
            model("stablelm-norms", 143, refused, use_parallel_residual=True, use_qkv_bias=False, qk_layernorm=True)]
