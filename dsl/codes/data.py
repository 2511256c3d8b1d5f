"""Diagnostic records of data sets, gaussian files and optional packages."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = (
    Code(
        "DAT001",
        "missing-package",
        "An optional package is needed, or the weights of a network, and not on this machine.",
        "The checker needs none of them; training, COLMAP scenes and PLY files do, through an extra of splatdsl.",
    ),
    Code(
        "DAT002",
        "missing-folder",
        "The folder of a scene, or its `images` folder, does not exist.",
        "Training would start without anything to look at.",
    ),
    Code(
        "DAT003",
        "missing-colmap-model",
        "A scene folder holds no COLMAP model.",
        "Cameras and sparse points come from `sparse/0`, `sparse` or `colmap/sparse/0`; both are needed.",
    ),
    Code(
        "DAT004",
        "unreadable-colmap-model",
        "The COLMAP model cannot be read.",
        "The files are damaged, incomplete, or of another format.",
    ),
    Code(
        "DAT005",
        "unsupported-camera-model",
        "A camera of the scene has lens distortion or is otherwise no pinhole.",
        "The renderers project through an ideal pinhole; a distorted image would be matched against the wrong pixels.",
    ),
    Code(
        "DAT006",
        "missing-images",
        "Images that the COLMAP model names are not in the `images` folder.",
        "Leaving them out in silence would change the train and test split.",
    ),
    Code(
        "DAT007",
        "no-views",
        "The scene has no image with a known pose.",
        "There is nothing to train on.",
    ),
    Code(
        "DAT008",
        "unreadable-image",
        "An image or mask file cannot be decoded.",
        "The file is damaged, empty, or not an image.",
    ),
    Code(
        "DAT009",
        "image-size-mismatch",
        "An image has another shape than its camera.",
        "Intrinsics scale with the image; when the aspect differs, it was cropped or rotated, and rays are wrong.",
    ),
    Code(
        "DAT010",
        "missing-masks",
        "Masks were required and some images have none.",
        "The loss would count pixels that were meant to be left out.",
    ),
    Code(
        "DAT011",
        "mask-size-mismatch",
        "A mask has another shape than its image.",
        "Stretching it would keep and drop the wrong pixels.",
    ),
    Code(
        "DAT012",
        "no-sparse-points",
        "The scene has too few sparse points to start a model from.",
        "The gaussians start at the sparse points, as large as the distance to their neighbours.",
    ),
    Code(
        "DAT013",
        "no-train-views",
        "The split into training and test views leaves no view to train on.",
        "Every `test_every`-th view is held out, starting with the first.",
    ),
    Code(
        "DAT014",
        "no-test-views",
        "A test view was asked for and the split holds none out.",
        "Metrics on held-out views need held-out views.",
    ),
    Code(
        "DAT015",
        "bad-data-option",
        "An option of a data set is out of its range, or two options contradict each other.",
        "The data set cannot be built as described.",
    ),
    Code(
        "DAT016",
        "not-a-gaussian-ply",
        "A PLY file lacks properties that a gaussian model needs, or cannot be read.",
        "Point clouds and meshes are PLY files too; gaussians have scales, rotations and opacities.",
    ),
    Code(
        "DAT017",
        "bad-gaussians",
        "The parameters of a gaussian model have shapes that do not fit together.",
        "Every parameter has one row per gaussian and a fixed width.",
    ),
    Code(
        "DAT018",
        "state-mismatch",
        "A saved training state does not fit this one.",
        "Parameters and optimiser moments must match, otherwise training would not continue where it stopped.",
    ),
    Code(
        "DAT019",
        "bad-transforms-file",
        "A `transforms.json` lacks a key, has a value that it cannot have, or names a file that is not there.",
        "Cameras, masks and depth of the scene come from it; a guess in place of a key would move every ray.",
    ),
    Code(
        "DAT020",
        "unreadable-input-file",
        "The file of an input cannot be read, or has another shape than its image or its declaration.",
        "An input is one value, or one row of values, for each pixel of the image that it belongs to.",
    ),
    Code(
        "DAT021",
        "input-out-of-range",
        "The file of an input has values that are not finite, or outside of the range that the program declares.",
        "The wrong scale or unit is the usual reason, and the loss would be wrong by that factor.",
    ),
)
