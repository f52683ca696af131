"""What a number of streams get: tokens a second, first token, gaps; a shared prefix; what the host costs beside kernels."""
import asyncio
import contextlib
import random
import re
import statistics
import tempfile
import time

import client
import server
from soak import PERSON, TIMED, milliseconds


@contextlib.asynccontextmanager
async def target(options, *flags):
    """(url, model, the server that is ours or None)"""
    if options.url:
        yield client.parse(options.url), options.model, None
        return
    async with server.started(*flags, *options.server_flag) as one:
        yield one.url, options.model, one


def completion(model, prompt, output):
    return {"model": model, "prompt": prompt, "max_tokens": output, "temperature": 0, "ignore_eos": True, "stream": True,
            "stream_options": {"include_usage": True}}


async def one_stream(url, model, options, dice, delay, answers):
    await asyncio.sleep(delay)
    for _ in range(options.requests):
        prompt = [dice.randrange(*options.ids) for _ in range(options.prompt)]
        answers.append(await client.ask(url, "/v1/completions", completion(model, prompt, options.output)))


async def rate(url, model, options, streams, start, alone):
    """One row of the table. `alone`: seconds that a request took by itself, of which random starts span a quarter a stream."""
    dice = random.Random(f"{options.seed}-{streams}-{start}")
    lag = client.Lag()
    watch = asyncio.create_task(lag.watch())
    answers = []
    begin = time.perf_counter()
    await asyncio.gather(*(one_stream(url, model, options, random.Random(dice.random()),
                                      dice.uniform(0, alone * streams / 4) if start == "random" else 0, answers)
                           for _ in range(streams)))
    seconds = time.perf_counter() - begin
    watch.cancel()
    wrong = [answer for answer in answers if not answer.finished()]
    tokens = [answer.usage().get("completion_tokens", 0) for answer in answers]
    first, gaps = [], []
    for answer in answers:
        times = answer.tokens()
        if times:
            first.append(times[0] - answer.begin)
            gaps += [after - before for before, after in zip(times, times[1:])]
    return {"streams": streams, "start": start, "tokens_per_second": round(sum(tokens) / seconds, 1),
            "first_token_ms": milliseconds(first, 0.5, 0.99), "inter_token_ms": milliseconds(gaps, 0.5, 0.99, 1),
            "own_lag_ms": round(lag.worst * 1000, 1), "seconds": round(seconds, 2),
            "whole": len(answers) - len(wrong), "requests": len(answers),
            "right_length": sum(count == options.output for count in tokens)}


async def rates(options):
    rows = []
    starts = ("step", "random") if options.start == "both" else (options.start,)
    async with target(options, "--no-prefix-cache") as (url, model, _):
        begin = time.perf_counter()
        warm = []
        await one_stream(url, model, options, random.Random("warm"), 0, warm)
        alone = (time.perf_counter() - begin) / options.requests
        for streams in options.streams:
            for start in starts:
                rows.append(await rate(url, model, options, streams, start, alone))
    return {"url": options.url, "prompt": options.prompt, "output": options.output, "rows": rows}, [
        ("every answer is whole and as long as asked", all(row["right_length"] == row["requests"] for row in rows))]


async def prefix(options):
    """TTFT behind a system prompt of 1,000 tokens, fresh and shared; medians of rounds with prompts of their own."""
    async with target(options) as (url, model, one):
        context = (await one.model())[1] if one else 2048
        length = min(1000, context - 24)  # the demo model holds 1,024, answer included
        pairs = []
        for round_ in range(5):
            dice = random.Random(f"{options.seed}-{round_}")
            system = [dice.randrange(*options.ids) for _ in range(length)]
            times = []
            for _ in range(2):
                question = [dice.randrange(*options.ids) for _ in range(8)]
                answer = await client.ask(url, "/v1/completions", completion(model, system + question, 4))
                if not answer.finished():
                    raise RuntimeError(f"status {answer.status}: {answer.body[:300]}")
                times.append(answer.tokens()[0] - answer.begin)
            pairs.append((*times, answer.usage()["prompt_tokens_details"]["cached_tokens"]))
    first, second = (statistics.median(pair[i] for pair in pairs) for i in (0, 1))
    return {"prompt": length, "first_ms": round(first * 1000, 2), "second_ms": round(second * 1000, 2),
            "ratio": round(second / first, 4), "cached_tokens": [pair[2] for pair in pairs]}, [
        ("the prefix is found", all(pair[2] > 0.9 * length for pair in pairs)),
        ("the second client's first token comes in a tenth of the first's time", second < first / 10, TIMED)]


# Cases of overhead: what is asked. One stream: host time a token. Many: the server's CPU time outside the kernels.
PEOPLE = {"type": "json_schema", "json_schema": {"name": "people", "strict": True, "schema": {
    "type": "array", "items": PERSON, "minItems": 12}}}
CASES = [
    ("greedy", 1, {"temperature": 0, "ignore_eos": True}),
    ("top_p and JSON schema", 1, {"temperature": 1.0, "top_p": 0.9, "response_format": PEOPLE}),
    ("greedy", 64, {"temperature": 0, "ignore_eos": True}),
]


async def talk(url, options, more, until, output):
    dice = random.Random(time.monotonic())
    while time.monotonic() < until:
        prompt = [dice.randrange(*options.ids) for _ in range(16)]
        answer = await client.ask(url, "/v1/completions", {**completion("default", prompt, output), "ignore_eos": False, **more})
        if not answer.finished():
            raise RuntimeError(f"status {answer.status}: {answer.body[:300]} {answer.events[-1:]}")


