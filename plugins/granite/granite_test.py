"""Granite 3 and 4: Llama's blocks (arXiv 2302.13971) with four scales; experts weighted by a softmax over the logits of the
best, and a shared one beside them; in Granite 4-H Mamba-2 layers (arXiv 2405.21060) in place of most attention, without rope.
Bamba: the same without scales, with rope on half of each head."""
import mamba
from lab import *

SCALES = {"embedding_multiplier": 2.0, "residual_multiplier": 0.5, "attention_multiplier": 0.2, "logits_scaling": 0.5}
GGUF_SCALES = {"embedding_scale": 2.0, "residual_scale": 0.5, "attention.scale": 0.2, "logit_scale": 0.5}


def forward(config, w, tokens):
    config, w = text_part(config, w)
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = layers.frequencies(head_width, config["rope_theta"])
    kinds = config.get("layer_types", ["attention"] * config["num_hidden_layers"])
    x = w["model.embed_tokens.weight"][tokens] * config["embedding_multiplier"]
    for layer, kind in enumerate(kinds):
        b = Block(w, f"model.layers.{layer}.")
        y = layers.rms_norm(x, b["input_layernorm.weight"], epsilon)
        if kind == "mamba":
            y = mamba.forward(b, "mamba.", y, shape_of(config), epsilon)
        else:
            q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
            if config.get("position_embedding_type", "rope") == "rope":
                q, k = layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn)
            y = b.linear(layers.attention(q, k, v, heads, kv_heads, config["attention_multiplier"]), "self_attn.o_proj")
        x = x + y * config["residual_multiplier"]
        y = feed_forward(config, b, layers.rms_norm(x, b["post_attention_layernorm.weight"], epsilon))
        x = x + y * config["residual_multiplier"]
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon)) / config["logits_scaling"]


def shape_of(config):
    return mamba.Shape(config["mamba_n_heads"], config["mamba_d_head"], config["mamba_n_groups"], config["mamba_d_state"],
                       config["mamba_d_conv"])


def halves(both, down, x):
    gate, up = np.split(x @ both.T, 2, axis=-1)
    return (layers.silu(gate) * up) @ down.T


def feed_forward(config, b, x):
    if not config.get("num_local_experts") and not config.get("shared_intermediate_size"):
        return gated(b, x)
    y = experts(config, b, x) if config.get("num_local_experts") else 0
    if config.get("shared_intermediate_size"):
        y = y + halves(b["shared_mlp.input_linear.weight"], b["shared_mlp.output_linear.weight"], x)
    return y


def experts(config, b, x):
    used, scores = config["num_experts_per_tok"], b.linear(x, "block_sparse_moe.router.layer")

    def choose(row):
        chosen = layers.best(scores[row], used)
        return chosen, layers.softmax(scores[row][chosen])
    both, down = (b[f"block_sparse_moe.{name}_linear.weight"] for name in ("input", "output"))
    return layers.experts(x, choose, used, lambda index, row: halves(both[index], down[index], row))


