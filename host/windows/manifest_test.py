#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""winapi_remoting.man describes the events that trace.h numbers and trace.c writes, field by field.

Usage: manifest_test.py MANIFEST trace.h trace.c"""
import re
import sys
import xml.etree.ElementTree as xml

NS = '{http://schemas.microsoft.com/win/2004/08/events}'
LEVELS = {'win:Critical': 1, 'win:Error': 2, 'win:Warning': 3, 'win:Informational': 4, 'win:Verbose': 5}


def manifest(path):
    provider = xml.parse(path).find(f'.//{NS}provider')
    templates = {t.get('tid'): len(t) for t in provider.iter(NS + 'template')}
    events = {e.get('symbol'): (int(e.get('value')), LEVELS[e.get('level')], templates.get(e.get('template'), 0))
              for e in provider.iter(NS + 'event')}
    strings = {s.get('id') for s in xml.parse(path).iter(NS + 'string')}
    for event in provider.iter(NS + 'event'):
        name = re.fullmatch(r'\$\(string\.(\w+)\)', event.get('message')).group(1)
        assert name in strings, f'no string {name}'
    return provider.get('guid').strip('{}').lower(), events


def header(path):
    text = open(path).read()
    events = {n: (int(i), int(l)) for n, i, l in re.findall(r'X\((\w+), (\d+), (\d+)\)', text)}
    numbers = re.findall(r'0x([0-9a-f]+)', text[text.index('TRACE_PROVIDER_GUID'):].split('\n#')[0])
    last = ''.join(n.zfill(2) for n in numbers[3:])
    return '-'.join([*numbers[:3], last[:4], last[4:]]), events


def fields(path):
    """Event -> data descriptors that trace.c hands over with it."""
    text = open(path).read()
    count = {n: int(c) for n, c in re.findall(r'write_event\(TRACE_(\w+), \w+, (\d)\)', text)}
    for name in re.findall(r'\{ TRACE_(MESSAGE_\w+),', text):
        count[name] = int(re.search(r'write_event\(levels\[level\]\.event, data, (\d)\)', text).group(1))
    return count


described_guid, described = manifest(sys.argv[1])
guid, numbered = header(sys.argv[2])
written = fields(sys.argv[3])
failed = 0
checks = [(f'provider {guid}', described_guid == guid), ('the same events', set(described) == set(numbered) == set(written))]
for name in sorted(numbered):
    checks.append((f'{name}: id, level, fields', described.get(name) == (*numbered[name], written.get(name))))
for i, (what, ok) in enumerate(checks, 1):
    failed += not ok
    print(f'{"ok" if ok else "not ok"} {i} - {what}')
print(f'1..{len(checks)}')
sys.exit(failed != 0)
