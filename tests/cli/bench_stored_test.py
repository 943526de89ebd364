#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The benchmarks of stored caches on a small real model: which rows there are, and that a table
that broke off goes on. No time is judged."""
import csv
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BIN, SOURCE, Case, model

MODEL = "smollm2-135m-q8_0.gguf"
METHODS = ["f16", "int8", "all_planes", "lynx"]


class Bench(Case):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.table = self.folder / "new" / "rows.csv"

    def measure(self, *options):
        command = [sys.executable, SOURCE / "bench/stored.py", BIN, self.table, model(MODEL),
                   "--tokens", "80", "--links", "50", "--rounds", "1", "--engine=-t 1", *options]
        return subprocess.run([*map(str, command)], stdin=subprocess.DEVNULL, text=True,
                              capture_output=True, timeout=300)

    def rows(self):
        with open(self.table, newline="") as file:
            return list(csv.DictReader(file))

    @unittest.skipUnless(shutil.which("nginx"), "nginx is not installed")
    def test_a_table_that_broke_off_goes_on(self):
        done = self.measure("--servers", "nginx")
        self.assertEqual(done.returncode, 0, done.stderr)
        whole = self.rows()
        self.assertEqual([row["method"] for row in whole], METHODS)
        sizes = {row["method"]: int(row["bytes_total"]) for row in whole}
        self.assertLess(sizes["int8"], 0.6 * sizes["f16"])
        self.assertEqual(sizes["lynx"], sizes["all_planes"])
        for row in whole:
            self.assertLessEqual(float(row["anchor_s"]), float(row["complete_s"]))
            self.assertLess(float(row["open_s"]), float(row["anchor_s"]))
            self.assertLess(float(row["first_own_token_s"]), float(row["tt32t_s"]))
        self.assertEqual([row["tokens_equal_target"] for row in whole], ["", "", "", "True"])

        # The last row is torn: it alone is measured again, with the tokens that are its target.
        text = self.table.read_text()
        first = text[:text.rfind("\n", 0, -1) + 1]
        self.table.write_text(text[:-20])
        self.assertEqual(self.measure("--servers", "nginx").returncode, 0)
        self.assertTrue(self.table.read_text().startswith(first))
        self.assertEqual([row["method"] for row in self.rows()], METHODS)
        self.assertEqual(self.rows()[3]["tokens_equal_target"], "True")
        self.table.write_text("a,b\n1,2\n")
        self.assertIn("is no table of this benchmark", self.measure().stderr)

    @unittest.skipUnless(shutil.which("nginx") and
                         os.path.exists(os.environ.get("LYNX_RCLONE", "")),
                         "nginx or rclone is not installed")
    def test_an_s3_server(self):
        done = self.measure("--servers", "s3")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([(row["server"], row["method"]) for row in self.rows()],
                         [("s3", method) for method in METHODS])

    def test_values_that_are_refused(self):
        done = self.measure("--servers", "ftp")
        self.assertEqual(done.returncode, 2)
        self.assertIn("'ftp' is no server of this benchmark", done.stderr)

    def test_a_local_disk(self):
        program = BIN.parent / "bench/state_file"
        if not program.exists():
            self.skipTest("state_file is not built")
        command = [program, model(MODEL), SOURCE / "docs/http.md", "300", "2", self.folder, "1"]
        done = subprocess.run([*map(str, command)], text=True, capture_output=True, timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = json.loads(done.stdout)
        self.assertEqual([(row["op"], row["round"]) for row in rows],
                         [(op, number) for number in (1, 2)
                          for op in ("save", "restore_disk", "restore_memory")])
        for row in rows:
            self.assertLess(row["lynx_bytes"], 0.6 * row["llama_bytes"])
            self.assertGreater(row["lynx_s"], 0)
        self.assertEqual(list(self.folder.iterdir()), [])


if __name__ == "__main__":
    unittest.main()
