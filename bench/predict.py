#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Predictions of 'lynx plan' against measured rows of 'lynx demo' or 'lynx bench e2e'.

    bench/predict.py --profile HERE.json [--calibrate N] [--draft-max N] [--all] ROWS.csv

The profile is what 'lynx plan -m MODEL --measure' wrote for the rows' model. With --calibrate N
the rows of the first N groups (a group: one document, link and prompt length) give the rates
instead, and only the others are predicted: use it where the profile is of another time or
machine. Rows of several requests at once, and of methods that the planner has not, are left out.
"""
import argparse
import csv
import json
import os
import pathlib
import statistics
import subprocess

LYNX = pathlib.Path(os.environ.get("LYNX_BIN") or pathlib.Path(__file__).parent.parent /
                    "build/release/bin") / "lynx"
METHODS = {"lynx": "lynx", "f16": "f16", "f16_streamed": "f16_streamed", "int8": "int8",
           "int4": "int4", "recompute": "recompute", "carry": "carry",
           "carry_on": "tokens"}
PLAIN = ("f16", "f16_streamed", "int8", "int4", "recompute")
TIMES = ("ttft_s", "tt32t_s")


def number(row, name):
    try:
        return float(row.get(name) or "nan")
    except ValueError:
        return float("nan")


def group_of(row):
    return row.get("document"), row["link_mbps"], row.get("prompt_limit")


def median(values):
    values = [value for value in values if value == value]
    return statistics.median(values) if values else None


def exact_step(row):
    """Milliseconds, where tokens were a step apart: behind the pass."""
    if number(row, "drafted") < 31:
        return 1e3 * (number(row, "tt64t_s") - number(row, "tt32t_s")) / 32
    return float("nan")


def draft_step(row):
    """The same while drafts stand."""
    if number(row, "accepted") >= 16:
        return 1e3 * (number(row, "tt16t_s") - number(row, "tt2t_s")) / 14
    return float("nan")


def calibrate(rows):
    """Options of 'lynx plan' from measured rows."""
    def of(*methods):
        return [row for row in rows if row["method"] in methods]

    def rate(chosen):
        return median(number(r, "prompt_tokens") / number(r, "prefill_s") for r in chosen
                      if number(r, "prefill_s") > 0)

    def step(chosen):
        return median(1e3 * (number(r, "tt64t_s") - number(r, "tt32t_s")) / 32 for r in chosen)

    drafted = [row for row in of("lynx") if number(row, "drafted") > 0]
    stood = sum(number(row, "accepted") for row in drafted)
    fell = sum(number(row, "accepted") < number(row, "drafted") for row in drafted)
    figures = {
        "--prefill-rate": rate([r for r in rows if r["method"] != "recompute"]),
        "--local-prefill-rate": rate(of("recompute")),
        "--step-ms": step(of(*PLAIN)),
        "--prefill-step-ms": step(of("carry_on")),
        "--exact-step-ms": median(map(exact_step, of("lynx"))),
        "--draft-step-ms": median(map(draft_step, of("lynx"))),
        "--row-ms": median(number(r, "verify_ms") / (number(r, "drafted") + 1) for r in drafted),
        "--pass-ms": 0 if drafted else None,
        "--stands": (stood + 9) / (stood + fell + 10) if drafted else None,
    }
    return {name: value for name, value in figures.items() if value is not None}


def predict(row, profile, figures):
    words = ["--profile", profile, "--json", "--link-mbps", row["link_mbps"], "--prompt",
             str(int(number(row, "prompt_tokens"))), "--answer", "64"]
    if row["scenario"] == "stored":
        words.append("--stored")
    delay = number(row, "delay_ms")
    if delay == delay:
        words += ["--rtt-ms", str(2 * delay)]
    for name, value in figures.items():
        words += [name, str(value)]
    done = subprocess.run([LYNX, "plan", *words], stdout=subprocess.PIPE, text=True, check=True)
    methods = {m["method"]: m for m in json.loads(done.stdout)["methods"]}
    return methods[METHODS[row["method"]]]


def pairs(rows, profile, figures):
    """Each time of each row, measured and predicted."""
    for row in rows:
        times = predict(row, profile, figures)
        for name in TIMES:
            measured, predicted = number(row, name), times[name]
            # A stored cache's first token is there in milliseconds: there is nothing to predict.
            if predicted is None or not measured > 0.05:
                continue
            yield row, name, measured, predicted


def row_errors(found, is_shown):
    for row, name, measured, predicted in found:
        error = predicted / measured - 1
        if is_shown:
            print(f"{row.get('document', ''):24} {row['scenario']:7} {row['link_mbps']:>8} "
                  f"{row['method']:13} {name:8} {measured:8.3f} {predicted:8.3f} "
                  f"{error * 100:+7.1f} %")
        yield row["method"], name, error


def mean_errors(found):
    """Over documents and rounds: how many drafts stand is luck, and the planner foretells the
    mean."""
    groups = {}
    for row, name, *times in found:
        key = (row["method"], name, row["scenario"], row["link_mbps"], row.get("prompt_limit"))
        groups.setdefault(key, []).append(times)
    for key, times in groups.items():
        measured, predicted = map(sum, zip(*times))
        yield *key[:2], predicted / measured - 1


def put_summary(what, found):
    print(f"\n{what:14} {'time':8} {'count':>5} {'median':>8} {'most':>8} {'within 15 %':>12}")
    for method, name in [*dict.fromkeys((m, n) for m, n, _ in found), (None, None)]:
        chosen = [abs(e) for m, n, e in found if method is None or (m, n) == (method, name)]
        within = sum(e <= 0.15 for e in chosen) / len(chosen)
        print(f"{method or 'all':14} {name or '':8} {len(chosen):5} "
              f"{statistics.median(chosen) * 100:6.1f} % {max(chosen) * 100:6.1f} % "
              f"{within * 100:10.0f} %")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("rows", type=pathlib.Path)
    parser.add_argument("--profile", required=True)
    parser.add_argument("--calibrate", type=int, default=0, metavar="N")
    parser.add_argument("--draft-max", type=int, default=62, metavar="N",
                        help="as it was measured (62; of lynx demo: 40)")
    parser.add_argument("--all", action="store_true", help="show every row")
    options = parser.parse_args()
    rows = [row for row in csv.DictReader(options.rows.open())
            if row["method"] in METHODS and row.get("concurrency", "1") == "1"]
    groups = list(dict.fromkeys(map(group_of, rows)))
    known = [row for row in rows if group_of(row) in groups[:options.calibrate]]
    figures = {"--draft-max": options.draft_max, **(calibrate(known) if known else {})}
    for name, value in figures.items():
        print(f"{name} {value:.6g}")
    others = [row for row in rows if group_of(row) not in groups[:options.calibrate]]
    found = list(pairs(others, options.profile, figures))
    if not found:
        parser.error("no row is left to predict")
    put_summary("rows", list(row_errors(found, options.all)))
    put_summary("means", list(mean_errors(found)))


main()
