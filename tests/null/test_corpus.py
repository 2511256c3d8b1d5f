"""Right programs of published systems: the checker has nothing to say about any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from splatdsl.dsl.api import check_text

CORPUS = Path(__file__).resolve().parent.parent / "corpus"
FILES = sorted(CORPUS.rglob("*.loss"))


def test_the_corpus_is_there() -> None:
    assert len(FILES) >= 60


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(CORPUS).as_posix())
def test_a_right_program_gives_no_finding(path: Path) -> None:
    found = check_text(path.read_text(encoding="utf-8"), str(path))
    assert not found, "\n".join(map(str, found))
