"""The class of a file: parameters, the call, weights, what is required, and a method for each term."""

from __future__ import annotations

from collections.abc import Mapping

from ..dsl.host import evaluate
from ..dsl.typed import Expr, TypedProgram, TypedTerm
from ..dsl.types import STEP, VIEW
from .lower import lower
from .resolve import boxes_name, resolve
from .specialise import Schedule
from .standalone_graph import identifier, product
from .standalone_host import literal, opposite
from .standalone_inputs import FIRST, in_order
from .standalone_memories import MemoryMethods
from .standalone_parts import Leaf, escaped, limits, read, signature, written
from .standalone_terms import Case, Cases, Choice, Question, reads
from .standalone_values import Lowered, Names, Tree, clock, indented, mapped, over, quoted, refusal

IMAGES = (
    "Images are `[B, H, W, k]` or `[H, W, k]`, masks `[B, H, W]` with 1 = this pixel",
    "counts; ``state`` holds the raw parameters of the gaussians by gsplat's names;",
    "steps count from 0.",
)


PREFIXES = ("call_", "start_", "last_", "now_", "next_", "term_")
"""What the names of the other methods begin with."""


class ClassText:
    """Prints the class of a program.

    Args:
        program: the checked program, with the values of its parameters in force.
        name: what the class is called.
        lengths: how many items each list has.
    """

    def __init__(self, program: TypedProgram, name: str, lengths: Mapping[str, int]) -> None:
        self.program, self.name = program, name
        self.schedule = Schedule(program)
        cases = Cases(program, self.schedule.askable, self._lengths(lengths))
        self.names = Names(program, cases)
        self.inputs, self.host, self.calls = self.names.inputs, self.names.host, self.names.calls
        self.memories = MemoryMethods(self.names, self.schedule)
        self.numbers = {n: i for n, i in program.params.items() if not isinstance(i.value, (bool, str))}
        self._said: dict[str, None] = {}
        self._methods: dict[str, str] = {}
        for term in program.terms:
            taken = frozenset({"weights", *(m.removeprefix("_") for m in self._methods.values())})
            word = term.name.replace(".", "_")
            self._methods[term.name] = "_" + identifier(f"term_{word}" if word.startswith(PREFIXES) else word, taken)
        self.trees = {t.name: self._tree(t) for t in program.terms}
        self.terms = tuple(t for t in program.terms if self.trees[t.name].leaves)

    def _lengths(self, given: Mapping[str, int]) -> dict[str, int]:
        env = self.schedule.environment(0, 1)
        found: dict[str, int] = {}
        roots = self.program.values()
        for several in (e.args[0] for root in roots for e in root.walk() if e.op == "over"):
            if several.op == "call":
                count = several.arg("count")
                assert count is not None
                try:
                    found[boxes_name(several)] = max(int(evaluate(count, env)), 0)
                except KeyError:
                    message = "how many squares there are must be known when the file is written"
                    raise refusal(message, count.source, count.span) from None
            elif str(several.value) in given:
                found[str(several.value)] = given[str(several.value)]
            else:
                message = f"how many items the list `{several.value}` has must be known when the file is written"
                raise refusal(message, several.source, several.span, f"give it: --length {several.value}=6")
        return found

    # Terms

    def _tree(self, term: TypedTerm) -> Tree:
        """The leaves of a term over its cases; an empty tree for one that never exists."""
        questions = self.names.questions(term.value, f"the term `{term.name}`")

        def leaf(case: Case) -> Leaf | None:
            facts = self.names.cases.facts((term.name,), case)
            zeros = facts.zeros()
            if zeros.is_zero(term.value) or (term.when is not None and zeros.decide(term.when) is False):
                return None
            resolved = resolve(self.program, facts.terms, zeros, facts.given())
            done = lower(resolved, facts)
            lowered = Lowered(resolved, done.graph, done.slots, lambda graph: graph.terms[0].value)
            made = self.names.printed(facts, lowered, (q.name for q in questions))
            weight = product(resolved.terms[0].factors, self.host) or "1.0"
            self._said.update(dict.fromkeys(self.host.said()))
            return Leaf(made, weight, reads(term.value, zeros, made.inputs))

        return over(questions, leaf)

    def _term_method(self, term: TypedTerm) -> list[str]:
        lines = self.names.lines(mapped(self.trees[term.name].root, lambda leaf: leaf.body))
        head = f"def {self._methods[term.name]}(self, x: {self.names.kit('Inputs')}) -> Tensor:"
        return [head, *indented([*written(term), *lines])]

    # The class

    def lines(self) -> list[str]:
        """The class."""
        methods = [self._weights(), *(self._term_method(t) for t in self.terms), *self.memories.methods()]
        methods += self.calls.methods()
        call = self._call()
        lines = [f"class {self.name}:", *indented(self._docstring()), "", *indented(self._constants())]
        every = [
            self._init(),
            self._setattr(),
            call,
            self._public_weights(),
            self._requires(),
            *self._state(),
            *methods,
        ]
        for part in every:
            lines += ["", *indented(part)] if part else []
        return lines

    def _docstring(self) -> list[str]:
        text = (self.program.docstring.strip().splitlines() or ["The objective."])[0]
        what = ["``terms`` holds the raw value of each term of the last call, detached."]
        if self.numbers:
            what.append("Parameters are attributes; their values are checked.")
        return [f'"""{escaped(text)}', "", *what, '"""']

    def _constants(self) -> list[str]:
        lines = [f"TERMS = {quoted([t.name for t in self.program.terms])}"]
        if self.numbers:
            lines.append("PARAMETERS: ClassVar = {")
            for name, info in self.numbers.items():
                said, test = limits(info)
                if info.unit == "steps":
                    said, test = f"{said} and whole", f"{test} and {self.names.kit('is_whole')}(v)"
                lines.append(f'    "{self.names.attributes[name]}": ("{said}", lambda v: {test}),')
            lines.append("}")
        return lines

    def _init(self) -> list[str]:
        attributes = self.names.attributes
        arguments = [f"{attributes[n]}: float = {literal(i.value)}" for n, i in self.numbers.items()]
        lines = [f"self.{attributes[n]} = {attributes[n]}" for n in self.numbers]
        if self.calls.functions:
            arguments.append("register: Mapping[str, Callable[..., Any]] | None = None")
            lines.append(f"self.functions = {self.names.kit('registered')}({quoted(self.calls.functions)}, register)")
        lines.append("self.terms: dict[str, Tensor] = {}")
        if self.program.memories:
            memory, every = self.names.kit("Memory"), quoted(list(self.program.memories))
            lines.append(f"self.memories = {{name: {memory}() for name in {every}}}")
        return [signature("__init__", arguments, "None"), *indented(lines)]

    def _setattr(self) -> list[str]:
        if not self.numbers:
            return []
        return [
            "def __setattr__(self, name: str, value: Any) -> None:",
            "    if name in self.PARAMETERS:",
            f"        value = {self.names.kit('checked')}(name, value, *self.PARAMETERS[name])",
            "    super().__setattr__(name, value)",
        ]

    def _asked(self) -> list[str]:
        """The names that conditions and values ask for."""
        roots = self.program.values() + self.program.conditions()
        return sorted({n for root in roots for e in root.walk() if e.op == "has" for n in e.value})

    def _sizes(self) -> dict[str, list[tuple[str, int]]]:
        """The sizes that are read, each with the inputs that have it."""
        roots = self.program.values() + self.program.conditions()
        letters = {str(e.value) for root in roots for e in root.walk() if e.op == "size"} | self.memories.letters
        return {letter: self.inputs.places(letter) for letter in sorted(letters)}

    def _call(self) -> list[str]:
        sizes = self._sizes()
        bound = {q.name for t in self.terms for q in self._input_questions(t)} | set(self._asked())
        bound |= {n for n, info in self.program.inputs.items() if info.stage == STEP}
        bound |= {name for places in sizes.values() for name, _ in places}
        bound |= self.names.bound | self.calls.bound
        lists = {n: count for n, count in self.names.cases.lengths if not n.startswith("@")}
        bound |= lists.keys()
        given = [f'    "{name}": {self.inputs.text(name)},' for name in in_order(bound)]
        lines = ["given = {", *given, "}", f"x = {self.names.kit('Inputs')}(given, step, max_steps)"]
        lines += [f'x.several("{name}", {count})' for name, count in lists.items()]
        for count, alike in self.inputs.alike(in_order(bound)):
            lines.append(f"x.agree({count}, {quoted(alike)})")
        for e in self._of_one_image():
            images = [n for n in in_order(bound) if self.inputs.is_image(n)]
            lines.append(f'x.alone("{e.builtin.name}", {quoted(images)})')
        for letter, places in sizes.items():
            shown = ", ".join(f'("{n}", {i})' for n, i in places)
            last = ", 1.0" if self.inputs.otherwise(letter) else ""
            lines.append(f'x.measure("{letter}", ({shown}{"," if len(places) == 1 else ""}){last})')
        lines += ["weights = self._weights(x)", "values: dict[str, Tensor] = {}"]
        if self.program.groups:
            lines += [f"if group not in (None, {quoted(self.program.groups)[1:]}:"]
            lines += ['    raise ValueError(f"this loss has no term group `{group}`")', "if group is not None:"]
            lines += ['    wanted = f"{group}."']
            lines.append("    weights = {n: w for n, w in weights.items() if n.startswith(wanted)}")
        lines.append(f"with {self.names.kit('without_autocast')}(x.like):")
        for term in self.terms:
            lines.append(f'    if "{term.name}" in weights:')
            lines.append(f'        values["{term.name}"] = self.{self._methods[term.name]}(x)')
        if self.program.memories:
            lines += self._renewals()
        lines.append(f"    total = {self.names.kit('weighted_sum')}(weights, values)")
        lines += ["self.terms = {name: value.detach() for name, value in values.items()}", "return total"]
        arguments = [f"{n}: Tensor | None = None" for n in ("rendered", "target", "mask")]
        arguments += ["state: Any = None", "step: int = 0", "max_steps: int = 30_000"]
        arguments += ["group: str | None = None"] if self.program.groups else []
        others = [n for n in in_order(self.inputs.used) if n not in FIRST]
        arguments += [f"{self.inputs.used[n]}: Any = None" for n in others]
        doc = ['"""The total of one step: a 0-d tensor, ready for ``backward()``.', "", *IMAGES]
        views = [self.inputs.used[n] for n in others if self._is_view(n)]
        if views:
            doc += ["", f"A second render is a mapping or an object with its buffers: {', '.join(views)}."]
        return [signature("__call__", arguments, "Tensor"), *indented([*doc, '"""', *lines])]

    def _of_one_image(self) -> list[Expr]:
        """The first call that takes points of one image, if there is one."""
        every = (e for root in self.program.values() for e in root.walk() if e.op == "call")
        several = (e for e in every if "one_image" in e.builtin.needs)
        return [e for e in several if not any("B " in a.type.kind.dims for a in e.args[1:])][:1]

    def _renewals(self) -> list[str]:
        if not self.program.groups:
            return indented(self.memories.renewal(self.program.terms))
        lines: list[str] = []
        for group in self.program.groups:
            terms = tuple(t for t in self.program.terms if t.group == group)
            lines += self.memories.renewal(terms, group)
        return indented(lines)

    def _input_questions(self, term: TypedTerm) -> list[Question]:
        return [q for q in self.names.cases.questions(term.value) if not q.is_param]

    def _is_view(self, name: str) -> bool:
        info = self.program.inputs.get(name)
        return info is not None and VIEW in (info.kind, info.kind.element)

    # What is known before a step

    def _public_weights(self) -> list[str]:
        asked, inputs = self._asked(), self.names.kit("Inputs")
        lines = ['"""The weight of each term at a step, 0 where it does not exist.', ""]
        lines += [
            "Optional inputs count as there, but for those in ``missing``; numbers that the",
            "host gives, and sizes, come by name.",
            '"""',
        ]
        there = "host"
        if asked:
            lines += [f"asked = {quoted(asked)}"]
            lines += ['there = {n: True for n in asked if not {n, n.partition(".")[0]} & set(missing)}']
            there = "{**there, **host}"
        lines += [f"found = self._weights({inputs}({there}, step, max_steps))"]
        lines += ["return {name: found.get(name, 0.0) for name in self.TERMS}"]
        arguments = ["step: int", "max_steps: int = 30_000", "missing: Collection[str] = ()", "**host: Any"]
        return [signature("weights", arguments, "dict[str, float]"), *indented(lines)]

    def _requires(self) -> list[str]:
        asked = self._asked()
        there = f"{{**dict.fromkeys({quoted(asked)}, True), **host}}" if asked else "host"
        lines = ['"""What the loss reads at a step, such as "depth" and "mask".', ""]
        lines += ["Optional inputs count as there; what the host gives comes by name.", '"""']
        if asked:
            lines += [f"host = {there}"]
        lines += [f"weights = self._weights({self.names.kit('Inputs')}(host, step, max_steps))"]
        lines += ["found: set[str] = set()"]
        for term in self.terms:
            inner = self._read_lines(read(self.trees[term.name].root))
            lines += [f'if "{term.name}" in weights:', *indented(inner)] if inner else []
        lines.append("return frozenset(found)")
        return [
            signature("requires", ["step: int", "max_steps: int = 30_000", "**host: Any"], "frozenset[str]"),
            *indented(lines),
        ]

    def _read_lines(self, tree: object) -> list[str]:
        if isinstance(tree, Choice):
            yes, no = self._read_lines(tree.yes), self._read_lines(tree.no)
            return [f"if {self.names.test(tree.question, True)}:", *indented(yes or ["pass"]), "else:", *indented(no)]
        assert isinstance(tree, frozenset)
        shown = ", ".join(f'"{n}"' for n in in_order(tree))
        return [f"found |= {{{shown}}}"] if tree else []

    def _weights(self) -> list[str]:
        lines: list[str] = []
        for term in self.terms:
            lines += written(term)
            zero = self.host.zero(term.value)
            when = "True" if term.when is None else self.host.text(term.when)
            tests = [t for t in (opposite(zero) if zero else "True", when) if t != "True"]
            if len(tests) > 1:
                tests = [f"({t})" if " or " in t or " if " in t else t for t in tests]
            weights = self._weight_lines(term.name, mapped(self.trees[term.name].root, lambda leaf: leaf.weight))
            lines += [f"if {' and '.join(tests)}:", *indented(weights)] if tests else weights
        lines = [
            *dict.fromkeys([*self._said, *self.host.said()]),
            "found: dict[str, float] = {}",
            *lines,
            f"return {self.names.kit('all_finite')}(found, x.step)",
        ]
        head = f"def _weights(self, x: {self.names.kit('Inputs')}) -> dict[str, float]:"
        return [head, *indented(['"""The weights of the terms that exist at a step."""', *clock(lines)])]

    def _weight_lines(self, name: str, tree: object) -> list[str]:
        if isinstance(tree, Choice):
            if tree.yes is None or tree.no is None:
                return self._weight_lines(name, tree.no if tree.yes is None else tree.yes)
            yes, no = (self._weight_lines(name, t) for t in (tree.yes, tree.no))
            return [f"if {self.names.test(tree.question, True)}:", *indented(yes), "else:", *indented(no)]
        return [f'found["{name}"] = {tree}']

    # State

    def _state(self) -> list[list[str]]:
        if not self.program.memories:
            return []
        attributes = [self.names.attributes[n] for n in self.numbers]
        params = ", ".join(f'"{n}": self.{n}' for n in attributes)
        save = ['"""The parameters and the memories, for a checkpoint."""']
        save += [f"params = {{{params}}}"]
        save += ["memories = {name: memory.state() for name, memory in self.memories.items()}"]
        save += ['return {"params": params, "memories": memories}']
        load = ['"""What `state_dict` gave."""', 'for name, value in state["params"].items():']
        load += ["    setattr(self, name, value)", "for name, memory in self.memories.items():"]
        load += ['    memory.load(state["memories"][name])']
        found = [
            [signature("state_dict", [], "dict[str, Any]"), *indented(save)],
            [signature("load_state_dict", ["state: Mapping[str, Any]"], "None"), *indented(load)],
        ]
        rows = self.memories.per_gaussian()
        if rows:
            lines = ['"""Follow the gaussians: ``rows`` `[N]` says which row each of them had before."""']
            lines += [f"for name in {quoted(rows)}:", "    self.memories[name].take(rows)"]
            found.append([signature("on_densification", ["rows: Tensor"], "None"), *indented(lines)])
        return found
