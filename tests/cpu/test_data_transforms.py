"""Scenes of nerfstudio and Blender: the built-in scene through the files, and every mistake in them."""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from splatdsl.cli.main import main
from splatdsl.dsl.config import check_config, data_fields, load_config
from splatdsl.dsl.config_data import scene_files
from splatdsl.dsl.diagnostics import Diagnostic, LossError
from splatdsl.runtime.data.colmap import ColmapDataProvider
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.data.transforms import TransformsDataProvider
from splatdsl.runtime.training.setup import build_provider

Image = pytest.importorskip("PIL.Image", reason="pillow reads and writes images")
OPENGL = np.array([1.0, -1.0, -1.0, 1.0])
WIDTH, HEIGHT = 48, 36


@pytest.fixture(scope="module")
def synthetic() -> SyntheticDataProvider:
    return SyntheticDataProvider(WIDTH, HEIGHT, views=8, test_every=4, points=200)


def pose_of(scene: SyntheticDataProvider, index: int) -> list[list[float]]:
    return (scene.cam_to_worlds[index].numpy() * OPENGL).tolist()


@pytest.fixture(scope="module")
def written(synthetic: SyntheticDataProvider, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene as nerfstudio has them: images, masks, depth in millimetres, sparse points."""
    plyfile = pytest.importorskip("plyfile")
    folder = tmp_path_factory.mktemp("nerfstudio")
    for name in ("images", "kept", "depth"):
        (folder / name).mkdir()
    frames = []
    for index in range(8):
        it = synthetic.view(index)
        Image.fromarray((255 * it.image[0]).round().byte().numpy()).save(folder / "images" / it.image_name)
        Image.fromarray(it.mask[0].byte().numpy() * 255).save(folder / "kept" / it.image_name)
        depth = (1000 * it.depth_map[0, ..., 0]).round().numpy().astype(np.uint16)
        Image.fromarray(depth).save(folder / "depth" / it.image_name)
        names = {"mask_path": f"kept/{it.image_name}", "depth_file_path": f"./depth/{it.image_name}"}
        frames.append(
            {"file_path": f"./images/{it.image_name}", "transform_matrix": pose_of(synthetic, index), **names}
        )
    xyz, rgb = synthetic._sparse_points()
    kinds = [(c, "f4") for c in "xyz"] + [(c, "u1") for c in ("red", "green", "blue")]
    rows = np.array([(*p, *c) for p, c in zip(xyz, np.rint(255 * rgb))], dtype=kinds)
    plyfile.PlyData([plyfile.PlyElement.describe(rows, "vertex")]).write(str(folder / "sparse_pc.ply"))
    top = {
        **{"camera_model": "OPENCV", "w": WIDTH, "h": HEIGHT, "fl_x": synthetic._K[0, 0], "fl_y": synthetic._K[1, 1]},
        **{"cx": WIDTH / 2, "cy": HEIGHT / 2, "k1": 0.0, "k2": 0, "p1": 0.0, "p2": 0.0},
        **{"ply_file_path": "sparse_pc.ply", "frames": frames[::-1]},
    }
    (folder / "transforms.json").write_text(json.dumps(top))
    return folder


@pytest.fixture(scope="module")
def blender(synthetic: SyntheticDataProvider, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scene as NeRF's Blender scenes are: RGBA, one angle, paths without suffix, a file for each part."""
    folder = tmp_path_factory.mktemp("blender")
    for part, views in (("train", range(6)), ("test", range(6, 8)), ("val", range(1))):
        (folder / part).mkdir()
        frames = []
        for place, index in enumerate(views):
            it = synthetic.view(index)
            rgba = torch.cat([it.image[0], it.mask[0][..., None].float()], dim=-1)
            Image.fromarray((255 * rgba).round().byte().numpy()).save(folder / part / f"r_{place}.png")
            frames.append({"file_path": f"./{part}/r_{place}", "transform_matrix": pose_of(synthetic, index)})
        top = {"camera_angle_x": 2 * math.atan(0.5 * WIDTH / synthetic._K[0, 0]), "frames": frames}
        (folder / f"transforms_{part}.json").write_text(json.dumps(top))
    return folder


Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def changed(written: Path, tmp_path: Path) -> Callable[[Change], Path]:
    """A copy of the scene whose file has been changed."""

    def change(edit: Change) -> Path:
        folder = Path(shutil.copytree(written, tmp_path / "scene", dirs_exist_ok=True))
        top = json.loads((written / "transforms.json").read_text())
        edit(top)
        (folder / "transforms.json").write_text(json.dumps(top))
        return folder

    return change


def problem(path: Path, **options: Any) -> Diagnostic:
    with pytest.raises(LossError) as error:
        TransformsDataProvider(path, **options).init_splat_model()
    (found,) = error.value.diagnostics
    return found


def test_nerfstudio_scene_is_the_scene_that_was_written(synthetic: SyntheticDataProvider, written: Path) -> None:
    loaded = TransformsDataProvider(written, test_every=4, normalize=False)
    assert loaded.load_data() == pytest.approx(synthetic.load_data(), rel=1e-9)
    assert (loaded.train_indices, loaded.test_indices) == ((1, 2, 3, 5, 6, 7), (0, 4))
    assert loaded.fields == {"target", "mask", "depth_map"}
    for index in range(8):
        ours, theirs = synthetic.view(index), loaded.view(index)
        assert theirs.image_name == ours.image_name
        assert torch.equal(theirs.image, ours.image)
        assert torch.equal(theirs.mask, ours.mask)
        torch.testing.assert_close(theirs.K, ours.K)
        torch.testing.assert_close(theirs.cam_to_world, ours.cam_to_world)
        torch.testing.assert_close(theirs.depth_map, ours.depth_map, rtol=0, atol=0.00051)
        assert theirs.points is None
    ours, theirs = synthetic.init_splat_model(), loaded.init_splat_model()
    torch.testing.assert_close(theirs.means, ours.means)
    torch.testing.assert_close(theirs.sh0, ours.sh0)


def test_depth_and_points_follow_the_scene_into_its_frame(synthetic: SyntheticDataProvider, written: Path) -> None:
    loaded = TransformsDataProvider(written)
    assert loaded.load_data() == pytest.approx(1.1)
    scale = 1.1 / synthetic.load_data()
    torch.testing.assert_close(
        loaded.view(3).depth_map, scale * synthetic.view(3).depth_map, rtol=0, atol=0.0006 * scale
    )
    moved = np.append(synthetic._sparse_points()[0][5], 1.0) @ loaded.transform.T
    assert loaded.points[5].numpy() == pytest.approx(moved[:3], abs=1e-5)


def test_depth_scales_with_its_unit_and_with_the_applied_scale(changed: Any, synthetic: SyntheticDataProvider) -> None:
    def edit(top: dict[str, Any]) -> None:
        top["applied_scale"] = 2.0
        top["applied_transform"] = [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 5.0]]
        top["depth_unit_scale_factor"] = 0.003
        top["frames"][0]["depth_unit_scale_factor"] = 0.001

    folder = changed(edit)
    loaded = TransformsDataProvider(folder, normalize=False)
    last = loaded.view(7)  # the first frame of the file
    torch.testing.assert_close(last.depth_map, 2 * synthetic.view(7).depth_map, rtol=0, atol=0.00101)
    torch.testing.assert_close(loaded.view(2).depth_map, 6 * synthetic.view(2).depth_map, rtol=0, atol=0.00301)
    assert loaded.points[5].numpy() == pytest.approx(2 * synthetic._sparse_points()[0][5], abs=1e-5)
    # From the reconstruction's world, by hand: turned, shifted, scaled.
    assert (loaded.transform @ [1.0, 2.0, 3.0, 1.0]).tolist() == [4.0, 6.0, 12.0, 1.0]


