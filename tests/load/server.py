"""Starts the server under load and watches its process: memory, CPU by thread, metrics."""
import asyncio
import contextlib
import json
import os
import pathlib
import re
import signal
import tempfile

import client

ROOT = pathlib.Path(__file__).resolve().parents[2]
NACELLE = pathlib.Path(os.environ.get("NACELLE", ROOT / "build/release/bin/nacelle"))


class Server:
    def __init__(self, process, url, log):
        self.process, self.url, self.log = process, client.parse(url), log

    @property
    def folder(self):
        return pathlib.Path("/proc") / str(self.process.pid)

    def memory(self):
        """Resident bytes."""
        return int(re.search(r"VmRSS:\s+(\d+)", (self.folder / "status").read_text()).group(1)) * 1024

    def cpu_by_thread(self):
        """Seconds on a CPU, by thread id and name."""
        result = {}
        for task in (self.folder / "task").iterdir():
            with contextlib.suppress(OSError):
                name = (task / "comm").read_text().strip()
                result[(int(task.name), name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
        return result

    def open_files(self):
        return len(list((self.folder / "fd").iterdir()))

    async def metrics(self):
        """Values of /metrics summed over labels, but for those with a `phase`, which get it behind the name."""
        values = {}
        for line in (await client.get(self.url, "/metrics")).splitlines():
            found = re.match(r"(\w+)(?:\{(.*)\})? (\S+)$", line)
            if found:
                phase = re.search(r'phase="(\w+)"', found.group(2) or "")
                name = found.group(1) + (f":{phase.group(1)}" if phase else "")
                values[name] = values.get(name, 0.0) + float(found.group(3))
        return values

    async def model(self):
        """The served model's id and context."""
        entry = json.loads(await client.get(self.url, "/v1/models"))["data"][0]
        return entry["id"], entry.get("max_model_len", 0)

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    def tail(self):
        self.log.seek(0)
        return self.log.read().decode(errors="replace")[-2000:]


@contextlib.asynccontextmanager
async def started(*flags):
    """A server on a free port, gone afterwards. Raises RuntimeError with its log where it does not come up."""
    with tempfile.TemporaryFile("a+b") as log:
        process = await asyncio.create_subprocess_exec(
            NACELLE, "serve", "--port", "0", "--manage-port", "off", "--log-level", "warning", *flags,
            stdout=asyncio.subprocess.PIPE, stderr=log)
        try:
            while line := await process.stdout.readline():
                if found := re.search(rb"ready on (\S+)", line):
                    break
            else:
                log.seek(0)
                raise RuntimeError(f"the server did not start: {log.read().decode()}")
            yield Server(process, found.group(1).decode(), log)
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()
