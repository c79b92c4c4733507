#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The syzkaller description of /dev/winapi says what include/winapi_ioctl.h says. Usage: syzkaller_test.py SOURCE_ROOT"""
import os
import re
import subprocess
import sys
import tempfile

top = sys.argv[1]
base = os.path.join(top, "guest/driver/syzkaller/dev_winapi.txt")
count = failed = 0


def check(name, ours, theirs):
    global count, failed
    count += 1
    if ours == theirs:
        print("ok %d - %s" % (count, name))
    else:
        failed += 1
        print("not ok %d - %s\n# %s\n# %s" % (count, name, ours, theirs))


def read(path):
    with open(path) as f:
        return f.read()


def values(header, names):
    """What a C compiler makes of them."""
    with tempfile.TemporaryDirectory() as folder:
        source, program = os.path.join(folder, "values.c"), os.path.join(folder, "values")
        lines = "".join('\tprintf("%%llu\\n", (unsigned long long)(%s));\n' % name for name in names)
        with open(source, "w") as f:
            f.write('#include <stdio.h>\n#include "%s"\nint main(void)\n{\n%s\treturn 0;\n}\n' % (header, lines))
        subprocess.run(["cc", "-o", program, source], check=True)
        return [int(n) for n in subprocess.run([program], stdout=subprocess.PIPE, check=True, text=True).stdout.split()]


header = os.path.abspath(os.path.join(top, "include/winapi_ioctl.h"))
code = re.sub(r"/\*.*?\*/", "", read(header), flags=re.S)
description = re.sub(r"^#.*\n", "", read(base), flags=re.M)

ioctls = re.findall(r"^#define (WINAPI_IOC_\w+) _IO", code, re.M)
check("every ioctl has its call", re.findall(r"^ioctl\$(WINAPI_IOC_\w+)\(", description, re.M), ioctls)

given = dict(re.findall(r"^(WINAPI_\w+) = (\d+)", read(base + ".const"), re.M))
check("its numbers", [int(given.get(name, -1)) for name in ioctls], values(header, ioctls))

theirs = {name: re.findall(r"(\w+)(?:\[\d+\])?;", body) for name, body in re.findall(r"struct (\w+) \{(.*?)\n\};", code, re.S)}
theirs.pop("winapi_ioc_completion")  # what read() gives
ours = {name: re.findall(r"^\t(\w+)\s", body, re.M) for name, body in re.findall(r"^(\w+) \{\n(.*?)^\}", description, re.S | re.M)}
check("its structs", sorted(ours), sorted(theirs))
for name in sorted(theirs):
    check("the fields of " + name, ours.get(name), theirs[name])

size = re.search(r"call_size\s+const\[(\d+)", description)
check("the size of a call", [int(size.group(1))], values(header, ["sizeof(struct winapi_ioc_call)"]))
print("1..%d" % count)
sys.exit(1 if failed else 0)
