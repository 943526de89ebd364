#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lynx plan: from figures and profiles to a table, a choice and a sentence."""
import csv
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import BIN, ONE_THREAD, SOURCE, Case, model, run

FIGURES = ["--layers", 32, "--kv-heads", 8, "--prompt", 16000, "--step-ms", 15]
COLD = [*FIGURES, "--prefill-rate", 8000]
PROFILE = {
    "version": 1, "model": "toy",
    "machine": {"prefill_token_s": 0.002, "prefill_token2_s": 1e-7, "step_s": 0.02,
                "step_token_s": 1e-6, "exact_step_s": 0.03, "exact_step_token_s": 2e-6,
                "pass_s": 0.01, "row_s": 0.004, "encode_bytes_per_s": 1e9,
                "decode_bytes_per_s": 2e9, "pass_tokens": 63},
    "shape": {"element": "f16", "page_tokens": 256, "layers": [[5, 256, 256, 256, 256, 512],
                                                               [1, 256, 256, 256, 256, 0]]},
}


class PlanCase(Case):
    def plan(self, *arguments):
        done = run("lynx plan", *arguments, "--json")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)

    def methods(self, *arguments):
        return {row["method"]: row for row in self.plan(*arguments)["methods"]}

    def refused(self, *words, plan):
        done = run("lynx plan", *plan)
        self.assertEqual((done.returncode, done.stdout), (2, ""))
        for word in words:
            self.assertIn(word, done.stderr)


