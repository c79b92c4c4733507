#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/extending.md is true: its excerpts are in their files, and its commands work as printed.

Usage: extending_test.py SOURCE_ROOT SCRATCH
"""
import os
import re
import shutil
import subprocess
import sys

SOURCES = ["common", "docs", "guest", "host", "include", "meson.build", "meson_options.txt", "tests", "bench"]
count = failed = 0


def report(good, name):
    global count, failed
    count += 1
    failed += not good
    print("%s %d - %s" % ("ok" if good else "not ok", count, name), flush=True)


def check_excerpts(root, text):
    found = re.findall(r"<!-- (\S+) -->\n```\w+\n(.*?)```", text, re.S)
    for name, excerpt in found:
        with open(os.path.join(root, "docs", name)) as f:
            report(excerpt in f.read(), "excerpt of %s: %s" % (name, excerpt.strip().split("\n")[0].strip()))
    marked = len(re.findall(r"^```(?:c|diff)$", text, re.M))
    report(len(found) == marked > 5, "every excerpt names its file")


def copy_tree(root, to):
    if os.path.exists(to):
        shutil.rmtree(to)
    os.makedirs(to)
    for name in SOURCES:
        source = os.path.join(root, name)
        if os.path.isdir(source):
            shutil.copytree(source, os.path.join(to, name), ignore=shutil.ignore_patterns("__pycache__", "corpus"))
        else:
            shutil.copy(source, to)


def run_commands(tree, text):
    """All of them in one shell, as a reader would. Its exit status and output."""
    script = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S))
    return subprocess.run(["sh", "-e", "-c", script], cwd=tree, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True)


def main():
    root, scratch = sys.argv[1:]
    with open(os.path.join(root, "docs", "extending.md")) as f:
        text = f.read()
    check_excerpts(root, text)
    tree = os.path.join(scratch, "tree")
    copy_tree(root, tree)
    ran = run_commands(tree, text)
    report(ran.returncode == 0, "the commands run")
    report(ran.stdout.count("right ") == 4 and "WRONG" not in ran.stdout, "the application gets right answers")
    report(re.search(r"^\s*4\s.*\btext$", ran.stdout, re.M) is not None, "winapi info lists the API")
    if failed:
        print("\n".join("# " + line for line in ran.stdout.split("\n")))
    print("1..%d" % count)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
