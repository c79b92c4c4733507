#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Boots bookworm's kernel with winapi_client and shows test_client and the kernel's log there.

Usage: tests/vm/demo.py [--build DIR]
"""
import argparse
import os
import sys

import kernels
from check import machine_of
from suites import Suite
from vm import kvm_works

SCRIPT = """
echo
uname -srm
ls -l /dev/winapi
echo
user test_client --quick --transport vmbus:
"""


class Show:
    """What comes after the suite's mark, but for its own TAP; of the kernel's log, what is about VMBus."""

    def __init__(self):
        self.part = None

    def line(self, line):
        if line.startswith("=== "):
            self.part = line.split()[1]
            if self.part == "dmesg":
                print("\ndmesg:")
        elif self.part == "suite" and not line.startswith(("ok - demo", "# slab")) or \
                self.part == "dmesg" and ("winapi" in line or "hv_vmbus" in line):
            print(line, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    build = os.path.abspath(parser.parse_args().build)
    suite = Suite("demo", SCRIPT)
    print("Linux in our test VMM, %s; this takes a while."
          % ("on /dev/kvm" if kvm_works(build) else "in QEMU's emulation: times say nothing"), flush=True)
    status, _ = machine_of(build, kernels.DEFAULT, [suite], "demo").run(600, echo=Show().line)
    return 0 if status == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
