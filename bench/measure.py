#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Measure again and write bench/results/NAME.csv, each row with machine, commit and command.

    bench/measure.py [NAME...]     codec, eval, task, engine, guess, link, serve, demo, stored,
                                   disk, e2e, plan; none: all

"plan" is predictions for the rows of e2e, which are to be measured just before.

Needs what 'make demo' and 'make build' leave. What broke off in a grid (e2e, stored), in samples
(eval) or between tasks goes on when the same commit is measured again. Nothing else should run
meanwhile: see bench/README.md.
"""
import argparse
import csv
import json
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
LYNX = ROOT / "build/release/bin/lynx"
RESULTS = ROOT / "bench/results"
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache")
MODELS = CACHE / "lynx/models"
SMOLLM2, GEMMA = "smollm2-135m-f16.gguf", "gemma3-270m-f16.gguf"
LINK_RUNS = 3


def processor():
    """With its family, where one name stands for several generations."""
    text = pathlib.Path("/proc/cpuinfo").read_text()
    name = re.search(r"model name\s*: (.*)", text)
    family = re.search(r"cpu family\s*: (.*)", text)
    return (name.group(1) if name else os.uname().machine) + (
        f" (family {family.group(1)})" if family else "")


def machine():
    memory = re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())
    system = re.search(r'PRETTY_NAME="([^"]*)"', pathlib.Path("/etc/os-release").read_text())
    return ", ".join([processor(), f"{os.cpu_count()} cores",
                      f"{round(int(memory.group(1)) / 2**20)} GiB",
                      system.group(1) if system else os.uname().sysname])


def commit():
    def git(*words):
        return subprocess.run(["git", "-C", ROOT, *words], capture_output=True, text=True,
                              check=True).stdout.strip()
    changed = git("status", "--porcelain", "--", ":!bench/results", ":!docs", ":!README.md")
    return git("rev-parse", "--short", "HEAD") + ("+" if changed else "")


def run(*words):
    """Output and the command as a reader would type it."""
    shown = " ".join(["lynx", *(pathlib.Path(w).name if str(w).startswith(str(MODELS)) else str(w)
                                for w in words)])
    print(shown, file=sys.stderr, flush=True)
    output = subprocess.run([LYNX, *map(str, words)], stdout=subprocess.PIPE, text=True, check=True,
                            cwd=ROOT).stdout
    return output, shown


def codec():
    """And the rows of other machines, which stay: how near kernels come to memcpy depends on it."""
    output, shown = run("bench", "codec", "--json")
    rows = [{"command": shown, **row} for row in json.loads(output)]
    here = machine()
    with open(RESULTS / "codec.csv", newline="") as file:
        return rows + [row for row in csv.DictReader(file) if row["machine"] != here]


# First planes: ours, without recent tokens, without bend, without spread, too, the paper's with
# its best alpha, per token; and others.
CHIEF = ("range,range:recent=0,range:k=4+4,v=5+3,head=8,paper:alpha=0.05,"
         "range:bend=no,spread=no,k=5+3,v=4+4,head=4,range44,int8-token,int4-token")
OTHERS = "paper,q8_0,q4_0,cachegen,int8,int4"
# Texts: how many prompts of each, whose first planes, who is measured whole.
TEXTS = {"tuning": (1, f"{CHIEF},{OTHERS}", "range,range44,paper:alpha=0.05"),
         "apart": (2, CHIEF, "range")}
TASKED = "range,range44,paper:alpha=0.05,int4-token"


def eval_texts(model, texts):
    """Rows of the first planes, and of further planes where they matter."""
    kept = ROOT / f"build/bench/eval-{texts}-{model}-{commit()}.jsonl"
    kept.parent.mkdir(parents=True, exist_ok=True)
    files = (ROOT / f"bench/texts/{texts}.txt").read_text().split()
    prompts, first, whole = TEXTS[texts]
    rows = []
    for codecs, planes in ((first, 1), (whole, 2)):
        output, shown = run("eval", "-m", MODELS / model, "--tokens", 1000, "--positions", 124,
                            "--prompts", prompts, "--codec", codecs, "--planes", planes,
                            "--resume", kept, "--json", *files)
        shown = shown.replace(f" --resume {kept}", "").replace(" ".join(files),
                                                               f"$(cat bench/texts/{texts}.txt)")
        rows += [{"command": shown, "model": model.removesuffix(".gguf"), "set": texts, **row}
                 for row in json.loads(output) if row["planes"] == planes]
    return rows


def evaluate():
    return [row for model in (SMOLLM2, GEMMA) for texts in TEXTS
            for row in eval_texts(model, texts)]


def task():
    rows = []
    for model in (SMOLLM2, GEMMA):
        for name in ("passkey", "recall", "choice"):
            kept = ROOT / f"build/bench/task-{name}-{model}-{commit()}.json"
            if not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                output, shown = run("eval", "-m", MODELS / model, "--task", name, "--tokens",
                                    "500,1000", "--items", 20, "--codec", TASKED, "--planes", 1,
                                    "--json")
                kept.write_text(json.dumps({"command": shown, "rows": json.loads(output)}))
            measured = json.loads(kept.read_text())
            rows += [{"command": measured["command"], "model": model.removesuffix(".gguf"), **row}
                     for row in measured["rows"]]
    return rows


def engine():
    rows = []
    for model, threads in [(SMOLLM2, 1), (SMOLLM2, 2), (GEMMA, 1), (GEMMA, 2)]:
        output, shown = run("bench", "engine", "-m", MODELS / model, "-t", threads, "-c", 512,
                            "--rounds", 9, "--json")
        rows += [{"command": shown, "model": model.removesuffix(".gguf"), **row}
                 for row in json.loads(output)]
    return rows


def guess():
    files = (ROOT / "bench/texts/apart.txt").read_text().split()
    rows = []
    for model in (SMOLLM2, GEMMA):
        output, shown = run("bench", "guess", "-m", MODELS / model, "-c", 1024, "--prompt", 256,
                            "--tokens", 32, "--json", *files)
        shown = shown.replace(" ".join(files), "$(cat bench/texts/apart.txt)")
        rows += [{"command": shown, "model": model.removesuffix(".gguf"), **row}
                 for row in json.loads(output)]
    return rows


def link():
    rows = []
    for number in range(1, LINK_RUNS + 1):
        output, shown = run("bench", "link", "--json")
        rows += [{"command": shown, "run": number, **row} for row in json.loads(output)]
    return rows


def demo():
    rows = []
    for model in (GEMMA, SMOLLM2):
        folder = ROOT / "build/bench/demo"
        _, shown = run("demo", "--full", "-m", MODELS / model, "--output", folder)
        left_out = {"exactness", "is_recomputed", "is_verified", "has_ended", "cache_bytes",
                    "anchor_s", "complete_s", "first_own_token_s", "codec_ms"}
        for row in json.loads((folder / "report.json").read_text()):
            rows.append({"command": shown.replace(f" --output {folder}", ""),
                         **{name: value for name, value in row.items() if name not in left_out},
                         "model": model.removesuffix(".gguf")})
    return rows


def serve():
    rows = []
    for model in (SMOLLM2, GEMMA):
        print(f"bench/serve.py {model}", file=sys.stderr, flush=True)
        output = subprocess.run([ROOT / "bench/serve.py", LYNX.parent, MODELS / model],
                                stdout=subprocess.PIPE, text=True, check=True).stdout
        rows += [{"command": f"bench/serve.py build/release/bin {model}", **row}
                 for row in json.loads(output)]
    return rows


def stored():
    """Places on real servers; all of the grid would take two hours."""
    table = ROOT / f"build/bench/stored-{commit()}.csv"
    servers = subprocess.run([ROOT / "tools/setup.sh", "servers"], stdout=subprocess.PIPE,
                             text=True, check=True).stdout.strip()
    environment = {**os.environ, "LYNX_RCLONE": f"{servers}/bin/rclone"}
    for grid in (["--tokens", "1000", "--servers", "nginx"],
                 ["--tokens", "1000", "--servers", "s3", "--links", "20,100"],
                 ["--tokens", "6000", "--servers", "nginx", "--links", "100"]):
        subprocess.run([ROOT / "bench/stored.py", LYNX.parent, table, MODELS / SMOLLM2,
                        MODELS / GEMMA, *grid], env=environment, check=True)
    with open(table, newline="") as file:
        return [{"command": "bench/measure.py stored", **row} for row in csv.DictReader(file)]


def disk():
    # As the programs wait.
    environment = dict(os.environ, GOMP_SPINCOUNT="5000", OMP_WAIT_POLICY="active")
    rows = []
    folder = ROOT / "build/bench"
    folder.mkdir(parents=True, exist_ok=True)
    for model in (SMOLLM2, GEMMA):
        for tokens in (1000, 4000):
            words = ["docs/http.md", str(tokens), "21"]
            print("state_file", model, *words, file=sys.stderr, flush=True)
            output = subprocess.run([LYNX.parent.parent / "bench/state_file", MODELS / model,
                                     *words, folder, str(os.cpu_count())], cwd=ROOT,
                                    env=environment, stdout=subprocess.PIPE, text=True,
                                    check=True).stdout
            rows += [{"command": " ".join(["state_file", model, *words, "build/bench",
                                           str(os.cpu_count())]),
                      "model": model.removesuffix(".gguf"), **row}
                     for row in json.loads(output)]
    return rows


def e2e():
    """Slow links, where a small model stands for a large one; then several requests at once."""
    table = ROOT / f"build/bench/e2e-{commit()}.csv"
    links = "10,20,50,200,1000"
    grids = [["--links", links, "--methods", "f16_streamed,int8,lynx,recompute"],
             ["--links", links, "--methods", "carry_on"],
             ["--links", "20,100", "--concurrency", "4", "--methods", "int8,lynx,recompute"]]
    for model in (SMOLLM2, GEMMA):
        for grid in grids:
            run("bench", "e2e", "-m", MODELS / model, *grid, "--output", table, "docs/http.md")
    with open(table, newline="") as file:
        return [{"command": "bench/measure.py e2e", **row} for row in csv.DictReader(file)]


def chance(model):
    """That a draft stands if those before it do: n drafts with it would be accepted on average
    as lynx eval saw it."""
    with open(RESULTS / "eval.csv", newline="") as file:
        accepted = next(float(row["accepted_mean"]) for row in csv.DictReader(file)
                        if (row["model"], row["set"], row["codec"], row["planes"]) ==
                        (model.removesuffix(".gguf"), "apart", "range", "1"))
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        if sum(middle**n for n in range(1, 63)) < accepted:
            low = middle
        else:
            high = middle
    return low


def step_tokens(model):
    """That an exact step gives in answers to questions, as lynx bench guess saw it."""
    with open(RESULTS / "guess.csv", newline="") as file:
        return next(float(row["tokens_per_step"]) for row in csv.DictReader(file)
                    if (row["model"], row["kind"], row["cache"], row["way"]) ==
                    (model.removesuffix(".gguf"), "question", "whole", "guesses"))


def plan():
    rows = []
    folder = ROOT / "build/bench"
    for model in (SMOLLM2, GEMMA):
        profiles = []
        cores = len(os.sched_getaffinity(0))
        for threads in sorted({cores, max(1, cores // 2)}, reverse=True):
            profiles.append(folder / f"profile-{threads}-{model}.json")
            output, _ = run("plan", "-m", MODELS / model, "--measure", "--threads", threads)
            profiles[-1].write_text(output)
        words = ["bench/predict.py", "--profile", profiles[0], "--at-once", profiles[-1],
                 "--stands", f"{chance(model):.4f}", "--step-tokens", f"{step_tokens(model):.2f}",
                 "--model", model, "--json", "bench/results/e2e.csv"]
        shown = " ".join(map(str, words)).replace(str(folder), "build/bench")
        print(shown, file=sys.stderr, flush=True)
        output = subprocess.run(list(map(str, words)), stdout=subprocess.PIPE, text=True,
                                check=True, cwd=ROOT).stdout
        rows += [{"command": shown, "model": model.removesuffix(".gguf"), **row}
                 for row in json.loads(output)]
    return rows


BENCHMARKS = {"codec": codec, "eval": evaluate, "task": task, "engine": engine, "guess": guess,
              "link": link, "serve": serve, "demo": demo, "stored": stored, "disk": disk,
              "e2e": e2e, "plan": plan}


def write(name, rows):
    columns = ["machine", "commit"]
    for row in rows:
        columns += [column for column in row if column not in columns]
    both = {"machine": machine(), "commit": commit()}
    with open(RESULTS / f"{name}.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({**both, **row} for row in rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    names = parser.parse_args().names
    for name in names:
        if name not in BENCHMARKS:
            parser.error(f"there is no benchmark '{name}'; there are {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        write(name, BENCHMARKS[name]())


if __name__ == "__main__":
    main()
