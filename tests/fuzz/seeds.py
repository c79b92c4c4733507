#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the seeds of the corpora: whole, well-formed conversations to mutate. Usage: seeds.py CORPUS"""
import os
import struct
import sys


def step(what, *data):
    data = b"".join(bytes([d]) if isinstance(d, int) else d for d in data)
    return bytes([what, len(data)]) + data


# ---- vmbus_control ----------------------------------------------------------------------------------------


def message(data):
    return step(5, data)


def memory(page, offset8, data):
    return step(0, page, offset8, data)


def control(kind, *words):
    return message(struct.pack("<II%dI" % len(words), kind, 0, *words))


def vmbus_control():
    contact = message(struct.pack("<IIIIQQQ", 14, 0, 0x50003, 0, 2, 0, 0))
    offers = control(3)
    gpadl = message(struct.pack("<IIIIHHII6Q", 8, 0, 1, 7, 8 + 48, 1, 6 * 4096, 0, 1, 2, 3, 4, 5, 6))
    opened = message(struct.pack("<IIIIIII", 5, 0, 1, 9, 7, 0, 3) + bytes(120))
    packet = memory(2, 0, struct.pack("<HHHHQ", 6, 2, 10, 1, 5) + bytes(64) + bytes(8)) + memory(1, 0, struct.pack("<I", 88))
    kick, closed = step(1), step(2)
    up = contact + offers + gpadl
    return {
        "open": up + packet + opened + kick,
        "close": up + opened + control(7, 1) + closed + control(11, 1, 7),
        "unload": up + opened + control(16) + closed + contact,
        "gpadl": contact + offers + gpadl + step(3, 7) + control(11, 1, 7),
        "modify": up + opened + control(22, 1, 3) + kick,
    }


# ---- provider_message -------------------------------------------------------------------------------------

SEND, WORK, ROOM, GPADL, SPOIL, AMBUSH, CLOCK, OPEN = range(8)
HELLO, SESSION_OPEN, SESSION_CLOSE, REGISTER, UNREGISTER, CALL, BATCH, CANCEL = range(1, 9)
EXTERNAL = 16


def send(kind, *rest, ident=2, timeout=0):
    return step(SEND, kind, 0, ident, timeout, *rest)


def use(method, count=1, arguments=b"", timeout=0):
    """A call of `methods[method]` on all of the first buffer, `count` times."""
    return send(CALL, method, count, bytes(5) * count, arguments, timeout=timeout)


def amid(*inner):
    """In the middle of what a worker does next."""
    return step(AMBUSH, *inner) + step(WORK)


def provider_message():
    up = send(HELLO) + send(SESSION_OPEN)
    pages = step(GPADL, 1, 0, 0x31, 0x24, 0x0a)
    large = step(GPADL, 1, 31, 0xf0)
    shared = up + pages + send(REGISTER, 0, bytes(4), 1)
    megabytes = up + large + send(REGISTER, 0, bytes(4), 1)
    overlapping = b"\x00\x00\x00\x50\x01" + b"\x00\x10\x00\x50\x01"
    return {
        "echo": up + send(CALL, 0, 0, b"\x40\x00") + send(CALL, 0, 0, b"\x00\x0c") + send(CALL, 7) + send(CALL, 6),
        "buffers": shared + use(2, 2) + step(WORK) + use(3) + use(1) + step(WORK) * 2 + send(UNREGISTER),
        "copies": shared + use(5, 2, b"\x02\x01") + send(CALL, 5, 2, overlapping, b"\x02\x01") + use(5, 1, b"\x00\x02") + step(WORK) * 2,
        "pages": up + send(CALL + EXTERNAL, 3, 1, b"\x08\x01\x00\x00\x00") + step(WORK),
        "batch": up + send(BATCH, 0, 9, bytes(9), 4, 3, bytes(3), 0, 0, 6, 8, bytes(8), 9, 0),
        "batch_full": up + send(BATCH, b"\x04\x00" * 95, 0, 40, bytes(40)),
        "cancel": shared + use(1) + send(CANCEL) + use(1) + send(CANCEL, ident=0xf0) + step(WORK) * 2,
        "amid": megabytes + use(1, timeout=255) + amid(SEND, CANCEL, 0, 2, 0),
        "late": megabytes + use(1, timeout=130) + amid(CLOCK, 9) + use(5, 1, b"\x01\x02", timeout=130) + step(CLOCK, 9) + step(WORK),
        "no_room": shared + step(ROOM, 1) + use(1) + send(CALL, 0) * 9 + step(WORK) + step(ROOM, 7) + step(ROOM, 7),
        "closing": shared + use(1) * 2 + send(SESSION_CLOSE) + step(WORK) * 2 + step(OPEN) + step(OPEN) + up,
        "two": step(OPEN + 8) + shared + step(SEND + 8, HELLO, 0, 2) + use(1) + step(OPEN) + step(WORK),
        "spoilt": up + step(SPOIL, 0, 12, 1) + send(CALL) + step(SPOIL, 0xf0) + send(CALL) + step(SPOIL, 0, 0, 1) + send(CALL),
        "no_memory": up + pages + step(CLOCK, 0, 2) + send(REGISTER, 0, bytes(4), 1) + step(CLOCK, 0, 1) + send(SESSION_OPEN),
    }


for target in (vmbus_control, provider_message):
    folder = os.path.join(sys.argv[1], target.__name__)
    os.makedirs(folder, exist_ok=True)
    for name, data in target().items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
