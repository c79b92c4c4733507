#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The man pages as a reader gets them: they render without a warning, and what they name is there.

Usage: man_test.py SOURCE_ROOT BUILD_ROOT LIBWINAPI
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from tap import check, finish, run, skip  # noqa: E402

SOURCE, BUILD, LIBRARY = sys.argv[1:4]
DOCS = os.path.join(BUILD, "docs")
TOOLS = {"winapi.1": "guest/tools/winapi", "test_client.1": "guest/tools/test_client",
         "winapi-hostd.8": "host/linux/winapi-hostd"}


def read(*path):
    with open(os.path.join(*path)) as f:
        return f.read()


def render(page, width=400):
    """The page as text, wide and in ASCII so that nothing is broken or made pretty; and what man complained of."""
    environment = dict(os.environ, MANWIDTH=str(width), LC_ALL="C")
    done = run("man", "--warnings", "-E", "ascii", "-l", page, env=environment)
    return re.sub(r".\x08", "", done.stdout), done.stderr


def check_rendering(pages):
    for name, path in pages.items():
        text, complaints = render(path)
        groff = run("groff", "-ww", "-t", "-man", "-Tutf8", path, stdout=subprocess.DEVNULL)
        stray = re.findall(r"T[{}]|allbox|\\[_*&.]", text)
        check("%s renders without a warning" % name, text and not complaints and not groff.stderr and not stray,
              complaints + groff.stderr + " ".join(stray))


def check_options(texts):
    for name, tool in TOOLS.items():
        ours = set(re.findall(r"--[a-z][a-z-]*", texts[name]))
        theirs = set(re.findall(r"--[a-z][a-z-]*", run(os.path.join(BUILD, tool), "--help").stdout))
        check("%s and --help name the same options" % name, ours == theirs and ours, sorted(ours ^ theirs))
    commands = set(re.findall(r"^  (\w+) ", run(os.path.join(BUILD, TOOLS["winapi.1"]), "--help").stdout, re.M))
    synopsis = re.search(r"winapi ([a-z|]+) \[option\]", texts["winapi.1"])
    check("winapi.1 and --help name the same commands", synopsis and set(synopsis.group(1).split("|")) == commands, commands)


def check_pkg_config(texts):
    environment = dict(os.environ, PKG_CONFIG_PATH=os.path.join(BUILD, "meson-private"))
    found = [(name, command) for name, text in texts.items() for command in re.findall(r"pkg-config [^)\n]*", text)]
    for name, command in found:
        done = run("sh", "-c", command, env=environment)
        check("%s: %s" % (name, command), done.returncode == 0 and "-lwinapi" in done.stdout, done)
    check("a page says how to compile", found)


def squeeze(code):
    """C without comments, and with one space where there were any."""
    return re.sub(r"\s*([(){};,*])\s*", r"\1", re.sub(r"\s+", " ", re.sub(r"/\*.*?\*/", "", code, flags=re.S)))


def check_header(texts):
    """Each function has a page, and the synopsis says what the header says."""
    header = read(SOURCE, "include/winapi.h")
    declared = {squeeze(text) for text in re.findall(r"WINAPI_PUBLIC\s+([^;{}#]*?\);)", header)}
    structs = {re.match(r"struct \w+", text).group(0): squeeze(text)
               for text in re.findall(r"^(struct \w+ \{.*?\n\};)", header, re.S | re.M)}
    shown, wrong = set(), []
    for name, text in texts.items():
        if not name.endswith(".3"):
            continue
        synopsis = re.search(r"^SYNOPSIS\n(.*?)^DESCRIPTION", text, re.S | re.M).group(1)
        for struct in re.findall(r"^ +(struct \w+ \{.*?\n +\};)", synopsis, re.S | re.M):
            if structs.get(re.match(r"struct \w+", struct).group(0)) != squeeze(struct):
                wrong.append(struct)
        prototypes = re.sub(r"struct \w+ \{.*?\n +\};", "", synopsis, flags=re.S)
        shown |= {squeeze(text) for text in re.findall(r"((?:int|void|const|uint\d+_t) [^;{}#]*?\);)", prototypes)}
    check("the pages have the functions of winapi.h, as they are there", declared == shown and declared,
          sorted(declared ^ shown))
    check("and its structs", not wrong, "\n".join(wrong))
    functions = set(re.findall(r"\b(winapi_\w+)\(", " ".join(declared)))
    pages = {name[:-2] for name in os.listdir(DOCS) if name.endswith(".3")}
    check("and a page or a link for each", functions <= pages and pages - functions <=
          {"libwinapi", "winapi_buffer_test", "winapi_perf"}, sorted(functions ^ pages))


def check_links(texts):
    """SEE ALSO and the links of .so lead somewhere; others' pages, such as fork(2), are theirs."""
    there = set(os.listdir(DOCS))
    named = {"%s.%s" % pair for text in texts.values() for pair in re.findall(r"\b((?:lib)?winapi[\w.-]*)\((\d)\)", text)}
    check("pages that are named exist", named <= there and named, sorted(named - there))
    targets = [re.match(r"\.so man3/(.*)\n", read(DOCS, name)) for name in sorted(there)]
    check("links lead to pages", all(match.group(1) in texts for match in targets if match) and any(targets))


def check_example(texts):
    code = re.search(r"^EXAMPLE\n(.*?)^SEE ALSO", texts["libwinapi.3"], re.S | re.M).group(1)
    with tempfile.TemporaryDirectory() as folder:
        source = os.path.join(folder, "example.c")
        with open(source, "w") as f:
            f.write(code)
        done = run("cc", "-Wall", "-Wextra", "-Werror", "-I", os.path.join(SOURCE, "include"), "-o", source[:-2], source, LIBRARY)
        check("the example of libwinapi.3 compiles", done.returncode == 0, done.stderr)


def check_keys(texts):
    """Keys of the daemon's configuration, and parameters of the module."""
    keys = set(re.findall(r'^\t\{ "\w+", "(\w+)"', read(SOURCE, "host/linux/config.c"), re.M))
    text = texts["winapi-hostd.conf.5"]
    shown = {key for line in re.findall(r"^ {7}([a-z_]+(?:, [a-z_]+)*)$", text, re.M) for key in line.split(", ")}
    check("winapi-hostd.conf.5 has the daemon's keys", keys == shown and keys, sorted(keys ^ shown))
    parameters = set(re.findall(r"^module_param_named\((\w+),", read(SOURCE, "guest/driver/main.c"), re.M))
    section = re.search(r"^MODULE PARAMETERS\n(.*?)^FILES", texts["winapi.4"], re.S | re.M).group(1)
    shown = {name for line in re.findall(r"^ {7}([a-z_]+(?:, [a-z_]+)*)$", section, re.M) for name in line.split(", ")}
    check("winapi.4 has the module's parameters", parameters == shown and parameters, sorted(parameters ^ shown))


def main():
    for program in ("man", "groff", "tbl"):
        if not shutil.which(program):
            skip("the man pages", program + " isn't installed (packages man-db and groff-base)")
            return finish()
    paths = sorted(glob.glob(os.path.join(DOCS, "*.[1-8]")))
    pages = {os.path.basename(path): path for path in paths if not read(path).startswith(".so ")}
    check("every page was built", set(pages) == {name[:-4] for name in os.listdir(os.path.join(SOURCE, "docs/man"))
                                                  if name.endswith(".scd")}, sorted(pages))
    check_rendering(pages)
    texts = {name: render(path)[0] for name, path in pages.items()}
    check_options(texts)
    check_pkg_config(texts)
    check_header(texts)
    check_links(texts)
    check_example(texts)
    check_keys(texts)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
