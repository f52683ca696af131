#!/usr/bin/env python3
"""Writes every family's test models under a folder: NAME/model.gguf, NAME/hf/ and NAME/golden.json, the logits of its NumPy
forward pass; a decoder's NAME/lora/ and NAME/lora.gguf are an adapter in both formats, where it has experts NAME/lora-module/ and
NAME/lora-module-old/ are the same again, and NAME/lora-other/ is another one; NAME/refused/N/ has a model that must not load, and
the line that says why.
usage: make_models.py FOLDER [FAMILY ...]"""
import importlib.util
import json
import pathlib
import shutil
import sys

import numpy as np

import adapters
import files
import lab

ROOT = pathlib.Path(__file__).resolve().parents[2]
LENGTHS = (1, 9, 40)  # of the prompts; the longest leaves every window


def families(only):
    for path in sorted(ROOT.glob("plugins/*/*_test.py")):
        if only and path.parent.name not in only:
            continue
        spec = importlib.util.spec_from_file_location(path.stem, path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield from module.models()


# Words of plugins/bert's vocabulary begin here; [CLS] and [SEP] are 2 and 3.
FIRST_WORD, CLS, SEP = 5, 2, 3


def encoder_golden(model, wide):
    """Texts as ids between [CLS] and [SEP]; a ranker reads each behind the first, with [SEP] between them."""
    random = np.random.default_rng(8)
    vocabulary = json.loads(model.texts["tokenizer.json"])["model"]["vocab"]
    spelling = {index: word for word, index in vocabulary.items()}
    words = [random.integers(FIRST_WORD, lab.VOCABULARY, size=n).tolist() for n in (3, 1, 17, 40)]
    prompts, seconds = [], []
    for text in words:
        start = [CLS] + (words[0] + [SEP] * model.between if model.encoder == "rank" else [])
        prompts.append(start + text + [SEP])
        seconds.append(len(start))
    vectors = [model.forward(model.config, wide, prompt, second) for prompt, second in zip(prompts, seconds)]
    return {"context": model.context, "tolerance": model.tolerance, "encoder": model.encoder, "llama_cpp": False,
            "conversion": lab.CONVERSION | {"refused": "is not written as GGUF here"},
            "texts": [" ".join(spelling[word] for word in text) for text in words], "prompts": prompts, "seconds": seconds,
            "vectors": numbers(vectors)}


def perplexity(rows, tokens):
    """Of the second half of one window, as `nacelle eval` has it."""
    first = len(tokens) // 2
    scored = rows[first:-1] - rows[first:-1].max(axis=1, keepdims=True)
    losses = np.log(np.exp(scored).sum(axis=1)) - scored[np.arange(len(scored)), tokens[first + 1:]]
    return float(np.exp(losses.mean()))


def numbers(rows):
    return [[float(f"{x:.8g}") for x in row] for row in rows]


def mean_golden(model, wide, prompts):
    """Means of the hidden rows that the head multiplies: with the identity for a head, they are the logits."""
    embedding = next((name for name in adapters.HEADS if name in wide), None)
    settings = model.config | model.config.get("text_config", {})
    if not embedding or any(settings.get(key) for key in ("logits_scaling", "logit_scale", "lm_head_multiplier", "dim_model_base",
                                                          "final_logit_softcapping")):
        return {}
    bare = wide | {adapters.HEADS[embedding]: np.eye(wide[embedding].shape[1])}
    bare.pop("lm_head.bias", None)
    return {"hidden_means": numbers(model.forward(model.config, bare, prompt).mean(axis=0) for prompt in prompts)}


def rounding_golden(model, prompts):
    """Logits of what a packed checkpoint says, before the host's rounding."""
    if not model.exact:
        return {}
    wide = {name: tensor.astype(np.float64) for name, tensor in model.exact.items()}
    return {"exact_logits": numbers(model.forward(model.config, wide, prompt)[-1] for prompt in prompts), "rounding": model.rounding}


def golden(model, adapter):
    wide = {name: tensor.astype(np.float64) for name, tensor in model.weights.items()}
    if model.encoder:
        return encoder_golden(model, wide)
    random = np.random.default_rng(7)
    prompts = [random.integers(3, lab.VOCABULARY, size=n).tolist() for n in LENGTHS]
    rows = [model.forward(model.config, wide, prompt) for prompt in prompts]
    logprobs = rows[-1][:-1] - np.logaddexp.reduce(rows[-1][:-1], axis=1, keepdims=True)
    return {"context": model.context, "tolerance": model.tolerance, "prompts": prompts,
            "refused_adapter": model.refused_adapter,
            "logits": numbers(row[-1] for row in rows),
            "lora_logits": numbers(model.forward(model.config, adapter.merged(), prompt)[-1] for prompt in prompts),
            **mean_golden(model, wide, prompts), **rounding_golden(model, prompts),
            "perplexity": perplexity(rows[-1], prompts[-1]),
            "prompt_logprobs": [float(f"{row[token]:.8g}") for row, token in zip(logprobs, prompts[-1][1:])],
            "likeliest": [float(f"{x:.8g}") for x in logprobs.max(axis=1)],
            "conversion": lab.CONVERSION | model.conversion, "llama_cpp": model.reads_like_llama_cpp,
            "llama_cpp_tolerance": model.llama_cpp_tolerance}


def edited(original, edits):
    kept = {key: value for key, value in original.items() if key not in edits}
    return kept | {key: value for key, value in edits.items() if value is not None and key in original}


def write(at, model, kind=("gguf", "hf"), edits={}):
    tensors = model.stored or model.weights
    settings = {key: value for key, value in edits.items() if not key.endswith((".weight", ".bias")) and key not in tensors}
    if "hf" in kind:
        files.write_huggingface(at / "hf", {k: v for k, v in (model.config | settings).items() if v is not None},
                                edited(tensors, edits))
        for name, text in ({"tokenizer.json": files.byte_tokenizer(lab.VOCABULARY)} | model.texts).items():
            (at / "hf" / name).parent.mkdir(exist_ok=True)
            (at / "hf" / name).write_text(text)
    if "gguf" in kind and model.gguf:
        keys = files.byte_vocabulary(lab.VOCABULARY) | model.gguf_keys
        files.write_gguf(at / "model.gguf", {k: v for k, v in (keys | settings).items() if v is not None},
                         edited(model.gguf, edits))


def main(folder, only):
    shutil.rmtree(folder, ignore_errors=True)
    for model in families(only):
        at = folder / model.name
        at.mkdir(parents=True)
        write(at, model)
        adapter = None if model.encoder else adapters.Adapter(model, 9)
        if adapter:
            adapter.write_peft(at / "lora")
            adapters.Adapter(model, 10).write_peft(at / "lora-other")
            adapter.write_module_peft(at / "lora-module", old=False)
            adapter.write_module_peft(at / "lora-module-old", old=True)
        if adapter and model.gguf and model.gguf_adapter:
            adapter.write_gguf(at / "lora.gguf")
        (at / "golden.json").write_text(json.dumps(golden(model, adapter)))
        for number, (kind, edits, error) in enumerate(model.refused):
            bad = at / "refused" / str(number)
            bad.mkdir(parents=True)
            write(bad, model, (kind,), edits)
            (bad / "error.txt").write_text(error)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), sys.argv[2:])
