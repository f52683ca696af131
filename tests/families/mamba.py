"""The Mamba-2 layer (Dao and Gu, arXiv 2405.21060): its forward pass in float64, in the paper's dual form, in which a row attends
to all before it; random weights under Hugging Face's names; and the tensors as llama.cpp's converters write them."""
import dataclasses

import numpy as np

import layers

GGUF_NAMES = {"in_proj": "ssm_in", "conv1d": "ssm_conv1d", "norm": "ssm_norm", "out_proj": "ssm_out"}


@dataclasses.dataclass
class Shape:
    heads: int = 8
    head_width: int = 16
    groups: int = 2
    state: int = 16
    length: int = 4
    norm: str = "behind"  # the gate; "before" it, or "none"

    @property
    def inner(self):
        return self.heads * self.head_width

    @property
    def filters(self):
        return self.inner + 2 * self.groups * self.state


def weights(random, prefix, shape, width, convolution_bias=True, projection_bias=False):
    """`prefix` ends in the module's name and a dot."""
    generator = random.generator
    made = {"in_proj.weight": random.matrix(shape.inner + shape.filters + shape.heads, width, gain=1.5),
            "conv1d.weight": random.matrix(shape.filters, 1, shape.length, gain=1.5),
            "dt_bias": generator.uniform(-3, 0.5, shape.heads).astype(np.float32),
            "A_log": np.log(generator.uniform(0.2, 4, shape.heads)).astype(np.float32),
            "D": random.vector(shape.heads, 1.0),
            "out_proj.weight": random.matrix(width, shape.inner, gain=1.5)}
    if convolution_bias:
        made["conv1d.bias"] = random.vector(shape.filters)
    if projection_bias:
        made |= {"in_proj.bias": random.vector(shape.inner + shape.filters + shape.heads), "out_proj.bias": random.vector(width)}
    if shape.norm != "none":
        made["norm.weight"] = random.vector(shape.inner, 1.0)
    return {prefix + name: tensor for name, tensor in made.items()}


def convolution(x, filters, bias):
    """Each column of x with its own filter [columns, length], whose last element meets the row itself."""
    length = filters.shape[1]
    padded = np.concatenate([np.zeros((length - 1, x.shape[1])), x])
    return sum(padded[i:i + len(x)] * filters[:, i] for i in range(length)) + bias


def state_space(shape, x, b, c, step, rate, skip):
    """y_i = sum over j <= i of exp(rate * (step_j+1 + .. + step_i)) (c_i . b_j) step_j x_j, and skip * x_i, head by head."""
    rows = len(x)
    x, b, c = x.reshape(rows, shape.heads, -1), b.reshape(rows, shape.groups, -1), c.reshape(rows, shape.groups, -1)
    past = np.tril(np.ones((rows, rows), bool))
    out = np.empty_like(x)
    for head in range(shape.heads):
        group = head * shape.groups // shape.heads
        passed = np.cumsum(rate[head] * step[:, head])
        decay = np.exp(np.where(past, passed[:, None] - passed, -np.inf))
        out[:, head] = decay * (c[:, group] @ b[:, group].T) @ (step[:, head, None] * x[:, head]) + skip[head] * x[:, head]
    return out.reshape(rows, -1)


def group_norm(shape, x, weight, epsilon):
    return layers.rms_norm(x.reshape(-1, shape.inner // shape.groups), 1, epsilon).reshape(x.shape) * weight


def forward(block, module, x, shape, epsilon, multipliers=(1, 1, 1, 1, 1)):
    """`block`: lab.Block; `module`: "mixer." or its like; `multipliers`: of z, x, B, C and dt."""
    shared = shape.groups * shape.state
    edges = np.cumsum([shape.inner, shape.inner, shared, shared])
    parts = np.split(block.linear(x, module + "in_proj"), edges, axis=1)
    z, *mixed, step = (part * multiplier for part, multiplier in zip(parts, multipliers))
    bias = block.weights.get(block.prefix + module + "conv1d.bias", 0)
    mixed = layers.silu(convolution(np.concatenate(mixed, axis=1), block[module + "conv1d.weight"][:, 0], bias))
    x, b, c = np.split(mixed, np.cumsum([shape.inner, shared]), axis=1)
    step = np.logaddexp(0, step + block[module + "dt_bias"])  # softplus
    y = state_space(shape, x, b, c, step, -np.exp(block[module + "A_log"]), block[module + "D"])
    if shape.norm == "before":
        y = group_norm(shape, y, block[module + "norm.weight"], epsilon)
    y = y * layers.silu(z)
    if shape.norm == "behind":
        y = group_norm(shape, y, block[module + "norm.weight"], epsilon)
    return block.linear(y, module + "out_proj")


def gguf_tensor(name, tensor, shape):
    """(name behind "blk.N.", tensor) of what follows the module's name."""
    if name == "A_log":
        return "ssm_a", -np.exp(tensor).reshape(-1, 1)
    if name == "D":
        return "ssm_d", tensor.reshape(-1, 1)
    if name == "dt_bias":
        return "ssm_dt.bias", tensor
    stem, suffix = name.split(".")
    if stem == "conv1d" and suffix == "weight":
        tensor = tensor[:, 0]
    if stem == "norm":
        tensor = tensor.reshape(shape.groups, -1)
    return f"{GGUF_NAMES[stem]}.{suffix}", tensor


def gguf_keys(shape):
    return {"ssm.conv_kernel": shape.length, "ssm.inner_size": shape.inner, "ssm.state_size": shape.state,
            "ssm.time_step_rank": shape.heads, "ssm.group_count": shape.groups}
