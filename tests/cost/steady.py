#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""While both sides poll, the host makes no system call for a small call.

Counts with strace. Two kinds don't go with calls and aren't bounded: epoll_wait, by which a polling host
looks at its sockets about every 100 us, and those of start and end, which many calls make small.
"""
import os
import re
import subprocess
import sys
import tempfile

BOUND = 0.005
CALLS = 200000


def system_calls(steady):
    """Counts by name of a private host and all its threads while `steady` makes its calls."""
    with tempfile.TemporaryDirectory() as folder:
        wrapper = os.path.join(folder, "hostd")
        counts = os.path.join(folder, "counts")
        with open(wrapper, "w") as f:
            f.write('#!/bin/sh\nexec strace -f -c -o "%s" "%s" "$@"\n' % (counts, os.environ["WINAPI_HOSTD"]))
        os.chmod(wrapper, 0o755)
        subprocess.run([steady, str(CALLS)], check=True, env=dict(os.environ, WINAPI_HOSTD=wrapper))
        lines = re.findall(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s+(?:\d+\s+)?(\w+)$", open(counts).read(), re.M)
    return {name: int(count) for count, name in lines if name != "total"}


def main():
    print("1..1")
    counts = system_calls(sys.argv[1])
    looks = counts.pop("epoll_wait", 0)
    total = sum(counts.values())
    print("# %d calls: %d looks at the sockets, %d other system calls" % (CALLS, looks, total))
    good = looks and 0 < total <= CALLS * BOUND
    print("%s 1 - the host makes at most %g system calls per polled call" % ("ok" if good else "not ok", BOUND))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
