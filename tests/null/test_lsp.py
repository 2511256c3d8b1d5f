"""The language server as an editor sees it: the real process, the real protocol, a user who types."""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path

import pytest

pytest.importorskip("pygls", reason="the language server needs the extra `lsp` (part of `dev`)")

TIMEOUT = 60


class Client:
    """A small editor: it speaks JSON-RPC with a server over pipes, and holds one text for each file."""

    def __init__(self, folder: Path, encodings: list[str] | None = None, **options: object) -> None:
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "-m", "splatdsl", "lsp"],
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUTF8": "1"},
        )
        self.texts: dict[str, str] = {}
        self.versions: dict[str, int] = {}
        self.said: list[str] = []
        self._number = 0
        self._answers: dict[int, dict] = {}
        self._findings: dict[str, list[dict]] = {}
        self._messages: queue.Queue = queue.Queue()
        self._errors: list[bytes] = []
        threading.Thread(target=self._read, daemon=True).start()
        threading.Thread(target=lambda: self._errors.extend(self.process.stderr), daemon=True).start()
        capabilities = {
            "general": {"positionEncodings": encodings or ["utf-16"]},
            "textDocument": {
                "completion": {"completionItem": {"snippetSupport": True}},
                "rename": {"prepareSupport": True},
            },
        }
        self.initialized = self.ask(
            "initialize",
            processId=os.getpid(),
            rootUri=folder.as_uri(),
            capabilities=capabilities,
            initializationOptions=options,
        )
        self.tell("initialized")

    # The protocol

    def _read(self) -> None:
        stream = self.process.stdout
        while True:
            length = None
            while (line := stream.readline().strip()) != b"":
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
            if length is None:
                self._messages.put(None)
                return
            self._messages.put(json.loads(stream.read(length)))

    def _send(self, **message: object) -> None:
        body = json.dumps({"jsonrpc": "2.0", **message}).encode()
        self.process.stdin.write(b"Content-Length: %d\r\n\r\n%b" % (len(body), body))
        self.process.stdin.flush()

    def _take(self) -> None:
        try:
            message = self._messages.get(timeout=TIMEOUT)
        except queue.Empty:
            raise AssertionError(f"no answer; stderr: {self.stderr}") from None
        assert message is not None, f"the server ended; stderr: {self.stderr}"
        if message.get("method") == "textDocument/publishDiagnostics":
            params = message["params"]
            self._findings.setdefault(params["uri"], []).append(params)
        elif message.get("method") in ("window/showMessage", "window/logMessage"):
            self.said.append(message["params"]["message"])
        elif "id" in message:
            self._answers[message["id"]] = message

    @property
    def stderr(self) -> str:
        return b"".join(self._errors).decode()

    def request(self, method: str, **params: object) -> dict:
        """The whole answer to a request, an error or not."""
        self._number += 1
        number = self._number
        self._send(id=number, method=method, params=params or None)
        while number not in self._answers:
            self._take()
        return self._answers.pop(number)

    def ask(self, method: str, **params: object):
        answer = self.request(method, **params)
        assert "error" not in answer, answer["error"]
        return answer["result"]

    def tell(self, method: str, **params: object) -> None:
        self._send(method=method, params=params)

    # A file

    def fresh(self) -> str:
        """The name of a file that no test has used."""
        return f"file{len(self.texts)}.loss"

    def uri(self, name: str) -> str:
        return (self.folder / name).as_uri()

    def open(self, name: str, text: str = "") -> list[dict]:
        self.texts[name], self.versions[name] = text, 1
        item = {"uri": self.uri(name), "languageId": "loss", "version": 1, "text": text}
        self.tell("textDocument/didOpen", textDocument=item)
        return self.findings(name)

    def type(self, name: str, text: str) -> None:
        self.texts[name] = text
        self.versions[name] += 1
        document = {"uri": self.uri(name), "version": self.versions[name]}
        self.tell("textDocument/didChange", textDocument=document, contentChanges=[{"text": text}])

    def edit(self, name: str, text: str) -> list[dict]:
        self.type(name, text)
        return self.findings(name)

    def save(self, name: str) -> list[dict]:
        (self.folder / name).write_text(self.texts[name], encoding="utf-8")
        self._findings.pop(self.uri(name), None)
        self.tell("textDocument/didSave", textDocument={"uri": self.uri(name)})
        return self.findings(name)

    def findings(self, name: str) -> list[dict]:
        """What the server says about the present version of a file."""
        uri = self.uri(name)
        while not any(p.get("version") == self.versions[name] for p in self._findings.get(uri, ())):
            self._take()
        return self._findings[uri][-1]["diagnostics"]

    def position(self, name: str, before: str, after: str = "") -> dict:
        """The place between two texts that stand side by side, in UTF-16."""
        text = self.texts[name]
        assert text.count(before + after) >= 1, (before, after)
        head = text[: text.index(before + after) + len(before)]
        line = head.count("\n")
        return {"line": line, "character": len(head[head.rfind("\n") + 1 :].encode("utf-16-le")) // 2}

    def at(self, feature: str, name: str, before: str, after: str = "", **more: object):
        place = self.position(name, before, after)
        return self.ask(f"textDocument/{feature}", textDocument={"uri": self.uri(name)}, position=place, **more)

    def offset(self, name: str, place: dict) -> int:
        line = self.texts[name].splitlines(keepends=True)[: place["line"]]
        rest = self.texts[name][sum(map(len, line)) :]
        return sum(map(len, line)) + len(rest.encode("utf-16-le")[: 2 * place["character"]].decode("utf-16-le"))

    def covered(self, name: str, where: dict) -> str:
        """The text of a range."""
        return self.texts[name][self.offset(name, where["start"]) : self.offset(name, where["end"])]

    def apply(self, name: str, edits: list[dict]) -> str:
        """The text after edits, as an editor makes them."""
        text = self.texts[name]
        for edit in sorted(edits, key=lambda e: self.offset(name, e["range"]["start"]), reverse=True):
            start, end = (self.offset(name, edit["range"][side]) for side in ("start", "end"))
            text = text[:start] + edit["newText"] + text[end:]
        return text

    def actions(self, name: str, before: str, after: str = "", **context: object) -> list[dict]:
        place = self.position(name, before, after)
        where = {"start": place, "end": place}
        context = {"diagnostics": [], **context}
        uri = self.uri(name)
        return self.ask("textDocument/codeAction", textDocument={"uri": uri}, range=where, context=context)

    def items(self, name: str, before: str, after: str = "") -> dict[str, dict]:
        """Completions by label."""
        found = self.at("completion", name, before, after)
        return {item["label"]: item for item in found["items"]}

    def end(self) -> int:
        self.ask("shutdown")
        self.tell("exit")
        return self.process.wait(timeout=TIMEOUT)


@pytest.fixture
def start(tmp_path: Path):
    clients: list[Client] = []

    def make(**options: object) -> Client:
        clients.append(Client(tmp_path, **options))
        return clients[-1]

    yield make
    for client in clients:
        client.process.kill()
        client.process.wait(timeout=TIMEOUT)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory):
    """One server for the questions that change nothing; each test opens files of its own."""
    client = Client(tmp_path_factory.mktemp("project"))
    yield client
    assert client.end() == 0
    assert client.stderr == ""


