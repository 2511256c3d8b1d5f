"""Run configs as dataclasses. Each key is declared once: type, default, limits, when it applies, one line of doc.

Validation, suggestions, ``splatdsl explain train.max_steps`` and the reference table all read these declarations.
"""

# ruff: noqa: RUF009 (`_option` is `dataclasses.field` with our metadata)

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from typing import Any, NamedTuple

from .config_origin import Origin
from .files import is_program
from .source import Source

ParamValue = float | bool | str


class Option(NamedTuple):
    """What is known of one key beside its type and default.

    Attributes:
        doc: one line.
        ge, gt, le, lt: limits of a number.
        choices: the words that are allowed; empty for free text.
        only: a key of the same section and the values of it with which this key means something.
    """

    doc: str
    ge: float | None = None
    gt: float | None = None
    le: float | None = None
    lt: float | None = None
    choices: tuple[str, ...] = ()
    only: tuple[str, tuple[str, ...]] | None = None


def _option(doc: str, default: Any = MISSING, **limits: Any) -> Any:
    metadata = {"option": Option(doc, **limits)}
    if isinstance(default, type) or default is dict:
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


_COLMAP: tuple[str, tuple[str, ...]] = ("kind", ("colmap", "auto"))
_TRANSFORMS: tuple[str, tuple[str, ...]] = ("kind", ("transforms", "auto"))
_FILES: tuple[str, tuple[str, ...]] = ("kind", ("colmap", "transforms", "auto"))
_SYNTHETIC: tuple[str, tuple[str, ...]] = ("kind", ("synthetic",))
_REFINES: tuple[str, tuple[str, ...]] = ("strategy", ("default", "mcmc"))


@dataclass(frozen=True)
class PointsConfig:
    """Which sparse points views see, as `points` and `depths`; the first gaussians start from all of them."""

    max_error: float | None = _option("Largest mean reprojection error of a point, in pixels.", None, gt=0)
    min_views: int = _option("Least number of views in a point's track.", 2, ge=0)


@dataclass(frozen=True)
class InputConfig:
    """How the files of one input are read."""

    folder: str | None = _option("Folder of the files, relative to the scene; the input's name if not given.", None)
    scale: float | None = _option(
        "Factor on a file's numbers; if not given, that of the kind: see the page on data.", None, gt=0
    )
    axes: str = _option(
        "Axes of normals in the camera's frame: `opencv` (y down, z forward) or `opengl` (y up, z backward).",
        "opencv",
        choices=("opencv", "opengl"),
    )


@dataclass(frozen=True)
class DataConfig:
    """What is trained on."""

    kind: str = _option(
        "`colmap` reads a reconstruction, `transforms` a `transforms.json` (nerfstudio, Blender), `auto` whichever is "
        "there; `synthetic` renders a known scene.",
        choices=("colmap", "transforms", "auto", "synthetic"),
    )
    path: str | None = _option(
        "Folder of the scene, or its `transforms.json`; relative to the config.",
        None,
        only=_FILES,
    )
    width: int | None = _option("Width of images in pixels; as they are if not given (`synthetic`: 96).", None, ge=16)
    height: int | None = _option(
        "Height of the rendered views, in pixels; three quarters of `width` if not given.", None, ge=16, only=_SYNTHETIC
    )
    downscale: int | None = _option("Divide the image size by this, instead of `width`.", None, ge=1, only=_FILES)
    test_every: int = _option("Hold out every n-th view for evaluation; 0 holds out none.", 8, ge=0)
    masks: str = _option(
        "`auto` uses the masks that exist, `none` ignores them, `required` wants one for every image.",
        "auto",
        choices=("auto", "none", "required"),
    )
    normalize: bool = _option("Centre and scale the scene by its cameras.", True, only=_FILES)
    alpha: str = _option(
        "Transparent images: `composite` lays them over `train.background`, `mask` leaves out what is transparent.",
        "composite",
        choices=("composite", "mask"),
        only=_TRANSFORMS,
    )
    random_points: int = _option(
        "Gaussians to start from where the scene has no sparse points.", 50_000, ge=4, only=_TRANSFORMS
    )
    points: PointsConfig = _option("Which sparse points views see.", PointsConfig, only=_COLMAP)
    inputs: Mapping[str, InputConfig] = _option("How files of inputs are read, by the input's name.", dict, only=_FILES)
    views: int = _option("Number of views that are rendered.", 24, ge=1, only=_SYNTHETIC)
    seed: int = _option("Seed of the scene.", 0, ge=0, only=_SYNTHETIC)


