"""Llama (arXiv 2302.13971) and its variants: Llama 3.1's scaled rope, Mistral's window, SmolLM3's layers without rope, Ministral
3's YaRN with queries that grow with their position, Seed-OSS's biases, ERNIE 4.5's rope of neighbours, Hunyuan's norms behind
rope and its stretched base, Arcee's squared relu; and the mixtures of ERNIE 4.5 (its technical report, section 2: experts are
chosen by a softmax and a bias, and weighed without) and Hunyuan-A13B (its report, section 2.1), with a shared expert each.
InternLM 2 and 3, Xverse, EXAONE 3, Orion's layer norms and MiniCPM's scales (their configurations and model cards)."""
import json

import packed as kept
from files import Packed
from lab import *


def frequencies(config):
    if "llama_4_scaling_beta" in config.get("rope_parameters", {}):
        return layers.yarn(config["head_dim"], config["rope_theta"], config["rope_parameters"])
    f = layers.frequencies(config["head_dim"], config["rope_theta"])
    scaling = config.get("rope_scaling")
    if not scaling:
        return f
    if "alpha" in scaling:
        width = config["head_dim"]
        return layers.frequencies(width, config["rope_theta"] * scaling["alpha"] ** (width / (width - 2)))
    # Llama 3.1's reference code: long waves are slowed by `factor`, short ones kept, those between blended.
    turns = scaling["original_max_position_embeddings"] * f / (2 * np.pi)
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    keep = np.clip((turns - low) / (high - low), 0, 1)
    return keep * f + (1 - keep) * f / scaling["factor"]


def forward(config, w, tokens):
    config, w = text_part(config, w)
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = frequencies(config)
    rope = layers.rope_pairs if config["architectures"][0].startswith("Ernie4_5") else layers.rope_half
    deep = config.get("scale_depth", 0) / config["num_hidden_layers"]**0.5 or 1

    def norm(x, name):
        bias = w.get(name + ".bias")
        return layers.rms_norm(x, w[name + ".weight"], epsilon) if bias is None else layers.layer_norm(x, w[name + ".weight"], bias, epsilon)
    x = w["model.embed_tokens.weight"][tokens] * config.get("scale_emb", 1)
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = norm(x, b.prefix + "input_layernorm")
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        if config.get("no_rope_layers", [1] * 99)[layer]:
            q, k = rope(q, heads, turn), rope(k, kv_heads, turn)
        if config.get("use_qk_norm"):
            q, k = (layers.rms_norm(t.reshape(-1, head_width), b[f"self_attn.{name}_layernorm.weight"], epsilon)
                    .reshape(t.shape) for t, name in ((q, "query"), (k, "key")))
        growth = config.get("rope_parameters", {})
        if growth.get("llama_4_scaling_beta"):
            q = layers.grown(q, growth["llama_4_scaling_beta"], growth["original_max_position_embeddings"])
        slides = config.get("layer_types", ["sliding_attention"] * 99)[layer] == "sliding_attention"
        y = layers.attention(q, k, v, heads, kv_heads, window=config.get("sliding_window") if slides else None)
        x = x + b.linear(y, "self_attn.o_proj") * deep
        x = x + feed_forward(config, b, layer, norm(x, b.prefix + "post_attention_layernorm")) * deep
    return head(w, norm(x, "model.norm")) * config.get("dim_model_base", 64) / 64


def feed_forward(config, b, layer, x):
    family = config["architectures"][0]
    if family == "ArceeForCausalLM":
        return b.linear(np.maximum(b.linear(x, "mlp.up_proj"), 0) ** 2, "mlp.down_proj")
    if family == "HunYuanMoEV1ForCausalLM":
        p = layers.softmax(b.linear(x, "mlp.gate.wg"))
        return gated(b, x, prefix="mlp.shared_mlp.") + mixture(b, x, p, config["moe_topk"][0], True)
    if family == "DeepseekForCausalLM" and layer >= config["first_k_dense_replace"]:
        p = layers.softmax(b.linear(x, "mlp.gate"))
        return gated(b, x, prefix="mlp.shared_experts.") + mixture(b, x, p, config["num_experts_per_tok"], config.get("norm_topk_prob"),
                                                                   scale=config["routed_scaling_factor"])
    if family != "Ernie4_5_MoeForCausalLM" or layer < config.get("moe_layer_start_index", 0):
        return gated(b, x)
    p = layers.softmax(b.linear(x, "mlp.gate"))
    shared = gated(b, x, prefix="mlp.shared_experts.") if "moe_num_shared_experts" in config else 0
    return shared + mixture(b, x, p, config["moe_k"], True, b["mlp.moe_statics.e_score_correction_bias"][0])


