"""Phi-2 (arXiv 2309.05463 and transformers' configuration): one layer norm before attention and feed-forward, which stand side by
side; rope on a part of each head; biases everywhere; the tanh approximation of gelu."""
from lab import *


def forward(config, w, tokens):
    heads, kv_heads, head_width, epsilon = sizes(config)
    turn = layers.frequencies(int(head_width * config["partial_rotary_factor"]), config["rope_theta"])

    def norm(x, name):
        return layers.layer_norm(x, w[name + ".weight"], w[name + ".bias"], epsilon)
    x = w["model.embed_tokens.weight"][tokens]
    for layer in range(config["num_hidden_layers"]):
        b = Block(w, f"model.layers.{layer}.")
        y = norm(x, b.prefix + "input_layernorm")
        q, k, v = (b.linear(y, f"self_attn.{name}_proj") for name in "qkv")
        z = layers.attention(layers.rope_half(q, heads, turn), layers.rope_half(k, kv_heads, turn), v, heads, kv_heads)
        x = x + b.linear(z, "self_attn.dense") + b.linear(layers.gelu_tanh(b.linear(y, "mlp.fc1")), "mlp.fc2")
    return head(w, norm(x, "model.final_layernorm")) + w.get("lm_head.bias", 0)


def models():
    random = Random(151)
    config = llama_config("PhiForCausalLM", hidden_act="gelu_new", num_key_value_heads=4, layer_norm_eps=1e-5,
                          partial_rotary_factor=0.5, qk_layernorm=False)
    plain = llama_weights(config, random, ("input_layernorm",), bias=("q_proj", "k_proj", "v_proj", "o_proj"),
                          feed_forward=False)
    weights = {name.replace("o_proj", "dense").replace("model.norm", "model.final_layernorm"): tensor
               for name, tensor in plain.items()}
    weights |= {"model.final_layernorm.bias": random.vector(64), "lm_head.bias": random.vector(VOCABULARY)}
    for layer in range(3):
        block = f"model.layers.{layer}."
        weights |= {block + "mlp.fc1.weight": random.matrix(96, 64, gain=1.5), block + "mlp.fc1.bias": random.vector(96),
                    block + "mlp.fc2.weight": random.matrix(64, 96, gain=1.5), block + "mlp.fc2.bias": random.vector(64),
                    block + "input_layernorm.bias": random.vector(64)}
    keys = gguf_keys("phi2", config, **{"attention.layer_norm_rms_epsilon": None, "attention.layer_norm_epsilon": 1e-5,
                                        "rope.dimension_count": 8})
    gguf = to_gguf(weights, {"model.final_layernorm": "output_norm", "self_attn.dense": "attn_output", "mlp.fc1": "ffn_up",
                             "mlp.fc2": "ffn_down"})
    return [Model("phi2", config, weights, forward, keys, gguf, llama_cpp_tolerance=GELU_TABLE, refused=[
        ("hf", {"lm_head.bias": None}, "weight output.bias: tensor 'lm_head.bias' is missing from the model file")])]
