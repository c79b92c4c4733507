#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures winapi over VMBus in a guest, beside AF_VSOCK (vhost) in the same guest.

Usage: tests/vm/bench.py [--build DIR] [--emulated]

Only where /dev/kvm runs an ordinary guest do times say anything; elsewhere this says so and ends. --emulated runs
it all the same, to see that it works.
"""
import argparse
import json
import os
import re
import sys

import kernels
from check import machine_of
from suites import Suite
from vm import kvm_works

SCRIPT = """
winapi perf --calls %(calls)d --size 64 --json --transport vmbus: | tr -d '\\n'
echo
vm_vsock %(calls)d
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--emulated", action="store_true")
    arguments = parser.parse_args()
    build = os.path.abspath(arguments.build)
    if not kvm_works(build) and not arguments.emulated:
        print("bench-vm: nothing measured: /dev/kvm isn't there, or runs no ordinary guest, and times under emulation say nothing")
        return 0
    return measure(build, 200 if arguments.emulated else 20000)


def measure(build, calls):
    suite = Suite("bench", SCRIPT % {"calls": calls}, ("tests/vm/guest/vm_vsock",), timeout=900)
    made = machine_of(build, kernels.DEFAULT, [suite], "bench", beside="vm_vsock serve &", options="--vsock 42",
                      stock=("vmw_vsock_virtio_transport", "virtio_mmio"))
    status, output = made.run(1000)
    found = re.search(r"^\{.*\}$", output, re.M)
    figures = dict(re.findall(r"# figure (vsock_\w+) ([\d.]+)", output))
    if status != 0 or not found or len(figures) != 2:
        print(output)
        return 1
    perf = json.loads(found.group(0))
    largest = max(perf["throughput"], key=lambda row: row["size"])
    print("64-byte echo, median of %d       vmbus: %8.2f us     AF_VSOCK %8.2f us"
          % (calls, perf["latency"]["round_trip"]["p50"] / 1e3, float(figures["vsock_echo64"])))
    print("%3d MiB, read by the host        vmbus: %8.2f GB/s   AF_VSOCK %8.2f GB/s (64 MiB sent, then read)"
          % (largest["size"] >> 20, largest["read"], float(figures["vsock_64m"])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
