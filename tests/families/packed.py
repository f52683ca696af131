"""Matrices [N, K] as quantized checkpoints store them, each with what the host makes of it: NVFP4 (ModelOpt's and
compressed-tensors') and bitsandbytes' 4 and 8 bits. `exact` is what the checkpoint says, `loaded` that with the host's rounding, as
docs/architectures.md describes it."""
import json

import numpy as np

from files import Packed

E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6])
# QLoRA, arXiv 2305.14314, appendix E; and bitsandbytes' own float of 4 bits, in 12ths.
NF4 = np.array([-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
                -0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
                0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1])
FP4 = np.array([0, 0.0625, 8, 12, 4, 6, 2, 3, 0, -0.0625, -8, -12, -4, -6, -2, -3]) / 12


def pack(weights, random, make):
    """Puts what is loaded in the place of the projections among `weights`; (what the file has instead of all, what that says
    exactly). `make(random, stem, shape)`: (loaded, tensors, exact), or None where the projection stays as it is."""
    stored, exact = {}, {}
    for tensor in list(weights):
        stem = tensor.removesuffix(".weight")
        made = make(random, stem, weights[tensor].shape) if stem.endswith("_proj") else None
        if made:
            weights[tensor] = made[0]
        stored |= made[1] if made else {tensor: weights[tensor]}
        exact[tensor] = made[-1] if made and len(made) > 2 else weights[tensor]
    return stored, exact


def half(values):
    return np.asarray(values).astype(np.float32).astype(np.float16).astype(np.float64)


def e4m3(codes):
    """OCP's 8-bit floats, as numbers."""
    exponent, mantissa = (codes >> 3 & 15).astype(int), codes & 7
    return np.where(exponent == 0, mantissa * 2.0**-9, (8.0 + mantissa) * 2.0 ** (exponent - 10.0)) * np.where(codes & 128, -1, 1)