PROGRAM = """\"\"\"A tour 🎨 of the language.\"\"\"

# How much structure counts.
param ssim_weight = 0.2 in [0, 1]
param start: steps = 500   # when sizes begin to matter

let error = abs(rendered - target)
# Larger far away.
def weighted(x, far=2) = x * far * ssim_weight

term photometric = mix(l1(masked), ssim_loss(masked), ssim_weight)
term far         = mean(weighted(error), alpha > 0.5)
term size        = 0.01 * scale_reg(state)
                   when after(step, start)
"""


def test_a_first_session(start) -> None:
    """Someone opens an empty file, types a program with mistakes, and is helped to put it right."""
    client = start(steps=1000)
    name = "new.loss"
    assert client.initialized["serverInfo"]["name"] == "splatdsl"
    assert client.initialized["capabilities"]["positionEncoding"] == "utf-16"
    assert [d["code"] for d in client.open(name)] == ["SYN051"]

    client.type(name, "te")
    items = client.items(name, "te")
    assert items["term"]["textEdit"]["newText"] == "term "
    assert client.covered(name, items["term"]["textEdit"]["range"]) == "te"
    client.type(name, "term colour = l1(mas")
    items = client.items(name, "l1(mas")
    assert items["masked"]["textEdit"]["newText"] == "masked"
    assert client.covered(name, items["masked"]["textEdit"]["range"]) == "mas"

    [finding] = client.edit(name, "param w = 0.2 in [0, 1]\nterm colour = w * l1(maskd)\n")
    assert finding["code"] == "NAM001"
    assert finding["severity"] == 1
    assert finding["source"] == "splatdsl"
    assert client.covered(name, finding["range"]) == "maskd"
    assert "did you mean `mask` or `masked`?" in finding["message"]

    text = "param w = 0.2 in [0, 1]\nterm colour = w*l1(masked)*ramp(step, 0)\n"
    [finding] = client.edit(name, text)
    assert (finding["code"], finding["severity"]) == ("SCH001", 2)
    [action] = client.actions(name, "ramp(step, ", "0")
    assert action["title"] == f"Ignore SCH001 ({finding['data']['slug']}) with a comment"
    assert action["diagnostics"][0]["code"] == "SCH001"
    text = client.apply(name, action["edit"]["changes"][client.uri(name)])
    assert text.endswith("ramp(step, 0)  # splat: ignore[SCH001]\n")
    assert client.edit(name, text) == []

    # the ramp gets a length, and the comment is one too many: a safe fix takes it away
    [finding] = client.edit(name, text.replace("ramp(step, 0)", "ramp(step, 100)"))
    assert finding["code"] == "SUP001"
    action, every = client.actions(name, "ignore[", "SCH001")
    assert (action["kind"], action["isPreferred"]) == ("quickfix", True)
    assert (every["kind"], every["title"]) == ("source.fixAll.splatdsl", "Fix all that is safe to fix")
    assert every["edit"] == action["edit"]
    text = client.apply(name, action["edit"]["changes"][client.uri(name)])
    assert client.edit(name, text) == []

    shown = client.at("hover", name, "w*l", "1(")["contents"]["value"]
    assert "l1(a=rendered, b=target, r=everywhere)" in shown
    assert "Mean absolute difference over the region." in shown

    edit = client.at("rename", name, "param ", "w", newName="weight")
    text = client.apply(name, edit["changes"][client.uri(name)])
    assert text == "param weight = 0.2 in [0, 1]\nterm colour = weight*l1(masked)*ramp(step, 100)\n"
    assert client.edit(name, text) == []

    options = {"tabSize": 4, "insertSpaces": True}
    edits = client.ask("textDocument/formatting", textDocument={"uri": client.uri(name)}, options=options)
    text = client.apply(name, edits)
    assert text == "param weight = 0.2 in [0, 1]\nterm colour = weight * l1(masked) * ramp(step, 100)\n"
    assert client.edit(name, text) == []
    assert client.ask("textDocument/formatting", textDocument={"uri": client.uri(name)}, options=options) == []
    assert client.save(name) == []
    assert (client.folder / name).read_text(encoding="utf-8") == text

    client.tell("textDocument/didClose", textDocument={"uri": client.uri(name)})
    assert client.end() == 0
    assert client.stderr == ""


# ---- hover


