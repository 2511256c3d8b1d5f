"""Right programs of published systems: the checker has nothing to say about any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.source import Source
from splatdsl.dsl.suppress import apply

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
FILES = sorted(CORPUS.rglob("*.loss"))


def test_the_corpus_is_there() -> None:
    assert len(FILES) >= 60


@pytest.mark.parametrize("max_steps", [None, 30_000])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CORPUS).as_posix())
def test_a_right_program_gives_no_finding(path: Path, max_steps: int | None) -> None:
    source = Source(path.read_text(encoding="utf-8"), str(path))
    # Where a sum is meant the program says so in a comment; one that suppresses nothing is a finding too.
    found = apply(check_text(source.text, source.name, max_steps=max_steps), source)
    assert not found, "\n".join(map(str, found))