@dataclass(frozen=True)
class RendererConfig:
    """What turns gaussians into images."""

    kind: str = _option(
        "`gsplat` needs CUDA, `reference` is plain torch for small scenes, `auto` takes the first that works.",
        "auto",
        choices=("auto", "gsplat", "reference"),
    )


@dataclass(frozen=True)
class LrConfig:
    """Factors on the learning rates of the trainer; 0 freezes a parameter."""

    means: float = _option("Factor on 1.6e-4 times the scene's scale, which decays to a hundredth.", 1.0, ge=0)
    scales: float = _option("Factor on 5e-3.", 1.0, ge=0)
    quats: float = _option("Factor on 1e-3.", 1.0, ge=0)
    opacities: float = _option("Factor on 5e-2.", 1.0, ge=0)
    sh0: float = _option("Factor on 2.5e-3.", 1.0, ge=0)
    shN: float = _option("Factor on 2.5e-3 / 20.", 1.0, ge=0)


@dataclass(frozen=True)
class TrainConfig:
    """How it is trained."""

    max_steps: int = _option("Number of optimisation steps; `max_steps` in the loss.", 300, ge=1)
    seed: int = _option("Seed of everything random: order of views, initialisation, densification.", 0, ge=0)
    batch_size: int = _option("Views rendered in one step.", 1, ge=1)
    eval_every: int = _option("Steps between evaluations; 0 evaluates the first and the last step only.", 100, ge=0)
    log_every: int = _option("Steps between log lines.", 10, ge=1)
    checkpoint_every: int = _option("Steps between checkpoints; 0 writes the last one only.", 100, ge=0)
    keep_checkpoints: int = _option("Checkpoints that are kept, newest first; 0 keeps all.", 2, ge=0)
    num_workers: int | None = _option(
        "Steps ahead that images are loaded, in a thread; 0 loads within the step. 2 on CUDA and 0 elsewhere, if not "
        "given.",
        None,
        ge=0,
    )
    optimizer: str = _option(
        "`fused` is torch's fused Adam, `selective` gsplat's, which moves only the gaussians that a view shows (CUDA); "
        "`auto` is `fused` on CUDA and `adam` elsewhere.",
        "auto",
        choices=("auto", "adam", "fused", "selective"),
    )
    exposure: bool = _option("Train an affine correction of colours for each training view, as 3DGS does.", False)
    bilateral_grid: bool = _option("Train a bilateral grid of colour corrections for each training view.", False)
    sh_degree: int = _option("Highest degree of the spherical harmonics of colour.", 3, ge=0, le=3)
    sh_degree_interval: int = _option("Steps after which the next degree is switched on.", 1000, ge=1)
    init_opacity: float = _option("Opacity of the first gaussians.", 0.1, gt=0, lt=1)
    init_scale: float = _option("Factor on the first gaussians' size, the mean distance to 3 neighbours.", 1.0, gt=0)
    strategy: str = _option(
        "Densification: `none`, gsplat's `default` (clone, split, prune) or `mcmc`.",
        "default",
        choices=("none", "default", "mcmc"),
    )
    max_gaussians: int | None = _option(
        "Densification stops adding gaussians at this number.", None, ge=1, only=_REFINES
    )
    refine_start: int | None = _option(
        "First step of densification; scaled from `max_steps` if not given.", None, ge=0, only=_REFINES
    )
    refine_every: int | None = _option(
        "Steps between densifications; scaled from `max_steps` if not given.", None, ge=1, only=_REFINES
    )
    refine_stop: int | None = _option(
        "Step at which densification ends; scaled from `max_steps` if not given.", None, ge=0, only=_REFINES
    )
    reset_every: int | None = _option(
        "Steps between resets of the opacities; never in a short run if not given.", None, ge=1, only=_REFINES
    )
    lr: LrConfig = _option("Factors on the learning rates.", LrConfig)
    backend: str = _option("What compiles the loss.", "inductor", choices=("inductor", "eager", "aot_eager"))
    kernels: str = _option(
        "What computes SSIM windows; `auto` takes the fastest that runs here.",
        "auto",
        choices=("auto", "torch", "cpp", "triton", "fused_ssim", "fussim"),
    )
    view_cache: int = _option(
        "Megabytes for what the loss makes of a view's own data alone, until the view comes up again; 0 keeps nothing.",
        0,
        ge=0,
    )
    device: str = _option(
        "Where training runs; `auto` takes CUDA where there is one.", "auto", choices=("auto", "cpu", "cuda")
    )
    background: str = _option("What renders are composited on.", "black", choices=("black", "white", "random"))
    tensorboard: bool = _option("Write TensorBoard events into the output folder.", True)
    watch_loss: bool = _option("Take changes of the `.loss` file while training, once they have been checked.", False)
    images: bool = _option("Write held-out views beside their renders as PNG files at each evaluation.", True)


