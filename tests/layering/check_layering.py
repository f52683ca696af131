#!/usr/bin/env python3
"""The layering rule, checked: who may include whom, what a plugin's shared library may export and import, and that nothing
is linked to a GPU's driver.

    check_layering.py SOURCE_DIR PLUGIN_DIR [PROGRAM_DIR]   one line for each breach; exits 1 when there is any
    check_layering.py --self-test                           plants breaches in a small tree and fails unless each is found

Layers: sdk <- core <- api; plugins/ and backends/ see the sdk's public headers alone, and never each other. Drivers are
opened while a program runs: it starts, and lists its backends, on a machine without them.
"""
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCE_SUFFIXES = {".h", ".hpp", ".c", ".cpp", ".cc", ".inc", ".inl", ".cu", ".cuh", ".hip"}
INCLUDE = re.compile(r'^\s*#\s*include\s*(?:<([^>]+)>|"([^"]+)"|(\S.*))')

C_HEADERS = set("""
assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic
stdbool stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype
""".split())
CPP_HEADERS = set("""
algorithm any array atomic barrier bit bitset cassert ccomplex cctype cerrno cfenv cfloat charconv chrono cinttypes
ciso646 climits clocale cmath codecvt compare complex concepts condition_variable coroutine csetjmp csignal cstdarg
cstdbool cstddef cstdint cstdio cstdlib cstring ctgmath ctime cuchar cwchar cwctype deque exception execution
filesystem format forward_list fstream functional future initializer_list iomanip ios iosfwd iostream istream
iterator latch limits list locale map memory memory_resource mutex new numbers numeric optional ostream queue random
ranges ratio regex scoped_allocator semaphore set shared_mutex source_location span sstream stack stdexcept
stop_token streambuf string string_view strstream syncstream system_error thread tuple type_traits typeindex
typeinfo unordered_map unordered_set utility valarray variant vector version
""".split())

# libc beyond the C standard, and the compiler's own headers: a kernel needs them, the contract does not.
SYSTEM = r"(sys|linux|asm)/.*\.h|(unistd|fcntl|sched|pthread|dlfcn|elf|link|errno)\.h"
COMPILER = r"(immintrin|x86intrin|cpuid|arm_neon|arm_sve|arm_acle)\.h"
VENDOR_HEADERS = {
    "cuda": r"cuda.*\.h|cublas.*\.h|nvrtc\.h|nvml\.h|mma\.h|cooperative_groups.*|cub/.*|cuda/.*",
    "rocm": r"hip/.*|hip.*\.h|rocblas/.*|hipblas.*|rocwmma/.*|hipcub/.*|rocprim/.*",
    "vulkan": r"vulkan/.*|vk_video/.*",
}
VENDOR_HEADERS["gpu"] = VENDOR_HEADERS["cuda"] + "|" + VENDOR_HEADERS["rocm"]
SHARED_FOLDERS = {"cuda": ["backends/gpu/"], "rocm": ["backends/gpu/"]}

# Libraries that a plugin may need, by name without the version; symbols of the first row carry a version.
BASE_LIBRARIES = r"(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|librt|ld-linux[-a-z0-9_]*)\.so\.\d+"
VENDOR_LIBRARIES = {
    "cuda": r"lib(cuda|cudart|cublas|cublasLt|nvrtc|nvidia-ml)\.so\.\d+",
    "rocm": r"lib(amdhip64|hiprtc|rocblas|hipblas|hipblaslt|hsa-runtime64)\.so\.\d+",
    "vulkan": r"libvulkan\.so\.\d+",
}
DRIVERS = r"lib(cuda|nvidia-ml|amdhip64|hsa-runtime64|vulkan)\.so.*"
BASE_VERSIONS = re.compile(r"@+(GLIBC|GLIBCXX|CXXABI|GCC)_")
ENTRY = "nacelle_plugin_query"


def is_standard(name):
    return name in CPP_HEADERS or (name.endswith(".h") and name[:-2] in C_HEADERS)


class Layer:
    """What a file may include: repository folders (prefixes), and system headers (None: any)."""

    def __init__(self, folders, headers):
        self.folders = folders
        self.headers = headers


