#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The page of the decode node in headless Chromium: against a server that plays scripts, and a real
one."""
import json
import pathlib
import sys
import unittest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "support"))
from browser import Browser
from chat_server import KEY, TOKENS, ChatServer
from programs import SOURCE, Node, model
from serving import DecodeNode

ANSWER = "".join(TOKENS).lstrip()
LAST = "[...document.querySelectorAll('.answer')].at(-1)"
# Contrast (WCAG 2) of every text against the nearest background, the worst first.
CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgb = (color) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
};
const light = (color) => rgb(color).slice(0, 3).map((v) => v / 255)
    .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const found = [];
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
    const node = walk.currentNode.parentElement;
    if (!walk.currentNode.data.trim() || !node.checkVisibility() || node.closest('.sr')) continue;
    let behind = node;
    while (behind && rgb(getComputedStyle(behind).backgroundColor)[3] < 255) behind = behind.parentElement;
    const pair = [getComputedStyle(node).color,
                  getComputedStyle(behind ?? document.body).backgroundColor].map(light);
    const ratio = (Math.max(...pair) + .05) / (Math.min(...pair) + .05);
    found.push([Math.round(ratio * 100) / 100, walk.currentNode.data.trim().slice(0, 40)]);
}
return found.sort((a, b) => a[0] - b[0]);
"""
# Controls and images whose name a screen reader cannot tell.
NAMELESS = """
return [...document.querySelectorAll('button, input, select, textarea, [role=img], [role=region]')]
    .filter((node) => !(node.ariaLabel || node.labels?.[0]?.textContent.trim()
                        || node.tagName === 'BUTTON' && node.textContent.trim()))
    .map((node) => node.outerHTML);
"""
PIXELS = """
const map = document.querySelector('#map'), {width, height} = map, seen = {};
const copy = Object.assign(document.createElement('canvas'), {width, height});
const pen = copy.getContext('2d', {willReadFrequently: true});
pen.drawImage(map, 0, 0);
const {data} = pen.getImageData(0, 0, width, height);
for (let at = 0; at < data.length; at += 4) {
    if (data[at + 3] === 255) seen[data.slice(at, at + 3)] = (seen[data.slice(at, at + 3)] ?? 0) + 1;
}
const color = (name) => {
    const hex = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
    return seen[[1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16))] ?? 0;
};
return ['--empty', '--anchor', '--whole'].map(color);
"""


def setUpModule():
    global browser, server
    browser = Browser()
    server = ChatServer()


def tearDownModule():
    server.close()
    browser.close()


class PageCase(unittest.TestCase):
    """Each test has a fresh page; it may write nothing to the console and ask no other host."""
    failures_expected = False

    def setUp(self):
        server.reset()
        browser.emulate(width=1280, prefers_color_scheme="light")
        browser.open(server.url)
        browser.wait("document.querySelector('#model').textContent")

    def tearDown(self):
        server.reset()
        told = [entry["message"] for entry in browser.logs("browser")]
        if self.failures_expected:
            told = [text for text in told if "Failed to load resource" not in text]
        self.assertEqual(told, [])
        asked = browser.requests()
        self.assertIn(server.url, asked)
        self.assertEqual([url for url in asked if not url.startswith((server.url, "data:"))], [])
        self.assertEqual([url for url in asked if url.endswith("favicon.ico")], [])

    def ask(self, text):
        browser.click("#prompt")
        browser.type(text, "enter")

    def reach(self, gate):
        """The script waits at a gate, and the page has shown all before it."""
        self.assertTrue(server.reached[gate].wait(30), gate)

    def finish(self):
        for gate in server.gates.values():
            gate.set()
        browser.wait(f"{LAST} && !{LAST}.matches('.busy')")

    def solid(self):
        return browser.js(f"return {LAST}.querySelector('.solid').textContent")

    def drafts(self):
        return browser.js(f"return {LAST}.querySelector('.drafts').textContent")

    def await_text(self, selector, text):
        browser.wait("document.querySelector(arguments[0])?.textContent.includes(arguments[1])",
                     selector, text)


