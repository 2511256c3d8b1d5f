"""Right programs of published systems: the checker has nothing to say about any of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from splatdsl.dsl.api import check_text
from splatdsl.dsl.source import Source
from splatdsl.dsl.suppress import apply

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT / "tests" / "corpus", ROOT / "examples" / "zoo", ROOT / "examples" / "library")
FILES = sorted(path for folder in FOLDERS for path in folder.glob("*.loss"))


def test_the_corpus_is_there() -> None:
    assert len(FILES) >= 60
    assert all(any(folder in path.parents for path in FILES) for folder in FOLDERS)


@pytest.mark.parametrize("max_steps", [None, 30_000])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_right_program_gives_no_finding(path: Path, max_steps: int | None) -> None:
    source = Source(path.read_text(encoding="utf-8"), str(path))
    # Where a sum is meant the program says so in a comment; one that suppresses nothing is a finding too.
    found = apply(check_text(source.text, source.name, max_steps=max_steps), source)
    assert not found, "\n".join(map(str, found))
