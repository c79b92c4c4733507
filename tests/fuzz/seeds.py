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
        "late": megabytes + use(1, timeout=130) + amid(CLOCK, 9) + use(5, 1, b"\x01\x02", timeout=130) + amid(AMBUSH, CLOCK, 9),
        "foreign": shared + send(SESSION_OPEN) + use(1) + step(SEND, CANCEL, 1, 2, 0) + step(SEND, SESSION_CLOSE, 1, 2, 0) + step(WORK),
        "no_room": shared + step(ROOM, 1) + use(1) + send(CALL, 0) * 9 + step(WORK) + step(ROOM, 7) + step(ROOM, 7),
        "closing": shared + use(1) * 2 + send(SESSION_CLOSE) + step(WORK) * 2 + step(OPEN) + step(OPEN) + up,
        "two": step(OPEN + 8) + shared + step(SEND + 8, HELLO, 0, 2) + use(1) + step(OPEN) + step(WORK),
        "spoilt": up + step(SPOIL, 0, 12, 1) + send(CALL) + step(SPOIL, 0xf0) + send(CALL) + step(SPOIL, 0, 0, 1) + send(CALL),
        "no_memory": up + pages + step(CLOCK, 0, 2) + send(REGISTER, 0, bytes(4), 1) + step(CLOCK, 0, 1) + send(SESSION_OPEN),
    }


# ---- vmbus_user_records -----------------------------------------------------------------------------------

RECORD, MESSAGE, MEMORY, KICK, TURN, RAW, REQUEST, REPLIES = range(8)
NOTHING, RAM, SMALL, SPARSE, UNSEALED, NOT_WRITABLE, EVENT, PIPE, DEVICE, SELF, TWO, MANY = range(12)
TRUSTED, STOPPED = 1, 2


def record(kind, payload, descriptor=NOTHING):
    return step(RECORD + 8 * descriptor, kind, payload)


def state(version=0, flags=0, *entries):
    head = struct.pack("<IHHIIQQQII", 0x55424D56, 1, 0, version, 0, 0, 0, 0, flags, len(entries))
    return record(1, head + b"".join(struct.pack("<IIII", *e) for e in entries))


def region(gpa, pages, descriptor):
    return record(2, struct.pack("<QQ", gpa << 12, pages << 12), descriptor)


def post(kind, *words):
    return step(MESSAGE, struct.pack("<II%dI" % len(words), kind, 0, *words))


def gpadl(number, *pfns):
    return step(MESSAGE, struct.pack("<IIIIHHII%dQ" % len(pfns), 8, 0, 1, number, 8 + 8 * len(pfns), 1, 4096 * len(pfns), 0, *pfns))


