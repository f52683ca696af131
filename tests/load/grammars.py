"""Grammars that cost much: what others' streams notice of clients that ask for them without end."""
import asyncio
import itertools
import random

import client
from rates import one_stream, target
from soak import TIMED, milliseconds


def nested(depth):
    pattern = "[a-z]{1,9}"
    for _ in range(depth):
        pattern = f"({pattern}){{1,9}}"
    return pattern


def properties(n):
    """Patterns that take an automaton of thousands of states each, to be compiled and minimised."""
    patterns = {f"p{i}": {"type": "string", "pattern": f"^(a|b)*a(a|b){{13}}x{n}y{i}$", "minLength": 2} for i in range(11)}
    return {"type": "object", "properties": patterns}


# By what is costly. `n`: of the round, so that no grammar is known from an earlier one.
HOSTILE = {
    "compiling": lambda n: {"guided_json": properties(n)},
    "each token": lambda n: {"guided_regex": f"Q{n}: {nested(9)}"},
    "each mask": lambda n: {"guided_grammar": f'root ::= "{n}"?' + " [A-Za-z ]" * 3000},
    "the first token": lambda n: {"guided_grammar": "root ::=" + " r" * (3_000 + n) + "\nr ::= [a-z]?"},
}


async def hostile(url, model, more, numbers, until, ends):
    """One request after the other; `ends` counts how they ended."""
    while asyncio.get_running_loop().time() < until:
        body = {"model": model, "prompt": "Once", "max_tokens": 64, "temperature": 1.5, "stream": True, **more(next(numbers))}
        answer = await client.ask(url, "/v1/completions", body)
        how = "whole" if answer.finished() else str(answer.status)
        if answer.status == 200 and how != "whole":
            how = "error in the stream"
        ends[how] = ends.get(how, 0) + 1
        if answer.status == 429:
            await asyncio.sleep(0.1)


async def case(url, model, options, more, clients):
    """Gaps of four streams beside so many hostile clients."""
    loop = asyncio.get_running_loop()
    numbers, ends, answers = itertools.count(1), {}, []
    until = loop.time() + options.seconds
    bad = [asyncio.create_task(hostile(url, model, more, numbers, until, ends)) for _ in range(clients)]
    await asyncio.sleep(0.3 if clients else 0)
    lag = client.Lag()
    watch = asyncio.create_task(lag.watch())
    while loop.time() < until:
        await asyncio.gather(*(one_stream(url, model, options, random.Random(i), 0, answers) for i in range(4)))
    watch.cancel()
    await asyncio.gather(*bad)
    gaps = [after - before for answer in answers for before, after in zip(answer.tokens(), answer.tokens()[1:])]
    first = [answer.tokens()[0] - answer.begin for answer in answers if answer.tokens()]
    return {"clients": clients, "ended": ends, "first_token_ms": milliseconds(first, 0.5, 0.99, 1), "inter_token_ms": milliseconds(gaps, 0.5, 0.99, 1),
            "own_lag_ms": round(lag.worst * 1000, 1), "whole": all(answer.finished() for answer in answers)}


async def grammars(options):
    options.requests = 1
    rows = {}
    async with target(options, "--max-sequences=32", "--no-speculation") as (url, model, _):
        rows["none"] = await case(url, model, options, None, 0)
        for name, more in HOSTILE.items():
            rows[name] = await case(url, model, options, more, options.hostile)
        ids = [300, 301, 302]
        after = await client.ask(url, "/v1/completions", {"model": model, "prompt": ids, "max_tokens": 4})
    return {"rows": rows}, [
        ("the others' answers are whole, and the server goes on", after.status == 200 and all(row["whole"] for row in rows.values())),
        ("the 99th percentile of gaps between tokens grows by 10 ms at most",
         all(row["inter_token_ms"]["p99"] < rows["none"]["inter_token_ms"]["p99"] + 10 for row in rows.values()), TIMED),
        ("nobody waits half a second for a first token",
         all(row["first_token_ms"]["p100"] < 500 for row in rows.values()), TIMED)]
