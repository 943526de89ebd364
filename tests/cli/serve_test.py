#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""lynxd decode as its clients see it: two real daemons with TLS between them, and clients that are
in order, wrong, slow, gone or many."""
import asyncio
import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import FULL, ONE_THREAD, SOURCE, Case, Node, model, run
from serving import CHAT, DecodeNode, end_of, import_openai, question, text_of

MODEL = "smollm2-135m-q8_0.gguf"
NAME = MODEL.removesuffix(".gguf")
LICENSE = (SOURCE / "LICENSE").read_text()
COMPLETIONS = "/v1/completions"
openai = import_openai()


def wait_until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("waited in vain")
        time.sleep(0.05)


class Pair(Case):
    """A prefill node behind a slow link with TLS, and a decode node with four slots."""

    @classmethod
    def setUpClass(cls):
        cls.model = model(MODEL)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        run("lynx keys", "psk", "test", "--dir", folder.name)
        cls.psk = ["--psk", pathlib.Path(folder.name) / "psk"]
        cls.prefill = Node(cls.model, "--link-mbps", 50, *cls.psk)
        cls.addClassCleanup(cls.prefill.close)
        cls.node = DecodeNode(cls.model, "--prefill", cls.prefill.address, *cls.psk)
        cls.addClassCleanup(cls.node.close)

    def lynx_run(self, *options, prompt, tokens=24):
        done = run("lynx run", *ONE_THREAD, "-m", self.model, "--plain", "-n", tokens, "-p", prompt,
                   *options, "--json", timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def assert_fault(self, answer, status, type, param=None, code=None, words=""):
        self.assertEqual(answer[0], status, answer[2])
        error = answer[2]["error"]
        self.assertEqual(set(error), {"message", "type", "param", "code"})
        self.assertEqual((error["type"], error["param"], error["code"]), (type, param, code))
        self.assertIn(words, error["message"])


class Answers(Pair):
    def test_the_answer_is_that_of_lynx_run(self):
        prompt = "Name three colours."
        for sampling, options in (({}, []), ({"temperature": 0.9, "top_k": 40, "seed": 11},
                                             ["--temp", 0.9, "--top-k", 40, "--seed", 11])):
            with self.subTest(sampling=sampling):
                want = self.lynx_run(*options, prompt=prompt)
                got = self.node.ask(prompt, model=NAME, max_tokens=24, **sampling)
                self.assertEqual(got["choices"][0]["message"]["content"], want["text"])
                self.assertEqual(got["usage"]["completion_tokens"], len(want["tokens"]))
                self.assertEqual(got["usage"]["prompt_tokens"], want["prompt_tokens"])
                events = self.node.stream(prompt, max_tokens=24, **sampling)
                self.assertEqual(text_of(events), want["text"])
                self.assertEqual(end_of(events)["choices"][0]["finish_reason"],
                                 "stop" if want["has_ended"] else "length")

    def test_methods_give_the_same_text(self):
        prompt = LICENSE[:700]
        want = self.lynx_run("--raw-prompt", prompt=prompt)
        for method in ("speculate", "carry", "wait", "local"):
            with self.subTest(method=method):
                got = self.node.ask(prompt, COMPLETIONS, max_tokens=24, lynx={"method": method})
                self.assertEqual(got["choices"][0]["text"], want["text"])
                told = got["lynx"]
                self.assertEqual((told["method"], told["reason"]),
                                 (method, "the request asked for it"))
                self.assertEqual(told["prefill_node"],
                                 None if method == "local" else self.prefill.address)
                self.assertFalse(told["is_recomputed"])
                self.assertEqual(told["bytes"] > 0, method != "local")
        for lynx in ({}, {"method": "auto"}, {"method": None}):
            got = self.node.ask(prompt, COMPLETIONS, max_tokens=24, lynx=lynx)
            self.assertEqual(got["choices"][0]["text"], want["text"])
            self.assertRegex(got["lynx"]["reason"], r"^token \d+ is expected after [0-9.]+ s by "
                             r"drafting, .* here; link [0-9.]+ Mbit/s")

    def test_tokens_are_a_prompt_too(self):
        status, _, told = self.node.request("POST", "/tokenize", {"content": LICENSE[:200]})
        self.assertEqual(status, 200)
        self.assertEqual(told["count"], len(told["tokens"]))
        by_text = self.node.ask(LICENSE[:200], COMPLETIONS, max_tokens=8)
        by_tokens = self.node.ask(told["tokens"], COMPLETIONS, max_tokens=8)
        self.assertEqual(by_text["choices"], by_tokens["choices"])

    def test_optimistic_events_tell_what_happens(self):
        events = self.node.stream(LICENSE[:900], max_tokens=40, stream_options={
            "include_usage": True}, lynx={"stream": "optimistic", "method": "speculate"})
        told = [e["lynx"] for e in events if "lynx" in e and not e["choices"]]
        kinds = [e["event"] for e in told]
        self.assertEqual(kinds[0], "start")
        for once in ("start", "anchor", "complete"):
            self.assertEqual(kinds.count(once), 1, kinds)
        self.assertLess(kinds.index("anchor"), kinds.index("draft"))
        self.assertLess(kinds.index("complete"), kinds.index("verify"))
        # Every page of every layer came on both planes, each once.
        start = told[0]
        planes = [tuple(p) for e in told if e["event"] == "planes" for p in e["list"]]
        self.assertEqual(len(planes), len(set(planes)))
        self.assertEqual(len(planes), start["pages"] * start["layers"] * 2 * start["planes"])
        # Drafts stand from index 1 on; the first 'accepted' of them are the valid tokens. Those
        # behind second choices may follow, each time verified by themselves.
        tokens = [e for e in told if e["event"] == "token"]
        drafts = [e for e in told[:kinds.index("verify")] if e["event"] == "draft"]
        self.assertEqual([e["index"] for e in tokens], list(range(len(tokens))))
        self.assertEqual([e["index"] for e in drafts], list(range(1, len(drafts) + 1)))
        verified = told[kinds.index("verified")]
        self.assertEqual(verified["drafts"], len(drafts))
        kept = verified["accepted"]
        self.assertEqual([e["text"] for e in drafts[:kept]],
                         [e["text"] for e in tokens[1:1 + kept]])
        self.assertEqual("".join(e["text"] for e in tokens), text_of(events))
        end = end_of(events)["lynx"]
        self.assertEqual((end["drafted"], end["accepted"]), (len(drafts), kept))
        passes = [e for e in told if e["event"] == "verified"]
        self.assertEqual(kinds.count("verify"), len(passes))
        self.assertEqual(kinds.count("draft"), sum(e["drafts"] for e in passes))
        self.assertEqual(end["branch_drafted"], sum(e["drafts"] for e in passes[1:]))
        self.assertEqual(end["branch_accepted"], sum(e["accepted"] for e in passes[1:]))
        self.assertEqual(events[-1]["choices"], [])
        self.assertEqual(events[-1]["usage"]["completion_tokens"], len(tokens))
        self.assertEqual(text_of(self.node.stream(LICENSE[:900], max_tokens=40)), text_of(events))

    def test_drafts_are_reviewed_on_the_way(self):
        """A coarse anchor over a slow link: a review withdraws, and drafting goes on from there."""
        codec = "range-3:k=2+2+4,v=2+2+4,head=0"
        with Node(self.model, "--link-mbps", 6) as prefill, DecodeNode(
                self.model, "--slots", 1, "--codec", codec, "--prefill", prefill.address) as node:
            events = node.stream(LICENSE[:900], max_tokens=40,
                                 lynx={"stream": "optimistic", "method": "speculate"})
            plain = node.stream(LICENSE[:900], max_tokens=40, lynx={"method": "local"})
        self.assertEqual(text_of(events), text_of(plain))
        told = [e["lynx"] for e in events if "lynx" in e and not e["choices"]]
        drafts, kinds = [], [e["event"] for e in told]
        for event in told[:kinds.index("verified") + 1]:
            if event["event"] == "draft":
                drafts.append(event["text"])
                self.assertEqual(event["index"], len(drafts))
            elif event["event"] in ("review", "verify"):
                self.assertEqual(event["drafts"], len(drafts))
            elif event["event"] == "reviewed":
                self.assertEqual(event["drafts"], len(drafts))
                del drafts[event["kept"]:]
            elif event["event"] == "token" and "verified" not in kinds[:told.index(event)]:
                self.assertEqual(event["index"], 0)  # nothing else is valid yet
        self.assertEqual(kinds.count("review"), 1)
        self.assertLess(kinds.index("reviewed"), kinds.index("complete"))
        verified = told[kinds.index("verified")]
        self.assertEqual(verified["drafts"], len(drafts))
        tokens = [e["text"] for e in told if e["event"] == "token"]
        self.assertEqual(tokens[1:1 + verified["accepted"]], drafts[:verified["accepted"]])

    def test_stop_strings(self):
        whole = self.node.ask("Count from 1 to 9.", max_tokens=40)["choices"][0]["message"]["content"]
        stop = whole[len(whole) // 2:][:3]
        want = whole[:whole.index(stop)]
        for members in ({"stop": stop}, {"stop": ["\x01nowhere", stop]}):
            got = self.node.ask("Count from 1 to 9.", max_tokens=40, **members)
            self.assertEqual(got["choices"][0]["message"]["content"], want)
            self.assertEqual(got["choices"][0]["finish_reason"], "stop")
            events = self.node.stream("Count from 1 to 9.", max_tokens=40, **members)
            self.assertEqual(text_of(events), want)

    def test_a_seed_that_was_drawn_is_told(self):
        first = self.node.ask("Tell me a story.", max_tokens=12, temperature=1.2)
        again = self.node.ask("Tell me a story.", max_tokens=12, temperature=1.2,
                              seed=first["lynx"]["seed"])
        self.assertEqual(first["choices"], again["choices"])
        seeds = {self.node.ask("x", max_tokens=1, temperature=1)["lynx"]["seed"] for _ in range(4)}
        self.assertGreater(len(seeds), 1)

    def sixteen_at_once(self, node):
        """Greedy and seeded, some with what bounds the choice: as each alone."""
        bodies = [question(f"{LICENSE[60 * i:60 * i + 200]} Number {i}?", max_tokens=12,
                           temperature=0.8 * (i % 2), seed=i, logprobs=i % 4 == 0,
                           response_format={"type": "json_object" if i % 4 == 3 else "text"},
                           logit_bias={"28": -100} if i % 4 == 1 else {},
                           lynx={"method": "auto" if i % 4 == 3 else "speculate"})
                  for i in range(16)]

        def ask(body):
            status, _, data = node.request("POST", CHAT, body, timeout=600)
            self.assertEqual(status, 200, data)
            return data["choices"]
        alone = [ask(body) for body in bodies]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            together = list(pool.map(ask, bodies))
        self.assertEqual(together, alone)
        metrics = node.metrics()
        self.assertEqual((metrics["lynx_queue_requests"], metrics["lynx_slots_busy"]), (0, 0))
        self.assertEqual(metrics["lynx_recomputed_total"], 0)
        return alone

    def test_sixteen_at_once_are_as_each_alone(self):
        with Node(self.model, "--link-mbps", 500, *self.psk) as prefill, \
                DecodeNode(self.model, "--prefill", prefill.address, *self.psk) as fast:
            self.assertEqual(self.sixteen_at_once(self.node), self.sixteen_at_once(fast))

    def test_no_request_waits_for_anothers_residual(self):
        """A late question's drafts are there before the residual of a document that was first.
        tests/unit/session/gate_test.c and the simulations hold it for every chunk."""
        def members(prompt, tokens):
            return question(prompt, stream=True, max_tokens=tokens,
                            lynx={"method": "speculate", "stream": "optimistic"})
        order = []

        def follow(name, stream, has_anchor):
            with stream:
                for event in stream.events():
                    order.append((name, event.get("lynx", {}).get("event")))
                    if order[-1][1] == "anchor":
                        has_anchor.set()
        with Node(self.model, "--link-mbps", 6, *self.psk) as prefill, \
                DecodeNode(self.model, "--prefill", prefill.address, *self.psk) as node, \
                concurrent.futures.ThreadPoolExecutor(2) as pool:
            has_anchor = threading.Event()
            first = pool.submit(follow, "first", node.open(members(LICENSE[:4000], 4)), has_anchor)
            self.assertTrue(has_anchor.wait(120))
            late = pool.submit(follow, "late", node.open(members("Name a colour.", 12)),
                               threading.Event())
            late.result()
            first.result()
        residual_is_in = order.index(("first", "complete"))
        for moment in ("anchor", "draft"):
            self.assertLess(order.index(("late", moment)), residual_is_in, order)

    def test_what_else_is_there(self):
        status, _, told = self.node.request("GET", "/v1/models")
        self.assertEqual((status, [m["id"] for m in told["data"]]), (200, [NAME]))
        self.assertEqual(self.node.request("GET", f"/v1/models/{NAME}")[2], told["data"][0])
        self.assert_fault(self.node.request("GET", "/v1/models/x"), 404, "invalid_request_error",
                          code="model_not_found")
        for path in ("/health", "/health/ready", "/health/live"):
            self.assertEqual(self.node.request("GET", path)[::2], (200, {"status": "ok"}))
        status, headers, page = self.node.request("GET", "/")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/html; charset=utf-8"))
        self.assertIn("Content-Security-Policy", headers)
        self.assertTrue(page.lower().startswith(b"<!doctype html>") and page.endswith(b"</html>\n"))
        self.assertEqual(self.node.request("HEAD", "/")[2], b"")

    def test_metrics_are_those_that_are_documented(self):
        before = self.node.metrics()
        self.node.ask("Hello.", max_tokens=3, lynx={"method": "speculate"})
        after = self.node.metrics()
        key = 'lynx_http_requests_total{route="/v1/chat/completions",outcome="ok"}'
        self.assertEqual(after[key], before[key] + 1)
        self.assertEqual(after["lynx_ttft_seconds_count"], before["lynx_ttft_seconds_count"] + 1)
        plane = f'lynx_link_plane_bytes_total{{prefill_node="{self.prefill.address}",plane="0"}}'
        self.assertGreater(after[plane], before[plane])
        text = self.node.request("GET", "/metrics")[2].decode()
        told = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
        document = (SOURCE / "docs" / "http.md").read_text()
        named = {row.split("`")[1] for row in document.splitlines() if row.startswith("| `lynx_")}
        self.assertEqual(told, named)


class Mistakes(Pair):
    """The right status and message; the daemon goes on."""

    def tearDown(self):
        self.assertEqual(self.node.request("GET", "/health")[0], 200)
        self.assertIsNone(self.node.process.poll())

    def test_bodies(self):
        good = question("x")
        for body, param, words in (
                ("", None, "not JSON"), ("{", None, "not JSON"), ("[1]", None, "JSON object"),
                (b'{"messages":[{"role":"user","content":"\xff"}]}', None, "not JSON"),
                ('{"messages":' + "[" * 100000, None, "not JSON"),
                ('{"temperature":NaN}', None, "not JSON"),
                ({**good, "messages": "x"}, "messages", "array"),
                ({**good, "messages": [{"role": "robot", "content": "x"}]}, "messages[0].role", ""),
                ({**good, "n": 2}, "n", "must be 1"),
                ({**good, "max_tokens": -1}, "max_tokens", "whole number"),
                ({**good, "temperature": "warm"}, "temperature", "number"),
                ({**good, "tools": [{}]}, "tools", "not supported"),
                ({**good, "logprobs": 1}, "logprobs", "true or false"),
                ({**good, "chat_template": "no such"}, "chat_template", "no template"),
                ({**good, "lynx": {"method": "x"}}, "lynx.method", "speculate")):
            with self.subTest(body=str(body)[:60]):
                self.assert_fault(self.node.request("POST", CHAT, body), 400,
                                  "invalid_request_error", param, words=words)
        self.assert_fault(self.node.request("POST", COMPLETIONS, {"prompt": [1, 49152]}), 400,
                          "invalid_request_error", "prompt", words="no token")

    def test_what_does_not_fit_the_context(self):
        for path, body, param in (
                (CHAT, question("x", max_tokens=2000000000), "max_tokens"),
                (CHAT, question("word " * 5000), "messages"),
                (COMPLETIONS, {"prompt": [5] * 1000000}, "prompt")):
            with self.subTest(param=param):
                self.assert_fault(self.node.request("POST", path, body), 400,
                                  "invalid_request_error", param, "context_length_exceeded")

    def test_places_and_methods(self):
        self.assert_fault(self.node.request("GET", "/v2"), 404, "invalid_request_error",
                          code="not_found")
        self.assert_fault(self.node.request("POST", CHAT, {**question("x"), "model": "gpt-4"}), 404,
                          "invalid_request_error", "model", "model_not_found", NAME)
        for method, path, allowed in (("GET", CHAT, "POST"), ("PUT", CHAT, "POST"),
                                      ("POST", "/", "GET, HEAD"), ("DELETE", "/metrics", "GET, HEAD")):
            answer = self.node.request(method, path)
            self.assert_fault(answer, 405, "invalid_request_error", code="method_not_allowed")
            self.assertEqual(answer[1]["Allow"], allowed)

    def test_a_page_of_another_origin_is_refused(self):
        answer = self.node.request("POST", CHAT, question("x"), {"Origin": "https://evil.example"})
        self.assert_fault(answer, 403, "invalid_request_error", code="forbidden_origin")
        self.assertIsNone(answer[1]["Access-Control-Allow-Origin"])
        own = {"Origin": f"http://127.0.0.1:{self.node.port}"}
        self.assertEqual(self.node.request("POST", CHAT, question("x", max_tokens=1), own)[0], 200)

    def test_a_body_of_100_mb(self):
        size = 100 << 20
        with socket.create_connection(("127.0.0.1", self.node.port), timeout=60) as client:
            client.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" %
                           (CHAT.encode(), size))
            for _ in range(100):
                client.sendall(b" " * (1 << 20))
            answer = http.client.HTTPResponse(client)
            answer.begin()
            self.assertEqual(answer.status, 413)
            self.assertEqual(json.loads(answer.read())["error"]["code"], "body_too_large")
        peak = int(next(line for line in pathlib.Path(
            f"/proc/{self.node.process.pid}/status").read_text().splitlines()
            if line.startswith("VmRSS")).split()[1])
        self.assertLess(peak, 4 << 20)  # KiB

    def test_a_client_that_asks_first_is_told_at_once(self):
        with socket.create_connection(("127.0.0.1", self.node.port), timeout=60) as client:
            client.sendall(b"POST %s HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                           b"Content-Length: 999999999\r\n\r\n" % CHAT.encode())
            self.assertTrue(client.recv(99).startswith(b"HTTP/1.1 413 "))

    def test_bytes_that_are_not_http(self):
        for data in (b"\x16\x03\x01\x02\x00\x01\x00" * 20, b"GET / HTTP/1.1\r\n\r\n", b"\0" * 500,
                     b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 100000 + b"\r\n\r\n",
                     b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n" % CHAT.encode()):
            with self.subTest(data=data[:40]):
                with socket.create_connection(("127.0.0.1", self.node.port), timeout=30) as client:
                    try:
                        client.sendall(data)
                        client.shutdown(socket.SHUT_WR)
                        answer = client.recv(9999)
                    except OSError:  # closed already
                        answer = b""
                self.assertTrue(not answer or answer.startswith(b"HTTP/1.1 4"), answer)


class Clients(Pair):
    """Clients that are slow, gone or many."""

    def idle(self):
        metrics = self.node.metrics()
        return metrics["lynx_slots_busy"] == 0 and metrics["lynx_queue_requests"] == 0

    def test_a_client_that_leaves_frees_its_slot(self):
        gone = 'lynx_http_requests_total{route="/v1/chat/completions",outcome="client_gone"}'
        for is_stream in (True, False):
            with self.subTest(is_stream=is_stream):
                before = self.node.metrics()[gone]
                # Six: two of them leave while they wait for a slot.
                streams = [self.node.open(question("Tell a long story.", max_tokens=4000,
                                                   stream=is_stream)) for _ in range(6)]
                wait_until(lambda: self.node.metrics()["lynx_slots_busy"] == 4 and
                           self.node.metrics()["lynx_queue_requests"] == 2)
                for stream in streams:
                    stream.close()
                wait_until(self.idle)
                wait_until(lambda: self.node.metrics()[gone] == before + 6)
        self.node.ask("Hello.", max_tokens=2)

    def test_the_prefill_node_is_told_that_a_client_left(self):
        """It sends no more of the cache: two megabytes at two megabits a second."""
        with Node(self.model, "--link-mbps", 2) as prefill, \
                DecodeNode(self.model, "--slots", 1, "--prefill", prefill.address) as node:
            body = question(LICENSE[:900], stream=True, lynx={"stream": "optimistic"})
            with node.open(body) as stream:
                events = stream.events()
                while next(events).get("lynx", {}).get("event") != "planes":
                    pass
            wait_until(lambda: node.metrics()["lynx_slots_busy"] == 0)
            self.assertEqual(node.stop()[0], 0)
            log = prefill.stop()[2]
        sent = int(re.search(r"sent (\d+) bytes", log)[1])
        self.assertLess(sent, 1000000, log)

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.node.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) << 10

    def descriptors(self):
        return len(list(pathlib.Path(f"/proc/{self.node.process.pid}/fd").iterdir()))

    def visit(self, number):
        """One of many clients: two of three leave at a moment that follows from their number."""
        chance = random.Random(number)
        body = question(LICENSE[:chance.randrange(20, 900)], max_tokens=chance.randrange(1, 20),
                        stream=chance.random() < 0.7, temperature=0.7, seed=number,
                        lynx={"method": "auto" if number % 4 == 0 else "speculate"})
        with self.node.open(body, timeout=600) as stream:
            if number % 3 == 0:
                stream.response.begin()
                return stream.response.status == 200 and bool(stream.response.read())
            time.sleep(chance.random())
        return True

    @unittest.skipUnless(FULL, "LYNX_FULL=1 is not set")
    def test_three_hundred_clients_leave_nothing_behind(self):
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            self.assertTrue(all(pool.map(self.visit, range(60))))
            wait_until(self.idle)
            resident, descriptors = self.resident_bytes(), self.descriptors()
            self.assertTrue(all(pool.map(self.visit, range(60, 360))))
        wait_until(self.idle)
        wait_until(lambda: self.descriptors() <= descriptors)
        grown = self.resident_bytes() - resident
        print(f"\n{resident >> 20} MiB after 60 clients, {grown / 1048576:+.1f} MiB after 300 more",
              flush=True)
        self.assertLess(grown, 32 << 20)

    def test_a_slow_reader_holds_up_nobody(self):
        slow = [self.node.open(question("Tell a long story.", max_tokens=120, stream=True,
                                        lynx={"stream": "optimistic", "method": "speculate"}),
                               receive_bytes=2048)
                for _ in range(5)]  # more than there are slots
        for stream in slow:
            self.addCleanup(stream.close)
        self.node.ask("Name a colour.", max_tokens=8)
        wait_until(self.idle)  # their slots are free, although nothing was read
        texts = {text_of(list(stream.events())) for stream in slow}
        self.assertEqual(len(texts), 1)

    def test_a_thousand_idle_connections(self):
        clients = []
        try:
            for _ in range(1000):
                clients.append(socket.create_connection(("127.0.0.1", self.node.port), timeout=30))
            wait_until(lambda: self.node.metrics()["lynx_http_connections"] >= 1000)
            self.node.ask("Hello.", max_tokens=2)
        finally:
            for client in clients:
                client.close()
        wait_until(lambda: self.node.metrics()["lynx_http_connections"] < 10)


class Limits(Case):
    """Nodes of their own, without a prefill node."""

    def start(self, *options, **more):
        node = DecodeNode(model(MODEL), *options, **more)
        self.addCleanup(node.close)
        return node

    def test_without_a_prefill_node(self):
        node = self.start("--slots", 1)
        self.assertIn("prompts are prefilled here", node.log())
        want = run("lynx run", *ONE_THREAD, "-m", node.path, "--local", "-n", 8, "-p", "Hello.",
                   "--json")
        got = node.ask("Hello.", max_tokens=8)
        self.assertEqual(got["choices"][0]["message"]["content"], json.loads(want.stdout)["text"])
        self.assertEqual((got["lynx"]["method"], got["lynx"]["prefill_node"]), ("local", None))
        status, _, told = node.request("POST", CHAT, question("x", lynx={"method": "wait"}))
        self.assertEqual((status, told["error"]["param"]), (400, "lynx.method"))

    def test_a_full_queue(self):
        node = self.start("--slots", 1, "--queue", 1)
        first = node.open(question("Tell a long story.", max_tokens=4000, stream=True))
        wait_until(lambda: node.metrics()["lynx_slots_busy"] == 1)
        second = node.open(question("Hello.", max_tokens=2, stream=True))
        wait_until(lambda: node.metrics()["lynx_queue_requests"] == 1)
        status, headers, told = node.request("POST", CHAT, question("x"))
        self.assertEqual((status, told["error"]["type"], told["error"]["code"]),
                         (429, "rate_limit_error", "queue_full"))
        self.assertGreaterEqual(int(headers["Retry-After"]), 1)
        first.close()  # so that the second has its turn
        self.assertTrue(text_of(list(second.events())))
        second.close()

    def test_a_deadline(self):
        node = self.start("--slots", 1, "--request-timeout", 2)
        status, _, told = node.request("POST", CHAT, question("Tell a long story.", max_tokens=4000))
        self.assertEqual((status, told["error"]["code"]), (504, "timeout"))
        with node.open(question("Tell a long story.", max_tokens=4000, stream=True)) as stream:
            events = list(stream.events())
        self.assertEqual(events[-1]["error"]["code"], "timeout")
        self.assertTrue(text_of(events[:-1]))
        wait_until(lambda: node.metrics()["lynx_slots_busy"] == 0)

    def test_keys_and_tls(self):
        with tempfile.TemporaryDirectory() as folder:
            keys, cert, key = (pathlib.Path(folder) / name for name in ("keys", "cert", "key"))
            keys.write_text("first-key\nsecond-key\n")
            done = run("lynxd decode", "-m", model(MODEL), "--api-key-file", keys)
            self.assert_refused(done, 1, "lynxd decode", "others may read", "chmod 600")
            keys.chmod(0o600)
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert,
                            "-days", "2", "-subj", "/CN=localhost", "-addext",
                            "subjectAltName=DNS:localhost"], check=True, stderr=subprocess.DEVNULL)
            key.chmod(0o600)
            node = self.start("--slots", 1, "--api-key-file", keys, "--http-cert", cert,
                              "--http-key", key)
            context = ssl.create_default_context(cafile=cert)

        def get(path, authorization=None):
            connection = http.client.HTTPSConnection("localhost", node.port, context=context,
                                                     timeout=30)
            headers = {"Authorization": authorization} if authorization else {}
            connection.request("GET", path, headers=headers)
            answer = connection.getresponse()
            data = answer.read()
            connection.close()
            return answer.status, data
        for wrong in (None, "Bearer ", "Bearer first-ke", "Bearer first-keyx", "Basic first-key",
                      "Bearer first-keyfirst-key"):
            with self.subTest(wrong=wrong):
                status, data = get("/v1/models", wrong)
                self.assertEqual(status, 401)
                self.assertEqual(json.loads(data)["error"]["type"], "authentication_error")
        for right in ("Bearer first-key", "bearer second-key"):
            self.assertEqual(get("/v1/models", right)[0], 200)
        self.assertEqual(get("/health")[0], 200)

    def test_keys_and_certificate_are_read_again(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        keys, cert, key = (pathlib.Path(folder.name) / name for name in ("keys", "cert", "key"))

        def make_certificate():
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                            "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", cert,
                            "-days", "2", "-subj", "/CN=localhost", "-addext",
                            "subjectAltName=DNS:localhost"], check=True, stderr=subprocess.DEVNULL)
            key.chmod(0o600)
            return ssl.create_default_context(cafile=cert)

        def put_keys(text):
            keys.write_text(text)
            keys.chmod(0o600)

        def connect(context):
            connection = http.client.HTTPSConnection("localhost", node.port, context=context,
                                                     timeout=60)
            connection.connect()
            self.addCleanup(connection.close)
            return connection

        def get(connection, api_key):
            connection.request("GET", "/v1/models", headers={"Authorization": "Bearer " + api_key})
            answer = connection.getresponse()
            answer.read()
            return answer.status

        def reload(words, count):
            node.process.send_signal(signal.SIGHUP)
            node.await_condition(lambda: node.log().count(words) == count)

        def make_certificate_and_reload(count):
            context = make_certificate()
            reload("new connections see", count)
            return context

        put_keys("old-key")
        old = make_certificate()
        node = self.start("--slots", 1, "--api-key-file", keys, "--http-cert", cert, "--http-key",
                          key)
        first = connect(old)
        self.assertEqual(get(first, "old-key"), 200)
        put_keys("new-key another-key")
        new = make_certificate()
        reload("clients need one of 2 API keys; new connections see", 1)
        # The connection that was open goes on, with the keys of now.
        self.assertEqual([get(first, k) for k in ("old-key", "new-key")], [401, 200])
        second = connect(new)
        self.assertEqual([get(second, k) for k in ("old-key", "another-key")], [401, 200])
        with self.assertRaises(ssl.SSLCertVerificationError):
            connect(old)
        # What is wrong changes nothing.
        key.write_text("no key")
        put_keys("third-key")
        reload("the old API keys and certificate stay", 1)
        self.assertEqual(get(connect(new), "new-key"), 200)
        self.assertEqual(get(second, "third-key"), 401)
        # As often as one likes, as long as old connections do not pile up.
        for connection in (first, second):
            connection.close()
        for count in range(2, 12):
            connection = connect(make_certificate_and_reload(count))
            self.assertEqual(get(connection, "third-key"), 200)
            connection.close()
        kept = []
        for count in range(12, 20):
            kept.append(connect(make_certificate_and_reload(count)))
        make_certificate()
        reload("older certificates are still open; try again later", 1)
        self.assertEqual([get(connection, "third-key") for connection in kept], [200] * len(kept))
        self.assertEqual(node.stop()[0], 0)

    def test_slow_lorises_are_closed(self):
        node = self.start("--slots", 1, "--idle-timeout", 2)
        with socket.create_connection(("127.0.0.1", node.port), timeout=30) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
            end = time.monotonic() + 30
            with self.assertRaises((ConnectionError, AssertionError)):
                while True:  # each byte keeps a connection alive that is only watched for silence
                    client.sendall(b"X")
                    self.assertLess(time.monotonic(), end, "never closed")
                    time.sleep(0.2)
                    client.setblocking(False)
                    try:
                        self.assertNotEqual(client.recv(1), b"")
                    except BlockingIOError:
                        pass
                    client.setblocking(True)
            self.assertLess(time.monotonic(), end)
        # A client that waits for its answer is not silent.
        self.assertEqual(node.ask("Tell a long story.", max_tokens=200)["usage"]
                         ["completion_tokens"], 200)

    def test_cors_is_for_whom_it_was_asked_for(self):
        node = self.start("--slots", 1, "--cors-origin", "https://good.example")
        status, headers, _ = node.request("OPTIONS", CHAT, headers={
            "Origin": "https://good.example", "Access-Control-Request-Method": "POST"})
        self.assertEqual((status, headers["Access-Control-Allow-Origin"]),
                         (204, "https://good.example"))
        body = question("x", max_tokens=1)
        for origin, want in (("https://good.example", 200), ("https://evil.example", 403)):
            self.assertEqual(node.request("POST", CHAT, body, {"Origin": origin})[0], want)

    def test_the_end_in_mid_stream(self):
        for grace, tokens, is_finished in (("60", 30, True), ("0.5", 4000, False)):
            with self.subTest(grace=grace):
                node = self.start("--slots", 1, "--grace", grace)
                with node.open(question("Tell a long story.", max_tokens=tokens,
                                        stream=True)) as stream:
                    events = stream.events()
                    got = [next(events) for _ in range(3)]
                    node.process.send_signal(signal.SIGTERM)
                    wait_until(lambda: "stopping" in node.log())
                    if is_finished:
                        answer = node.request("POST", CHAT, question("x"))
                        self.assertEqual((answer[0], answer[2]["error"]["code"]), (503, "stopping"))
                        self.assertEqual(node.request("GET", "/health")[::2],
                                         (503, {"status": "stopping"}))
                        self.assertEqual(node.request("GET", "/health/live")[0], 200)
                    got += list(events)
                if is_finished:
                    self.assertEqual(end_of(got)["choices"][0]["finish_reason"], "length")
                else:
                    self.assertEqual(got[-1]["error"]["code"], "stopping")
                self.assertEqual(node.stop()[0], 0)

    def test_a_prefill_node_that_is_killed(self):
        prefill = Node(model(MODEL), "--link-mbps", 2)
        self.addCleanup(prefill.close)
        node = self.start("--slots", 1, "--prefill", prefill.address, "--patience", 1)
        prompt = LICENSE[:900]
        want = run("lynx run", *ONE_THREAD, "-m", node.path, "--plain", "--raw-prompt", "-n", 12,
                   "-p", prompt, "--json", timeout=120)
        with node.open(question(prompt, COMPLETIONS, max_tokens=12, stream=True,
                                lynx={"stream": "optimistic"}), COMPLETIONS) as stream:
            events, got = stream.events(), []
            while not any(e.get("lynx", {}).get("event") == "planes" for e in got):
                got.append(next(events))
            prefill.process.kill()
            got += list(events)
        self.assertEqual(text_of(got), json.loads(want.stdout)["text"])
        end = end_of(got)["lynx"]
        self.assertTrue(end["is_recomputed"])
        self.assertIsNone(end["prefill_node"])
        self.assertIn("no connection to the prefill node", end["reason"])
        self.assertEqual([e["lynx"]["event"] for e in got if "lynx" in e and not e["choices"]]
                         .count("lost"), 1)
        told = node.ask(prompt, COMPLETIONS, max_tokens=12)
        self.assertEqual(told["choices"][0]["text"], json.loads(want.stdout)["text"])
        self.assertEqual((told["lynx"]["method"], told["lynx"]["prefill_node"]), ("local", None))
        self.assertIn(f"no prefill node is connected ({prefill.address} since",
                      told["lynx"]["reason"])
        self.assertIn(told["lynx"]["reason"], node.log())
        metrics = node.metrics()
        self.assertEqual(metrics["lynx_recomputed_total"], 1)
        self.assertEqual([metrics[f'lynx_fallbacks_total{{reason="{reason}"}}'] for reason in
                          ("unreachable", "failing", "slower", "lost")], [1, 0, 0, 1])
        self.assertEqual(metrics[f'lynx_prefill_node_up{{prefill_node="{prefill.address}"}}'], 0)
        self.assertEqual(sum(value for name, value in metrics.items()
                             if name.startswith("lynx_prefill_lost_total")), 1)


@unittest.skipIf(openai is None, "no 'openai' package; run 'tools/setup.sh clients'")
class Package(Pair):
    """The Python package of OpenAI."""

    def client(self, kind):
        return kind(base_url=f"http://127.0.0.1:{self.node.port}/v1", api_key="none", timeout=120,
                    max_retries=0)

    ASKED = {"model": NAME, "messages": [{"role": "user", "content": "Name three colours."}],
             "temperature": 0, "max_tokens": 24}

    def test_sync(self):
        with self.client(openai.OpenAI) as client:
            self.assertEqual([m.id for m in client.models.list()], [NAME])
            whole = client.chat.completions.create(**self.ASKED)
            parts, usage = "", None
            for chunk in client.chat.completions.create(**self.ASKED, stream=True,
                                                        stream_options={"include_usage": True}):
                usage = chunk.usage or usage
                for choice in chunk.choices:
                    parts += choice.delta.content or ""
            text = client.completions.create(model=NAME, prompt="Once upon", max_tokens=4)
        self.assertEqual(parts, whole.choices[0].message.content)
        self.assertEqual(usage.total_tokens, whole.usage.total_tokens)
        self.assertEqual(text.usage.completion_tokens, 4)

    def test_optimistic_chunks_do_not_disturb_it(self):
        with self.client(openai.OpenAI) as client:
            chunks = list(client.chat.completions.create(
                **self.ASKED, stream=True, extra_body={"lynx": {"stream": "optimistic"}}))
            whole = client.chat.completions.create(**self.ASKED)
        self.assertEqual("".join(c.choices[0].delta.content or "" for c in chunks if c.choices),
                         whole.choices[0].message.content)
        self.assertTrue(any(not c.choices for c in chunks))

    def test_errors_are_its_own(self):
        with self.client(openai.OpenAI) as client:
            with self.assertRaises(openai.BadRequestError) as caught:
                client.chat.completions.create(**self.ASKED, n=2)
            self.assertEqual(caught.exception.param, "n")
            with self.assertRaises(openai.NotFoundError):
                client.chat.completions.create(**{**self.ASKED, "model": "gpt-4"})

    def test_async_with_cancellation(self):
        async def ask():
            async with self.client(openai.AsyncOpenAI) as client:
                whole = client.chat.completions.create(**self.ASKED)
                stream = await client.chat.completions.create(
                    **{**self.ASKED, "max_tokens": 4000}, stream=True)
                async for _ in stream:
                    break
                await stream.close()
                task = asyncio.create_task(client.chat.completions.create(
                    **{**self.ASKED, "messages": [{"role": "user", "content": "Tell a story."}],
                       "max_tokens": 4000}))
                await asyncio.sleep(1)
                task.cancel()
                return (await whole).choices[0].message.content
        text = asyncio.run(ask())
        self.assertTrue(text)
        wait_until(lambda: self.node.metrics()["lynx_slots_busy"] == 0)


if __name__ == "__main__":
    unittest.main()