def test_blender_scenes_hold_out_their_test_file(synthetic: SyntheticDataProvider, blender: Path) -> None:
    loaded = TransformsDataProvider(blender, normalize=False, random_points=100)
    assert (loaded.get_train_data_size(), loaded.get_test_data_size()) == (6, 2)
    assert [loaded.test_item(i).image_name for i in range(2)] == ["test/r_0.png", "test/r_1.png"]
    assert loaded.fields == {"target"}
    for index in range(8):
        ours, theirs = synthetic.view(index), loaded.view(index)
        torch.testing.assert_close(theirs.K, ours.K)
        torch.testing.assert_close(theirs.cam_to_world, ours.cam_to_world)
        kept = ours.mask[0]
        assert torch.equal(theirs.image[0][kept], ours.image[0][kept])
        assert (theirs.image[0][~kept] == 1).all(), "transparent pixels show a white background"
        assert theirs.mask is None
    assert TransformsDataProvider(blender, test_every=0).get_test_data_size() == 0
    (blender / "transforms_test.json").rename(blender / "hidden.json")
    try:
        by_val = TransformsDataProvider(blender / "transforms_train.json")
        assert [by_val.test_item(i).image_name for i in range(by_val.get_test_data_size())] == ["val/r_0.png"]
    finally:
        (blender / "hidden.json").rename(blender / "transforms_test.json")
    alone = TransformsDataProvider(blender / "transforms_test.json", test_every=2)
    assert (alone.train_indices, alone.test_indices) == ((1,), (0,))