def model(name, seed, architecture, gguf_architecture, experts=0, shared=0, kinds=None, in_gguf=None, refused=(), bias=(), **changes):
    """`kinds`: of the layers, where they have Mamba-2 ones."""
    random, hidden = Random(seed), 32 if experts else 96
    if experts:
        changes |= {"num_local_experts": experts, "num_experts_per_tok": 2}
    if shared:
        changes |= {"shared_intermediate_size": shared}
    if kinds:
        changes |= {"layer_types": kinds, "num_hidden_layers": len(kinds), "mamba_n_heads": 8, "mamba_d_head": 16,
                    "mamba_n_groups": 1, "mamba_d_state": 16, "mamba_d_conv": 4, "mamba_expand": 2, "mamba_conv_bias": True,
                    "mamba_proj_bias": False}
    config = llama_config(architecture, intermediate_size=hidden, **SCALES, **changes)
    plain = llama_weights(config, random, bias=bias, feed_forward=not experts and not shared)
    if config["tie_word_embeddings"]:
        plain["model.embed_tokens.weight"] /= 4  # it is the head too
    kinds = kinds or ["attention"] * config["num_hidden_layers"]
    weights = {name: tensor for name, tensor in plain.items()
               if "self_attn" not in name or kinds[int(name.split(".")[2])] == "attention"}
    gguf = to_gguf(weights, change=interleaved((4, 2)))
    for layer, kind in enumerate(kinds):
        block, to = f"model.layers.{layer}.", f"blk.{layer}."
        if kind == "mamba":
            made = mamba.weights(random, block + "mamba.", shape_of(config), 64)
            weights |= made
            for part, tensor in made.items():
                new, tensor = mamba.gguf_tensor(part.removeprefix(block + "mamba."), tensor, shape_of(config))
                gguf[to + new] = tensor
        if experts:
            both, down = random.matrix(experts, 2 * hidden, 64, gain=1.5), random.matrix(experts, 64, hidden, gain=1.5)
            router = random.matrix(experts, 64, gain=3.0)
            weights |= {block + "block_sparse_moe.router.layer.weight": router,
                        block + "block_sparse_moe.input_linear.weight": both,
                        block + "block_sparse_moe.output_linear.weight": down}
            gguf |= {to + "ffn_gate_inp.weight": router, to + "ffn_gate_exps.weight": both[:, :hidden],
                     to + "ffn_up_exps.weight": both[:, hidden:], to + "ffn_down_exps.weight": down}
        if shared:
            both, down = random.matrix(2 * shared, 64, gain=1.5), random.matrix(64, shared, gain=1.5)
            weights |= {block + "shared_mlp.input_linear.weight": both, block + "shared_mlp.output_linear.weight": down}
            end = "_shexp.weight" if experts else ".weight"
            gguf |= {to + "ffn_gate" + end: both[:shared], to + "ffn_up" + end: both[shared:], to + "ffn_down" + end: down}
    keys = dict(GGUF_SCALES) | (in_gguf or {})
    if experts:
        keys |= {"expert_count": experts, "expert_used_count": 2}
    if experts and shared:
        keys |= {"expert_shared_feed_forward_length": shared}
    if shared and not experts:
        keys |= {"feed_forward_length": shared}
    if "mamba" in kinds:
        keys |= mamba.gguf_keys(shape_of(config)) | {"attention.head_count_kv": [0 if kind == "mamba" else 2 for kind in kinds]}
    return Model(name, config, weights, forward, gguf_keys(gguf_architecture, config, **keys), gguf, refused=list(refused))


BAMBA_NAMES = {"model.final_layernorm": "output_norm", "pre_ff_layernorm": "ffn_norm", "feed_forward.gate_proj": "ffn_gate",
               "feed_forward.up_proj": "ffn_up", "feed_forward.down_proj": "ffn_down"}


def bamba_forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = layers.frequencies(head_width // 2, config["rope_theta"])
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = layers.rms_norm(x, b["input_layernorm.weight"], epsilon)
        if layer in config["attn_layer_indices"]:
            q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
            q, k = layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn)
            y = b.linear(layers.attention(q, k, v, heads, kv_heads), "self_attn.o_proj")
        else:
            y = mamba.forward(b, "mamba.", y, shape_of(config), epsilon)
        x = x + y
        x = x + gated(b, layers.rms_norm(x, b["pre_ff_layernorm.weight"], epsilon), prefix="feed_forward.")
    return head(w, layers.rms_norm(x, w["model.final_layernorm.weight"], epsilon))


def bamba():
    random, attending = Random(159), [1, 3]
    config = llama_config("BambaForCausalLM", num_hidden_layers=4, attn_layer_indices=attending, attn_rotary_emb=8,
                          mamba_n_heads=8, mamba_d_head=16, mamba_n_groups=1, mamba_d_state=16, mamba_d_conv=4, mamba_expand=2,
                          mamba_conv_bias=True, mamba_proj_bias=False)
    weights, gguf = {}, {}
    for name, tensor in llama_weights(config, random, norms=("input_layernorm", "pre_ff_layernorm")).items():
        if "self_attn" not in name or int(name.split(".")[2]) in attending:
            weights[name.replace(".mlp.", ".feed_forward.").replace("model.norm", "model.final_layernorm")] = tensor
    gguf = to_gguf(weights, BAMBA_NAMES, change=partly_interleaved)
    for layer in set(range(4)) - set(attending):
        made = mamba.weights(random, f"model.layers.{layer}.mamba.", shape_of(config), 64)
        weights |= made
        for part, tensor in made.items():
            new, tensor = mamba.gguf_tensor(part.removeprefix(f"model.layers.{layer}.mamba."), tensor, shape_of(config))
            gguf[f"blk.{layer}.{new}"] = tensor
    keys = gguf_keys("granitehybrid", config, **mamba.gguf_keys(shape_of(config)), **{
        "rope.dimension_count": 8, "attention.head_count_kv": [2 if layer in attending else 0 for layer in range(4)]})
    refused = [("hf", {"attn_layer_indices": [1, 4]}, "config.json: 'attn_layer_indices' names a layer that is none of 4")]
    return Model("bamba", config, weights, bamba_forward, keys, gguf, refused=refused)


