"""Connections meant to hurt: thousands that idle, headers that never end or never stop, JSON as deep as it goes."""
import asyncio
import contextlib
import pathlib
import time

import client
import server
from soak import TIMED, settled

LIMIT_SLACK = 200  # connections beyond the idle ones that the server is told to take
GOOD = {"model": "default", "messages": [{"role": "user", "content": "Hello!"}], "stream": True, "max_tokens": 20}
SUITE = pathlib.Path(__file__).resolve().parents[3] / "shared/conformance/json-test-suite/test_parsing"

LINE = b"POST /v1/chat/completions HTTP/1.1\r\n"
# Name, bytes, statuses of which the answer must have one.
BOMBS = [
    ("one header of 4 MB", LINE + b"X: " + b"a" * 4_000_000, {431}),
    ("100,000 headers", LINE + b"".join(b"X-%d: y\r\n" % i for i in range(100_000)) + b"\r\n", {431}),
    ("a target of 1 MB", b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\n\r\n", {431, 400, 414}),
    ("no line at all", b"a" * 1_000_000, {431, 400}),
    ("NUL bytes", LINE + b"X\0: y\r\n\r\n", {400}),
    ("a header folded a thousand times", LINE + b"X: y\r\n" + b" z\r\n" * 10_000 + b"\r\n", {400, 431}),
    ("two lengths", LINE + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", {400}),
    ("a length below zero", LINE + b"Content-Length: -1\r\n\r\n", {400}),
    ("a length of 10^30", LINE + b"Content-Length: 1000000000000000000000000000000\r\n\r\n", {400, 413}),
    ("a chunk of 2^64", LINE + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n", {400, 413}),
    ("TLS to a plain port", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 200, {400}),
]


async def good(one):
    """Seconds until a well-behaved client has its whole answer; None where it has not."""
    begin = time.perf_counter()
    answer = await client.ask(one.url, "/v1/chat/completions", GOOD)
    return time.perf_counter() - begin if answer.finished() else None


async def opened(one, count, first=b""):
    """`count` connections, a hundred at a time so that the listener's queue holds them."""
    result = []
    for begin in range(0, count, 100):
        result += await asyncio.gather(*(asyncio.open_connection(one.url.hostname, one.url.port)
                                         for _ in range(min(100, count - begin))))
    for _, writer in result:
        if first:
            writer.write(first)
    return result


def close(connections):
    for _, writer in connections:
        writer.transport.abort()


async def until(check, seconds):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if check():
            return True
        await asyncio.sleep(0.05)
    return False


async def idle(one, count):
    """Idle connections up to the limit and past it."""
    await good(one)
    before, files = one.memory(), one.open_files()
    held = await opened(one, count)
    await until(lambda: one.open_files() >= files + count, 30)
    each = (one.memory() - before) / count
    seconds = await good(one)
    held += await opened(one, LIMIT_SLACK)
    await until(lambda: one.open_files() >= files + count + LIMIT_SLACK, 30)
    refused = [await client.raw(one.url, b"", 5) or b"" for _ in range(20)]
    close(held)
    freed = await until(lambda: one.open_files() <= files + 2, 30)
    return {"idle": count, "bytes_each": round(each), "answer_ms_among_them": seconds and round(seconds * 1000, 1),
            "past_the_limit": refused[0][:120].decode(errors="replace")}, [
        ("a client is served among the idle ones within 1 s", seconds is not None and seconds < 1, TIMED),
        ("an idle connection costs under 32 KiB", each < 32768),
        ("one past the limit gets 503", all(text.startswith(b"HTTP/1.1 503 ") for text in refused)),
        ("all are freed, and the server serves on", freed and await good(one) is not None),
    ]


async def slow_loris(one, count):
    """Headers that come a byte at a time."""
    slow = await opened(one, count, LINE + b"X-Slow: ")
    ends = [asyncio.create_task(reader.read()) for reader, _ in slow]
    times = []
    end = time.monotonic() + 15
    while time.monotonic() < end and not all(task.done() for task in ends):
        for _, writer in slow:
            with contextlib.suppress(OSError):
                writer.write(b"a")
        times.append(await good(one))
        await asyncio.sleep(0.2)
    cut = sum(task.done() for task in ends)
    told = sum(task.done() and not task.exception() and task.result().startswith(b"HTTP/1.1 408 ") for task in ends)
    for task in ends:
        task.cancel()
    close(slow)
    return {"slow": count, "cut": cut, "with_408": told, "answers_meanwhile": len(times)}, [
        ("each slow header is cut", cut == count),
        ("nearly each is told so by 408", told >= 0.9 * count),
        ("clients are served meanwhile within 1 s", all(t is not None and t < 1 for t in times), TIMED),
    ]


async def bombs(one):
    before, wrong, slowest = one.memory(), [], 0.0
    for name, data, statuses in BOMBS:
        begin = time.perf_counter()
        answer = await client.raw(one.url, data)
        slowest = max(slowest, time.perf_counter() - begin)
        if answer is None or not any(answer.startswith(b"HTTP/1.1 %d " % status) for status in statuses):
            wrong.append(f"{name}: {(answer or b'nothing')[:100].decode(errors='replace')}")
    grown = one.memory() - before
    return {"bombs": len(BOMBS), "slowest_ms": round(slowest * 1000, 1), "memory_mb": round(grown / 1e6, 2), "wrong": wrong}, [
        ("each header bomb is refused by name", not wrong),
        ("within 3 s each", slowest < 3, TIMED),
        ("within 16 MB", grown < 16e6),
    ]


def documents():
    """The suite's files where they are there, and deeper ones."""
    files = [(path.name, path.read_bytes()) for path in sorted(SUITE.glob("*.json"))]
    deep = [("deep arrays", b"[" * 1_000_000), ("deep objects", b'{"a":' * 200_000), ("closed arrays", b"[" * 100_000 + b"]" * 100_000),
            ("deep messages", b'{"model":"default","messages":' + b"[" * 50_000 + b"]" * 50_000 + b"}")]
    return files + deep


async def hostile_json(one):
    wrong, slowest, count = [], 0.0, 0
    for name, data in documents():
        for path in ("/v1/chat/completions", "/v1/completions", "/v1/messages", "/generate", "/tokenize"):
            count += 1
            answer = await client.ask(one.url, path, data)
            slowest = max(slowest, (time.perf_counter() - answer.begin))
            # None of the suite's documents is a request, not even the well-formed ones.
            if answer.ended != "whole" or not 400 <= (answer.status or 0) < 500:
                wrong.append(f"{path}, {name}: {answer.status}, {answer.ended}, {answer.body[:100].decode(errors='replace')}")
    return {"documents": count, "suite": SUITE.exists(), "slowest_ms": round(slowest * 1000, 1), "wrong": wrong[:20]}, [
        ("each document is refused with a 4xx", not wrong),
        ("within 1 s each", slowest < 1, TIMED),
    ]


async def connections(options):
    flags = ["--max-connections", str(options.idle + LIMIT_SLACK), "--header-timeout", "2", *options.server_flag]
    figures, claims = {}, []
    async with server.started(*flags) as one:
        for name, part in (("idle", lambda: idle(one, options.idle)), ("slow_loris", lambda: slow_loris(one, options.idle // 20)),
                           ("bombs", lambda: bombs(one)), ("json", lambda: hostile_json(one))):
            figures[name], more = await part()
            claims += [(f"{name}: {claim}", *rest) for claim, *rest in more]
        await settled(one)
        claims.append(("the server lives and serves", one.process.returncode is None and await good(one) is not None))
        figures["memory_mb"] = round(one.memory() / 1e6, 1)
    return figures, claims
