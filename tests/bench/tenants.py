#!/usr/bin/env python3
"""Speed where the machine is not ours alone: under a CPU quota, and beside a process that keeps a core busy.

    tests/bench/tenants.py [quota] [neighbour] [crowd] [--model FILE] [--rounds 3]

Every figure is the median over rounds in which the cases take turns, since a machine's speed drifts. Exits 1 where a bound
is missed. `quota` needs a cgroup v1 `cpu` controller that may be written, and is skipped with a line where there is none.
"""
import argparse
import contextlib
import json
import os
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
NACELLE = ROOT / "build/release/bin/nacelle"
CPU_GROUPS = pathlib.Path("/sys/fs/cgroup/cpu")


def bench(model, *flags, group=None):
    """One run of `nacelle bench`, in a cgroup where one is given."""
    command = [NACELLE, "bench", "--model", model, "--prompt", "1", "--gen", "64", "--repeat", "2", "--json",
               "--log-level", "warning", *flags]
    enter = (lambda: (group / "cgroup.procs").write_text(str(os.getpid()))) if group else None
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=enter, check=True)
    return json.loads(done.stdout)


@contextlib.contextmanager
def busy(cores):
    """A process on each of the cores that never sleeps."""
    processes = [subprocess.Popen(["taskset", "-c", str(core), sys.executable, "-c", "while True: pass"]) for core in cores]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


@contextlib.contextmanager
def quota_group(cpus):
    """A cgroup below ours that may use `cpus` CPUs; None where none can be made."""
    own = next((line.split(":", 2)[2].strip() for line in open("/proc/self/cgroup") if "cpu" in line.split(":")[1].split(",")),
               None)
    path = CPU_GROUPS / (own or "/").lstrip("/") / f"nacelle-tenants-{os.getpid()}"
    try:
        path.mkdir()
        (path / "cpu.cfs_quota_us").write_text(str(int(cpus * 100000)))
    except OSError as error:
        print(f"skipped: no quota can be set: {error}")
        yield None
        return
    try:
        yield path
    finally:
        path.rmdir()


class Cases:
    """Figures of named cases, taken in turns."""

    def __init__(self, rounds, cases):
        self.runs = {name: [] for name in cases}
        for _ in range(rounds):
            for name, run in cases.items():
                self.runs[name].append(run())
        for name, runs in self.runs.items():
            speeds = ", ".join(f"{run['tg_tps']:.1f}" for run in runs)
            print(f"  {name:34} {self.speed(name):6.1f} tokens/s ({speeds}), {runs[0]['threads']} threads, "
                  f"longest gap {self.longest_gap(name):.0f} ms")

    def speed(self, name):
        return statistics.median(run["tg_tps"] for run in self.runs[name])

    def longest_gap(self, name):
        return max(run["tg_gap_ms"]["max"] for run in self.runs[name])

    def threads(self, name):
        return self.runs[name][0]["threads"]


missed = []


def check(what, value, bound, least=True):
    good = value >= bound if least else value <= bound
    print(f"  {'ok    ' if good else 'MISSED'} {what}: {value:.2f}, {'at least' if least else 'at most'} {bound}")
    if not good:
        missed.append(what)


def quota(model, rounds):
    with quota_group(1.5) as group:
        if group is None:
            return
        print("a quota of 1.5 CPUs")
        cases = Cases(rounds, {"quota": lambda: bench(model, group=group),
                               "no quota, --threads 1": lambda: bench(model, "--threads", "1")})
    check("threads under the quota", cases.threads("quota"), 1, least=False)
    check("speed under the quota over one thread's", cases.speed("quota") / cases.speed("no quota, --threads 1"), 0.9)


def beside(model, rounds, cores, what, share):
    def crowded(*flags):
        with busy(cores):
            return bench(model, *flags)

    print(what)
    cases = Cases(rounds, {"free": lambda: bench(model), "beside it": crowded,
                           "beside it, --threads 1": lambda: crowded("--threads", "1")})
    two, one = cases.speed("beside it"), cases.speed("beside it, --threads 1")
    check("over the better of one and all threads", two / max(one, two), 0.95)
    check("over the free machine", two / cases.speed("free"), share)
    check("longest gap in ms", cases.longest_gap("beside it"), 200, least=False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", nargs="*", default=["quota", "neighbour"], help="quota, neighbour, crowd")
    parser.add_argument("--model", default=ROOT / "build/bench/llama-3.2-1b-q4_k_m.gguf")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    tests = {"quota": lambda: quota(options.model, options.rounds),
             "neighbour": lambda: beside(options.model, options.rounds, cores[:1],
                                         f"another process takes core {cores[0]} of {len(cores)}", 0.55),
             # Half of each CPU is what a fair scheduler leaves us; the rest is what its time slices cost.
             "crowd": lambda: beside(options.model, options.rounds, cores,
                                     f"other processes take all {len(cores)} cores", 0.4)}
    unknown = [name for name in options.tests if name not in tests]
    if unknown or not pathlib.Path(options.model).is_file():
        sys.exit(f"no test '{unknown[0]}': {', '.join(tests)}" if unknown else
                 f"no model {options.model}: make it with tests/bench/make_model.py llama-3.2-1b q4_k_m")
    for name in options.tests:
        tests[name]()
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
