#!/usr/bin/env python3
"""Writes golden/block_formats.txt: random blocks of every GGUF block format, decoded by ggml itself.

    make_block_goldens.py libggml-base.so > golden/block_formats.txt

The library is any build of ggml (llama.cpp, node-llama-cpp, ...). A line is TYPE BLOCK VALUES, both in hex, the values
as little-endian f32. Code and scale bits are random; the f16 scales go through the cases below.
"""
import ctypes
import random
import struct
import sys

FORMATS = {  # name: elements, bytes, byte offsets of the f16 scales
    "Q8_0": (32, 34, (0,)), "Q4_0": (32, 18, (0,)), "Q4_1": (32, 20, (0, 2)), "Q5_0": (32, 22, (0,)),
    "Q5_1": (32, 24, (0, 2)), "Q2_K": (256, 84, (80, 82)), "Q3_K": (256, 110, (108,)), "Q4_K": (256, 144, (0, 2)),
    "Q5_K": (256, 176, (0, 2)), "Q6_K": (256, 210, (208,)), "IQ4_NL": (32, 18, (0,)), "IQ4_XS": (256, 136, (0,)),
    "MXFP4": (32, 17, ()),
}
# Pairs of scale and min: usual, negative, both zeros, the largest, the smallest normal and subnormal f16.
SCALES = [(0.0123, 0.0456), (-0.031, 0.75), (0.0, -0.0), (-0.0, 1.0), (65504.0, -65504.0), (2.0**-24, 2.0**-14)]
EXPONENTS = [0, 1, 2, 127, 121, 253, 254, 255]  # of MXFP4's scale byte


def block(name, case, rng):
    _, size, scales = FORMATS[name]
    data = bytearray(rng.randbytes(size))
    if name == "MXFP4":
        data[0] = EXPONENTS[case]
    for at, value in zip(scales, SCALES[case % len(SCALES)]):
        data[at:at + 2] = struct.pack("<e", value)
    return bytes(data)


def main():
    ggml = ctypes.CDLL(sys.argv[1])
    rng = random.Random(1)
    for name, (elements, _, _) in FORMATS.items():
        decode = getattr(ggml, "dequantize_row_" + (name[:-1].lower() + "K" if name.endswith("_K") else name.lower()))
        for case in range(len(EXPONENTS) if elements == 32 else len(SCALES)):
            data = block(name, case, rng)
            values = (ctypes.c_float * elements)()
            decode(data, values, ctypes.c_int64(elements))
            print(name, data.hex(), bytes(values).hex())


if __name__ == "__main__":
    main()
