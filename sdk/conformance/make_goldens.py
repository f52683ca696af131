#!/usr/bin/python3
"""Writes goldens.json: small cases of every operation with results computed here, in NumPy and float64, on their own.

Nothing is shared with the C++ sources but the rule that fills inputs and weights (`uniform` and `stored` of golden_ops.py, the same
arithmetic as sdk/conformance/random_data.cpp), so the file holds each case's description and what must come out.
Run it in this folder after changing a case: ./make_goldens.py (Debian: python3-numpy).
"""
import json

import numpy as np

from golden_ops import *


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
    yield from chunked_attention_cases()
    yield from position_scale_cases()
    yield from xielu_cases()


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
    c = Case("layer_norm group without weight")
    c.op("layer_norm", c.rows(10), epsilon=0.01, weight_offset=0.0, group=5)
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


def chunked_attention_cases():
    """Chunks of 3 and 4 in blocks of 4, with steps that begin and end within a chunk."""
    plain = dict(head_count=4, kv_head_count=2, key_width=8, value_width=8, cache_group=0, cache_layer=0, causal=1,
                 window=3, scale=0.35, soft_cap=0.0, alibi_bias=0.0)
    for name, change in {"of 3": {}, "of 4": {"window": 4}, "of 1": {"window": 1}, "all features": {
            "soft_cap": 3.0, "alibi_bias": 4.0}}.items():
        a = {**plain, **change}
        group = {"key_width": 16, "window": a["window"], "layers": 1, "value_width": 16}
        c = Case(f"chunked_attention {name}", steps=(((0, 0, 5), (1, 0, 2)), ((1, 2, 3),), ((0, 5, 4), (1, 5, 1))),
                 cache={"key_type": "F32", "value_type": "F32", "block_tokens": 4, "groups": [group]})
        q, k, v = c.rows(32), c.rows(16), c.rows(16)
        sinks = c.weight([4]) if name == "all features" else None
        c.op("chunked_attention", q, k, v, sinks, **a)
        yield c


def position_scale_cases():
    for name, a in {"from 0": (0.1, 4, 0), "from 1": (0.1, 4, 1), "downwards": (-0.5, 3, 0)}.items():
        c = Case(f"position_scale {name}", steps=(((0, 0, 9), (1, 55, 6)),))
        c.op("position_scale", c.rows(7), c.input("positions"), strength=a[0], length=a[1], offset=a[2])
        yield c


def xielu_cases():
    for name, range_ in {"": 4.0, " near 0": 0.01, " far": 100.0}.items():
        c = Case(f"xielu{name}")
        c.op("xielu", c.rows(9, range_), c.weight([4], scale=0.5, offset=-0.5))
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
             "add as Mamba": ({"head_count": 6, "group_count": 1, "key_width": 8, "value_width": 1}, ("rates", "bias", "skip")),
             "delta as Gated DeltaNet": ({"rule": 2, "scale": 0.5, "key_width": 4}, ("bias", "strength")),
             "delta, a step for each key": ({"rule": 2, "group_count": 4, "scale": 0.75}, ("keys", "bias", "strength")),
             "add, a step for each key": ({"head_count": 6, "group_count": 3, "value_width": 1}, ("keys", "strength")),
             "all features": ({"rule": 2, "scale": 0.25}, ("keys", "bias", "strength", "skip"))}
    for name, (change, has) in kinds.items():
        a = {**plain, **change}
        heads, keys, values = (a[of] for of in ("head_count", "key_width", "value_width"))
        steps = heads * (keys if "keys" in has else 1)
        rates = heads * (keys if "rates" in has else 1)
        c = Case(f"state_scan {name}", steps=RECURRENT_STEPS, cache=states(heads * keys * values))
        q, k = c.rows(a["group_count"] * keys), c.rows(a["group_count"] * keys, 0.5)  # by longer keys the delta rule grows
        v, step, rate = c.rows(heads * values), c.rows(steps), c.weight([rates], offset=-1.5)
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
