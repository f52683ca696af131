#!/usr/bin/python3
"""Writes goldens.json: small cases of every operation with results computed here, in NumPy and float64, on their own.

Nothing is shared with the C++ sources but the rule that fills inputs and weights (`uniform` and `stored` below, the same
arithmetic as sdk/conformance/random_data.cpp), so the file holds each case's description and what must come out.
Run it in this folder after changing a case: ./make_goldens.py (Debian: python3-numpy).
"""
import json
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


def attention(i, a, step):
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
        seen = [j for j in memory if (j <= p or not a["causal"]) and (not a["window"] or abs(j - p) < a["window"])]
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
    y = np.zeros((len(q), heads, e))
    for r, (sequence, position) in enumerate(step.rows):
        states = state_of(step, a, sequence, position, (heads, d, e))
        widths = softplus(dt[r] + (0 if bias is None else bias)).reshape(heads, -1)
        for h in range(heads):
            g = h // (heads // a["group_count"])
            key, query, value = k[r, g * d:(g + 1) * d], q[r, g * d:(g + 1) * d], v[r, h * e:(h + 1) * e]
            s = np.exp(rate[h] * widths[h])[:, None] * states[h]  # of one width, or of one for each row of the state
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
    "state_scan": state_scan, "convolution": convolution,
    "rms_norm": lambda i, a, s: norm(i + [None], a, False), "layer_norm": lambda i, a, s: norm(i, a, True),
    "unary": lambda i, a, s: [act(a["activation"], i[0])], "softmax": lambda i, a, s: [softmax(i[0])],
    "add": lambda i, a, s: [i[0] + i[1]], "mul": lambda i, a, s: [i[0] * i[1]],
    "concat": lambda i, a, s: [np.concatenate(i, 1)], "gather": lambda i, a, s: [i[0][i[1]]],
    "normalise": lambda i, a, s: [i[0] / np.sqrt((i[0] ** 2).sum(1, keepdims=True))],
}
INPUT_COUNTS = {"matmul": 3, "rms_norm": 2, "layer_norm": 3, "rope": 4, "attention": 5, "moe_route": 2, "moe_matmul": 4,
                "state_scan": 8, "convolution": 3}


# ---- Cases -------------------------------------------------------------------------------------------------------------

class Step:
    def __init__(self, case, spans, memory):
        self.case, self.memory = case, memory
        self.rows = [(s, start + n) for s, start, count in spans for n in range(count)]

    def sequences(self):
        return list(dict.fromkeys(s for s, _ in self.rows))

    def fetch(self, name):
        v = self.case.values[name]
        positions = np.array([p for _, p in self.rows])
        identity = np.array([s * 4096 + p for s, p in self.rows])
        if v["kind"] == "weight":
            return stored(v["type"], v["seed"], v["shape"], v["scale"], v["offset"])
        if v["kind"] == "rows":
            return uniform(v["seed"], identity[:, None] * v["width"] + np.arange(v["width"])) * v["scale"]
        return {"tokens": lambda: (mix(9, identity) % np.uint64(VOCABULARY)).astype(np.int64),
                "positions": lambda: positions,
                "output_rows": lambda: np.arange(len(self.rows)),
                "adapter_slots": lambda: np.array([s if s < 2 else NO_SLOT for s, _ in self.rows])}[v["role"]]()


class Case:
    def __init__(self, name, steps=(((0, 0, 3),),), cache=None, context=64, adapters=(), whole=False):
        self.name, self.steps, self.cache, self.context, self.whole = name, steps, cache, context, whole
        self.adapters, self.values, self.ops, self.made = list(adapters), {}, [], 0

    def seed(self):
        return len(self.values) + 10 * (sum(map(ord, self.name)) % 97)

    def rows(self, width, scale=2.0):
        return self.value("rows", width=width, scale=scale, seed=self.seed())

    def weight(self, shape, kind="F32", scale=1.0, offset=0.0):
        return self.value("weight", type=kind, shape=list(shape), scale=scale, offset=offset, seed=self.seed())

    def input(self, role):
        return self.value("input", role=role)

    def value(self, kind, **of):
        name = f"v{len(self.values)}"
        self.values[name] = {"kind": kind, **of}
        return name

    def op(self, kind, *inputs, outputs=1, **attributes):
        names = [f"y{self.made + n}" for n in range(outputs)]
        self.made += outputs
        self.ops.append({"op": kind, "in": [n or "" for n in inputs], "out": names, "attributes": attributes})
        return names[0] if outputs == 1 else names

    def run(self):
        memory, out = {}, []
        for spans in self.steps:
            step = Step(self, spans, memory)
            env = {name: step.fetch(name) for name in self.values}
            for op in self.ops:
                inputs = [env[n] if n else None for n in op["in"]]
                inputs += [None] * (INPUT_COUNTS.get(op["op"], 0) - len(inputs))
                attributes = {k: float(np.float32(v)) if isinstance(v, float) else v for k, v in op["attributes"].items()}
                env.update(zip(op["out"], OPERATIONS[op["op"]](inputs, attributes, step)))
            out.append(np.asarray(env[self.ops[-1]["out"][-1]], np.float64).ravel())
        return np.concatenate(out)

    def describe(self):
        return {"name": self.name, "values": self.values, "ops": self.ops, "steps": self.steps, "cache": self.cache,
                "context": self.context, "adapters": self.adapters, "whole_sequence": self.whole,
                "expected": [float(f"{x:.7g}") for x in self.run()]}


