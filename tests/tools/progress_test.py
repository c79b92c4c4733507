#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What takes more than a second says on a terminal how far it is, and nowhere else.

A call is held until the terminal has shown a line, so nothing here depends on how fast the machine is.
Usage: progress_test.py WINAPI TEST_CLIENT SHIM
"""
import os
import pty
import re
import select
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from tap import PATIENCE, Held, check, finish  # noqa: E402

WINAPI, CLIENT, SHIM = sys.argv[1:4]

CASES = [
    ("connecting", [WINAPI, "info"], "winapi_open", r"\rwaiting for the host: \d+ s"),
    ("echo --count", [WINAPI, "echo", "x", "--count", "3"], "winapi_echo", r"\rechoes: +\d+ %"),
    ("buffer, sharing", [WINAPI, "buffer"], "winapi_buffer_alloc", r"\rsharing: +\d+ %"),
    ("buffer, write", [WINAPI, "buffer"], "winapi_buffer_test_write", r"\rwrite: +\d+ %"),
    ("buffer, read", [WINAPI, "buffer"], "winapi_buffer_test_read", r"\rread: +33 %"),
    ("buffer, verify", [WINAPI, "buffer"], "winapi_buffer_test_verify", r"\rverify: +50 %"),
    ("perf, round trips", [WINAPI, "perf", "--calls", "100"], "winapi_call", r"\rround trips: +\d+ %"),
    ("perf, in flight", [WINAPI, "perf", "--calls", "100", "--in-flight", "8"], "winapi_submit", r"\rcalls: +\d+ %"),
    ("perf, throughput", [WINAPI, "perf", "--calls", "100"], "winapi_perf_throughput", r"\rthroughput: +0 %"),
    ("test_client, buffers", [CLIENT, "--buffer-only", "--quick"], "winapi_buffer_test_read", r"\r1 x 4 KiB: \d+ s"),
    ("test_client, throughput", [CLIENT, "--perf-only", "--quick"], "winapi_perf_throughput", r"\rthroughput: +0 %"),
]


def read_until(terminal, pattern, seen=""):
    """What a terminal shows up to a pattern, or up to the end."""
    end = time.monotonic() + PATIENCE
    while not (pattern and re.search(pattern, seen)) and time.monotonic() < end:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            piece = os.read(terminal, 4096)
        except OSError:  # EIO: nobody has the other end any more
            break
        if not piece:
            break
        seen += piece.decode()
    return seen


def on_terminal(command, function, pattern):
    terminal, other = pty.openpty()
    held = Held(SHIM, function, command + ["--transport", "local:"], stdout=subprocess.PIPE, stderr=other)
    os.close(other)
    reached = held.reached()
    during = read_until(terminal, pattern)
    held.go()
    output, _ = held.end()
    seen = read_until(terminal, None, during)
    os.close(terminal)
    return reached, held.process.returncode, output, during, seen


def elsewhere(command, function):
    """Held for longer than it takes for a line to come on a terminal."""
    held = Held(SHIM, function, command + ["--transport", "local:"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reached = held.reached()
    time.sleep(1.5)
    output, errors = held.end()
    return reached, held.process.returncode, output, errors


def main():
    for name, command, function, pattern in CASES:
        reached, status, output, during, seen = on_terminal(command, function, pattern)
        check("progress on a terminal: " + name, reached and status == 0 and re.search(pattern, during), (status, during))
        check("and it is wiped away at the end: " + name, re.search(r"\r\x1b\[K$", seen) and "%" not in output,
              (output, seen))
    for name, command, function, _ in CASES[1:4:2] + CASES[8:9]:
        reached, status, output, errors = elsewhere(command, function)
        check("no progress elsewhere: " + name, reached and status == 0 and not errors and "\r" not in output,
              (status, output, errors))
    return finish()


if __name__ == "__main__":
    sys.exit(main())