def layer_of(path):
    """The rule for a source file, by its path from the root; None where there is none."""
    parts = path.split("/")
    if path.startswith("sdk/include/"):
        return Layer(["sdk/include/nacelle/"], "")
    if path.startswith(("sdk/template/", "sdk/examples/")):
        return None  # a third party's: built from an installed prefix alone (tests/sdk)
    if path.startswith("sdk/conformance/"):
        return Layer(["sdk/"], r"(dlfcn|malloc|unistd|sys/mman|sys/wait)\.h|nlohmann/json\.hpp")  # a program that needs no core/
    if parts[0] == "sdk":
        return Layer(["sdk/"], r"elf\.h")  # runtime/ reads plugin files without loading them
    if parts[0] == "core":
        return Layer(["sdk/", "core/"], None)
    if parts[0] == "api":
        return Layer(["sdk/", "core/", "api/"], None)
    if parts[0] in ("plugins", "backends") and len(parts) > 2:
        own = parts[1] if parts[0] == "backends" else ""
        folders = ["sdk/include/nacelle/", "/".join(parts[:2]) + "/"] + SHARED_FOLDERS.get(own, [])
        headers = [SYSTEM, COMPILER] + ([VENDOR_HEADERS[own]] if own in VENDOR_HEADERS else [])
        return Layer(folders, "|".join(headers))
    return None


def resolve(root, file, name):
    """The repository path that an include means, or None for a header from outside."""
    for base in (file.parent, root, root / "sdk/include"):
        target = Path(os.path.normpath(base / name))
        if target.is_file() and root in target.parents:
            return target.relative_to(root).as_posix()
    return None


def check_file(root, file, layer):
    where = file.relative_to(root).as_posix()
    text = file.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match:
            continue
        name = match.group(1) or match.group(2)
        if name is None:
            yield f"{where}:{number}: includes {match.group(3)}, a macro, which cannot be checked"
            continue
        target = resolve(root, file, name)
        if target:
            allowed = any(target.startswith(folder) for folder in layer.folders)
        elif name.split("/")[0] in ("sdk", "core", "api", "plugins", "backends", "nacelle"):
            allowed = False  # ours by its name, though it is not there
        else:
            allowed = layer.headers is None or is_standard(name) or re.fullmatch(layer.headers or "(?!)", name)
        if not allowed:
            system = "the standard library" if layer.headers == "" else "system headers"
            what = f"{', '.join(layer.folders)} and {system}"
            yield f"{where}:{number}: includes {name}; here only {what} may be included"


def check_sources(root):
    for top in ("sdk", "core", "api", "plugins", "backends"):
        for file in sorted((root / top).rglob("*")):
            layer = layer_of(file.relative_to(root).as_posix())
            if layer and file.suffix in SOURCE_SUFFIXES and file.is_file():
                yield from check_file(root, file, layer)


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def needed_by(binary):
    return re.findall(r"\(NEEDED\).*\[(.*)\]", output_of("readelf", "-dW", binary))


def check_drivers(binary):
    for name in needed_by(binary):
        if re.fullmatch(DRIVERS, name):
            yield f"{binary.name}: is linked to {name}; a driver must be opened while the program runs"


def check_plugin(library):
    yield from check_drivers(library)
    match = re.fullmatch(r"libnacelle_(backend|arch)_(\w+)\.so", library.name)
    if not match:
        yield f"{library.name}: expected libnacelle_backend_NAME.so or libnacelle_arch_NAME.so"
        return
    vendor = VENDOR_LIBRARIES.get(match.group(2)) if match.group(1) == "backend" else None
    exports = sorted({line.split()[-1] for line in output_of("nm", "-D", "--defined-only", library).splitlines()})
    if exports != [ENTRY]:
        yield f"{library.name}: exports {', '.join(exports) or 'nothing'}; expected {ENTRY} alone"
    needed = needed_by(library)
    for name in needed:
        if not re.fullmatch(BASE_LIBRARIES, name) and not (vendor and re.fullmatch(vendor, name)):
            yield f"{library.name}: needs {name}; allowed are libc, libm, libstdc++, libgcc and its vendor's libraries"
    if vendor and any(re.fullmatch(vendor, name) for name in needed):
        return  # vendors' symbols carry no version; the linker's -z defs has seen to them
    for line in output_of("nm", "-D", "--undefined-only", library).splitlines():
        kind, symbol = line.split()[-2:]
        if kind == "U" and not BASE_VERSIONS.search(symbol):
            yield f"{library.name}: imports {symbol}, which no base library offers: a symbol of the host?"


