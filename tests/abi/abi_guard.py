#!/usr/bin/env python3
"""The ABI only grows: today's C headers against those of a kept release.

    abi_guard.py KEPT_HEADERS TODAYS_HEADERS   one line for each breach; exits 1 when there is any
    abi_guard.py --self-test HEADERS           bends a copy in ways that are allowed and not, and fails unless told apart

Three looks: abidiff (Debian's abigail-tools) at the compiled form of every struct; the structs as they are written, whose
old members must be the first of the new ones (abidiff takes the result of a function pointer lightly); and the constants,
whose values may not change and of which none may go. A header folder is the one that holds plugin.h, graph.h, backend.h and
architecture.h.
"""
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HEADERS = ["plugin.h", "graph.h", "backend.h", "architecture.h"]
STRUCT = re.compile(r"^typedef struct \w+ \{[^\n]*\n(.*?)^\} (nacelle_\w+);", re.M | re.S)
CONSTANT = re.compile(r"\b(NACELLE_[A-Z0-9_]+)\s*=\s*(\d+)|^#define (NACELLE_[A-Z0-9_]+) \(?(-?(?:0x)?[0-9a-f]+u?)\)?", re.M)
# What says which version this is grows by itself.
VERSION = re.compile(r"NACELLE_\w+_ABI_M(AJOR|INOR)")
SUPPRESSIONS = """
[suppress_type]
  type_kind = struct
  has_data_member_inserted_at = end
"""


def read(folder):
    return {name: re.sub(r"/\*.*?\*/", "", (folder / name).read_text(), flags=re.S) for name in HEADERS}


def constants(folder):
    found = {}
    for text in read(folder).values():
        for a, value, b, number in CONSTANT.findall(text):
            if not VERSION.match(a or b):
                found[a or b] = value or number
    return found


def structs(folder):
    """By name, each struct's members as they are written."""
    text = "\n".join(read(folder).values())
    return {name: [" ".join(member.split()) for member in body.split(";")[:-1]] for body, name in STRUCT.findall(text)}


def compile_surface(folder, names, library):
    """A library with one function for each struct, so that the debug information holds them all."""
    with tempfile.TemporaryDirectory() as work:
        root, source = Path(work) / "include", Path(work) / "surface.c"
        (root / "nacelle").mkdir(parents=True)
        for name in HEADERS:
            (root / "nacelle" / name).write_text((folder / name).read_text())
        lines = [f"#include <nacelle/{name}>" for name in HEADERS]
        lines += [f"void use_{name}(const {name}* it);\nvoid use_{name}(const {name}* it) {{ (void)it; }}" for name in names]
        source.write_text("\n".join(lines) + "\n")
        subprocess.run(["cc", "-std=c11", "-g", "-shared", "-fPIC", f"-I{root}", "-o", library, source], check=True)


def breaches(kept, today):
    before, after = constants(kept), constants(today)
    for name, value in before.items():
        if name not in after:
            yield f"constant {name} is gone"
        elif after[name] != value:
            yield f"constant {name} was {value} and is {after[name]}"
    old_structs, new_structs = structs(kept), structs(today)
    gone = [name for name in old_structs if name not in new_structs]
    yield from (f"struct {name} is gone" for name in gone)
    if gone:
        return
    for name, members in old_structs.items():
        for old_member, new_member in zip(members, new_structs[name] + [""] * len(members)):
            if old_member != new_member:
                yield f"struct {name}: '{old_member}' has become '{new_member}'"
                break
    with tempfile.TemporaryDirectory() as work:
        old, new, allowed = (Path(work) / name for name in ("old.so", "new.so", "allowed"))
        compile_surface(kept, old_structs, old)
        compile_surface(today, old_structs, new)
        allowed.write_text(SUPPRESSIONS)
        result = subprocess.run(["abidiff", "--suppressions", allowed, "--no-added-syms", old, new], text=True,
                                capture_output=True, check=False)
        if result.returncode:
            yield from (line for line in (result.stdout + result.stderr).splitlines() if line.strip())


# Header, what is replaced, by what, and whether that is a breach.
BENDS = [
    ("plugin.h", "  uint32_t index; /* 0 .. count-1 */\n", "  uint32_t index;\n  uint32_t place;\n", True),
    ("backend.h", "  uint32_t max_rows;     /* most rows", "  uint32_t new_rows, max_rows;  /* most rows", True),
    ("backend.h", "  uint64_t memory_free;  /* bytes, now */\n", "", True),
    ("graph.h", "NACELLE_OP_ROPE = 5", "NACELLE_OP_ROPE = 55", True),
    ("graph.h", "#define NACELLE_MAX_RANK 4", "#define NACELLE_MAX_RANK 5", True),
    ("backend.h", "void (*device_close)(nacelle_device* device);", "nacelle_status (*device_close)(nacelle_device* device);", True),
    ("backend.h", "} nacelle_tune_report;", "  uint64_t more;\n} nacelle_tune_report;", False),
    ("backend.h", "} nacelle_backend_api;", "  nacelle_status (*more)(nacelle_device* device);\n} nacelle_backend_api;", False),
    ("graph.h", "NACELLE_OP_LOGITS_SELECT = 22,", "NACELLE_OP_LOGITS_SELECT = 22,\n  NACELLE_OP_MORE = 23,", False),
    ("plugin.h", "#define NACELLE_BACKEND_ABI_MINOR ", "#define NACELLE_BACKEND_ABI_MINOR 9", False),
]


def self_test(headers):
    wrong = 0
    found = list(breaches(headers, headers))
    for line in found:
        print(f"self-test: found though nothing changed: {line}")
    for name, old, new, is_breach in BENDS:
        with tempfile.TemporaryDirectory() as work:
            for header in HEADERS:
                text = (headers / header).read_text()
                if header == name:
                    if old not in text:
                        print(f"self-test: {name} no longer has: {old.strip()}")
                        wrong += 1
                    # The headers guard themselves; here the guard behind them is tested.
                    text = re.sub(r"^NACELLE_(LAST_FIELD|STATIC_ASSERT)\(.*?\);$", "", text.replace(old, new), flags=re.M | re.S)
                (Path(work) / header).write_text(text)
            found = list(breaches(headers, Path(work)))
            if bool(found) != is_breach:
                print(f"self-test: {'missed' if is_breach else 'false alarm'}: {name}: {new.strip()}", *found, sep="\n  ")
                wrong += 1
    print(f"self-test: {len(BENDS)} changes, {wrong} judged wrongly")
    return 1 if wrong else 0


def main():
    if len(sys.argv) != 3:
        print(__doc__)
        return 2
    if sys.argv[1] == "--self-test":
        return self_test(Path(sys.argv[2]))
    lines = list(breaches(Path(sys.argv[1]), Path(sys.argv[2])))
    for line in lines:
        print(f"abi: {line}")
    print(f"abi: {len(lines)} breaches")
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
