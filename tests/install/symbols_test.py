#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""libwinapi.so exports what winapi.h declares, under a version, and nothing else."""
import re
import subprocess
import sys


def main():
    library, header = sys.argv[1:3]
    table = subprocess.run(["nm", "-D", "--defined-only", "--with-symbol-versions", library], check=True,
                           capture_output=True, text=True).stdout
    exported = set(re.findall(r"^\S+ [TWBDR] (\w+)@@WINAPI_", table, re.M))
    stray = {line.split()[-1] for line in table.splitlines()
             if not re.search(r"@@WINAPI_", line) and not re.search(r" A WINAPI_", line)}
    text = re.sub(r"/\*.*?\*/", "", open(header).read(), flags=re.S)
    declared = set(re.findall(r"WINAPI_PUBLIC[^;(]*?\b(winapi_\w+)\s*\(", text))
    good = declared and declared == exported
    print("1..2")
    print("%s 1 - every declared function is exported %s" % ("ok" if good else "not ok",
                                                            sorted(declared ^ exported) or ""))
    print("%s 2 - nothing is exported without a version %s" % ("not ok" if stray else "ok", sorted(stray) or ""))
    return 0 if good and not stray else 1


if __name__ == "__main__":
    sys.exit(main())
