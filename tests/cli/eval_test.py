#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lynx eval on a real model: rows, settings of codecs, what is kept in a file, tasks, pictures."""
import csv
import io
import json
import os
import pathlib
import re
import shutil
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import ONE_THREAD, SOURCE, Case, model, run

TEXT = SOURCE / "LICENSE"


class Eval(Case):
    @classmethod
    def setUpClass(cls):
        cls.common = [*ONE_THREAD, "-m", model("smollm2-135m-f16.gguf")]
        cls.small = [*cls.common, "--tokens", 64, "--positions", 8]

    def eval(self, *options):
        done = run("lynx eval", *options)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stderr, "")
        return done.stdout

    def rows(self, *options):
        return json.loads(self.eval(*self.small, "--json", *options))

    def test_rows_have_what_help_says(self):
        rows = self.rows("--codec", "raw,int8", TEXT)
        named = run("lynx eval", "--help").stdout.split("rows: ")[1].split("\n\n")[0]
        for row in rows:
            self.assertEqual(set(row), set(re.findall(r"\w+", named)))
        raw, int8 = rows
        self.assertEqual((raw["codec"], int8["codec"]), ("raw", "int8"))
        # The same cache gives the same logits, and anything else does not.
        for name in ("kl", "vnmse_k", "vnmse_v", "vnmse_attention"):
            self.assertAlmostEqual(raw[name], 0, delta=1e-9)
            self.assertGreater(int8[name], 1e-9)
            self.assertLess(int8[name], 1e-2)
        self.assertEqual((raw["top1"], raw["accepted_mean"], raw["accepted_all"]), (1, 62, 1))
        self.assertEqual(raw["perplexity"], raw["perplexity_f16"])
        self.assertNotEqual(int8["perplexity"], int8["perplexity_f16"])
        self.assertAlmostEqual(raw["bits_at_8000"], 16, delta=0.1)
        self.assertEqual((int8["positions"], int8["prompts"], int8["texts"]), (8, 1, 1))

    def test_settings_count(self):
        rows = self.rows("--codec", "range:k=4+2+2,v=4+2+2,tail=16,paper:alpha=4,q8_0,cachegen",
                         TEXT)
        self.assertEqual([(row["codec"], row["planes"]) for row in rows],
                         [("range:k=4+2+2,v=4+2+2,tail=16", i) for i in (1, 2, 3)] +
                         [("paper:alpha=4", 1), ("paper:alpha=4", 2), ("q8_0", 1), ("cachegen", 1)])
        errors = [row["vnmse_attention"] for row in rows[:3]]
        self.assertEqual(errors, sorted(errors, reverse=True))
        # 16 raw tokens are a quarter of this prompt and little of 8,000.
        self.assertGreater(rows[0]["bits_per_value"], rows[0]["bits_at_8000"] + 2)
        self.assertAlmostEqual(rows[0]["bits_at_8000"], 4.1 + 20 * 11.9 / 8000, delta=0.02)
        self.assertAlmostEqual(rows[5]["bits_per_value"], 8.5, delta=1e-9)
        first = self.rows("--codec", "int8,paper,range", "--planes", 1, TEXT)
        self.assertEqual([row["planes"] for row in first], [1, 1, 1])

    def test_csv_and_table_say_the_same(self):
        options = [*self.small, "--codec", "range:tail=8,head=1", "--planes", 1, TEXT]
        row, = csv.DictReader(io.StringIO(self.eval(*options, "--csv")))
        self.assertEqual(row["codec"], "range:tail=8,head=1")
        table = self.eval(*options)
        self.assertIn(f"{float(row['kl']):.6f}", table)
        self.assertIn(row["codec"], table)

    def test_what_is_kept_is_not_measured_again(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "samples"
            options = ["--prompts", 2, "--resume", path]
            whole = self.rows(*options, "--codec", "int8,int4", TEXT)
            lines = path.read_text().splitlines()
            self.assertEqual(len(lines), 1 + 2 * 2)
            # Broken off in the middle of a line: the rest comes again, the same.
            path.write_text("\n".join(lines[:3]) + "\n" + lines[3][:40])
            self.assertEqual(self.rows(*options, "--codec", "int8,int4", TEXT), whole)
            self.assertEqual(path.read_text().splitlines(), lines)
            # A figure that no cache has shows that samples come from the file.
            changed = [lines[0]] + [re.sub(r'"accepted":\d+', '"accepted":7', line)
                                    for line in lines[1:]]
            path.write_text("\n".join(changed) + "\n")
            for row in self.rows(*options, "--codec", "int4,int8", TEXT):
                self.assertEqual(row["accepted_mean"], 7)
            # A text that has changed is measured, whatever is kept of the old one.
            other = pathlib.Path(folder) / "text"
            other.write_text(TEXT.read_text())
            old = self.rows("--resume", path.with_name("more"), "--codec", "int8", other)
            other.write_text(TEXT.read_text()[200:] + TEXT.read_text()[:200])
            new = self.rows("--resume", path.with_name("more"), "--codec", "int8", other)
            self.assertEqual((new[0]["prompts"], old[0]["prompts"]), (1, 1))
            self.assertNotEqual(new[0]["perplexity_f16"], old[0]["perplexity_f16"])
            self.assertEqual(len(path.with_name("more").read_text().splitlines()), 3)
            done = run("lynx eval", *self.small, *options, "--positions", 9, TEXT)
            self.assert_usage(done, "lynx eval", "samples", "--positions", "another file")
            path.write_text("nonsense\n")
            done = run("lynx eval", *self.small, *options, TEXT)
            self.assert_usage(done, "lynx eval", "line 1", "no sample")
            self.assertEqual(path.read_text(), "nonsense\n")

    def test_pictures(self):
        with tempfile.TemporaryDirectory() as folder:
            plots = pathlib.Path(folder) / "plots"
            self.rows_of_plots = run("lynx eval", *self.small, "--codec", "range,int8", "--plot",
                                     plots, TEXT)
            self.assertEqual(self.rows_of_plots.returncode, 0, self.rows_of_plots.stderr)
            data = (plots / "rows.tsv").read_text().splitlines()
            self.assertEqual([line.split("\t")[0] for line in data],
                             ["codec", "range", "range", "int8"])
            self.assertEqual((plots / "accepted.tsv").read_text().split("\n")[0],
                             "tokens\trange\tint8")
            if shutil.which("gnuplot"):
                for name in ("kl", "vnmse", "accepted"):
                    picture = (plots / f"{name}.svg").read_text()
                    self.assertIn("</svg>", picture)
                    self.assertIn(">range<" if name != "accepted" else "range", picture)
            else:
                self.assertIn("no gnuplot", self.rows_of_plots.stderr)

    def test_tasks(self):
        for task in ("passkey", "recall", "choice"):
            rows = json.loads(self.eval(*self.common, "--task", task, "--tokens", "60,120",
                                        "--items", 2, "--codec", "raw", "--json"))
            by_codec = {}
            for row in rows:
                by_codec.setdefault(row["codec"], []).append(
                    {k: v for k, v in row.items() if k not in ("codec", "planes",
                                                               "bits_per_value")})
            with self.subTest(task=task):
                # The cache as it is against itself.
                self.assertEqual(by_codec["as it is"], by_codec["raw"])
                whole = by_codec["raw"][0]
                self.assertEqual((whole["part"], whole["items"]), ("all", 4))
                self.assertEqual(whole["kept"], whole["f16_correct"])
                self.assertLessEqual(whole["accuracy_low"], whole["accuracy"])
                self.assertLessEqual(whole["accuracy"], whole["accuracy_high"])
                parts = [row["part"] for row in by_codec["raw"]]
                self.assertEqual(parts[1:3], ["60 tokens", "120 tokens"])

    def test_a_pass_key_is_found(self):
        rows = json.loads(self.eval(*self.common, "--task", "passkey", "--tokens", 150, "--items",
                                    5, "--codec", "range", "--planes", 1, "--json"))
        self.assertEqual([row["correct"] for row in rows if row["part"] == "all"], [5, 5])

    def test_texts_that_do_not_fit(self):
        common = [*self.common, "--codec", "int8"]
        done = run("lynx eval", *common, "-c", 128, "--tokens", 100, "--positions", 8, TEXT)
        self.assert_usage(done, "lynx eval", "do not fit the context of 128", "LICENSE")
        done = run("lynx eval", *common, "--positions", 4000, TEXT)
        self.assert_usage(done, "lynx eval", "too few", "LICENSE", "--positions")
        done = run("lynx eval", *common, os.devnull)
        self.assert_usage(done, "lynx eval", os.devnull, "is empty")
        done = run("lynx eval", *common, "/nowhere.txt")
        self.assert_refused(done, 1, "lynx eval", "/nowhere.txt", "No such file")
        done = run("lynx eval", *common, "-c", 128, "--task", "recall")
        self.assert_usage(done, "lynx eval", "does not fit the context of 128")


if __name__ == "__main__":
    unittest.main()
