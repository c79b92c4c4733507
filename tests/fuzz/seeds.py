#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the seeds of the corpora: whole, well-formed conversations to mutate. Usage: seeds.py FOLDER"""
import os
import struct
import sys


def message(data):
    return bytes([5, len(data)]) + data


def memory(page, offset8, data):
    return bytes([0, len(data) + 2, page, offset8]) + data


def control(kind, *words):
    return message(struct.pack("<II%dI" % len(words), kind, 0, *words))


CONTACT = message(struct.pack("<IIIIQQQ", 14, 0, 0x50003, 0, 2, 0, 0))
OFFERS = control(3)
GPADL = message(struct.pack("<IIIIHHII6Q", 8, 0, 1, 7, 8 + 48, 1, 6 * 4096, 0, 1, 2, 3, 4, 5, 6))
OPEN = message(struct.pack("<IIIIIII", 5, 0, 1, 9, 7, 0, 3) + bytes(120))
PACKET = memory(2, 0, struct.pack("<HHHHQ", 6, 2, 10, 1, 5) + bytes(64) + bytes(8)) + memory(1, 0, struct.pack("<I", 88))
KICK, CLOSED = b"\x01\x00", b"\x02\x00"
UP = CONTACT + OFFERS + GPADL
SEEDS = {
    "open": UP + PACKET + OPEN + KICK,
    "close": UP + OPEN + control(7, 1) + CLOSED + control(11, 1, 7),
    "unload": UP + OPEN + control(16) + CLOSED + CONTACT,
    "gpadl": CONTACT + OFFERS + GPADL + b"\x03\x01\x07" + control(11, 1, 7),
    "modify": UP + OPEN + control(22, 1, 3) + KICK,
}

for name, data in SEEDS.items():
    with open(os.path.join(sys.argv[1], name), "wb") as f:
        f.write(data)