def test_alpha_is_composited_in_between_or_is_a_mask(
    blender: Path, synthetic: SyntheticDataProvider, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(blender, tmp_path / "scene"))
    half = np.full((HEIGHT, WIDTH, 4), (200, 100, 0, 51), dtype=np.uint8)
    Image.fromarray(half).save(folder / "train" / "r_0.png")
    grey = TransformsDataProvider(folder, background=(0.0, 0.5, 1.0)).view(0).image[0, 0, 0]
    assert (255 * grey).round().tolist() == [40, 122, 204]
    masked = TransformsDataProvider(folder, alpha="mask", background=None).view(1)
    assert torch.equal(masked.mask, synthetic.view(1).mask)
    assert torch.equal(masked.image, synthetic.view(1).image)
    found = problem(folder, background=None)
    assert found.code == "DAT015"
    assert found.message.startswith("8 of 8 images are transparent")


def test_a_config_lays_images_over_what_renders_are_composited_on(blender: Path, write: Any) -> None:
    text = f"loss: l1()\ndata: {{kind: auto, path: '{blender}', random_points: 50}}\n"
    config, found = load_config("run.yaml", text=text)
    assert found == []
    provider = {b: build_provider(config.data, 0, torch.device("cpu"), b) for b in ("black", "white", "random")}
    for name, value in (("black", 0.0), ("white", 1.0)):
        assert provider[name].view(0).image[0, 0, 0].tolist() == [value] * 3
    with pytest.raises(LossError, match="transparent"):
        provider["random"].load_data()
    assert provider["black"].init_splat_model().num_gaussians == 50


def test_random_points_fill_what_the_cameras_look_at(blender: Path, synthetic: SyntheticDataProvider) -> None:
    def points(**options: Any) -> np.ndarray:
        provider = TransformsDataProvider(blender, normalize=False, random_points=500, **options)
        return provider.init_splat_model().means.detach().numpy()

    first = points()
    assert first.shape == (500, 3)
    assert np.array_equal(first, points())
    assert not np.array_equal(first, points(seed=1))
    provider = TransformsDataProvider(blender, normalize=False)
    provider.load_data()
    centre, half = provider._box_of_cameras()
    assert centre == pytest.approx([0, 0, 0.3], abs=1e-6)  # where all cameras of the scene look
    assert np.abs(first - centre).max() < half
    assert np.abs(first - centre).max() > 0.98 * half
    distance = np.median(np.linalg.norm(synthetic.cam_to_worlds[:, :3, 3].numpy() - centre, axis=1))
    assert half == pytest.approx(distance * 0.5 * WIDTH / synthetic._K[0, 0], rel=1e-6)


def test_the_box_of_cameras_that_look_away_is_around_them(changed: Any) -> None:
    def turn(top: dict[str, Any]) -> None:
        del top["ply_file_path"]
        for frame in top["frames"]:  # about the vertical axis of each camera, by half a turn
            pose = np.array(frame["transform_matrix"]) * [-1, 1, -1, 1]
            frame["transform_matrix"] = pose.tolist()

    provider = TransformsDataProvider(changed(turn), normalize=False)
    provider.load_data()
    centres = provider.cam_to_worlds[:, :3, 3].numpy()
    centre, half = provider._box_of_cameras()
    assert centre == pytest.approx(centres.mean(axis=0))
    assert half == pytest.approx(5 * provider.scene_scale / 1.1)


def test_lists_of_files_split_the_views(changed: Any) -> None:
    def edit(top: dict[str, Any]) -> None:
        names = sorted(frame["file_path"] for frame in top["frames"])
        top.update(train_filenames=names[:3], val_filenames=names[3:4], test_filenames=names[5:7])

    folder = changed(edit)
    loaded = TransformsDataProvider(folder)
    names = [loaded.view(i).image_name for i in range(5)]
    assert names == [f"view_{i:03d}.png" for i in (0, 1, 2, 5, 6)]
    assert (loaded.train_indices, loaded.test_indices) == ((0, 1, 2), (3, 4))
    assert TransformsDataProvider(folder, test_every=0).get_test_data_size() == 0