class Answers(PageCase):
    def test_drafts_are_dim_then_solid(self):
        server.reset(gates=["half", "verified"])
        self.ask("good")
        self.reach("half")
        browser.wait(f"{LAST}.querySelector('.drafts').textContent.length > 20")
        self.assertEqual(self.solid(), "The")
        self.assertTrue("".join(TOKENS[1:41]).startswith(self.drafts()))
        colors = browser.js(f"""return ['.solid', '.drafts'].map(
            (kind) => getComputedStyle({LAST}.querySelector(kind)).color)""")
        self.assertNotEqual(colors[0], colors[1])
        server.gates["half"].set()
        self.reach("verified")
        browser.wait(f"{LAST}.querySelector('.drafts').textContent === ''")
        self.assertEqual(self.solid(), "".join(TOKENS[:41]).lstrip())
        self.finish()
        self.assertEqual(self.solid(), ANSWER)
        self.assertIsNone(browser.text(".gone"))
        self.assertRegex(browser.text(".answer .status"), "^First own token after 49\xa0% of the "
                         r"bytes; 40 of 40 drafts stood; \d+\.\d\d\xa0s\. ")
        self.assertEqual(browser.text("#stood"), "40 of 40")
        # The dim spans that faded in were put together again.
        browser.wait(f"{LAST}.querySelector('.solid').childNodes.length === 1")

    def test_withdrawn_drafts_vanish(self):
        server.reset(gates=["complete", "verified"])
        self.ask("withdrawn")
        self.reach("complete")
        browser.wait(f"{LAST}.querySelector('.drafts').textContent.includes('never')")
        server.gates["complete"].set()
        self.reach("verified")
        browser.wait(f"{LAST}.querySelector('.drafts').textContent === ''")
        self.assertEqual(self.solid(), "".join(TOKENS[:13]).lstrip())
        self.await_text("#moments", "28 drafts withdrawn")
        browser.wait("!document.querySelector('.gone')")
        self.finish()
        self.assertEqual(browser.text(".answer .text"), ANSWER)
        self.assertIn("12 of 40 drafts stood", browser.text(".answer .status"))

    def test_withdrawn_drafts_are_struck_through(self):
        # The animation is held, so that a slow machine sees it too.
        browser.js("document.head.append(Object.assign(document.createElement('style'), "
                   "{textContent: '.gone { animation-play-state: paused !important }'}))")
        self.ask("withdrawn")
        self.finish()
        self.assertIn("never", browser.text(".gone"))
        self.assertIn("line-through", browser.js(
            "return getComputedStyle(document.querySelector('.gone')).textDecorationLine"))
        self.assertEqual(browser.js("return document.querySelector('.gone').ariaHidden"), "true")

    def test_a_review_withdraws_and_drafting_goes_on(self):
        server.reset(gates=["review", "reviewed"])
        self.ask("reviewed")
        self.reach("review")
        self.await_text("#phase", "Reviewing 6 drafts on a better cache")
        server.gates["review"].set()
        self.reach("reviewed")
        want = json.dumps("".join(TOKENS[1:6]))
        browser.wait(f"{LAST}.querySelector('.drafts').textContent === {want}")
        self.assertEqual(self.solid(), TOKENS[0].lstrip())
        self.await_text("#moments", "4 drafts withdrawn")
        self.assertEqual(browser.text("#wholes"), "0 / 60")
        server.gates["reviewed"].set()
        self.finish()
        self.assertEqual(self.solid(), ANSWER)
        self.assertEqual(browser.text("#wholes"), "60 / 60")
        self.assertEqual(browser.js("return [turn.transfer.drafts, turn.transfer.withdrawn].map("
                                    "(times) => times.length)"), [5, 4])

    def test_several_turns_are_one_chat(self):
        self.ask("good one")
        self.finish()
        self.ask("local two")
        self.finish()
        roles = [(said["role"], said["content"].strip()) for said in server.bodies[1]["messages"]]
        self.assertEqual(roles, [("user", "good one"), ("assistant", ANSWER),
                                 ("user", "local two")])
        self.assertIn("Prefilled here; nothing travelled; 0.23\xa0s.",
                      browser.js(f"return {LAST}.textContent"))
        self.assertIn("a short prompt is prefilled faster", browser.text("#phase"))
        browser.click("#new")
        self.assertIsNone(browser.text(".turn"))
        self.ask("good three")
        self.finish()
        self.assertEqual(len(server.bodies[2]["messages"]), 1)

    def test_lost_prefill_node(self):
        server.reset(gates=["lost"])
        self.ask("lost")
        self.reach("lost")
        self.await_text("#phase", "The prompt is prefilled again")
        self.await_text("#moments .bad", "127.0.0.1:7600 closed the connection")
        self.finish()
        self.assertEqual(self.solid(), ANSWER)
        self.assertIn("The prefill node was lost, so the prompt was prefilled here; 1.30\xa0s.",
                      browser.text(".answer .status"))

    def test_another_prefill_node_takes_over(self):
        server.reset(gates=["anchor", "lost"])
        self.ask("relay")
        self.reach("anchor")
        browser.wait(f"{LAST}.querySelector('.drafts').textContent === ' astray astray astray'")
        self.assertEqual(browser.text("#anchors"), "60 / 60")
        server.gates["anchor"].set()
        self.reach("lost")
        browser.wait(f"{LAST}.querySelector('.drafts').textContent === ''")
        self.await_text("#anchors", "1 / 60")
        self.finish()
        self.assertEqual(self.solid(), ANSWER)
        self.assertEqual(browser.text("#wholes"), "60 / 60")
        self.assertEqual(browser.js("return [turn.transfer.drafts, turn.transfer.withdrawn].map("
                                    "(times) => times.length)"), [0, 3])
        self.assertIn("Waited for the whole cache of 1.11\xa0MB; 0.20\xa0s.",
                      browser.text(".answer .status"))

    def test_text_is_never_html(self):
        self.ask("html <i>mine</i>")
        self.finish()
        self.assertEqual(self.solid(),
                         "<img src=x onerror=alert(1)><script>alert(2)</script> &amp; <b>bold</b>")
        self.assertEqual(browser.text(".user .text"), "html <i>mine</i>")
        self.assertEqual(browser.js("return document.querySelectorAll('#log img, #log script, "
                                    "#log b, #log i, #live img, #live b').length"), 0)

    def test_settings_are_sent(self):
        self.ask("local")
        self.finish()
        self.assertEqual(server.bodies[0], {"model": "smollm2-135m", "stream": True, "messages": [
            {"role": "user", "content": "local"}], "lynx": {"stream": "optimistic"}})
        browser.click("#tune")
        browser.js("""for (const [id, value] of Object.entries(arguments[0]))
            document.getElementById(id).value = value""",
                   {"temperature": "0.5", "max_tokens": "64", "seed": "7", "method": "wait"})
        browser.click("#settings .main")
        self.ask("local")
        self.finish()
        sent = server.bodies[1]
        self.assertEqual((sent["temperature"], sent["max_tokens"], sent["seed"]), (0.5, 64, 7))
        self.assertEqual(sent["lynx"], {"stream": "optimistic", "method": "wait"})

    def test_long_message_is_folded(self):
        browser.js("document.querySelector('#prompt').value = arguments[0]", "good " * 2000)
        browser.click("#send")
        self.finish()
        height = "document.querySelector('.user .text').clientHeight"
        self.assertLess(browser.js(f"return {height}"), 200)
        browser.click(".user button")
        self.assertGreater(browser.js(f"return {height}"), 200)


