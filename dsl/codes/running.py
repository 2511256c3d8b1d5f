"""Diagnostic records of a running training: what stops it, and what a resume cannot continue."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        id="RUN001",
        slug="non-finite-loss",
        what="The loss of a training step is not a finite number; the message names the step and the terms.",
        why="One update with NaN or infinity destroys every gaussian it reaches. The run stops before that update, "
        "and the last checkpoint is from before it.",
    ),
    Code(
        id="RUN002",
        slug="non-finite-gradient",
        what="The loss is finite, but its gradient is not; the message names the step and the term, or the parameters.",
        why="The optimiser would write NaN into those parameters and keep it in its running averages. Typical causes "
        "are the square root or the logarithm of a value that reaches 0, and a division by it.",
    ),
    Code(
        id="RUN003",
        slug="bad-training-setting",
        what="A setting of the trainer has a value that it cannot have.",
        why="It would fail later, or train something else than was asked for.",
    ),
    Code(
        id="RUN004",
        slug="run-exists",
        what="The output folder already holds a run.",
        why="Starting over would mix two runs in one folder, or lose the first.",
    ),
    Code(
        id="RUN005",
        slug="resume-mismatch",
        what="The run to resume was started with other settings or another loss.",
        why="The rest of the run would belong to neither of the two, and its numbers could not be repeated.",
    ),
    Code(
        id="RUN006",
        slug="no-usable-checkpoint",
        what="A checkpoint was asked for, and none can be read.",
        why="Training from the start in its place would throw away the run that it belongs to.",
    ),
    Code(
        id="RUN007",
        slug="needs-cuda",
        what="Something was asked for that needs a CUDA device, and there is none here.",
        why="It would fail in the middle of the run, at the first step that uses it.",
    ),
    Code(
        id="RUN008",
        slug="buffer-not-supplied",
        what="The loss or the densification reads something that the renderer does not make.",
        why="A term without its input would be skipped silently, and the run would optimise something else.",
    ),
    Code(
        id="RUN009",
        slug="uneven-batch",
        what="The items of one batch cannot be stacked: they differ in size or in the fields that they have.",
        why="A batch is one tensor, so its images must have one size.",
    ),
    Code(
        id="RUN010",
        slug="renderer-unavailable",
        what="The renderer that was asked for does not exist, or cannot run on this machine or device.",
        why="Another one in its place would draw at another speed, or other pixels, than the run was planned for.",
    ),
    Code(
        id="RUN012",
        slug="bad-image-pair",
        what="Two images that are compared do not fit together or are too small for the window.",
        why="The similarity would be undefined, or that of other pixels than was meant.",
    ),
    Code(
        id="RUN014",
        slug="cannot-write",
        what="A file of the run cannot be written.",
        why="A run whose checkpoints are lost cannot be resumed; it stops while the previous one is intact.",
    ),
    Code(
        id="RUN015",
        slug="unsavable-state",
        what="The `state_dict()` of a loss or module holds something that a checkpoint cannot keep safely.",
        why="Checkpoints are read without running code from them, so they hold tensors, numbers, texts and "
        "containers of these only.",
    ),
    Code(
        id="RUN016",
        slug="bad-loss-value",
        what="`compute_loss` returned something that is not a scalar tensor.",
        why="Only a scalar has a gradient that can be descended.",
    ),
    Code(
        id="RUN017",
        slug="kernels-unavailable",
        what="The kernels that were asked for cannot run on this machine, device or dtype.",
        why="Others in their place would give the same numbers, but not at the speed that was asked for.",
    ),
    Code(
        id="RUN018",
        slug="ranks-disagree",
        what="The processes that hold the parts of one batch call the loss in different ways, or with a program that "
        "cannot be evaluated in parts.",
        why="A mean over all ranks exists only if each of them computes the same terms of the same program at the same "
        "step.",
    ),
    Code(
        id="RUN019",
        slug="rank-gone",
        what="A process that takes part in the run has ended, or did not take part in a step in time.",
        why="The others cannot go on without its part of the batch, and would wait for ever.",
    ),
    Code(
        id="RUN020",
        slug="bad-render-request",
        what="A renderer was given gaussians, cameras or names of buffers that do not fit together.",
        why="It would draw something else than was meant, or fail inside a kernel that cannot say why.",
    ),
    Code(
        id="RUN022",
        slug="ranks-drifted",
        what="Processes that train copies of the same gaussians no longer have the same ones.",
        why="Each would go on with a model of its own, moved by gradients that were computed for another.",
    ),
    Code(
        id="RUN023",
        slug="ranks-cannot-start",
        what="Several processes were started to train together, and cannot: one finds no device of its own, or not the "
        "others.",
        why="They would wait for each other for ever, or share a device that has room for one.",
    ),
)
