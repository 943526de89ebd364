#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What a client may ask for beyond an answer: biases, grammars, JSON, logprobs; over a slow link, so
that drafts are made and withdrawn."""
import json
import math
import pathlib
import re
import sys
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from programs import SOURCE, Case, Node, model
from serving import CHAT, DecodeNode, end_of, import_openai, question, text_of

MODEL = "smollm2-135m-q8_0.gguf"
COMPLETIONS = "/v1/completions"
LICENSE = (SOURCE / "LICENSE").read_text()
METHODS = ("speculate", "carry", "wait", "local")
PERSON = {"type": "object", "required": ["name", "age"], "properties": {
    "name": {"type": "string", "minLength": 1, "maxLength": 12}, "age": {"type": "integer"},
    "likes": {"type": "array", "items": {"enum": ["tea", "milk"]}, "maxItems": 2}}}
openai = import_openai()


def schema(content):
    return {"type": "json_schema", "json_schema": {"name": "x", "schema": content}}


def setUpModule():
    """One pair of nodes for all: none of the tests changes them."""
    prefill = Node(model(MODEL), "--link-mbps", 50)
    unittest.addModuleCleanup(prefill.close)
    Options.node = DecodeNode(model(MODEL), "--prefill", prefill.address)
    unittest.addModuleCleanup(Options.node.close)


class Options(Case):
    node = None

    def token(self, text):
        """The id of a text that is one token."""
        told = self.node.request("POST", "/tokenize", {"content": text})[2]
        self.assertEqual(told["count"], 1, text)
        return told["tokens"][0]

    def refused(self, body, path=CHAT):
        status, _, answer = self.node.request("POST", path, body)
        self.assertEqual(status, 400, answer)
        return answer["error"]


class Grammars(Options):
    def test_json_whatever_is_withdrawn(self):
        """Greedy and seeded answers parse, and are those of plain decoding, whether drafts stood or
        were withdrawn: the grammar's state follows the valid tokens. (How many fall depends on the
        pace of the machine; tests/unit/runtime/choices_test.c sees to it that some do.)"""
        drafted = whole = 0
        for form, seeds in (({"type": "json_object"}, (None, 1)), (schema(PERSON), (None, 3, 4))):
            for seed in seeds:
                heat = {} if seed is None else {"temperature": 1, "seed": seed}
                ask = LICENSE[:600] + "\nDescribe a person as a JSON object, in few words."
                members = {"max_tokens": 60, "response_format": form, **heat}
                with self.subTest(members=members):
                    events = self.node.stream(ask, lynx={"method": "speculate"}, **members)
                    plain = self.node.ask(ask, lynx={"method": "local"}, **members)
                    choice = plain["choices"][0]
                    self.assertEqual(text_of(events), choice["message"]["content"])
                    self.assertTrue(text_of(events).startswith("{"))
                    end = end_of(events)
                    drafted += end["lynx"]["drafted"]
                    if end["choices"][0]["finish_reason"] == "stop":
                        whole += 1
                        self.check(json.loads(text_of(events)), form)
        self.assertGreaterEqual(whole, 3)
        self.assertGreater(drafted, 0)

    def check(self, value, form):
        self.assertIsInstance(value, dict)
        if form["type"] == "json_object":
            return
        self.assertLessEqual({"name", "age"}, set(value))
        self.assertLessEqual(set(value), {"name", "age", "likes"})
        self.assertIsInstance(value["age"], int)
        self.assertLessEqual(len(value["name"]), 12)
        self.assertLessEqual(set(value.get("likes", [])), {"tea", "milk"})

    def test_a_grammar_of_ones_own(self):
        grammar = 'root ::= ("red" | "green" | "blue") (", " ("red" | "green" | "blue")){2}'
        for method in METHODS:
            with self.subTest(method=method):
                got = self.node.ask("Name three colours.", grammar=grammar, temperature=1, seed=7,
                                    max_tokens=30, lynx={"method": method})
                text = got["choices"][0]["message"]["content"]
                self.assertTrue(re.fullmatch(r"(red|green|blue)(, (red|green|blue)){2}", text), text)
                self.assertEqual(got["choices"][0]["finish_reason"], "stop")
                self.assertFalse(got["lynx"]["is_recomputed"])

    def test_half_characters(self):
        """Characters of several tokens, of a model that has tokens for single bytes."""
        got = self.node.ask("x", grammar='root ::= [\\u4e00-\\u9fff]{3} "é"', max_tokens=40)
        text = got["choices"][0]["message"]["content"]
        self.assertTrue(re.fullmatch("[\u4e00-\u9fff]{3}é", text), text)

    def test_what_is_wrong_is_said(self):
        for members, param, words in (
                ({"grammar": "root ::= ["}, "grammar", "line 1, column 11"),
                ({"grammar": "a ::= \"x\""}, "grammar", "no rule 'root'"),
                ({"response_format": schema({"$ref": "#"})}, "response_format", "left recursion"),
                ({"response_format": schema({"type": "object", "not": {}})},
                 "response_format.json_schema", "'not' is not supported"),
                ({"response_format": {"type": "yaml"}}, "response_format.type", "json_schema")):
            with self.subTest(members=members):
                error = self.refused({**question("x"), **members})
                self.assertEqual(error["param"], param)
                self.assertIn(words, error["message"])

    def test_hostile_grammars_harm_nobody(self):
        deep = "root ::= " + "(" * 50000
        chain = "root ::= r0\n" + "".join(f'r{i} ::= r{i + 1} | r{i + 1} "x"\n' for i in range(60))
        for grammar in (deep, 'root ::= "a"{3,1}', 'root ::= (((("a"{999}){999}){999}){999}){999}',
                        chain + 'r60 ::= "y"', "root ::= root", 'root ::= "a"{99999999999999999999}'):
            with self.subTest(grammar=grammar[:40]):
                self.assertEqual(self.refused(question("x", grammar=grammar))["param"], "grammar")
        # What nests without end, and what is ambiguous, ends at its tokens.
        for grammar in ('root ::= "(" root ")" | "x"', 'root ::= ("a"? "a"* "a"?)+'):
            self.node.ask("x", grammar=grammar, max_tokens=40)
        self.assertEqual(self.node.request("GET", "/health")[0], 200)


class Biases(Options):
    def test_a_banned_token_never_comes(self):
        """Neither as a draft nor as a token of either node."""
        prompt = LICENSE[:600]
        plain = self.node.ask(prompt, COMPLETIONS, max_tokens=24, logprobs=0)
        tokens = plain["choices"][0]["logprobs"]["tokens"]
        for text in (tokens[0], next(t for t in tokens[3:] if re.fullmatch(" ?[A-Za-z]+", t))):
            members = {"max_tokens": 24, "logprobs": 0, "logit_bias": {self.token(text): -100}}
            with self.subTest(banned=text):
                events = self.node.stream(prompt, COMPLETIONS, lynx={
                    "stream": "optimistic", "method": "speculate"}, **members)
                drafts = [e["lynx"]["text"] for e in events
                          if e.get("lynx", {}).get("event") == "draft"]
                self.assertGreater(len(drafts), 0)
                self.assertNotIn(text, drafts)
                for method in METHODS:
                    got = self.node.ask(prompt, COMPLETIONS, lynx={"method": method}, **members)
                    choice = got["choices"][0]
                    self.assertNotIn(text, choice["logprobs"]["tokens"])
                    self.assertEqual(choice["text"], text_of(events))

    def test_a_token_is_forced(self):
        got = self.node.ask("Name three colours.", max_tokens=5, temperature=1,
                            logit_bias={str(self.token("Red")): 100})
        self.assertEqual(got["choices"][0]["message"]["content"], "Red" * 5)

    def test_ids_of_no_token(self):
        for bias in ({"49152": 1}, {"x": 1}, {"5": 101}, [5]):
            error = self.refused(question("x", logit_bias=bias))
            self.assertEqual(error["param"], "logit_bias")


class Logprobs(Options):
    def test_all_methods_say_the_same(self):
        for heat in ({}, {"temperature": 1, "seed": 9}):
            told = {}
            for method in METHODS:
                got = self.node.ask(LICENSE[:600], COMPLETIONS, max_tokens=24, logprobs=5,
                                    lynx={"method": method}, **heat)
                told[method] = got["choices"][0]
                self.assertEqual("".join(told[method]["logprobs"]["tokens"]), told[method]["text"])
            for method in METHODS[1:]:
                self.assertEqual(told[method], told["speculate"])
            logprobs = told["speculate"]["logprobs"]
            self.check(logprobs["token_logprobs"], logprobs["top_logprobs"], not heat)
            self.assertEqual(logprobs["text_offset"][0], 0)
            for i, token in enumerate(logprobs["tokens"]):
                self.assertEqual(logprobs["top_logprobs"][i][token], logprobs["token_logprobs"][i])

    def check(self, chosen, tops, is_greedy):
        for logprob, top in zip(chosen, tops, strict=True):
            best = sorted(top.values(), reverse=True)
            self.assertLessEqual(sum(map(math.exp, best)), 1 + 1e-4)
            self.assertGreater(math.exp(best[0]), 1 / 49152)
            self.assertIn(len(best), (5, 6))
            if is_greedy:
                self.assertEqual(logprob, best[0])

    def test_streams_say_what_whole_answers_say(self):
        members = {"max_tokens": 24, "logprobs": True, "top_logprobs": 3}
        whole = self.node.ask("Name three colours.", **members)["choices"][0]
        events = self.node.stream("Name three colours.", **members)
        streamed = [entry for event in events for choice in event["choices"]
                    if choice["logprobs"] for entry in choice["logprobs"]["content"]]
        self.assertEqual(streamed, whole["logprobs"]["content"])
        text = whole["message"]["content"]
        self.assertEqual(b"".join(bytes(e["bytes"]) for e in streamed).decode(), text)
        # Each chunk has the tokens that its text begins with.
        for event in events:
            for choice in event["choices"]:
                if choice["delta"].get("content"):
                    self.assertTrue(choice["logprobs"]["content"])

    def test_tokens_behind_a_stop_string_are_not_told(self):
        whole = self.node.ask("Name three colours.", max_tokens=24, logprobs=True)["choices"][0]
        text = whole["message"]["content"]
        got = self.node.ask("Name three colours.", max_tokens=24, logprobs=True,
                            stop=text[6:9])["choices"][0]
        self.assertEqual(got["message"]["content"], text[:text.index(text[6:9])])
        count = len(got["logprobs"]["content"])
        self.assertEqual(got["logprobs"]["content"], whole["logprobs"]["content"][:count])
        told = "".join(e["token"] for e in got["logprobs"]["content"])
        self.assertTrue(told.startswith(got["message"]["content"]), told)

    def test_half_characters_have_their_bytes(self):
        got = self.node.ask("x", grammar='root ::= "\u4e57\u4e57"', logprobs=True)["choices"][0]
        content = got["logprobs"]["content"]
        self.assertEqual(b"".join(bytes(e["bytes"]) for e in content).decode(), "\u4e57\u4e57")
        self.assertTrue(any(e["token"].startswith("\\x") for e in content), content)


@unittest.skipUnless(openai, "the package 'openai' is not here; tools/setup.sh clients fetches it")
class Package(Options):
    """By the package that most clients are written with."""

    def client(self):
        return openai.OpenAI(base_url=f"http://127.0.0.1:{self.node.port}/v1", api_key="none",
                             max_retries=0)

    def test_chat(self):
        with self.client() as client:
            got = client.chat.completions.create(
                model=MODEL.removesuffix(".gguf"), temperature=0, max_tokens=60, logprobs=True,
                top_logprobs=2, logit_bias={"0": -100}, response_format=schema(PERSON),
                messages=[{"role": "user", "content": "Describe Ann, who is 30, as JSON."}])
            choice = got.choices[0]
            self.assertEqual(choice.finish_reason, "stop")
            self.assertIsInstance(json.loads(choice.message.content)["age"], int)
            self.assertEqual("".join(e.token for e in choice.logprobs.content),
                             choice.message.content)
            self.assertEqual({len(e.top_logprobs) for e in choice.logprobs.content}, {2})

    def test_completion_stream(self):
        with self.client() as client:
            chunks = list(client.completions.create(model=MODEL.removesuffix(".gguf"), temperature=0,
                                                    max_tokens=8, logprobs=2, prompt=LICENSE[:200],
                                                    stream=True))
            told = [c.choices[0] for c in chunks if c.choices[0].logprobs]
            self.assertEqual("".join(t for c in told for t in c.logprobs.tokens),
                             "".join(c.choices[0].text for c in chunks))
            self.assertTrue(all(len(t) in (2, 3) for c in told for t in c.logprobs.top_logprobs))


if __name__ == "__main__":
    unittest.main()
