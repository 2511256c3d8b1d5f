"""Names close to one that does not exist: "did you mean ...?"."""

from __future__ import annotations

from collections.abc import Iterable

LONGEST = 100
"""Names above this many characters are nobody's slip of the pen, and comparing them would take long."""

MOST = 1_000
"""Candidates beyond this number come from no one who would read a suggestion."""


def closest(name: str, candidates: Iterable[str], limit: int = 3) -> list[str]:
    """The candidates that a reader may have meant by ``name``, best first.

    A candidate counts when at most a third of its letters differ (a swap of two neighbours is one difference), or
    when it has the same words in another case, order or spelling (``ssim-weight``, ``weight_ssim``). The order does
    not depend on the order of ``candidates``.
    """
    several = set(candidates)
    if len(name) > LONGEST or len(several) > MOST:
        return []
    found: list[tuple[int, int, str]] = []
    folded, words = _fold(name), _words(name)
    for candidate in several:
        if candidate == name or len(candidate) > LONGEST:
            continue
        other = _fold(candidate)
        cap = min(max(len(folded), len(other)) // 3, 4) or (1 if folded[:1] == other[:1] else 0)
        distance = edit_distance(folded, other, cap)
        if distance > cap:
            if len(words) > 1 and words == _words(candidate):
                distance = 1
            else:
                continue
        found.append((distance, -_common_prefix(folded, other), candidate))
    found.sort()
    best = found[0][0] if found else 0
    # Someone who is one letter away from a name does not mean another that is three letters away.
    return [candidate for distance, _, candidate in found if distance <= best + 1][:limit]


def did_you_mean(name: str, candidates: Iterable[str], limit: int = 3) -> str | None:
    """A line of help such as ``did you mean `masked`?``, or None when nothing is close."""
    names = [f"`{candidate}`" for candidate in closest(name, candidates, limit)]
    if not names:
        return None
    listed = names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"
    return f"did you mean {listed}?"


def edit_distance(a: str, b: str, cap: int) -> int:
    """Letters to insert, delete, replace or swap with a neighbour to get from ``a`` to ``b``; ``cap + 1`` if more.

    The optimal string alignment distance: no part is edited twice, so the triangle inequality does not hold.
    """
    if abs(len(a) - len(b)) > cap:
        return cap + 1
    if a == b:
        return 0
    before: list[int] = []
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        above, row = row, [i]
        for j, other in enumerate(b, 1):
            cost = min(above[j] + 1, row[j - 1] + 1, above[j - 1] + (letter != other))
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > cap and min(above) > cap:
            return cap + 1
        before = above
    return min(row[-1], cap + 1)


def _fold(name: str) -> str:
    """Letter case, hyphens and blanks are never what tells two names apart."""
    return name.lower().replace("-", "_").replace(" ", "_")


def _words(name: str) -> list[str]:
    return sorted(word for word in _fold(name).replace(".", "_").split("_") if word)


def _common_prefix(a: str, b: str) -> int:
    for i, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return i
    return min(len(a), len(b))
