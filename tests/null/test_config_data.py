"""What a config says of its data, and what is known of a scene from names alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from splatdsl.dsl.config import check_config, config_to_dict, data_fields, load_config
from splatdsl.dsl.config_data import scene_files, scene_kind
from splatdsl.dsl.config_schema import InputConfig, RunConfig
from splatdsl.dsl.diagnostics import Diagnostic

Write = Callable[[str, str], Path]


def load(path: Path, more: str = "", kind: str = "auto", *sets: str) -> RunConfig:
    config, found = load_config("run.yaml", sets, f"loss: l1()\ndata: {{kind: {kind}, path: '{path}'{more}}}\n")
    assert found == []
    assert config is not None
    return config


def mistake(path: Path, more: str = "", kind: str = "auto", *sets: str) -> Diagnostic:
    _, (found,) = load_config("run.yaml", sets, f"loss: l1()\ndata: {{kind: {kind}, path: '{path}'{more}}}\n")
    return found


@pytest.fixture
def colmap(write: Write, tmp_path: Path) -> Path:
    for name in ("images/a.jpg", "sparse/0/cameras.bin", "mono/a.npy", "labels/x/a.png", "notes/readme.txt"):
        write(f"scene/{name}", "")
    return tmp_path / "scene"


@pytest.fixture
def nerf(write: Write, tmp_path: Path) -> Path:
    frames = [{"file_path": "images/a", "mask_path": "keep/a.png", "depth_file_path": "d/a.npy"}]
    write("nerf/transforms.json", json.dumps({"frames": frames}))
    for name in ("images/a.jpg", "keep/a.png", "d/a.npy", "normals_prior/a.exr"):
        write(f"nerf/{name}", "")
    return tmp_path / "nerf"


def test_the_kind_is_told_from_the_files(colmap: Path, nerf: Path) -> None:
    assert scene_kind("auto", str(colmap)) == "colmap"
    assert scene_kind("auto", str(nerf)) == scene_kind("auto", str(nerf / "other.json")) == "transforms"
    assert scene_kind("colmap", str(nerf)) == "colmap"


def test_folders_of_inputs_are_fields(colmap: Path, nerf: Path) -> None:
    points = {"target", "points", "depths"}
    assert data_fields(load(colmap)) == points | {"mono", "labels"}
    assert data_fields(load(colmap, ", inputs: {stereo: {folder: mono}}")) == points | {"mono", "labels", "stereo"}
    assert data_fields(load(nerf)) == {"target", "mask", "depth_map", "keep", "d", "normals_prior"}
    assert "mask" not in data_fields(load(nerf, ", masks: none"))
    assert "mask" in data_fields(load(nerf, ", masks: required"))


def test_a_program_is_checked_against_the_folders(colmap: Path, write: Write) -> None:
    program = "input %s: depth[relative]\nterm a = l1()\nterm b = pearson_loss(depth, %s)\n"
    for name, codes in (("mono", []), ("stereo", ["BUF002"])):
        write("run.loss", program % (name, name))
        run = write("run.yaml", f"loss: run.loss\ndata: {{kind: colmap, path: '{colmap}'}}\n")
        assert [d.code for d in check_config(run)] == codes


def test_the_files_of_a_scene(colmap: Path, nerf: Path) -> None:
    def names(path: Path) -> list[str]:
        return [str(Path(p).relative_to(path)) for p in scene_files(load(path).data)]

    assert names(colmap) == ["images/a.jpg", "labels/x/a.png", "mono/a.npy", "sparse/0/cameras.bin"]
    assert names(nerf) == ["d/a.npy", "images/a.jpg", "keep/a.png", "normals_prior/a.exr", "transforms.json"]
    assert scene_files(load_config("x.yaml", text="loss: l1()\ndata: {kind: synthetic}\n")[0].data) == []


def test_options_of_inputs_and_points(colmap: Path) -> None:
    config = load(colmap, ", points: {max_error: 2}", "colmap", "data.inputs.mono.scale=0.5", "data.points.min_views=3")
    assert (config.data.points.max_error, config.data.points.min_views) == (2, 3)
    assert config.data.inputs == {"mono": InputConfig(scale=0.5)}
    assert config_to_dict(config)["data"]["inputs"] == {"mono": {"scale": 0.5, "axes": "opencv"}}


@pytest.mark.parametrize(
    ("more", "code", "part"),
    [
        (", inputs: 3", "CFG006", "`data.inputs` is a single value"),
        (", inputs: {mono: 0.1}", "CFG006", "`data.inputs.mono` is a single value"),
        (", inputs: {mono: {}}", "", ""),
        (", inputs: {mono: }", "CFG006", "`data.inputs.mono` is nothing"),
        (", inputs: {mono: {scale: 0}}", "CFG007", "`data.inputs.mono.scale` must be a number, above 0"),
        (", inputs: {mono: {axes: blender}}", "CFG007", "`data.inputs.mono.axes`"),
        (", inputs: {mono: {scales: 2}}", "CFG004", "`scales` is not a key of `data.inputs.mono`"),
        (", inputs: {mono: {folder: gone}}", "CFG008", "no folder `gone` for the input `mono`"),
        (", points: {max_error: -1}", "CFG007", "`data.points.max_error`"),
        (", alpha: premultiplied", "CFG007", "`data.alpha`"),
        (", views: 3", "CFG009", "`data.views` is not used with `kind: auto`"),
    ],
)
def test_mistakes(more: str, code: str, part: str, colmap: Path) -> None:
    if not code:
        assert load(colmap, more).data.inputs == {"mono": InputConfig()}
        return
    found = mistake(colmap, more)
    assert found.code == code
    assert part in found.message


def test_scenes_that_are_none(tmp_path: Path, nerf: Path) -> None:
    assert "does not exist" in mistake(tmp_path / "gone").message
    assert "no folder `sparse/` with a reconstruction and no `transforms.json`" in mistake(tmp_path).message
    assert "neither `transforms.json` nor" in mistake(tmp_path, "", "transforms").message
    assert "is a file, not a folder" in mistake(nerf / "images" / "a.jpg").message
    for text, part in (("{", "is not JSON"), ("[]", "no list `frames`"), ('{"frames": 3}', "no list `frames`")):
        (nerf / "transforms.json").write_text(text)
        found = mistake(nerf)
        assert found.code == "CFG008"
        assert part in found.message
    (nerf / "transforms.json").write_bytes(b"\xff\xfe")
    assert "is not JSON" in mistake(nerf).message
