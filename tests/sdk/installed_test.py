#!/usr/bin/env python3
"""What a third party does, from an installed prefix alone, in an empty folder.

    installed_test.py BUILD_FOLDER SOURCE_FOLDER

Installs, moves the prefix, builds the examples and a new plugin of each kind, proves and runs them, breaks some, keeps the
ABI and loads what was kept. BUILD_FOLDER is a finished build."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

failures = []


def run(*command, cwd=None, code=0, env=None):
    result = subprocess.run([str(part) for part in command], cwd=cwd, text=True, capture_output=True, check=False,
                            env={**os.environ, **(env or {})})
    text = result.stdout + result.stderr
    if code is not None and result.returncode != code:
        failures.append(f"{' '.join(map(str, command))}: code {result.returncode}, expected {code}\n{text[-3000:]}")
    return text


def expect(condition, what):
    if not condition:
        failures.append(what)


def build(folder, prefix):
    run("cmake", "-S", ".", "-B", "build", f"-DCMAKE_PREFIX_PATH={prefix}", cwd=folder)
    run("cmake", "--build", "build", cwd=folder)


def plugins(prefix, folder):
    text = run(prefix / "bin/nacelle", "plugins", "--json", "--log-level", "off", "--plugin-dir", folder)
    found = json.loads(text)
    return {(p["kind"], p["name"]): p for p in (found["plugins"] if isinstance(found, dict) else found)}


def expect_plugin(prefix, folder, kind, name, conformance):
    found = plugins(prefix, folder).get((kind, name), {})
    expect(found.get("status") == "loaded", f"{kind} {name} is {found.get('status')}: {found.get('reason')}")
    expect(found.get("conformance", "").startswith(conformance), f"{name} is shown as {found.get('conformance')}")


def prove(prefix, library, code=0):
    return run(prefix / "bin/nacelle-conformance", library, code=code)


def pages(folder):
    """Every link of the installed pages leads somewhere."""
    for page in folder.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
            expect(re.match("[a-z]+:", target) or (page.parent / target).exists(), f"{page}: no {target}")
    expect((folder / "docs/api.md").exists(), f"{folder} has no docs")


def examples(prefix, work):
    for name, kind, plugin in (("architecture", "architecture", "twin"), ("minimal_c", "architecture", "attn_only"),
                               ("openblas", "backend", "openblas")):
        folder = work / name
        shutil.copytree(prefix / "share/nacelle/examples" / name, folder)
        build(folder, prefix)
        expect_plugin(prefix, folder / "build", kind, plugin, "unverified")
        run("ctest", "--test-dir", "build", "--output-on-failure", cwd=folder)
        expect_plugin(prefix, folder / "build", kind, plugin, "verified")


def new_plugins(prefix, work):
    nacelle = prefix / "bin/nacelle"
    for kind, name in (("backend", "mine"), ("architecture", "my-family")):
        run(nacelle, "plugin", "new", kind, name, cwd=work)
        for path in re.findall(r"PREFIX/([\w./-]*\w)", (work / name / "README.md").read_text()):
            expect((prefix / path).exists(), f"the new {kind}'s README names {path}, which is not installed")
        build(work / name, prefix)
        libraries = list((work / name / "build").rglob(f"{name}.so"))
        expect(len(libraries) == 1, f"plugin new {kind}: build/**/{name}.so: {libraries}")
        print(prove(prefix, libraries[0]).splitlines()[-1])
        expect_plugin(prefix, libraries[0].parent, kind, name, "verified")
    text = run(nacelle, "run", "--plugin-dir", work / "mine/build", "--device", "mine", "--prompt", "Name a colour.",
               "--greedy", "-n", "8", "--log-level", "off")
    expected = run(nacelle, "run", "--device", "reference", "--prompt", "Name a colour.", "--greedy", "-n", "8",
                   "--log-level", "off")
    expect(text.strip() and text == expected, f"the new backend answers {text!r}, the reference {expected!r}")


def refusals(prefix, work):
    for kind, name in (("backend", "mine"), ("backend", "Upper"), ("backend", "../up"), ("backend", ""), ("backend", "9"),
                       ("backend", "cpu"), ("architecture", "llama"), ("backend", "test"), ("backend", "x" * 32),
                       ("driver", "new"), ("backend", "a b")):
        text = run(prefix / "bin/nacelle", "plugin", "new", kind, name, cwd=work, code=2)
        expect(len(text.strip().splitlines()) == 1, f"plugin new {kind} {name!r} is refused with: {text}")


def broken(prefix, work):
    """A backend that crashes is a finding; one that is built again is unverified; one that is wrong has failed."""
    folder = work / "mine"
    source = folder / "plugin.cpp"
    sound = source.read_text()
    library = folder / "build/mine.so"
    source.write_text(sound.replace("  const Matrix x", "  *static_cast<volatile int*>(nullptr) = 1;\n  const Matrix x", 1))
    build(folder, prefix)
    expect_plugin(prefix, library.parent, "backend", "mine", "unverified")
    expect("ended the process by signal" in prove(prefix, library, code=1), "a crash is not explained")
    expect_plugin(prefix, library.parent, "backend", "mine", "failed")
    source.write_text(sound.replace("sum += x.at(r, k) * w.at(n, k);", "sum += x.at(r, k) * w.at(n, k) * 1.01f;", 1))
    build(folder, prefix)
    expect("FAILED results: matmul" in prove(prefix, library, code=1), "a wrong product is not found")
    family = work / "my-family"
    models = family / "models.json"
    models.write_text(models.read_text().replace("0.1147611", "0.1157611"))
    build(family, prefix)
    expect("gives the stored results" in prove(prefix, family / "build/my-family.so", code=1),
           "other logits than the stored ones are not found")
    text = run(prefix / "bin/nacelle-conformance", prefix / "lib/nacelle/plugins/libnacelle_arch_llama.so", "--models",
               "/dev/null", code=None)
    expect("test models" in text, f"an empty file of models: {text}")


def kept(prefix, folder, source):
    """A plugin that was kept is loaded and proved by this host, and its headers were only added to."""
    run("sha256sum", "--check", "--quiet", "SHA256SUMS", cwd=folder)
    print(run(sys.executable, source / "tests/abi/abi_guard.py", folder / "include/nacelle", prefix / "include/nacelle"), end="")
    for kind in ("backend", "architecture"):
        run(prefix / "bin/nacelle-conformance", folder / f"{kind}.so", "--verdict", "none")
        expect_plugin(prefix, folder, kind, f"kept_{kind}", "unverified")


def main():
    build_folder, source = Path(sys.argv[1]), Path(sys.argv[2])
    os.umask(0o022)
    with tempfile.TemporaryDirectory(prefix="nacelle-sdk-") as temporary:
        work = Path(temporary)
        run("cmake", "--install", build_folder, "--prefix", work / "first")
        prefix = work / "moved"
        (work / "first").rename(prefix)
        found = plugins(prefix, work)
        expect(("backend", "reference") in found and ("architecture", "llama") in found, f"the prefix has {list(found)}")
        answer = run(prefix / "bin/nacelle", "run", "--prompt", "Name a colour.", "--greedy", "-n", "4", "--log-level", "off")
        expect(answer.strip(), "the installed program says nothing")
        pages(prefix / "share/doc/nacelle")
        examples(prefix, work)
        new_plugins(prefix, work)
        refusals(prefix, work)
        broken(prefix, work)
        run(source / "tests/abi/keep", prefix, work / "kept")
        run(source / "tests/abi/keep", prefix, work / "kept", code=1)
        for folder in [work / "kept", *sorted((source / "tests/abi").glob("[0-9]*.[0-9]*"))]:
            kept(prefix, folder, source)
        print(run(sys.executable, source / "tests/abi/abi_guard.py", "--self-test", prefix / "include/nacelle"), end="")
    for failure in failures:
        print("FAILED", failure)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
