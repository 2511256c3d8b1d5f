"""Inputs from files beside the images, in every format, and the sparse points of views."""

from __future__ import annotations

import copy
import json
import pickle
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import splatdsl
from splatdsl.dsl.api import analyse, check_text
from splatdsl.dsl.config import check_config, data_fields, load_config
from splatdsl.dsl.config_schema import InputConfig, PointsConfig, keys
from splatdsl.dsl.diagnostics import Diagnostic, LossError
from splatdsl.dsl.source import Source
from splatdsl.dsl.typed import InputInfo
from splatdsl.runtime.data import photographs
from splatdsl.runtime.data.base import SplatDataItem
from splatdsl.runtime.data.colmap import ColmapDataProvider
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.lookup import item_field
from splatdsl.runtime.training.batching import stack_items
from splatdsl.runtime.training.config import SplatTrainerConfig
from splatdsl.runtime.training.setup import build_trainer
from splatdsl.runtime.training.trainer import SplatTrainer

pycolmap = pytest.importorskip("pycolmap", reason="pycolmap reads and writes COLMAP models")
Image = pytest.importorskip("PIL.Image", reason="pillow reads and writes images")
WIDTH, HEIGHT, VIEWS = 32, 24, 4


@pytest.fixture(scope="module")
def synthetic() -> SyntheticDataProvider:
    return SyntheticDataProvider(WIDTH, HEIGHT, views=VIEWS, test_every=4, points=150)


@pytest.fixture(scope="module")
def written(synthetic: SyntheticDataProvider, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_colmap(tmp_path_factory.mktemp("scene"))


@pytest.fixture
def scene(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "scene"))


def inputs(*declarations: str) -> dict[str, InputInfo]:
    text = "\n".join(f"input {line}" for line in declarations)
    program, _ = analyse(Source(f"{text}\nterm colour = l1()\n", "test"))
    assert program is not None
    return program.inputs


Save = Callable[..., None]


@pytest.fixture
def save(scene: Path) -> Save:
    """Writes a file for views: an array as `.npy`, `.png` or `.exr`."""

    def write(name: str, values: np.ndarray, suffix: str, views: range = range(VIEWS), ending: str = "") -> None:
        folder = scene / name
        folder.mkdir(parents=True, exist_ok=True)
        for index in views:
            path = folder / f"view_{index:03d}{ending}{suffix}"
            if suffix == ".npy":
                np.save(path, values)
            elif suffix == ".png":
                Image.fromarray(values).save(path)
            else:
                openexr = pytest.importorskip("OpenEXR")
                channels = {"RGB": values} if values.ndim == 3 else {"Z": values}
                openexr.File({"compression": openexr.ZIP_COMPRESSION, "type": openexr.scanlineimage}, channels).write(
                    str(path)
                )

    return write


def load(scene: Path, *declarations: str, index: int = 1, options: Any = None, **more: Any) -> SplatDataItem:
    declared = inputs(*declarations)
    provider = ColmapDataProvider(scene, inputs=declared, input_options=options, **{"normalize": False, **more})
    return provider.view(index)


def problem(scene: Path, *declarations: str, **more: Any) -> Diagnostic:
    with pytest.raises(LossError) as error:
        load(scene, *declarations, **more)
    (found,) = error.value.diagnostics
    return found


RNG = np.random.default_rng(3)
DEPTH = RNG.uniform(0.5, 9.0, (HEIGHT, WIDTH)).astype(np.float32)
NORMALS = RNG.normal(size=(HEIGHT, WIDTH, 3)).astype(np.float32)
NORMALS /= np.linalg.norm(NORMALS, axis=-1, keepdims=True)
LABELS = RNG.integers(0, 200, (HEIGHT, WIDTH)).astype(np.uint8)

# Formats


