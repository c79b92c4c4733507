#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The lists that are kept by hand agree: the WDK project names the driver's sources, vmbkmclr.def what is imported.

Usage: files_test.py PROJECT kmcl.h vmbkmclr.def SOURCE..."""
import os
import re
import sys
import xml.etree.ElementTree as xml

project, header, definition, *sources = sys.argv[1:]
checks = []


def check(what, one, other):
    checks.append(what)
    differ = sorted(one ^ other)
    print(f'{"not ok" if differ else "ok"} {len(checks)} - {what}{": " if differ else ""}{", ".join(differ)}')
    return not differ


compiled = {os.path.normpath(os.path.join(os.path.dirname(project), item.get('Include').replace('\\', '/')))
            for item in xml.parse(project).iter('{http://schemas.microsoft.com/developer/msbuild/2003}ClCompile')
            if item.get('Include')}
built = {os.path.normpath(source) for source in sources}
# What binds by import is for tests; what needs Microsoft's header is for the WDK.
here = os.path.normpath(os.path.dirname(project))
ok = check('the WDK project compiles what this build does',
           compiled - {os.path.join(here, 'bind_query.c'), os.path.join(here, 'kmcl_check.c')},
           built - {os.path.join(here, 'bind_import.c')})
methods = set(re.findall(r'\bM\(\w+, (Vmb\w+),', open(header).read()))
exports = set(re.findall(r'^Vmb\w+$', open(definition).read(), re.M))
ok &= check('vmbkmclr.def has the methods of kmcl.h', methods, exports)
print(f'1..{len(checks)}')
sys.exit(not ok)
