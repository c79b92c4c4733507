#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The completion in an interactive bash: text and a tab are typed, and the command shows its arguments.

Usage: completion_test.py WINAPI TEST_CLIENT COMPLETION
"""
import os
import pty
import re
import select
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from tap import PATIENCE, check, finish, run  # noqa: E402

WINAPI, CLIENT, COMPLETION = sys.argv[1:4]
WORDBREAKS = {"as it comes": "", "without ':' and '='": "COMP_WORDBREAKS=${COMP_WORDBREAKS//[:=]}"}


class Bash:
    """An interactive bash in which the tools print their arguments."""

    def __init__(self, folder, setup):
        rc = os.path.join(folder, "rc")
        with open(rc, "w") as f:
            f.write("PS1= PS2=\nbind 'set enable-bracketed-paste off'\nbind 'set bell-style none'\n%s\n. %s\n"
                    "show() { printf '<%%s>' \"$@\"; printf ' end %%d\\n' $((++count)); }\n"
                    "winapi() { show \"$@\"; }\ntest_client() { show \"$@\"; }\necho ready\n" % (setup, COMPLETION))
        self.terminal, other = pty.openpty()
        environment = dict(os.environ, TERM="dumb", INPUTRC="/dev/null", HISTFILE="")
        self.process = subprocess.Popen(["bash", "--noprofile", "--rcfile", rc, "-i"], cwd=folder, env=environment,
                                        stdin=other, stdout=other, stderr=other, start_new_session=True)
        os.close(other)
        self.count = 0
        self.read_until(r"ready\r?\n")

    def read_until(self, pattern):
        seen, end = "", time.monotonic() + PATIENCE
        while time.monotonic() < end:
            found = re.search(pattern, seen)
            if found:
                return found
            if select.select([self.terminal], [], [], 1)[0]:
                seen += os.read(self.terminal, 4096).decode()
        raise RuntimeError("bash shows %r" % seen)

    def complete(self, text):
        """The arguments after `text` and a tab; a '+' typed behind tells whether a space came."""
        self.count += 1
        os.write(self.terminal, (text + "\t+\n").encode())
        found = self.read_until(r"(?:^|\n)((?:<[^\n]*>)+) end %d\r?\n" % self.count)
        return re.findall(r"<([^>]*)>", found.group(1))

    def end(self):
        os.close(self.terminal)
        self.process.kill()
        self.process.wait()


# Typed, and the arguments: a '+' by itself came after a space, so the word before it is complete.
CASES = [
    ("winapi inf", ["info", "+"]),
    ("winapi ech", ["echo", "+"]),
    ("winapi buf", ["buffer", "+"]),
    ("winapi pe", ["perf", "+"]),
    ("winapi st", ["stat", "+"]),
    ("winapi stat in", ["stat", "in+"]),  # one command is enough
    ("winapi perf --cal", ["perf", "--calls", "+"]),
    ("winapi perf --tr", ["perf", "--transport", "+"]),
    ("winapi stat --wat", ["stat", "--watch", "+"]),
    ("winapi info --wat", ["info", "--wat+"]),
    ("winapi --js", ["--json", "+"]),
    ("winapi info --poll al", ["info", "--poll", "always", "+"]),
    ("winapi info --poll=ne", ["info", "--poll=never", "+"]),
    ("winapi buffer --method ver", ["buffer", "--method", "verify", "+"]),
    ("winapi info --ring-size 25", ["info", "--ring-size", "256K", "+"]),
    ("winapi perf --calls 1", ["perf", "--calls", "1+"]),
    ("winapi info --transport v", ["info", "--transport", "vmbus:", "+"]),
    ("winapi info --transport lo", ["info", "--transport", "local:+"]),
    ("winapi info --transport local:hos", ["info", "--transport", "local:hostd.sock", "+"]),
    ("winapi info --transport local:FOLDER/hos", ["info", "--transport", "local:FOLDER/hostd.sock", "+"]),
    ("winapi info --transport=local:FOLDER/hos", ["info", "--transport=local:FOLDER/hostd.sock", "+"]),
    ("winapi info --transport local:FOLDER/nothing", ["info", "--transport", "local:FOLDER/nothing+"]),
    ("winapi --transport local:FOLDER/hostd.sock inf", ["--transport", "local:FOLDER/hostd.sock", "info", "+"]),
    ("winapi info --transport local:FOLDER/hostd.sock --js", ["info", "--transport", "local:FOLDER/hostd.sock", "--json", "+"]),
    ("winapi perf --plot FOLDER/pic", ["perf", "--plot", "FOLDER/picture.svg", "+"]),
    ("test_client --buf", ["--buffer-only", "+"]),
    ("test_client --transport local:FOLDER/hos", ["--transport", "local:FOLDER/hostd.sock", "+"]),
]


def check_cases(folder, name, setup):
    bash = Bash(folder, setup)
    for text, wanted in CASES:
        got = bash.complete(text.replace("FOLDER", folder))
        check("%s <tab>, COMP_WORDBREAKS %s" % (text, name), got == [word.replace("FOLDER", folder) for word in wanted], got)
    bash.end()


def offered(line):
    """All that is offered behind a line."""
    words = line.split(" ")
    script = ". %s; COMP_WORDS=(%s '') COMP_CWORD=%d COMP_LINE='%s ' COMP_POINT=%d; _winapi; printf '%%s\\n' \"${COMPREPLY[@]}\""
    return set(run("bash", "-c", script % (COMPLETION, line, len(words), line, len(line) + 1)).stdout.split())


def check_options():
    for tool, name in (WINAPI, "winapi"), (CLIENT, "test_client"):
        text = run(tool, "--help").stdout
        options = set(re.findall(r"--[a-z][a-z-]*", text)) | set(re.findall(r"^  ([a-z]+) ", text, re.M))
        check("%s: what --help names is offered, and no more" % name, offered(name) == options, offered(name) ^ options)
    common = re.search(r"^Options of all commands:\n(.*?)\n\n", run(WINAPI, "--help").stdout, re.S | re.M).group(1)
    for command in ("info", "echo", "buffer", "perf", "stat"):
        own = re.search(r"^%s: (.*)$" % command, run(WINAPI, "--help").stdout, re.M)
        options = set(re.findall(r"--[a-z][a-z-]*", common + (own.group(1) if own else "")))
        got = offered("winapi " + command)
        check("winapi %s: its options and no others are offered" % command, got == options, got ^ options)


def main():
    with tempfile.TemporaryDirectory() as folder:
        for name in ("hostd.sock", "picture.svg"):
            open(os.path.join(folder, name), "w").close()
        for name, setup in WORDBREAKS.items():
            check_cases(folder, name, setup)
    check_options()
    return finish()


if __name__ == "__main__":
    sys.exit(main())