@pytest.mark.parametrize(
    ("before", "after", "covered", "expected"),
    [
        ("param ssim_", "weight", "ssim_weight", ["param ssim_weight = 0.2", "How much structure", "`[0, 1]`", "0.2"]),
        ("masked), ssim_", "weight", "ssim_weight", ["How much structure counts."]),
        ("param st", "art", "start", ["when sizes begin to matter", "steps"]),
        (
            "let er",
            "ror",
            "error",
            ["let error = abs(rendered - target)", "image `[B H W 3]`", "computed"],
        ),
        ("weighted(er", "ror", "error", ["image `[B H W 3]`"]),
        ("def wei", "ghted", "weighted", ["def weighted(x, far=2) = x * far", "Larger far away."]),
        ("mean(wei", "ghted", "weighted", ["Larger far away.", "Here: image `[B H W 3]`"]),
        ("weighted(", "x, far", "x", ["A parameter of `weighted`"]),
        ("term f", "ar ", "far", ["term far", "number"]),
        ("ssim_l", "oss", "ssim_loss", ["ssim_loss(a=rendered", "1 - ssim.", "Here: number"]),
        ("m", "ean(", "mean", ["- `r`: a region"]),
        ("abs(rend", "ered", "rendered", ["The rendered image", "srgb"]),
        ("alp", "ha", "alpha", ["Accumulated opacity", "in `[0, 1]`"]),
        ("l1(mas", "ked", "masked", ["The mask; everywhere"]),
        ("after(st", "ep", "step", ["The training step", "known before each step"]),
        ("par", "am ssim", "param", ["`param`: A number or flag"]),
        ("  wh", "en", "when", ["`when`: Where the condition"]),
        ("start: st", "eps", "steps", ["A whole number of training steps"]),
        ("alpha ", "> 0.5", "alpha > 0.5", ["region `[B H W 1]`"]),
        ("0.", "01", "0.01", ["= 0.01", "known from the text"]),
    ],
)
def test_hover(shared: Client, before: str, after: str, covered: str, expected: list[str]) -> None:
    name = "hover.loss"
    if name not in shared.texts:
        assert shared.open(name, PROGRAM) == []
    found = shared.at("hover", name, before, after)
    assert shared.covered(name, found["range"]) == covered
    for part in expected:
        assert part in found["contents"]["value"]


@pytest.mark.parametrize(("before", "after"), [("# How ", "much"), ("A to", "ur"), ("in [0, 1]", "\n"), ("\n", "\n")])
def test_nothing_to_hover_over(shared: Client, before: str, after: str) -> None:
    name = "hover.loss"
    if name not in shared.texts:
        shared.open(name, PROGRAM)
    assert shared.at("hover", name, before, after) is None


def test_hover_in_a_broken_program_knows_names(shared: Client) -> None:
    name = "broken.loss"
    shared.open(
        name, "# The weight.\nparam w = 0.2\nlet d = w * (alpha\nterm a = state.means * w + l1(\nterm b = ssim(mask)"
    )
    assert "The weight." in shared.at("hover", name, "d = ", "w")["contents"]["value"]
    assert "Accumulated opacity" in shared.at("hover", name, "alp", "ha")["contents"]["value"]
    assert "Mean absolute" in shared.at("hover", name, "l", "1(")["contents"]["value"]
    assert "Centres in world space" in shared.at("hover", name, "state.me", "ans")["contents"]["value"]
    assert "Structural similarity" in shared.at("hover", name, "ss", "im(")["contents"]["value"]


def test_hover_over_what_a_program_declares(shared: Client) -> None:
    name = "declares.loss"
    text = """# A prior.
input mono: depth[inverse, relative]?
input near: view?
memory slow = 0 then 0.9 * slow + 0.1 * l1(masked)  # smoothed
# How good.
extern score(image, x: image) -> number in [0, 1]
def disparity(d) = 1 / max(d, 1e-3)
term a = slow * pearson_loss(disparity(depth), mono, masked) when has(mono)
term b = l1(near.rendered, near.target) * score(rendered, target) when has(near)
"""
    assert [d for d in shared.open(name, text) if d["severity"] == 1] == []
    for before, after, expected in (
        (
            "depth), mo",
            "no",
            ["input mono: depth[inverse, relative]?", "A prior.", "may be missing", "inverse, relative"],
        ),
        ("= sl", "ow *", ["memory slow", "smoothed", "in `[0, inf)`"]),
        ("* sco", "re", ["extern score(image, x: image) -> number", "How good.", "Here: number, in `[0, 1]`"]),
        ("loss(dispa", "rity", ["def disparity(d) = 1 / max(d, 1e-3)", "expected, inverse", "(0, 1000]"]),
        ("when h", "as(near", ["has(*names) -> flag", "Whether optional inputs are there"]),
        ("l1(near.rend", "ered", ["image `[B H W 3]`"]),
    ):
        shown = shared.at("hover", name, before, after)["contents"]["value"]
        for part in expected:
            assert part in shown


def test_keyword_arguments_are_documented(shared: Client) -> None:
    name = "arguments.loss"
    shared.open(name, 'term a = 1 - ssim(masked, padding="valid")\n')
    shown = shared.at("hover", name, "padd", "ing")["contents"]["value"]
    assert 'one of "same", "valid"' in shown


# ---- completion


