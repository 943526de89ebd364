#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lynx bench e2e: a small grid on a real model, broken off and gone on with."""
import csv
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BIN, ONE_THREAD, SOURCE, Case, model, run

MODEL = "smollm2-135m-q8_0.gguf"
GRID = ["--links", "200", "--delays", "0", "--prompts", "60", "--methods", "int8,lynx,recompute",
        SOURCE / "docs/algorithm.md"]


class Grid(Case):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.table = pathlib.Path(self.folder.name) / "new" / "rows.csv"
        self.command = [*ONE_THREAD, "-m", model(MODEL), "--output", self.table, *GRID]

    def rows(self):
        with open(self.table, newline="") as file:
            return list(csv.DictReader(file))

    def test_a_grid_that_broke_off_goes_on(self):
        options = [*self.command, "--rounds", "1", "--scenarios", "cold,stored"]
        process = subprocess.Popen([BIN / "lynx", "bench", "e2e", *map(str, options)],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 120
        while not (self.table.exists() and len(self.rows()) >= 2):
            self.assertLess(time.monotonic(), end, "no row came")
            self.assertIsNone(process.poll(), "it ended by itself")
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        self.assertIn(process.wait(60), (0, 130))
        first = self.table.read_text()
        self.table.write_text(first + first.splitlines()[-1][:40])  # torn in the middle of a row

        done = run("lynx bench e2e", *options, "--json", timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(self.table.read_text().startswith(first))
        rows = json.loads(done.stdout)
        self.assertEqual(len(rows), 6)
        self.assertEqual(len({(r["method"], r["scenario"], r["round"]) for r in rows}), 6)
        for row in rows:
            self.assertIs(row["tokens_equal_target"], True, row)
            self.assertGreaterEqual(row["tt32t_s"], row["ttft_s"])
        # Nothing is left to do.
        before = self.table.read_bytes()
        self.assertEqual(run("lynx bench e2e", *options, timeout=60).returncode, 0)
        self.assertEqual(self.table.read_bytes(), before)

    def test_both_nodes_have_the_options_of_the_engine(self):
        done = run("lynx bench e2e", *self.command, "--rounds", "1", "--scenarios", "stored",
                   "--cache-type", "bf16", timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual([r["tokens_equal_target"] for r in self.rows()], ["True"] * 3)

    def test_requests_at_once_and_tables_of_others(self):
        done = run("lynx bench e2e", *self.command, "--rounds", "1", "--concurrency", "3",
                   "--scenarios", "stored", timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"3 at once, seconds")
        self.assertRegex(done.stdout, r"(?m)^lynx .*  yes$")
        self.assertEqual([r["tokens_equal_target"] for r in self.rows()], ["True"] * 9)
        self.assertEqual([r["request"] for r in self.rows()], ["1", "2", "3"] * 3)
        sent = {r["method"]: int(r["bytes_total"]) for r in self.rows()}
        self.assertLess(sent["recompute"], sent["lynx"])

        # A point of which a row is missing is measured once more.
        whole = self.table.read_text().splitlines(keepends=True)
        self.table.write_text("".join(whole[:-1]))
        done = run("lynx bench e2e", *self.command, "--rounds", "1", "--concurrency", "3",
                   "--scenarios", "stored", timeout=300)
        self.assertEqual(done.returncode, 0, done.stderr)
        again = self.table.read_text().splitlines(keepends=True)
        self.assertEqual(again[:-3], whole[:-3])
        self.assertEqual([r["request"] for r in self.rows()], ["1", "2", "3"] * 3)

        self.table.write_text("a,b\n1,2\n")
        done = run("lynx bench e2e", *self.command)
        self.assertEqual(done.returncode, 1)
        self.assertIn("is no table of this command and version", done.stderr)
        self.assertEqual(self.table.read_text(), "a,b\n1,2\n")

    def test_values_that_are_refused(self):
        for option, value in [("--links", "0"), ("--links", "10,,20"), ("--links", ""),
                              ("--prompts", "1.5"), ("--concurrency", "17"),
                              ("--methods", "int9"), ("--scenarios", "warm"),
                              ("--rounds", "0"), ("--draft-max", "63")]:
            done = run("lynx bench e2e", option, value)
            self.assertEqual(done.returncode, 2, (option, value))
            self.assertIn(f"'{value}' is not a value of this option", done.stderr)


if __name__ == "__main__":
    unittest.main()
