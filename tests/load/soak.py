"""Hundreds of streaming clients, good and bad ones, for minutes; and drains in the midst of such traffic."""
import asyncio
import collections
import random
import statistics
import time

import client
import server

QUESTIONS = ["What is the capital of France?", "Hello!", "What is two plus two?", "Tell me about the sea.",
             "Who wrote this?", "Count to ten.", "What colour is the sky?", "Say something kind."]
PERSON = {"type": "object", "properties": {"name": {"type": "string", "maxLength": 20}, "age": {"type": "integer"}},
          "required": ["name", "age"], "additionalProperties": False}
MAX_BODY = 1_000_000
NO_END = {"2043": -100}  # the demo model's <|endoftext|>: past its end it may repeat that, and tokens without text look like a stall
TIMED = "timed"  # see run


def chat(dice, **more):
    content = " ".join(dice.choices(QUESTIONS, k=dice.randint(1, 4)))
    return {"model": "default", "messages": [{"role": "user", "content": content}], "stream": True,
            "max_tokens": dice.randint(16, 200), "ignore_eos": True, "logit_bias": NO_END, "seed": dice.randint(0, 99999), **more}


def whole(answer):
    return answer.finished()


def left(answer):
    return answer.ended == "left" or answer.finished()  # it may have been done before we could go


def refusal(status):
    return lambda answer: answer.status == status and answer.is_error()


def leaving(dice):
    count = dice.randint(1, 30)
    return lambda events: events >= count


# What clients do: how often, the path, the body, how the connection behaves, and what a right end is.
BEHAVIOURS = [
    ("stream", 40, "/v1/chat/completions", lambda d: chat(d), lambda d: {}, whole),
    ("sampled", 10, "/v1/chat/completions", lambda d: chat(d, temperature=0.9, top_p=0.8, top_k=40), lambda d: {}, whole),
    ("messages", 10, "/v1/messages", lambda d: {k: v for k, v in chat(d).items() if k not in ("ignore_eos", "logit_bias", "seed")},
     lambda d: {}, whole),
    ("schema", 8, "/v1/chat/completions", lambda d: chat(d, ignore_eos=False, temperature=1.0, response_format={
        "type": "json_schema", "json_schema": {"name": "person", "strict": True, "schema": PERSON}}), lambda d: {}, whole),
    ("unstreamed", 5, "/v1/chat/completions", lambda d: chat(d, stream=False), lambda d: {},
     lambda a: a.status == 200 and a.ended == "whole" and a.json()["choices"][0]["finish_reason"] in ("stop", "length")),
    ("cancel", 10, "/v1/chat/completions", lambda d: chat(d), lambda d: {"leave": leaving(d)}, left),
    ("reset", 5, "/v1/chat/completions", lambda d: chat(d), lambda d: {"leave": leaving(d), "reset": True}, left),
    ("slow", 5, "/v1/chat/completions", lambda d: chat(d), lambda d: {"dawdle": lambda: d.random() * 0.2}, whole),
    ("long prompt", 3, "/v1/chat/completions", lambda d: chat(d, messages=[{"role": "user", "content": "word " * 5000}]),
     lambda d: {}, refusal(400)),
    ("large body", 1, "/v1/chat/completions", lambda d: b"x" * (MAX_BODY + 1), lambda d: {}, refusal(413)),
    ("bad JSON", 2, "/v1/chat/completions", lambda d: b'{"model": "default", "messages": [', lambda d: {}, refusal(400)),
    ("bad field", 1, "/v1/chat/completions", lambda d: chat(d, max_tokens="many"), lambda d: {}, refusal(400)),
    ("no such model", 1, "/v1/completions", lambda d: {"model": "absent", "prompt": "x"}, lambda d: {}, refusal(404)),
]


class Tally:
    """What the clients saw."""

    def __init__(self, lag):
        self.lag = lag
        self.ends = collections.defaultdict(collections.Counter)
        self.wrong = []
        self.gaps, self.first_tokens = [], []
        self.begin = time.perf_counter()
        self.stall = 0.0  # the longest gap, less what this program itself was late
        self.stalls = []  # (seconds since the begin, gap, behaviour) of those over half a second
        self.tokens = 0

    def add(self, name, answer, is_right):
        busy = answer.status in (429, 503) and answer.is_error() and "retry-after" in answer.headers
        right = busy or is_right(answer)
        self.ends[name]["busy" if busy else answer.status or answer.ended] += 1
        if not right and len(self.wrong) < 20:
            last = answer.events[-1][1] if answer.events else answer.body
            self.wrong.append(f"{name}: status {answer.status}, {answer.ended}, {len(answer.events)} events, "
                              f"{last[:200].decode(errors='replace')}")
        times = answer.tokens()
        if not times or name == "slow":
            return
        self.tokens += len(times)
        self.first_tokens.append(times[0] - answer.begin)
        for before, after in zip(times, times[1:]):
            self.gaps.append(after - before)
            if after - before > min(0.5, self.stall):
                stall = after - before - self.lag.within(before, after)
                self.stall = max(self.stall, stall)
                if stall > 0.5:
                    self.stalls.append((round(before - self.begin, 2), round(stall, 2), name))


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))] if values else 0.0


def milliseconds(values, *shares):
    return {f"p{share * 100:g}": round(percentile(values, share) * 1000, 2) for share in shares}


async def one_client(url, dice, tally, until):
    weights = [row[1] for row in BEHAVIOURS]
    while time.monotonic() < until:
        name, _, path, body, behaviour, is_right = dice.choices(BEHAVIOURS, weights)[0]
        tally.add(name, await client.ask(url, path, body(dice), **behaviour(dice)), is_right)