class Transfers(PageCase):
    def test_map_fills_with_anchors_then_residuals(self):
        server.reset(gates=["start", "anchor", "half"])
        self.ask("good")
        self.reach("start")
        self.await_text("#anchors", "0 / 240")
        empty, anchor, whole = browser.js(PIXELS)
        self.assertGreater(empty, 0)
        self.assertEqual((anchor, whole), (0, 0))
        server.gates["start"].set()
        self.reach("anchor")
        self.await_text("#anchors", "240 / 240")
        self.await_text("#phase", "Anchor complete")
        self.assertEqual(browser.text("#wholes"), "0 / 240")
        self.assertEqual(browser.text("#bytes"), "2.16\xa0MB")
        self.assertEqual(browser.js(PIXELS), [0, empty, 0])
        self.assertIn("keys and values of 30 layers by 4 pages: 240 of 240 anchors are here, "
                      "0 of 240 are complete", browser.js("return document.querySelector('#map').ariaLabel"))
        server.gates["anchor"].set()
        self.reach("half")
        self.await_text("#wholes", "144 / 240")
        rest, anchor, whole = browser.js(PIXELS)
        self.assertEqual((rest, anchor + whole), (0, empty))
        self.assertAlmostEqual(whole / empty, 144 / 240, delta=0.02) # cells are whole pixels
        self.finish()
        self.assertEqual(browser.js(PIXELS), [0, 0, empty])
        self.assertEqual(browser.text("#wholes"), "240 / 240")
        self.assertEqual(browser.text("#bytes"), "4.44\xa0MB")

    def test_moments_are_told_in_order(self):
        self.ask("withdrawn")
        self.finish()
        told = browser.js("return [...document.querySelectorAll('#moments span')]"
                          ".map((node) => node.textContent.split(/:| after/)[0])")
        self.assertEqual(told, ["Request", "Prefill complete", "First token of the answer",
                                "Anchor complete", "First draft", "Cache complete", "Verified",
                                "Corrected", "Answer complete"])

    def test_planes_outside_the_map_are_ignored(self):
        self.ask("good")
        self.finish()
        browser.js("""handlers.planes(turn.transfer, {t_ms: 1, bytes: 4440000,
            list: [[4, 0, 0, 0], [0, 30, 0, 0], [0, 0, 2, 0], [0, 0, 0, 2], [0, 0, 0, 0]]})""")
        self.assertEqual(browser.js("return turn.transfer.here"), [240, 240])

    def test_largest_map_is_fluent(self):
        """60 layers x 2 sides x 32 pages and 1,300 events as fast as they come: painted once a frame
        however many came, the map only when it changed, with few nodes."""
        browser.js("""window.paints = window.maps = 0;
            const {clearRect} = CanvasRenderingContext2D.prototype;
            CanvasRenderingContext2D.prototype.clearRect = function (...box) {
                if (this.canvas.id === 'map') maps++; else paints++;
                clearRect.apply(this, box);
            };""")
        self.ask("big")
        self.finish()
        self.assertEqual(browser.text("#wholes"), "3,840 / 3,840")
        self.assertEqual(browser.js("return turn.transfer.tokens.length"), len(TOKENS) * 20)
        paints, maps = browser.js("return [paints, maps]")
        self.assertLess(paints, len(TOKENS) * 20)
        self.assertLess(maps, 150)  # 120 lists of planes
        self.assertLess(browser.js("return document.querySelectorAll('*').length"), 200)


