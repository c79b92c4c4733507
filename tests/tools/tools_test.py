#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The tools against a private host: what they print, what they refuse, how they exit.

Usage: tools_test.py WINAPI TEST_CLIENT COMPLETION
"""
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from tap import check, finish, run, wait_for  # noqa: E402

WINAPI, CLIENT, COMPLETION = sys.argv[1:4]


def winapi(*arguments, stdin=""):
    return run(WINAPI, *arguments, "--transport", "local:", stdin=stdin)


def main():
    done = winapi("info")
    check("info names the provider and every API", done.returncode == 0 and "winapi-hostd" in done.stdout and
          all(name in done.stdout for name in ("introspection", "echo", "buffer test", "perf test")), done)
    info = json.loads(winapi("info", "--json").stdout)
    check("info --json", info["protocol"] == 1 and len(info["apis"]) == 4, info)
    check("info --ring-size", json.loads(winapi("info", "--json", "--ring-size", "4K").stdout)["ring_size"] == 4096)
    check("echo of an argument", winapi("echo", "hello there").stdout == "hello there\n")
    check("echo of standard input", winapi("echo", "-", stdin="a\nb\n").stdout == "a\nb\n")
    check("echo of too much", winapi("echo", "-", stdin="x" * 3073).returncode == 2)
    done = winapi("buffer", "--size", "1M", "--count", "8")
    check("buffer", done.returncode == 0 and done.stdout.count("right") == 3, done)
    with tempfile.TemporaryDirectory() as folder:
        plot = os.path.join(folder, "it's.svg")
        done = winapi("perf", "--calls", "2000", "--json", "--plot", plot)
        perf = json.loads(done.stdout)
        check("perf --json measures", perf["latency"]["round_trip"]["count"] == 2000 and
              0 < perf["latency"]["round_trip"]["p50"] <= perf["latency"]["round_trip"]["p99"] and
              len(perf["throughput"]) == 8 and all(row["read"] > 0 for row in perf["throughput"]), perf)
        check("perf --plot draws SVG", ElementTree.parse(plot).getroot().tag.endswith("svg"))
    done = winapi("perf", "--calls", "2000", "--in-flight", "64")
    check("perf --in-flight", done.returncode == 0 and "p99.9" in done.stdout and "#" in done.stdout, done)
    stat = json.loads(winapi("stat", "--json").stdout)
    check("stat --json counts its own call", stat["calls"] >= 1 and stat["bad_replies"] == 0, stat)
    usage = [winapi(), winapi("dance"), winapi("info", "extra"), winapi("echo"), winapi("info", "--poll", "now"),
             winapi("info", "--ring-size", "5"), winapi("buffer", "--method", "x"), winapi("perf", "--calls", "0"),
             winapi("info", "--no-such-option"), run(WINAPI, "info", "--transport", "ftp:")]
    check("wrong usage exits 2 and says why", all(d.returncode == 2 and d.stderr for d in usage),
          [d.returncode for d in usage])
    done = run(WINAPI, "info", "--transport", "local:/nonexistent/socket")
    check("no host exits 3 and says what to do", done.returncode == 3 and "winapi-hostd" in done.stderr, done)
    check("--help and --version exit 0", all(run(tool, flag).returncode == 0 for tool in (WINAPI, CLIENT)
                                             for flag in ("--help", "--version")))
    done = run(CLIENT, "--transport", "local:", "--quick")
    check("test_client passes", done.returncode == 0 and done.stdout.rstrip().endswith(" 0 failed"), done)
    client = json.loads(run(CLIENT, "--transport", "local:", "--quick", "--json").stdout)
    check("test_client --json", client["failed"] == 0 and client["passed"] == len(client["checks"]) and
          client["latency"]["round_trip"]["p50"] > 0, client)
    done = run(CLIENT, "--transport", "local:", "--echo-only")
    check("test_client --echo-only", done.returncode == 0 and "4 checks passed" in done.stdout, done)
    check("the completion is sound", run("bash", "-n", COMPLETION).returncode == 0 and
          "buffer" in run("bash", "-c", ". %s; COMP_WORDS=(winapi b) COMP_CWORD=1; _winapi; echo ${COMPREPLY[@]}"
                          % COMPLETION).stdout)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
