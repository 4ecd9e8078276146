#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a source file does what the house rules forbid.

Over src/ and include/cornstarch/:
  1. "cornstarch/<m>.h" only for folders m on the folder's line in src/LAYERS;
     "base/x.h" everywhere; other folders' private headers nowhere. A bare name
     is a private header of the same folder.
  2. A system header named after '!' only in folders that name it; <jansson.h>
     only in src/base/json.h.
  3. src/LAYERS has no cycle, and every folder is in it.
  4. No printf to the standard streams outside src/cli (src/base/log.c may
     write to stderr); no heap but through src/base/alloc.h.
Over every C file and header:
  5. At most MAX_LINES lines; the first line is the SPDX line.
  6. No TODO or FIXME without an issue: TODO(#12).
  7. No path of somebody's machine (scripts and build files too).

usage: check_layers.py [ROOT]; prints one line per fault, exit 1 if any.
"""
import pathlib
import re
import sys

MAX_LINES = 800
SPDX = 'SPDX-License-Identifier: Apache-2.0'
BASE_HEADERS = {'status', 'log', 'version'}  # public headers that base owns
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
TOKEN = re.compile(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|'
                   r"'(?:\\.|[^'\\\n])*'", re.S)
PRINTS = re.compile(r'(?<![\w.>])(?:v?printf|puts|putchar|perror)\s*\(|'
                    r'(?<![\w.>])\w+\s*\([^;]*\bstd(?:out|err)\b')
HEAP = re.compile(r'(?<![\w.>])(?:malloc|calloc|realloc|reallocarray|free|'
                  r'strn?dup|v?asprintf|getline|getdelim|aligned_alloc|'
                  r'posix_memalign|memalign|alloca)\s*\(')
MARKER = re.compile(r'\b(?:TODO|FIXME|XXX)\b(?!\(#\d+\))')
MACHINE_PATH = re.compile(r'/(?:wor' r'k|home)/')
C_FOLDERS = ['src', 'include', 'tests', 'fuzz', 'bench', 'examples']
TEXT_FOLDERS = C_FOLDERS + ['tools', 'cmake', '.ci', 'configs', 'docs']
TEXT_SUFFIXES = {'.c', '.h', '.py', '.sh', '.cmake', '.txt', '.yaml', '.json',
                 '.md', ''}


def read_table(path):
    allowed, reserved = {}, {}
    for line in path.read_text().splitlines():
        line = line.split('#')[0].strip()
        if line:
            name, rest = (part.strip() for part in line.split(':', 1))
            deps, _, system = rest.partition('!')
            if name in allowed:
                sys.exit(f'src/LAYERS: two rows for {name}')
            allowed[name] = set(deps.split())
            reserved[name] = set(system.split())
    return allowed, reserved


def find_cycle(allowed):
    left = dict(allowed)
    while left:
        ready = [n for n, deps in left.items() if not deps & left.keys()]
        if not ready:
            return sorted(left)
        for name in ready:
            del left[name]
    return []


def folder_of(parts, allowed):
    """The row of src/LAYERS that a file belongs to; None = no row."""
    if parts[0] == 'include':  # include/cornstarch/<folder>[/x].h
        name = parts[2].removesuffix('.h')
        if name in BASE_HEADERS:
            return 'base'
        return name if name in allowed else None
    for n in range(len(parts) - 1, 1, -1):  # src/<folder>[/<sub>]/x.c
        if '/'.join(parts[1:n]) in allowed:
            return '/'.join(parts[1:n])
    return None


def blank_out(text):
    """The code without comments and literals, on the same lines."""
    def spaces(match):
        found = match.group()
        kept = '""' if found[0] in '"\'' else ' '
        return kept + '\n' * found.count('\n')
    return TOKEN.sub(spaces, text)


def check_include(path, me, kind, name, table):
    allowed, reserved = table
    if kind == '<':
        if name == 'jansson.h' and path.name != 'json.h':
            return 'may not use <jansson.h>: include "base/json.h"'
        special = set().union(*reserved.values())
        hit = any(name.startswith(s) for s in special)
        if hit and not any(name.startswith(s) for s in reserved[me]):
            return f'may not use <{name}>'
    elif name.startswith('cornstarch/'):
        target = name.removeprefix('cornstarch/').removesuffix('.h')
        target = target.split('/')[0]
        parents = {me, me.split('/')[0]} | BASE_HEADERS
        if target not in allowed[me] | parents:
            return f'may not depend on {target}'
    elif '/' in name:
        if not name.startswith('base/'):
            return f'reaches into the private "{name}"'
    elif not (path.parent / name).exists():
        return f'"{name}" is no header of its folder'
    return None


def check_layers(root, path, lines, table):
    parts = path.relative_to(root).parts
    if path.name == 'cornstarch.h':  # the umbrella includes all
        return
    me = folder_of(parts, table[0])
    if me is None:
        yield 1, 'folder is not in src/LAYERS'
        return
    for number, line in enumerate(lines, 1):
        found = INCLUDE.match(line)
        if found:
            said = check_include(path, me, *found.groups(), table)
            if said:
                yield number, f'{me} {said}'


def check_calls(root, path, text):
    where = path.relative_to(root).as_posix()
    if where.startswith('include/'):
        return
    code = blank_out(text).splitlines()
    may_print = where.startswith('src/cli/') or where == 'src/base/log.c'
    may_allocate = where == 'src/base/alloc.c'
    for number, line in enumerate(code, 1):
        if not may_print and PRINTS.search(line):
            yield number, 'prints; only src/cli may, the library returns statuses'
        if not may_allocate and HEAP.search(line):
            yield number, 'uses the heap directly; base/alloc.h is the only door'


def check_text(path, lines):
    if path.suffix in {'.c', '.h'}:
        if len(lines) > MAX_LINES:
            yield len(lines), f'{len(lines)} lines, limit {MAX_LINES}'
        if not lines or SPDX not in lines[0]:
            yield 1, f'the first line is not the {SPDX} line'
        for number, line in enumerate(lines, 1):
            if MARKER.search(line):
                yield number, 'a marker without an issue: TODO(#12)'
    for number, line in enumerate(lines, 1):
        if MACHINE_PATH.search(line):
            yield number, 'a path of somebody\'s machine'


def files_under(root, folders, suffixes):
    for folder in folders:
        for path in sorted((root / folder).rglob('*')):
            if path.is_file() and path.suffix in suffixes:
                yield path


def check(root):
    table = read_table(root / 'src' / 'LAYERS')
    problems = []
    cycle = find_cycle(table[0])
    if cycle:
        problems.append(f'src/LAYERS: cycle among {" ".join(cycle)}')
    for path in files_under(root, TEXT_FOLDERS, TEXT_SUFFIXES):
        where = path.relative_to(root)
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a fuzz corpus may hold anything
        lines = text.splitlines()
        found = []
        if where.parts[:2] != ('fuzz', 'corpus'):
            found += check_text(path, lines)
        if where.parts[0] in {'src', 'include'} and path.suffix in {'.c', '.h'}:
            found += check_layers(root, path, lines, table)
            found += check_calls(root, path, text)
        problems += [f'{where}:{number}: {said}' for number, said in found]
    return problems


if __name__ == '__main__':
    faults = check(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.'))
    print(*faults, sep='\n', end='\n' if faults else '')
    sys.exit(1 if faults else 0)