@pytest.mark.parametrize("suffix", [".npy", ".exr"])
def test_floats_come_back_as_they_were(suffix: str, scene: Path, save: Save) -> None:
    save("mono", DEPTH, suffix)
    save("prior", NORMALS, suffix)
    save("feature", DEPTH / 10, suffix)
    it = load(scene, "mono: depth[metric]", "prior: normals[camera]", "feature: map in [0, 1]")
    assert torch.equal(it["mono"], torch.from_numpy(DEPTH)[None, ..., None])
    torch.testing.assert_close(it.prior, torch.from_numpy(NORMALS)[None])
    assert torch.equal(it.extras["feature"][0, ..., 0], torch.from_numpy(DEPTH / 10))
    assert {v.dtype for v in it.extras.values()} == {torch.float32}


def test_arrays_of_many_channels_and_of_no_pixels(scene: Path, save: Save) -> None:
    many, teacher = RNG.normal(size=(HEIGHT, WIDTH, 5)), RNG.normal(size=(6, 8, 7)).astype(np.float32)
    save("feature", many, ".npy")
    save("teacher", teacher, ".npy")
    save("gain", np.float32(0.5), ".npy")
    save("drift", np.arange(12.0).reshape(3, 4), ".npy")
    it = load(scene, "feature: [B H W 5]", "teacher: [B Y X 7]", "gain: [B]", "drift: [B 3 4]", "rows: [N 3]")
    assert it["feature"].shape == (1, HEIGHT, WIDTH, 5)
    assert torch.equal(it["teacher"], torch.from_numpy(teacher)[None])
    assert it["gain"].tolist() == [0.5]
    assert it["drift"][0, 1].tolist() == [4, 5, 6, 7]
    assert "rows" not in it


@pytest.mark.parametrize(
    ("kind", "values", "scale", "expected"),
    [
        ("depth[metric]", np.array([0, 1500, 65535], np.uint16), None, [0, 1.5, 65.535]),
        ("depth[metric]", np.array([0, 1500, 65535], np.uint16), 0.0002, [0, 0.3, 13.107]),
        ("depth[relative]", np.array([0, 13107, 65535], np.uint16), None, [0, 0.2, 1]),
        ("depth[inverse, relative]", np.array([0, 51, 255], np.uint8), None, [0, 0.2, 1]),
        ("region", np.array([0, 51, 255], np.uint8), None, [0, 0.2, 1]),
        ("region", np.array([False, True, True]), None, [0, 1, 1]),
        ("map", np.array([0, 13107, 65535], np.uint16), None, [0, 0.2, 1]),
        ("map in [0, 1]", np.array([0, 51, 255], np.uint8), None, [0, 0.2, 1]),
        ("[B H W 1] in [0, 255]", np.array([0, 7, 255], np.uint8), None, [0, 7, 255]),
        ("[B H W 1] in [0, inf)", np.array([0, 7, 40000], np.uint16), None, [0, 7, 40000]),
        ("map in [0, 2]", np.array([0, 1, 2], np.uint8), None, [0, 1, 2]),
    ],
)
def test_numbers_of_a_png_by_kind(
    kind: str, values: np.ndarray, scale: float | None, expected: list[float], scene: Path, save: Save
) -> None:
    save("given", np.resize(values, (HEIGHT, WIDTH)), ".png")
    it = load(scene, f"given: {kind}", options={"given": InputConfig(scale=scale)})
    assert it["given"].shape == (1, HEIGHT, WIDTH, 1)
    assert it["given"].flatten()[:3].tolist() == pytest.approx(expected)