def with_experts(name, config, gguf_name, seed, mixed_layers, shared, hugging_names, keys, biased=False, refused=()):
    """`hugging_names`: of what scores the experts and of the shared one."""
    random, width, expert = Random(seed), config["hidden_size"], 32
    plain = llama_weights(config, random, head_norm=(32, 32) if config.get("use_qk_norm") else None)
    chosen, stacked = mixture_weights(random, mixed_layers, 6, expert)
    for layer in mixed_layers:
        block = f"model.layers.{layer}.mlp."
        for part, shape in {"gate": (shared, width), "up": (shared, width), "down": (width, shared)}.items():
            del plain[f"{block}{part}_proj.weight"]
            if shared:
                chosen[f"{block}shared_experts.{part}_proj.weight"] = tensor = random.matrix(*shape, gain=1.5)
                stacked[f"blk.{layer}.ffn_{part}_shexp.weight"] = tensor
        if biased:  # smaller than the distance between shares, and not by much
            bias = (random.vector(6) / 4).reshape(1, 6)
            chosen[block + "moe_statics.e_score_correction_bias"], stacked[f"blk.{layer}.exp_probs_b.bias"] = bias, bias[0]
    weights = {}
    for full, tensor in (plain | chosen).items():
        for own, theirs in hugging_names.items():
            full = full.replace(own, theirs)
        weights[full] = tensor
    keys = gguf_keys(gguf_name, config, expert_count=6, expert_used_count=2, expert_feed_forward_length=expert, **keys)
    return Model(name, config, weights, forward, keys, to_gguf(plain) | stacked, refused=list(refused),
                 conversion=other_keys("rope.scaling.type"))


def mixtures():
    ernie = llama_config("Ernie4_5_MoeForCausalLM", use_bias=False, moe_num_experts=6, moe_k=2, moe_intermediate_size=32,
                         moe_num_shared_experts=2, moe_layer_start_index=1, moe_layer_end_index=2, moe_layer_interval=1)
    hunyuan_moe = llama_config("HunYuanMoEV1ForCausalLM", head_dim=32, use_qk_norm=True, attention_bias=False, intermediate_size=32,
                               num_experts=6, moe_topk=[2, 2, 2], moe_intermediate_size=[32] * 3, num_shared_expert=[1] * 3,
                               rope_scaling={"type": "dynamic", "alpha": 50.0, "factor": 1.0, "beta_fast": 32, "beta_slow": 1})
    usual = llama_config("Ernie4_5_MoeForCausalLM", use_bias=False, moe_num_experts=6, moe_k=2, moe_intermediate_size=32)
    unsaid = with_experts("ernie4_5-moe-unsaid", usual, "ernie4_5-moe", 52, (0, 1, 2), 0, {}, {}, biased=True)
    unsaid.reads_like_llama_cpp = False  # it wants the keys
    return [unsaid, with_experts("ernie4_5-moe", ernie, "ernie4_5-moe", 27, (1, 2), 64, {}, {
                "interleave_moe_layer_step": 1, "leading_dense_block_count": 1, "expert_shared_count": 2,
                "expert_shared_feed_forward_length": 64}, biased=True, refused=[
                    ("hf", {"moe_k": 7}, "config.json: 'moe_k' is 7, expected 1 to 6")]),
            with_experts("hunyuan-moe", hunyuan_moe, "hunyuan-moe", 28, (0, 1, 2), 32, {
                "mlp.gate.": "mlp.gate.wg.", "mlp.shared_experts.": "mlp.shared_mlp.", "self_attn.q_norm": "self_attn.query_layernorm",
                "self_attn.k_norm": "self_attn.key_layernorm"}, {
                "rope.freq_base": 10000.0 * 50.0 ** (32 / 30), "rope.scaling.type": "none", "expert_shared_count": 1,
                "expert_shared_feed_forward_length": 32}, refused=[
                    ("hf", {"moe_topk": [2, 3, 2]}, "config.json: 'moe_topk' is no whole number, or not the same for each layer"),
                    ("hf", {"moe_topk": 0}, "config.json: 'moe_topk' is not between 1 and num_experts"),
                    ("hf", {"use_cla": True}, "config.json: 'use_cla' is true, which is not supported"),
                    ("hf", {"moe_layer_num_skipped": 1}, "config.json: 'moe_layer_num_skipped' is not 0, which is not supported"),
                    ("hf", {"moe_topk": [2, 2, 2], "num_experts": 1}, "config.json: 'num_experts' is 1, expected 2 to 4096")])]