async def overhead_case(one, options, name, streams, more):
    seconds, output = max(1, min(10, options.seconds / 10)), 200 if streams == 1 else options.output
    await talk(one.url, options, more, time.monotonic() + 0.01, output)  # what is compiled and learnt once: masks of a schema
    await asyncio.sleep(0.05)
    metrics, cpu = await one.metrics(), one.cpu_by_thread()
    begin = time.monotonic()
    await asyncio.gather(*(talk(one.url, options, more, begin + seconds, output) for _ in range(streams)))
    passed = time.monotonic() - begin
    cpu_after = one.cpu_by_thread()  # before the metrics are asked for, which costs the server something too
    after = await one.metrics()
    delta = {key: after[key] - metrics.get(key, 0) for key in after}
    spent = {thread: cpu_after[thread] - cpu.get(thread, 0) for thread in cpu_after}
    reader = await reader_time(one, options, more, output, seconds / 2) if streams == 1 else None
    tokens = delta["nacelle_generation_tokens_total"]
    phases = {phase: delta[f"nacelle_step_seconds_total:{phase}"] for phase in ("plan", "device", "sample", "draft")}
    # Those that compute: the team's, by name, and the engine's own, the busiest of the rest. All others are the server's.
    team = {thread for thread in spent if thread[1].startswith("nacelle-")}
    engine = max(set(spent) - team, key=spent.get)
    others = sum(seconds for thread, seconds in spent.items() if thread not in team and thread != engine)
    own = delta["nacelle_engine_cpu_seconds_total"]
    host = own + others
    return {"case": name, "streams": streams, "tokens": tokens, "steps": delta["nacelle_engine_steps_total"],
            "speculated_tokens": delta["nacelle_spec_decode_num_accepted_tokens_total"],
            **{f"{phase}_us_a_token": round(value / tokens * 1e6, 2) for phase, value in phases.items()},
            "engine_us_a_token": round(own / tokens * 1e6, 2),
            # Wall time, so also what a woken thread or reader took from the engine: with one stream all but kernels.
            "beside_device_us_a_step": round((passed - phases["device"]) / delta["nacelle_engine_steps_total"] * 1e6, 2),
            "other_threads_us_a_token": round(others / tokens * 1e6, 2),
            "host_us_a_token": round(host / tokens * 1e6, 2),
            "of_it_the_readers_us": reader and round(reader * 1e6, 2),
            "cpu_s": round(sum(spent.values()), 2), "share_outside_kernels": round(host / sum(spent.values()), 4)}


async def reader_time(one, options, more, output, seconds):
    """Of the server's CPU time, what the kernel does for the reader: on the loopback device a send also runs the receiver's
    half of TCP and wakes it, in softirqs of the sender's time. Seconds a token of one stream, with some 1 us of perf's own in
    them; None without perf or its rights."""
    with tempfile.NamedTemporaryFile() as file:
        events = [word for event in ("entry", "exit") for word in ("-e", f"irq:softirq_{event}", "--filter", "vec==3")]
        quiet = {"stdout": asyncio.subprocess.DEVNULL, "stderr": asyncio.subprocess.DEVNULL}
        talking = asyncio.create_task(talk(one.url, options, more, time.monotonic() + seconds, output))
        await asyncio.sleep(0.2)  # the prompt is over
        try:
            perf = await asyncio.create_subprocess_exec("perf", "record", *events, "-p", str(one.process.pid), "-o", file.name,
                                                        "--", "sleep", str(max(0.2, seconds - 0.5)), **quiet)
        except OSError:
            perf = None
        failed = not perf or await perf.wait() != 0
        await talking
        if failed:
            return None
        script = await asyncio.create_subprocess_exec("perf", "script", "-i", file.name, "--ns", "-F", "tid,time,event",
                                                      **{**quiet, "stdout": asyncio.subprocess.PIPE})
        text = (await script.communicate())[0].decode()
    begun, spans = {}, []
    for thread, at, event in re.findall(r"(\d+)\s+([\d.]+):\s+irq:softirq_(\w+):", text):
        if event == "entry":
            begun[thread] = float(at)
        elif thread in begun:
            spans.append(float(at) - begun.pop(thread))
    return statistics.mean(spans) if spans else None  # a send a token


async def overhead(options):
    rows = []
    async with server.started("--max-sequences", "64", "--no-speculation", *options.server_flag) as one:
        for name, streams, more in CASES:
            try:
                rows.append(await overhead_case(one, options, name, streams, more))
            except RuntimeError as error:  # as where a made-up vocabulary cannot spell JSON
                rows.append({"case": name, "streams": streams, "failed": str(error)})
    alone = [row for row in rows if row["streams"] == 1 and "failed" not in row]
    many = [row for row in rows if row["streams"] > 1 and "failed" not in row]
    return {"rows": rows}, [
        ("each case runs", len(alone) + len(many) == len(CASES)),
        ("host time a token is under 50 us at batch 1", all(row["host_us_a_token"] < 50 for row in alone), TIMED),
        ("without what the kernel does in it for the reader on the same machine, too",
         all(row["host_us_a_token"] - (row["of_it_the_readers_us"] or 0) < 50 for row in alone), TIMED),
        ("with 64 streams the server's CPU time outside the kernels is under a tenth",
         all(row["share_outside_kernels"] < 0.1 for row in many), TIMED)]
