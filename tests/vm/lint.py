#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What the kernel's own checkers say of guest/driver: checkpatch and coccicheck, from Debian's linux-source.

The tree is that of the debug kernel (tests/vm/kernels.py). Sparse looks at the driver in each build on bookworm's
headers. The last line is "N passed, N failed, N skipped".
"""
import glob
import os
import re
import subprocess
import sys

import kernels

DRIVER = os.path.join(kernels.TOP, "guest/driver")
# One source for many kernels has to ask for the version, and a designator in a macro is no index.
IGNORED = "LINUX_VERSION_CODE,CONSTANT_COMPARISON,BRACKET_SPACE"


def output(command, tree):
    done = subprocess.run(command, cwd=tree, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    return done.returncode, done.stdout


def checkpatch(tree):
    """What it found, and how much it looked at."""
    files = sorted(glob.glob(os.path.join(DRIVER, "*.[ch]")))
    _, text = output(["perl", "scripts/checkpatch.pl", "--no-tree", "--emacs", "--file", "--max-line-length=110",
                      "--ignore=" + IGNORED] + files, tree)
    totals = re.findall(r"^total: .* (\d+) lines checked", text, re.M)
    return re.findall(r"^.*: (?:ERROR|WARNING|CHECK): .*", text, re.M), len(totals) == len(files)


def coccicheck(tree):
    status, text = output(["make", "coccicheck", "M=" + DRIVER, "MODE=report", "J=1", "V=1"], tree)
    scripts = set(re.findall(r"--cocci-file \S+/(\S+\.cocci)", text))
    return re.findall(r"^%s/.*" % re.escape(DRIVER), text, re.M), status == 0 and len(scripts) > 50


def main():
    kernels.alone()
    kernels.kernel(kernels.DEBUG)
    tree, failed = os.path.join(kernels.CACHE, kernels.DEBUG), 0
    for check in (checkpatch, coccicheck):
        findings, whole = check(tree)
        if findings or not whole:
            failed += 1
            print("FAILED: %s%s" % (check.__name__, "" if whole else ": it didn't look at everything"))
            print("\n".join("    " + line for line in findings), flush=True)
    print("%d passed, %d failed, 0 skipped" % (2 - failed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
