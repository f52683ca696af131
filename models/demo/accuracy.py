#!/usr/bin/env python3
"""How many held-out questions each file of the model answers to the last character, by Nacelle: docs/compression.md.

    python3 make_corpus.py --out data
    accuracy.py --nacelle build/release/bin/nacelle --data data [--limit N] FILE...

Prints one line a file: right answers, questions, share. check.py does the same by llama.cpp, by category."""
import argparse, concurrent.futures, json, os, re, subprocess, sys, urllib.request
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from chat_format import render
from make_corpus import good_story


class Server:
    def __init__(self, program, model):
        self.process = subprocess.Popen([program, "serve", "--model", model, "--port", "0", "--manage-port", "off", "--log-level", "error"],
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in self.process.stdout:
            found = re.search(r"ready on (http://[\w.:\[\]-]+:\d+)", line)
            if found:
                self.url = found[1]
                return
        raise SystemExit(f"{model}: the server did not start")

    def answer(self, prompt):
        body = {"model": json.loads(urllib.request.urlopen(self.url + "/v1/models").read())["data"][0]["id"],
                "prompt": prompt, "temperature": 0, "max_tokens": 200}
        request = urllib.request.Request(self.url + "/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
        return json.loads(urllib.request.urlopen(request).read())["choices"][0]["text"]


def is_right(question, answer):
    if question["cat"] == "story":
        return good_story(answer, question["messages"][-1]["content"])
    return answer == question["expect"]


def main():
    options = argparse.ArgumentParser()
    options.add_argument("--nacelle", required=True)
    options.add_argument("--data", default="data")
    options.add_argument("--limit", type=int, default=0)
    options.add_argument("files", nargs="+")
    options = options.parse_args()
    with open(os.path.join(options.data, "heldout.jsonl")) as lines:
        questions = [json.loads(line) for line in lines]
    if options.limit:
        questions = questions[::len(questions) // options.limit]
    prompts = ["".join(text for _, text in render(q["messages"], q.get("tools"), gen=True)) for q in questions]
    for file in options.files:
        server = Server(options.nacelle, file)
        try:
            with concurrent.futures.ThreadPoolExecutor(16) as pool:
                right = sum(map(is_right, questions, pool.map(server.answer, prompts)))
        finally:
            server.process.terminate()
        print(f"{os.path.basename(file):40s} {right:4d}/{len(questions)} {100 * right / len(questions):5.1f} %", flush=True)


if __name__ == "__main__":
    main()