def partly_interleaved(name, tensor):
    """The half of each head that turns as pairs, which its rope turns in GGUF."""
    for part, count in (("attn_q.", 4), ("attn_k.", 2)):
        if part in name:
            each = tensor.reshape(count, 16, -1)
            pairs = each[:, :8].reshape(count, 2, 4, -1).swapaxes(1, 2).reshape(count, 8, -1)
            return np.concatenate([pairs, each[:, 8:]], axis=1).reshape(tensor.shape)
    return tensor


def models():
    hybrid, kinds = "GraniteMoeHybridForCausalLM", ["mamba", "mamba", "attention", "mamba", "attention"]
    no_rope = {"rope.scaling.finetuned": False}
    refused = [("hf", {"layer_types": kinds[:3] + ["linear"] + kinds[4:]},
                "config.json: 'layer_types' has 'linear' for layer 3, expected mamba or attention"),
               ("hf", {"position_embedding_type": "alibi"},
                "config.json: 'position_embedding_type' is 'alibi', expected rope or nope"),
               ("gguf", {"granitehybrid.attention.head_count_kv": [0, 0, 2, 0]},
                "metadata key 'granitehybrid.attention.head_count_kv' has 4 numbers, expected one, or one for each of 5 layers"),
               ("gguf", {"granitehybrid.attention.head_count_kv": [0, 0, 2, 0, 1]},
                "metadata key 'granitehybrid.attention.head_count_kv' has layers with different numbers of heads")]
    dense = model("granite4-dense", 158, hybrid, "granite", shared=48, num_local_experts=0, num_experts_per_tok=0,
                  layer_types=["attention"] * 3, position_embedding_type="rope")
    dense.refused = [("hf", {"shared_intermediate_size": 0},
                      "config.json: 'shared_intermediate_size' is missing or 0 in a model without experts")]
    dense.refused_adapter = "no weight of the model"  # GGUF names its matrices as Granite 3 has them
    biases = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    return [model("granite", 15, "GraniteForCausalLM", "granite"),
            model("granite-bias", 149, "GraniteForCausalLM", "granite", bias=biases, attention_bias=True, mlp_bias=True),
            model("granite-moe", 20, "GraniteMoeForCausalLM", "granitemoe", experts=6, tie_word_embeddings=True, refused=[
                ("gguf", {"granitemoe.residual_scale": 0.0}, "metadata key 'granitemoe.residual_scale' is not above 0")]),
            model("granite-moe-shared", 154, "GraniteMoeSharedForCausalLM", "granitemoe", experts=6, shared=48),
            model("granite-hybrid", 180, hybrid, "granitehybrid", experts=6, shared=48, kinds=kinds, in_gguf=no_rope,
                  position_embedding_type="nope", tie_word_embeddings=True, refused=refused),
            model("granite-hybrid-dense", 156, hybrid, "granitehybrid", shared=48, kinds=kinds, in_gguf=no_rope,
                  num_local_experts=0, num_experts_per_tok=0, position_embedding_type="nope"),
            model("granite-hybrid-rope", 157, hybrid, "granitehybrid", shared=48, kinds=kinds, num_local_experts=0,
                  position_embedding_type="rope"),
            dense, bamba(), seeing(model("granite-vision", 153, "GraniteForCausalLM", "granite", model_type="granite"),
                                   "LlavaNextForConditionalGeneration", "granite-vision")]
