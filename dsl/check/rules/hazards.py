"""Values and gradients that can become infinite or NaN: NAN, and MSK002 and ACT003 for two of the ways."""

from __future__ import annotations

from collections.abc import Sequence

from ...diagnostics import Edit, Fix, Label
from ...interval import NONNEGATIVE, inf, show
from ...source import Span
from ...typed import Expr
from ..ranges import Ranges
from . import hazards_shapes as shapes
from .context import Context
from .hazards_remedies import Remedies, Remedy, as_operand
from .hazards_trace import Names, labels, origin, reason
from .hazards_walk import Hazard, Visit, find, where_around
from .places import bare, operand_text


def check(context: Context) -> None:
    """Report each operation that goes wrong at values that can occur."""
    ranges = Ranges(context.program)
    found = find(context, ranges)
    if found:
        _Writer(context, ranges, found).write()


class _Writer:
    def __init__(self, context: Context, ranges: Ranges, found: list[Hazard]) -> None:
        self.context, self.ranges = context, ranges
        likely = [h for h in found if origin(ranges, h.operand, h.env, h.at).likely(context.program)]
        self.found = [h for h in likely if not shapes.weight_by_place(h.operand)]
        self.places = context.places
        self.names = Names(context, self.places)
        self.remedies = Remedies(context, self.names)
        self.done: set[int] = set(context.explained)
        self.said: set[tuple[int, int, int]] = set()

    def write(self) -> None:
        """Formulas that are known come first: they say more than the operations that they are made of."""
        for hazard in self.found:
            if id(hazard.e) not in self.done:
                self._formula(hazard)
        for hazard in self.found:
            if id(hazard.e) not in self.done:
                self._operation(hazard)

    # Formulas

    def _formula(self, hazard: Hazard) -> None:
        e, visit = hazard.e, hazard.visit
        if self.places.of(e) is not e:
            return
        here: Visit | None = visit
        for _ in range(6):
            if here is None:
                break
            if self._entropy(here, hazard) or self._logit(here.e, hazard):
                return
            here = here.parent
        outside = shapes.eps_outside(visit) if hazard.how == "slope" else None
        if outside is not None:
            self._eps_outside(hazard, *outside)
            return
        unit = shapes.unit_vector(self.ranges, e)
        if unit is not None:
            self._unit(hazard, unit)
            return
        weighted = shapes.weighted_mean(self.ranges, e)
        if weighted is not None:
            self._weighted(hazard, weighted)

    def _entropy(self, here: Visit, hazard: Hazard) -> bool:
        found = shapes.entropy(self.ranges, here.e)
        if found is None or not any(log is hazard.e for log in found.logs):
            return False
        self.done.update(id(log) for log in found.logs)
        top, flip, edits = here.e, found.positive, []
        outer = here.parent
        if flip and outer is not None and outer.e.op == "neg":
            top, flip = outer.e, False
        elif flip and outer is not None and shapes.is_call(outer.e, "mean") and outer.parent is not None:
            above = outer.parent.e
            if above.op == "neg" and above.source is outer.e.source is here.e.source:
                edits, flip = [Edit(Span(above.span.start, outer.e.span.start), "")], False
        pattern = "-binary_entropy({p})" if flip else "binary_entropy({p})"
        title, made = self.remedies.made("`{}` is the same, and 0 at both ends", pattern, top, top.span, p=found.p)
        name = self.names.of(found.p)
        self._emit(
            "NAN006",
            f"this entropy is NaN where `{name}` is 0 or 1: 0 times the log of 0",
            top,
            hazard,
            caption="an entropy written by hand",
            fix=(title.replace("`-", "`", 1), [*edits, *made] if made else []),
        )
        return True

    def _logit(self, e: Expr, hazard: Hazard) -> bool:
        found = shapes.logit(self.ranges, e)
        if found is None or not any(part is hazard.e for part in found[1]):
            return False
        p, parts = found
        self.done.update(id(part) for part in parts)
        name = self.names.of(p)
        if p.op == "input" and p.value == "state.opacities":
            fix = ("`state.opacity_logits` is this number as it is trained", [Edit(e.span, "state.opacity_logits")])
            if self.context.exact(p, e) != p.value:  # a definition, for which it is one argument of several
                fix = (fix[0], [])
        else:
            fix = (f"keep it off both ends first: `clamp({self.names.at(p, e)}, 1e-6, 1 - 1e-6)`", [])
        message = f"this logit is infinite where `{name}` is 0 or 1"
        self._emit("ACT003", message, e, hazard, caption="a logit written by hand", fix=fix)
        return True

    def _eps_outside(self, hazard: Hazard, whole: Expr, root: Expr, eps: Expr) -> None:
        inner = shapes.root(root)
        assert inner is not None
        small, name = self.names.of(eps), self.names.of(inner)
        text = self.context.exact(inner, whole)
        value = inner if text is None else as_operand(text)
        self._emit(
            "NAN009",
            f"`{small}` outside the root does not keep its gradient finite where `{name}` is 0",
            whole,
            hazard,
            caption="added after the root",
            fix=self.remedies.made("add it inside: `{}`", "sqrt({x} + {eps})", whole, whole.span, x=value, eps=eps),
        )

    def _unit(self, hazard: Hazard, x: Expr) -> None:
        self.done.add(id(hazard.e.args[1]))
        name = bare(self._left_text(hazard.e) or self.names.of(x))
        title = "`{}` is the same, and 0 with zero gradient there"
        self._emit(
            "NAN004",
            f"dividing `{name}` by its length is NaN where it is 0",
            hazard.e,
            hazard,
            fix=self.remedies.made(title, "normalize({x})", hazard.e, hazard.e.span, x=name),
        )

    def _weighted(self, hazard: Hazard, found: shapes.Weighted) -> None:
        region = self.names.of(found.region)
        e, own = hazard.e, self.names.at(found.region, hazard.e)
        fix: Remedy = (f"`mean(x, {own})` is 0 there; or divide by `max(..., 1)`", [])
        if found.x is not None and e.args[0].op == "call" and e.args[1].op == "call":
            also = "" if found.x.type.kind.components == 1 else "; it also averages over components"
            title = f"`{{}}` is 0 with zero gradient there{also}"
            fix = self.remedies.made(title, "mean({x}, {r})", e, e.span, x=found.x, r=found.region)
        message = f"this divides by 0 where `{region}` is empty: a view with nothing inside gives NaN"
        self._emit("MSK002", message, e, hazard, fix=fix)

    # Single operations

    def _operation(self, hazard: Hazard) -> None:
        e = hazard.e
        place = self.places.of(e)
        if place is not e or e.source is self.context.report.hidden:
            self._inside_definition(hazard, place)
            return
        name, text = self._operand_name(hazard), self.context.text(e)
        code, what = self._code(hazard)
        where = self._where(hazard, name)
        message = f"{what.format(text=text)} {where}"
        notes = self._notes(hazard)
        if self._left_out(hazard):
            message = f"the gradient of `{text}` is NaN {where}, although the region leaves that out"
        fix, help_ = self._help(hazard, name)
        around = where_around(hazard.visit)
        extra: list[Label] = []
        if around is not None:
            code = "NAN001"
            _, condition, truth = around
            if hazard.operand.type.kind.is_tensor:
                caption = f"also {'holds' if truth else 'fails'} {where}"
                message += f", and `{self.names.of(condition)}` does not exclude that"
            else:
                caption = "a condition for each pixel"
                message += ": no condition for each pixel guards one number"
            if condition.source is not self.context.report.hidden:
                extra.append(Label(condition.span, caption, condition.source))
        self._emit(code, message, e, hazard, labels_=extra, notes=notes, help=help_, fix=fix)

    def _inside_definition(self, hazard: Hazard, place: Expr) -> None:
        """What goes wrong in a definition of the language is because of an argument."""
        code, what = self._code(hazard)
        inner = " ".join(hazard.e.source.slice(hazard.e.span).split())
        help_: list[str] = []
        if place.via is not None and "eps" in place.via.args:
            help_ = ["give an `eps` above 0"]
        name = self.context.text(place)
        message = f"{what.format(text=name)} for some arguments: it computes `{inner}`"
        self._emit(code, message, place, hazard, help=help_)

    def _where(self, hazard: Hazard, name: str) -> str:
        """``where `x` is 0``."""
        if hazard.how != "nan":
            return f"where `{name}` is {show(hazard.at)}"
        e = hazard.e
        domain = e.builtin.domain[1] if e.op == "call" and e.builtin.domain else NONNEGATIVE
        low = hazard.at < domain.lo
        end, is_open = (domain.lo, domain.lo_open) if low else (domain.hi, domain.hi_open)
        if end == 0 and low:
            return f"where `{name}` is {'0 or ' if is_open else ''}negative"
        words = f"{show(end)} or " if is_open else ""
        return f"where `{name}` is {words}{'below' if low else 'above'}{'' if is_open else ' ' + show(end)}"

    def _left_out(self, hazard: Hazard) -> bool:
        """Whether the region of a reduction keeps the bad value out of the loss, but not its gradient."""
        if hazard.how != "slope" or self._region(hazard.visit) is None:
            return False
        there = self.ranges.at(hazard.operand, hazard.visit.value)
        return not (there.can_be_zero if hazard.at == 0 else hazard.at in there.range)

    def _code(self, hazard: Hazard) -> tuple[str, str]:
        """The code, and what goes wrong."""
        e = hazard.e
        is_log = e.op == "call" and e.builtin.name.startswith("log")
        if hazard.how == "slope":
            code = "NAN006" if is_log else "NAN008" if e.op == "div" else "NAN003"
            return code, "the gradient of `{text}` is infinite"
        if hazard.how == "nan":
            return "NAN006" if is_log else "NAN020", "`{text}` is NaN"
        above = self.ranges.at(e.args[0], hazard.env).can_be_zero if e.op == "div" else False
        return "NAN006" if is_log else "NAN008", "`{text}` is infinite or NaN" if above else "`{text}` is infinite"

    def _region(self, visit: Visit) -> Expr | None:
        """The region of the nearest reduction around a value."""
        here = visit
        while here.parent is not None:
            around = here.parent.e
            if around.op == "call" and around.builtin.reduces:
                region = around.arg("r")
                return region if region is not None and region.type.kind.space != "any" else None
            here = here.parent
        return None

    def _notes(self, hazard: Hazard) -> list[str]:
        if hazard.how == "slope":
            if self._left_out(hazard):
                return ["outside a region the gradient is 0 times this derivative, and 0 times infinity is NaN"]
            return []
        here = hazard.visit
        while here.parent is not None:
            around = here.parent.e
            if around.op == "mul" and any(a.type.kind.name == "region" for a in around.args):
                return ["multiplying by a region does not stop it: 0 times infinity is NaN"]
            if around.op == "call" and around.builtin.reduces:
                break
            here = here.parent
        return []

    def _help(self, hazard: Hazard, name: str) -> tuple[Remedy, list[str]]:
        """What to write instead, and what else can be done."""
        e, operand = hazard.e, hazard.operand
        end = origin(self.ranges, operand, hazard.env, hazard.at).e
        if end.op == "param" and e.op in ("div", "pow"):
            return (f"if `{end.value}` is never 0, say so where it is declared: `> 0`", []), []
        if operand.type.is_host and hazard.at == 0 and end.op == "input" and end.value in ("step", "progress"):
            return (f"begin later, as in `when after(step, 1)`, or write `max({name}, 1)`", []), []
        help_: list[str] = []
        if e.op == "call":
            fix = self._safe_call(hazard)
        elif e.op == "div":
            fix, help_ = self._safe_division(hazard, name)
        else:
            power = operand_text(e, "^")
            base = self.remedies.bounded(operand, e, "1e-6")
            pattern = "{base}" if base is not None else "max({x}, 1e-6)"
            pattern += " ^ {power}" if power else ""
            to, title = power[0] if power else "", "keep the base above 0: `{}`"
            fix = self.remedies.made(title, pattern, e, e.span, base=base or "", x=operand, power=to)
            fix = fix if power else (fix[0], [])
        info = self.context.program.inputs.get(str(end.value)) if end.op == "input" else None
        if info is not None and hazard.at == 0:
            help_.append(f"if `{info.name}` is never 0, say so where it is declared: `in (0, inf)`")
        return fix, help_

    def _safe_division(self, hazard: Hazard, name: str) -> tuple[Remedy, list[str]]:
        e = hazard.e
        found = operand_text(e, "/")
        text, over = self.context.text(e), self._left_text(e)
        if hazard.found.range.lo < 0:
            return (f"choose where it is sound: `where(abs({name}) > 1e-6, {text}, 0)`", []), []
        better = self.remedies.bounded(hazard.operand, e, "1e-6") or f"max({name}, 1e-6)"
        if found is None:
            return (f"divide by `{better}`", []), []
        whole = f"{over} / {better}"
        title = f"write `{whole}`" if len(whole) <= 60 else f"divide by `{better}`"
        fix = (title, [Edit(found[1], better)])
        if hazard.operand.type.kind.is_tensor and where_around(hazard.visit) is None and len(text) <= 40:
            return fix, [f"another way: `where({name} > 0, {text}, 0)`"]
        return fix, []

    def _safe_call(self, hazard: Hazard) -> Remedy:
        e = hazard.e
        inner = shapes.root(e)
        if inner is not None and hazard.how == "slope":
            squared, vector = shapes.square(self.ranges, inner), shapes.root_of_squares(self.ranges, e)
            x, pattern = (vector, "norm({x})") if vector is not None else (squared, "abs({x})")
            same = self.remedies.made("`{}` is the same, with gradient 0 there", pattern, e, e.span, x=x or "")
            if x is not None and same[1]:
                return same
        return self.remedies.safe(e, hazard.operand, self._argument(e, hazard.operand)) if e.builtin.safe else ("", [])

    # Text

    def _operand_name(self, hazard: Hazard) -> str:
        e = hazard.e
        if e.op == "div":
            found = operand_text(e, "/")
            return self.names.of(hazard.operand) if found is None else bare(found[0])
        return self._argument(e, hazard.operand) if e.op == "call" else self.names.of(hazard.operand)

    def _argument(self, e: Expr, operand: Expr) -> str:
        """The only argument of a call as it is written there; else what the operand is called."""
        text = " ".join(e.source.slice(e.span).split())
        if e.op == "call" and len(e.args) == 1 and text.startswith(f"{e.builtin.name}(") and text.endswith(")"):
            inner = text[len(e.builtin.name) + 1 : -1].strip()
            if "#" not in inner:
                return inner
        return self.names.at(operand, e)

    def _left_text(self, e: Expr) -> str:
        """What is written before the operator of a division."""
        found = operand_text(e, "/")
        if found is None:
            return ""
        text = e.source.slice(Span(e.span.start, found[1].start)).rstrip()
        return " ".join(text.removesuffix("/").split())

    def _emit(
        self,
        code: str,
        message: str,
        place: Expr,
        hazard: Hazard,
        *,
        caption: str = "",
        labels_: Sequence[Label] = (),
        notes: Sequence[str] = (),
        help: Sequence[str] = (),
        fix: Remedy = ("", []),
    ) -> None:
        source, span = self.places.at(place)
        key = (id(source), span.start, span.end)
        self.done.add(id(hazard.e))
        if key in self.said:
            return
        self.said.add(key)
        at = 0.0 if hazard.at == -inf else hazard.at
        end = origin(self.ranges, hazard.operand, hazard.env, at)
        beyond = hazard.how == "nan"
        found = labels(self.context, self.places, self.names, end, hazard.operand, place, beyond)
        if not caption and not found and place is hazard.e:
            caption = f"`{self.names.of(end.e)}` {reason(self.names, end, beyond)}"
        self.context.report.emit(
            code,
            message,
            source,
            span,
            caption=caption,
            labels=[*found, *labels_],
            notes=notes,
            help=[fix[0], *help] if fix[0] else help,
            fixes=[Fix(fix[0], fix[1])] if fix[1] and source is place.source else (),
        )