def test_colours_of_a_png(scene: Path, save: Save) -> None:
    save("other", np.tile(np.array([0, 51, 255], np.uint8), (HEIGHT, WIDTH, 1)), ".png")
    save("grey", np.tile(np.array([102, 102, 102], np.uint8), (HEIGHT, WIDTH, 1)), ".png")
    it = load(scene, "other: image", "grey: map")
    assert it["other"][0, 3, 4].tolist() == pytest.approx([0, 0.2, 1])
    assert it["grey"].shape == (1, HEIGHT, WIDTH, 1)
    assert it["grey"].unique().tolist() == pytest.approx([0.4])
    assert problem(scene, "other: map").message.endswith("has 3 channels, but `other` has 1")
    indexed = Image.fromarray(LABELS)
    indexed.putpalette([255 - i // 3 for i in range(768)])
    for index in range(VIEWS):
        indexed.save(scene / "grey" / f"view_{index:03d}.png")
    labels = load(scene, "grey: [B H W 1] in [0, 255]")["grey"]
    assert torch.equal(labels[0, ..., 0], torch.from_numpy(LABELS).float()), "numbers of colours, not their grey"


def test_normals_of_a_png(scene: Path, save: Save) -> None:
    coded = np.rint(255 * (NORMALS + 1) / 2).astype(np.uint8)
    coded[0, 0], coded[0, 1] = 0, 128
    save("prior", coded, ".png")
    got = load(scene, "prior: normals[camera]")["prior"]
    assert got[0, 0, :2].abs().max() == 0, "black and grey stand for none"
    assert (got[0, 1:].norm(dim=-1) - 1).abs().max() < 1e-5
    assert (got[0, 1:] - torch.from_numpy(NORMALS[1:])).abs().max() < 0.01
    turned = load(scene, "prior: normals[camera]", options={"prior": InputConfig(axes="opengl")})["prior"]
    assert torch.equal(turned, got * torch.tensor([1.0, -1.0, -1.0]))
    assert problem(scene, "prior: normals[world]", options={"prior": InputConfig(axes="opengl")}).code == "DAT015"


def test_holes_stay_holes(scene: Path, save: Save) -> None:
    depth, normals = DEPTH.copy(), NORMALS.copy()
    depth[2, 3], depth[5, 5], depth[6, 6] = np.nan, np.inf, 0
    normals[2, 3], normals[7, 7] = np.nan, 0
    save("mono", depth, ".npy")
    save("prior", normals, ".npy")
    it = load(scene, "mono: depth[metric, sparse]", "prior: normals[camera]")
    assert it["mono"][0, 2, 3].isnan().all()
    assert it["mono"][0, 5, 5].isinf().all()
    assert it["mono"][0, 6, 6].item() == 0
    assert it["prior"][0, 2, 3].tolist() == it["prior"][0, 7, 7].tolist() == [0, 0, 0]
    assert it["prior"].isfinite().all()


# Sizes and frames


def test_each_kind_is_resized_in_its_own_way(scene: Path, save: Save) -> None:
    save("mono", DEPTH, ".npy")
    save("prior", NORMALS, ".npy")
    save("labels", LABELS, ".png")
    save("trust", LABELS, ".png")
    declared = ("mono: depth[metric]", "prior: normals[camera]", "labels: [B H W 1] in [0, 255]", "trust: region")
    small = load(scene, *declared, downscale=2)
    for name, source in (("mono", DEPTH), ("labels", LABELS)):
        corners = np.stack([source[i::2, j::2] for i in (0, 1) for j in (0, 1)]).astype(np.float32)
        picked = small[name][0, ..., 0].numpy()
        assert picked.shape == (HEIGHT // 2, WIDTH // 2)
        assert (picked == corners).any(axis=0).all(), f"{name} are values of the file, never between two"
    blocks = LABELS.reshape(HEIGHT // 2, 2, WIDTH // 2, 2).mean(axis=(1, 3)) / 255
    assert small["trust"][0, ..., 0].numpy() == pytest.approx(blocks, abs=1e-6)
    sums = NORMALS.reshape(HEIGHT // 2, 2, WIDTH // 2, 2, 3).sum(axis=(1, 3))
    sums /= np.linalg.norm(sums, axis=-1, keepdims=True)
    assert small["prior"][0].numpy() == pytest.approx(sums, abs=1e-5)
    # A file that is smaller than the image: depth repeats, regions are interpolated.
    for name in ("mono", "trust"):
        shutil.rmtree(scene / name)
    save("mono", DEPTH[::2, ::2], ".npy")
    save("trust", LABELS[::2, ::2], ".png")
    large = load(scene, declared[0], declared[3])
    assert torch.equal(large["mono"][0, ::2, ::2, 0], torch.from_numpy(DEPTH[::2, ::2].copy()))
    assert large["trust"].shape == (1, HEIGHT, WIDTH, 1)


def test_metric_depth_and_world_normals_follow_the_scene(scene: Path, save: Save) -> None:
    for name in ("metric", "inverse", "relative"):
        save(name, DEPTH, ".npy")
    for name in ("camera_normals", "world_normals"):
        save(name, NORMALS, ".npy")
    declared = inputs(
        *("metric: depth[metric]", "inverse: depth[inverse, metric]", "relative: depth[relative]"),
        *("camera_normals: normals[camera]", "world_normals: normals[world]"),
    )
    provider = ColmapDataProvider(scene, inputs=declared)
    it = provider.view(1)
    scale = np.cbrt(np.linalg.det(provider.transform[:3, :3]))
    assert not 0.9 < scale < 1.1
    depth, normals = torch.from_numpy(DEPTH)[None, ..., None], torch.from_numpy(NORMALS)[None]
    torch.testing.assert_close(it["metric"], depth * scale, check_dtype=False)
    torch.testing.assert_close(it["inverse"], depth / scale, check_dtype=False)
    torch.testing.assert_close(it["relative"], depth)
    torch.testing.assert_close(it["camera_normals"], normals)
    # A normal of the world is turned as the difference of two points is.
    moved = NORMALS.reshape(-1, 3) @ provider.transform[:3, :3].T / scale
    assert it["world_normals"][0].reshape(-1, 3).numpy() == pytest.approx(moved, abs=1e-5)
    assert not np.allclose(moved, NORMALS.reshape(-1, 3), atol=0.1)


# Names and folders


def test_files_are_named_by_stem_or_by_image_and_formats_have_an_order(scene: Path, save: Save) -> None:
    save("mono", DEPTH, ".npy", range(1), ending=".png")
    save("mono", DEPTH + 1, ".npy", range(1, 2))
    save("mono", np.ones((HEIGHT, WIDTH), np.uint16), ".png", range(1, 3))
    provider = ColmapDataProvider(scene, inputs=inputs("mono: depth[metric]?"), normalize=False)
    values = [provider.view(i).extras.get("mono") for i in range(VIEWS)]
    assert values[0][0, 0, 0, 0] == DEPTH[0, 0]
    assert values[1][0, 0, 0, 0] == DEPTH[0, 0] + 1
    assert values[2].unique().tolist() == pytest.approx([0.001])
    assert values[3] is None
    assert (provider.fields_some, provider.fields_none) == ({"mono"}, frozenset())
    assert "mono" not in provider.fields
    assert provider.train_views_without("mono") == ["view_003.png"]


def test_a_folder_of_another_name(scene: Path, save: Save) -> None:
    save("priors/depth", DEPTH, ".npy")
    options = {"mono": InputConfig(folder="priors/depth", scale=2.0)}
    it = load(scene, "mono: depth[metric]", options=options)
    assert torch.equal(it["mono"][0, ..., 0], 2 * torch.from_numpy(DEPTH))
    provider = ColmapDataProvider(scene, inputs=inputs("mono: depth[metric]"))
    assert provider.fields_none == {"mono"}
    assert "mono" in provider.where_looked("mono")


def test_only_what_is_declared_is_read(scene: Path, save: Save) -> None:
    save("mono", DEPTH, ".npy")
    (scene / "broken").mkdir()
    (scene / "broken" / "view_001.npy").write_bytes(b"no array")
    assert dict(ColmapDataProvider(scene).view(1).extras) == {}
    assert set(load(scene, "mono: depth[metric]").extras) == {"mono"}


def test_what_does_not_fit_into_memory_is_read_again(scene: Path, save: Save, monkeypatch: pytest.MonkeyPatch) -> None:
    save("mono", DEPTH, ".npy")
    monkeypatch.setattr(photographs, "KEPT_BYTES", 4 * DEPTH.size + 1)
    provider = ColmapDataProvider(scene, inputs=inputs("mono: depth[relative]"))
    before = [provider.view(i).mono for i in (0, 1)]
    save("mono", DEPTH + 1, ".npy")
    assert torch.equal(provider.view(0).mono, before[0])
    assert torch.equal(provider.view(1).mono, before[1] + 1)


def test_wrong_files(scene: Path, save: Save) -> None:
    (scene / "bad").mkdir()
    path = scene / "bad" / "view_001.npy"
    for content in (b"", b"\x93NUMPY garbage", pickle.dumps([1])):
        path.write_bytes(content)
        found = problem(scene, "bad: map")
        assert found.code == "DAT020"
        assert found.source.name == str(path)
    np.save(path, np.array(["a"]))
    assert "no numbers" in problem(scene, "bad: map").message
    np.save(path, np.zeros((2, HEIGHT, WIDTH, 1)))
    assert "[2, 24, 32, 1]" in problem(scene, "bad: map").message
    np.save(path, np.zeros((HEIGHT, WIDTH, 2)))
    assert "has 2 channels" in problem(scene, "bad: map").message
    np.save(path, np.zeros((WIDTH, HEIGHT)))
    assert "is 24x32, its image 32x24" in problem(scene, "bad: map").message
    np.save(path, np.full((HEIGHT, WIDTH), 3.0))
    found = problem(scene, "bad: map in [0, 1]")
    assert found.code == "DAT021"
    assert "from 3 to 3" in found.message
    np.save(path, np.full((HEIGHT, WIDTH), -3.0))
    assert problem(scene, "bad: depth[metric]").code == "DAT021"
    np.save(path, np.where(DEPTH > 2, DEPTH, np.nan))
    assert "without holes" in problem(scene, "bad: depth[metric]").message
    assert problem(scene, "bad: map").code == "DAT021"
    path.rename(path.with_suffix(".exr"))
    if pytest.importorskip("OpenEXR"):
        assert problem(scene, "bad: map").code == "DAT020"
    path.with_suffix(".exr").rename(path.with_suffix(".png"))
    assert problem(scene, "bad: map").code == "DAT008"
    for name in ("width", "K"):
        assert problem(scene, f"{name}: map", options={name: InputConfig()}).code == "DAT015"
        assert name not in load(scene, f"{name}: map").extras


# Items and batches


def test_extras_read_as_attributes_and_keys(scene: Path, save: Save) -> None:
    save("mono", DEPTH, ".npy")
    it = load(scene, "mono: depth[metric]")
    assert it.mono is it["mono"] is item_field(it, ("mono",)) is it.extras["mono"]
    assert "mono" in it
    assert "stereo" not in it
    assert item_field(it, ("stereo",)) is None
    with pytest.raises(AttributeError, match="no `stereo`"):
        it.stereo  # noqa: B018
    with pytest.raises(KeyError):
        it["stereo"]
    assert it.to("meta").mono.device.type == "meta"
    for other in (copy.copy(it), copy.deepcopy(it), pickle.loads(pickle.dumps(it))):
        assert torch.equal(other.mono, it.mono)


def test_batches_join_extras_that_all_items_have(scene: Path, save: Save) -> None:
    save("mono", DEPTH, ".npy")
    save("some", DEPTH, ".npy", range(2))
    provider = ColmapDataProvider(scene, inputs=inputs("mono: depth[metric]", "some: depth[metric]?"))
    batch = stack_items([provider.view(i) for i in (1, 2)])
    assert batch.mono.shape == (2, HEIGHT, WIDTH, 1)
    assert "some" not in batch
    assert stack_items([provider.view(i) for i in (0, 1)]).some.shape == (2, HEIGHT, WIDTH, 1)
    np.save(scene / "mono" / "view_003.npy", DEPTH[::2])  # another shape is refused before it could reach a batch
    with pytest.raises(LossError, match="not the same shape"):
        provider.view(3)


def test_points_of_views_are_filled_up_and_do_not_count(scene: Path) -> None:
    provider = ColmapDataProvider(scene)
    views = [provider.view(i) for i in (1, 2)]
    counts = [view.points.shape[1] for view in views]
    assert counts[0] != counts[1]
    batch = stack_items(views)
    assert batch.points.shape == (2, max(counts), 2)
    assert (batch.depths > 0).sum(dim=1).tolist() == counts
    text = (
        "input points: [B M 2]\ninput depths: [B M 1] in [0, inf)\n"
        "term seen = mean(abs(sample_at(depth, points) - depths), depths > 0)"
    )
    loss = splatdsl.compile(text, backend="eager")
    g = torch.Generator().manual_seed(0)
    depth = torch.rand(2, HEIGHT, WIDTH, 1, generator=g)

    def value(item: SplatDataItem, depth: torch.Tensor) -> float:
        image = torch.zeros(*depth.shape[:3], 3)
        return loss(rendered=image, target=image, render={"depth": depth}, item=item, step=0, max_steps=1).item()

    each = [value(view, depth[i : i + 1]) for i, view in enumerate(views)]
    mean = sum(v * n for v, n in zip(each, counts)) / sum(counts)
    assert value(batch, depth) == pytest.approx(mean, rel=1e-5)
    # A view without any point has an empty list in the batch, and the others keep theirs.
    bare = copy.copy(views[1])
    object.__setattr__(bare, "points", None)
    object.__setattr__(bare, "depths", None)
    batch = stack_items([views[0], bare])
    assert batch.depths[1].abs().max() == 0
    assert value(batch, depth) == pytest.approx(each[0], rel=1e-5)


# Runs

PROGRAM = """input mono: depth[metric, sparse]
input labels: [B H W 1] in [0, 255]?
term colour = l1()
term depth = 0.1 * depth_l1(depth, mono, valid(mono))
term class = 0.001 * mean(labels) * mean(alpha) when has(labels)
"""


def run_config(scene: Path, write: Callable[..., Path], extra: str = "") -> Path:
    write("run.loss", PROGRAM)
    settings = "{max_steps: 3, backend: eager, sh_degree: 0, device: cpu, strategy: none, tensorboard: false}"
    text = f"loss: run.loss\ndata: {{kind: colmap, path: '{scene}'{extra}}}\nrenderer: {{kind: reference}}\n"
    return write("run.yaml", f"{text}train: {settings}\n")


def test_a_run_loads_what_its_program_declares(scene: Path, save: Save, write: Any, tmp_path: Path) -> None:
    path = run_config(scene, write)
    found = check_config(path)
    assert {d.code for d in found} == {"BUF002", "BUF003"}
    save("mono", (1000 * DEPTH).astype(np.uint16), ".png")
    save("numbers", LABELS, ".png")
    path = run_config(scene, write, ", inputs: {labels: {folder: numbers}}")
    assert check_config(path) == []
    config, _ = load_config(path)
    assert {"mono", "labels", "numbers"} <= data_fields(config)
    trainer = build_trainer(config, tmp_path / "run", display="none")
    assert trainer.run().finished
    item = trainer.data_provider.view(1)
    assert torch.equal(item["labels"][0, ..., 0], torch.from_numpy(LABELS).float())
    assert float(trainer.loss_fn.terms["class"]) > 0
    assert trainer.loss_fn.terms["depth"].isfinite()
    (missing,) = [d for d in check_config(path, ["data.inputs.labels.folder=nowhere"]) if d.code == "CFG008"]
    assert "no folder `nowhere` for the input `labels`" in missing.message


def test_views_that_lack_a_required_input_stop_the_run(scene: Path, save: Save, write: Any, tmp_path: Path) -> None:
    save("mono", DEPTH, ".npy", range(2))
    config, _ = load_config(run_config(scene, write))
    with pytest.raises(LossError) as caught:
        build_trainer(config, tmp_path / "run", display="none").run()
    (found,) = caught.value.diagnostics
    assert (found.code, found.line) == ("BUF002", 4)
    assert found.message == "the loss reads `mono`, but 2 of the 3 training views have none"
    assert found.notes[0] == "without it: view_002.png, view_003.png"
    assert str(scene / "mono") in found.notes[1]
    shutil.rmtree(scene / "mono")
    provider = ColmapDataProvider(scene)  # the trainer tells it what the program declares
    loss = splatdsl.compile("input mono: depth[metric]\nterm a = l1()\nterm b = depth_l1(depth, mono)", backend="eager")
    settings = SplatTrainerConfig(max_steps=1, sh_degree=0, tensorboard=False, images=False, strategy="none")
    with pytest.raises(LossError, match="none of the 3 training views has one"):
        SplatTrainer(settings, loss, provider, display="none").run()


# Sparse points


def test_points_can_be_filtered(scene: Path) -> None:
    def seen(**options: Any) -> list[int]:
        provider = ColmapDataProvider(scene, points=PointsConfig(**options))
        assert provider.init_splat_model().num_gaussians == 150, "gaussians start from all of them"
        items = [provider.view(i) for i in range(VIEWS)]
        return [0 if it.points is None else it.points.shape[1] for it in items]

    model = pycolmap.Reconstruction(str(scene / "sparse" / "0"))
    tracks = [len(p.track.elements) for p in model.points3D.values()]
    assert {2, 3} <= set(tracks)
    everything, long = seen(), seen(min_views=3)
    assert sum(everything) - sum(long) == 2 * sum(1 for n in tracks if n == 2)
    assert seen(min_views=VIEWS + 1) == [0] * VIEWS
    for i, point in enumerate(model.points3D.values()):
        point.error = float(i % 3)
    model.write_binary(str(scene / "sparse" / "0"))
    good = sum(n for i, n in enumerate(tracks) if i % 3 <= 1)
    assert sum(seen(max_error=1.5)) == good
    assert sum(seen(max_error=5.0)) == sum(everything)


def test_points_of_the_real_scene_are_filtered(sceaux: Path) -> None:
    text = f"loss: l1()\ndata: {{kind: colmap, path: '{sceaux}', points: {{max_error: 0.4, min_views: 4}}}}\n"
    config, found = load_config("run.yaml", text=text)
    assert found == []
    model = pycolmap.Reconstruction(str(sceaux / "sparse" / "0"))
    views = [(p.error, len({e.image_id for e in p.track.elements})) for p in model.points3D.values()]
    kept = [n for error, n in views if error <= 0.4 and n >= 4]
    assert 100 < len(kept) < len(views)
    provider = ColmapDataProvider(sceaux, points=config.data.points)
    provider.load_data()
    assert sum(len(v.seen) for v in provider._views) == sum(kept)
    assert all((provider.view(i).depths > 0).all() for i in (0, 5))


# The page


def test_the_page_on_data_is_true(scene: Path, save: Save, write: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = dict(re.findall(r"```(\w*)\n(.*?)```", page, re.DOTALL))
    assert check_text(blocks[""]) == []
    save("priors/disparity", LABELS, ".png")
    save("mono", LABELS, ".png")
    config = write("runs/run.yaml", blocks["yaml"])
    assert check_config(config) == []
    loaded, _ = load_config(config)
    write("run.loss", loaded.loss)
    monkeypatch.chdir(scene.parent)
    shutil.copytree(scene / "images", scene / "train")
    frames = [{"file_path": f"train/view_{i:03d}", "transform_matrix": np.eye(4).tolist()} for i in range(VIEWS)]
    (scene / "transforms.json").write_text(json.dumps({"camera_angle_x": 0.9, "frames": frames}))
    shutil.move(scene / "mono", scene / "moved")
    (scene / "mono").mkdir()
    shutil.move(scene / "moved", scene / "mono" / "train")
    names: dict[str, Any] = {}
    exec(blocks["python"], names)
    assert names["item"]["mono"].shape == (1, HEIGHT, WIDTH, 1)
    for name in [key.name for section in ("data.points", "data.inputs.NAME") for key in keys(section).values()]:
        assert f"`{name}`" in page or f".{name}`" in page
