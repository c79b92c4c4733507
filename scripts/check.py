#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs every test, on every build it belongs to, and counts test cases.

Usage: scripts/check.py [--only BUILD] [--suite SUITE]

The last line is "N passed, N failed, N skipped"; the exit status is 0 only when none failed.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# name: (compiler, meson options, suites or None for all)
BUILDS = {
    "gcc": ("gcc", ["-Dtests=enabled", "-Dman=enabled"], None),
    "clang": ("clang", ["-Dtests=enabled"], ["unit"]),  # what it warns of, in all of the tree
    "asan": ("clang", ["-Dtests=enabled", "-Dfuzz=true", "-Db_sanitize=address,undefined", "-Db_lundef=false"],
             ["unit", "conformance", "hostile", "fuzz"]),
    "tsan": ("clang", ["-Dtests=enabled", "-Db_sanitize=thread", "-Db_lundef=false"], ["unit", "threads"]),
    "windows": ("x86_64-w64-mingw32-gcc", ["--cross-file", "scripts/mingw-w64.ini"], None),
}
# The Windows driver is called by programs of this build.
NATIVE = {"windows": "gcc"}

# What needs a guest, with the programs of the gcc build: all suites on one kernel, the chief ones on another.
VM_RUNS = [["--kernel", "6.1", "--set", "all"], ["--kernel", "6.12", "--set", "brief"]]

ENVIRONMENT = {
    "ASAN_OPTIONS": "detect_leaks=1:allocator_may_return_null=1",
    "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


def run(command, **kwargs):
    return subprocess.run(command, cwd=TOP, **kwargs)


def build(name, compiler, options):
    """Sets a build up and compiles it; returns its directory, or None when that failed."""
    folder = os.path.join("build-check", name)
    log = os.path.join(TOP, "build-check", name + ".log")
    os.makedirs(os.path.dirname(log), exist_ok=True)
    environment = os.environ if name in NATIVE else dict(os.environ, CC=compiler)
    setup = ["meson", "setup", folder] + options
    if os.path.exists(os.path.join(TOP, folder, "build.ninja")):
        setup.append("--reconfigure")
    with open(log, "w") as out:
        for command in (setup, ["meson", "compile", "-C", folder]):
            if run(command, env=environment, stdout=out, stderr=subprocess.STDOUT).returncode:
                break
        else:
            return folder
    sys.stdout.write(open(log).read())
    return None


def test(folder, suites):
    """Runs the suites of a build and returns the test cases it reported: [passed, failed, skipped]."""
    command = ["meson", "test", "-C", folder, "--no-rebuild", "--print-errorlogs", "--num-processes", "1",
               "--timeout-multiplier", "3"]  # against hanging for ever, not against a slow machine
    for suite in suites or []:
        command += ["--suite", suite]
    report = os.path.join(TOP, folder, "meson-logs", "testlog.junit.xml")
    if os.path.exists(report):
        os.unlink(report)
    native = os.path.join(TOP, "build-check", "gcc")
    status = run(command, env=dict(os.environ, WINAPI_NATIVE_BUILD=native, **ENVIRONMENT)).returncode
    counts = count(report) if os.path.exists(report) else [0, 0, 0]
    if status and not counts[1]:
        counts[1] = 1  # a test program died, or meson itself failed
    return counts


def count(report):
    counts = [0, 0, 0]
    for case in ElementTree.parse(report).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            counts[1] += 1
            print("FAILED: %s" % case.get("name"))
        elif case.find("skipped") is not None:
            counts[2] += 1
            print("SKIPPED: %s" % case.get("name"))
        else:
            counts[0] += 1
    return counts


def test_vm(folder):
    total = [0, 0, 0]
    for arguments in VM_RUNS:
        command = [sys.executable, "tests/vm/check.py", "--build", folder] + arguments
        last = ""
        with subprocess.Popen(command, cwd=TOP, stdout=subprocess.PIPE, text=True) as process:
            for last in process.stdout:
                print(last, end="", flush=True)
        found = re.match(r"(\d+) passed, (\d+) failed, (\d+) skipped", last)
        counts = [int(n) for n in found.groups()] if found else [0, 1, 0]
        total = [a + b for a, b in zip(total, counts)]
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--only", choices=sorted(BUILDS) + ["vm"], help="this build alone; vm: the guest, with gcc's")
    parser.add_argument("--suite", action="append", help="these suites alone")
    arguments = parser.parse_args()
    total = [0, 0, 0]
    for name, (compiler, options, suites) in BUILDS.items():
        if arguments.only and name != arguments.only and (arguments.only, name) != ("vm", "gcc"):
            continue
        if not shutil.which(compiler):
            sys.exit("%s isn't installed" % compiler)
        begin = time.monotonic()
        print("== %s: building" % name, flush=True)
        native = NATIVE.get(name)
        folder = build(name, compiler, options) if not native or build(native, *BUILDS[native][:2]) else None
        if folder and arguments.only == "vm":
            counts = [0, 0, 0]
        elif folder:
            counts = test(folder, arguments.suite or suites)
        else:
            print("FAILED: build %s" % name)
            counts = [0, 1, 0]
        total = [a + b for a, b in zip(total, counts)]
        print("== %s: %d passed, %d failed, %d skipped in %d s"
              % (name, *counts, time.monotonic() - begin), flush=True)
    if arguments.only in (None, "vm") and not arguments.suite:
        total = [a + b for a, b in zip(total, test_vm("build-check/gcc"))]
    print("%d passed, %d failed, %d skipped" % tuple(total))
    return 1 if total[1] or not total[0] else 0


if __name__ == "__main__":
    sys.exit(main())