def cases():
    for kind in ("F32", "F16", "BF16", "Q8_0", "Q4_0"):
        c = Case(f"matmul {kind}")
        c.op("matmul", c.rows(64), c.weight([7, 64], kind))
        yield c
        c = Case(f"embedding {kind}")
        c.op("embedding", c.input("tokens"), c.weight([VOCABULARY, 32], kind), scale=1.5)
        yield c
    c = Case("matmul with bias")
    c.op("matmul", c.rows(5), c.weight([3, 5]), c.weight([3]))
    yield c
    yield from norm_cases()
    yield from rope_cases()
    yield from attention_cases()
    yield from elementwise_cases()
    yield from shape_cases()
    yield from moe_cases()
    adapters = [{"slot": 0, "target": "v2", "rank": 2, "scale": 0.5, "seed": 70},
                {"slot": 1, "target": "v2", "rank": 3, "scale": 2.0, "seed": 80}]
    c = Case("adapter_matmul", steps=(((0, 0, 2), (1, 0, 1), (2, 0, 1)),), adapters=adapters)
    x, slots, w = c.rows(6), c.input("adapter_slots"), c.weight([4, 6])
    c.op("adapter_matmul", c.op("matmul", x, w), x, slots, target=w)
    yield c
    yield from moe_adapter_cases()
    yield from scan_cases()
    yield from convolution_cases()


def moe_adapter_cases():
    """The row for all its experts, and a slice of it for each."""
    moe = {"expert_count": 8, "used_count": 3, "routing": 1, "renormalise": 0, "scale": 1.0, "group_count": 0, "group_used": 0}
    adapters = [{"slot": 0, "target": "v3", "rank": 2, "scale": 0.5, "seed": 90},
                {"slot": 1, "target": "v3", "rank": 3, "scale": 2.0, "seed": 92},
                {"slot": 1, "target": "v4", "rank": 1, "scale": 1.0, "seed": 94}]
    c = Case("moe_adapter_matmul", steps=(((0, 0, 2), (1, 0, 2), (2, 0, 1)),), adapters=adapters)
    x, scores, slots = c.rows(6), c.rows(8), c.input("adapter_slots")
    up, down = c.weight([8, 5, 6]), c.weight([8, 4, 5])
    experts, _ = c.op("moe_route", scores, **moe, x_per_expert=0, outputs=2)
    y = c.op("moe_matmul", x, up, experts, **moe, x_per_expert=0)
    y = c.op("moe_adapter_matmul", y, x, slots, experts, target=up)
    z = c.op("moe_matmul", y, down, experts, **moe, x_per_expert=1)
    c.op("moe_adapter_matmul", z, y, slots, experts, target=down)
    yield c


def norm_cases():
    for group in (0, 4):
        c = Case(f"rms_norm group {group}")
        c.op("rms_norm", c.rows(12), c.weight([group or 12]), epsilon=0.01, weight_offset=0.0, group=group)
        yield c
    c = Case("rms_norm weight offset")
    c.op("rms_norm", c.rows(9), c.weight([9]), epsilon=1e-5, weight_offset=1.0, group=0)
    yield c
    c = Case("rms_norm bare")
    c.op("rms_norm", c.rows(7), epsilon=0.5, weight_offset=0.0, group=0)
    yield c
    c = Case("layer_norm")
    c.op("layer_norm", c.rows(10), c.weight([10]), c.weight([10]), epsilon=0.01, weight_offset=0.0, group=0)
    yield c
    c = Case("layer_norm group without bias")
    c.op("layer_norm", c.rows(10), c.weight([5]), epsilon=0.01, weight_offset=0.0, group=5)
    yield c


