#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the suites that need a guest, and counts test cases.

Usage: tests/vm/check.py [--build DIR] [--kernel LINE]... [--suite NAME]... [--set SET] [--verbose]

The last line is "N passed, N failed, N skipped"; the exit status is 0 only when none failed. What was counted goes
to vm.json in the build directory.
"""
import argparse
import json
import os
import re
import sys
import time

import kernels
from suites import CONFIGS, FIGURES, SUITES
from vm import Machine, kvm_works

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(kernels.TOP, "bench"))
from bench import holds, machine, table  # noqa: E402

# What a healthy kernel doesn't say.
TROUBLE = re.compile(r"BUG:|BUG |WARNING:|Oops|lockup|LOCKUP|self-detected stall|Call Trace|blocked for more than|"
                     r"general protection|refcount_t|[Kk]ernel panic|leak|KASAN|unreferenced object|list_(?:add|del) corruption|"
                     r"page allocation failure|scheduling while atomic|inconsistent lock|deadlock|Bad page|double free|"
                     r"still has .* use|unable to handle")
# An interrupt that comes while the first instruction of its own handler is still to run, with interrupts off: no CPU does
# that, but QEMU's emulation of a virtual machine in a virtual machine does once in some hours.
TWICE = re.compile(r"RIP: 0010:asm_sysvec_\w+\+0x0/")
# By the VMM (vmm/state.c), when it is asked what the guest's CPUs are at.
STATE = re.compile(r"^vmm: state of \d+ CPUs:", re.M)
PROGRAMS = ("guest/tools/winapi", "guest/tools/test_client")
BOOT_SECONDS = 240
# Seconds: what a suite left is looked at for a minute or so. One that takes too long is ended in the guest, unless that
# doesn't move any more.
AFTER_SUITE = 180
DEBUG_TAKES = 4  # times as long
ENOUGH = 3  # machines that ended before their time


class Counts:
    def __init__(self):
        self.passed = self.failed = self.skipped = self.ended = 0
        self.figures = {}

    def fail(self, text):
        self.failed += 1
        print("FAILED: " + text, flush=True)

    def case(self, where, line):
        """A line of TAP."""
        if line.startswith("not ok"):
            self.fail("%s: %s" % (where, line[len("not ok"):].strip(" -")))
        elif re.search(r"# *skip", line, re.I):
            self.skipped += 1
            print("SKIPPED: %s: %s" % (where, line[len("ok"):].strip(" -")), flush=True)
        else:
            self.passed += 1

    def figure(self, line):
        name, value, unit = line.split(maxsplit=4)[2:]
        self.figures[name] = (float(value), unit)


class Reader:
    """Takes the guest's output line by line: where it is, what held, what the kernel said."""

    def __init__(self, where, suites, counts, verbose):
        self.where, self.counts, self.verbose = where, counts, verbose
        self.seconds = {suite.name: suite.timeout + AFTER_SUITE for suite in suites}
        self.suite = None
        self.done = []
        self.dmesg = None

    def line(self, line):
        """How long it may take from there is returned by a line that begins a suite."""
        if self.verbose:
            print("    " + line, flush=True)
        mark = re.match(r"=== (\w+) ?(.*)", line)
        if mark:
            self.mark(mark.group(1), mark.group(2))
            return self.seconds[self.suite] if mark.group(1) == "suite" else None
        if self.dmesg is not None:
            self.dmesg.append(line)
        elif self.suite and re.match(r"(not )?ok\b", line):
            self.counts.case("%s: %s" % (self.where, self.suite), line)
            self.cases += 1
        elif self.suite and line.startswith("# figure "):
            self.counts.figure(line)
        elif line.startswith("#") and not self.verbose:
            self.remark(line)
        return None

    def remark(self, line):
        print("    " + line, flush=True)

    def mark(self, what, name):
        if what == "suite":
            self.suite, self.cases, self.begin = name, 0, time.monotonic()
        elif what == "dmesg":
            self.dmesg = []
        elif what == "end":
            self.judge()
            self.done.append(name)
            print("== %s: %s: %d cases in %d s" % (self.where, name, self.cases, time.monotonic() - self.begin), flush=True)
            self.suite = None
        elif what == "hung":
            self.judge()

    def judge(self):
        trouble = [line for line in self.dmesg if TROUBLE.search(line)]
        if trouble:
            self.counts.fail("%s: %s: the kernel says: %s" % (self.where, self.suite, trouble[0]))
            print("\n".join("    " + line for line in self.dmesg[-120:]), flush=True)
        else:
            self.counts.passed += 1
        self.cases += 1
        self.dmesg = None


