#!/usr/bin/env python3
"""No illegal instruction on an old machine: what is linked holds code above x86-64-v2 in variant functions only.

    check_isa.py BUILD_DIR FILE...   one line for each breach; exits 1 when there is any
    check_isa.py --self-test         plants breaches in small libraries and fails unless each is found

BUILD_DIR/compile_commands.json tells which units are compiled above the baseline (an -m flag of an instruction set):
the ISA units. Each must export one table of data and nothing else, and define no weak symbol: of a weak function the
linker keeps any one copy, perhaps this unit's, for the whole file. In each FILE (a program or shared library, not
stripped), an instruction above the baseline may lie only in a function that the symbol table attributes to such a unit.
"""
import bisect
import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

# Every instruction of AVX, FMA, F16C, BMI (but tzcnt), AVX-512 and AMX is encoded with c4, c5 or 62 as its first byte,
# after no legacy prefix; in 64-bit code they begin nothing else, and 8f begins XOP or pop. What is above x86-64-v2 and
# has none of them is named. tzcnt is left out: compilers use it where an old processor's reading of the same bytes, bsf,
# gives the same. xgetbv and cpuid too: they are how a program asks.
NAMED = (r"lzcnt|movbe|adcx|adox|aes\w+|pclmul\w+|sha(?:1|256)\w+|gf2p8\w+|rdrand|rdseed|extrq|insertq|movntss|movntsd|"
         r"xsave\w*|clwb|clflushopt")
# A line of objdump: address, bytes, instruction.
ABOVE = re.compile(r"^ *([0-9a-f]+):\t(?:(?:c4|c5|62) [0-9a-f ]*\t|8f [0-9a-f ]*\t(?!pop)|[0-9a-f ]*\t(?=(?:" + NAMED +
                   r")\b))([^\n]*)", re.MULTILINE)
# Functions of the libraries that the program links statically, which choose by CPUID themselves: OpenSSL's hashes and
# random numbers; and PCRE2's look at the processor, which sees whether lzcnt counts as it should.
FOREIGN = re.compile(r"sha256_block_data_order_(shaext|avx|avx2)|OPENSSL_ia32_rd(rand|seed)_bytes|get_cpu_features")
BASELINE_FLAGS = re.compile(r"-m(arch=x86-64(-v2)?|tune=.*|64|no-.*|fpmath=.*|llvm|cmodel=.*|stackrealign)")
TABLE = re.compile(r"nacelle::cpu::k\w+(Kernels|Ceilings)")


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def isa_units(build):
    """Object files of the units that are compiled above the baseline."""
    for entry in json.loads((build / "compile_commands.json").read_text()):
        words = shlex.split(entry["command"]) if "command" in entry else entry["arguments"]
        above = [word for word in words if re.match(r"-m\w", word) and not BASELINE_FLAGS.fullmatch(word)]
        if above:
            out = entry["output"] if "output" in entry else words[words.index("-o") + 1]
            yield Path(entry["directory"]) / out


def check_unit(unit):
    """What an ISA unit may define for others."""
    exported = []
    for line in output_of("nm", "-C", "--defined-only", unit).splitlines():
        _, kind, name = line.split(maxsplit=2)
        if kind in "WwVvu":
            yield f"{unit.name}: defines {name} as a weak symbol"
        elif kind.isupper():
            exported.append((kind, name))
    if len(exported) != 1 or exported[0][0] not in "DR" or not TABLE.fullmatch(exported[0][1]):
        what = ", ".join(name for _, name in exported) or "nothing"
        yield f"{unit.name}: exports {what}; expected one table, nacelle::cpu::k...Kernels or k...Ceilings"


class Symbols:
    """The functions of a linked file: where each lies, and whether it comes from one of the units named in `sources`."""

    def __init__(self, file, sources):
        self.functions = []  # (begin, end, is a variant's, name)
        unit = ""
        for line in output_of("readelf", "-sW", file).splitlines():
            words = line.split()
            if len(words) < 8 or not words[0][:-1].isdigit():
                continue
            if words[3] == "FILE":
                unit = words[7]
            elif words[3] == "FUNC" and words[6] != "UND":
                # A file's local symbols follow its name; globals come after all of them and belong to none.
                own = words[4] == "LOCAL" and unit in sources
                begin = int(words[1], 16)
                self.functions.append((begin, begin + int(words[2], 0), own, words[7]))
        self.functions.sort()
        self.begins = [function[0] for function in self.functions]

    def find(self, address):
        at = bisect.bisect_right(self.begins, address) - 1
        return self.functions[at] if at >= 0 and address < self.functions[at][1] else None


def check_file(file, sources):
    """Breaches of a linked file, and how many instructions above the baseline lie where they may."""
    symbols = Symbols(file, sources)
    if not symbols.functions:
        return [f"{file.name}: has no symbols; a file that is not stripped was expected"], 0
    breaches, inside = {}, 0
    for match in ABOVE.finditer(output_of("objdump", "-d", "--insn-width=16", file)):
        function = symbols.find(int(match[1], 16))
        if function and function[2]:
            inside += 1
            continue
        if function and FOREIGN.fullmatch(function[3]):
            continue
        name = output_of("c++filt", function[3]).strip() if function else "code without a name"
        breaches.setdefault(name, f"{file.name}: {name} has {match[2].strip()}, above x86-64-v2")
    return list(breaches.values()), inside


