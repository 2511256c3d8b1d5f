"""Whatever the text of a config is, reading it gives findings and never an exception."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from splatdsl.dsl.config import load_config
from splatdsl.dsl.render import full

_WORDS = st.sampled_from(
    [
        "loss",
        "data",
        "train",
        "kind",
        "lr",
        "loss_params",
        ":",
        ": ",
        "\n",
        "\n  ",
        "- ",
        "{",
        "}",
        "[",
        "]",
        ",",
        "'",
        '"',
        "|",
        ">",
        "&a ",
        "*a",
        "<<",
        "? ",
        "!!int ",
        "synthetic",
        "colmap",
        "300",
        "-1",
        "1e-3",
        "null",
        "\t",
        "# c",
        "---\n",
        "%",
        "@",
        "\r\n",
        "\x00",
        "é",
        "\\",
    ]
)


@settings(max_examples=300, deadline=None)
@given(st.lists(_WORDS, max_size=30).map("".join))
@example("loss: &a {x: *a}\ndata: *a\n")
@example("data: &d {kind: *d}\n")
@example("train: {? {a: b} : c}\n")
@example("loss: '\n\n'\ndata: {kind: synthetic}\n")
def test_any_text(text: str) -> None:
    config, found = load_config("run.yaml", text=text)
    assert (config is None) == bool(found)
    for diagnostic in found:
        assert full(diagnostic)
        if diagnostic.span is not None:
            assert 0 <= diagnostic.span.start <= diagnostic.span.end <= len(diagnostic.source.text) + 1


@settings(max_examples=100, deadline=None)
@given(st.lists(_WORDS, max_size=8).map("".join))
def test_any_override(text: str) -> None:
    _, found = load_config(
        "run.yaml", [text, f"train.{text}", f"train.seed={text}"], "loss: l1()\ndata: {kind: synthetic}\n"
    )
    assert found, "`train.WORDS` is never right here"
    for diagnostic in found:
        assert full(diagnostic)