def mistral3():
    """Mistral Small 3.1 and 3.2."""
    plain = variant("mistral3", "MistralForCausalLM", "llama", 30, sliding_window=None)
    model = seeing(plain, "Mistral3ForConditionalGeneration", "mistral3")
    model.refused = [("hf", {"text_config": model.config["text_config"] | {"model_type": "mistral4"}},
                      "config.json: 'text_config.model_type' is 'mistral4', expected mistral or ministral3")]
    return model


def ministral3():
    """Alone, and as the part about text. Its magnitude of rope is 1: mscale over mscale_all_dim, as both are."""
    rope = {"type": "yarn", "rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0, "original_max_position_embeddings": 16,
            "beta_fast": 32.0, "beta_slow": 1.0, "mscale": 1.0, "mscale_all_dim": 1.0, "llama_4_scaling_beta": 0.1}
    keys = {"rope.scaling.type": "yarn", "rope.scaling.factor": 8.0, "rope.scaling.original_context_length": 16,
            "rope.scaling.yarn_log_multiplier": 1.0, "attention.temperature_scale": 0.1}
    plain = {"rope_type": "default", "rope_theta": 10000.0, "llama_4_scaling_beta": 0.1}  # which says no length of a step
    model = variant("ministral3", "Ministral3ForCausalLM", "mistral3", 31, keys, head_dim=32, model_type="ministral3",
                    sliding_window=None, rope_parameters=rope, refused=[
                        ("hf", {"rope_parameters": plain},
                         "config.json: 'rope_parameters.original_max_position_embeddings' is missing: queries grow"),
                        ("gguf", {"mistral3.rope.scaling.type": None, "mistral3.rope.scaling.original_context_length": None},
                         "metadata key 'mistral3.rope.scaling.original_context_length' is missing: queries grow")])
    even = variant("ministral3-even", "Ministral3ForCausalLM", "mistral3", 46, model_type="ministral3",
                   sliding_window=None)  # whose queries do not grow
    return [model, seeing(model, "Mistral3ForConditionalGeneration", "ministral3-text"), even]


def smollm3():
    plain = variant("smollm3", "SmolLM3ForCausalLM", "smollm3", 14, num_hidden_layers=5, no_rope_layers=[1, 1, 1, 0, 1], refused=[
        ("hf", {"no_rope_layers": [1, 0]}, "config.json: 'no_rope_layers' has 2 entries for 5 layers")])
    kinds = ["sliding_attention", "full_attention", "sliding_attention"]
    window = variant("smollm3-window", "SmolLM3ForCausalLM", "smollm3", 47, no_rope_layers=[1, 1, 0], use_sliding_window=True,
                     sliding_window=16, layer_types=kinds)
    window.gguf_keys = window.gguf = None
    window.conversion = refused_by_gguf("GGUF cannot say this model")
    return [plain, window]


def unusual():
    """Biases, and no norms of heads, as no published file has them; llama.cpp leaves biases out, and requires the norms."""
    attention, feed_forward = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
    seed_oss = variant("seed-oss-bias", "SeedOssForCausalLM", "seed_oss", 48, bias=attention, permuted=False,
                       names={"post_attention_layernorm": "post_attention_norm"}, attention_out_bias=True)  # the others are usual
    ernie = variant("ernie4_5-bias", "Ernie4_5ForCausalLM", "ernie4_5", 49, bias=attention + feed_forward, permuted=False,
                    use_bias=True)
    hunyuan = variant("hunyuan-plain", "HunYuanDenseV1ForCausalLM", "hunyuan-dense", 50, permuted=False, use_qk_norm=False)
    made = [seed_oss, ernie, hunyuan]
    for model in made:
        model.reads_like_llama_cpp = False
    return made


def arcee():
    config = llama_config("ArceeForCausalLM", hidden_act="relu2", mlp_bias=False)
    weights = {name: tensor for name, tensor in llama_weights(config, Random(29)).items() if "gate_proj" not in name}
    return Model("arcee", config, weights, forward, gguf_keys("arcee", config), to_gguf(weights, None, interleaved((4, 2))), refused=[
        ("hf", {"hidden_act": "silu"}, "config.json: 'hidden_act' is 'silu', expected relu2")])