def is_elf(path):
    return path.is_file() and path.open("rb").read(4) == b"\x7fELF"


def check(root, plugins, programs=None):
    root = Path(root).resolve()
    breaches = list(check_sources(root))
    libraries = sorted(Path(plugins).glob("*.so"))
    if not libraries:
        breaches.append(f"{plugins}: no plugins here; build them first")
    for library in libraries:
        breaches.extend(check_plugin(library))
    for program in filter(is_elf, sorted(Path(programs).iterdir()) if programs else []):
        breaches.extend(check_drivers(program))
    return breaches


# Each planted file, and the breach that must be found in it (None: a sound one).
PLANTED = [
    ("sdk/include/nacelle/plugin.h", "#include <stdint.h>\n", None),
    ("sdk/include/nacelle/a.hpp", "#include <nacelle/plugin.h>\n#include <vector>\n", None),
    ("sdk/include/nacelle/b.hpp", "#include <unistd.h>\n", "b.hpp:1: includes unistd.h"),
    ("sdk/include/nacelle/c.hpp", "\n#include <boost/asio.hpp>\n", "c.hpp:2: includes boost/asio.hpp"),
    ("sdk/runtime/r.hpp", "#include <elf.h>\n#include <nacelle/plugin.h>\n", None),
    ("sdk/runtime/r.cpp", '#include "core/base/error.hpp"\n', "r.cpp:1: includes core/base/error.hpp"),
    ("sdk/conformance/c.cpp", '#include <dlfcn.h>\n#include "sdk/runtime/r.hpp"\n', None),
    ("sdk/conformance/bad.cpp", '#include "core/base/error.hpp"\n', "bad.cpp:1: includes core/base/error.hpp"),
    ("core/base/error.hpp", "#include <boost/asio.hpp>\n#include <nacelle/plugin.h>\n", None),
    ("core/base/bad1.cpp", '#  include "api/cli.hpp"\n', "bad1.cpp:1: includes api/cli.hpp"),
    ("core/base/bad2.cpp", '#include "../../backends/cpu/k.hpp"\n', "bad2.cpp:1: includes ../../backends/cpu/k.hpp"),
    ("core/base/bad3.cpp", "#include <plugins/llama/gone.hpp>\n", "bad3.cpp:1: includes plugins/llama/gone.hpp"),
    ("api/cli.hpp", '#include "core/base/error.hpp"\n', None),
    ("api/bad.cpp", '#include "backends/cpu/k.hpp"\n', "bad.cpp:1: includes backends/cpu/k.hpp"),
    ("plugins/llama/l.cpp", '#include <nacelle/a.hpp>\n#include "plugins/llama/l.hpp"\n#include "l.hpp"\n', None),
    ("plugins/llama/l.hpp", "#include <string>\n", None),
    ("plugins/llama/bad1.cpp", '#include "core/base/error.hpp"\n', "bad1.cpp:1: includes core/base/error.hpp"),
    ("plugins/llama/bad2.cpp", '#include "sdk/runtime/r.hpp"\n', "bad2.cpp:1: includes sdk/runtime/r.hpp"),
    ("plugins/qwen2/bad3.cpp", '#include "../llama/l.hpp"\n', "bad3.cpp:1: includes ../llama/l.hpp"),
    ("plugins/qwen2/bad4.cpp", "#include <vulkan/vulkan.h>\n", "bad4.cpp:1: includes vulkan/vulkan.h"),
    ("plugins/qwen2/bad5.cpp", "#include HEADER\n", "bad5.cpp:1: includes HEADER, a macro"),
    ("plugins/qwen2/bad6.cpp", "#include <nacelle/gone.hpp>\n", "bad6.cpp:1: includes nacelle/gone.hpp"),
    ("backends/cpu/k.hpp", "#include <immintrin.h>\n#include <nacelle/plugin.h>\n", None),
    ("backends/cpu/bad.cpp", "#include <cuda_runtime.h>\n", "bad.cpp:1: includes cuda_runtime.h"),
    ("backends/gpu/g.hpp", "#include <cuda_runtime.h>\n#include <hip/hip_runtime.h>\n", None),
    ("backends/cuda/c.cu", '#include "backends/gpu/g.hpp"\n#include <cuda_runtime.h>\n', None),
    ("backends/vulkan/v.cpp", '#include "backends/gpu/g.hpp"\n', "v.cpp:1: includes backends/gpu/g.hpp"),
]
QUERY = 'extern "C" __attribute__((visibility("default"))) int nacelle_plugin_query() '
STRINGS = "#include <string>\n"  # templates of the standard library are exported unless the linker is told not to
# Name, source, linker flags (MAP: the sdk's version script; DEPENDENCY: one more library; DRIVER: a driver), breach.
LIBRARIES = [
    ("backend_good", STRINGS + QUERY + "{ return (int)std::to_string(1.5).size(); }", ["MAP"], None),
    ("backend_leaky", STRINGS + QUERY + "{ return (int)std::to_string(1.5).size(); }", [], "leaky.so: exports _ZN"),
    ("arch_two", QUERY + "{ return 0; }\nint other() { return 1; }", [], "exports _Z5otherv, nacelle_plugin_query"),
    ("arch_none", "static int unused() { return 0; } int (*const volatile keep)() = unused;", ["-fvisibility=hidden"],
     "exports nothing"),
    ("backend_host", "int host_function();\n" + QUERY + "{ return host_function(); }", [],
     "imports _Z13host_functionv"),
    ("backend_needy", QUERY + "{ return 0; }", ["-Wl,--no-as-needed", "DEPENDENCY"], "needs libextra.so"),
    ("backend_vulkan", QUERY + "{ return 0; }", ["-Wl,--no-as-needed", "DRIVER"], "linked to libvulkan.so.1"),
    ("vendor", QUERY + "{ return 0; }", [], "expected libnacelle_backend_NAME.so"),
]


