"""Qwen3 and Qwen3-MoE from arXiv 2505.09388 and transformers' configurations: RMS norms of each head's q and k before rope;
experts by a softmax over all, the best 2 of 8, divided by their sum. Qwen3-VL and its mixture (arXiv 2511.21631): for text the
three positions of their rope are one."""
import packed as kept
from lab import *


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = layers.frequencies(head_width, config["rope_theta"])
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = layers.rms_norm(x, b["input_layernorm.weight"], epsilon)
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        q, k = (layers.rms_norm(t.reshape(-1, head_width), b[f"self_attn.{name}_norm.weight"], epsilon).reshape(t.shape)
                for t, name in ((q, "q"), (k, "k")))
        window = config["sliding_window"] if config.get("use_sliding_window") and layer >= config["max_window_layers"] else None
        y = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn), v, heads, kv_heads, window=window)
        x = x + b.linear(y, "self_attn.o_proj")
        y = layers.rms_norm(x, b["post_attention_layernorm.weight"], epsilon)
        x = x + (experts(config, b, y) if layer in expert_layers(config) else gated(b, y))
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon))


def expert_layers(config):
    return [i for i in range(config["num_hidden_layers"]) if "num_experts" in config and i not in config["mlp_only_layers"]
            and (i + 1) % config["decoder_sparse_step"] == 0]


def experts(config, b, x):
    return mixture(b, x, layers.softmax(b.linear(x, "mlp.gate")), config["num_experts_per_tok"], config["norm_topk_prob"])


def biased():
    config = llama_config("Qwen3ForCausalLM", rms_norm_eps=1e-6, attention_bias=True)
    weights = llama_weights(config, Random(8), bias=("q_proj", "k_proj", "v_proj", "o_proj"), head_norm=(16, 16))
    return Model("qwen3-bias", config, weights, forward, gguf_keys("qwen3", config), to_gguf(weights),
                 reads_like_llama_cpp=False)  # it knows no biases


def windowed():
    """With a window on all layers but the first, which GGUF cannot say."""
    config = llama_config("Qwen3ForCausalLM", rms_norm_eps=1e-6, use_sliding_window=True, sliding_window=16, max_window_layers=1)
    weights = llama_weights(config, Random(9), head_norm=(16, 16))
    return Model("qwen3-window", config, weights, forward, None, None, conversion=refused_by_gguf("GGUF cannot say this model"))


def dense():
    config = llama_config("Qwen3ForCausalLM", head_dim=32, rope_theta=1000000.0, rms_norm_eps=1e-6)
    weights = llama_weights(config, Random(1), head_norm=(32, 32))
    return Model("qwen3", config, weights, forward, gguf_keys("qwen3", config), to_gguf(weights), refused=[
        ("hf", {"rope_scaling": {"rope_type": "dynamic", "factor": 2.0}},
         "config.json: 'rope_scaling.rope_type' is 'dynamic', which this plugin does not know (default, linear, llama3, "
         "yarn, longrope)"),
        ("gguf", {"blk.1.attn_k_norm.weight": None},
         "weight blk.1.attn_k_norm.weight: tensor 'blk.1.attn_k_norm.weight' is missing from the model file"),
        ("hf", {"model.layers.2.self_attn.q_norm.weight": np.ones(16, np.float32)},
         "weight blk.2.attn_q_norm.weight: tensor 'model.layers.2.self_attn.q_norm.weight' has shape [16], [32] was "
         "expected")])


def moe():
    random = Random(2)
    config = llama_config("Qwen3MoeForCausalLM", num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32,
                          norm_topk_prob=True, rms_norm_eps=1e-6, decoder_sparse_step=1, mlp_only_layers=[])
    weights = llama_weights(config, random, head_norm=(16, 16), feed_forward=False)
    experts, stacked = mixture_weights(random, range(3), 8, 32)
    plain, weights = weights, weights | experts
    keys = gguf_keys("qwen3moe", config, expert_count=8, expert_used_count=2, expert_feed_forward_length=32)
    # As transformers 5 may save it: one tensor for all experts, gate above up.
    modules = {}
    for layer in range(config["num_hidden_layers"]):
        block, to = f"blk.{layer}.ffn_", f"model.layers.{layer}.mlp.experts."
        modules[to[:-8] + "gate.weight"] = stacked[block + "gate_inp.weight"]
        modules[to + "gate_up_proj"] = np.concatenate([stacked[block + part + "_exps.weight"] for part in ("gate", "up")], 1)
        modules[to + "down_proj"] = stacked[block + "down_exps.weight"]
    return [Model("qwen3-moe", config, weights, forward, keys, to_gguf(plain) | stacked), mixed(random, config),
            Model("qwen3-moe-modules", config, weights, forward, None, None, stored=plain | modules)]