def test_frames_may_have_cameras_of_their_own(changed: Any) -> None:
    def edit(top: dict[str, Any]) -> None:
        top["frames"][0].update(fl_x=30.0, fl_y=40.0, cx=20.0, cy=10.0, w=96, h=72)
        for key in ("fl_y", "cx", "cy", "w", "h"):
            del top[key]

    loaded = TransformsDataProvider(changed(edit), width=24)
    assert loaded.view(7).K[0].tolist() == [[7.5, 0.0, 5.0], [0.0, 10.0, 2.5], [0.0, 0.0, 1.0]]
    K = loaded.view(0).K[0]
    assert K[0, 0] == K[1, 1]
    assert K[:2, 2].tolist() == [12.0, 9.0]
    assert loaded.view(0).image.shape == (1, 18, 24, 3)
    assert loaded.view(0).depth_map.shape == (1, 18, 24, 1)


@pytest.mark.parametrize(
    ("edit", "code", "part"),
    [
        (lambda t: t.update(k1=0.01), "DAT005", "`k1` is 0.01: the lens distorts"),
        (lambda t: t["frames"][2].update(p2=-0.5), "DAT005", "`frames[2].p2` is -0.5"),
        (lambda t: t.update(camera_model="OPENCV_FISHEYE"), "DAT005", "`camera_model` is OPENCV_FISHEYE"),
        (lambda t: t.update(is_fisheye=True), "DAT005", "fisheye"),
        (lambda t: t.pop("frames"), "DAT019", "`frames` in "),
        (lambda t: t.update(frames=[]), "DAT007", "no frame"),
        (lambda t: t["frames"].append(3), "DAT019", "`frames[8]` in "),
        (lambda t: t["frames"][1].pop("file_path"), "DAT019", "`frames[1].file_path`"),
        (lambda t: t["frames"][1].update(file_path="images/gone.png"), "DAT006", "1 of 8 images"),
        (lambda t: t["frames"][1].update(file_path=t["frames"][0]["file_path"]), "DAT019", "names `view_007.png`"),
        (lambda t: t["frames"][3].pop("transform_matrix"), "DAT019", "`frames[3].transform_matrix`"),
        (lambda t: t["frames"][3].update(transform_matrix=[[1, 2], [3, 4]]), "DAT019", "4x4"),
        (lambda t: t["frames"][3].update(transform_matrix=(2 * np.eye(4)).tolist()), "DAT019", "no rotation"),
        (lambda t: t["frames"][3]["transform_matrix"][0].__setitem__(0, "x"), "DAT019", "4x4"),
        (lambda t: t["frames"][3]["transform_matrix"][0].__setitem__(0, float("nan")), "DAT019", "not finite"),
        (lambda t: t.pop("fl_x"), "DAT019", "`camera_angle_x`"),
        (lambda t: t.update(fl_x="long"), "DAT019", '`fl_x` in '),
        (lambda t: t.update(fl_x=0), "DAT019", "not above 0"),
        (lambda t: (t.pop("fl_x"), t.update(camera_angle_x=4.0)), "DAT019", "between 0 and pi"),
        (lambda t: t["frames"][0].update(mask_path="kept/gone.png"), "DAT019", "`frames[0].mask_path`"),
        (lambda t: t["frames"][0].update(depth_file_path="gone.npy"), "DAT019", "`frames[0].depth_file_path`"),
        (lambda t: t.update(ply_file_path="gone.ply"), "DAT019", "`ply_file_path`"),
        (lambda t: t.update(ply_file_path="transforms.json"), "DAT019", "no PLY file of points"),
        (lambda t: t.update(w=36, h=48), "DAT009", "not the same shape"),
        (lambda t: t.update(test_filenames=["images/nobody.png"]), "DAT019", "`test_filenames[0]`"),
        (lambda t: t.update(applied_transform=[1, 2]), "DAT019", "`applied_transform`"),
    ],
)  # fmt: skip
def test_mistakes_name_the_file_and_the_key(edit: Change, code: str, part: str, changed: Any) -> None:
    folder = changed(edit)
    found = problem(folder)
    assert found.code == code
    assert part in found.message
    assert str(folder) in found.source.name
    assert "\n" not in found.message