def vmbus_user_records():
    look = step(TURN + 8 * 7)
    kick = step(KICK) + look
    vp = record(4, struct.pack("<IIQ", 0, 0, 0xF000), EVENT)
    contact = step(MESSAGE, struct.pack("<IIIIQQQ", 14, 0, 0x50003, 0, 2, 0, 0)) + look
    up = state() + vp + region(0, 16, RAM) + contact + post(3) + look
    opened = up + gpadl(7, 1, 2, 3, 4) + step(MESSAGE, struct.pack("<IIIIIII", 5, 0, 1, 9, 7, 0, 2) + bytes(120)) + look
    session = step(REQUEST, HELLO) + kick + step(REQUEST, SESSION_OPEN) + kick + step(REPLIES)
    shared = opened + session + gpadl(8, 8) + look + step(REQUEST, REGISTER, 0, 8) + kick + step(REPLIES)
    closed = post(7, 1) + look + post(11, 1, 7) + look
    broken = step(REQUEST, HELLO, 8) + kick + post(13, 1) + look + kick
    return {
        "echo": bytes([0]) + opened + session + step(REQUEST, CALL, 0, 1, 2, 3) + kick,
        "buffer": bytes([0]) + shared + step(REQUEST, CALL, 0, 1) + kick + step(REQUEST, UNREGISTER) + kick + closed,
        "no_room": bytes([0]) + opened + session + (step(REQUEST, CALL, 0, bytes(200)) + kick) * 20 + (step(REPLIES) + kick) * 2,
        "idle": bytes([0]) + opened + session + step(REPLIES + 8 * 30) + step(REQUEST, CALL, 0, 1, 2) + step(REPLIES + 8 * 30) + look,
        "modified": bytes([0]) + opened + session + post(22, 1, 3) + look + step(REQUEST, CALL, 0, 1, 2) + kick,
        "self": bytes([0]) + state() + record(4, struct.pack("<IIQ", 0, 0, 2**64 - 1), SELF) + look,
        "pages": bytes([0]) + opened + session + step(REQUEST, CALL, 3) + kick + record(3, bytes(16)) + look + closed + look,
        "rescinded": bytes([0]) + opened + broken,
        "stopped": bytes([STOPPED]) + shared,
        "stopped_late": bytes([STOPPED]) + opened + broken,
        "unload": bytes([0]) + opened + post(16) + look + contact + post(3) + look + kick,
        "restored": bytes([TRUSTED]) + state(0x50003, 1, (1, 3, 0, 0), (2, 3, 5, 0), (4, 3, 9, 0), (3, 3, 6, 0), (5, 3, 0, 0)) + look + post(13, 3) + look,
        "unloading": bytes([0]) + state(0x50003, 1, (1, 3, 0, 0), (6, 0, 0, 0)) + look + contact + post(3) + look,
        "regions": bytes([TRUSTED]) + state() + region(0, 4, SMALL) + region(16, 4, SPARSE) + region(32, 4, UNSEALED) + region(48, 4, NOT_WRITABLE)
        + region(2, 4, SMALL) + region(64, 4, DEVICE) + region(80, 4, NOTHING) + look + record(3, bytes(16)) + look,
        "two": bytes([0]) + state() + look + record(4, bytes(16), TWO) + look,
        "many": bytes([0]) + state() + record(4, bytes(16), MANY) + look,
        "unread": bytes([0]) + state() + contact[:-2] + post(3) * 20 + step(TURN) * 3 + look * 3,
        "raw": bytes([0]) + state() + step(RAW, struct.pack("<II", 3, 17), bytes(16)) + look,
    }


# ---- lib_reply --------------------------------------------------------------------------------------------

ASK, REPLY, _, BYTES, WORD, DRAIN, TAKE, END = range(8)
NOW, SLEEP, POLL, SESSION, CANCELS, HURRY, SUBMIT = range(7)
ENDED = step(END + 8)


def ask(how, capacity=9, buffers=0):
    return step(ASK + 8 * how, capacity, buffers)


def reply(which, status=0, size=0, spoilt=b""):
    return step(REPLY, which, status, struct.pack("<H", size), spoilt)


def lib_reply():
    three = ask(SUBMIT) + ask(SLEEP) + ask(POLL, 9, 3)
    kick_owed = step(WORD, 1, struct.pack("<I", 8 + 4096 - 1024))
    return {
        "replies": b"\1" + three + reply(0, 0, 5) + reply(1, 0, 100) + reply(0) + step(DRAIN) + step(TAKE) + ENDED,
        "errors": b"\1" + three + reply(0, 8) + reply(1, 255) + reply(2, 0, 3000) + step(DRAIN) + step(TAKE) + ENDED,
        "buffers": b"\1" + ask(SUBMIT, 0, 7) + ask(SUBMIT, 0, 30) + ask(POLL, 0, 23) + reply(0) * 2 + step(TAKE) + reply(0) + step(DRAIN) + ENDED,
        "late": b"\1" + ask(HURRY, 9, 7) + step(TAKE) + ask(NOW, 9, 7) + ask(POLL, 9, 7) + step(END + 16 * 2) + reply(0) * 4 + step(DRAIN),
        "many": b"\1" + ask(SUBMIT, 0) * 45 + reply(0) * 40 + step(DRAIN) + step(TAKE),
        "control": b"\1" + ask(SESSION, 1) + ask(SUBMIT) + ask(CANCELS) + reply(0, 0, 8) + reply(1) + reply(2) + step(DRAIN) + ENDED,
        "spoilt": b"\1" + three + b"".join(reply(0, 0, 5, bytes([at, 1])) for at in (0, 2, 4, 8, 10, 16, 20, 22, 32, 40, 52, 56)) + step(DRAIN),
        "raw": b"\1" + three + step(BYTES, struct.pack("<HHHHQ", 11, 2, 900, 0, 65536)) + step(DRAIN),
        "index": b"\1" + three + step(WORD, 0, struct.pack("<I", 4095)) + step(DRAIN) + ask(SUBMIT),
        "stuck": b"\1" + step(WORD, 3, struct.pack("<I", 8)) + ask(SUBMIT) * 50 + step(WORD, 3, struct.pack("<I", 9)) + ask(SUBMIT) * 9,
        "signal": b"\1" + ask(SUBMIT) * 20 + kick_owed + reply(0) * 15 + step(DRAIN) + step(TAKE),
        "no_signal": b"\0" + ask(POLL) + step(WORD, 4, b"\1") + ask(SUBMIT) * 2 + reply(0) + step(DRAIN),
    }


