"""Every operation in NumPy, and the data that goes in: what make_goldens.py makes goldens.json with. Written from the papers and
graph.h, not from any backend."""
import numpy as np

VOCABULARY = 23  # of cases that look tokens up
NO_SLOT = 0xFFFFFFFF


# ---- Data, as random_data.cpp makes it ---------------------------------------------------------------------------------

def mix(seed, index):
    """splitmix64 of a counter."""
    with np.errstate(over="ignore"):
        z = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15) + np.asarray(index, np.uint64) + np.uint64(1)
        z = z * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def uniform(seed, index):
    """Multiples of 2^-23 in [-1, 1), so exact in f32."""
    return (mix(seed, index) >> np.uint64(40)).astype(np.float64) / 2**23 - 1


def bf16(x):
    bits = np.asarray(x, np.float32).view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> np.uint64(16)) & np.uint64(1))) & 0xFFFF0000
    return rounded.astype(np.uint32).view(np.float32).astype(np.float64)


def f16(x):
    return np.asarray(x, np.float32).astype(np.float16).astype(np.float64)


def stored(kind, seed, shape, scale=1.0, offset=0.0):
    """A weight as its type can hold it. Block types are made of random scales and quants, not by rounding numbers."""
    index = np.arange(np.prod(shape, dtype=np.int64))
    if kind in ("Q8_0", "Q4_0"):
        d = (1 + (mix(seed + 500, index // 32) & np.uint64(15)).astype(np.float64)) / 1024 * scale
        bits = 8 if kind == "Q8_0" else 4
        q = (mix(seed, index) >> np.uint64(64 - bits)).astype(np.int64)
        q = np.where(q >= 128, q - 256, q) if kind == "Q8_0" else q - 8
        return (d * q * (1 if kind == "Q8_0" else 16)).reshape(shape)
    values = (uniform(seed, index) * scale + offset).astype(np.float32)
    return {"F32": lambda v: v.astype(np.float64), "F16": f16, "BF16": bf16}[kind](values).reshape(shape)


def through_cache(kind, x):
    """A row written to a cache of this type and read back."""
    x = np.asarray(x, np.float32)
    if kind == "F32":
        return x.astype(np.float64)
    if kind in ("F16", "BF16"):
        return (f16 if kind == "F16" else bf16)(x)
    blocks = x.reshape(-1, 32)
    if kind == "Q8_0":
        d = np.abs(blocks).max(1, keepdims=True) / np.float32(127)
        inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
        y = blocks * inverse
        q = np.trunc(y + np.copysign(np.float32(0.5), y))
    else:
        largest = np.take_along_axis(blocks, np.abs(blocks).argmax(1)[:, None], 1)
        d = largest / np.float32(-8)
        inverse = np.divide(np.float32(1), d, out=np.zeros_like(d), where=d != 0)
        q = np.minimum(np.trunc(blocks * inverse + np.float32(8.5)), 15) - 8
    return (f16(d) * q.astype(np.float64)).reshape(x.shape)


# ---- Operations: f(inputs, attributes, step) -> outputs ----------------------------------------------------------------

def embedding(i, a, step):
    return [i[1][i[0]] * a["scale"]]


def matmul(i, a, step):
    return [i[0] @ i[1].T + (0 if i[2] is None else i[2])]


def norm(i, a, centred):
    x = i[0].reshape(len(i[0]), -1, a["group"] or i[0].shape[1])
    if centred:
        x = x - x.mean(2, keepdims=True)
    y = x / np.sqrt((x * x).mean(2, keepdims=True) + np.float32(a["epsilon"]))
    y = y if i[1] is None else y * (i[1] + a["weight_offset"])
    return [(y if i[2] is None else y + i[2]).reshape(i[0].shape)]


def rope_frequencies(a, short, long, context):
    n, base = a["rotary_width"], a["base"]
    f = np.array([base ** (-2.0 * j / n) for j in range(n // 2)])
    scaling, factor, original = a["scaling"], a["factor"], a["original_context"]
    if scaling == 1:
        f = f / factor
    if scaling == 2:  # as transformers' _compute_llama3_parameters
        wave = 2 * np.pi / f
        low, high = original / a["low_frequency_factor"], original / a["high_frequency_factor"]
        smooth = (original / wave - a["low_frequency_factor"]) / (a["high_frequency_factor"] - a["low_frequency_factor"])
        f = np.where(wave > low, f / factor, np.where(wave < high, f, (1 - smooth) * f / factor + smooth * f))
    if scaling == 3:  # as transformers' _compute_yarn_parameters
        dim = lambda turns: n * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(base))
        low, high = max(np.floor(dim(a["beta_fast"])), 0), min(np.ceil(dim(a["beta_slow"])), n - 1)
        ramp = np.clip((np.arange(n // 2) - low) / max(high - low, 0.001), 0, 1)
        f = f / factor * ramp + f * (1 - ramp)
    factors = long if long is not None and (short is None or context > original) else short
    return f if factors is None else f / factors


def rope_magnitude(a):
    if a["attention_factor"]:
        return a["attention_factor"]
    if a["scaling"] == 3:
        return 0.1 * np.log(a["factor"]) + 1
    return np.sqrt(1 + np.log(a["factor"]) / np.log(a["original_context"])) if a["scaling"] == 4 else 1.0


def rope(i, a, step):
    x, positions = i[0], i[1]
    f = rope_frequencies(a, i[2], i[3], step.case.context).astype(np.float32).astype(np.float64)
    d, n = a["head_width"], a["rotary_width"]
    y = x.reshape(len(x), -1, d).copy()
    turn = np.exp(1j * np.outer(positions, f))[:, None, :] * rope_magnitude(a)
    pairs = (slice(0, n // 2), slice(n // 2, n)) if a["style"] == 1 else (slice(0, n, 2), slice(1, n, 2))
    z = (y[..., pairs[0]] + 1j * y[..., pairs[1]]) * turn
    y[..., pairs[0]], y[..., pairs[1]] = z.real, z.imag
    return [y.reshape(x.shape)]


def alibi_slopes(most, heads):
    def series(n):
        return [2 ** (-most * (h + 1) / n) for h in range(n)]
    n = 2 ** int(np.floor(np.log2(heads)))
    return series(n) + series(2 * n)[0::2][: heads - n]


def sees(a, chunked, p, j):
    if a["causal"] and j > p:
        return False
    return j // a["window"] == p // a["window"] if chunked else not a["window"] or abs(j - p) < a["window"]


def attention(i, a, step, chunked=False):
    q, k, v, sinks, table = i
    heads, kv_heads, d, e = a["head_count"], a["kv_head_count"], a["key_width"], a["value_width"]
    group = step.case.cache["groups"][a["cache_group"]] if a["cache_group"] != NO_SLOT else None
    y = np.zeros((len(q), heads * e))
    for r, (sequence, position) in enumerate(step.rows):  # all rows are stored before any attends
        memory = step.memory.setdefault((a["cache_group"], a["cache_layer"], sequence), {})
        if group is None:
            memory[position] = (k[r], (k if v is None else v)[r])
        else:
            key = through_cache(step.case.cache["key_type"], k[r])
            value = key if group["value_width"] == 0 else through_cache(step.case.cache["value_type"], v[r])
            memory[position] = (key, value)
    for r, (sequence, p) in enumerate(step.rows):
        memory = step.memory[(a["cache_group"], a["cache_layer"], sequence)]
        seen = [j for j in memory if sees(a, chunked, p, j)]
        for h in range(heads):
            g = h // (heads // kv_heads)
            s = np.array([q[r, h * d:(h + 1) * d] @ memory[j][0][g * d:(g + 1) * d] for j in seen]) * a["scale"]
            if a["soft_cap"]:
                s = a["soft_cap"] * np.tanh(s / a["soft_cap"])
            away = np.array(seen) - p
            if a["alibi_bias"]:
                s = s - alibi_slopes(a["alibi_bias"], heads)[h] * np.abs(away)
            if table is not None:
                reach = table.shape[1] // 2
                s = s + table[h, np.clip(away, -reach, reach) + reach]
            w = np.exp(s)
            w = w / (w.sum() + (0 if sinks is None else np.exp(sinks[h])))
            stride = e if v is not None else d
            y[r, h * e:(h + 1) * e] = sum(w[n] * memory[j][1][g * stride:g * stride + e] for n, j in enumerate(seen))
    return [y]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def erf(x):
    """By its Taylor series: the arguments here are small."""
    term, total = x, x
    for n in range(1, 60):
        term = term * -x * x / n
        total = total + term / (2 * n + 1)
    return total * 2 / np.sqrt(np.pi)


def act(kind, x, alpha=1.0):
    return [None, lambda: x * sigmoid(alpha * x), lambda: x * (1 + erf(x / np.sqrt(2))) / 2,
            lambda: x * sigmoid(2 * np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)), lambda: x * sigmoid(1.702 * x),
            lambda: np.maximum(x, 0), lambda: np.tanh(x), lambda: sigmoid(x)][kind]()


def gated(i, a, step):
    gate, up = i[0], i[1]
    if a["clamp"]:
        gate, up = np.minimum(gate, a["clamp"]), np.clip(up, -a["clamp"], a["clamp"])
    return [act(a["activation"], gate, a["alpha"]) * (up + a["up_offset"])]


def softmax(x):
    w = np.exp(x - x.max(-1, keepdims=True))
    return w / w.sum(-1, keepdims=True)


def scale(i, a, step):
    y = i[0] * a["scale"] + a["shift"]
    return [a["soft_cap"] * np.tanh(y / a["soft_cap"]) if a["soft_cap"] else y]


def position_scale(i, a, step):
    return [i[0] * (1 + a["strength"] * np.log(1 + np.floor((i[1] + a["offset"]) / a["length"])))[:, None]]


def xielu(i, a, step):
    x, (rise, fall, slope, epsilon) = i
    bent = np.where(x > 0, softplus(rise) * x * x, (slope + softplus(fall)) * (np.expm1(np.minimum(x, epsilon)) - x))
    return [bent + slope * x]


def split(i, a, step):
    return np.split(i[0], np.cumsum(a["widths"])[:-1], axis=1)


def pool(i, a, step):
    parts = [np.array([i[0][r] for r in range(len(i[0])) if step.rows[r][0] == s]) for s in step.sequences()]
    return [np.array([[p.mean(0), p[0], p[-1]][a["pooling"] - 1] for p in parts])]


def moe_route(i, a, step):
    experts, weights = [], []
    for scores in i[0]:
        p = [None, softmax(scores), scores, sigmoid(scores)][a["routing"]]
        choice = p + (0 if i[1] is None else i[1])
        if a["group_count"]:
            groups = choice.reshape(a["group_count"], -1)
            worth = np.sort(groups, 1)[:, -2:].sum(1) if a["routing"] == 3 else groups.max(1)
            lost = np.argsort(-worth, kind="stable")[a["group_used"]:]
            groups = groups.copy()
            groups[lost] = -np.inf
            choice = groups.ravel()
        chosen = np.argsort(-choice, kind="stable")[: a["used_count"]]
        w = softmax(p[chosen]) if a["routing"] == 2 else p[chosen]
        experts.append(chosen)
        weights.append((w / w.sum() if a["renormalise"] else w) * a["scale"])
    return [np.array(experts), np.array(weights)]


def moe_matmul(i, a, step):
    x, w, experts, bias = i
    k = w.shape[2]
    rows = []
    for r in range(len(x)):
        part = lambda n: x[r, n * k:(n + 1) * k] if a["x_per_expert"] else x[r]
        rows.append(np.concatenate([w[e] @ part(n) + (0 if bias is None else bias[e]) for n, e in enumerate(experts[r])]))
    return [np.array(rows)]


def moe_combine(i, a, step):
    k = i[1].shape[1]
    return [(i[0].reshape(len(i[0]), k, -1) * i[1][:, :, None]).sum(1)]


def adapter_matmul(i, a, step):
    y = i[0].copy()
    for r, slot in enumerate(i[2]):
        for at in step.case.adapters:
            if at["slot"] == slot and at["target"] == a["target"]:
                w = step.case.values[at["target"]]["shape"]
                low = stored("F32", at["seed"], [at["rank"], w[1]]) @ i[1][r]
                y[r] += at["scale"] * (stored("F32", at["seed"] + 1, [w[0], at["rank"]]) @ low)
    return [y]


def moe_adapter_matmul(i, a, step):
    y, x, slots, experts = i[0].copy(), *i[1:]
    k = experts.shape[1]
    for r, slot in enumerate(slots):
        for at in step.case.adapters:
            if at["slot"] != slot or at["target"] != a["target"]:
                continue
            e, n, width = step.case.values[at["target"]]["shape"]
            down, up = stored("F32", at["seed"], [e, at["rank"], width]), stored("F32", at["seed"] + 1, [e, n, at["rank"]])
            for j, expert in enumerate(experts[r]):
                part = x[r] if x.shape[1] == width else x[r, j * width:(j + 1) * width]
                y[r, j * n:(j + 1) * n] += at["scale"] * (up[expert] @ (down[expert] @ part))
    return [y]


def softplus(x):
    return np.log1p(np.exp(x))  # the arguments here are small


def state_of(step, a, sequence, position, shape):
    """What a sequence keeps in a layer of a group; nothing where it begins."""
    key = (a["cache_group"], a["cache_layer"], sequence)
    if position == 0 or key not in step.memory:
        assert position == 0
        step.memory[key] = np.zeros(shape)
    return step.memory[key]


def state_scan(i, a, step):
    q, k, v, dt, rate, bias, strength, skip = i
    heads, d, e = a["head_count"], a["key_width"], a["value_width"]
    y, rates = np.zeros((len(q), heads, e)), rate.reshape(heads, -1)
    for r, (sequence, position) in enumerate(step.rows):
        states = state_of(step, a, sequence, position, (heads, d, e))
        widths = softplus(dt[r] + (0 if bias is None else bias)).reshape(heads, -1)
        for h in range(heads):
            g = h // (heads // a["group_count"])
            key, query, value = k[r, g * d:(g + 1) * d], q[r, g * d:(g + 1) * d], v[r, h * e:(h + 1) * e]
            # Of one rate and one width, or of one for each row of the state.
            s = np.exp(rates[h] * widths[h])[:, None] * states[h]
            b = strength[r, h] if strength is not None else widths[h][0]
            s = s + b * np.outer(key, value - (key @ s if a["rule"] == 2 else 0))
            states[h] = s
            y[r, h] = a["scale"] * (query @ s) + (0 if skip is None else skip[h] * value)
    return [y.reshape(len(q), -1)]


def convolution(i, a, step):
    x, w, bias = i
    y = np.zeros(x.shape)
    for r, (sequence, position) in enumerate(step.rows):
        window = state_of(step, a, sequence, position, (a["length"] - 1, x.shape[1]))
        rows = np.concatenate([window, x[r:r + 1]])
        y[r] = (rows * w.T).sum(0) + (0 if bias is None else bias)
        window[:] = rows[1:]
    return [act(a["activation"], y) if a["activation"] else y]


OPERATIONS = {
    "embedding": embedding, "matmul": matmul, "rope": rope, "attention": attention, "gated": gated, "scale": scale,
    "split": split, "pool": pool, "moe_route": moe_route, "moe_matmul": moe_matmul, "moe_combine": moe_combine,
    "adapter_matmul": adapter_matmul, "moe_adapter_matmul": moe_adapter_matmul,
    "state_scan": state_scan, "convolution": convolution, "position_scale": position_scale, "xielu": xielu,
    "chunked_attention": lambda i, a, s: attention(i, a, s, True),
    "rms_norm": lambda i, a, s: norm(i + [None], a, False), "layer_norm": lambda i, a, s: norm(i, a, True),
    "unary": lambda i, a, s: [act(a["activation"], i[0])], "softmax": lambda i, a, s: [softmax(i[0])],
    "add": lambda i, a, s: [i[0] + i[1]], "mul": lambda i, a, s: [i[0] * i[1]],
    "concat": lambda i, a, s: [np.concatenate(i, 1)], "gather": lambda i, a, s: [i[0][i[1]]],
    "normalise": lambda i, a, s: [i[0] / np.sqrt((i[0] ** 2).sum(1, keepdims=True))],
}
INPUT_COUNTS = {"matmul": 3, "rms_norm": 2, "layer_norm": 3, "rope": 4, "attention": 5, "moe_route": 2, "moe_matmul": 4,
                "state_scan": 8, "convolution": 3, "chunked_attention": 5}
