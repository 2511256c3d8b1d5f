"""Diagnostic records of this family: run configs, and the values that ``--set`` gives them."""

from __future__ import annotations

from .record import Code

_GOOD = "loss: 0.8*l1(masked)\ndata: {kind: synthetic}\n"

CODES: tuple[Code, ...] = (
    Code(
        "CFG001",
        "config-syntax",
        "The config is not valid YAML.",
        "Nothing in it can be trusted to mean what it looks like.",
        "loss: l1()\ndata: {kind: synthetic\n",
        _GOOD,
    ),
    Code(
        "CFG002",
        "config-feature",
        "The config uses a feature of YAML that configs do not have: a tag, a merge key, a key that is not a name, "
        "an alias inside what it refers to, or aliases that blow it up.",
        "A config only holds values: it can neither run code nor grow in memory.",
        "loss: !!python/name:os.system x\ndata: {kind: synthetic}\n",
        _GOOD,
    ),
    Code(
        "CFG003",
        "config-duplicate-key",
        "A key is given twice in one section.",
        "YAML would silently take one of the two values.",
        "loss: l1()\nloss: l2()\ndata: {kind: synthetic}\n",
        _GOOD,
    ),
    Code(
        "CFG004",
        "config-unknown-key",
        "A key does not exist, or not in this section.",
        "An ignored key trains with a default that nobody asked for.",
        "loss: l1()\ndata: {kind: synthetic}\nmax_steps: 500\n",
        "loss: l1()\ndata: {kind: synthetic}\ntrain: {max_steps: 500}\n",
    ),
    Code(
        "CFG005",
        "config-missing-key",
        "A key without a default is not given.",
        "There is no sensible guess for what to train, or on what.",
        "loss: l1()\n",
        _GOOD,
    ),
    Code(
        "CFG006",
        "config-wrong-type",
        "A value is of another type than its key takes.",
        "A text where a number belongs would fail late, or be compared as text.",
        'loss: l1()\ndata: {kind: synthetic}\ntrain: {max_steps: "500"}\n',
        "loss: l1()\ndata: {kind: synthetic}\ntrain: {max_steps: 500}\n",
    ),
    Code(
        "CFG007",
        "config-out-of-range",
        "A value is outside the limits of its key, or not one of its words.",
        "The run would stop at once, or mean something else.",
        "loss: l1()\ndata: {kind: synthetic}\ntrain: {max_steps: 0}\n",
        "loss: l1()\ndata: {kind: synthetic}\ntrain: {max_steps: 500}\n",
    ),
    Code(
        "CFG008",
        "config-missing-file",
        "A file or folder that the config names is missing, unreadable or not what it should be.",
        "Found before torch is loaded instead of minutes later.",
        "loss: absent.loss\ndata: {kind: synthetic}\n",
        _GOOD,
    ),
    Code(
        "CFG009",
        "config-unused-key",
        "A key means nothing beside the others of its section.",
        "The run would ignore it; its reader would believe that it does something.",
        "loss: l1()\ndata: {kind: synthetic, downscale: 2}\n",
        "loss: l1()\ndata: {kind: synthetic, width: 64}\n",
    ),
    Code(
        "CFG010",
        "config-conflict",
        "Two values contradict each other, or leave nothing to do.",
        "One of the two would win by an order that no reader can see.",
        "loss: l1()\ndata: {kind: synthetic, test_every: 1}\n",
        "loss: l1()\ndata: {kind: synthetic, test_every: 8}\n",
    ),
    Code(
        "CFG011",
        "config-bad-override",
        "A value of `--set` cannot be applied.",
        "The run would go on without it.",
    ),
    Code(
        "CFG012",
        "config-files",
        "The files that a config is made of name each other in a circle, or are too many.",
        "There is no order in which they could be put together.",
        "extends: run.yaml\nloss: l1()\ndata: {kind: synthetic}\n",
        _GOOD,
    ),
    Code(
        "CFG013",
        "config-bad-sweep",
        "A sweep has no values, values that cannot be paired, or a key that cannot be swept.",
        "Some of its runs would not exist, or be the same.",
        _GOOD + "sweep: {over: {train.seed: 3}}\n",
        _GOOD + "sweep: {over: {train.seed: [0, 1, 2]}}\n",
    ),
)