# ---- lib_bus ----------------------------------------------------------------------------------------------

FROM_HOST, HOST_MESSAGE, HOST_RAW, DO = range(4)
CONNECT, OPEN_CHANNEL, ADD_REGION, REMOVE_REGION, CREATE, TEAR_DOWN, LOOK = range(7)
HANG_UP = step(HOST_RAW + 4 * 63)


def host_record(kind, payload, fds=0):
    return step(FROM_HOST + 4 * fds, kind, payload)


def host_message(kind, *words):
    return step(HOST_MESSAGE, struct.pack("<II%dI" % len(words), kind, 0, *words))


def do(what, *data):
    return step(DO + 4 * what, *data)


def lib_bus():
    guid = bytes.fromhex("8f3dc86a166e5c4eab3dfd8c5a4b7e21")
    ready = host_record(64, struct.pack("<HHIQ", 1, 0, 64, 1 << 30))
    version = host_message(15, 1)
    channel = host_record(67, struct.pack("<II", 3, 0x2003), 1)
    offer = host_message(1, *struct.unpack("<4I", guid), *[0] * 40, 3, 0x10000, 0x2003)
    all_offers = host_message(4)
    up = ready + version + channel + offer + all_offers + do(CONNECT)
    created = host_message(10, 3, 1, 0)
    opened = up + created + host_message(6, 3, 1, 0) + do(OPEN_CHANNEL)
    region = host_record(66, struct.pack("<QiI", 0x105000, 0, 0))
    return {
        "opened": opened,
        "buffer": opened + region + do(ADD_REGION, 5) + host_message(10, 3, 2, 0) + do(CREATE, 200) + host_message(12, 2) + do(TEAR_DOWN)
        + region + do(REMOVE_REGION, 5) + do(LOOK),
        "refusals": up + created[:-4] + b"\1\0\0\0" + do(OPEN_CHANNEL) + host_record(66, struct.pack("<QiI", 0x105000, -28, 0)) + do(ADD_REGION, 5),
        "refused": host_record(65, struct.pack("<i124s", -71, b"no" * 62)) + do(CONNECT),
        "old": ready + host_message(15, 0) * 5 + do(CONNECT),
        "rescinded": opened + host_message(2, 3) + do(LOOK) + do(CREATE) + do(ADD_REGION),
        "descriptors": ready + host_record(67, bytes(8), 2) + host_record(67, bytes(8)) + host_record(64, bytes(16), 5) + do(CONNECT),
        "silence": do(CONNECT) + do(OPEN_CHANNEL) + do(ADD_REGION) + do(CREATE) + do(TEAR_DOWN) + do(REMOVE_REGION),
        "short": opened + host_message(1) + host_message(6, 3) + host_message(10) + do(LOOK),
        "gone": up + HANG_UP + do(OPEN_CHANNEL),
        "raw": step(HOST_RAW, b"\x40\0\0\0") + do(CONNECT) + step(HOST_RAW) + do(LOOK),
    }


for target in (vmbus_control, provider_message, vmbus_user_records, lib_reply, lib_bus):
    folder = os.path.join(sys.argv[1], target.__name__)
    os.makedirs(folder, exist_ok=True)
    for name, data in target().items():
        with open(os.path.join(folder, name), "wb") as f:
            f.write(data)