def hunyuan():
    config = llama_config("HunYuanDenseV1ForCausalLM", head_dim=32, use_qk_norm=True, attention_bias=False,
                          rope_scaling={"type": "dynamic", "alpha": 50.0, "factor": 1.0, "beta_fast": 32, "beta_slow": 1})
    names = {"self_attn.q_norm": "self_attn.query_layernorm", "self_attn.k_norm": "self_attn.key_layernorm"}
    plain = llama_weights(config, Random(26), head_norm=(32, 32))
    weights = {}
    for name, tensor in plain.items():
        for own, theirs in names.items():
            name = name.replace(own, theirs)
        weights[name] = tensor
    keys = gguf_keys("hunyuan-dense", config, **{"rope.freq_base": 10000.0 * 50.0 ** (32 / 30), "rope.scaling.type": "none"})
    return Model("hunyuan-dense", config, weights, forward, keys, to_gguf(plain), conversion=other_keys("rope.scaling.type"))


def variant(name, architecture, gguf_architecture, seed, gguf_changes=None, bias=(), refused=(), names=None, permuted=True,
            **changes):
    config = llama_config(architecture, **changes)
    weights = llama_weights(config, Random(seed), bias=bias)
    gguf = to_gguf(weights, names, interleaved((4, 2)) if permuted else None)
    if config.get("rope_scaling"):
        factors = layers.frequencies(config["head_dim"], config["rope_theta"]) / frequencies(config)
        gguf["rope_freqs.weight"] = factors.astype(np.float32)
    keys = gguf_keys(gguf_architecture, config, **(gguf_changes or {}))
    return Model(name, config, weights, forward, keys, gguf, refused=list(refused))


def renamed(model, names):
    """The same model under other names in safetensors: its forward pass gets the weights under Llama's."""
    def theirs(name):
        for own, other in names.items():
            name = name.replace(own, other)
        return name
    back = {theirs(name): name for name in model.weights}
    plain = model.forward
    model.forward = lambda config, w, tokens: plain(config, {back[name]: tensor for name, tensor in w.items()}, tokens)
    model.weights = {theirs(name): tensor for name, tensor in model.weights.items()}
    return model


INTERNLM2_NAMES = {"model.embed_tokens": "model.tok_embeddings", "lm_head": "output", "input_layernorm": "attention_norm",
                   "post_attention_layernorm": "ffn_norm", "self_attn.o_proj": "attention.wo", "mlp.gate_proj": "feed_forward.w1",
                   "mlp.up_proj": "feed_forward.w3", "mlp.down_proj": "feed_forward.w2"}


def internlm2(name, seed, bias):
    """q, k and v in one tensor: of each group of heads its queries, then its key, then its value."""
    parts = ("q_proj", "k_proj", "v_proj")
    model = renamed(variant(name, "InternLM2ForCausalLM", "internlm2", seed, bias=(*parts, "o_proj") if bias else ()),
                    INTERNLM2_NAMES)
    model.config |= {"bias": bias or None, "rope_scaling": {"type": "dynamic", "factor": 2.0}}
    plain, fused = model.forward, [name for name in model.weights if "q_proj" in name]
    for own in fused:
        tensors = [model.weights.pop(own.replace("q_proj", part)) for part in parts]
        groups = [tensor.reshape(2, rows, 16, -1) for tensor, rows in zip(tensors, (2, 1, 1))]
        model.weights[own.replace("self_attn.q_proj", "attention.wqkv")] = np.concatenate(groups, axis=1).reshape(
            128, *tensors[0].shape[1:])

    def forward(config, w, tokens):
        w = dict(w)
        for own in fused:
            tensor = w.pop(own.replace("self_attn.q_proj", "attention.wqkv"))
            groups = tensor.reshape(2, 4, 16, -1)
            for part, rows in zip(parts, (groups[:, :2], groups[:, 2], groups[:, 3])):
                w[own.replace("q_proj", part)] = rows.reshape(-1, *tensor.shape[1:])
        return plain(config | {"rope_scaling": None}, w, tokens)
    model.forward = forward
    model.reads_like_llama_cpp = not bias  # it knows no bias of what attention gives
    return model


def exaone():
    names = {"model.embed_tokens": "transformer.wte", "model.norm": "transformer.ln_f", "model.layers": "transformer.h",
             "input_layernorm": "ln_1", "post_attention_layernorm": "ln_2", "self_attn.o_proj": "attn.attention.out_proj",
             "self_attn": "attn.attention", "mlp.gate_proj": "mlp.c_fc_0", "mlp.up_proj": "mlp.c_fc_1", "mlp.down_proj": "mlp.c_proj"}
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 64}
    model = renamed(variant("exaone", "ExaoneForCausalLM", "exaone", 34, permuted=False, rope_scaling=llama3), names)
    for own, theirs in (("num_hidden_layers", "num_layers"), ("rms_norm_eps", "layer_norm_epsilon"),
                        ("hidden_act", "activation_function")):
        model.config[theirs] = model.config.pop(own)
    plain = model.forward
    model.forward = lambda config, w, tokens: plain(
        config | {"num_hidden_layers": config["num_layers"], "rms_norm_eps": config["layer_norm_epsilon"]}, w, tokens)
    return model


