"""Writes models in both file formats: GGUF (v3) and Hugging Face's folder of config.json and model.safetensors.

An implementation of its own, so that it shares no mistake with core/formats."""
import json
import pathlib
import struct

import numpy as np

ALIGNMENT = 32
GGUF_TYPES = {"float32": 0, "float16": 1, "mxfp4": 39}
SAFETENSORS_TYPES = {"float32": "F32", "float16": "F16", "uint8": "U8", "int8": "I8", "int32": "I32", "int64": "I64"}


class Packed:
    """A tensor whose elements are not NumPy's: its type in GGUF or safetensors, its shape in elements, its bytes."""

    def __init__(self, kind, shape, data):
        self.kind, self.shape, self.data = kind, shape, data


def _text(text):
    data = text.encode()
    return struct.pack("<Q", len(data)) + data


def _value(value):
    """(type id, bytes) of a metadata value. Whole numbers are u32, or i32 in lists; others f32."""
    if isinstance(value, bool):
        return 7, struct.pack("<?", value)
    if isinstance(value, int):
        return 4, struct.pack("<I", value)
    if isinstance(value, float):
        return 6, struct.pack("<f", value)
    if isinstance(value, str):
        return 8, _text(value)
    whole = isinstance(value[0], int) and not isinstance(value[0], bool)
    items = [(5, struct.pack("<i", item)) if whole else _value(item) for item in value]
    return 9, struct.pack("<IQ", items[0][0], len(items)) + b"".join(data for _, data in items)


def write_gguf(path, keys, tensors):
    head = struct.pack("<4sIQQ", b"GGUF", 3, len(tensors), len(keys))
    for key, value in keys.items():
        kind, data = _value(value)
        head += _text(key) + struct.pack("<I", kind) + data
    place, blobs = 0, []
    for name, tensor in tensors.items():
        packed = isinstance(tensor, Packed)
        kind = tensor.kind if packed else str(tensor.dtype)
        blob = tensor.data if packed else np.ascontiguousarray(tensor).tobytes()
        shape = tensor.shape[::-1]
        head += _text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape)
        head += struct.pack("<IQ", GGUF_TYPES[kind], place)
        blobs.append(blob + bytes(-len(blob) % ALIGNMENT))
        place += len(blobs[-1])
    head += bytes(-len(head) % ALIGNMENT)
    pathlib.Path(path).write_bytes(head + b"".join(blobs))


def write_huggingface(folder, config, tensors):
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    write_safetensors(folder / "model.safetensors", tensors)


def write_safetensors(path, tensors):
    header, place, blobs = {}, 0, []
    for name, tensor in tensors.items():
        packed = isinstance(tensor, Packed)
        blob = tensor.data if packed else np.ascontiguousarray(tensor).tobytes()
        header[name] = {"dtype": tensor.kind if packed else SAFETENSORS_TYPES[str(tensor.dtype)], "shape": list(tensor.shape),
                        "data_offsets": [place, place + len(blob)]}
        place += len(blob)
        blobs.append(blob)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    pathlib.Path(path).write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def byte_tokens(size):
    """Three special ones, the bytes, then made-up words."""
    texts = ["<unk>", "<s>", "</s>"] + [f"<0x{i:02X}>" for i in range(256)]
    return texts + [f"\u2581w{i}" for i in range(size - len(texts))]


def byte_tokenizer(size):
    """tokenizer.json of a SentencePiece vocabulary of `size` tokens."""
    texts = byte_tokens(size)
    special = [{"id": i, "content": text, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
                "normalized": False} for i, text in enumerate(texts[:3])]
    spaces = [{"type": "Prepend", "prepend": "\u2581"}, {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]
    back = [{"type": "Replace", "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0}]
    return json.dumps({"version": "1.0", "added_tokens": special, "normalizer": {"type": "Sequence", "normalizers": spaces},
                       "pre_tokenizer": None, "post_processor": None, "decoder": {"type": "Sequence", "decoders": back},
                       "model": {"type": "BPE", "unk_token": "<unk>", "byte_fallback": True, "fuse_unk": True, "merges": [],
                                 "vocab": {text: i for i, text in enumerate(texts)}}})


def byte_vocabulary(size):
    """GGUF keys of the same vocabulary."""
    texts = byte_tokens(size)
    return {"tokenizer.ggml.model": "llama", "tokenizer.ggml.tokens": texts,
            "tokenizer.ggml.scores": [0.0] * 259 + [-float(i) for i in range(1, size - 258)],
            "tokenizer.ggml.token_type": [2, 3, 3] + [6] * 256 + [1] * (size - 259),
            "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2, "tokenizer.ggml.unknown_token_id": 0}
