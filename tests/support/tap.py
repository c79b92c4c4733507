# SPDX-License-Identifier: MIT
"""What tests in Python share: TAP, runs of a program, and runs in which a call is held (see tests/tools/shim.c)."""
import contextlib
import os
import subprocess
import tempfile
import time

PATIENCE = 120  # s: against hanging for ever, not against a slow machine
results = []


def check(name, good, detail=""):
    results.append(bool(good))
    print("%s %d - %s" % ("ok" if good else "not ok", len(results), name), flush=True)
    if not good:
        print("# " + str(detail).replace("\n", "\n# "), flush=True)


def skip(name, why):
    results.append(True)
    print("ok %d - %s # SKIP %s" % (len(results), name, why), flush=True)


def finish():
    """Prints the plan; returns the exit status."""
    print("1..%d" % len(results))
    return 0 if results and all(results) else 1


def run(*command, stdin="", **kwargs):
    if "stdin_file" in kwargs:
        kwargs["stdin"] = kwargs.pop("stdin_file")
    else:
        kwargs["input"] = stdin
    kwargs.setdefault("stdout", subprocess.PIPE)
    return subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=PATIENCE, **kwargs)


def wait_for(what):
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if what():
            return True
        time.sleep(0.005)
    return False


class Held:
    """A tool whose first call of a function waits until it is let go."""

    def __init__(self, shim, function, command, **kwargs):
        self.folder = tempfile.TemporaryDirectory()
        environment = dict(os.environ, LD_PRELOAD=shim, TOOLS_HOLD=function, TOOLS_HOLD_DIR=self.folder.name)
        self.process = subprocess.Popen(command, env=environment, text=True, **kwargs)

    def reached(self):
        path = os.path.join(self.folder.name, "held")
        return wait_for(lambda: os.path.exists(path) or self.process.poll() is not None) and os.path.exists(path)

    def go(self):
        open(os.path.join(self.folder.name, "go"), "w").close()

    def end(self):
        """Lets it go and returns its output and errors."""
        self.go()
        output = self.process.communicate(timeout=PATIENCE)
        self.folder.cleanup()
        return output


@contextlib.contextmanager
def daemon(folder, name="s"):
    """A running winapi-hostd: the process and the URI to reach it."""
    path = os.path.join(folder, name)
    process = subprocess.Popen([os.environ["WINAPI_HOSTD"], "--socket", path, "--log-level", "error"])
    try:
        if not wait_for(lambda: os.path.exists(path)):
            raise RuntimeError("winapi-hostd doesn't come up")
        yield process, "local:" + path
    finally:
        process.kill()
        process.wait()