def moe_nvfp4():
    """As ModelOpt keeps a mixture: each expert's matrices by themselves, the router as it is. A row uses all experts but its
    worst: rounding changes no choice that weighs."""
    random = Random(3)
    config = llama_config("Qwen3MoeForCausalLM", num_experts=8, num_experts_per_tok=7, moe_intermediate_size=32,
                          norm_topk_prob=True, rms_norm_eps=1e-6, decoder_sparse_step=1, mlp_only_layers=[],
                          quantization_config={"quant_method": "modelopt", "quant_algo": "NVFP4", "ignore": ["lm_head", "*.mlp.gate"]})
    weights = llama_weights(config, random, head_norm=(16, 16), feed_forward=False) | mixture_weights(random, range(3), 8, 32)[0]
    stored, exact = kept.pack(weights, random, kept.nvfp4)
    return Model("qwen3-moe-nvfp4", config, weights, forward, None, None, stored=stored, tolerance={"cpu": 0.1}, exact=exact, rounding=0.05)


def mixed(random, config):
    """Every second layer has experts, but not the last; GGUF knows no such model."""
    config = config | {"num_hidden_layers": 6, "decoder_sparse_step": 2, "mlp_only_layers": [5]}
    weights = llama_weights(config, random, head_norm=(16, 16))
    for layer in expert_layers(config):
        for part in ("gate", "up", "down"):
            del weights[f"model.layers.{layer}.mlp.{part}_proj.weight"]
    weights |= mixture_weights(random, expert_layers(config), 8, 32)[0]
    return Model("qwen3-moe-mixed", config, weights, forward, None, None, conversion=refused_by_gguf("GGUF cannot say this model: "))


def seeing_models():
    tower = {"model.visual.patch_embed.proj.weight": Random(5).matrix(32, 3, 2, 2)}
    rope = {"rope_type": "default", "mrope_section": [6, 5, 5], "mrope_interleaved": True}
    made = []
    for name, architecture, gguf_name, with_experts in (("qwen3-vl", "Qwen3VLForConditionalGeneration", "qwen3vl", False),
                                                        ("qwen3-vl-moe", "Qwen3VLMoeForConditionalGeneration", "qwen3vlmoe", True)):
        random, mixture_keys = Random(6 + with_experts), {}
        text = llama_config(architecture, head_dim=32, rope_theta=5000000.0, rms_norm_eps=1e-6, rope_scaling=rope)
        del text["architectures"]
        if with_experts:
            text |= {"num_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "norm_topk_prob": True,
                     "decoder_sparse_step": 1, "mlp_only_layers": []}
            mixture_keys = {"expert_count": 8, "expert_used_count": 2, "expert_feed_forward_length": 32}
        config = {"architectures": [architecture], "text_config": text, "vision_config": {"hidden_size": 32},
                  "tie_word_embeddings": False}
        weights = llama_weights(text, random, head_norm=(32, 32), feed_forward=not with_experts)
        gguf, stored = to_gguf(weights), {inner(part): tensor for part, tensor in weights.items()}
        if with_experts:
            experts, stacked = mixture_weights(random, range(3), 8, 32)
            weights, gguf = weights | experts, gguf | stacked
            for layer in range(3):
                to, block = f"model.language_model.layers.{layer}.mlp.", f"blk.{layer}.ffn_"
                gate, up, down = (stacked[f"{block}{part}_exps.weight"].swapaxes(1, 2) for part in ("gate", "up", "down"))
                stored |= {to + "gate.weight": stacked[block + "gate_inp.weight"],
                           to + "experts.gate_up_proj": np.concatenate([gate, up], axis=2), to + "experts.down_proj": down}
        keys = gguf_keys(gguf_name, text, **mixture_keys, **{"rope.dimension_sections": [6, 5, 5, 0]})
        made.append(Model(name, config, stored, lambda config, w, tokens: forward(config["text_config"], outer(w), tokens), keys, gguf,
                          stored=stored | tower))
    return made


def inner(name):
    return name.replace("model.", "model.language_model.")


def outer(weights):
    """Under Qwen3's names, one expert a tensor."""
    plain = {}
    for name, tensor in weights.items():
        name = name.replace("model.language_model.", "model.")
        if not name.endswith(("gate_up_proj", "down_proj")):
            plain[name] = tensor
            continue
        stem, parts = name.rsplit(".", 1)[0], (("down_proj",) if name.endswith("down_proj") else ("gate_proj", "up_proj"))
        for part, all_of in zip(parts, np.split(tensor, len(parts), axis=2)):
            plain |= {f"{stem}.{e}.{part}.weight": one.T for e, one in enumerate(all_of)}
    return plain


def models():
    return [dense(), biased(), windowed(), *moe(), moe_nvfp4(), *seeing_models()]