@pytest.mark.parametrize(
    ("text", "there", "absent"),
    [
        ("|", ["term", "param", "let", "def", "l1", "masked", "state"], ["when", "in"]),
        (
            "term a = |",
            ["l1", "rendered", "masked", "mix", "state", "not", "pi", "true"],
            ["when", "term", "in", "and"],
        ),
        ("term a = l1() |", ["when", "if"], ["l1", "term", "in", "else", "rendered"]),
        ("term a = 1 if step > 1 |", ["else", "and", "or"], ["when", "l1"]),
        ("param w = 0.2 |", ["in"], ["when", "l1"]),
        ("param w: |", ["steps", "number", "flag"], ["l1", "image"]),
        ("param |", [], ["l1", "w", "term"]),
        ("term a = mean(state.|)", ["means", "opacities", "log_scales"], ["r", "l1", "accumulated"]),
        ("term a = mean(depth.|", ["accumulated"], ["means"]),
        ("term a = mean(state.me|ans)", ["means"], ["l1"]),
        ("term a = mean(rendered.|)", ["r", "g", "b"], ["means"]),
        ("let e = abs(rendered - target)\nterm a = mean(e.|)", ["r", "x"], ["means"]),
        ("term a = ssim_loss(masked, |)", ["padding=", "masked", "l1"], ["r=", "term"]),
        ("term a = ssim_loss(masked, pa|)", ["padding="], ["r="]),
        ("term a = ssim_loss(rendered, target, |)", ["padding=", "r="], ["a=", "b="]),
        ('term a = ssim_loss(padding="same", |)', ["r="], ["padding="]),
        ("term a = 1 - ssim(padding=|)", ['"same"', '"valid"'], ["padding="]),
        ('term a = 1 - ssim(padding="|")', ["same", "valid"], ["l1", '"same"']),
        ('term a = 1 - ssim(padding="v|', ["same", "valid"], ["l1"]),
        ("param w = 1\nlet z = 2\ndef f(d, far=2) = d * |", ["d", "far", "w", "z", "l1"], ["when"]),
        ("param w = 1\ndef f(d) = d\nterm a = |", ["w", "f"], ["d"]),
        ("def f(|", [], ["l1", "rendered"]),
        ("let a = (1 +\nterm t = |", ["a", "l1"], []),
        ("def f(a=1) = a\nterm t = f(|)", ["a="], []),
        ("input m: |", ["image", "depth", "view", "list"], ["l1"]),
        ("input m: depth[|", ["inverse", "relative", "metric"], ["l1", "image", "camera"]),
        ("input m: depth[inverse, |", ["relative"], ["inverse", "direct"]),
        ("input near: view?\nterm a = l1(near.|)", ["rendered", "target", "masked"], ["means", "r"]),
        ("input near: view?\ninput flow: map\nterm a = l1(near.|)", ["rendered", "flow"], ["near", "r"]),
        ("input p: [M 3]\nterm a = |", ["M", "N", "p"], []),
        ("input m: image?\nterm a = l1() when |", ["has", "after", "not", "m"], ["when"]),
        ("term a = l1() # |", [], ["l1", "term"]),
        ('"""doc |"""', [], ["l1", "term"]),
        ("term a = l1()\n|\nterm b = ssim_loss()", ["term", "param"], []),
        ("term a = (l1()\n|", ["term", "param"], []),
        ("term a = 12|", [], ["l1"]),
    ],
)
def test_completion(shared: Client, text: str, there: list[str], absent: list[str]) -> None:
    name = shared.fresh()
    before, after = text.split("|")
    shared.open(name, before + after)
    items = shared.items(name, before, after)
    assert set(there) <= set(items), sorted(set(there) - set(items))
    assert not set(absent) & set(items)
    if not there:
        assert items == {}


def test_completions_say_what_they_are(shared: Client) -> None:
    name = "kinds.loss"
    shared.open(name, PROGRAM + "term more = ")
    items = shared.items(name, "term more = ")
    assert (items["ssim_weight"]["kind"], items["error"]["kind"], items["l1"]["kind"]) == (21, 6, 3)
    assert "Structural similarity" in items["ssim"]["documentation"]["value"]
    assert items["ssim"]["detail"].startswith("ssim(a=rendered, b=target")
    assert items["ssim"]["textEdit"]["newText"] == "ssim(${1:masked})$0"
    assert items["ssim"]["insertTextFormat"] == 2
    assert items["mix"]["textEdit"]["newText"] == "mix(${1:a}, ${2:b}, ${3:w})$0"
    assert items["linear"]["textEdit"]["newText"] == "linear(${1:x}, ${2:v0}, ${3:v1}, over=${4:over})$0"
    assert items["weighted"]["textEdit"]["newText"] == "weighted(${1:x})$0"
    assert items["masked"]["insertTextFormat"] == 1
    assert items["error"]["sortText"] < items["rendered"]["sortText"] < items["l1"]["sortText"]


def test_a_function_before_a_bracket_is_only_its_name(shared: Client) -> None:
    name = "bracket.loss"
    shared.open(name, "term a = ss(masked)\n")
    item = shared.items(name, "= ss")["ssim_loss"]
    assert item["textEdit"]["newText"] == "ssim_loss"


def test_every_suggestion_makes_a_statement_that_goes_on(shared: Client) -> None:
    """What is suggested where a value is expected can stand there."""
    name = "stand.loss"
    shared.open(name, "term a = ")
    for label, item in shared.items(name, "term a = ").items():
        assert item["textEdit"]["range"]["start"] == {"line": 0, "character": 9}, label
        if item["kind"] == 14:
            assert label in ("not", "inf", "pi", "true", "false")


# ---- signatures


@pytest.mark.parametrize(
    ("text", "label", "active"),
    [
        ("term a = mix(|", "mix(a, b, w)", "a"),
        ("term a = mix(l1(), |)", "mix(a, b, w)", "b"),
        ("term a = mix(l1(masked), ssim_loss(masked), |)", "mix(a, b, w)", "w"),
        ("term a = l1(|)", "l1(r=everywhere)", "r=everywhere"),
        ("term a = l1(rendered, |)", "l1(a=rendered, b=target, r=everywhere)", "b=target"),
        ('term a = 1 - ssim(masked, padding=|"same")', 'ssim(r=everywhere, padding="same"', 'padding="same"'),
        ("term a = l1() when after(step, |", "after(x, a) -> flag", "a"),
        ("term a = l1() * piecewise(step, (0, 1), |", "piecewise(x, *points", "*points"),
        ("def f(x, k=2) = x\nterm a = f(1, |)", "f(x, k=2)", "k=2"),
        ("term a = mix(l1(), (1, |", "mix(a, b, w)", "b"),
    ],
)
def test_signature_help(shared: Client, text: str, label: str, active: str) -> None:
    name = shared.fresh()
    before, after = text.split("|")
    shared.open(name, before + after)
    found = shared.at("signatureHelp", name, before, after)
    form = found["signatures"][found["activeSignature"]]
    assert form["label"].startswith(label)
    start, end = form["parameters"][form["activeParameter"]]["label"]
    assert form["label"][start:end] == active


