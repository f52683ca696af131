"""An HTTP client that costs little a stream, so that one process can read hundreds: raw asyncio, one connection a request.

ask() sends bytes and returns an Answer: the status, the body or the server-sent events, and when each event came.
"""
import asyncio
import json
import socket
import struct
import time
import urllib.parse


def request_bytes(url, path, body, headers=()):
    """A POST of `body` (bytes, or what json takes)."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", f"Host: {url.netloc}", "Content-Type: application/json", "Connection: close",
             f"Content-Length: {len(data)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + data


class Answer:
    """What became of one request. `ended`: 'whole' once the last byte was there, else 'cut', 'refused' or 'left'."""

    def __init__(self):
        self.begin = time.perf_counter()
        self.status = None
        self.headers = {}
        self.body = b""
        self.events = []  # (seconds, data) of each event of a stream
        self.ended = "cut"

    def json(self):
        return json.loads(self.body)

    def is_error(self):
        """A refusal that says why, in the shape of the dialect's errors."""
        try:
            error = self.json()["error"]
        except (ValueError, KeyError, TypeError):
            return False
        return self.ended == "whole" and self.status >= 400 and bool(error["message"])

    def tokens(self):
        """Seconds at which output came: the events that carry text, or that end a choice."""
        return [at for at, data in self.events if b'"choices":[{' in data or b'"content_block_delta"' in data]

    def finished(self):
        """A stream that came to its end: OpenAI's mark or Anthropic's event, and no error among the events."""
        if self.status != 200 or self.ended != "whole" or not self.events:
            return False
        if any(data.startswith(b'{"error"') or b'"type":"error"' in data for _, data in self.events):
            return False
        return self.events[-1][1] == b"[DONE]" or b'"message_stop"' in self.events[-1][1]

    def usage(self):
        """The usage that a stream with include_usage ends in; {} where there is none."""
        for _, data in reversed(self.events):
            if data.startswith(b"{"):
                usage = json.loads(data).get("usage")
                if usage:
                    return usage
        return {}


class Reader(asyncio.Protocol):
    """Reads one answer. `leave` (of events so far) true: the client goes away, gently or with a reset."""

    def __init__(self, leave=None, reset=False, dawdle=None):
        self.answer = Answer()
        self.done = asyncio.get_running_loop().create_future()
        self.leave, self.reset, self.dawdle = leave, reset, dawdle
        self.buffer = bytearray()  # what was not understood yet
        self.text = bytearray()    # of the body, without chunk borders
        self.length = None         # of the body, where it was announced
        self.chunked = False

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.buffer += data
        if self.answer.status is None and not self.read_head():
            return
        self.read_body(time.perf_counter())
        if self.leave and self.leave(len(self.answer.events)):
            self.answer.ended = "left"
            if self.reset:
                self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                                                  struct.pack("ii", 1, 0))
            self.transport.abort()
        elif self.dawdle:
            pause = self.dawdle()
            if pause:
                self.transport.pause_reading()
                asyncio.get_running_loop().call_later(pause, self.resume)

    def resume(self):
        if not self.transport.is_closing():
            self.transport.resume_reading()

    def read_head(self):
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = self.buffer[:end].decode("latin-1").split("\r\n")
        del self.buffer[:end + 4]
        status = int(first.split(" ")[1])
        if status == 100:
            return self.read_head()
        self.answer.status = status
        self.answer.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        self.chunked = self.answer.headers.get("transfer-encoding") == "chunked"
        self.length = self.answer.headers.get("content-length")
        return True

    def read_body(self, now):
        if self.chunked:
            self.read_chunks()
        else:
            self.text += self.buffer
            self.buffer.clear()
            if self.length is not None and len(self.text) >= int(self.length):
                self.answer.ended = "whole"
        if self.answer.headers.get("content-type", "").startswith("text/event-stream"):
            *events, rest = self.text.split(b"\n\n")
            self.text = bytearray(rest)
            for event in events:
                for line in event.split(b"\n"):
                    if line.startswith(b"data: "):
                        self.answer.events.append((now, bytes(line[6:])))
        if self.answer.ended == "whole":
            self.transport.close()

    def read_chunks(self):
        begin = 0
        while (line := self.buffer.find(b"\r\n", begin)) >= 0:
            size = int(self.buffer[begin:line], 16)
            if len(self.buffer) < line + 4 + size:
                break
            self.text += self.buffer[line + 2:line + 2 + size]
            begin = line + 4 + size
            if size == 0:
                self.answer.ended = "whole"
                break
        del self.buffer[:begin]

    def connection_lost(self, _):
        self.answer.body = bytes(self.text)
        if not self.done.done():
            self.done.set_result(self.answer)


async def ask(url, path, body, **behaviour):
    """`url`: of urllib's parse. Never raises for what the server does; 'refused' where there was no connection."""
    loop = asyncio.get_running_loop()
    reader = Reader(**behaviour)
    try:
        transport, _ = await loop.create_connection(lambda: reader, url.hostname, url.port)
    except OSError:
        reader.answer.ended = "refused"
        return reader.answer
    transport.write(request_bytes(url, path, body))
    try:
        return await reader.done
    finally:
        transport.abort()


async def get(url, path):
    """The body of a GET as text."""
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
    text = (await reader.read()).decode()
    writer.close()
    return text.partition("\r\n\r\n")[2]


async def raw(url, data, timeout=10):
    """Sends bytes as they are; what the server says until it closes. None where it had not closed after `timeout`."""
    reader, writer = await asyncio.open_connection(url.hostname, url.port)
    try:
        writer.write(data)
        return await asyncio.wait_for(reader.read(), timeout)
    except asyncio.TimeoutError:
        return None
    except OSError:
        return b""
    finally:
        writer.transport.abort()


def parse(url):
    return urllib.parse.urlsplit(url)


class Lag:
    """How late this program itself was: where the machine gives it no time, its readings are not the server's."""

    def __init__(self):
        self.worst = 0.0
        self.late = []  # (begin, end) of times in which nothing here ran

    async def watch(self):
        while True:
            due = time.perf_counter() + 0.02
            await asyncio.sleep(0.02)
            now = time.perf_counter()
            self.worst = max(self.worst, now - due)
            if now - due > 0.02:
                self.late.append((due, now))

    def within(self, begin, end):
        return sum(max(0.0, min(end, late) - max(begin, due)) for due, late in self.late)