def machine_of(build, line, suites, folder=None, stock=(), **more):
    """With the driver for a kernel, if any suite wants it, what the suites need, and more of the kernel's own modules."""
    kernels.alone()
    kernel = kernels.kernel(line)
    modules = kernel.modules("hv_vmbus", "hyperv_keyboard", "evdev", *stock)
    if line == kernels.DEBUG:
        more["memory"] = 1600  # KASAN and its like take their share
    if any(suite.driver for suite in suites):
        modules.append(kernels.build_module(line))
    made = Machine(build, os.path.join(build, "vm", folder or line), kernel, modules, configs=CONFIGS,
                   programs={"vm_backend": os.path.join(build, "tests/vm/backend/vm_backend"),
                             "vm_vsock": os.path.join(build, "tests/vm/guest/vm_vsock")}, **more)
    guest = made.guest
    guest.file("script", os.path.join(HERE, "guest/run.sh"))
    guest.file("lib.sh", os.path.join(HERE, "guest/lib.sh"))
    for suite in suites:
        guest.text("suites/" + suite.name, ". /lib.sh\n" + suite.script)
        guest.text("suites/" + suite.name + ".sh", "backend='%s'\ndriver=%d\ntimeout=%d\n"
                   % (suite.backend, suite.driver, suite.timeout))
    guest.text("suites/order", "".join(suite.name + "\n" for suite in suites))
    for path in PROGRAMS + tuple(path for suite in suites for path in suite.programs):
        guest.program("bin/" + os.path.basename(path), os.path.join(build, path))
    return made


def emulations_fault(status, output):
    """What emulation did to a machine that ended before its time; None: it isn't known to have done anything."""
    if TWICE.search(output):
        return "delivered an interrupt twice"
    if status is None and not STATE.search(output):
        return "moves no more, the machine around the guest included"
    return None


def boot(build, line, suites, counts, verbose):
    """One machine through as many suites as it gets; returns those that it didn't come to."""
    made = machine_of(build, line, suites)
    reader = Reader("%s (Linux %s)" % (line, made.kernel.version), suites, counts, verbose)
    status, output = made.run(BOOT_SECONDS, echo=reader.line)
    rest = [suite for suite in suites if suite.name not in reader.done]
    if status == 0 and not rest:
        return []
    at = reader.suite or "boot"
    last = "\n".join("    " + text for text in output.splitlines()[-80:])
    counts.ended += 1
    fault = None if kvm_works(build) else emulations_fault(status, output)
    if fault and counts.ended < ENOUGH:
        print("== %s: %s: QEMU's emulation %s; once more from there. The last lines:" % (reader.where, at, fault))
        print(last, flush=True)
        return rest
    counts.fail("%s: %s: the machine ended with status %s; its last lines:" % (reader.where, at, status))
    print(last, flush=True)
    if reader.suite and counts.ended < ENOUGH:
        return [suite for suite in rest if suite.name != at]
    for suite in rest[1:]:
        counts.fail("%s: %s didn't run" % (reader.where, suite.name))
    return []


def gate(counts, build):
    """Figures against their bounds, in the shape of bench.json."""
    rows = []
    for name, (value, unit) in sorted(counts.figures.items()):
        bound = FIGURES.get(name)
        row = {"name": name, "value": value, "unit": unit, "to": None, "ratio": None, "bound": bound, "low": value, "high": value}
        if bound:
            row["met"] = holds(value, bound)
            if row["met"]:
                counts.passed += 1
            else:
                counts.fail("%s is %g %s, not %s" % (name, value, unit, bound))
        rows.append(row)
    if rows:
        print(table(rows))
        with open(os.path.join(build, "vm.json"), "w") as f:
            json.dump({"machine": machine(), "rows": rows}, f, indent=1)
    return {row["name"] for row in rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--kernel", action="append", choices=list(kernels.LINES) + [kernels.DEBUG, "every"],
                        help="every: all of Debian's; %s is the default" % kernels.DEFAULT)
    parser.add_argument("--suite", action="append", help="these suites alone")
    parser.add_argument("--set", default="all", help="suites that belong there")
    parser.add_argument("--verbose", action="store_true", help="all that the machine prints")
    arguments = parser.parse_args()
    build, counts = os.path.abspath(arguments.build), Counts()
    chosen = [suite for suite in SUITES
              if (suite.name in arguments.suite if arguments.suite else arguments.set in suite.sets)]
    lines = arguments.kernel or [kernels.DEFAULT]
    for line in kernels.LINES if "every" in lines else lines:
        rest = chosen
        if line == kernels.DEBUG:
            rest = [suite._replace(timeout=DEBUG_TAKES * suite.timeout) for suite in chosen]
        while rest:
            rest = boot(build, line, rest, counts, arguments.verbose)
    seen = gate(counts, build)
    for name in sorted(set(FIGURES) - seen) if arguments.set == "all" and not arguments.suite else []:
        counts.fail("figure %s wasn't counted" % name)
    print("on /dev/kvm" if kvm_works(build) else "on nested QEMU TCG: /dev/kvm isn't there or runs no guests")
    print("%d passed, %d failed, %d skipped" % (counts.passed, counts.failed, counts.skipped))
    return 1 if counts.failed or not counts.passed else 0


if __name__ == "__main__":
    sys.exit(main())
