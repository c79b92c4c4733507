#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measures floors, peers and winapi side by side; prints a table, writes bench.json and bench.svg.

Usage: bench/bench.py [--build DIR] [--quick] [--no-gate]

Every program runs several times, each next to those it is compared with: a row is the median of its values, and
its ratio the median of the rounds' ratios, because a machine's CPUs change their speed and distance by the minute.

A virtual machine's CPUs may share their cores with others, which halves what they compute in a nanosecond and doesn't
touch the time that a cache line takes: so before and after each program a loop tells whether both cores were this
machine's alone. Rounds go on until each ratio has been measured alone three times, or time is up; then its median is
that of the rounds alone. Otherwise it is that of all rounds. The table says how many of them were alone.
The exit status is 1 when a bound isn't met, unless --no-gate is given.
"""
import argparse
import datetime
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(TOP, "tests/wine"))
import wine  # noqa: E402

# row: (compared with, bound on value / that, ring bytes); for rows without a base, a bound on the value
BOUNDS = {
    "echo64_polled": ("floor_ring", "<= 1.4", 65536),
    "echo64_polled_spin": ("floor_spin", "<= 4", 65536),
    "echo64_default": ("floor_ring", "<= 1.6", 65536),
    "echo64_asleep": ("floor_futex_paused", "<= 0.7", 65536),
    "echo64_blocking": ("floor_futex", "<= 1.15", 65536),
    "async64": ("unix_64_in_flight", ">= 4.5", 65536),
    "async64_4k": ("unix_64_in_flight", ">= 3", 4096),
    "batch32": ("unix_64_in_flight", ">= 8", 65536),
    "read_64m": ("memory_crc32c", ">= 0.95", 65536),
    "write_64m": ("memory_fill", ">= 0.95", 65536),
    "verify_64m": ("memory_verify", ">= 0.95", 65536),
    "nothing_64m": ("nothing_4k", "<= 1.2", 65536),
    "echo64_8threads": ("unix_8threads", ">= 3", 65536),
    "echo64_8threads_fair": (None, ">= 0.5", 65536),
    "clients8_fair": (None, ">= 0.6", 65536),
    "hostd_rss": (None, "<= 6", None),
    "idle_client_memory": (None, "<= 256", None),
    "idle_cpu": (None, "<= 0.1", None),
    "alloc_free_mappings_left": (None, "<= 0", None),
    "buffer_bytes_copied": (None, "<= 0", None),
    # The Windows driver with its stand-in for KMCL, under Wine. It tells nothing of Windows.
    "wine_echo64_polled": ("echo64_polled", "<= 3", 65536),
    "wine_read_64m": ("read_64m", ">= 0.8", 65536),
    "wine_write_64m": ("write_64m", ">= 0.8", 65536),
    "wine_verify_64m": ("verify_64m", ">= 0.8", 65536),
    "wine_buffer_bytes_copied": (None, "<= 0", None),
}
PAUSED_PEERS = ["unix_64_paused", "zeromq_64_paused", "nng_64_paused", "libqb_64_paused"]

ROUNDS = 7 # at least
ENOUGH = 3 # rounds alone
BUDGET_S = 290 # no round begins later
ALONE = 0.85 # of the fastest that a core was seen to be
# A round, in this order. floor: mode, count; peer: name, count, count with pauses; ours: mode, how the daemon polls,
# count. When quick, of calls that take microseconds a tenth is made.
ROUND = [
    ("floor", "spin", 100000), ("floor", "ring", 100000), ("ours", "polled", "always", 100000),
    ("ours", "default", "adaptive", 100000), ("floor", "futex", 5000), ("ours", "blocking", "never", 5000),
    ("floor", "futex_paused", 300), ("floor", "wake_paused", 300), ("ours", "asleep", "adaptive", 300),
    ("peer", "zmq", 3000, 200), ("peer", "nng", 3000, 200), ("peer", "qb", 5000, 200), ("peer", "unix", 5000, 200),
    ("floor", "ring_in_flight", 1000000), ("ours", "async", "adaptive", 1000000),
    ("ours", "async_4k", "adaptive", 500000), ("ours", "batch", "adaptive", 30000),
    ("ours", "memory", "adaptive", 10), ("ours", "nothing", "adaptive", 50000), ("ours", "threads", "adaptive", 20000),
    ("ours", "fair", "adaptive", 1000),
]
# mode, whether the stand-in polls for ever, count
WINE = [("polled", 1, 100000), ("memory", 0, 10)]
ONCE = [("idle", "adaptive", 1000), ("alloc", "adaptive", 1000)]


class Bench:
    def __init__(self, build, quick, windows):
        self.windows = windows
        self.folder = os.path.join(build, "bench")
        self.hostd = os.path.join(build, "host/linux/winapi-hostd")
        self.quick = quick
        self.units = {}
        self.cpu = {}
        self.cores = [] # how fast the slower of both was, at each look
        self.looks = {} # row: for each sample, the first of the two looks around it
        self.samples = {}

    def progress(self, text):
        if sys.stderr.isatty():
            sys.stderr.write("\r\033[K" + text)
            sys.stderr.flush()

    def run(self, command, prefix=""):
        self.progress(" ".join(os.path.basename(word) for word in command[:5]))
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=300)
        if out.returncode:
            sys.exit("%s failed" % " ".join(command))
        for line in out.stdout.splitlines():
            row = json.loads(line)
            name = prefix + row["name"]
            if prefix and row["name"].startswith("memory_"):
                continue
            self.samples.setdefault(name, []).append(row["value"])
            self.looks.setdefault(name, []).append(len(self.cores) - 1)
            self.units[name] = row["unit"]
            if "cpu_ns" in row:
                self.cpu.setdefault(name, []).append(row["cpu_ns"])

    def some(self, count):
        return str(max(count // 10, 3) if self.quick else count)

    def floor(self, mode, count):
        self.run([os.path.join(self.folder, "floors"), mode, self.some(count)])

    def peer(self, name, count, paused):
        self.run([os.path.join(self.folder, "peer_" + name), self.some(count), self.some(paused)])

    def ours(self, mode, poll, count):
        """A fresh daemon on the other CPU for each run, so that none has learned from the one before."""
        with tempfile.TemporaryDirectory(prefix="winapi-bench-") as folder:
            path = os.path.join(folder, "s")
            daemon = subprocess.Popen(["taskset", "-c", str(1 % os.cpu_count()), self.hostd, "--socket", path, "--poll", poll,
                                       "--log-level", "error"])
            try:
                while not os.path.exists(path):
                    time.sleep(0.01)
                    if daemon.poll() is not None:
                        sys.exit("winapi-hostd didn't start")
                time.sleep(0.1)
                self.run([os.path.join(self.folder, "ours"), "local:" + path, str(daemon.pid), mode, self.some(count)])
            finally:
                daemon.terminate()
                daemon.wait()

    def wine(self):
        """A fresh driver on the other CPU, the build without assertions."""
        with wine.Wine(self.windows, "free", 1 % os.cpu_count()) as w:
            w.start()
            for mode, poll_always, count in WINE:
                w.control.set("poll_always", poll_always)
                self.run([os.path.join(self.folder, "ours"), w.uri, str(w.pid), mode, self.some(count)], "wine_")

    def look(self):
        rows = ("core_client", "core_server")
        self.floor("cores", 100)
        self.cores.append(min(self.samples[row][-1] for row in rows))

    def round(self):
        self.look()
        for kind, *how in ROUND:
            getattr(self, kind)(*how)
            self.look()
        if self.windows:
            self.wine()
            self.look()

    def value(self, name):
        return statistics.median(self.samples[name])

    def alone(self, name, i):
        look = self.looks[name][i]
        return min(self.cores[look:look + 2]) >= ALONE * max(self.cores)

    def ratios(self, name, to):
        """Of all rounds, and of those in which both rows had the cores alone."""
        ratios = [a / b for a, b in zip(self.samples[name], self.samples[to], strict=True)]
        return ratios, [r for i, r in enumerate(ratios) if self.alone(name, i) and self.alone(to, i)]

    def ratio(self, name, to):
        ratios, alone = self.ratios(name, to)
        return statistics.median(alone if len(alone) >= ENOUGH else ratios)

    def enough(self):
        return all(len(self.ratios(name, to)[1]) >= ENOUGH for name, (to, _, _) in BOUNDS.items()
                   if to and name in self.samples)


def holds(value, bound):
    operator, limit = bound.split()
    return {"<=": value <= float(limit), ">=": value >= float(limit), "==": value == float(limit)}[operator]


def rows_of(bench):
    rows = []
    bench.samples["echo64_polled_spin"] = bench.samples["echo64_polled"]
    bench.units["echo64_polled_spin"] = bench.units["echo64_polled"]
    bench.looks["echo64_polled_spin"] = bench.looks["echo64_polled"]
    for name in bench.samples:
        value = bench.value(name)
        to, bound, ring = BOUNDS.get(name, (None, None, None))
        ratio = bench.ratio(name, to) if to else None
        row = {"name": name, "value": value, "unit": bench.units[name], "to": to, "ratio": ratio, "bound": bound,
               "ring": ring, "low": min(bench.samples[name]), "high": max(bench.samples[name])}
        if to:
            ratios, alone = bench.ratios(name, to)
            row.update(rounds=len(ratios), alone=len(alone), ratio_of_all=statistics.median(ratios))
        if name in bench.cpu:
            row["cpu_ns"] = statistics.median(bench.cpu[name])
        if bound:
            row["met"] = holds(ratio if to else value, bound)
        rows.append(row)
    best = min(PAUSED_PEERS, key=bench.value)
    ratio = bench.ratio("echo64_asleep", best)
    rows.append({"name": "echo64_asleep_peers", "value": bench.value("echo64_asleep"), "unit": "ns", "to": best,
                 "ratio": ratio, "bound": "<= 1", "ring": 65536, "met": ratio <= 1})
    return rows


def show(value, unit):
    if unit == "ns":
        return "%.0f ns" % value if value < 1e4 else "%.1f us" % (value / 1e3) if value < 1e6 else "%.2f ms" % (value / 1e6)
    if unit == "calls/s":
        return "%.2f M/s" % (value / 1e6) if value >= 1e6 else "%.0f k/s" % (value / 1e3)
    return "%.3g %s" % (value, unit)


def table(rows):
    lines = ["| row | measured | CPU per call | compared with | ratio | alone | bound | met |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        lines.append("| %s | %s | %s | %s | %s | %s | %s | %s |" % (
            row["name"], show(row["value"], row["unit"]), show(row["cpu_ns"], "ns") if "cpu_ns" in row else "",
            row["to"] or "", "%.2f" % row["ratio"] if row["ratio"] is not None else "",
            "%d of %d" % (row["alone"], row["rounds"]) if "alone" in row else "", row["bound"] or "",
            {True: "yes", False: "**no**", None: ""}[row.get("met")]))
    return "\n".join(lines)


def machine():
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    memory = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemTotal"))) >> 20
    return {"cpu": cpu, "cores": os.cpu_count(), "memory_gib": memory, "kernel": platform.release(),
            "date": datetime.date.today().isoformat()}


def draw(rows, path):
    """Latencies and rates as bars on a logarithmic scale, ours in another colour."""
    if not shutil.which("gnuplot"):
        return
    panels = [("64-byte call and answer, ns", "ns", ["floor_spin", "floor_ring", "echo64_polled", "echo64_default", "floor_futex",
               "echo64_blocking", "unix_64", "libqb_64", "zeromq_64", "nng_64"]),
              ("64 in flight, calls/s", "calls/s", ["floor_ring_64_in_flight", "async64", "async64_4k", "batch32",
               "unix_64_in_flight", "zeromq_64_in_flight"]),
              ("64 MiB sent and checked, GB/s", "GB/s", ["memory_crc32c", "read_64m", "unix_64m", "libqb_64m", "nng_64m",
               "zeromq_64m"])]
    values = {row["name"]: row["value"] for row in rows}
    script = ["set terminal svg size 1200,420 font 'sans,11' background 'white'", "set output '%s'" % path,
              "set multiplot layout 1,3", "set style fill solid", "set logscale y", "set boxwidth 0.7", "unset key",
              "set xtics rotate by -50 noenhanced", "set grid ytics", "set bmargin 9"]
    for i, (title, _, names) in enumerate(panels):
        script.append("$d%d << EOD" % i)
        for at, name in enumerate(names):
            ours = not name.split("_")[0] in ("floor", "unix", "libqb", "zeromq", "nng", "memory")
            script.append("%d %s %g %d" % (at, name, values[name], 0x2060a0 if ours else 0xb0b0b0))
        script.append("EOD")
        script.append("set title '%s'" % title)
        script.append("plot $d%d using 1:3:4:xtic(2) with boxes linecolor rgb variable" % i)
    subprocess.run(["gnuplot"], input="\n".join(script), text=True, check=True)


def build_for_windows(build):
    """The Windows driver's build where Wine and a compiler for it are installed, or None."""
    if not os.path.exists(wine.WINE) or not shutil.which("x86_64-w64-mingw32-gcc"):
        print("without Wine and mingw-w64 (make check-wine installs them) there are no rows of the Windows driver")
        return None
    folder = build.rstrip("/") + "-windows"
    if not os.path.exists(os.path.join(folder, "build.ninja")):
        subprocess.run(["meson", "setup", folder, "--cross-file", "scripts/mingw-w64.ini"], cwd=TOP, check=True,
                       stdout=subprocess.DEVNULL)
    subprocess.run(["meson", "compile", "-C", folder], cwd=TOP, check=True, stdout=subprocess.DEVNULL)
    return folder


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", default="build")
    parser.add_argument("--quick", action="store_true", help="few calls, one round: to see that it runs")
    parser.add_argument("--no-gate", action="store_true", help="exit 0 also when a bound isn't met")
    arguments = parser.parse_args()
    bench = Bench(os.path.abspath(arguments.build), arguments.quick, build_for_windows(os.path.abspath(arguments.build)))
    begin = time.monotonic()
    rounds = 0
    while rounds < (1 if arguments.quick else ROUNDS) or not (
            arguments.quick or bench.enough() or time.monotonic() - begin > BUDGET_S):
        bench.round()
        rounds += 1
    for row in ONCE:
        bench.ours(*row)
    bench.progress("")
    rows = rows_of(bench)
    print(table(rows))
    with open(os.path.join(arguments.build, "bench.json"), "w") as f:
        json.dump({"machine": machine(), "rows": rows}, f, indent=1)
    draw(rows, os.path.join(arguments.build, "bench.svg"))
    missed = [row["name"] for row in rows if row.get("met") is False]
    print("\n%d bounds met, %d missed%s" % (sum(row.get("met") is True for row in rows), len(missed),
                                           ": " + ", ".join(missed) if missed else ""))
    return 1 if missed and not arguments.no_gate else 0


if __name__ == "__main__":
    sys.exit(main())