def orion():
    model = variant("orion", "OrionForCausalLM", "orion", 35, {"attention.layer_norm_rms_epsilon": None,
                                                               "attention.layer_norm_epsilon": 1e-5}, permuted=False)
    random = Random(36)
    biases = {name.replace(".weight", ".bias"): random.vector(64) for name in model.weights if "norm" in name}
    model.weights |= biases
    model.gguf |= to_gguf(biases)
    return model


def deepseek():
    """The first DeepSeek with experts."""
    random = Random(43)
    config = llama_config("DeepseekForCausalLM", n_routed_experts=6, num_experts_per_tok=2, moe_intermediate_size=32, n_shared_experts=2,
                          first_k_dense_replace=1, routed_scaling_factor=1.5)
    plain = llama_weights(config, random)
    chosen, stacked = mixture_weights(random, (1, 2), 6, 32)
    for layer in (1, 2):
        block = f"model.layers.{layer}.mlp."
        for part, shape in {"gate": (64, 64), "up": (64, 64), "down": (64, 64)}.items():
            del plain[f"{block}{part}_proj.weight"]
            chosen[f"{block}shared_experts.{part}_proj.weight"] = tensor = random.matrix(*shape, gain=1.5)
            stacked[f"blk.{layer}.ffn_{part}_shexp.weight"] = tensor
    keys = gguf_keys("deepseek", config, expert_count=6, expert_used_count=2, expert_feed_forward_length=32, expert_shared_count=2,
                     leading_dense_block_count=1, expert_weights_scale=1.5)
    return Model("deepseek-moe", config, plain | chosen, forward, keys, to_gguf(plain, change=interleaved((4, 2))) | stacked, refused=[
        ("hf", {"scoring_func": "sigmoid"}, "config.json: 'scoring_func' is not softmax, which is all that this family is known with")])


def kin():
    """What differs from Llama in names and settings alone."""
    scales = {"embedding_scale": 3.0, "residual_scale": 1.1 / 3**0.5, "logit_scale": 64 / 32}
    minicpm = variant("minicpm", "MiniCPMForCausalLM", "minicpm", 37, scales, scale_emb=3.0, scale_depth=1.1, dim_model_base=32,
                      refused=[("hf", {"dim_model_base": 0}, "config.json: 'dim_model_base' is not above 0")])
    old = variant("minicpm-old", "MiniCPMForCausalLM", "minicpm", 38, scale_emb=12, scale_depth=1.4, dim_model_base=256,
                  tie_word_embeddings=True)
    old.weights["model.embed_tokens.weight"] /= 24  # it is the head too
    old.conversion = other_keys("embedding_scale", "residual_scale", "logit_scale")
    old.reads_like_llama_cpp = False  # which divides by the scale of logits that it takes for these
    third = variant("internlm3-bias", "InternLM3ForCausalLM", "llama", 51, bias=("o_proj", "gate_proj", "up_proj", "down_proj"))
    third.config["bias"] = True
    return [internlm2("internlm2", 39, False), internlm2("internlm2-bias", 40, True), exaone(), orion(), minicpm, old,
            variant("internlm3", "InternLM3ForCausalLM", "llama", 41, bias=("q_proj", "k_proj", "v_proj"), qkv_bias=True),
            third, variant("xverse", "XverseForCausalLM", "xverse", 42), deepseek(),
            seeing(variant("llava", "LlamaForCausalLM", "llama", 44, model_type="llama"), "LlavaNextForConditionalGeneration", "llava"),
            seeing(variant("pixtral", "MistralForCausalLM", "llama", 45, model_type="mistral"), "LlavaForConditionalGeneration", "pixtral")]


def pack(nibbles, axis):
    """Eight neighbours along `axis` in an I32, the first lowest."""
    nibbles = np.moveaxis(nibbles.astype(np.uint32), axis, -1)
    words = (nibbles.reshape(*nibbles.shape[:-1], -1, 8) << (4 * np.arange(8, dtype=np.uint32))).sum(-1, dtype=np.uint32)
    return np.moveaxis(words, -1, axis).view(np.int32)


AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]  # which of eight columns lies where