def test_files_that_are_no_scene(tmp_path: Path, written: Path) -> None:
    assert problem(tmp_path / "nowhere").code == "DAT002"
    assert problem(tmp_path / "nowhere.json").code == "DAT002"
    assert problem(tmp_path).code == "DAT002"
    for text in ("{", "[1]", "\udcff", "[" * 100_000):
        (tmp_path / "transforms.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        assert problem(tmp_path).code == "DAT019"
    assert problem(written, random_points=3).code == "DAT015"
    assert problem(written, alpha="ignore").code == "DAT015"
    assert problem(written, masks="required", test_every=1).code == "DAT013"


def test_masks_can_be_required_and_are_looked_for_as_colmap_has_them(changed: Any) -> None:
    def edit(top: dict[str, Any]) -> None:
        for frame in top["frames"][:2]:
            del frame["mask_path"]

    folder = changed(edit)
    found = problem(folder, masks="required")
    assert found.code == "DAT010"
    assert found.notes == ("without a mask: view_006.png, view_007.png",)
    (folder / "masks").mkdir()
    shutil.copy(folder / "kept" / "view_000.png", folder / "masks" / "view_006.png")
    some = TransformsDataProvider(folder)
    assert some.fields_some == {"mask"}
    assert torch.equal(some.view(6).mask, some.view(0).mask)
    assert TransformsDataProvider(folder, masks="none").view(0).mask is None


def test_the_checker_knows_the_scene_without_loading_it(
    written: Path, blender: Path, changed: Any, tmp_path: Path
) -> None:
    def fields(path: Path, kind: str = "auto") -> frozenset[str]:
        config, found = load_config("run.yaml", text=f"loss: l1()\ndata: {{kind: {kind}, path: '{path}'}}\n")
        assert found == []
        return data_fields(config)

    # `kept` and `depth` hold pictures, so an input of that name would have its files.
    assert fields(written) == fields(written / "transforms.json", "transforms")
    assert fields(written) - {"kept", "depth"} == {"target", "mask", "depth_map"}
    assert {"target"} <= fields(blender)
    assert not fields(blender) & {"mask", "depth_map", "points"}
    program = (
        "input depth_map: depth[metric, sparse]\\nterm a = l1()\\nterm b = depth_l1(depth, depth_map, valid(depth_map))"
    )
    text = f'loss: "{program}"\ndata: {{kind: transforms, path: %s}}\nrenderer: {{kind: reference}}\n'
    assert [d.code for d in check_config("run.yaml", text=text % written)] == []
    assert [d.code for d in check_config("run.yaml", text=text % blender)] == ["BUF002"]
    loss = tmp_path / "run.loss"
    loss.write_text(program.replace("\\n", "\n"))
    assert [main(["check", "--data", str(path), str(loss)]) for path in (written, blender)] == [0, 1]
    run = tmp_path / "run.yaml"
    run.write_text("loss: run.loss\ndata: {kind: synthetic}\n")
    assert [main(["check", "--data", str(path), str(run)]) for path in (written, blender)] == [0, 1]
    (tmp_path / "none").mkdir()
    wrong = {tmp_path / "none": "neither", tmp_path / "x": "does not exist", changed(dict.clear): "no list `frames`"}
    for path, part in wrong.items():
        (found,) = check_config("run.yaml", text=text % path)
        assert found.code == "CFG008"
        assert part in found.message
    config, _ = load_config("run.yaml", text=f"loss: l1()\ndata: {{kind: auto, path: '{blender}'}}\n")
    files = {str(Path(p).relative_to(blender)) for p in scene_files(config.data)}
    assert {"transforms_train.json", "transforms_test.json", "train/r_0.png", "test/r_1.png"} <= files


def test_auto_takes_a_reconstruction_where_there_is_no_such_file(tmp_path: Path) -> None:
    (tmp_path / "sparse").mkdir()
    config, _ = load_config("run.yaml", text=f"loss: l1()\ndata: {{kind: auto, path: '{tmp_path}'}}\n")
    provider = build_provider(config.data, 0, torch.device("cpu"))
    assert type(provider) is ColmapDataProvider
    wrong = "loss: l1()\ndata: {kind: transforms, path: '%s', points: {min_views: 3}}\n" % tmp_path  # noqa: UP031
    assert {d.code for d in check_config("run.yaml", text=wrong)} == {"CFG008", "CFG009"}


def test_options_are_kept_in_a_resolved_config(written: Path) -> None:
    from splatdsl.dsl.config import config_to_dict

    text = f"loss: l1()\ndata: {{kind: transforms, path: '{written}', inputs: {{depth_map: {{scale: 0.5}}}}}}\n"
    config, found = load_config("run.yaml", ["data.inputs.normals_prior.axes=opengl"], text)
    assert found == []
    made = copy.deepcopy(config_to_dict(config)["data"])
    assert made["inputs"] == {"depth_map": {"scale": 0.5, "axes": "opencv"}, "normals_prior": {"axes": "opengl"}}
    again, found = load_config("run.yaml", text=json.dumps({"loss": "l1()", "data": made}))
    assert found == []
    assert again.data == config.data
