#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9 of either side at random points of its work: the other side goes on or says why not, and
nothing is left behind.

Usage: kill_test.py WINAPI (the daemon is $WINAPI_HOSTD)
"""
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time

WINAPI, HOSTD = sys.argv[1], os.environ["WINAPI_HOSTD"]
SEED = 20260101
CLIENTS, DAEMONS, PRIVATE = 200, 100, 40
PATIENCE = 60  # s
WORK = [["perf", "--calls", "10000000"], ["perf", "--calls", "10000000", "--in-flight", "64"],
        ["buffer", "--size", "16M", "--count", "8"], ["buffer", "--size", "100", "--count", "8"]]


def start_daemon(path):
    daemon = subprocess.Popen([HOSTD, "--socket", path, "--log-level", "error"])
    while not os.path.exists(path):
        time.sleep(0.002)
    return daemon


def start_client(path, choice):
    return subprocess.Popen([WINAPI] + choice + ["--transport", "local:" + path], stdout=subprocess.DEVNULL,
                            stderr=subprocess.PIPE, text=True)


def echo_works(path):
    done = subprocess.run([WINAPI, "echo", "alive", "--transport", "local:" + path], capture_output=True, text=True,
                          timeout=60)
    return done.stdout == "alive\n"


def holdings(pid):
    """Descriptors and mappings of a process; workers' stacks and heap aside, by what they map."""
    maps = [line for line in open("/proc/%d/maps" % pid) if "memfd:" in line]
    return len(os.listdir("/proc/%d/fd" % pid)), len(maps)


def settle(pid, wanted):
    for _ in range(1000):
        if holdings(pid) == wanted:
            return True
        time.sleep(0.01)
    return False


def shared_memory_kib():
    return int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("Shmem:")))


def kill_clients(folder, rng):
    path = os.path.join(folder, "s")
    daemon = start_daemon(path)
    alive = echo_works(path)
    before = holdings(daemon.pid)
    time.sleep(0.1)
    before = holdings(daemon.pid)
    for i in range(CLIENTS):
        client = start_client(path, WORK[i % len(WORK)])
        time.sleep(rng.uniform(0, 0.06))
        client.kill()
        client.communicate()
        if i % 20 == 0:
            alive = echo_works(path) and alive
    clean = settle(daemon.pid, before)
    after = holdings(daemon.pid)
    daemon.terminate()
    return alive, clean, daemon.wait(30) == 0, before, after


def kill_daemons(folder, rng):
    """Every client must end by itself, with an error and a word about it, unless it had finished."""
    wrong = []
    for i in range(DAEMONS):
        path = os.path.join(folder, "d%d" % i)
        daemon = start_daemon(path)
        client = start_client(path, WORK[i % len(WORK)])
        time.sleep(rng.uniform(0, 0.06))
        daemon.kill()
        daemon.wait()
        try:
            _, error = client.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            client.kill()
            client.communicate()
            wrong.append("round %d: the client hangs" % i)
            continue
        if client.returncode not in (0, 1, 3) or (client.returncode and not error.startswith("winapi: ")):
            wrong.append("round %d: status %d, %s" % (i, client.returncode, error))
    return wrong


# ---- Private hosts: each client has one of its own, which is started under a name of this test's ----


def private_client(name, choice, stderr):
    return subprocess.Popen([WINAPI] + choice + ["--transport", "local:"], stdout=subprocess.DEVNULL, stderr=stderr,
                            text=True, env=dict(os.environ, WINAPI_HOSTD=name))


def hosts_called(name):
    """Processes that run under that name, with their parents. A dead one that nobody has waited for has no name any more."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open("/proc/%s/cmdline" % pid) as f:
                called = f.read().split("\0")[0]
            if called == name:
                with open("/proc/%s/stat" % pid) as f:
                    found[int(pid)] = int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            pass  # it has ended meanwhile
    return found


def wait_until(true):
    end = time.monotonic() + PATIENCE
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.005)
    return True


def end_of(client):
    """Status and words of a client that ends by itself, or None."""
    try:
        _, error = client.communicate(timeout=PATIENCE)
    except subprocess.TimeoutExpired:
        client.kill()
        client.communicate()
        return None
    return client.returncode, error


def kill_later(pids, seconds, descriptors):
    """By descriptor, as a number may be another process's by then."""
    opened = []
    with contextlib.suppress(ProcessLookupError):
        for pid in pids:
            opened.append(os.pidfd_open(pid))
            descriptors.callback(os.close, opened[-1])
    time.sleep(seconds)
    with contextlib.suppress(ProcessLookupError):
        for descriptor in opened:
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)


