#!/usr/bin/env python3
"""Serves models with recurrent layers and holds answers with the prefix cache, beside others, in small chunks and with too few
states against those of one request at a time without a cache: they must be the same to the bit. Then counts what was cached.
usage: states_test.py NACELLE MODELS"""
import json
import pathlib
import random
import subprocess
import sys
import threading
import urllib.request

NAMES = ["lfm2", "qwen3-next", "kimi-linear", "mamba2", "granite-hybrid"]
BLOCK = 32  # tokens of the cpu backend's KV blocks
HEAD = 8  # tokens before the end of a prompt, where no state is kept
TURNS, ANSWER = 2, 20


class Server:
    def __init__(self, program, model, *flags):
        self.process = subprocess.Popen([program, "serve", "--model", "model=" + model, "--port", "0", "--manage-port", "off",
                                         "--context", "256", *flags], stdout=subprocess.PIPE, text=True)
        for line in self.process.stdout:
            if "ready on " in line:
                self.url = line.split("ready on ")[1].strip()
                return
        raise SystemExit(f"FAILED: the server ended with {self.process.wait()}")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def ask(self, prompt, count):
        """The answer's log-probabilities, its text, and how many tokens were cached."""
        body = {"model": "model", "prompt": prompt, "max_tokens": count, "temperature": 0, "logprobs": 1, "ignore_eos": True}
        request = urllib.request.Request(self.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=60) as reply:
            answer = json.load(reply)
        choice, usage = answer["choices"][0], answer["usage"]
        return (choice["logprobs"]["token_logprobs"], choice["text"]), usage["prompt_tokens_details"]["cached_tokens"]


def conversation(server, prompt):
    answers = []
    for turn in range(TURNS):
        answers.append(server.ask(prompt, ANSWER)[0])
        prompt = prompt + [5 + turn] * 9
    return answers


def together(server, prompts):
    answers = [None] * len(prompts)

    def run(i):
        answers[i] = conversation(server, prompts[i])
    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(prompts))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def check(ok, what):
    if not ok:
        raise SystemExit(f"FAILED: {what}")


def check_model(program, path, name):
    rng = random.Random(name)
    draw = lambda count: [rng.randrange(5, 200) for _ in range(count)]
    system = draw(100)
    prompts = [system[:rng.choice((20, 64, 100))] + draw(rng.randrange(1, 60)) for _ in range(10)]
    with Server(program, path, "--no-prefix-cache") as server:
        alone = [conversation(server, prompt) for prompt in prompts]
        check(together(server, prompts) == alone, f"{name}: answers beside others")
    for flags in ([], ["--batch-tokens", "16"], ["--max-sequences", "2"]):
        with Server(program, path, *flags) as server:
            for again in range(2):
                check(together(server, prompts) == alone, f"{name}: answers with the prefix cache and {flags}, round {again}")
    with Server(program, path) as server:
        check(server.ask(system, 1)[1] == 0, f"{name}: nothing is cached at first")
        check(server.ask(system + draw(30), 1)[1] == (100 - HEAD) // BLOCK * BLOCK, f"{name}: a prompt that goes on from another")
        server.ask(system[:50] + draw(30), 1)
        seen = server.ask(system[:50] + draw(30), 1)[1]
        check(seen == (50 // BLOCK * BLOCK if has_keys(name) else 0), f"{name}: the third that branches off at a place finds it cached, not {seen}")
        text = draw(40)
        answer = server.ask(text, 150)
        check(server.ask(text, 150)[0] == answer[0], f"{name}: the same answer again")
    return len(prompts) * TURNS


def has_keys(name):
    """Where prompts branch off is seen by their blocks of keys and values."""
    return name != "mamba2"


def main(program, models):
    found = [name for name in NAMES if (pathlib.Path(models) / name).exists()]
    check(found == NAMES, f"models of {set(NAMES) - set(found)}")
    count = sum(check_model(program, f"{models}/{name}/model.gguf", name) for name in found)
    print(f"{len(found)} models, {count} answers each way, equal to the bit")


if __name__ == "__main__":
    main(*sys.argv[1:])