class OneRequest(PlanCase):
    def test_the_table_has_every_method_and_a_reason(self):
        done = run("lynx plan", *COLD, "--link-mbps", 1000, "--local-prefill-rate", 800)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        for name in ("lynx", "wait", "f16", "f16_streamed", "int8", "int4", "recompute", "tokens",
                     "carry"):
            self.assertRegex(done.stdout, rf"(?m)^[* ] {name} ")
        self.assertIn("* lynx", done.stdout)
        self.assertIn("Use Lynx: over 1 Gbit/s the anchor is here after", done.stdout)
        self.assertRegex(done.stdout, r"Over slower links: recompute; from \d+ Mbit/s on: lynx;")

    def test_times_follow_the_bytes_and_the_link(self):
        # 32 x 8 x 128 x 2 x 2 = 131072 bytes a token; the prefill takes 2 s.
        methods = self.methods(*COLD, "--link-mbps", 1000)
        f16 = methods["f16"]
        self.assertAlmostEqual(f16["ttft_s"], 2, 4)
        self.assertAlmostEqual(f16["tt2t_s"], 2 + 16000 * 131072 / 1.25e8 + 0.015, 3)
        self.assertAlmostEqual(methods["int8"]["bytes"] / f16["bytes"], 0.508, 3)
        self.assertIsNone(methods["recompute"]["ttft_s"])
        self.assertFalse(methods["tokens"]["is_possible"])
        same = self.methods("--cache-bytes", 131072, *COLD[4:], "--link-mbps", 1000)
        self.assertEqual(same, methods)

    def test_the_shape_comes_from_a_model(self):
        words = ["-m", model("smollm2-135m-q8_0.gguf"), *ONE_THREAD, "--stored", "--step-ms", 10,
                 "--prompt", 700, "--link-mbps", 20]
        self.assertEqual(self.methods(*words)["f16"]["bytes"], 700 * 30 * 2 * 192 * 2)

    def test_a_fast_local_prefill_speaks_against_lynx(self):
        plan = self.plan(*COLD, "--link-mbps", 10, "--local-prefill-rate", 4000)
        self.assertEqual(plan["choice"], "recompute")
        self.assertIn("Do not use Lynx here, because the decode node computes the prompt itself "
                      "in 4.00 s", plan["reason"])
        rates = [row["link_mbps"] for row in plan["crossovers"]]
        self.assertEqual(rates, sorted(rates))
        self.assertEqual(plan["crossovers"][0]["below"], "recompute")

    def test_what_counts_and_what_may_be_chosen(self):
        few = [*COLD, "--link-mbps", 1000, "--prefill-step-ms", 10]
        self.assertEqual(self.plan(*few, "--methods", "wait,tokens")["choice"], "tokens")
        self.assertEqual(self.plan(*few, "--methods", "int8,f16")["choice"], "int8")
        self.assertIn("token 64 comes", self.plan(*few, "--token", 0, "--methods",
                                                  "int8")["reason"])

    def test_a_queue_and_a_round_trip_are_waited_for(self):
        methods = self.methods(*COLD, "--link-mbps", 1000, "--queue-s", 3, "--rtt-ms", 100)
        self.assertAlmostEqual(methods["f16"]["ttft_s"], 5.1, 4)

    def test_better_drafts_are_earlier(self):
        times = [self.methods(*FIGURES, "--stored", "--link-mbps", 1000, "--stands",
                              stands)["lynx"]["tt32t_s"] for stands in (0.5, 0.9, 0.99, 1)]
        self.assertEqual(times, sorted(times, reverse=True))
        self.assertGreater(times[0], times[-1] + 1)

    def test_the_middle_one_of_several_at_once(self):
        # Of stored caches the middle one of four has one and a half before it.
        stored, four = [*FIGURES, "--stored", "--link-mbps", 100], ["--at-once", 4]
        alone = self.methods(*stored, "--local-prefill-rate", 250, "--share", 0.4)
        among = self.methods(*stored, "--local-prefill-rate", 1000, *four)
        for method in ("int8", "f16", "recompute"):
            self.assertEqual(among[method], alone[method])
        # Its residual waits for all four anchors.
        first, rest = alone["lynx"]["anchor_s"], alone["wait"]["complete_s"]
        self.assertAlmostEqual(among["lynx"]["anchor_s"], first, 6)
        self.assertAlmostEqual(among["lynx"]["complete_s"], rest + 1.5 * first / 2.5, 2)
        # Cold, one and a half prefills come before; the link is quick enough for one at a time.
        here = self.methods(*COLD, "--link-mbps", 100, "--local-prefill-rate", 1000, *four)
        self.assertEqual(here["recompute"]["tt32t_s"], alone["recompute"]["tt32t_s"])
        quick = self.methods(*COLD, "--link-mbps", 100000)
        later = self.methods(*COLD, "--link-mbps", 100000, *four)
        waited = later["int8"]["ttft_s"] / quick["int8"]["ttft_s"]
        self.assertAlmostEqual(waited, 2.5, 3)
        self.assertAlmostEqual(later["int8"]["tt32t_s"] - later["int8"]["ttft_s"],
                               quick["int8"]["tt32t_s"] - quick["int8"]["ttft_s"], 6)
        # Where a transfer is longer than a prefill, it waits for what is left of those before.
        link = ["--link-mbps", 3400]
        transfer = self.methods(*FIGURES, "--stored", *link)["int8"]["tt2t_s"] - 0.015
        self.assertTrue(2.2 < transfer < 3)
        share = 1 / (1 + 1.5 * (1 - 2 / transfer))
        shared = self.methods(*COLD, *link, "--share", share, "--queue-s", 3)
        between = self.methods(*COLD, *link, *four)
        self.assertAlmostEqual(between["int8"]["tt2t_s"], shared["int8"]["tt2t_s"], 2)
        self.assertAlmostEqual(between["lynx"]["tt2t_s"], shared["lynx"]["tt2t_s"], 2)
        slow = self.methods(*COLD, "--link-mbps", 0.1, *four)
        self.assertAlmostEqual(slow["int8"]["tt2t_s"] / self.methods(
            *COLD, "--link-mbps", 0.04)["int8"]["tt2t_s"], 1, 2)

    def test_steps_of_several_at_once(self):
        costs = ["--stored", "--pass-ms", 10, "--row-ms", 4, "--exact-step-ms", 18]
        four = ["--at-once", 4]

        def step(*arguments):
            row = self.methods(*FIGURES, *costs, *arguments)["int8"]
            return 1e3 * (row["tt64t_s"] - row["tt32t_s"]) / 32

        def exact_step(*arguments):
            row = self.methods(*FIGURES, *costs, "--draft-max", 0, *arguments)["lynx"]
            return 1e3 * (row["tt64t_s"] - row["tt32t_s"]) / 32

        # All decode together where transfers are short, and nobody beside where they are long.
        fast, slow = ["--link-mbps", 1e5], ["--link-mbps", 100]
        self.assertAlmostEqual(step(*fast, *four), 10 + 4 * 4, delta=1)
        self.assertAlmostEqual(exact_step(*fast, *four), 10 + 8 * 4, delta=2)
        self.assertAlmostEqual(step(*slow, *four), 15, delta=0.1)
        self.assertAlmostEqual(exact_step(*slow, *four), 18, delta=0.1)
        self.assertAlmostEqual(step(*fast), 15, 3)
        between = [step("--link-mbps", rate, *four) for rate in (10000, 20000, 40000)]
        self.assertTrue(15 < between[0] < between[1] < between[2] < 26, between)
        # A guess that is right saves a step; drafts take what they took.
        self.assertAlmostEqual(exact_step("--link-mbps", 100, "--step-tokens", 1.5), 12, 2)
        drafted = [self.methods(*FIGURES, *costs, "--link-mbps", 100, "--stands", 1, *more)["lynx"]
                   for more in ((), ("--step-tokens", 1.5))]
        self.assertEqual(drafted[0]["tt32t_s"], drafted[1]["tt32t_s"])
        # Drafts are verified when those of the others are: three of them.
        pass_s = [self.methods(*FIGURES, *costs, *fast, "--draft-max", 1, *more)["lynx"]["verify_s"]
                  for more in ((), four)]
        self.assertAlmostEqual(pass_s[0], 0.018, 4)
        self.assertAlmostEqual(pass_s[1] / pass_s[0], 4, delta=0.3)

    def test_several_at_once_are_no_cluster(self):
        link = ["--link-mbps", 100]
        for at_once, has_some in ((1, True), (4, False)):  # they would be of other links
            plan = self.plan(*COLD, *link, "--local-prefill-rate", 800, "--at-once", at_once)
            self.assertEqual(bool(plan["crossovers"]), has_some)
        self.refused("--at-once", "--simulate",
                     plan=[*COLD, *link, "--at-once", 2, "--simulate", 1])

    def test_what_is_missing_is_asked_for(self):
        self.refused("--prefill-rate", plan=[*FIGURES, "--link-mbps", 10])
        self.refused("--step-ms", plan=[*FIGURES[:-2], "--stored", "--link-mbps", 10])
        self.refused("--link-mbps", plan=COLD)
        self.refused("--cache-bytes", "--profile",
                     plan=["--stored", "--step-ms", 1, "--link-mbps", 10])
        self.refused("--methods", plan=[*COLD, "--link-mbps", 1, "--methods", "recompute"])
        for option, value in (("--stands", 2), ("--methods", "lynx,fax"), ("--codec", "zip"),
                              ("--reproduce", "me"), ("--share", 0), ("--slots", 0),
                              ("--at-once", 0), ("--step-tokens", 0.9),
                              ("--step-tokens", 2.1)):
            with self.subTest(option=option):
                self.refused(f"'{value}'", plan=[*COLD, "--link-mbps", 1, option, value])
        self.refused("'left'", plan=[*COLD, "--link-mbps", 1, "left"])


