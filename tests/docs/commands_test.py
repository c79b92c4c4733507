#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Commands that README.md and docs/*.md print can be typed as printed: their programs, goals, options and files exist.

docs/extending.md has a test of its own, which runs them. What only Windows has isn't looked at.
Usage: commands_test.py SOURCE_ROOT BUILD_ROOT
"""
import glob
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from tap import check, finish, run  # noqa: E402

SOURCE, BUILD = sys.argv[1:3]
TOOLS = {"winapi": "guest/tools/winapi", "test_client": "guest/tools/test_client", "winapi-hostd": "host/linux/winapi-hostd"}
# Made by a build, by a test or by hand.
MADE = r"build|x64/|test-signing/|/"


def read(name):
    with open(os.path.join(SOURCE, name)) as f:
        return f.read()


def commands(text):
    """Lines that are indented as code, and code in a line, without comments; each part of "a && b" by itself."""
    lines = re.findall(r"^    (\S.*)$", text, re.M) + re.findall(r"`([^`\n]+)`", text)
    for line in lines:
        for part in re.split(r" && | \| |; ", line.split(" #")[0]):
            yield part.strip()


def goals():
    return set(re.findall(r"^([\w-]+(?: [\w-]+)*):", read("Makefile"), re.M)), \
        set(" ".join(re.findall(r"^([\w ]+):", read("guest/driver/Makefile"), re.M)).split())


def options_of(words):
    return [word.split("=")[0] for word in words if word.startswith("--")]


def wrong_make(words):
    top, driver = goals()
    if words[:2] == ["-C", "guest/driver"]:
        return [goal for goal in words[2:] if goal not in driver and "=" not in goal]
    return [goal for goal in words if goal not in top and "=" not in goal]


def wrong_script(script, words):
    if not os.path.exists(os.path.join(SOURCE, script)):
        return [script]
    known = run(sys.executable, os.path.join(SOURCE, script), "--help").stdout
    return [option for option in options_of(words) if option not in known]


def wrong_tool(path, words):
    text = run(os.path.join(BUILD, path), "--help").stdout
    commands_of = re.findall(r"^  ([a-z]+) ", text, re.M)
    return [option for option in options_of(words) if option not in text] + [
        word for word in words[:1] if commands_of and not word.startswith("-") and word not in commands_of]


def wrong_conformance(words):
    return [option for option in options_of(words) if '"%s"' % option[2:] not in read("tests/conformance/main.c")]


def wrong_hostctl(words):
    text = read("host/windows/winapi-hostctl.c")
    return [word for word in words[:1] if '"%s"' % word not in text] + [
        option for option in options_of(words) if '"%s"' % option not in text]


def judge(command):
    """None: not a command that can be judged; else what is wrong with it."""
    program, *words = command.split()
    if program == "make":
        return wrong_make(words)
    if program == "python3" and words:
        return wrong_script(words[0], words[1:])
    if re.fullmatch(r"tests/\S+\.py", program):
        return wrong_script(program, words)
    if program in TOOLS and words:
        return wrong_tool(TOOLS[program], words)
    if program.endswith("/conformance") and words:
        return wrong_conformance(words)
    if program == "winapi-hostctl" and words:
        return wrong_hostctl(words)
    if program == "pkg-config":
        done = run("sh", "-c", command, env=dict(os.environ, PKG_CONFIG_PATH=os.path.join(BUILD, "meson-private")))
        return [done.stderr] if done.returncode else []
    if program in ("meson", "ninja") and "--cross-file" in words:
        files = [words[words.index("--cross-file") + 1]]
        return [name for name in files if not os.path.exists(os.path.join(SOURCE, name))]
    return None


def wrong_files(text):
    """Paths in code that begin with a folder of the tree, wherever they stand."""
    top = "|".join(name for name in os.listdir(SOURCE) if os.path.isdir(os.path.join(SOURCE, name)) and
                   not re.match(r"build|\.", name))
    paths = [word.replace("\\", "/").rstrip(".,;:") for code in re.findall(r"`([^`\n]+)`|^    (\S.*)$", text, re.M)
             for word in re.findall(r"(?<![\w/.-])(?:%s)[/\\][\w./\\*-]+" % top, " ".join(code))]
    return sorted({path for path in paths if not re.match(MADE, path) and not glob.glob(os.path.join(SOURCE, path)) and
                   not glob.glob(os.path.join(SOURCE, "docs", path))})


def main():
    judged = 0
    names = ["README.md"] + sorted("docs/" + name for name in os.listdir(os.path.join(SOURCE, "docs")) if name.endswith(".md"))
    for name in names:
        text = read(name)
        found = {command: judge(command) for command in commands(text) if command}
        judged += sum(wrong is not None for wrong in found.values())
        wrong = {command: why for command, why in found.items() if why}
        check("%s: its commands can be typed" % name, not wrong, wrong)
        missing = wrong_files(text)
        check("%s: its files are there" % name, not missing, missing)
    check("there were commands", judged > 30, judged)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
