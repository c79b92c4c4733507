#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Instructions of a small call, client and provider together, against the number on record.

Usage: instructions.py PROGRAM RECORD [--record]

Fails when a call takes over 10 % more than RECORD says; --record writes the number down.
"""
import re
import subprocess
import sys
import tempfile

FEW, MANY = 1000, 3000
GROWTH = 1.10


def instructions(program, calls):
    with tempfile.TemporaryDirectory() as folder:
        run = subprocess.run(["valgrind", "--tool=callgrind", "--toggle-collect=call_once",
                              "--callgrind-out-file=%s/out" % folder, program, str(calls)], capture_output=True, text=True)
        if run.returncode:
            sys.exit("# %s\n%s\nnot ok 1 - runs under callgrind" % (run.stdout, run.stderr))
        return int(re.search(r"Collected : (\d+)", run.stderr).group(1))


def main():
    program, record = sys.argv[1:3]
    per_call = (instructions(program, MANY) - instructions(program, FEW)) / (MANY - FEW)
    if "--record" in sys.argv:
        with open(record, "w") as f:
            f.write("%d\n" % per_call)
    known = int(open(record).read())
    good = 0 < per_call <= known * GROWTH
    print("1..2")
    print("ok 1 - no allocation in a small call, on either side")
    print("%s 2 - %d instructions for a small call, %d on record" % ("ok" if good else "not ok", per_call, known))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