def rope_cases():
    plain = dict(style=1, head_width=8, rotary_width=8, scaling=0, base=10000.0, factor=1.0, low_frequency_factor=1.0,
                 high_frequency_factor=4.0, beta_fast=32.0, beta_slow=1.0, attention_factor=1.0, original_context=0)
    wide = dict(head_width=32, rotary_width=32)
    kinds = {
        "half": {}, "interleaved": {"style": 2}, "partial half": {"rotary_width": 4},
        "partial interleaved": {"rotary_width": 6, "style": 2}, "linear": {"scaling": 1, "factor": 4.0},
        "llama3": {"scaling": 2, "factor": 8.0, "original_context": 256, "base": 500000.0, **wide},
        "yarn": {"scaling": 3, "factor": 4.0, "original_context": 512, "attention_factor": 0.0, **wide},
        "yarn own magnitude": {"scaling": 3, "factor": 16.0, "original_context": 128, "attention_factor": 1.25, **wide},
        "longrope short": {"scaling": 4, "factor": 8.0, "original_context": 64, "attention_factor": 0.0},
        "longrope long": {"scaling": 4, "factor": 8.0, "original_context": 32, "attention_factor": 0.0},
        "factors without scaling": {},
    }
    for name, change in kinds.items():
        a = {**plain, **change}
        c = Case(f"rope {name}", steps=(((0, 0, 2), (1, 57, 2)),))
        x, positions = c.rows(2 * a["head_width"]), c.input("positions")
        factors = []
        for _ in range(2 if a["scaling"] == 4 else 1 if "factors" in name else 0):
            factors.append(c.weight([a["rotary_width"] // 2], scale=1.0, offset=2.0))
        c.op("rope", x, positions, *factors, **a)
        yield c


def attention_cases():
    plain = dict(head_count=4, kv_head_count=2, key_width=8, value_width=8, cache_group=0, cache_layer=0, causal=1,
                 window=0, scale=0.35, soft_cap=0.0, alibi_bias=0.0)
    chunks = (((0, 0, 3), (1, 0, 2)), ((1, 2, 3),), ((0, 3, 1), (1, 5, 1)))
    whole = (((0, 0, 3), (1, 0, 4)),)
    kinds = {
        "plain": {}, "multi-head": {"kv_head_count": 4}, "multi-query": {"kv_head_count": 1},
        "window": {"window": 2}, "soft-cap": {"soft_cap": 2.0}, "alibi": {"alibi_bias": 8.0},
        "alibi odd heads": {"alibi_bias": 8.0, "head_count": 6}, "sinks": {}, "bias table": {}, "all features": {
            "window": 3, "soft_cap": 3.0, "alibi_bias": 4.0},
        "narrow values": {"value_width": 4}, "aliased values": {"value_width": 6},
        "aliased latent vectors": {"head_count": 6, "kv_head_count": 1, "key_width": 24, "value_width": 16},
        "not causal": {"causal": 0},
        "keys F16 values BF16": {}, "keys BF16 values F16": {},
        "keys Q8_0 values Q4_0": {"key_width": 16, "value_width": 16},
        "keys Q4_0 values Q8_0": {"key_width": 16, "value_width": 16},
        "encoder": {"causal": 0, "cache_group": NO_SLOT},
        "encoder window": {"causal": 0, "window": 2, "cache_group": NO_SLOT},
        "causal without cache": {"cache_group": NO_SLOT},
        "aliased without cache": {"cache_group": NO_SLOT, "value_width": 5},
    }
    for name, change in kinds.items():
        a = {**plain, **change}
        words = name.split()
        aliased = "aliased" in name
        cached = a["cache_group"] == 0
        cache = {"key_type": words[1] if "keys" in words else "F32", "value_type": words[3] if "keys" in words else "F32",
                 "block_tokens": 4, "groups": [{"key_width": a["kv_head_count"] * a["key_width"], "window": 0, "layers": 1,
                                                "value_width": 0 if aliased else a["kv_head_count"] * a["value_width"]}]}
        c = Case(f"attention {name}", steps=chunks if cached and a["causal"] else whole, cache=cache if cached else None,
                 whole=not cached)
        q, k = c.rows(a["head_count"] * a["key_width"]), c.rows(a["kv_head_count"] * a["key_width"])
        v = None if aliased else c.rows(a["kv_head_count"] * a["value_width"])
        sinks = c.weight([a["head_count"]]) if name in ("sinks", "all features") else None
        table = c.weight([a["head_count"], 5]) if name in ("bias table", "all features", "encoder") else None
        c.op("attention", q, k, v, sinks, table, **a)
        yield c


def elementwise_cases():
    for kind, name in enumerate(("silu", "gelu_erf", "gelu_tanh", "gelu_quick", "relu", "tanh", "sigmoid"), 1):
        c = Case(f"unary {name}")
        c.op("unary", c.rows(8, 4.0), activation=kind, clamp=0.0, alpha=1.0, up_offset=0.0)
        yield c
        c = Case(f"gated {name}")
        c.op("gated", c.rows(8, 4.0), c.rows(8), activation=kind, clamp=0.0, alpha=1.0, up_offset=0.0)
        yield c
    c = Case("gated as gpt-oss")
    c.op("gated", c.rows(16, 8.0), c.rows(16, 8.0), activation=1, clamp=3.0, alpha=1.702, up_offset=1.0)
    yield c
    for kind in ("add", "mul"):
        c = Case(f"{kind} rows")
        c.op(kind, c.rows(5), c.rows(5))
        yield c
        c = Case(f"{kind} one row for all")
        c.op(kind, c.rows(5), c.weight([5]))
        yield c
    for name, a in {"shift": (0.5, -1.25, 0.0), "soft-cap": (2.0, 0.5, 1.5)}.items():
        c = Case(f"scale {name}")
        c.op("scale", c.rows(6), scale=a[0], shift=a[1], soft_cap=a[2])
        yield c
    c = Case("softmax")
    c.op("softmax", c.rows(11, 8.0))
    yield c
    c = Case("normalise")
    c.op("normalise", c.rows(6))
    yield c


def shape_cases():
    c = Case("split")
    c.op("split", c.rows(9), outputs=3, widths=[4, 2, 3])
    yield c
    c = Case("concat")
    c.op("concat", c.rows(3), c.rows(1), c.rows(4))
    yield c
    c = Case("gather output rows")
    c.op("gather", c.rows(4), c.input("output_rows"))
    yield c
    for kind, name in enumerate(("mean", "first", "last"), 1):
        c = Case(f"pool {name}", steps=(((0, 0, 3), (1, 0, 1), (2, 0, 2)),), whole=True)
        c.op("pool", c.rows(5), pooling=kind)
        yield c


def moe_cases():
    plain = dict(expert_count=8, used_count=3, routing=1, renormalise=0, scale=1.0, group_count=0,
                 group_used=0, x_per_expert=0)
    kinds = {"softmax": {}, "softmax renormalised": {"renormalise": 1, "scale": 2.5}, "top then softmax": {"routing": 2},
             "sigmoid biased": {"routing": 3, "renormalise": 1}, "softmax groups": {"group_count": 4, "group_used": 2},
             "all in order": {"used_count": 8},  # of equal scores: a matrix of its own for each slice of a row
             "sigmoid groups biased": {"routing": 3, "group_count": 4, "group_used": 2, "renormalise": 1, "scale": 1.5}}
    for name, change in kinds.items():
        a = {**plain, **change}
        c = Case(f"moe {name}", steps=(((0, 0, 4),),))
        x, scores = c.rows(6), c.rows(8)
        if name == "all in order":
            scores = c.op("scale", scores, scale=0.0, shift=0.0, soft_cap=0.0)
        bias = c.weight([8]) if "biased" in name else None
        experts, weights = c.op("moe_route", scores, bias, outputs=2, **a)
        y = c.op("moe_matmul", x, c.weight([8, 5, 6]), experts, c.weight([8, 5]), **a)
        y = c.op("moe_matmul", y, c.weight([8, 4, 5]), experts, **{**a, "x_per_expert": 1})
        c.op("moe_combine", y, weights, **a)
        yield c
    for kind in ("F16", "BF16", "Q8_0", "Q4_0"):
        c = Case(f"moe weights {kind}")
        experts, weights = c.op("moe_route", c.rows(8), outputs=2, **plain)
        y = c.op("moe_matmul", c.rows(32), c.weight([8, 2, 32], kind), experts, **plain)
        c.op("moe_combine", y, weights, **plain)
        yield c


# Two sequences, one in chunks and one that begins a step later; a third begins between them; the first begins anew, over
# the state that it has left.
RECURRENT_STEPS = (((0, 0, 3),), ((0, 3, 2), (1, 0, 2)), ((0, 5, 1), (2, 0, 3), (1, 2, 1)), ((1, 3, 2), (0, 0, 2)))


def states(values):
    return {"key_type": "F32", "value_type": "F32", "block_tokens": 4,
            "groups": [{"kind": 2, "key_width": values, "value_width": 0, "window": 0, "layers": 1}]}


def scan_cases():
    plain = dict(cache_group=0, cache_layer=0, rule=1, head_count=4, group_count=2, key_width=3, value_width=5, scale=1.0)
    kinds = {"add": ({}, ()), "delta": ({"rule": 2}, ()),
             "add as Mamba-2": ({"group_count": 1, "key_width": 8, "value_width": 4}, ("bias", "skip")),
             "delta as Gated DeltaNet": ({"rule": 2, "scale": 0.5, "key_width": 4}, ("bias", "strength")),
             "delta, a step for each key": ({"rule": 2, "group_count": 4, "scale": 0.75}, ("keys", "bias", "strength")),
             "add, a step for each key": ({"head_count": 6, "group_count": 3, "value_width": 1}, ("keys", "strength")),
             "all features": ({"rule": 2, "scale": 0.25}, ("keys", "bias", "strength", "skip"))}
    for name, (change, has) in kinds.items():
        a = {**plain, **change}
        heads, keys, values = (a[of] for of in ("head_count", "key_width", "value_width"))
        steps = heads * (keys if "keys" in has else 1)
        c = Case(f"state_scan {name}", steps=RECURRENT_STEPS, cache=states(heads * keys * values))
        q, k = c.rows(a["group_count"] * keys), c.rows(a["group_count"] * keys, 0.5)  # by longer keys the delta rule grows
        v, step, rate = c.rows(heads * values), c.rows(steps), c.weight([heads], offset=-1.5)
        bias = c.weight([steps]) if "bias" in has else None
        strength = skip = None
        if "strength" in has:
            strength = c.op("unary", c.rows(heads), activation=7, clamp=0.0, alpha=1.0, up_offset=0.0)
        if "skip" in has:
            skip = c.weight([heads])
        c.op("state_scan", q, k, v, step, rate, bias, strength, skip, **a)
        yield c


def convolution_cases():
    for name, length, activation in (("", 4, 0), (" silu", 4, 1), (" of two", 2, 1), (" longer than a chunk", 6, 0)):
        c = Case(f"convolution{name}", steps=RECURRENT_STEPS, cache=states((length - 1) * 7))
        c.op("convolution", c.rows(7), c.weight([7, length]), c.weight([7]) if activation else None,
             cache_group=0, cache_layer=0, length=length, activation=activation)
        yield c


def selection():
    """LOGITS_SELECT: three rows, one masked, one with adjustments, both with a temperature; and equal logits in all."""
    vocabulary, candidates = 37, 6
    raw = np.round(uniform(4242, np.arange(3 * vocabulary)) * 16).reshape(3, vocabulary) / 4  # quarters: ties for sure
    masks = [0xFFFFFFFF, 0xFFFFFFFF, 0x0F0F00F3, 0x00000015, 0xFFFFFFFF, 0xFFFFFFFF]
    adjustments = [[2, int(np.argmax(raw[2])), 1.5, -0.25], [2, int(np.argmin(raw[2])), 2.0, 30.0], [2, 5, 1.0, 0.5]]
    temperatures = [0.0, 0.5, 2.0]
    rows = []
    for r in range(3):
        x = raw[r].copy()
        allowed = np.array([masks[r * 2 + t // 32] >> (t % 32) & 1 for t in range(vocabulary)], bool)
        x[~allowed] = -np.inf
        for row, token, repetition, bias in adjustments:
            if row == r:
                x[token] = (x[token] / repetition if x[token] > 0 else x[token] * repetition) + bias
        x = x / (temperatures[r] or 1)
        best = np.argsort(-x, kind="stable")[:candidates]
        lse = lambda v: float(np.log(np.exp(v - v.max()).sum()) + v.max())
        rows.append({"ids": best.tolist(), "adjusted": x[best].tolist(), "raw": raw[r][best].tolist(),
                     "logsumexp": [lse(raw[r]), lse(x)]})
    return {"vocabulary": vocabulary, "candidates": candidates, "logits": raw.ravel().tolist(), "masks": masks,
            "adjustments": adjustments, "temperatures": temperatures, "rows": rows}


def main():
    lines = [json.dumps(c.describe(), separators=(",", ":")) for c in cases()]
    chosen = json.dumps(selection(), separators=(",", ":"))
    with open("goldens.json", "w") as file:
        file.write('{"cases":[\n' + ",\n".join(lines) + '],\n"logits_select":' + chosen + "}\n")
    print(len(lines), "cases")


if __name__ == "__main__":
    main()
