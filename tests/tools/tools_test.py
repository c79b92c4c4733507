#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The tools against a private host: what they print, what they refuse, how they exit.

Usage: tools_test.py WINAPI TEST_CLIENT
"""
import json
import os
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from tap import check, finish, run  # noqa: E402

WINAPI, CLIENT = sys.argv[1:3]


def winapi(*arguments, stdin=""):
    return run(WINAPI, *arguments, "--transport", "local:", stdin=stdin)


def check_parts():
    """Each --*-only runs its part and no other."""
    parts = {"--echo-only": (4, ["Echo"]), "--buffer-only": (18, ["Buffers"]),
             "--perf-only": (2, ["Latency of a 64-byte echo", "Throughput on shared buffers, measured by the host"])}
    headings = [heading for _, theirs in parts.values() for heading in theirs]
    for option, (checks, ours) in parts.items():
        done = run(CLIENT, "--transport", "local:", "--quick", option)
        lines = done.stdout.splitlines()
        check("test_client " + option, done.returncode == 0 and "%d checks passed, 0 failed" % checks in done.stdout and
              [line for line in lines if line in headings] == ours, done)
        client = json.loads(run(CLIENT, "--transport", "local:", "--quick", "--json", option).stdout)
        check("and as JSON", client["passed"] == checks and ("latency" in client) == (option == "--perf-only") and
              (client["throughput"] != []) == (option == "--perf-only"), client)
    done = run(CLIENT, "--transport", "local:", "--quick", "--echo-only", "--perf-only")
    check("test_client with two of them", "6 checks passed" in done.stdout and "Buffers" not in done.stdout, done)


def watch(*options):
    """What two rounds of `stat --watch` print; it goes on until it is ended."""
    process = subprocess.Popen([WINAPI, "stat", "--transport", "local:", "--watch", "1", *options], text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    rounds, lines = [], []
    for line in process.stdout:
        lines.append(line)
        # An empty line stands between rounds, and in front of the list of APIs, which ends each but for JSON.
        if line.endswith("perf test\n") or line == "}\n":
            rounds.append("".join(lines))
            lines = []
        if len(rounds) == 2:
            break
    alive = process.poll() is None
    process.terminate()
    process.communicate()
    return rounds, alive


def check_watch():
    rounds, alive = watch()
    calls = [int(text.split("calls", 1)[1].split()[0]) for text in rounds]
    check("stat --watch prints again and again", alive and len(rounds) == 2 and calls[0] < calls[1], rounds)
    rounds, alive = watch("--json")
    calls = [json.loads(text)["calls"] for text in rounds]
    check("stat --watch --json, too", alive and len(rounds) == 2 and calls[0] < calls[1], rounds)


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
    check_parts()
    check_watch()
    return finish()


if __name__ == "__main__":
    sys.exit(main())
