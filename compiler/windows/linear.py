"""Terms as sums of numbers that a graph computes, each times factors of the host."""

from __future__ import annotations

from typing import NamedTuple

from ..ir import Graph
from .read import is_host

MAX_PARTS = 64
"""Parts of a term beyond which it stays as it is."""


class Part(NamedTuple):
    """A number of the graph and its factors: (divides, node), where None stands for -1."""

    node: int
    factors: tuple[tuple[bool, int | None], ...]


def parts_of(graph: Graph, root: int) -> tuple[Part, ...]:
    """A number as a sum of parts; of itself alone where it is none."""
    parts: list[Part] = []
    pending: list[Part] = [Part(root, ())]
    while pending:
        node, factors = pending.pop()
        op, args, _, _, _ = graph.nodes[node]
        if len(parts) + len(pending) > MAX_PARTS:
            return (Part(root, ()),)
        if is_host(graph, node):
            parts.append(Part(node, factors))
        elif op in ("add", "sub"):
            minus = (*factors, (False, None)) if op == "sub" else factors
            pending += [Part(args[1], minus), Part(args[0], factors)]
        elif op == "neg":
            pending.append(Part(args[0], (*factors, (False, None))))
        elif op == "mul" and any(is_host(graph, a) for a in args):
            host = args[0] if is_host(graph, args[0]) else args[1]
            pending.append(Part(args[1] if host == args[0] else args[0], (*factors, (False, host))))
        elif op == "div" and is_host(graph, args[1]):
            pending.append(Part(args[0], (*factors, (True, args[1]))))
        else:
            parts.append(Part(node, factors))
    return tuple(parts)
