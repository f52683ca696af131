"""The parts of which the families' forward passes are written, in float64 and from the papers. Rows are tokens; heads are
consecutive runs of columns."""
import math

import numpy as np

erf = np.vectorize(math.erf, otypes=[float])


def silu(x):
    return x / (1 + np.exp(-x))


def gelu(x):
    return 0.5 * x * (1 + erf(x / math.sqrt(2)))


def gelu_tanh(x):
    return 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def rms_norm(x, weight, epsilon):
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon) * weight


def layer_norm(x, weight, bias, epsilon):
    x = x - x.mean(axis=-1, keepdims=True)
    return x / np.sqrt((x * x).mean(axis=-1, keepdims=True) + epsilon) * weight + (0 if bias is None else bias)


def soft_cap(x, cap):
    return cap * np.tanh(x / cap) if cap else x


def frequencies(width, base):
    return base ** (-np.arange(0, width, 2) / width)


def yarn(width, base, scaling):
    """Frequencies of the stretched context (arXiv 2309.00071, section 3.2), for `scaling` of config.json."""
    def border(turns):
        return width * np.log(scaling["original_max_position_embeddings"] / (turns * 2 * np.pi)) / (2 * np.log(base))
    low, high = max(np.floor(border(scaling["beta_fast"])), 0), min(np.ceil(border(scaling["beta_slow"])), width - 1)
    stretch = np.clip((np.arange(width // 2) - low) / max(high - low, 0.001), 0, 1)
    plain = frequencies(width, base)
    return stretch * plain / scaling["factor"] + (1 - stretch) * plain


def grown(q, strength, length, offset=0):
    """Queries by their position (Ministral 3, Llama 4)."""
    return q * (1 + strength * np.log(1 + (np.arange(len(q)) + offset) // length))[:, None]


def rope_half(x, heads, frequency, magnitude=1.0):
    """Turns pairs (i, i + n) of the first 2n columns of each head by position * frequency[i]."""
    rows, n = len(x), len(frequency)
    x = x.reshape(rows, heads, -1)
    angle = np.arange(rows)[:, None, None] * frequency
    cos, sin = np.cos(angle) * magnitude, np.sin(angle) * magnitude
    a, b = x[..., :n], x[..., n : 2 * n]
    return np.concatenate([a * cos - b * sin, b * cos + a * sin, x[..., 2 * n :]], axis=-1).reshape(rows, -1)


def rope_pairs(x, heads, frequency):
    """The same of pairs (2i, 2i + 1)."""
    rows, n = len(x), len(frequency)
    x = x.reshape(rows, heads, -1)
    apart = np.concatenate([x[..., 0 : 2 * n : 2], x[..., 1 : 2 * n : 2], x[..., 2 * n :]], axis=-1)
    turned = rope_half(apart.reshape(rows, -1), heads, frequency).reshape(x.shape)
    pairs = np.stack([turned[..., :n], turned[..., n : 2 * n]], axis=-1).reshape(rows, heads, 2 * n)
    return np.concatenate([pairs, turned[..., 2 * n :]], axis=-1).reshape(rows, -1)


def attention(q, k, v, heads, kv_heads, scale=None, window=None, cap=None, sinks=None, slopes=None, causal=True, chunk=None):
    """`window`: each row sees so many tokens, itself among them; `chunk`: those of its own chunk of so many. `sinks`: a logit
    a head that takes weight and gives nothing. `slopes`: ALiBi's, a head."""
    rows = len(q)
    q, k, v = q.reshape(rows, heads, -1), k.reshape(rows, kv_heads, -1), v.reshape(rows, kv_heads, -1)
    scale = scale or q.shape[-1] ** -0.5
    distance = np.arange(rows)[:, None] - np.arange(rows)
    hidden = np.zeros((rows, rows), bool)
    if causal:
        hidden |= distance < 0
    if window:
        hidden |= distance >= window
    if chunk:
        hidden |= np.arange(rows)[:, None] // chunk != np.arange(rows) // chunk
    out = []
    for head in range(heads):
        group = head * kv_heads // heads
        scores = soft_cap(q[:, head] @ k[:, group].T * scale, cap)
        if slopes is not None:
            scores = scores - slopes[head] * distance
        scores[hidden] = -np.inf
        if sinks is not None:
            scores = np.concatenate([scores, np.full((rows, 1), sinks[head])], axis=1)
        out.append(softmax(scores)[:, :rows] @ v[:, group])
    return np.concatenate(out, axis=1)


def experts(x, scores, used, expert):
    """Sum over each row's `used` best experts of weight * expert(index, row); `scores` gives (chosen, weights) a row."""
    out = np.zeros_like(x)
    for row in range(len(x)):
        chosen, weights = scores(row)
        assert len(chosen) == used
        for index, weight in zip(chosen, weights):
            out[row] += weight * expert(index, x[row])
    return out


def best(scores, count):
    return np.argsort(-scores, kind="stable")[:count]