@pytest.mark.parametrize(
    "text", ["|", "term a = l1()|", "term a = nothing(|", "def f(|x) = x", "term a = mix(1, \nterm b = |"]
)
def test_no_signature_help(shared: Client, text: str) -> None:
    name = shared.fresh()
    before, after = text.split("|")
    shared.open(name, before + after)
    assert shared.at("signatureHelp", name, before, after) is None


# ---- navigation


@pytest.mark.parametrize(
    ("before", "after", "line", "covered"),
    [
        ("masked), ssim_w", "eight", 3, "ssim_weight"),
        ("far * ssim", "_weight", 3, "ssim_weight"),
        ("weighted(err", "or", 6, "error"),
        ("mean(weigh", "ted", 8, "weighted"),
        ("= x * fa", "r", 8, "far"),
        ("after(step, sta", "rt", 4, "start"),
        ("term f", "ar", 11, "far"),
    ],
)
def test_definition(shared: Client, before: str, after: str, line: int, covered: str) -> None:
    name = "navigate.loss"
    if name not in shared.texts:
        shared.open(name, PROGRAM)
    found = shared.at("definition", name, before, after)
    assert found["uri"] == shared.uri(name)
    assert found["range"]["start"]["line"] == line
    assert shared.covered(name, found["range"]) == covered


def test_the_language_has_no_definition_to_go_to(shared: Client) -> None:
    name = "nowhere.loss"
    shared.open(name, PROGRAM)
    assert shared.at("definition", name, "mi", "x(") is None
    assert shared.at("definition", name, "rend", "ered") is None
    assert shared.at("definition", name, "0.", "01") is None


def test_references_and_highlights(shared: Client) -> None:
    name = "references.loss"
    shared.open(name, PROGRAM)
    found = shared.at("references", name, "param ssim", "_weight", context={"includeDeclaration": True})
    assert [place["range"]["start"]["line"] for place in found] == [3, 8, 10]
    assert {shared.covered(name, place["range"]) for place in found} == {"ssim_weight"}
    found = shared.at("references", name, "param ssim", "_weight", context={"includeDeclaration": False})
    assert [place["range"]["start"]["line"] for place in found] == [8, 10]
    found = shared.at("documentHighlight", name, "alp", "ha")
    assert [(h["range"]["start"]["line"], h["kind"]) for h in found] == [(11, 2)]
    found = shared.at("documentHighlight", name, "let er", "ror")
    assert [(h["range"]["start"]["line"], h["kind"]) for h in found] == [(6, 3), (11, 2)]


def test_names_of_used_files(shared: Client) -> None:
    common = shared.folder / "common"
    common.mkdir()
    (common / "parts.loss").write_text(
        '"""Shared parts."""\n# Half of it.\ndef halved(x) = 0.5 * x\nterm colour = l1(masked)\n', encoding="utf-8"
    )
    name = "uses.loss"
    shared.open(name, 'use "common/parts.loss" (halved, colour)\nterm a = halved(l1())\n')
    found = shared.at("definition", name, "halv", "ed(l1")
    assert found["uri"] == (common / "parts.loss").as_uri()
    assert found["range"] == {"start": {"line": 2, "character": 4}, "end": {"line": 2, "character": 10}}
    assert shared.at("definition", name, "col", "our")["range"]["start"]["line"] == 3
    assert shared.at("definition", name, "common/", "parts")["range"]["start"]["line"] == 0
    assert "Half of it." in shared.at("hover", name, "halv", "ed(l1")["contents"]["value"]
    assert "Shared parts." in shared.at("hover", name, "common/", "parts")["contents"]["value"]
    help_ = shared.at("signatureHelp", name, "halved(", "l1")
    assert help_["signatures"][0]["label"] == "halved(x)"
    refused = shared.request(
        "textDocument/prepareRename",
        textDocument={"uri": shared.uri(name)},
        position=shared.position(name, "halv", "ed(l1"),
    )
    assert "comes from another file" in refused["error"]["message"]
    # a file that is open counts as it stands in the editor
    shared.open("common/parts.loss", "\n\n\n\ndef halved(x) = x / 2\nterm colour = l1()\n")
    assert shared.at("definition", name, "halv", "ed(l1")["range"]["start"]["line"] == 4
    # paths that leave a file's own folder upwards to nothing, and files of other kinds, are nowhere
    shared.open("wrong.loss", 'use "absent.loss" (x)\nuse "/etc/passwd" (y)\nterm a = l1()\n')
    assert shared.at("definition", "wrong.loss", "(", "x)") is None
    assert shared.at("definition", "wrong.loss", "(", "y)") is None


# ---- renaming


