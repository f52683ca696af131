#!/usr/bin/env python3
"""Serves the encoders of make_models.py and holds /v1/embeddings and /v1/rerank against their NumPy forward passes.
usage: http_test.py NACELLE MODELS"""
import json
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request

import numpy as np


def post(url, path, body):
    request = urllib.request.Request(url + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return json.load(error)


def check(ok, what):
    if not ok:
        raise SystemExit(f"FAILED: {what}")


def check_embeddings(url, name, golden):
    answer = post(url, "/v1/embeddings", {"model": name, "input": golden["texts"], "normalize": False})
    check("data" in answer, f"{name}: an answer, not {str(answer)[:200]}")
    got, expected = np.array([one["embedding"] for one in answer["data"]]), np.array(golden["vectors"])
    difference = np.abs(got - expected).max() / np.abs(expected).max()
    check(difference < 1e-4, f"{name}: embeddings differ by {difference:.1e}")
    unit = np.array(post(url, "/v1/embeddings", {"model": name, "input": golden["prompts"]})["data"][1]["embedding"])
    direction = expected[1] / np.linalg.norm(expected[1])
    check(np.abs(unit - direction).max() < 1e-4, f"{name}: of token ids, of length 1")
    refused = post(url, "/v1/chat/completions", {"model": name, "messages": [{"role": "user", "content": "x"}]})
    check("encoder" in json.dumps(refused) or "template" in json.dumps(refused), f"{name}: no chat ({refused['error']['message']})")
    check("cannot rerank" in json.dumps(post(url, "/v1/rerank", {"model": name, "query": "a", "documents": ["b"]})),
          f"{name}: no rerank")
    long = post(url, "/v1/embeddings", {"model": name, "input": "waa " * 200})
    check("context holds 64 tokens" in long["error"]["message"], f"{name}: too long a text ({long['error']['message']})")


def check_rerank(url, name, golden):
    body = {"model": name, "query": golden["texts"][0], "documents": golden["texts"], "return_documents": True}
    answer = post(url, "/v1/rerank", body)
    check("results" in answer, f"{name}: an answer, not {str(answer)[:200]}")
    scores = 1 / (1 + np.exp(-np.array(golden["vectors"])[:, 0]))
    got = {one["index"]: one["relevance_score"] for one in answer["results"]}
    difference = max(abs(got[i] - score) for i, score in enumerate(scores))
    check(difference < 1e-4, f"{name}: scores differ by {difference:.1e}")
    check(list(got) == list(np.argsort(-scores)), f"{name}: best first")
    check(all(one["document"]["text"] == golden["texts"][one["index"]] for one in answer["results"]), f"{name}: documents")
    check(len(post(url, "/v1/rerank", body | {"top_n": 2})["results"]) == 2, f"{name}: top_n")
    objects = body | {"documents": [{"text": text} for text in golden["texts"]]}
    check(post(url, "/v2/rerank", objects)["results"] == answer["results"], f"{name}: Cohere's path and documents")
    refused = post(url, "/v1/embeddings", {"model": name, "input": "waa"})
    check("scores pairs" in json.dumps(refused), f"{name}: no embeddings ({refused.get('error')})")


def main(program, models):
    served = {}
    for folder in sorted(models.iterdir()):
        golden = json.loads((folder / "golden.json").read_text())
        for kind, path in (("hf", folder / "hf"), ("gguf", folder / "model.gguf")):
            if golden.get("encoder") and path.exists():
                served[f"{folder.name}-{kind}"] = (path, golden)
    flags = [flag for name, (path, _) in served.items() for flag in ("--model", f"{name}={path}")]
    server = subprocess.Popen([program, "serve", "--port", "0", "--manage-port", "off", *flags], stdout=subprocess.PIPE,
                              text=True)
    try:
        for line in server.stdout:
            if "ready on " in line:
                break
        url = line.split("ready on ")[1].strip()
        for name, (_, golden) in served.items():
            (check_rerank if golden["encoder"] == "rank" else check_embeddings)(url, name, golden)
    finally:
        server.terminate()
        server.wait(timeout=60)


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]))
