#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fails when a public header says too little.

Each header in include/cornstarch/ opens with a comment of what it is for, and
each group of functions (declarations without an empty line between them) has
a comment above or within it, or at the end of its lines.
"""
import pathlib
import re
import sys

DECLARATION = re.compile(r'^(?:CS_API|CS_NODISCARD)\b.*\bcs_\w+\s*\(')


def blocks(lines):
    """(first line number, lines) of runs without an empty line."""
    start, run = 0, []
    for number, line in enumerate(lines + [''], 1):
        if line.strip():
            if not run:
                start = number
            run.append(line)
        elif run:
            yield start, run
            run = []


def check_file(path):
    lines = path.read_text().splitlines()
    head = '\n'.join(lines[1:6])
    if '/*' not in head:
        yield 1, 'opens without a comment that says what it is for'
    for start, run in blocks(lines):
        declared = [n for n, line in enumerate(run) if DECLARATION.match(line)]
        if declared and not any('/*' in line or '*/' in line for line in run):
            yield start + declared[0], 'functions without a comment'


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else '.')
    found = 0
    for path in sorted((root / 'include').rglob('*.h')):
        for number, said in check_file(path):
            print(f'{path.relative_to(root)}:{number}: {said}')
            found += 1
    return 1 if found else 0


if __name__ == '__main__':
    sys.exit(main())