class Stopping(PageCase):
    def stop_by(self, act):
        server.reset(gates=["half"])
        self.ask("good")
        self.reach("half")
        browser.wait(f"{LAST}.querySelector('.drafts').textContent.length > 20")
        act()
        self.assertTrue(server.cancelled.wait(20), "the request was not cancelled")
        browser.wait(f"!{LAST}.matches('.busy')")
        self.assertEqual((self.solid(), self.drafts()), ("The", ""))
        self.assertEqual(browser.text(".answer .status"), "Stopped.")
        self.assertIsNone(browser.text(".error"))

    def test_escape(self):
        self.stop_by(lambda: browser.type("escape"))
        self.ask("local")
        self.finish()
        self.assertEqual(server.bodies[1]["messages"][1]["content"].strip(), "The")

    def test_button(self):
        self.stop_by(lambda: browser.click("#stop"))
        self.assertEqual(browser.js("return document.activeElement.id"), "prompt")

    def test_new_chat(self):
        server.reset(gates=["half"])
        self.ask("good")
        self.reach("half")
        browser.click("#new")
        self.assertTrue(server.cancelled.wait(20), "the request was not cancelled")
        self.assertIsNone(browser.text(".turn"))
        self.assertEqual(browser.text("#bytes"), "–")


class Failures(PageCase):
    failures_expected = True

    def error(self):
        return browser.wait("document.querySelector('.error[role=alert]')?.firstChild.data")

    def again(self):
        browser.wait("document.querySelector('.error button')?.disabled === false")
        browser.click(".error button")
        browser.wait("!document.querySelector('.error')")
        self.finish()

    def test_busy(self):
        self.ask("busy good")
        self.assertEqual(self.error(), "The server is busy: all its places are taken. "
                                       "Try again in 2\xa0s.")
        self.again()
        self.assertEqual(self.solid(), ANSWER)
        self.assertEqual(server.bodies[0], server.bodies[1])
        self.assertEqual(browser.js("return document.querySelectorAll('.turn').length"), 2)

    def test_loading(self):
        self.ask("loading")
        self.assertEqual(self.error(), "The server cannot answer now. The model is being loaded. "
                                       "Try again in a moment.")
        self.again()

    def test_another_model(self):
        browser.js("showModel('a')")
        self.ask("renamed")
        self.assertEqual(self.error(), "The server has another model now. There is no model 'a'. "
                                       "Try again.")
        self.await_text("#model", "smollm2-135m")
        self.again()
        self.assertEqual([body["model"] for body in server.bodies], ["a", "smollm2-135m"])

    def test_refused(self):
        self.ask("long")
        self.assertEqual(self.error(), "The server refused the request (400). The prompt has 9000 "
                         "tokens, 8192 fit. Change the message or the settings and send again.")
        # What failed is not part of the chat.
        self.ask("good")
        self.finish()
        self.assertEqual(len(server.bodies[1]["messages"]), 1)

    def test_key(self):
        server.reset(wants_key=True)
        self.assertFalse(browser.js("return document.querySelector('#key').checkVisibility()"))
        self.ask("good")
        self.assertIn("asks for an API key", self.error())
        self.assertEqual(browser.js("return document.activeElement.id"), "secret")
        browser.type("wrong", "enter")
        browser.wait("sessionStorage.getItem('lynx.key') === 'wrong'")
        self.await_text("#key-text", "does not know this key")
        self.assertTrue(browser.js("return document.querySelector('#key').checkVisibility()"))
        browser.js("document.querySelector('#secret').value = ''")
        browser.type(KEY, "enter")
        browser.wait("!document.querySelector('#key').checkVisibility()")
        self.again()
        self.assertEqual(self.solid(), ANSWER)
        self.assertEqual(browser.js("return localStorage.length"), 0)
        browser.js("sessionStorage.clear()")

    def test_connection_lost(self):
        server.reset(gates=["cut"])
        self.ask("cut")
        self.assertIn("The connection was lost within the answer. What stands above is valid",
                      self.error())
        browser.wait(f"{LAST}.querySelector('.solid').textContent === 'The'")
        server.reset()
        self.again()

    def test_engine_fails(self):
        self.ask("failing")
        self.assertEqual(self.error(), "The server gave up. The engine failed. Try again.")