def kill_private_hosts(name, rng):
    """Calls must fail with the right error, and nothing may be left of the host."""
    wrong, failed = [], 0
    for i in range(PRIVATE):
        client = private_client(name, WORK[i % len(WORK)], subprocess.PIPE)
        wait_until(lambda: client.poll() is not None or client.pid in hosts_called(name).values())
        hosts = [pid for pid, parent in hosts_called(name).items() if parent == client.pid]
        with contextlib.ExitStack() as descriptors:
            kill_later(hosts, rng.uniform(0, 0.06), descriptors)
        ended = end_of(client)
        failed += bool(ended and ended[0])
        if ended is None:
            wrong.append("round %d: the client hangs" % i)
        elif not hosts and ended[0]:
            wrong.append("round %d: no host: %s" % (i, ended))
        elif ended[0] not in (0, 1, 3) or (ended[0] and not re.match(r"winapi: .*host", ended[1])):
            wrong.append("round %d: status %d, %s" % (i, *ended))
        if not wait_until(lambda: not hosts_called(name)):
            wrong.append("round %d: a host is left" % i)
    if not failed:
        wrong.append("no client noticed")
    return wrong


def kill_private_clients(name, rng):
    """Each host must end when its client does, however far either was."""
    wrong = []
    for i in range(PRIVATE):
        client = private_client(name, WORK[i % len(WORK)], subprocess.DEVNULL)  # a pipe's end would be the host's, too
        if i % 4:  # else at once: before, while or after the host is started
            wait_until(lambda: client.poll() is not None or hosts_called(name))
            time.sleep(rng.uniform(0, 0.06))
        client.kill()
        client.wait()
        if not wait_until(lambda: not hosts_called(name)):
            wrong.append("round %d: %s" % (i, hosts_called(name)))
    return wrong


def main():
    rng = random.Random(SEED)
    memory = shared_memory_kib()
    print("1..7\n# seed %d" % SEED)
    with tempfile.TemporaryDirectory(prefix="winapi-kill-") as folder:
        alive, clean, ended, before, after = kill_clients(folder, rng)
        wrong = kill_daemons(folder, rng)
        name = os.path.join(folder, "private-hostd")
        os.symlink(os.path.abspath(HOSTD), name)
        deaf = kill_private_hosts(name, rng)
        left_over = kill_private_clients(name, rng)
    left = shared_memory_kib() - memory
    for _ in range(600):  # of the whole machine: others may use some for a while
        if left < 4096:
            break
        time.sleep(0.1)
        left = shared_memory_kib() - memory
    results = [(alive, "others are served while %d clients are killed" % CLIENTS, ""),
               (clean, "the daemon holds what it held before", "descriptors, memfd mappings: %s, now %s" % (before, after)),
               (ended, "and ends with status 0", ""),
               (not wrong, "clients survive %d killed daemons with the right error" % DAEMONS, "; ".join(wrong[:5])),
               (not deaf, "clients survive %d killed private hosts with the right error" % PRIVATE, "; ".join(deaf[:5])),
               (not left_over, "%d private hosts end with their killed clients" % PRIVATE, "; ".join(left_over[:5])),
               (left < 4096, "no shared memory is left", "%d KiB more" % left)]
    for number, (good, name, detail) in enumerate(results, 1):
        print("%s %d - %s" % ("ok" if good else "not ok", number, name))
        if not good and detail:
            print("# " + detail)
    return 0 if all(good for good, _, _ in results) else 1


if __name__ == "__main__":
    sys.exit(main())
