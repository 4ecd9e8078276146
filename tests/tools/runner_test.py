#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The runners must be able to fail: tests/cli/run against wrong output, the
counting of tools/run-tests against what cmocka, unittest and crashes print."""
import importlib.machinery
import importlib.util
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest
import xml.etree.ElementTree as xml

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load(path):
    loader = importlib.machinery.SourceFileLoader('tool', str(path))
    spec = importlib.util.spec_from_loader('tool', loader)
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


class CliRun(unittest.TestCase):
    def result(self, script, update=False, **files):
        with tempfile.TemporaryDirectory() as folder:
            base = pathlib.Path(folder) / 'tests/cli'
            base.mkdir(parents=True)
            (base / 'a.sh').write_text(script)
            for suffix, text in files.items():
                (base / f'a.{suffix}').write_text(text)
            env = {k: v for k, v in os.environ.items()
                   if k != 'CORNSTARCH_UPDATE_GOLDEN'}
            done = subprocess.run(
                [ROOT / 'tests/cli/run', base / 'a.sh'] +
                (['--update'] if update else []),
                capture_output=True, text=True, env=env)
            wanted = base / 'a.stdout'
            self.kept = wanted.read_text() if wanted.exists() else ''
            return done.returncode

    def test_equal_output_passes(self):
        self.assertEqual(self.result('echo hi', stdout='hi\n'), 0)

    def test_every_difference_fails(self):
        self.assertEqual(self.result('echo hi'), 1)
        self.assertEqual(self.result('echo hi', stdout='ho\n'), 1)
        self.assertEqual(self.result('echo hi', stdout='hi\nhi\n'), 1)
        self.assertEqual(self.result('printf hi', stdout='hi\n'), 1)
        self.assertEqual(self.result('echo a >&2', stderr='b\n'), 1)
        self.assertEqual(self.result('exit 2'), 1)
        self.assertEqual(self.result('exit 2', exit='3\n'), 1)
        self.assertEqual(self.result('exit 2', exit='2\n'), 0)

    def test_placeholders(self):
        script = 'echo "t 1.5e-3 s ($PWD)"; echo a; echo b'
        wanted = 't <n> s (<tmp>)\n<lines>\n'
        self.assertEqual(self.result(script, stdout=wanted), 0)
        self.assertEqual(self.result(script, stdout='t <any>\na\nb\n'), 0)
        self.assertEqual(self.result(script, stdout='t <any>\nb\n'), 1)
        self.assertEqual(self.result('echo x', stdout='<n>\n'), 1)

    def test_77_is_skipped(self):
        self.assertEqual(self.result('exit 77'), 77)

    def test_update_keeps_placeholders_that_match(self):
        self.assertEqual(self.result('echo 1', True, stdout='<n>\n'), 0)
        self.assertEqual(self.kept, '<n>\n')
        self.assertEqual(self.result('echo x', True, stdout='<n>\n'), 0)
        self.assertEqual(self.kept, 'x\n')


class Counting(unittest.TestCase):
    def count(self, output, status='run', extra=''):
        case = xml.fromstring(f'<testcase name="t" status="{status}">{extra}'
                              f'<system-out/></testcase>')
        case.find('system-out').text = output
        return load(ROOT / 'tools/run-tests').count(case)

    def test_cmocka(self):
        self.assertEqual(self.count(
            '[  PASSED  ] 4 test(s).\n[  SKIPPED ] 2 test(s), listed below:\n'),
            (4, 0, 2))
        self.assertEqual(self.count(
            '[  PASSED  ] 4 test(s).\n[  FAILED  ] 1 test(s), listed below:\n'
            '\n 3 FAILED TEST(S)\n', 'fail', '<failure/>'), (4, 3, 0))

    def test_unittest(self):
        self.assertEqual(self.count('Ran 8 tests in 1.0s\n\nOK (skipped=1)\n'),
                         (7, 0, 1))
        self.assertEqual(self.count(
            'Ran 8 tests in 1.0s\n\nFAILED (failures=1, errors=2)\n', 'fail'),
            (5, 3, 0))

    def test_plain_programs_and_crashes(self):
        self.assertEqual(self.count('anything'), (1, 0, 0))
        self.assertEqual(self.count('', 'fail', '<failure/>'), (0, 1, 0))
        self.assertEqual(self.count(
            '', 'notrun', '<skipped message="SKIP_RETURN_CODE=77"/>'),
            (0, 0, 1))
        self.assertEqual(self.count(
            '', 'notrun', '<skipped message="Unable to find executable"/>'),
            (0, 1, 0))


if __name__ == '__main__':
    unittest.main()
