#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs winapi_remoting.sys under Wine, behind the stand-in for KMCL; prints TAP.

Usage: check_wine.py --build WINDOWS-BUILD [--native BUILD] [--only TEXT]

WINDOWS-BUILD is a build of this tree by scripts/mingw-w64.ini, BUILD one for this machine ($WINAPI_NATIVE_BUILD).
"""
import argparse
import contextlib
import os
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

import wine

HERE = os.path.dirname(os.path.abspath(__file__))
SEED = 20260101
RACES = 300
ENDED = 120  # seconds for a program that must end by itself

# Event ids of winapi_remoting.man.
LOADED, UNLOADED, OFFERED, OPENED, CLOSED, FAILED, WITHDRAWN = 10, 11, 12, 13, 14, 15, 16

# enum misuse, in standin.h, from 1 on: where the checked driver notices.
MISUSES = ["device_control", "on_opened", "on_packet", "on_end", "enter", "mdl_map"]
MISUSE_REQUEST = 1

# faulty.c
FAULTS = [
    "something was written behind 100 bytes of pool",
    "pool of tag 746c7546 is freed with tag 746c7547",
    "ZwClose at IRQL 2, above 0",
    "ZwClose of what isn't a handle",
    "a KeWaitForSingleObject that blocks at IRQL 2, above 1",
    "KeReleaseSpinLock: another thread's, or not held",
    "KeReleaseSpinLock at IRQL 0",
    "paged ExAllocatePoolWithTag at IRQL 2, above 1",
    "a device without FILE_DEVICE_SECURE_OPEN, so names behind its own are anybody's",
    "an access list that isn't all for SYSTEM and administrators, nothing for others",  # none
    "an access list that isn't all for SYSTEM and administrators, nothing for others",  # one with everybody
    "users get a name for a device that has no tight access list",
    "IoCompleteRequest of a request that has a cancel routine",
    "IoCompleteRequest with STATUS_PENDING",
    "IoCompleteRequest of a request that isn't the driver's",
    "a dispatch routine returns STATUS_PENDING for a request that isn't marked pending",
    "a dispatch routine returns another status than STATUS_PENDING for a request that is marked pending",
    "IoCompleteRequest with more bytes than there is room for",
    "a dispatch routine returns another status than the request was completed with",
    "EtwUnregister of what isn't registered",
]


class Bad(Exception):
    """A check that didn't hold, with what was seen."""


def expect(condition, seen=""):
    if not condition:
        raise Bad(str(seen))


def wait_until(condition, seen):
    """For what comes by itself, in its own time."""
    deadline = time.monotonic() + wine.PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            raise Bad(seen())
        time.sleep(0.01)


