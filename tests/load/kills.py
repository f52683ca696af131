"""SIGKILL in bad moments: of the server while it loads a model and the draft beside it, and of clients amid their streams."""
import asyncio
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import tempfile

import client
import server
from soak import settled

QUESTION = {"model": "default", "messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}
ANSWER = "The capital of France is Paris."
DEMO = server.ROOT / "models/demo/nacelle-demo-q8_0.gguf"


async def killed_load(flags, delay):
    """A server that is killed `delay` seconds after its start; whether it was up by then."""
    process = await asyncio.create_subprocess_exec(server.NACELLE, "serve", "--port", "0", "--manage-port", "off", *flags,
                                                   stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL)
    await asyncio.sleep(delay)
    process.kill()
    return b"ready on" in (await process.communicate())[0]


# A client of its own process: reads some events, says so, and reads on until it is killed.
CLIENT = """
import http.client, json, sys
connection = http.client.HTTPConnection(sys.argv[1])
connection.request("POST", "/v1/chat/completions", sys.argv[2], {"Content-Type": "application/json"})
answer = connection.getresponse()
for i in range(6): answer.readline()
print("reading", flush=True)
while answer.readline(): pass
"""


async def killed_clients(one, count):
    """Streams whose readers are killed; returns requests that the engine still holds afterwards."""
    body = json.dumps({**QUESTION, "stream": True, "max_tokens": 900, "ignore_eos": True})
    readers = [subprocess.Popen([sys.executable, "-c", CLIENT, one.url.netloc, body], stdout=subprocess.PIPE) for _ in range(count)]
    for reader in readers:
        await asyncio.to_thread(reader.stdout.readline)
        os.kill(reader.pid, signal.SIGKILL)
        reader.wait()
    await settled(one)
    metrics = await one.metrics()
    return metrics["nacelle_num_requests_running"] + metrics["nacelle_num_requests_waiting"]


async def kills(options):
    dice = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as folder:
        # What a load leaves on disk: packed weights of both models, and verdicts on kernels.
        flags = ["--model", f"chat={DEMO}", "--draft-model", str(DEMO), "--packed-cache", folder]
        ups = []
        for _ in range(options.kills):
            if dice.random() < 0.5:  # else it finds what the killed ones before it left
                for path in pathlib.Path(folder).iterdir():
                    path.unlink()
            ups.append(await killed_load(flags, dice.uniform(0.005, 0.08)))
        left = sorted(path.name for path in pathlib.Path(folder).iterdir())
        async with server.started(*flags) as one:
            answer = await client.ask(one.url, "/v1/chat/completions", {**QUESTION, "model": "chat"})
            said = answer.json()["choices"][0]["message"]["content"] if answer.status == 200 else answer.body.decode()
    async with server.started() as one:
        held = await killed_clients(one, 8)
        after = await client.ask(one.url, "/v1/chat/completions", QUESTION)
    return {"killed_loads": len(ups), "up_by_then": sum(ups), "left_on_disk": left, "answer": said, "held": held}, [
        ("after kills amid a load with a draft model the next start answers", said == ANSWER),
        ("the kills met loads", sum(ups) < len(ups)),
        ("killed clients leave nothing running", held == 0),
        ("the next client is answered", after.status == 200 and ANSWER in after.body.decode()),
    ]