def build_libraries(folder):
    compiler = os.environ.get("CXX", "c++")
    extra = folder / "libextra.so"
    source = folder / "source.cpp"

    def build(out, text, flags):
        source.write_text(text)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", out, source, *flags], check=True)

    build(extra, "int extra() { return 1; }", ["-Wl,-soname,libextra.so"])
    driver = folder / "libdriver.so"
    build(driver, "int driver() { return 1; }", ["-Wl,-soname,libvulkan.so.1"])
    plugins = folder / "plugins"
    plugins.mkdir()
    script = Path(__file__).resolve().parents[2] / "sdk/cmake/plugin.map"
    words = {"DEPENDENCY": extra, "DRIVER": driver, "MAP": f"-Wl,--version-script={script}"}
    for name, text, flags, _ in LIBRARIES:
        build(plugins / f"libnacelle_{name}.so", text, [words.get(flag, flag) for flag in flags])
    return plugins


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        for path, text, _ in PLANTED:
            (root / "tree" / path).parent.mkdir(parents=True, exist_ok=True)
            (root / "tree" / path).write_text(text)
        found = check(root / "tree", build_libraries(root), root)
        expected = [breach for *_, breach in PLANTED + LIBRARIES if breach]
        missed = [breach for breach in expected if not any(breach in line for line in found)]
        surplus = [line for line in found if not any(breach in line for breach in expected)]
        empty = check(root / "tree", root / "tree")
        if not any("no plugins here" in line for line in empty):
            missed.append("an empty plugin folder")
    for breach in missed:
        print(f"self-test: not found: {breach}")
    for line in surplus:
        print(f"self-test: found though sound: {line}")
    print(f"self-test: {len(expected)} planted breaches, {len(missed)} missed, {len(surplus)} false alarms")
    return 1 if missed or surplus else 0


def main():
    if sys.argv[1:] == ["--self-test"]:
        return self_test()
    if len(sys.argv) not in (3, 4):
        print(__doc__)
        return 2
    breaches = check(*sys.argv[1:])
    for line in breaches:
        print(line)
    print(f"layering: {len(breaches)} breaches")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())
