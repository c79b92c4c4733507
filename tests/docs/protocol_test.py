#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""docs/protocol.md says what common/status.h says; both agree with what others have published; each status has a cause.

Usage: protocol_test.py SOURCE_ROOT
"""
import errno
import glob
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../support"))
from tap import check, finish  # noqa: E402

SOURCE = sys.argv[1]

# Microsoft's [MS-ERREF] 2.3.1, also in ntstatus.h of the Windows SDK.
NTSTATUS = {
    "SUCCESS": 0x00000000, "NOT_IMPLEMENTED": 0xC0000002, "INFO_LENGTH_MISMATCH": 0xC0000004, "INVALID_HANDLE": 0xC0000008,
    "INVALID_PARAMETER": 0xC000000D, "INVALID_DEVICE_REQUEST": 0xC0000010, "ACCESS_DENIED": 0xC0000022,
    "BUFFER_TOO_SMALL": 0xC0000023, "OBJECT_NAME_COLLISION": 0xC0000035, "SHARING_VIOLATION": 0xC0000043,
    "QUOTA_EXCEEDED": 0xC0000044, "REVISION_MISMATCH": 0xC0000059, "PRIVILEGE_NOT_HELD": 0xC0000061,
    "INSUFFICIENT_RESOURCES": 0xC000009A, "IO_TIMEOUT": 0xC00000B5, "NOT_SUPPORTED": 0xC00000BB,
    "DEVICE_DOES_NOT_EXIST": 0xC00000C0, "TOO_MANY_COMMANDS": 0xC00000C1, "TOO_MANY_SESSIONS": 0xC00000CE,
    "INTERNAL_ERROR": 0xC00000E5, "INVALID_PARAMETER_1": 0xC00000EF, "INVALID_PARAMETER_2": 0xC00000F0,
    "INVALID_PARAMETER_3": 0xC00000F1, "CANCELLED": 0xC0000120, "INVALID_BUFFER_SIZE": 0xC0000206, "NOT_FOUND": 0xC0000225,
}
# What each of ours is meant to be there.
COUNTERPART = {
    "OK": "SUCCESS", "MALFORMED": "INVALID_PARAMETER", "UNSUPPORTED_VERSION": "REVISION_MISMATCH",
    "UNKNOWN_TYPE": "NOT_IMPLEMENTED", "UNKNOWN_API": "NOT_SUPPORTED", "UNKNOWN_METHOD": "INVALID_DEVICE_REQUEST",
    "UNKNOWN_FLAGS": "INVALID_PARAMETER_1", "RESERVED_NOT_ZERO": "INVALID_PARAMETER_2",
    "INVALID_PARAMETER": "INVALID_PARAMETER_3", "TOO_LARGE": "INVALID_BUFFER_SIZE", "REPLY_TOO_LARGE": "BUFFER_TOO_SMALL",
    "NO_SESSION": "INVALID_HANDLE", "INVALID_HANDLE": "INVALID_HANDLE", "ACCESS_DENIED": "ACCESS_DENIED",
    "OUT_OF_BOUNDS": "INFO_LENGTH_MISMATCH", "BUFFER_BUSY": "SHARING_VIOLATION", "LIMIT_IN_FLIGHT": "TOO_MANY_COMMANDS",
    "LIMIT_BUFFERS": "QUOTA_EXCEEDED", "LIMIT_BYTES": "QUOTA_EXCEEDED", "LIMIT_SESSIONS": "TOO_MANY_SESSIONS",
    "NO_MEMORY": "INSUFFICIENT_RESOURCES", "TIMED_OUT": "IO_TIMEOUT", "CANCELED": "CANCELLED", "NOT_FOUND": "NOT_FOUND",
    "NOT_SHORT": "NOT_SUPPORTED", "GPADL_UNKNOWN": "INVALID_HANDLE", "DUPLICATE_ID": "OBJECT_NAME_COLLISION",
    "CHANNEL_LOST": "DEVICE_DOES_NOT_EXIST", "NOT_PERMITTED": "PRIVILEGE_NOT_HELD", "NOT_SUPPORTED": "NOT_SUPPORTED",
    "INTERNAL": "INTERNAL_ERROR",
}


def read(*path):
    with open(os.path.join(SOURCE, *path)) as f:
        return f.read()


def header_rows():
    rows = re.findall(r'X\((\w+), (\d+), (\w+), (0x[0-9A-F]{8})u, "([^"]*)"\)', read("common/status.h"))
    return [(int(value), name, "—" if error == "0" else error, nt, text) for name, value, error, nt, text in rows]


def table(text, section):
    """The rows of a section's last table, as lists of cells, without its head."""
    body = re.search(r"^## %s\n(.*?)(?=^## |\Z)" % section, text, re.S | re.M).group(1)
    lines = [line for line in body.split("\n") if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def check_codes(header, document):
    ours = [tuple(row) for row in table(document, "Status codes")]
    theirs = [(str(row[0]), *row[1:]) for row in header]
    check("the table of docs/protocol.md is that of common/status.h", ours == theirs and len(theirs) > 30,
          "\n".join(str(row) for row in set(ours) ^ set(theirs)))
    lines = len(re.findall(r"^\tX\(", read("common/status.h"), re.M))
    check("every line of common/status.h was understood", lines == len(header), (lines, len(header)))
    values = [row[0] for row in header]
    check("values are 0, 1, 2, ...", values == list(range(len(values))), values)
    unknown = [row[1] for row in header if row[2] != "—" and not hasattr(errno, row[2])]
    check("errnos exist, and only success has none", not unknown and [row[1] for row in header if row[2] == "—"] == ["OK"],
          unknown)
    strange = [row for row in header if int(row[3], 16) != NTSTATUS.get(COUNTERPART.get(row[1]))]
    check("NTSTATUS values are Microsoft's for what is meant", not strange, strange)
    # NT_SUCCESS looks at the severity: an error that counts as success would end up as data.
    mild = [row[1] for row in header if row[0] and int(row[3], 16) >> 30 != 3]
    check("and of severity error, but for success", not mild and int(header[0][3], 16) == 0, mild)


def check_causes(header, document):
    names = {row[1] for row in header} - {"OK"}
    causes, never, current = set(), set(), []
    for cells in table(document, "Which status, and when"):
        current = cells[0].split(", ") if cells[0] else current
        causes |= set(current)
        if re.search(r"\b(never|not) sent\b", cells[2]):
            never |= set(current)
    check("each status has a cause in docs/protocol.md", causes == names, sorted(causes ^ names))
    sources = "".join(open(path).read() for path in glob.glob(os.path.join(SOURCE, "host/provider/**/*.c"), recursive=True))
    sent = set(re.findall(r"WINAPI_STATUS_(\w+)", sources)) & names
    check("and is sent, or said not to be", names - sent == never, sorted((names - sent) ^ never))


def check_numbers(document):
    """Numbers that the text repeats."""
    header = read("common/protocol.h")
    section = re.search(r"^## Header\n(.*?)^## ", document, re.S | re.M).group(1)
    types = [("WINAPI_MSG_" + name, value) for value, name in re.findall(r"^\| (\d) \| ([A-Z_]+) \|", section, re.M)]
    wrong = [pair for pair in types if not re.search(r"\b%s = %s," % pair, header)]
    check("types of messages", len(types) == 8 and not wrong, wrong)
    fields = re.findall(r"^\| (\d+) \| [us](\d+) (\w+) \|", document, re.M)
    wrong = [field for field in fields if not re.search(r"\bu?int%s_t %s;" % (field[1], field[2]), header) or (
        field[0] != "0" and "winapi_msg_header, %s, %s);" % (field[2], field[0]) not in header)]
    check("fields of the header", len(fields) == 15 and not wrong, wrong)


def main():
    header, document = header_rows(), read("docs/protocol.md")
    check_codes(header, document)
    check_causes(header, document)
    check_numbers(document)
    return finish()


if __name__ == "__main__":
    sys.exit(main())