class Unreachable(unittest.TestCase):
    def test_server_gone(self):
        gone = ChatServer()
        browser.open(gone.url)
        browser.wait("document.querySelector('#model').textContent")
        gone.close()
        browser.click("#prompt")
        browser.type("good", "enter")
        self.assertIn("See that lynxd runs and can be reached, then try again.", browser.wait(
            "document.querySelector('.error[role=alert]')?.firstChild.data"))


class Access(PageCase):
    def test_keyboard(self):
        self.assertEqual(browser.js("return document.activeElement.id"), "prompt")
        browser.type("good", "shift+enter", "second line", "enter")
        self.finish()
        self.assertEqual(server.bodies[0]["messages"][0]["content"], "good\nsecond line")
        self.assertEqual(browser.js("return document.querySelector('#prompt').value"), "")
        browser.type("enter")
        self.assertEqual(len(server.bodies), 1)
        browser.js("document.querySelector('#new').focus()")
        order = []
        for _ in range(5):
            order.append(browser.js("return document.activeElement.id || "
                                    "document.activeElement.className"))
            browser.type("tab")
        self.assertEqual(order, ["new", "tune", "log", "prompt", "send"])

    def test_dialog(self):
        browser.js("document.querySelector('#tune').focus()")
        browser.type("enter")
        self.assertTrue(browser.js("return document.querySelector('#settings').open"))
        browser.js("document.querySelector('#temperature').focus()")
        browser.type("9", "enter")
        self.assertTrue(browser.js("return document.querySelector('#settings').open"))
        browser.type("escape")
        browser.wait("!document.querySelector('#settings').open")
        self.assertEqual(browser.js("return document.activeElement.id"), "tune")
        self.ask("good")
        browser.wait("document.querySelector('#settings').open")
        self.assertEqual(server.bodies, [])

    def test_only_valid_text_is_spoken(self):
        server.reset(gates=["complete"])
        self.ask("withdrawn")
        self.reach("complete")
        browser.wait(f"{LAST}.querySelector('.drafts').textContent.includes('never')")
        live = browser.js("return [...document.querySelectorAll('[aria-live], [role=log], "
                          "[role=status]')].map((node) => node.id)")
        self.assertEqual(live, ["live"])
        self.assertNotIn("never", browser.text("#live"))
        self.assertEqual(browser.js(f"return {LAST}.querySelector('.drafts').ariaHidden"), "true")
        self.finish()
        self.assertEqual(browser.text("#live").replace("\n", "").strip(),
                         ANSWER + browser.text(".answer .status"))

    def test_names_and_landmarks(self):
        self.ask("good")
        self.finish()
        browser.js("askForKey()")
        self.assertEqual(browser.js(NAMELESS), [])
        self.assertEqual(browser.js("return ['header', 'main', 'aside', 'h1'].map("
                                    "(name) => document.querySelectorAll(name).length)"),
                         [1, 1, 1, 1])
        self.assertEqual(browser.js("return document.documentElement.lang"), "en")
        ids = browser.js("return [...document.querySelectorAll('[id]')].map((node) => node.id)")
        self.assertEqual(len(ids), len(set(ids)))

    def test_contrast(self):
        for scheme in "light", "dark":
            with self.subTest(scheme):
                server.reset(gates=["half"], wants_key=False)
                browser.emulate(width=1280, prefers_color_scheme=scheme)
                browser.open(server.url)
                self.contrast_of_all()

    def contrast_of_all(self):
        self.assert_contrast()
        browser.click("#tune")
        self.assert_contrast()
        browser.type("escape")
        self.ask("good")
        self.reach("half")
        browser.wait(f"{LAST}.querySelector('.drafts').textContent.length > 20")
        self.assert_contrast()
        # Struck-through drafts and errors, without waiting for them.
        browser.js("""document.querySelector('.answer .text').append(element('span', '', 'x'));
            document.querySelector('.answer .text').lastChild.style.color = colors.red;
            showError('x', new Refusal('failed', 9));
            askForKey();""")
        self.assert_contrast()
        self.finish()

    def assert_contrast(self):
        found = browser.js(CONTRAST)
        self.assertGreater(len(found), 10)
        self.assertGreaterEqual(found[0][0], 4.5, found[:5])

    def test_widths(self):
        for width in 360, 390, 768, 900, 1280, 1920:
            with self.subTest(width):
                server.reset()
                browser.emulate(width=width)
                browser.open(server.url)
                self.assert_fits(width)
                browser.js("document.querySelector('#prompt').value = 'withdrawn ' + "
                           "'x'.repeat(900)")
                browser.click("#send")
                self.finish()
                self.assert_fits(width)
                browser.click("#tune")
                self.assert_fits(width)
                browser.type("escape")
                boxes = browser.js("return ['main', 'aside'].map((name) => "
                                   "document.querySelector(name).getBoundingClientRect().toJSON())")
                if width < 896:
                    self.assertGreaterEqual(boxes[1]["top"], boxes[0]["bottom"])
                else:
                    self.assertGreaterEqual(boxes[1]["left"], boxes[0]["right"])

    def assert_fits(self, width):
        self.assertEqual(browser.js("return document.documentElement.scrollWidth"), width)
        self.assertEqual(browser.js("""return [...document.body.querySelectorAll('*')]
            .filter((node) => node.checkVisibility() && !node.closest('.sr'))
            .filter((node) => node.getBoundingClientRect().right > innerWidth + .5)
            .map((node) => node.outerHTML.slice(0, 60))"""), [])

    def test_reduced_motion(self):
        browser.emulate(width=1280, prefers_reduced_motion="reduce")
        server.reset(gates=["verified"])
        self.ask("good")
        self.reach("verified")
        browser.wait(f"{LAST}.querySelector('.drafts').textContent === ''")
        self.assertEqual(browser.js("return document.querySelectorAll('.fresh').length"), 0)
        self.assertEqual(browser.js(f"return getComputedStyle({LAST}.querySelector('.status'), "
                                    "'::before').animationName"), "none")
        self.finish()

    def test_without_scripts(self):
        browser.devtools("Emulation.setScriptExecutionDisabled", value=True)
        try:
            browser.open(server.url)
            shown = browser.js("const node = document.querySelector('noscript');"
                               "return [node.checkVisibility(), node.innerText]")
        finally:
            browser.devtools("Emulation.setScriptExecutionDisabled", value=False)
        self.assertTrue(shown[0])
        self.assertIn("This page needs JavaScript.", shown[1])


