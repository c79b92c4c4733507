#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Notices when a function that the models follow changes without anybody looking at the models.

Usage: drift_test.py SOURCE_ROOT [--accept]

reviewed.txt has a line for each: file, function, hash of its text without comments and white space. When
one differs, compare the function with its steps in ring_model.c and duplex_model.c, change those if they
must, and then run this with --accept.
"""
import hashlib
import os
import re
import sys


def function_text(source, name):
    """From the function's name at its definition to the brace in column 0 that ends it."""
    match = re.search(r"^\w[^;{}()]*\b%s\([^;{]*\)\n\{\n.*?^\}" % re.escape(name), source, re.M | re.S)
    return match.group(0) if match else None


def digest(text):
    text = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    return hashlib.sha256(re.sub(r"\s+", "", text).encode()).hexdigest()[:16]


def main():
    root = sys.argv[1]
    accept = sys.argv[2:] == ["--accept"]
    path = os.path.join(root, "tests/model/reviewed.txt")
    lines = [line.split() for line in open(path) if line.strip() and not line.startswith("#")]
    failed = 0
    print("1..%d" % len(lines))
    for number, line in enumerate(lines, 1):
        file, name = line[:2]
        text = function_text(open(os.path.join(root, file)).read(), name)
        now = digest(text) if text else "gone"
        good = bool(text) and (accept or line[2:] == [now]) # one that isn't found isn't followed by anybody
        failed += not good
        print("%s %d - %s is as the models follow it" % ("ok" if good else "not ok", number, name))
        if not good:
            print("# %s in %s has changed or is gone: compare it with the models, then drift_test.py --accept" % (name, file))
        line[2:] = [now]
    if accept:
        header = [line for line in open(path) if line.startswith("#")]
        with open(path, "w") as f:
            f.writelines(header + ["%s %s %s\n" % tuple(line) for line in lines])
    return 1 if failed or not lines else 0


if __name__ == "__main__":
    sys.exit(main())