def six_bits(codes, scales, whole):
    """256 columns share a unit: the greatest power of two that divides all scales of 16 codes that are not all 0, or, where the
    largest scale is above 240 units then, the least for which it is not."""
    outputs, inputs = codes.shape
    blocks = codes.reshape(outputs, inputs // 256, 16, 16)
    own = np.where((E2M1[blocks] != 0).any(-1), scales.reshape(blocks.shape[:3]), 0.0)
    units = np.zeros(own.shape[:2])
    for at in np.ndindex(units.shape):
        present = own[at][own[at] != 0]
        unit = -20
        while len(present) and (present % 2.0 ** (unit + 1) == 0).all():
            unit += 1
        while len(present) and present.max() / 2.0**unit > 240:
            unit += 1
        units[at] = 2.0**unit
    integers = np.rint(own / units[..., None])
    return (E2M1[blocks] * 2 * integers[..., None] * half(whole * units / 2)[..., None, None]).reshape(codes.shape)


def eight_bits(codes, scales, whole):
    """Of two scales beside each other the larger is 20 steps; what the smaller one scales is rounded to the step."""
    pairs = scales.reshape(len(codes), -1, 2)
    present = (E2M1[codes].reshape(*pairs.shape, 16) != 0).any(-1)
    pairs = np.where(present, pairs, 0.0)
    largest = pairs.max(-1, keepdims=True)
    ratio = np.divide(pairs, largest, out=np.zeros_like(pairs), where=largest > 0)
    integers = np.rint(E2M1[codes].reshape(*pairs.shape, 16) * 20 * ratio[..., None])
    return (integers * half(largest * whole / 20)[..., None]).reshape(codes.shape)


def nvfp4(random, stem, shape, divides=False, wide=False):
    """(loaded, tensors, exact). The scales of a row of 256 span 5 powers of two, which six bits hold exactly, or, `wide`, all."""
    outputs, inputs = shape
    codes = random.generator.integers(0, 16, shape).astype(np.uint8)
    exponent = random.generator.integers(0, 14, (outputs, inputs // 16)) if wide else random.generator.integers(9, 14, (outputs, inputs // 16))
    scale_codes = (exponent << 3 | random.generator.integers(0, 8, exponent.shape)).astype(np.uint8)
    codes[:, :16] = np.where(np.arange(outputs)[:, None] % 4 == 0, 8, codes[:, :16])  # minus zero, under a scale that is far larger
    scale_codes[::4, 0] = 0x7e
    scales = e4m3(scale_codes)
    # The root of the mean square of a code is 2.9: the length of what they are applied to is then kept, as lab.Random has it.
    size = np.float32(0.5 / np.sqrt(inputs) / np.sqrt((scales[1::4] ** 2).mean()))
    whole = np.float32(1 / size) if divides else size
    factor = 1 / np.float64(whole) if divides else np.float64(whole)
    exact = E2M1[codes] * np.repeat(scales, 16, axis=1) * factor
    stored = {stem + (".weight_packed" if divides else ".weight"): codes[:, ::2] | codes[:, 1::2] << 4,
              stem + ".weight_scale": Packed("F8_E4M3", scales.shape, scale_codes.tobytes())}
    if divides:  # and what activations were to be rounded with
        stored |= {stem + ".weight_global_scale": whole.reshape(1), stem + ".input_global_scale": np.ones(1, np.float32)}
    else:
        stored |= {stem + ".weight_scale_2": whole.reshape(()), stem + ".input_scale": np.ones((), np.float32)}
    return (six_bits if inputs % 256 == 0 else eight_bits)(codes, scales, factor), stored, exact


def one_fp8(random, stem, shape):
    """(loaded, tensors, exact) of ModelOpt's FP8: one scale for the matrix."""
    codes = random.generator.integers(0, 256, shape).astype(np.uint8)
    codes[codes & 127 == 127] = 0
    scale = np.float32(0.015 / np.sqrt(shape[1]))
    exact = e4m3(codes) * np.float64(scale)
    return half(e4m3(codes).astype(np.float32) * scale), {
        stem + ".weight": Packed("F8_E4M3", shape, codes.tobytes()), stem + ".weight_scale": scale.reshape(()),
        stem + ".input_scale": np.ones((), np.float32)}, exact


def four_bits_of(table):
    """(integers, the step's inverse) that eight bits hold the 16 values as."""
    steps = (124.114, 123.93) if table is NF4 else (120, 120)  # of NF4 the second was found by trying, the first by least squares
    integers = np.rint(table * steps[1])
    integers[table == 1 / 192] = 1
    integers[table == -1 / 192] = -1
    return integers, np.float32(steps[0])


def bitsandbytes(random, stem, shape, kind="nf4", block=64, nested=True, storage=np.uint8):
    """(loaded, tensors, exact) of 4 bits. Blocks run on over the ends of rows."""
    outputs, inputs = shape
    table = NF4 if kind == "nf4" else FP4
    codes = random.generator.integers(0, 16, outputs * inputs).astype(np.uint8)
    count = -(-len(codes) // block)
    name, stored = stem + ".weight", {}
    state = {"quant_type": kind, "blocksize": block, "dtype": "bfloat16", "shape": list(shape)}
    size = 2.5 / np.sqrt(inputs)
    if nested:
        bytes_of = random.generator.integers(0, 256, count).astype(np.uint8)
        quant_map = np.sort(random.generator.uniform(-1, 1, 256)).astype(np.float32)
        outer = random.generator.uniform(0.3, 0.5, -(-count // 256)).astype(np.float32) * np.float32(size)
        offset = np.float32(size)
        absmax = quant_map[bytes_of] * np.repeat(outer, 256)[:count] + offset
        stored = {name + ".absmax": bytes_of, name + ".nested_absmax": outer, name + ".nested_quant_map": quant_map}
        state |= {"nested_blocksize": 256, "nested_dtype": "float32", "nested_offset": float(offset)}
    else:
        absmax = (random.generator.uniform(0.5, 1.5, count) * size).astype(np.float32)
        stored = {name + ".absmax": absmax}
    state_bytes = np.frombuffer(json.dumps(state).encode(), np.uint8)
    stored |= {name: (codes[::2] << 4 | codes[1::2]).view(storage).reshape(-1, 1), name + ".quant_map": table.astype(np.float32),
               f"{name}.quant_state.bitsandbytes__{kind}": state_bytes}
    integers, steps = four_bits_of(table)
    of_each = np.repeat(np.arange(count), block)[:len(codes)]
    loaded = integers[codes] * half(absmax / steps)[of_each]
    return loaded.reshape(shape), stored, (table[codes] * absmax.astype(np.float64)[of_each]).reshape(shape)


def int8_rows(random, stem, shape):
    """(loaded, tensors, exact) of bitsandbytes' 8 bits."""
    q = random.generator.integers(-127, 128, shape).astype(np.int8)
    largest = (random.generator.uniform(0.5, 1.5, shape[0]) * 2.4 / np.sqrt(shape[1])).astype(np.float32)
    return q * half(largest / np.float32(127))[:, None], {
        stem + ".weight": q, stem + ".SCB": largest, stem + ".weight_format": np.zeros((), np.uint8)
    }, q * largest.astype(np.float64)[:, None] / 127