@pytest.mark.parametrize(
    ("text", "new", "expected"),
    [
        ("param |w = 1\nterm a = w * l1() + w\n", "v", "param v = 1\nterm a = v * l1() + v\n"),
        ("let z = 2\ndef f(z, k=1) = |z * k\nterm a = f(z) * l1()\n", "y", "def f(y, k=1) = y * k\nterm a = f(z)"),
        ("def f(x, k=1) = x * |k\nterm a = f(2, k=3) * l1()\n", "n", "def f(x, n=1) = x * n\nterm a = f(2, n=3) *"),
        ("def |f(x) = x\nlet f = 1\nterm a = f(f) * l1()\n", "g", "def g(x) = x\nlet f = 1\nterm a = g(f) * l1()\n"),
        ("let w = 1\nterm w = |w * l1()\n", "v", "let v = 1\nterm w = v * l1()\n"),
        ("term |colour = l1()\n", "image", "term image = l1()\n"),
        (
            "input mono: image?\nterm a = l1(rendered, |mono) when has(mono)\n",
            "photo",
            "input photo: image?\nterm a = l1(",
        ),
        (
            "input near: view?\ninput |m: map?\nlet a = near.m + near.alpha\n",
            "n",
            "input n: map?\nlet a = near.n + near.",
        ),
        ("input vs: list of view\ninput |m: map\nterm a = sum(mean(v.m) for v in vs)\n", "n", "sum(mean(v.n) for v in"),
        ("memory m = 0 then 0.9 * |m\nterm a = m * l1()\n", "n", "memory n = 0 then 0.9 * n\nterm a = n * l1()\n"),
        (
            "term a = 2*sum(l1(v.rendered) for |v in views)\nlet v = 1\n",
            "u",
            "sum(l1(u.rendered) for u in views)\nlet v",
        ),
    ],
)
def test_rename(shared: Client, text: str, new: str, expected: str) -> None:
    name = shared.fresh()
    before, after = text.split("|")
    shared.open(name, before + after)
    where = shared.at("prepareRename", name, before, after)
    assert shared.covered(name, where["range"]) == where["placeholder"]
    edit = shared.at("rename", name, before, after, newName=new)
    assert expected in shared.apply(name, edit["changes"][shared.uri(name)])


@pytest.mark.parametrize(
    ("text", "new", "why"),
    [
        ("param |w = 1\nterm a = w * l1()\n", "2w", "is not a name"),
        ("param |w = 1\nterm a = w * l1()\n", "größe", "is not a name"),
        ("param |w = 1\nterm a = w * l1()\n", "when", "a word of the language"),
        ("param |w = 1\nterm a = w * l1()\n", "alpha", "an input that every program has"),
        ("param |w = 1\nterm a = w * l1()\n", "masked", "a region of the language"),
        ("param |w = 1\nlet v = 2\nterm a = w * l1()\n", "v", "already declared"),
        ("def |f(x) = x\nterm a = f(1) * l1()\n", "ssim", "is a builtin"),
        ("def |f(x) = x\ndef g(x) = x\nterm a = f(1) * l1()\n", "g", "already a function"),
        ("param |w = 1\ndef f(d) = d * w\nterm a = f(1) * l1()\n", "d", "inside `f`"),
        ("param w = 1\ndef f(|d) = d * w\nterm a = f(1) * l1()\n", "w", "read there already"),
        ("term a = |l1(masked)\n", "x", "is a builtin and cannot be renamed"),
        ("term a = l1(|masked)\n", "x", "is a region of the language and cannot be renamed"),
        ("term a = mean(|alpha)\n", "x", "is an input that every program has and cannot be renamed"),
        ("term a = mean(state.|means)\n", "x", "`state.means` is an input that every program has"),
        ("term a = |0.5 * l1()\n", "x", "no name to rename"),
        ("param |w = 1\nterm a = w * (\n", "v", "put the syntax errors right first"),
        ("term |a = l1()\nterm b = l1()\n", "b", "already a term"),
    ],
)
def test_a_rename_that_would_break_something_is_refused(shared: Client, text: str, new: str, why: str) -> None:
    name = shared.fresh()
    before, after = text.split("|")
    shared.open(name, before + after)
    answer = shared.request(
        "textDocument/rename",
        textDocument={"uri": shared.uri(name)},
        position=shared.position(name, before, after),
        newName=new,
    )
    assert why in answer["error"]["message"]
    assert answer["error"]["code"] == -32803


# ---- fixes


def test_all_safe_fixes_at_once(shared: Client) -> None:
    name = "fixes.loss"
    text = "term a = l1()  # splat: ignore[SSM001]\nterm b = ssim_loss()  # splat: ignore[RNG003]\n"
    assert [d["code"] for d in shared.open(name, text)] == ["SUP001", "SUP001"]
    [action] = shared.actions(name, "term ", "a", only=["source.fixAll"])
    assert action["kind"] == "source.fixAll.splatdsl"
    assert shared.apply(name, action["edit"]["changes"][shared.uri(name)]) == "term a = l1()\nterm b = ssim_loss()\n"
    assert shared.actions(name, "term ", "a", only=["refactor"]) == []
    assert [a["kind"] for a in shared.actions(name, "ignore[", "SSM001", only=["quickfix"])] == ["quickfix"]
    shared.open("clean.loss", "term a = l1()\n")
    assert shared.actions("clean.loss", "term ", "a") == []


def test_a_second_code_joins_the_comment(shared: Client) -> None:
    name = "joined.loss"
    text = "term a = l1() * ramp(step, 0) * linear(step, 1, 1, over=5)  # splat: ignore[SCH001]  note\n"
    assert [d["code"] for d in shared.open(name, text)] == ["SCH004"]
    [action] = shared.actions(name, "linear(step, 1, ", "1")
    fixed = shared.apply(name, action["edit"]["changes"][shared.uri(name)])
    assert "# splat: ignore[SCH001, SCH004]  note" in fixed
    assert shared.edit(name, fixed) == []


def test_errors_of_names_offer_no_comment(shared: Client) -> None:
    name = "cannot.loss"
    assert [d["code"] for d in shared.open(name, "term a = l1(maskd)\n")] == ["NAM001"]
    assert [a for a in shared.actions(name, "mas", "kd") if "Ignore" in a["title"]] == []


# ---- layout


def test_formatting_leaves_broken_programs_alone(shared: Client) -> None:
    name = "unformatted.loss"
    shared.open(name, "term  a=l1(\n")
    options = {"tabSize": 4, "insertSpaces": True}
    assert shared.ask("textDocument/formatting", textDocument={"uri": shared.uri(name)}, options=options) == []


