#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every struct that crosses to the other side has its size and the offset of every member asserted, where it is declared.

Usage: layout_test.py SOURCE_ROOT
"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from tap import check, finish  # noqa: E402

HEADERS = ["common/protocol.h", "common/vmbus.h", "common/vmbus_user.h"]


def structs(code):
    """Name and members of each; a first member is at 0 whatever the compiler."""
    for name, body in re.findall(r"^struct (\w+) \{(.*?)^\};", code, re.S | re.M):
        yield name, re.findall(r"(\w+)(?:\[[^\]]*\])?;", body)


def main():
    for header in HEADERS:
        with open(os.path.join(sys.argv[1], header)) as f:
            code = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
        sizes = set(re.findall(r"^WINAPI_ASSERT_SIZE\(struct (\w+),", code, re.M))
        offsets = set(re.findall(r"^WINAPI_ASSERT_OFFSET\(struct (\w+), (\w+),", code, re.M))
        found = list(structs(code))
        missing = [name for name, _ in found if name not in sizes]
        check("%s asserts every size" % header, found and not missing, missing)
        missing = ["%s.%s" % (name, member) for name, members in found for member in members[1:]
                   if (name, member) not in offsets]
        check("%s asserts every offset" % header, not missing, " ".join(missing))
    return finish()


if __name__ == "__main__":
    sys.exit(main())