class Suite:
    def __init__(self, build, native, only):
        self.build, self.native, self.only = build, os.path.abspath(native), only
        self.count = self.failed = 0

    # ---- Output ----

    def report(self, good, name, detail="", skip=""):
        self.count += 1
        self.failed += not good
        print("%s %d - %s%s" % ("ok" if good else "not ok", self.count, name, " # SKIP " + skip if skip else ""))
        for line in str(detail).splitlines()[:20] if not good else []:
            print("# " + line)
        sys.stdout.flush()

    def case(self, name, run, *arguments):
        try:
            run(*arguments)
            self.report(True, name)
        except (Bad, wine.Error, OSError, subprocess.TimeoutExpired) as error:
            self.report(False, name, "%s: %s" % (type(error).__name__, error))

    # ---- Programs ----

    def program(self, name):
        folder = {"conformance": "tests/conformance", "hostile_guest": "tests/hostile", "flood": "tests/hostile"}
        return os.path.join(self.native, folder.get(name, "guest/tools"), name)

    def client(self, w, *words):
        """winapi on the driver; its status."""
        command = [self.program("winapi")] + list(words) + ["--transport", w.uri]
        return subprocess.run(command, capture_output=True, timeout=ENDED).returncode

    def start_client(self, w, *words):
        command = [self.program("winapi")] + list(words) + ["--transport", w.uri]
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def tap(self, prefix, command):
        """Runs a program that prints TAP; its cases become ours."""
        out = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=600).stdout
        planned = re.search(r"^1\.\.(\d+)$", out, re.MULTILINE)
        cases = re.findall(r"^(ok|not ok) \d+ - ([^#\n]*)(?:# SKIP (.*))?\n((?:#.*\n)*)", out, re.MULTILINE)
        for result, name, skip, detail in cases:
            self.report(result == "ok", prefix + name.strip(), detail, skip)
        if not planned or int(planned.group(1)) != len(cases):
            self.report(False, prefix + "runs to its end", out[-500:])

    # ---- What every run must leave ----

    def nothing_left(self, w):
        """The driver is unloaded."""
        held = {name: count for name, count in w.control.held().items() if count}
        expect(not held, "held: %s" % held)
        findings = w.control.findings()
        expect(not findings, "\n".join(findings))

    def no_guest_left(self, w):
        """No guest is there, and the driver holds nothing of one."""
        def clean():
            held = w.control.held()
            stats = w.stats()
            return not any(held[name] for name in ("channels", "packets", "gpadls", "mappings", "mdls", "vms")) and \
                not stats["offers_now"]
        wait_until(clean, lambda: "%s %s" % (w.control.held(), w.stats()))

    def stop_clean(self, w):
        w.stop()
        self.nothing_left(w)

    def works(self, w):
        command = [self.program("winapi"), "echo", "alive", "--transport", w.uri]
        done = subprocess.run(command, capture_output=True, text=True, timeout=ENDED)
        expect(done.returncode == 0, "an echo fails: " + done.stderr)

    # ---- Suites: each with a fresh driver ----

    def conformance(self, w):
        """as it is"""
        for name, ring in ("conformance: ", "65536"), ("conformance, 4 KiB rings: ", "4096"):
            self.tap(name, [self.program("conformance"), "--transport", w.uri, "--scale", "4", "--ring-size", ring])

    def dispatch(self, w):
        """packets at DISPATCH_LEVEL"""
        w.stop()
        w.parameters(IncomingAtDispatch=1)
        try:
            w.start()
            self.tap("at DISPATCH_LEVEL: ", [self.program("conformance"), "--transport", w.uri, "--scale", "8"])
            self.case("each of those packets came at DISPATCH_LEVEL",
                      lambda: expect(w.stats()["deferred"] >= w.stats()["packets"] > 0, w.stats()))
        finally:
            w.parameters(IncomingAtDispatch=0)

    def awkward(self, w):
        """KMCL as it may be, Windows as it was before 2004"""
        w.stop()
        settings = {"pend": 2, "late": 2, "mdl_pages": 64, "no_pool2": 1}
        for name, value in settings.items():
            w.control.set(name, value)
        try:
            w.start()
            self.tap("late, pending, in pieces: ",
                     [self.program("conformance"), "--transport", w.uri, "--scale", "8"])
            self.case("external data was pending", lambda: expect(w.stats()["external_pending"] > 0, w.stats()))
            self.case("a chain longer than the driver asked for", self.long_chain, w)
        finally:
            for name in settings:
                w.control.set(name, 0)

    def long_chain(self, w):
        """Costs the guest its channel, and nobody else anything."""
        w.control.set("mdl_pages", 1)
        w.control.set("long_chain", 1)
        malformed = w.stats()["malformed"]
        ended = self.exercise(w, "plain memory")
        w.control.set("long_chain", 0)
        expect(ended != 0 and w.stats()["malformed"] > malformed, w.stats())
        self.works(w)

    def hostile(self, w):
        """a guest that does bad things"""
        w.control.events()
        self.tap("hostile guest: ", [self.program("hostile_guest"), "--kmcl", w.path("vms")])
        self.case("malformed packets are told to ETW",
                  lambda: expect(FAILED in [event for event, _ in w.control.events()], "no event"))

    def narrow(self, w):
        """a driver that holds two calls at once"""
        w.stop()
        w.parameters(MaxInFlight=2)
        try:
            w.start()
            self.case("two at once: packets wait for a slot", self.floods, w)
            waited = w.stats()["stalled"]
            w.control.set("impatient", 1)
            self.case("two at once: packets go round for a slot", self.floods, w)
            self.case("two at once: and wait, rather than go round, where they may", self.waited, w, waited)
            self.case("two at once: echo after that", self.works, w)
        finally:
            w.control.set("impatient", 0)
            w.parameters(MaxInFlight=0)

    def floods(self, w):
        """As many as make it sure: whether packets meet no free slot in one alone is chance."""
        for _ in range(20):
            done = subprocess.run([self.program("flood"), "--transport", w.uri], capture_output=True, text=True, timeout=ENDED)
            expect(not done.returncode, done.stdout)

    def waited(self, w, waited):
        """Those that don't wait go round in circles, and are still not lost."""
        stats = w.stats()
        expect(0 < waited < (stats["stalled"] - waited) / 3 and not stats["malformed"], "%d, %s" % (waited, stats))

    def requests(self, w):
        """bad requests, and requests taken back"""
        needs_vm = {"handle_takes_its_offers", "short_list"}
        needs_vms = {"most_offers"}
        needs_open = {"cancel_pending", "close_with_pending"}
        for name in w.must("abuses"):
            if name in needs_vm:
                self.case("requests: " + name, self.with_waiting_vm, w, name)
            elif name in needs_vms:
                self.case("requests: " + name, self.with_waiting_vms, w, name, 129)
            elif name in needs_open:
                self.case("requests: " + name, self.with_held_channel, w, name)
            else:
                self.case("requests: " + name, self.abuse, w, name)
        self.case("requests: echo after all of them", self.works, w)

    def abuse(self, w, words):
        answer = w.tell("abuse " + words)
        expect(answer == ["ok"], answer)

    @contextlib.contextmanager
    def introduce(self, w):
        """The socket of a front-end that has introduced itself."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as guest:
            guest.connect(w.path("vms"))
            guest.send(struct.pack("<IIIHHIIQQQII", 1, 48, 0x55424D56, 1, 0, 0, 0, 0, 0, 0, 0, 0))
            yield guest

    @contextlib.contextmanager
    def waiting_guest(self, w):
        """A VM whose front-end has introduced itself and does nothing more: its number, its socket."""
        with self.introduce(w) as guest:
            wait_until(lambda: self.arrivals(w), lambda: "no VM came")
            yield self.arrivals(w)[0], guest

    def with_waiting_vm(self, w, name):
        w.must("rest")
        with self.waiting_guest(w) as (number, _):
            self.abuse(w, "%s %d" % (name, number))
        w.must("watch")
        self.no_guest_left(w)

    def with_waiting_vms(self, w, name, count):
        w.must("rest")
        with contextlib.ExitStack() as guests:
            for _ in range(count):
                guests.enter_context(self.introduce(w))
            wait_until(lambda: len(self.arrivals(w)) == count, lambda: "VMs are missing")
            self.abuse(w, "%s %d" % (name, min(self.arrivals(w))))
        w.must("watch")
        self.no_guest_left(w)

    def arrivals(self, w):
        """Numbers of the VMs that wait for an offer."""
        return [int(number) for number in w.control.ask("vms").split()]

    def with_held_channel(self, w, name):
        client = self.start_client(w, "perf", "--calls", "100000000")
        try:
            wait_until(lambda: w.control.held()["packets"] or w.stats()["opens"] and w.stats()["offers_now"],
                       lambda: "no channel opened")
            wait_until(lambda: any(line.split()[1] == "2" for line in w.tell("list") if line != "ok"),
                       lambda: w.tell("list"))
            w.control.set("hold_close", 1)
            self.abuse(w, name)
        finally:
            w.control.set("hold_close", 0)
            status = client.wait(ENDED)
        expect(status != 0, "the client saw no end of its channel")
        self.no_guest_left(w)

    def races(self, w):
        """requests at the same time"""
        self.case("offer, withdraw, cancel and close of one handle, %d times at once" % RACES, self.race, w)
        self.case("races: echo after that", self.works, w)

    def race(self, w):
        w.must("rest")
        with self.waiting_guest(w) as (number, guest):
            with self.draining(guest):
                answer = w.control.ask("race %d %d" % (number, RACES))
        w.must("watch")
        expect(answer.startswith("ok:"), answer)
        print("# how they ended: " + answer[4:])
        self.no_guest_left(w)

    @contextlib.contextmanager
    def draining(self, guest):
        """What the guest is told is read and forgotten."""
        def drain():
            while guest.recv(4096):
                pass
        thread = threading.Thread(target=drain)
        thread.start()
        try:
            yield
        finally:
            guest.shutdown(socket.SHUT_RDWR)
            thread.join()

    def faults(self, w):
        """guests and drivers that leave in the middle"""
        self.case("guests are killed in calls", self.kill_guests, w)
        self.case("channels are suspended at any packet", self.suspend, w)
        self.case("the driver is unloaded with calls in flight", self.unload_in_flight, w)

    def kill_guests(self, w):
        work = [("perf", "--calls", "10000000"), ("perf", "--calls", "10000000", "--in-flight", "64"),
                ("buffer", "--size", "16M", "--count", "8"), ("buffer", "--size", "100", "--count", "8")]
        rng = random.Random(SEED)
        for i in range(60):
            client = self.start_client(w, *work[i % len(work)])
            time.sleep(rng.uniform(0, 0.1))
            client.kill()
            client.wait()
        self.works(w)
        self.no_guest_left(w)

    def suspend(self, w):
        rng = random.Random(SEED)
        points = list(range(1, 16)) + [rng.randrange(16, 400) for _ in range(25)]
        for i, point in enumerate(points):
            w.control.set("suspend_at", point)
            work = ("perf", "--calls", "10000000", "--in-flight", "64") if i % 2 else \
                ("buffer", "--size", "4M", "--count", "8")
            client = self.start_client(w, *work)
            # A buffer test is over before a late point comes.
            expect(client.wait(ENDED) != 0 or not i % 2, "suspended at packet %d, and the client didn't see it" % point)
            w.control.set("suspend_at", 0)
        self.works(w)
        self.no_guest_left(w)

    def unload_in_flight(self, w):
        work = [("perf", "--calls", "10000000", "--in-flight", "64"), ("buffer", "--size", "64M", "--count", "8"),
                ("perf", "--calls", "10000000")]
        for i in range(9):
            opens = w.stats()["opens"]
            clients = [self.start_client(w, *words) for words in work]
            wait_until(lambda: w.stats()["opens"] == opens + 3, lambda: w.stats())
            time.sleep(0.03 * i)
            w.must("rest")
            w.stop()
            for client in clients:
                client.wait(ENDED)
            wait_until(lambda: not w.control.held()["vms"], lambda: w.control.held())
            self.nothing_left(w)
            w.start()
            w.must("watch")
        self.works(w)

    def failures(self, w):
        """everything that can fails in turn"""
        self.case("unloads cleanly whatever failed", self.fail_all, w)
        self.case("a guest is told that the host is out of memory", self.out_of_memory, w)

    def out_of_memory(self, w):
        w.control.set("no_gpadl", 1)
        command = [self.program("winapi"), "buffer", "--size", "2M", "--transport", w.uri]
        done = subprocess.run(command, capture_output=True, text=True, timeout=ENDED)
        w.control.set("no_gpadl", 0)
        expect(done.returncode != 0 and "the host is out of memory" in done.stderr, done.stderr)
        self.works(w)

    def fail_all(self, w):
        """Until a run had fewer chances to fail than the one that should."""
        self.stop_clean(w)
        n, refused, ended = 0, 0, 0
        w.parameters(MaxInFlight=0)  # the default, but there is something to read
        w.control.set("mdl_pages", 2)  # so that chains break in the middle
        while True:
            n += 1
            w.control.set("fail_at", n)
            loaded = w.tell("start winapi_remoting") == ["ok"]
            refused += not loaded
            if loaded:
                ended += self.exercise(w) != 0
                w.stop()
            seen = int(w.control.ask("allocations"))
            w.control.set("fail_at", 0)
            wait_until(lambda: not w.control.held()["vms"], lambda: w.control.held())
            try:
                self.nothing_left(w)
            except Bad as bad:
                raise Bad("failure %d: %s\n%s" % (n, bad, w.log()[-300:]))
            if seen < n:
                break
        print("# %d failures: %d times not loaded, %d times a guest was turned away" % (n - 1, refused, ended))
        expect(loaded and refused > 3 and ended > 10, "that is too few")
        w.control.set("mdl_pages", 0)
        w.start()

    def exercise(self, w, case="plain and shared"):
        """A guest that uses everything: shared buffers and memory of its own."""
        command = [self.program("conformance"), "--transport", w.uri, "--filter", case]
        return subprocess.run(command, stdout=subprocess.DEVNULL, timeout=ENDED).returncode

    def cycles(self, w):
        """again and again"""
        self.case("1,000 cycles of offer, open, close, withdraw", self.thousand, w)
        self.case("50 cycles of load and unload", self.fifty, w)

    def thousand(self, w):
        before = w.stats()
        for _ in range(1000):
            self.works(w)
        self.no_guest_left(w)
        after = w.stats()
        expect(after["opens"] == before["opens"] + 1000 and after["offers"] == before["offers"] + 1000, after)
        expect(after["pool_allocations_now"] == before["pool_allocations_now"], after)

    def fifty(self, w):
        self.stop_clean(w)
        w.control.events()
        process = self.holdings(w)
        for i in range(50):
            w.start()
            self.works(w)
            self.no_guest_left(w)
            self.stop_clean(w)
            events = [event for event, _ in w.control.events() if event >= LOADED]
            expect(events == [LOADED, OFFERED, OPENED, CLOSED, WITHDRAWN, UNLOADED], events)
            if i == 9:
                process = self.holdings(w)
        after = self.holdings(w)
        expect(after[0] <= process[0] and after[1] <= process[1] + 8, "descriptors, mappings: %s, then %s" %
               (process, after))
        w.start()

    def holdings(self, w):
        """Descriptors and mappings of the driver's process."""
        folder = "/proc/%d/" % w.pid
        return len(os.listdir(folder + "fd")), open(folder + "maps").read().count("\n")

    def findings(self, w):
        """what the stand-in must find"""
        self.stop_clean(w)
        w.must("start faulty")
        self.case("each fault of a faulty driver is found", self.match_findings, w)
        self.case("a leak is told", lambda: expect(w.control.held()["pool_bytes"] == 77, w.control.held()))
        w.must("stop faulty")
        w.control.ask("forget")
        w.start()

    def match_findings(self, w):
        found = w.control.findings()
        expect(found == FAULTS, "\n".join(found))

    def hostctl(self, w):
        """winapi-hostctl"""
        self.stop_clean(w)
        w.must("rest")
        for case in (self.hostctl_installs, self.hostctl_offers, self.hostctl_explains):
            self.case("winapi-hostctl: " + case.__doc__, case, w)
        self.ctl(w, 0, "stop")
        self.ctl(w, 0, "uninstall")
        w.reconnect()

    def ctl(self, w, status, *words):
        """What it printed: on standard error when it must fail."""
        done = w.run(os.path.join(self.build, "host/windows/winapi-hostctl.exe"), *words)
        expect(done.returncode == status, "%s: %d: %s%s" % (words, done.returncode, done.stdout, done.stderr))
        return done.stderr if status else done.stdout

    def hostctl_installs(self, w):
        """install, start"""
        self.ctl(w, 0, "uninstall")
        expect("install it first" in self.ctl(w, 1, "start"))
        self.ctl(w, 0, "install", "C:\\windows\\system32\\drivers\\winapi_remoting.sys")
        expect("isn't loaded" in self.ctl(w, 1, "list"))
        self.ctl(w, 0, "start")
        w.reconnect()  # it is in no group, and so in a process of its own

    def hostctl_offers(self, w):
        """offer, list, stat, withdraw"""
        with self.waiting_guest(w) as (number, _):
            process, handle = w.must("handle %d" % number)[0].split()
            name = "12345678-9abc-def0-1122-334455667788"
            offered = self.ctl(w, 0, "offer", "--process", process, "--handle", handle, "--instance", name)
            expect(re.match(r"\d+ %s\s*$" % name, offered), offered)
            listed = self.ctl(w, 0, "list").splitlines()
            expect(len(listed) == 2 and listed[1].split()[:3] == [offered.split()[0], "offered", name], listed)
            expect(re.search(r"^offers now +1\s*$", self.ctl(w, 0, "stat"), re.MULTILINE))
            self.ctl(w, 0, "withdraw", offered.split()[0])
            expect(len(self.ctl(w, 0, "list").splitlines()) == 1)

    def hostctl_explains(self, w):
        """wrong words and values"""
        for words in [], ["nothing"], ["offer"], ["offer", "--process", "1"], ["withdraw"], ["withdraw", "x"], \
                ["install", "a", "b"], ["offer", "--device", "x", "--instance", "1"], \
                ["offer", "--process", "4294967300", "--handle", "4"]:
            expect("usage" in self.ctl(w, 2, *words), words)
        for words in ["withdraw", "4711"], ["offer", "--process", "3", "--handle", "4"], ["offer", "--device", "C:\\no"], \
                ["install", "C:\\no"]:
            expect(self.ctl(w, 1, *words).startswith("winapi-hostctl: "), words)

    def assertion(self, misuse, where):
        """The checked driver stops there."""
        with wine.Wine(self.build, "checked") as w:
            w.start()
            w.control.set("misuse", misuse)
            if misuse == MISUSE_REQUEST:
                w.tell("list")
            else:
                self.exercise(w)
            said = re.search(r"KeBugCheckEx\(e0574150.*\n.*?(\w+\.c):(\d+): .* doesn't hold", w.log())
            expect(said, w.log()[-500:])
        lines = open(os.path.join(HERE, "../../host/windows", said.group(1))).read().splitlines()[:int(said.group(2))]
        functions = [re.search(r"(\w+)\(", line).group(1) for line in lines if re.match(r"(static|void|_Use).*\w\(", line)]
        expect(functions[-1] == where, "%s: %s" % (functions[-1], said.group(0)))

    def gate(self):
        """An import that isn't in the list stops the build."""
        text = open(os.path.join(HERE, "imports.h")).read().replace("WORKS(KeSetEvent, DISPATCH_LEVEL)\n", "")
        with tempfile.TemporaryDirectory() as folder:
            header = os.path.join(folder, "imports.h")
            open(header, "w").write(text)
            command = [sys.executable, os.path.join(HERE, "gate.py"), "x86_64-w64-mingw32-objdump", header,
                       os.path.join(self.build, "host/windows/winapi_remoting.sys"), os.path.join(folder, "stamp")]
            done = subprocess.run(command, capture_output=True, text=True)
        expect(done.returncode == 1 and "KeSetEvent" in done.stderr, done.stderr)

    def run(self, name, driver):
        suite = getattr(self, name)
        label = "%s (%s)" % (suite.__doc__, driver)
        if self.only and self.only not in name:
            return
        begin = time.monotonic()
        try:
            with wine.Wine(self.build, driver) as w:
                w.start()
                suite(w)
                if name != "hostctl":  # which has stopped it
                    self.case("nothing is left after: " + label, self.stop_clean, w)
        except (Bad, wine.Error, OSError, subprocess.TimeoutExpired) as error:
            self.report(False, label, "%s: %s" % (type(error).__name__, error))
        print("# %s: %d s" % (label, time.monotonic() - begin), flush=True)


SUITES = ["findings", "conformance", "dispatch", "awkward", "hostile", "narrow", "requests", "races", "faults",
          "failures", "cycles", "hostctl"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--build", required=True)
    parser.add_argument("--native", default=os.environ.get("WINAPI_NATIVE_BUILD", "build"))
    parser.add_argument("--only", help="suites whose name contains this")
    arguments = parser.parse_args()
    suite = Suite(arguments.build, arguments.native, arguments.only)
    if not arguments.only:
        suite.case("the gate refuses an unknown import", suite.gate)
    for name in SUITES:
        suite.run(name, "checked")
    if not arguments.only or arguments.only in "assertions":
        for i, where in enumerate(MISUSES):
            suite.case("the checked driver asserts in " + where, suite.assertion, i + 1, where)
    # The one that ships, without the assertions that slow it down and stop it in time.
    suite.run("conformance", "free")
    suite.run("hostile", "free")
    print("1..%d" % suite.count)
    return 1 if suite.failed or not suite.count else 0


if __name__ == "__main__":
    sys.exit(main())