def test_outline_and_folding(shared: Client) -> None:
    name = "outline.loss"
    text = PROGRAM + "# one\n# two\n# three\nterm last = l1(\n  masked\n)\n"
    shared.open(name, text)
    found = shared.ask("textDocument/documentSymbol", textDocument={"uri": shared.uri(name)})
    assert [s["name"] for s in found] == [
        *("ssim_weight", "start", "error", "weighted", "photometric", "far", "size", "last"),
    ]
    assert found[2]["detail"] == "let abs(rendered - target)"
    assert [shared.covered(name, s["selectionRange"]) for s in found][:3] == ["ssim_weight", "start", "error"]
    folds = shared.ask("textDocument/foldingRange", textDocument={"uri": shared.uri(name)})
    assert [(f["startLine"], f["endLine"], f.get("kind")) for f in folds] == [
        *((12, 13, None), (14, 16, "comment"), (17, 19, None)),
    ]


# ---- settings


def test_settings_from_the_start_and_later(start) -> None:
    client = start(renderer="reference", steps=100)
    name = "settings.loss"
    text = "term a = mean(distortion, masked)\nterm b = l1() when after(step, 500)\n"
    with_both = [d["code"] for d in client.open(name, text)]
    assert "BUF001" in with_both
    assert any(code.startswith("SCH") for code in with_both)
    settings = {"splatdsl": {"renderer": None, "steps": 1000}}
    client._findings.clear()
    client.tell("workspace/didChangeConfiguration", settings=settings)
    assert client.findings(name) == []
    client._findings.clear()
    client.tell("workspace/didChangeConfiguration", settings={"splatdsl": {"renderer": "refrence"}})
    assert client.findings(name) == []
    assert client.said == ["`splatdsl.renderer`: there is no renderer 'refrence'; did you mean `reference`?"]


def test_the_projects_settings_count_and_the_editors_beat_them(start, tmp_path: Path) -> None:
    (tmp_path / "splatdsl.toml").write_text('ignore = ["SCH001"]\nrenderer = "reference"\n', encoding="utf-8")
    client = start()
    name = "project.loss"
    text = "term a = mean(distortion, masked) * ramp(step, 0)\n"
    assert [d["code"] for d in client.open(name, text)] == ["BUF001"]
    (tmp_path / "splatdsl.toml").write_text('ignor = ["SCH001"]\n', encoding="utf-8")
    client._findings.clear()
    client.tell("workspace/didChangeWatchedFiles", changes=[])
    codes = [d["code"] for d in client.findings(name)]
    assert len(codes) == 2
    assert "SCH001" in codes, "without usable settings the defaults are in force, and the mistake in them is shown"


# ---- run configs


def test_run_configs_are_checked(shared: Client) -> None:
    name = "run.yaml"
    [finding] = shared.open(name, "loss: l1(maskd)\ndata: {kind: synthetic}\n")
    assert finding["code"] == "NAM001"
    assert shared.covered(name, finding["range"]) == "maskd"
    assert shared.edit(name, "loss: l1(masked)\ndata: {kind: synthetic}\n") == []
    [finding] = shared.edit(name, "loss: l1(masked)\ndata: {kind: synthetik}\n")
    assert finding["code"].startswith("CFG")
    (shared.folder / "named.loss").write_text("l1(masked)\nl1(maskd)\n", encoding="utf-8")
    found = shared.edit(name, "# a run\nloss: named.loss\ndata: {kind: synthetic}\n")
    assert {shared.covered(name, d["range"]) for d in found} == {"loss: named.loss"}
    assert any("named.loss:2:4: there is no value named `maskd`" in d["message"] for d in found)
    assert shared.open("other.yaml", "services: [a, b\n") == []
    assert shared.at("hover", name, "lo", "ss") is None
    assert shared.items(name, "loss: ") == {}
    assert shared.ask("textDocument/documentSymbol", textDocument={"uri": shared.uri(name)}) == []


def test_findings_in_a_file_that_a_config_is_made_of_stand_at_its_name(shared: Client) -> None:
    name = "made.yaml"
    (shared.folder / "base.yaml").write_text("loss: l1(masked)\ndata: {kind: synthetic, views: 0}\n", encoding="utf-8")
    (shared.folder / "params.yaml").write_text("w: 1\n", encoding="utf-8")
    found = shared.open(name, "# made of others\nextends: base.yaml\nloss_params: {from: params.yaml}\nloss: l1()\n")
    assert {(d["code"], shared.covered(name, d["range"])) for d in found} == {
        ("CFG007", "extends: base.yaml"),
        ("NAM009", "from: params.yaml}"),
    }
    assert all("base.yaml:2:32" in d["message"] for d in found if d["code"] == "CFG007")


# ---- texts that nobody should send