def check(build, files):
    """Breaches, and how many instructions of variant functions each file holds."""
    units = list(isa_units(Path(build)))
    breaches = [] if units else [f"{build}: no unit is compiled above the baseline; is this an x86-64 build?"]
    for unit in units:
        breaches.extend(check_unit(unit))
    sources = {unit.name.removesuffix(".o") for unit in units}
    counts = {}
    for file in map(Path, files):
        found, counts[file.name] = check_file(file, sources)
        breaches.extend(found)
    return breaches, counts


# ---- The self-test: each case is a library of a baseline unit and an ISA unit.

AVX2 = "#include <immintrin.h>\n"
TABLE_OF = "namespace nacelle::cpu { extern const Table kPlantedKernels; const Table kPlantedKernels = {%s}; }\n"
TYPE = "struct Table { void (*run)(float*); };\n"
BODY = "static void run(float* p) { _mm256_storeu_ps(p, _mm256_add_ps(_mm256_loadu_ps(p), _mm256_set1_ps(1))); }\n"
SOUND_UNIT = AVX2 + TYPE + BODY + TABLE_OF % "run"
SOUND_BASE = "static void run(float* p) { p[0] += 1; }\nvoid (*volatile keep)(float*) = run;\n"
AVX2_BASE = AVX2 + '__attribute__((target("avx2"))) ' + BODY + "void (*volatile keep)(float*) = run;\n"
WEAK_UNIT = SOUND_UNIT + ("inline void shared(float* p) { _mm256_storeu_ps(p, _mm256_setzero_ps()); }\n"
                          "static void (*volatile keep)(float*) = shared;\n")
FUNCTION_UNIT = SOUND_UNIT + "void leaked(float* p) { _mm256_storeu_ps(p, _mm256_setzero_ps()); }\n"
LZCNT_BASE = ('__attribute__((target("lzcnt"))) static int zeros(unsigned x) { return __builtin_clz(x); }\n'
              "int (*volatile keep)(unsigned) = zeros;\n")
FOREIGN_BASE = 'extern "C" ' + LZCNT_BASE.replace("static ", "").replace("zeros", "get_cpu_features")
# Name, baseline unit, ISA unit, linker flags, breaches.
PLANTED = [
    ("sound", SOUND_BASE, SOUND_UNIT, [], []),
    ("same_name", AVX2_BASE, SOUND_UNIT, [], ["same_name.so: run(float*) has v"]),
    ("weak", SOUND_BASE, WEAK_UNIT, [], ["defines shared(float*) as a weak symbol", "weak.so: shared(float*) has v"]),
    ("function", SOUND_BASE, FUNCTION_UNIT, [],
     ["exports leaked(float*), nacelle::cpu::kPlantedKernels; expected one table", "function.so: leaked(float*) has v"]),
    ("tableless", SOUND_BASE, AVX2 + BODY + "static void (*volatile keep)(float*) = run;\n", [], ["exports nothing;"]),
    ("bits", LZCNT_BASE, SOUND_UNIT, [], ["bits.so: zeros(unsigned int) has lzcnt"]),
    ("foreign", FOREIGN_BASE, SOUND_UNIT, [], []),
    ("stripped", SOUND_BASE, SOUND_UNIT, ["-Wl,--strip-all"], ["stripped.so: has no symbols"]),
    ("none", SOUND_BASE, None, [], ["no unit is compiled above the baseline"]),
]


def build_planted(folder, base, unit, flags):
    compiler = os.environ.get("CXX", "c++")
    commands = []
    for name, text, level in (("base.cpp", base, []), ("planted.cpp", unit, ["-mavx2"])):
        if text is None:
            continue
        (folder / name).write_text(text)
        command = [compiler, "-O1", "-fPIC", *level, "-c", name, "-o", name + ".o"]
        subprocess.run(command, check=True, cwd=folder)
        commands.append({"directory": str(folder), "command": shlex.join(command), "file": name})
    (folder / "compile_commands.json").write_text(json.dumps(commands))
    library = folder / f"{folder.name}.so"
    objects = [folder / (entry["file"] + ".o") for entry in commands]
    subprocess.run([compiler, "-shared", "-nostartfiles", "-o", library, *objects, *flags], check=True)
    return library


def self_test():
    wrong = 0
    with tempfile.TemporaryDirectory() as top:
        for name, base, unit, flags, expected in PLANTED:
            folder = Path(top) / name
            folder.mkdir()
            found, _ = check(folder, [build_planted(folder, base, unit, flags)])
            missed = [breach for breach in expected if not any(breach in line for line in found)]
            surplus = [line for line in found if not any(breach in line for breach in expected)]
            wrong += len(missed) + len(surplus)
            for breach in missed:
                print(f"self-test: {name}: not found: {breach}")
            for line in surplus:
                print(f"self-test: {name}: found though sound: {line}")
    print(f"self-test: {sum(len(of) for *_, of in PLANTED)} planted breaches, {wrong} missed or false alarms")
    return 1 if wrong else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    if len(sys.argv) < 3:
        print(__doc__)
        return 2
    breaches, counts = check(sys.argv[1], sys.argv[2:])
    for line in breaches:
        print(line)
    for name, count in counts.items():
        print(f"isa: {name}: {count} instructions above x86-64-v2 in variant functions")
    print(f"isa: {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
