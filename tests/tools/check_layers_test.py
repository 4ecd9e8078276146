#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Plants each fault that check_layers.py knows in a small clean tree, and
requires that it is named, at its line, and that the clean tree is silent."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / 'tools/check_layers.py'
SPDX = '/* SPDX-License-Identifier: Apache-2.0 */\n'
LAYERS = '''# a comment
base      : ! pthread.h jansson.h sys/
shape     : base
tensor    : base shape
tensor/in : base shape tensor ! omp.h
cli       : base tensor
'''
CLEAN = {
    'src/base/alloc.c': 'void *f(void) { return malloc(1); }\n',
    'src/base/alloc.h': '',
    'src/base/json.h': '#include <jansson.h>\n',
    'src/base/thread.c': '#include <pthread.h>\n',
    'src/tensor/private.h': '',
    'src/tensor/tensor.c': '#include "cornstarch/shape.h"\n'
                           '#include "base/alloc.h"\n'
                           '#include "private.h"\n'
                           '#include <stdio.h>\n'
                           '/* printf("x"); free(p); */\n'
                           'const char *a = "malloc( printf(";\n'
                           'int b = snprintf(buf, 4, "x");\n'
                           'void c(void) { table->free(1); csi_free(p); }\n',
    'src/tensor/in/x.c': '#include "cornstarch/tensor.h"\n#include <omp.h>\n',
    'src/cli/main.c': 'int main(void) { printf("x"); }\n',
    'include/cornstarch/tensor.h': '#include "cornstarch/shape.h"\n',
    'include/cornstarch/shape.h': '/* TODO(#12): more */\n',
    'include/cornstarch/status.h': '',
}


def run(tree, layers=LAYERS):
    with tempfile.TemporaryDirectory() as folder:
        root = pathlib.Path(folder)
        for name, text in tree.items():
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        (root / 'src/LAYERS').write_text(layers)
        done = subprocess.run([sys.executable, TOOL, root],
                              capture_output=True, text=True)
        return done.returncode, done.stdout


def tree_with(name, text, spdx=True):
    tree = {path: SPDX + body for path, body in CLEAN.items()}
    tree[name] = (SPDX if spdx else '') + text
    return tree


class CheckLayers(unittest.TestCase):
    def names(self, name, text, part, line=2, spdx=True):
        code, out = run(tree_with(name, text, spdx))
        self.assertEqual(code, 1, out)
        self.assertEqual(len(out.splitlines()), 1, out)
        self.assertTrue(out.startswith(f'{name}:{line}: '), out)
        self.assertIn(part, out)

    def test_clean_tree_is_silent(self):
        self.assertEqual(run(tree_with('src/base/x.c', '')), (0, ''))

    def test_forbidden_folder(self):
        self.names('src/base/x.c', '#include "cornstarch/tensor.h"\n',
                   'base may not depend on tensor')
        self.names('include/cornstarch/shape.h',
                   '#include "cornstarch/tensor.h"\n',
                   'shape may not depend on tensor')

    def test_private_header_of_another_folder(self):
        self.names('src/cli/x.c', '#include "tensor/private.h"\n', 'reaches')
        self.names('src/cli/x.c', '#include "private.h"\n', 'no header of')

    def test_caged_system_header(self):
        self.names('src/tensor/x.c', '#include <omp.h>\n',
                   'may not use <omp.h>')
        self.names('src/tensor/x.c', '#include <sys/stat.h>\n',
                   'may not use <sys/stat.h>')
        self.names('src/base/json.c', '#include <jansson.h>\n',
                   'base/json.h')

    def test_folder_without_row(self):
        self.names('src/new/x.c', '', 'not in src/LAYERS', line=1)

    def test_cycle(self):
        code, out = run(tree_with('src/base/x.c', ''),
                        LAYERS.replace('base      :', 'base      : tensor'))
        self.assertEqual(code, 1)
        self.assertIn('cycle among', out)

    def test_output_and_heap(self):
        self.names('src/tensor/x.c', '\n\nint a = printf("x");\n', 'prints',
                   line=4)
        self.names('src/tensor/x.c', 'int a = fputs("x", stderr);\n', 'prints')
        self.names('src/tensor/x.c', 'void *p = calloc(1, 1);\n', 'heap')
        self.names('src/cli/x.c', 'char *p = strdup(a);\n', 'heap')

    def test_text_rules(self):
        self.names('src/base/x.c', '/* TODO: later */\n', 'without an issue')
        self.names('src/base/x.c', 'int a;\n', 'SPDX', line=1, spdx=False)
        self.names('src/base/x.c', '\n' * 800, '801 lines', line=801)
        self.names('src/base/x.c', '/* /ho' 'me/me/x */\n', 'machine')
        self.names('tools/x.sh', 'cd /wor' 'k/x\n', 'machine')


if __name__ == '__main__':
    unittest.main()