HOSTILE = {
    "surrogate": "term a = l1(mas\ud800ked)\n",
    "surrogate in a comment": "# \udfff\ud83d\nterm a = l1(masked) # \ud83d\n",
    "nul": "term a = \0 l1(\0)\n",
    "carriage returns": "param w = 1\rterm a = w * l1(maskd)\r",
    "mixed line ends": "param w = 1\r\n\rterm a = w\n * l1(maskd)\r\n",
    "line separators": "# a\u2028b\x0bc\x0cd\x85e\nterm a = l1(maskd)\n",
    "open docstring": '"""never closed\nterm a = l1()\n',
    "open string": 'term a = ssim(padding="sa\nterm b = l1(',
    "brackets": "(" * 3000,
    "closing": ")]}" * 50,
    "operators": "term a = " + "1+" * 5000,
    "long sum": "term a = " + "+".join(["l1()"] * 3000) + "\n",
    "only dots": "....... . .\n.",
    "keywords": "term when then if else in of for let param use def\n" * 3,
    "too large": "# " + "x" * (300 * 1024) + "\nterm a = l1()\n",
    "emoji": "# 🎨🎨🎨\nterm 🎨 = l1(🎨)\n",
    "byte-order mark": "\ufeffterm a = l1(maskd)\n",
    "recursion": "def f(x) = f(x)\nlet a = b\nlet b = a\nterm t = f(a)\n",
    "double": "param a = 1\nparam a = 2\nlet a = 3\ndef f(x, x) = x\ndef f(y) = y\nterm t = a\nterm t = f(1)\n",
    "odd uses": 'use "" (a)\nuse "x\\"\nuse "../../../../../../dev/zero.loss" (a)\nterm t = a(1)\n',
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_text_breaks_the_server(shared: Client, kind: str) -> None:
    name = f"hostile {kind}.loss"
    text = HOSTILE[kind]
    assert isinstance(shared.open(name, text), list)
    document = {"uri": shared.uri(name)}
    lines = text.count("\n") + 2
    places = [(0, 0), (0, 3), (0, 11), (1, 5), (lines - 1, 0), (lines + 5, 99), (0, 10**6)]
    for line, character in places:
        position = {"line": line, "character": character}
        for feature in ("hover", "completion", "signatureHelp", "definition", "documentHighlight"):
            shared.ask(f"textDocument/{feature}", textDocument=document, position=position)
        shared.ask(
            "textDocument/references", textDocument=document, position=position, context={"includeDeclaration": True}
        )
        shared.request("textDocument/rename", textDocument=document, position=position, newName="b")
    end = {"line": lines, "character": 0}
    where = {"start": {"line": 0, "character": 0}, "end": end}
    shared.ask("textDocument/codeAction", textDocument=document, range=where, context={"diagnostics": []})
    for feature in ("documentSymbol", "foldingRange"):
        shared.ask(f"textDocument/{feature}", textDocument=document)
    shared.ask("textDocument/formatting", textDocument=document, options={"tabSize": 4, "insertSpaces": True})
    assert shared.said == []


def test_columns_are_in_utf16(shared: Client) -> None:
    name = "utf16.loss"
    text = '"""🎨 é"""\nterm a = (l1(masked)  # 🎨🎨 note\n  + l1(maskd) # 🎨\n)'
    [finding] = shared.open(name, text)
    assert finding["range"]["start"] == {"line": 2, "character": 7}
    shared.edit(name, text + "\n# 🎨 \nterm b = ssim_loss(masked)  # 🎨")
    shown = shared.at("hover", name, "ssim", "_loss")
    assert shown["range"]["start"] == {"line": 5, "character": 9}
    assert shared.at("completion", name, "# 🎨", " \n")["items"] == []
    text = "term a = l1(rendered, target) # 🎨\n  # 🎨🎨\n    + ssim_loss()\nterm b = 2 * 🎨 + maskd\nlet q = maskd\n"
    found = shared.edit(name, text)
    assert [shared.covered(name, d["range"]) for d in found][-1] == "maskd"
    # what comes after such a character on the same line
    name = "after.loss"
    shared.open(name, 'use "🎨.loss" (colour, edges)\nterm a = l1()\n')
    where = shared.at("documentHighlight", name, '"🎨.loss" (col', "our")
    assert where[0]["range"] == {"start": {"line": 0, "character": 15}, "end": {"line": 0, "character": 21}}


@pytest.mark.parametrize(("encoding", "character"), [("utf-8", 17), ("utf-32", 14)])
def test_other_units_are_spoken(start, encoding: str, character: int) -> None:
    client = start(encodings=[encoding, "utf-16"])
    assert client.initialized["capabilities"]["positionEncoding"] == encoding
    client.open("a.loss", 'use "🎨.loss" (colour, edges)\nterm a = l1()\n')
    where = client.ask(
        "textDocument/documentHighlight",
        textDocument={"uri": client.uri("a.loss")},
        position={"line": 0, "character": character + 2},
    )
    assert where[0]["range"]["start"]["character"] == character


def test_versions_and_waiting(shared: Client) -> None:
    """Several keystrokes give one report, on the last of them."""
    name = "waiting.loss"
    shared.open(name, "")
    for text in ("t", "te", "term a = l1(maskd)\n", "term a = l1(masked)\n"):
        shared.type(name, text)
    assert shared.findings(name) == []
    versions = [p["version"] for p in shared._findings[shared.uri(name)]]
    assert versions == sorted(versions)
    assert versions[-1] == 5
    assert len(versions) < 5


def test_closing_a_file_takes_its_findings_away(shared: Client) -> None:
    name = "closed.loss"
    assert shared.open(name, "l1(maskd)\n") != []
    shared.tell("textDocument/didClose", textDocument={"uri": shared.uri(name)})
    shared.at("hover", name, "l1")
    assert shared._findings[shared.uri(name)][-1]["diagnostics"] == []


def test_a_file_that_is_not_open_is_read_from_disk(shared: Client) -> None:
    (shared.folder / "disk.loss").write_text(PROGRAM, encoding="utf-8")
    shared.texts["disk.loss"] = PROGRAM
    assert "Larger far away." in shared.at("hover", "disk.loss", "def wei", "ghted")["contents"]["value"]
    shared.texts["absent.loss"] = ""
    assert shared.at("hover", "absent.loss", "") is None


# ---- the process


def test_the_end_of_the_input_ends_the_server(start) -> None:
    client = start()
    client.process.stdin.close()
    assert client.process.wait(timeout=TIMEOUT) == 1, "without `shutdown` the end is a failure, as the protocol says"
    assert "Traceback" not in client.stderr


def test_a_bad_message_is_answered_and_survived(start) -> None:
    client = start()
    assert "error" in client.request("textDocument/noSuchThing", textDocument={"uri": "file:///x"})
    client.tell("textDocument/didChange", textDocument=5)
    assert client.open("a.loss", "l1(masked)\n") == []
    assert client.end() == 0


def test_without_pygls_the_extra_is_named(run_python) -> None:
    probe = "import sys; sys.modules['pygls'] = None; from splatdsl.cli.main import main; sys.exit(main(['lsp']))"
    done = run_python("-c", probe)
    assert done.returncode == 1
    assert "`pygls` is needed here and " in done.stderr
    assert "pip install 'splatdsl[lsp]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_server_never_loads_torch(run_python) -> None:
    probe = "import sys, splatdsl.lsp.server; print([m for m in ('torch', 'numpy', 'gsplat') if m in sys.modules])"
    assert run_python("-c", probe).stdout.strip() == "[]"
