"""BND: tensors that do not fit the program, found when a loss is first called with them."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code("BND001", "missing-input", "The program reads an input that the call did not give.", "It cannot be computed."),
    Code("BND002", "wrong-shape", "A tensor has another shape than its input.", "Broadcasting would hide the mistake."),
    Code(
        "BND003",
        "wrong-dtype",
        "A tensor's dtype does not fit: images must be floating point in 0..1, not bytes.",
        "Bytes compared with 0..1 values give a loss 255 times too large.",
    ),
    Code("BND004", "wrong-device", "Tensors of one call are on different devices.", "They cannot meet in one graph."),
    Code(
        "BND005",
        "values-out-of-range",
        "A tensor's values are outside the range of its input.",
        "A 0..255 image against a 0..1 render trains on the wrong error.",
    ),
    Code(
        "BND006",
        "image-too-small",
        "An image is smaller than the window of a measure that the program uses.",
        "SSIM needs at least 11 by 11 pixels.",
    ),
    Code("BND007", "bad-step", "`step` or `max_steps` is not a whole number in its range.", "Schedules depend on it."),
    Code(
        "BND008",
        "host-value-not-finite",
        "A weight or schedule gives inf or NaN at this step.",
        "The loss would be NaN from here on.",
    ),
    Code(
        "BND009",
        "bad-argument",
        "An argument of a call names something that does not exist: a backend, a device, a term, an extern function.",
        "It would only fail at the first step.",
    ),
    Code(
        "BND010",
        "extern-without-function",
        "The program calls an `extern` function that nobody registered.",
        "The file only says what it takes and gives; the function comes from Python.",
    ),
    Code(
        "BND011",
        "extern-gave-something-else",
        "A registered function gave something else than its `extern` declares.",
        "What the checker proved of the program would no longer hold.",
    ),
    Code(
        "BND012",
        "memory-left-behind",
        "A memory of the gaussians has another number of rows than there are gaussians.",
        "Its values would belong to other gaussians.",
    ),
    Code(
        "BND013",
        "cannot-go-along",
        "A loss cannot be pickled or exported, because something that it calls cannot go along.",
        "It would fail, or give other numbers, where it arrives.",
    ),
    Code(
        "BND014",
        "not-in-parts",
        "The loss of a batch is not the mean of the losses of its micro-batches, or what it takes to make it so was "
        "not given.",
        "Training would minimise something else than the program says.",
    ),
    Code(
        "BND015",
        "not-in-a-file",
        "A loss cannot be written into a file of its own as it is.",
        "The file would need this package, or compute something else.",
    ),
)
