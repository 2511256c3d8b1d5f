"""State across steps in a file: what each memory starts as, its new value, and when it gets it."""

from __future__ import annotations

from ..dsl.builtins.shapes import letters
from ..dsl.typed import Expr, MemoryInfo, TypedTerm
from .lower import lower_values
from .resolve import Resolved, Resolver
from .specialise import Schedule
from .standalone_graph import Body, identifier
from .standalone_host import either, opposite
from .standalone_terms import Case
from .standalone_values import Lowered, Names, clock, indented, over, refusal


class MemoryMethods:
    """The methods of a program's memories.

    Args:
        names: what methods share.
        schedule: tells which memories a term reads.
    """

    def __init__(self, names: Names, schedule: Schedule) -> None:
        self.names, self.schedule, self.program = names, schedule, names.program
        self.letters: set[str] = set()
        self._method = {n: identifier(n.replace(".", "_"), frozenset()) for n in self.program.memories}
        for name in self.program.memories:
            names.memories[f"memory:{name}"] = f"self._now_{self._method[name]}(x)"

    def methods(self) -> list[list[str]]:
        """For each memory what it starts as, what it was, what it is at a step, and its new value."""
        found: list[list[str]] = []
        for info in self.program.memories.values():
            found += [self._start(info), *self._now(info)]
        return found

    def per_gaussian(self) -> list[str]:
        """The memories that have one row for each gaussian."""
        kinds = {n: info.type.kind for n, info in self.program.memories.items()}
        return [n for n, k in kinds.items() if not k.view and (k.layout == "gaussians" or k.layout.startswith("N "))]

    def renewal(self, terms: tuple[TypedTerm, ...], group: str = "") -> list[str]:
        """Lines of a call that give memories their new values, also where no term reads them at this step."""
        lines = []
        for name, method in self._method.items():
            tests = []
            for term in terms:
                zero = self.names.host.zero(term.value)
                if name in self._behind(term.value) and zero != "True":
                    tests.append(opposite(zero) if zero else "")
            if not tests:
                continue
            needed = either(tests) if all(tests) else ""
            if group:
                inner = f"({needed})" if " or " in needed else needed
                needed = f'group in (None, "{group}")' + (f" and {inner}" if inner else "")
            lines += [f"if {needed}:", f"    self._now_{method}(x)"] if needed else [f"self._now_{method}(x)"]
        return lines

    def _behind(self, value: Expr) -> frozenset[str]:
        zeros = self.names.cases.facts((), {}).zeros()
        return self.schedule.memories_in([value], zeros, frozenset(self.program.memories))

    def _start(self, info: MemoryInfo) -> list[str]:
        name = self._method[info.name]
        lines = self._value(info, info.init, "start")
        head = f"def _start_{name}(self, x: {self.names.kit('Inputs')}) -> Tensor:"
        return [head, *indented([f'"""What the memory `{info.name}` starts as."""', *lines])]

    def _now(self, info: MemoryInfo) -> list[list[str]]:
        name, kit = self._method[info.name], self.names.kit
        if info.update.type.is_host:
            message = f"the memory `{info.name}` gets a value that is known on the host"
            raise refusal(message, info.source, info.span, "only memories of tensors can be written into a file")
        inputs = kit("Inputs")
        last = [f'"""What the memory `{info.name}` was before this step."""', f'if "last:{info.name}" not in x:']
        start = f'self.memories["{info.name}"].before(x, self._start_{name}, {self._shape(info)})'
        last.append(f'    x["last:{info.name}"] = {start}')
        if info.name in self.per_gaussian():
            last.append(f'    {kit("same_rows")}("{info.name}", x["last:{info.name}"], x["state.means"])')
            self.names.bound.add("state.means")
        last.append(f'return x["last:{info.name}"]')
        lines = [f'"""The memory `{info.name}` at this step, with its new value where it gets one."""']
        place = info.source.position(info.span.start)[0]
        lines.append(f"# {info.source.text.splitlines()[place - 1].strip()}")
        lines += [f'if "now:{info.name}" in x:', f'    return x["now:{info.name}"]', f"now = self._last_{name}(x)"]
        renew = [f'now = self.memories["{info.name}"].renew(x, now, self._next_{name})']
        when = "True" if info.when is None else self.names.host.text(info.when)
        lines += self.names.host.said()
        lines += renew if when == "True" else [f"if {when}:", *indented(renew)]
        lines += [f'x["now:{info.name}"] = now', "return now"]
        heads = [f"def _{word}_{name}(self, x: {inputs}) -> Tensor:" for word in ("last", "now", "next")]
        parts = [last, clock(lines), self._value(info, info.update, "next")]
        return [[head, *indented(part)] for head, part in zip(heads, parts)]

    def _shape(self, info: MemoryInfo) -> str:
        kind = info.type.kind
        if not kind.is_tensor:
            return "()"
        words = [*letters(kind), *([kind.components] if isinstance(kind.components, str) else [])]
        self.letters.update(w for w in words if not w.isdigit())
        sizes = [w if w.isdigit() else f'int(x["{w}"])' for w in words]
        sizes += [str(kind.components)] if isinstance(kind.components, int) else []
        return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"

    def _value(self, info: MemoryInfo, value: Expr, what: str) -> list[str]:
        names = self.names
        questions = names.questions(value, f"the memory `{info.name}`")

        def leaf(case: Case) -> Body:
            facts = names.cases.facts((), case)
            resolver = Resolver(self.program, facts.zeros(), facts.given())
            made = resolver.value(value, ((), True))
            if what == "next" and resolver.supports.of(made):
                message = f"the memory `{info.name}` gets a value that does not exist everywhere"
                raise refusal(message, info.source, info.span)
            resolved = Resolved(self.program, (), tuple(resolver.externs), ())
            done = lower_values(resolved, facts, {what: made})
            lowered = Lowered(resolved, done.graph, done.slots, lambda graph: graph.outputs[0][1])
            return names.printed(facts, lowered, (q.name for q in questions))

        before = dict(names.memories)
        names.memories.update({f"memory:{n}": f"self._last_{m}(x)" for n, m in self._method.items()})
        lines = names.lines(over(questions, leaf).root)
        names.memories.update(before)
        return lines