def growth(samples):
    """Of resident memory from the second quarter to the last, in bytes: the first one fills caches."""
    quarter = len(samples) // 4
    return statistics.median(samples[-quarter:]) - statistics.median(samples[quarter:2 * quarter])


async def soak(options):
    # Blocks for all of them, as a preempted sequence waits longer than a second for its turn; their memory is touched, and
    # the cache full of prefixes, before the first quarter is over.
    flags = ["--max-sequences", str(options.clients), "--cache-tokens", str(options.clients * options.tokens_a_client), "--max-body-bytes",
             str(MAX_BODY), *options.server_flag]
    async with server.started(*flags) as one:
        lag = client.Lag()
        watch = asyncio.create_task(lag.watch())
        tally = Tally(lag)
        until = time.monotonic() + options.seconds
        clients = [asyncio.create_task(one_client(one.url, random.Random(f"{options.seed}-{i}"), tally, until))
                   for i in range(options.clients)]
        memory = []
        while time.monotonic() < until:
            await asyncio.sleep(min(1.0, options.seconds / 40))
            memory.append(one.memory())
        hung = (await asyncio.wait(clients, timeout=60))[1]
        for task in hung:
            task.cancel()
        for task in set(clients) - hung:
            task.result()  # a fault of this program is no finding
        watch.cancel()
        await settled(one)
        metrics = await one.metrics()
        requests = sum(sum(ends.values()) for ends in tally.ends.values())
        grown = growth(memory)
        return {
            "clients": options.clients, "seconds": options.seconds, "requests": requests,
            "ends": {name: {str(k): n for k, n in ends.items()} for name, ends in sorted(tally.ends.items())},
            "output_tokens_per_second": round(tally.tokens / options.seconds, 1),
            "first_token_ms": milliseconds(tally.first_tokens, 0.5, 0.99),
            "inter_token_ms": milliseconds(tally.gaps, 0.5, 0.99, 0.999, 1),
            "longest_stall_ms": round(tally.stall * 1000, 1), "stalls": sorted(tally.stalls)[:20], "own_lag_ms": round(lag.worst * 1000, 1),
            "memory_mb": [round(b / 1e6, 1) for b in memory[::max(1, len(memory) // 12)]],
            "memory_growth_mb": round(grown / 1e6, 2),
            "preemptions": metrics["nacelle_num_preemptions_total"], "wrong": tally.wrong,
        }, [
            ("every request ends with a whole answer or a clear error", not tally.wrong),
            ("no client waits for ever", not hung),
            ("no stall over 1 s", tally.stall < 1.0, TIMED),
            ("memory is flat", grown < max(2e6, 0.03 * memory[-1]), *([TIMED] if options.sanitized else [])),
            ("nothing is left behind", metrics["nacelle_num_requests_running"] == 0 and
             metrics["nacelle_num_requests_waiting"] == 0 and metrics["nacelle_kv_cache_usage_perc"] < 0.01),
            ("the server lives", one.process.returncode is None),
        ]


async def settled(one):
    """Waits until no request is under way, 10 s at most."""
    for _ in range(100):
        metrics = await one.metrics()
        if metrics["nacelle_num_requests_running"] + metrics["nacelle_num_requests_waiting"] == 0:
            return
        await asyncio.sleep(0.1)


async def drain_once(options, dice):
    """One server that gets SIGTERM amid traffic: (answers by their end, what went wrong)."""
    ends, wrong = collections.Counter(), []
    async with server.started("--max-sequences", "16", *options.server_flag) as one:
        signalled = None

        async def traffic(own):
            while True:
                begin = time.monotonic()
                answer = await client.ask(one.url, "/v1/chat/completions", chat(own))
                refused = answer.status == 503 and answer.is_error()
                if answer.finished():
                    ends["whole"] += 1
                elif signalled and (refused or answer.ended == "refused"):
                    ends["refused"] += 1
                    return
                elif signalled and answer.status is None and begin > signalled:
                    ends["unanswered, sent after the signal"] += 1  # never read by the server: the client may try again
                    return
                else:
                    wrong.append(f"status {answer.status}, {answer.ended}, {len(answer.events)} events, "
                                 f"{answer.body[:200].decode(errors='replace')}")
                    return

        clients = [asyncio.create_task(traffic(random.Random(dice.random()))) for _ in range(32)]
        await asyncio.sleep(dice.uniform(0.3, 1.0))
        signalled = time.monotonic()
        one.terminate()
        code = await asyncio.wait_for(one.process.wait(), 60)
        seconds = time.monotonic() - signalled
        hung = (await asyncio.wait(clients, timeout=10))[1]
        for task in hung:
            task.cancel()
            wrong.append("a client waits for ever")
        if code != 0:
            wrong.append(f"the server ended with {code}: {one.tail()}")
    return ends, wrong, seconds


async def drain(options):
    total, faults, times = collections.Counter(), [], []
    dice = random.Random(options.seed)
    for _ in range(options.drains):
        ends, wrong, seconds = await drain_once(options, dice)
        total += ends
        faults += wrong
        times.append(round(seconds, 2))
    return {"drains": options.drains, "ends": dict(total), "seconds": times, "wrong": faults[:20]}, [
        ("no accepted request is lost, each server ends with 0", not faults),
        ("the drains met traffic", total["whole"] >= options.drains and total["refused"] > 0),
    ]