@dataclass(frozen=True)
class RunConfig:
    """One training run."""

    loss: str = _option("A `.loss` file, relative to the config, `zoo:NAME`, or the program itself.")
    data: DataConfig = _option("What is trained on.")
    loss_params: Mapping[str, ParamValue] = _option("Values for parameters of the loss.", dict)
    renderer: RendererConfig = _option("What turns gaussians into images.", RendererConfig)
    train: TrainConfig = _option("How it is trained.", TrainConfig)
    output: str = _option(
        "Folder of the results, relative to the current folder; `runs/` and the config's name if not given.", ""
    )
    origin: Origin | None = field(default=None, repr=False, compare=False)

    def loss_source(self) -> Source:
        """The program's text, with the name that messages show for it.

        Raises:
            ValueError: the config was not loaded from a text and ``loss`` names a file.
        """
        if self.origin is not None:
            return self.origin.program
        if is_program(self.loss):
            raise ValueError("a config made by hand has no folder that `loss` is relative to: use load_config")
        return Source(self.loss, "<loss>")

    @property
    def loss_path(self) -> str | None:
        """The program's file, or None when the program is written in the config."""
        return self.origin.program_path if self.origin else None


SECTIONS: dict[str, type] = {
    "": RunConfig,
    "data": DataConfig,
    "data.points": PointsConfig,
    "data.inputs.NAME": InputConfig,
    "renderer": RendererConfig,
    "train": TrainConfig,
    "train.lr": LrConfig,
}


class Key(NamedTuple):
    """One key of a section. ``type`` is ``int float bool str params section`` or ``table``, sections by any name."""

    section: str
    name: str
    type: str
    optional: bool
    required: bool
    default: Any
    option: Option

    @property
    def dotted(self) -> str:
        """The key as ``--set`` takes it."""
        return f"{self.section}.{self.name}" if self.section else self.name

    def wanted(self) -> str:
        """What a value must be, in words: ``a whole number, at least 1``."""
        option = self.option
        if option.choices:
            return "one of " + ", ".join(f"`{choice}`" for choice in option.choices)
        words = {"int": "a whole number", "float": "a number", "bool": "`true` or `false`", "str": "text"}
        limits = (("at least", option.ge), ("above", option.gt), ("at most", option.le), ("below", option.lt))
        parts = [f"{word} {limit:g}" for word, limit in limits if limit is not None]
        noun = words.get(self.type, "a mapping of keys to values")
        return f"{noun}, {' and '.join(parts)}" if parts else noun


def section_class(section: str) -> type:
    """The dataclass of a section; ``data.inputs.depth`` is one of those that any name makes, ``data.inputs.NAME``."""
    return SECTIONS.get(section) or SECTIONS[f"{section.rpartition('.')[0]}.NAME"]


def keys(section: str) -> dict[str, Key]:
    """The keys of a section in the order of their declaration, by name."""
    table = {}
    for item in fields(section_class(section)):
        option = item.metadata.get("option")
        if option is None:
            continue
        words = [word.strip() for word in str(item.type).split("|")]
        kind = words[0] if words[0] in ("int", "float", "bool", "str") else "section"
        if words[0].startswith("Mapping"):
            kind = "params" if "ParamValue" in words[0] else "table"
        required = item.default is MISSING and item.default_factory is MISSING
        table[item.name] = Key(section, item.name, kind, "None" in words, required, item.default, option)
    return table


def all_keys() -> Iterator[Key]:
    """Every key of every section."""
    for section in SECTIONS:
        yield from keys(section).values()


def reference() -> str:
    """The table of all keys as Markdown."""
    rows = ["| key | value | default | meaning |", "|---|---|---|---|"]
    for key in all_keys():
        if key.type in ("section", "table"):
            continue
        default = (
            "required" if key.required else "" if key.default in (None, "", MISSING) else f"`{_yaml(key.default)}`"
        )
        only = f" With {only_text(key)} only." if key.option.only else ""
        rows.append(f"| `{key.dotted}` | {key.wanted()} | {default} | {key.option.doc}{only} |")
    return "\n".join(rows) + "\n"


def page() -> str:
    """The page of all keys, `docs/config-keys.md`."""
    head = "# Keys of run configs\n\nMade by `splatdsl reference --config`; [how they are written](configs.md).\n\n"
    return head + reference()


def only_text(key: Key) -> str:
    """The case in which a key means something: ``kind: colmap``."""
    if key.option.only is None:
        return ""
    name, values = key.option.only
    return f"`{name}: {' or '.join(values)}`"


def _yaml(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
