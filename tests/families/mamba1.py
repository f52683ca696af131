"""The Mamba layer (Gu and Dao, arXiv 2312.00752): its forward pass in float64, in which each row sums what all rows before it have
left of themselves; random weights under Hugging Face's names; and the tensors as llama.cpp's converters write them."""
import dataclasses

import numpy as np

import layers
import mamba

GGUF_NAMES = {"in_proj": "ssm_in", "conv1d": "ssm_conv1d", "x_proj": "ssm_x", "dt_proj": "ssm_dt", "out_proj": "ssm_out",
              "dt_layernorm": "ssm_dt_norm", "b_layernorm": "ssm_b_norm", "c_layernorm": "ssm_c_norm"}


@dataclasses.dataclass
class Shape:
    channels: int = 128
    state: int = 16
    rank: int = 4
    length: int = 4


def weights(random, prefix, shape, width, norms=False, convolution_bias=True, projection_bias=False):
    """`prefix` ends in the module's name and a dot. `norms`: with weights."""
    generator = random.generator
    made = {"in_proj.weight": random.matrix(2 * shape.channels, width, gain=1.5),
            "conv1d.weight": random.matrix(shape.channels, 1, shape.length, gain=1.5),
            "x_proj.weight": random.matrix(shape.rank + 2 * shape.state, shape.channels, gain=1.5),
            "dt_proj.weight": random.matrix(shape.channels, shape.rank),
            "dt_proj.bias": generator.uniform(-3, 0.5, shape.channels).astype(np.float32),
            "A_log": np.log(generator.uniform(0.2, 4, (shape.channels, shape.state))).astype(np.float32),
            "D": random.vector(shape.channels, 1.0),
            "out_proj.weight": random.matrix(width, shape.channels, gain=1.5)}
    if convolution_bias:
        made["conv1d.bias"] = random.vector(shape.channels)
    if projection_bias:
        made |= {"in_proj.bias": random.vector(2 * shape.channels), "out_proj.bias": random.vector(width)}
    if norms:
        made |= {"dt_layernorm.weight": random.vector(shape.rank, 1.0), "b_layernorm.weight": random.vector(shape.state, 1.0),
                 "c_layernorm.weight": random.vector(shape.state, 1.0)}
    return {prefix + name: tensor for name, tensor in made.items()}


def state_space(x, b, c, step, rate, skip):
    """y_i = sum over j <= i and n of c_in exp(rate_n * (step_j+1 + .. + step_i)) b_jn step_j x_j, and skip * x_i, by channel."""
    past = np.tril(np.ones((len(x), len(x)), bool))
    out = np.empty_like(x)
    for channel in range(x.shape[1]):
        passed = np.cumsum(step[:, channel])
        between = np.where(past, passed[:, None] - passed, np.inf)
        left = np.exp(between[:, :, None] * rate[channel])  # rates are below 0
        out[:, channel] = np.einsum("in,ijn,jn,j->i", c, left, b, step[:, channel] * x[:, channel]) + skip[channel] * x[:, channel]
    return out


def forward(block, module, u, shape, norm=None):
    """`block`: lab.Block; `module`: "mixer." or its like; `norm`: (x, name of the norm) -> x."""
    norm = norm or (lambda x, name: x)
    x, z = np.split(block.linear(u, module + "in_proj"), 2, axis=1)
    bias = block.weights.get(block.prefix + module + "conv1d.bias", 0)
    x = layers.silu(mamba.convolution(x, block[module + "conv1d.weight"][:, 0], bias))
    low, b, c = np.split(block.linear(x, module + "x_proj"), np.cumsum([shape.rank, shape.state]), axis=1)
    step = np.logaddexp(0, block.linear(norm(low, module + "dt_layernorm"), module + "dt_proj"))  # softplus
    y = state_space(x, norm(b, module + "b_layernorm"), norm(c, module + "c_layernorm"), step,
                    -np.exp(block[module + "A_log"]), block[module + "D"])
    return block.linear(y * layers.silu(z), module + "out_proj")


def gguf_tensor(name, tensor):
    """(name behind "blk.N.", tensor) of what follows the module's name."""
    if name == "A_log":
        return "ssm_a", -np.exp(tensor)
    if name == "D":
        return "ssm_d", tensor
    stem, suffix = name.split(".")
    return f"{GGUF_NAMES[stem]}.{suffix}", tensor[:, 0] if stem == "conv1d" and suffix == "weight" else tensor


def gguf_keys(shape):
    return {"ssm.conv_kernel": shape.length, "ssm.inner_size": shape.channels, "ssm.state_size": shape.state,
            "ssm.time_step_rank": shape.rank}
