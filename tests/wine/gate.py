#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fails when the driver imports something that is neither known to work in Wine nor supplied by a shim.

Usage: gate.py OBJDUMP IMPORTS_H DRIVER STAMP
"""
import re
import subprocess
import sys


def known(path):
    """The names in imports.h."""
    return set(re.findall(r"^(?:WORKS|SHIM|PLAIN)\((\w+)[,)]", open(path).read(), re.MULTILINE))


def imports(objdump, driver):
    """(module, name) of each import."""
    module = None
    for line in subprocess.run([objdump, "-p", driver], check=True, capture_output=True, text=True).stdout.splitlines():
        line = line.strip()
        if line.startswith("DLL Name:"):
            module = line.split()[2].lower()
        elif module and re.match(r"^[0-9a-f]+\s+\d+\s+\w+$", line):
            yield module, line.split()[2]
        elif line.startswith("There is an export table"):
            return


def main():
    objdump, header, driver, stamp = sys.argv[1:]
    listed = known(header)
    found = list(imports(objdump, driver))
    if not any(module == "vmbkmclr.sys" for module, _ in found):
        sys.exit("%s imports nothing from vmbkmclr.sys: is it the driver?" % driver)
    strange = [name for module, name in found if module != "vmbkmclr.sys" and name not in listed]
    if strange:
        sys.exit("%s imports %s: see tests/wine/imports.h" % (driver, ", ".join(strange)))
    open(stamp, "w").close()


if __name__ == "__main__":
    main()