class Real(unittest.TestCase):
    """Two daemons, a slow link between them, a real model."""

    @classmethod
    def setUpClass(cls):
        path = model("smollm2-135m-q8_0.gguf")
        cls.node = cls.enterClassContext(Node(path, "--link-mbps", "5"))
        cls.decode = cls.enterClassContext(DecodeNode(path, "--prefill", cls.node.address))
        cls.text = (SOURCE / "LICENSE").read_text().strip() + "\n\nWhat does this permit?"

    def setUp(self):
        browser.emulate(width=1280)
        browser.open(f"http://127.0.0.1:{self.decode.port}/")
        browser.wait("document.querySelector('#model').textContent")
        browser.js("""document.querySelector('#method').value = 'speculate';
            document.querySelector('#temperature').value = 0;
            document.querySelector('#max_tokens').value = 40;
            document.querySelector('#prompt').value = arguments[0];
            window.seen = [];
            new MutationObserver(() => seen.push(document.querySelector('.drafts')?.textContent))
                .observe(document.querySelector('#log'), {subtree: true, childList: true});
            document.querySelector('#send').click();""", self.text)

    def tearDown(self):
        self.assertEqual(browser.logs("browser"), [])

    def test_answer(self):
        browser.wait(f"{LAST} && !{LAST}.matches('.busy')", seconds=300)
        self.assertIsNone(browser.text(".error"))
        alone = self.decode.ask(self.text, max_tokens=40)
        self.assertEqual(browser.text(".answer .solid"),
                         alone["choices"][0]["message"]["content"].lstrip())
        self.assertGreater(len({text for text in browser.js("return seen") if text}), 1)
        self.assertRegex(browser.text(".answer .status"), r"^First own token after \d+\xa0% of the "
                         r"bytes; \d+ of \d+ drafts? stood; \d+\.\d\d\xa0s\.")
        pages, layers = browser.js("return [turn.transfer.start.pages, turn.transfer.start.layers]")
        self.assertEqual(layers, 30)
        self.assertEqual(browser.text("#anchors"), f"{60 * pages} / {60 * pages}")
        self.assertEqual(browser.text("#wholes"), browser.text("#anchors"))
        times = browser.js("return [...turn.transfer.tokens]")
        self.assertEqual(times, sorted(times))
        self.assertGreaterEqual(len(times), 30)

    def test_stop(self):
        browser.wait("turn.transfer.here[0] > 0", seconds=300)
        browser.type("escape")
        browser.wait(f"!{LAST}.matches('.busy')")
        self.decode.await_condition(lambda: "cancelled" in self.decode.log())


if __name__ == "__main__":
    unittest.main(failfast=False)
