"""Mixtral (arXiv 2401.04088): a softmax over the logits of the best 2 of 8 experts. Its GGUF comes stacked, and in the form
of before April 2024, one tensor an expert."""
from lab import *


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = layers.frequencies(head_width, config["rope_theta"])
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = layers.rms_norm(x, b["input_layernorm.weight"], epsilon)
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        y = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn), v, heads, kv_heads)
        x = x + b.linear(y, "self_attn.o_proj")
        x = x + mixture(config, b, layers.rms_norm(x, b["post_attention_layernorm.weight"], epsilon))
    return head(w, layers.rms_norm(x, w["model.norm.weight"], epsilon))


def mixture(config, b, x):
    used, scores = config["num_experts_per_tok"], b.linear(x, "block_sparse_moe.gate")

    def choose(row):
        chosen = layers.best(scores[row], used)
        return chosen, layers.softmax(scores[row][chosen])

    def expert(index, row):
        part = f"block_sparse_moe.experts.{index}.w"
        return b.linear(layers.silu(b.linear(row, part + "1")) * b.linear(row, part + "3"), part + "2")
    return layers.experts(x, choose, used, expert)


def models():
    random = Random(31)
    config = llama_config("MixtralForCausalLM", num_local_experts=8, num_experts_per_tok=2, sliding_window=None)
    weights = llama_weights(config, random, feed_forward=False)
    stacked, single = {}, {}
    for layer in range(config["num_hidden_layers"]):
        block = f"model.layers.{layer}.block_sparse_moe."
        weights[block + "gate.weight"] = random.matrix(8, 64, gain=3.0)
        for name, part, shape in (("w1", "gate", (96, 64)), ("w3", "up", (96, 64)), ("w2", "down", (64, 96))):
            each = [random.matrix(*shape, gain=1.5) for _ in range(8)]
            weights |= {f"{block}experts.{e}.{name}.weight": tensor for e, tensor in enumerate(each)}
            stacked[f"blk.{layer}.ffn_{part}_exps.weight"] = np.stack(each)
            single |= {f"blk.{layer}.ffn_{part}.{e}.weight": tensor for e, tensor in enumerate(each)}
    rest = to_gguf({name: tensor for name, tensor in weights.items() if ".experts." not in name},
                   {"block_sparse_moe.gate": "ffn_gate_inp"}, interleaved((4, 2)))
    keys = gguf_keys("llama", config, expert_count=8, expert_used_count=2)
    old = Model("mixtral-old", config, weights, forward, keys, rest | single, reads_like_llama_cpp=False, conversion=OTHER_LAYOUT)
    refused = [("gguf", {"blk.1.ffn_up_exps.weight": None},
                "weight blk.1.ffn_up_exps.weight: tensor 'blk.1.ffn_up_exps.weight' is missing from the model file, tensor "
                "'blk.1.ffn_up.0.weight' is missing from the model file")]
    return [Model("mixtral", config, weights, forward, keys, rest | stacked, refused=refused), old]