class Profiles(PlanCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = pathlib.Path(folder.name) / "profile.json"

    def write(self, profile):
        self.path.write_text(profile if isinstance(profile, str) else json.dumps(profile))
        return "--profile", self.path

    def test_a_profile_gives_every_figure(self):
        methods = self.methods(*self.write(PROFILE), "--prompt", 1000, "--link-mbps", 100)
        self.assertTrue(all(row["is_possible"] for row in methods.values()))
        self.assertAlmostEqual(methods["recompute"]["ttft_s"], 1000 * 0.002 + 1000**2 * 1e-7, 4)
        self.assertAlmostEqual(methods["recompute"]["tt2t_s"] - methods["recompute"]["ttft_s"],
                               0.021, 4)
        # Of five layers only what the window of 512 tokens can reach, in grains of 32: from 480 on.
        values = 256 * 2 * (1000 + 5 * (1000 - 480))
        self.assertEqual(methods["f16"]["bytes"], 2 * values)

    def test_options_take_the_place_of_a_profile(self):
        methods = self.methods(*self.write(PROFILE), "--prompt", 1000, "--link-mbps", 100,
                               "--local-prefill-rate", 100, "--prefill-rate", 1000)
        self.assertAlmostEqual(methods["recompute"]["ttft_s"], 10, 4)
        self.assertAlmostEqual(methods["f16"]["ttft_s"], 1, 4)

    def test_the_prefill_node_may_be_another_machine(self):
        quick = {**PROFILE, "machine": {**PROFILE["machine"], "prefill_token_s": 1e-4,
                                        "prefill_token2_s": 0}}
        other = self.path.with_name("quick.json")
        other.write_text(json.dumps(quick))
        methods = self.methods(*self.write(PROFILE), "--prefill-profile", other, "--prompt", 1000,
                               "--link-mbps", 100)
        self.assertAlmostEqual(methods["f16"]["ttft_s"], 0.1, 4)
        self.assertAlmostEqual(methods["recompute"]["ttft_s"], 2.1, 4)

    def test_what_is_no_profile_is_told(self):
        self.refused("not JSON", plan=[*self.write("{"), "--link-mbps", 1])
        machine, shape = PROFILE["machine"], PROFILE["shape"]
        for broken in ([], {**PROFILE, "version": 2}, {**PROFILE, "machine": {}},
                       {**PROFILE, "machine": {**machine, "step_s": -1}},
                       {**PROFILE, "machine": {**machine, "pass_tokens": -1}},
                       {**PROFILE, "shape": {**shape, "element": "f8"}},
                       {**PROFILE, "shape": {**shape, "layers": []}},
                       {**PROFILE, "shape": {**shape, "layers": [[5, 256]]}},
                       {**PROFILE, "shape": {**shape, "layers": [[2000, 256, 256, 256, 256, 0]]}},
                       {**PROFILE, "shape": {**shape, "page_tokens": 7}}):
            with self.subTest(broken=str(broken)[:60]):
                self.refused("--measure", plan=[*self.write(broken), "--link-mbps", 1])

    def test_a_machine_is_measured_and_read_back(self):
        done = run("lynx plan", "-m", model("smollm2-135m-f16.gguf"), *ONE_THREAD, "--measure",
                   timeout=600)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        profile = json.loads(done.stdout)
        machine = profile["machine"]
        # A line through noisy times may have one of its two figures at nothing.
        for names in (("prefill_token_s", "prefill_token2_s"), ("step_s", "step_token_s"),
                      ("exact_step_s", "exact_step_token_s"), ("pass_s", "row_s"),
                      ("draft_step_s", "draft_step_token_s"),
                      ("encode_bytes_per_s",), ("decode_bytes_per_s",)):
            self.assertGreater(sum(machine[name] for name in names), 0, names)
        self.assertEqual(profile["shape"]["layers"], [[30, 192, 64, 192, 64, 0]])
        methods = self.methods(*self.write(done.stdout), "--prompt", 700, "--link-mbps", 20)
        self.assertTrue(all(row["is_possible"] for row in methods.values()))
        self.assertEqual(methods["f16"]["bytes"], 700 * 30 * 2 * 192 * 2)


class Paper(PlanCase):
    def test_table_1_is_within_a_tenth(self):
        rows = {row["name"]: row for row in self.plan("--reproduce", "paper")}
        table = [row for name, row in rows.items() if name.startswith("table1.")]
        self.assertEqual(len(table), 8)
        for row in [*table, rows["ttft_gain_over_int8"]]:
            with self.subTest(row=row):
                self.assertAlmostEqual(row["relative_error"], row["lynx_plan"] / row["paper"] - 1,
                                       3)
                self.assertLess(abs(row["relative_error"]), 0.1)
        for name in ("llama8b.64k.10gbps.tt64t_gain_s", "llama8b.64k.50gbps.tt64t_gain_s",
                     "llama8b.128k.25gbps.tt64t_gain_s"):
            self.assertLess(abs(rows[name]["relative_error"]), 0.25)

    def test_the_document_has_the_same_figures(self):
        shown = run("lynx plan", "--reproduce", "paper").stdout
        text = (SOURCE / "docs/plan.md").read_text().replace("−", "-")
        errors = {line.split()[0]: line.split()[3] for line in shown.splitlines()[1:]}
        for name in errors:
            if name.startswith("llama8b"):
                self.assertIn(f"{errors[name].lstrip('+')} %", text)


class Cluster(PlanCase):
    def test_methods_share_one_stream_of_requests(self):
        words = [*COLD, "--link-mbps", 1000, "--simulate", 0.05, "--decode-nodes", 2, "--slots", 8,
                 "--requests", 2000]
        rows = {row["method"]: row for row in self.plan(*words)}
        self.assertEqual(set(rows), {"lynx", "wait", "f16", "f16_streamed", "int8", "int4"})
        for row in rows.values():
            self.assertEqual(row["requests"], 1800)
            self.assertLessEqual(row["token_s"]["p50"], row["token_s"]["p95"])
        self.assertEqual(rows["wait"]["ttft_s"], rows["lynx"]["ttft_s"])
        self.assertAlmostEqual(rows["wait"]["prefill_use"], 0.1, 2)
        self.assertEqual(rows, {row["method"]: row for row in self.plan(*words)})
        self.assertNotEqual(rows, {row["method"]: row
                                   for row in self.plan(*words, "--random-seed", 2)})

    def test_too_many_requests_are_told(self):
        done = run("lynx plan", *COLD, "--link-mbps", 1000, "--simulate", 5, "--requests", 500)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("queues grow", done.stdout)
        self.refused("must not wait", plan=[*COLD, "--link-mbps", 1, "--simulate", 1,
                                            "--local-queue-s", 1])


class Rows(PlanCase):
    """bench/predict.py on rows that follow the model of time, with other rates than the profile:
    what it takes from one link must foretell the other."""
    RATES = ["--prefill-rate", 500, "--local-prefill-rate", 250, "--step-ms", 20, "--exact-step-ms",
             36, "--pass-ms", 0, "--row-ms", 5, "--prefill-step-ms", 25, "--stands", 0.96]

    def rows(self, profile):
        for link in (8, 16):
            for scenario in ("cold", "stored"):
                words = ["--stored"] if scenario == "stored" else []
                methods = self.methods("--profile", profile, "--prompt", 600, "--link-mbps", link,
                                       *self.RATES, *words)
                for name, times in methods.items():
                    made_now = scenario == "cold" or name == "recompute"
                    yield {"document": "a", "scenario": scenario, "link_mbps": link,
                           "method": "carry_on" if name == "tokens" else name,
                           "prompt_tokens": 600, "verify_ms": 1e3 * times["verify_s"],
                           "prefill_s": times["ttft_s"] if made_now else 0,
                           "drafted": times["drafted"], "accepted": times["accepted"],
                           **{key: times[key] for key in ("ttft_s", "tt2t_s", "tt16t_s", "tt32t_s",
                                                          "tt64t_s")}}

    def test_measured_rows_are_predicted_from_others(self):
        with tempfile.TemporaryDirectory() as folder:
            profile = pathlib.Path(folder) / "profile.json"
            table = pathlib.Path(folder) / "rows.csv"
            still = {**PROFILE["machine"], "encode_bytes_per_s": 0, "decode_bytes_per_s": 0}
            profile.write_text(json.dumps({**PROFILE, "machine": still}))
            rows = list(self.rows(profile))
            with open(table, "w") as file:
                writer = csv.DictWriter(file, rows[0])
                writer.writeheader()
                writer.writerows(rows)
            done = subprocess.run([sys.executable, SOURCE / "bench/predict.py", "--profile",
                                   profile, "--calibrate", "8", "--stands", "0.96", table],
                                  text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env={"LYNX_BIN": str(BIN)}, check=False)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        found = {line.split()[0]: float(line.split()[5])
                 for line in done.stdout.splitlines() if " tt32t_s " in line}
        self.assertEqual(set(found), {"f16", "f16_streamed", "int8", "int4", "lynx", "recompute",
                                      "carry", "carry_on"})
        for method, most in found.items():
            self.assertLess(most, 5 if method in ("lynx", "carry") else 0.5, method)


if __name__ == "__main__":
    unittest.main()