def four_bits(random, stem, shape, awq):
    """(a matrix [N, K] with groups of 32, its tensors) as AutoGPTQ and AutoAWQ store it."""
    outputs, inputs = shape
    q = random.generator.integers(0, 16, (inputs, outputs))
    zeros = random.generator.integers(5, 11, (inputs // 32, outputs))
    scales = (random.generator.uniform(0.5, 1.5, zeros.shape) * 0.3 / np.sqrt(inputs)).astype(np.float16)
    values = (q - np.repeat(zeros, 32, axis=0)) * np.repeat(scales.astype(np.float64), 32, axis=0)

    def columns(words):
        return words.reshape(len(words), -1, 8)[:, :, AWQ_ORDER].reshape(words.shape)
    stored = {"qweight": pack(columns(q), 1) if awq else pack(q, 0),
              "qzeros": pack(columns(zeros), 1) if awq else pack(zeros - 1, 1), "scales": scales}
    return values.T, {f"{stem}.{name}": np.ascontiguousarray(tensor) for name, tensor in stored.items()}


def bfloat16(values):
    """(the values rounded to BF16, their tensor)."""
    bits = values.astype(np.float32).view(np.uint32) & 0xffff0000
    return bits.view(np.float32).astype(np.float64), Packed("BF16", values.shape, (bits >> 16).astype(np.uint16).tobytes())


def compressed(random, stem, shape, bits, zeros):
    """(a matrix [N, K], its tensors) as compressed-tensors stores it: groups of 64 columns of 4 bits, or rows of 8."""
    outputs, inputs = shape
    groups = inputs // 64 if bits == 4 and inputs % 64 == 0 else 1
    limit = 2 ** (bits - 1)
    q = random.generator.integers(-limit, limit, shape)
    zero = random.generator.integers(-3, 4, (outputs, groups)) if zeros else np.zeros((outputs, groups), int)
    scales, stored_scales = bfloat16(random.generator.uniform(0.5, 1.5, zero.shape) * 2.4 / limit / np.sqrt(inputs))
    values = (q - np.repeat(zero, inputs // groups, axis=1)) * np.repeat(scales, inputs // groups, axis=1)
    if bits == 8:
        return values, {stem + ".weight": q.astype(np.int8), stem + ".weight_scale": stored_scales}
    stored = {stem + ".weight_packed": pack(q + limit, 1), stem + ".weight_scale": stored_scales,
              stem + ".weight_shape": np.array(shape, np.int64)}
    if zeros:
        stored[stem + ".weight_zero_point"] = pack(zero + limit, 0)
    return values, stored


def fp8(random, stem, shape, by_row):
    """FP8 (OCP's E4M3), with a scale a row or for 128 x 128 elements."""
    codes = random.generator.integers(0, 256, shape).astype(np.uint8)
    codes[codes & 127 == 127] = 0  # not a number
    exponent, mantissa = (codes >> 3 & 15).astype(int), codes & 7
    values = np.where(exponent == 0, mantissa * 2.0**-9, (8.0 + mantissa) * 2.0 ** (exponent - 10.0)) * np.where(codes & 128, -1, 1)
    # Codes are 100 large on the whole: the length of what they are applied to is then kept, as lab.Random has it.
    scales = (random.generator.uniform(0.5, 1.5, (shape[0] if by_row else 1, 1)) * 0.015 / np.sqrt(shape[1])).astype(np.float32)
    name = "weight_scale" if by_row else "weight_scale_inv"
    loaded = (values.astype(np.float32) * scales).astype(np.float16).astype(np.float64)  # what the host makes of it
    return loaded, {stem + ".weight": Packed("F8_E4M3", shape, codes.tobytes()), f"{stem}.{name}": scales}


def quantized(name, seed, settings, make, tolerance, rounding=None, **changes):
    random = Random(seed)
    config = llama_config("LlamaForCausalLM", **{"quantization_config": settings} if settings else {}, **changes)
    weights = llama_weights(config, random)
    stored, exact = kept.pack(weights, random, make)
    return Model(name, config, weights, forward, None, None, stored=stored, tolerance=tolerance,
                 exact=exact if rounding else None, rounding=rounding)


def quantized_models():
    rounded = {"cpu": 0.1}  # activations of Q8_0 products, to 8 bits
    gptq = quantized("llama-gptq", 16, {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": False},
                     lambda *of: four_bits(*of, False), rounded)
    awq = quantized("llama-awq", 17, {"quant_method": "awq", "bits": 4, "group_size": 32, "version": "gemm"},
                    lambda *of: four_bits(*of, True), rounded)
    blocks = quantized("llama-fp8", 18, {"quant_method": "fp8", "weight_block_size": [128, 128]},
                       lambda *of: fp8(*of, False), {})
    rows = quantized("llama-fp8-rows", 19, {"quant_method": "fp8"}, lambda *of: fp8(*of, True), {})
    def settings(form, bits, **more):
        group = {"targets": ["Linear"], "weights": {"num_bits": bits, "type": "int"}}
        return {"quant_method": "compressed-tensors", "format": form, "ignore": ["lm_head"],
                "config_groups": {"group_0": group}} | more
    packed = quantized("llama-w4a16", 20, settings("pack-quantized", 4), lambda *of: compressed(*of, 4, False), rounded)
    asymmetric = quantized("llama-w4a16-asym", 21, settings("pack-quantized", 4), lambda *of: compressed(*of, 4, True), rounded)
    whole_bytes = quantized("llama-w8a8", 22, settings("int-quantized", 8), lambda *of: compressed(*of, 8, False), rounded)
    rows_again = quantized("llama-fp8-dynamic", 23, settings("float-quantized", 8), lambda *of: fp8(*of, True), {})
    packed.refused = [("hf", {"quantization_config": of}, f"'quantization_config.{key}' {what}") for of, key, what in (
        (settings("marlin-24", 4), "format",
         "is 'marlin-24', expected pack-quantized, int-quantized, float-quantized, naive-quantized or nvfp4-pack-quantized"),
        (settings("pack-quantized", 4, sparsity_config={"format": "sparse-24-bitmask"}), "sparsity_config.format",
         "is 'sparse-24-bitmask', expected dense"),
        (settings("pack-quantized", 8), "config_groups.group_0.weights.num_bits",
         "is not 4, which is all that is read of pack-quantized"))]
    gptq.refused = [("hf", {"quantization_config": {"quant_method": method} | more},
                     f"'quantization_config.{key}' {what}") for method, more, key, what in (
        ("quip", {}, "quant_method", "is 'quip', expected gptq, awq, fp8, compressed-tensors, modelopt, bitsandbytes or mxfp4"),
        ("gptq", {"bits": 8}, "bits", "is not 4, which is all that is read of gptq"),
        ("gptq", {"bits": 4, "desc_act": True}, "desc_act", "is true, which is not supported"),
        ("awq", {"bits": 4, "version": "gemv"}, "version", "is 'gemv', expected gemm"))]
    fp4 = quantized("llama-nvfp4-packed", 52, settings("nvfp4-pack-quantized", 4), lambda *of: kept.nvfp4(*of, divides=True), rounded, 0.03)
    return [gptq, awq, blocks, rows, packed, asymmetric, whole_bytes, rows_again, fp4, *modelopt_models(), *bitsandbytes_models()]


def modelopt_models():
    """A checkpoint that tells of itself in hf_quant_config.json alone, as wide as Q6_K wants, with scales of an FP8 KV cache and a
    projection that stays as it is; the same with scales far apart; one of NVFP4 and FP8, as its config.json says; and one whose KV
    cache alone is quantized."""
    def all_but_one(wide):
        return lambda random, stem, shape: None if stem == "model.layers.1.self_attn.v_proj" else kept.nvfp4(random, stem, shape, wide=wide)
    sizes = {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2}
    made = []
    for name, seed, wide in (("llama-nvfp4", 50, False), ("llama-nvfp4-wide", 51, True)):
        model = quantized(name, seed, None, all_but_one(wide), {"cpu": 0.1}, 0.03 if wide else 0.01, **sizes)
        apart = {"producer": {"name": "modelopt", "version": "0.35.0"}, "quantization": {
            "quant_algo": "NVFP4", "kv_cache_quant_algo": "FP8", "group_size": 16, "exclude_modules": ["lm_head", "model.layers.1.self_attn.v_proj"]}}
        model.texts = {"hf_quant_config.json": json.dumps(apart)}
        for layer in range(2):
            for part in "kv":
                model.stored[f"model.layers.{layer}.self_attn.{part}_proj.{part}_scale"] = np.full((), 0.5, np.float32)
        made.append(model)
    stem = "model.layers.0.mlp.down_proj.weight"
    has = {"": "U8 [256, 256]", "_scale": "U8 [256, 32]", "_scale_2": "F32 [1]"}
    for lost in ("_scale", "_scale_2"):
        values, scales, whole = (f"tensor '{stem}{part}' ({'missing' if part == lost else own})" for part, own in has.items())
        made[0].refused.append(("hf", {stem + lost: None}, f"weight blk.0.ffn_down.weight: {values}, {scales} and {whole} are no NVFP4 matrix: "
                                "expected U8 [N, K/2] with K a multiple of 32, F8_E4M3 [N, K/16] and F32 [1]"))

    def either(random, stem, shape):
        return (kept.one_fp8 if "mlp" in stem else kept.nvfp4)(random, stem, shape)
    settings = {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "kv_cache_scheme": {"type": "float", "num_bits": 8},
                "ignore": ["lm_head"]}
    both = quantized("llama-modelopt", 53, settings, either, {"cpu": 0.1}, 0.05)
    both.refused = [("hf", {"quantization_config": {"quant_method": "modelopt"} | of}, f"'quantization_config.{key}' {what}") for of, key, what in (
        ({"quant_algo": "NVFP4_AWQ"}, "quant_algo",
         "is 'NVFP4_AWQ', expected NVFP4, W4A16_NVFP4, FP8, FP8_PER_CHANNEL_PER_TOKEN or MIXED_PRECISION"),
        ({"quant_algo": "NVFP4", "group_size": 32}, "group_size", "is not 16, which is all that is read of NVFP4"))]
    cache = quantized("llama-fp8-cache", 57, settings | {"quant_algo": None}, lambda *of: None, {})
    cache.stored["model.layers.0.self_attn.k_proj.k_scale"] = np.full((), 0.5, np.float32)
    return [*made, both, cache]


def bitsandbytes_models():
    def settings(bits, **more):
        return {"quant_method": "bitsandbytes", "load_in_4bit": bits == 4, "load_in_8bit": bits == 8,
                "llm_int8_skip_modules": ["lm_head"]} | more
    four = settings(4, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    # Unsloth's dynamic uploads leave some projections as they are.
    nested = quantized("llama-nf4", 54, four, lambda random, stem, shape: None if stem.endswith("0.mlp.down_proj") else
                       kept.bitsandbytes(random, stem, shape), {"cpu": 0.1}, 0.05)
    plain = quantized("llama-fp4", 55, settings(4, bnb_4bit_quant_type="fp4", bnb_4bit_quant_storage="float16"), lambda *of:
                      kept.bitsandbytes(*of, kind="fp4", block=128, nested=False, storage=np.float16), {"cpu": 0.1}, 0.02)
    eight = quantized("llama-int8", 56, settings(8), kept.int8_rows, {"cpu": 0.1}, 0.005)
    stem = "model.layers.1.mlp.up_proj"
    state = f"{stem}.weight.quant_state.bitsandbytes__nf4"

    def other_state(text):
        return {state: np.frombuffer(text.encode(), np.uint8)}
    nested.refused = [
        ("hf", {f"{stem}.weight.absmax": None}, f"tensor '{stem}.weight.absmax' (missing) does not fit '{stem}.weight': expected F32 [96]"),
        ("hf", {state: None}, f"tensor '{state}' is missing from the model file"),
        ("hf", other_state('{"blocksize": 64}'), f"tensor '{state}': 'shape' at byte 0: is missing, expected a list of two extents"),
        ("hf", other_state('{"shape": [96, 64], "blocksize": 48}'), f"tensor '{state}': 'blocksize' is 48, expected 64 or another multiple of 32"),
        ("hf", {"quantization_config": four | {"bnb_4bit_quant_type": "af4"}}, "'quantization_config.bnb_4bit_quant_type' is 'af4', expected nf4 or fp4")]
    eight.refused = [("hf", {f"{stem}.weight_format": np.ones((), np.uint8)}, f"tensor '{stem}.weight_format' says that rows are not stored")]
    return [nested, plain, eight]


def models():
    llama3 = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
              "original_max_position_embeddings": 64}
    refused = [("gguf", {"llama.rope.scaling.type": "su"},
                "llama: metadata key 'llama.rope.scaling.type' is 'su', which this plugin does not know (none, linear, "
                "yarn)"),
               ("gguf", {"general.architecture": "lama"},
                "no plugin knows the architecture 'lama'; loaded architecture plugins: ")]
    mistral = variant("mistral", "MistralForCausalLM", "llama", 12, {"attention.sliding_window": 16}, sliding_window=16)
    mistral.reads_like_llama_cpp = False  # it leaves the window out
    return quantized_models() + [variant("llama3", "LlamaForCausalLM", "llama", 11, rope_scaling=llama3, refused=refused), mistral,
            variant("llama-bias", "LlamaForCausalLM", "llama", 13, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                    bias=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")),
            *smollm3(),
            hunyuan(), *kin(), *mixtures(), arcee(), mistral3(), *ministral3(),
            variant("seed-oss", "SeedOssForCausalLM", "seed_oss", 24, bias=("q_proj", "k_proj", "v_proj"), permuted=False,
                    names={"post_attention_layernorm": "post_attention_norm"}, head_dim=32, attention_bias=True,
                    attention_out_bias=False),
            variant("ernie4_5", "Ernie4_5ForCausalLM", "ernie4_5", 25, permuted=False, use_bias=False), *unusual()]
