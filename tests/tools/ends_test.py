#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How the tools end: each exit status of each command, output that can't be written, input that can't be read.

Usage: ends_test.py WINAPI TEST_CLIENT SHIM
"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from tap import Held, check, daemon, finish, run  # noqa: E402

WINAPI, CLIENT, SHIM = sys.argv[1:4]
PRIVATE = ["--transport", "local:"]
NOWHERE = ["--transport", "local:/nonexistent/socket"]

# Each command as short as it can be, what is wrong usage of it, and a function it calls.
COMMANDS = [
    ([WINAPI, "info"], ["extra"], "winapi_list_apis"),
    ([WINAPI, "echo", "text"], ["--count", "0"], "winapi_echo"),
    ([WINAPI, "buffer", "--size", "4K"], ["--count", "9"], "winapi_buffer_test_write"),
    ([WINAPI, "perf", "--calls", "100"], ["--size", "4K"], "winapi_perf_throughput"),
    ([WINAPI, "stat"], ["--watch", "0"], "winapi_get_stats"),
    ([CLIENT, "--quick"], ["extra"], "winapi_echo"),
]


def name_of(command):
    return " ".join([os.path.basename(command[0])] + command[1:2])


def lose_host(command, function):
    """Its host is killed under a call."""
    with tempfile.TemporaryDirectory() as folder, daemon(folder) as (host, uri):
        held = Held(SHIM, function, command + ["--transport", uri], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        reached = held.reached()
        host.kill()
        host.wait()
        output, errors = held.end()
        return reached, held.process.returncode, output, errors


def check_statuses():
    for command, wrong, function in COMMANDS:
        name, tool = name_of(command), os.path.basename(command[0]) + ": "
        done = run(*command, *PRIVATE)
        check(name + " exits 0 when all is well", done.returncode == 0 and not done.stderr, done)
        reached, status, output, errors = lose_host(command, function)
        said = output if command[0] == CLIENT else errors
        check(name + " exits 1 when a call fails, and says why", reached and status == 1 and
              ("FAILED" in said if command[0] == CLIENT else said.startswith(tool) and len(said) > len(tool) + 1),
              (reached, status, output, errors))
        done = run(*command, *wrong, *PRIVATE)
        check(name + " exits 2 for wrong usage", done.returncode == 2 and done.stderr.startswith(tool), done)
        done = run(*command, *NOWHERE)
        check(name + " exits 3 without a host", done.returncode == 3 and done.stderr.startswith(tool), done)
    reached, status, _, errors = lose_host([WINAPI, "perf", "--calls", "100", "--in-flight", "8"], "winapi_submit")
    check("winapi perf --in-flight exits 1 when a call fails", reached and status == 1 and len(errors) > 10, errors)


def check_full():
    """/dev/full takes nothing; what isn't flushed before the end must be noticed at the end."""
    commands = [command + PRIVATE for command, _, _ in COMMANDS]
    commands += [command + ["--json"] for command in commands]
    commands += [[tool, flag] for tool in (WINAPI, CLIENT) for flag in ("--help", "--version")]
    commands += [[WINAPI, "stat", "--watch", "1"] + PRIVATE]
    for command in commands:
        with open("/dev/full", "w") as full:
            done = run(*command, stdout=full)
        check("%s exits 1 when its output can't be written" % " ".join([os.path.basename(command[0])] + command[1:]),
              done.returncode == 1 and done.stderr.count("standard output: ") == 1, done)


def check_input():
    folder = os.open("/", os.O_RDONLY)
    done = run(WINAPI, "echo", "-", *PRIVATE, stdin_file=folder)
    os.close(folder)
    check("winapi echo - says why it can't read, and exits 1", done.returncode == 1 and
          "standard input: " in done.stderr and not done.stdout, done)


def check_wrong_results():
    """The host answers, but not what it should."""
    for method in ("write", "read", "verify"):
        done = run(WINAPI, "buffer", "--count", "2", "--size", "64K", *PRIVATE,
                   env=dict(os.environ, LD_PRELOAD=SHIM, TOOLS_WRONG=method))
        lines = done.stderr.splitlines()
        check("winapi buffer: a wrong %s exits 1 with a reason" % method, done.returncode == 1 and
              done.stdout.count("WRONG") == 1 and done.stdout.count("right") == 2 and len(lines) == 1 and
              lines[0].startswith("winapi: %s: the " % method) and len(lines[0]) > 30, done)
        done = run(CLIENT, "--buffer-only", "--quick", *PRIVATE,
                   env=dict(os.environ, LD_PRELOAD=SHIM, TOOLS_WRONG=method))
        check("test_client: a wrong %s exits 1" % method, done.returncode == 1 and
              done.stdout.count("FAILED %s" % method.upper()) == 6 and done.stdout.endswith(", 6 failed\n"), done)


def main():
    check_statuses()
    check_full()
    check_input()
    check_wrong_results()
    return finish()


if __name__ == "__main__":
    sys.exit(main())
