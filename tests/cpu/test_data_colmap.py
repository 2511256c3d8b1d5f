"""COLMAP scenes: a synthetic one through the whole path, a real one against COLMAP's own observations, and mistakes."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from splatdsl.dsl.diagnostics import Diagnostic, LossError
from splatdsl.runtime.data.base import pixels_of
from splatdsl.runtime.data.colmap import ColmapDataProvider
from splatdsl.runtime.data.images import read_image, read_mask, same_shape
from splatdsl.runtime.data.normalize import normalizing_transform, transform_points, transform_poses
from splatdsl.runtime.data.synthetic import SyntheticDataProvider

pycolmap = pytest.importorskip("pycolmap", reason="pycolmap reads and writes COLMAP models")
Image = pytest.importorskip("PIL.Image", reason="pillow reads and writes images")

SCEAUX = Path(__file__).resolve().parents[3] / "shared" / "data" / "sceaux"
needs_sceaux = pytest.mark.skipif(not SCEAUX.is_dir(), reason=f"the real scene is not at {SCEAUX}")


@pytest.fixture(scope="module")
def synthetic() -> SyntheticDataProvider:
    return SyntheticDataProvider(48, 36, views=9, test_every=4, points=400)


@pytest.fixture(scope="module")
def written(synthetic: SyntheticDataProvider, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic.write_colmap(tmp_path_factory.mktemp("scene"))


@pytest.fixture
def scene(written: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(written, tmp_path / "scene"))


def load_everything(path: Path, options: dict[str, object]) -> None:
    provider = ColmapDataProvider(path, **options)
    provider.load_data()
    provider.init_splat_model()
    for index in range(provider.get_train_data_size() + provider.get_test_data_size()):
        provider.view(index)


def problem(path: Path, **options: object) -> Diagnostic:
    """The one finding that loading the scene, and starting a model from it, gives."""
    with pytest.raises(LossError) as error:
        load_everything(path, options)
    assert len(error.value.diagnostics) == 1
    return error.value.diagnostics[0]


def observation_errors(provider: ColmapDataProvider, model_folder: Path) -> np.ndarray:
    """Distances in pixels between our projections of sparse points and COLMAP's observations, scaled to our size."""
    model = pycolmap.Reconstruction(str(model_folder))
    rows = {number: row for row, number in enumerate(sorted(model.points3D))}
    points = provider.points.numpy()
    views = {provider.view(i).image_name: i for i in range(len(provider.cam_to_worlds))}
    errors = []
    for image in model.images.values():
        it = provider.view(views[image.name])
        seen = [(p.xy, rows[p.point3D_id]) for p in image.points2D if p.has_point3D()]
        camera = model.cameras[image.camera_id]
        observed = np.array([xy for xy, _ in seen]) * [it.width / camera.width, it.height / camera.height]
        pose = provider.cam_to_worlds[views[image.name]].numpy()
        pixels, depth = pixels_of(points[[row for _, row in seen]], it.K[0].double().numpy(), pose)
        assert (depth > 0).all()
        errors.append(np.linalg.norm(pixels - observed, axis=1))
    return np.concatenate(errors)


def test_round_trip_gives_the_same_scene(synthetic: SyntheticDataProvider, written: Path) -> None:
    loaded = ColmapDataProvider(written, normalize=False, test_every=4)
    assert loaded.load_data() == pytest.approx(synthetic.load_data(), rel=1e-9)
    assert (loaded.get_train_data_size(), loaded.test_indices) == (6, (0, 4, 8))
    assert loaded.fields == {"target", "mask", "points"}
    for index in (0, 5):
        ours, theirs = synthetic.view(index), loaded.view(index)
        assert theirs.image_name == ours.image_name
        assert torch.equal(theirs.image, ours.image)
        assert torch.equal(theirs.mask, ours.mask)
        torch.testing.assert_close(theirs.K, ours.K)
        torch.testing.assert_close(theirs.cam_to_world, ours.cam_to_world)
        torch.testing.assert_close(theirs.points, ours.points, rtol=0, atol=1e-4)
        torch.testing.assert_close(theirs.depths, ours.depths)
    ours, theirs = synthetic.init_splat_model(), loaded.init_splat_model()
    torch.testing.assert_close(theirs.means, ours.means)
    torch.testing.assert_close(theirs.sh0, ours.sh0)


def test_written_observations_fit_the_model(written: Path) -> None:
    for normalize in (False, True):
        errors = observation_errors(ColmapDataProvider(written, normalize=normalize), written / "sparse" / "0")
        # Noise of 0.004 units, 4.7 units away, at a focal length of 51 pixels: 0.04 pixels an axis.
        assert 0.02 < np.median(errors) < 0.1
        assert errors.max() < 0.6


def test_normalising_moves_the_scene_and_changes_no_picture(synthetic: SyntheticDataProvider, written: Path) -> None:
    loaded = ColmapDataProvider(written, test_every=4)
    assert loaded.load_data() == pytest.approx(1.1)
    centres = loaded.cam_to_worlds[:, :3, 3]
    assert centres.mean(dim=0).abs().max() < 1e-12
    assert float(centres.norm(dim=1).max()) == pytest.approx(1.0)
    ups = -loaded.cam_to_worlds[:, :3, 1].mean(dim=0)
    assert (ups / ups.norm()).tolist() == pytest.approx([0.0, 0.0, 1.0], abs=1e-9)
    scale = 1.1 / synthetic.load_data()
    plain, moved = synthetic.view(3), loaded.view(3)
    torch.testing.assert_close(moved.points, plain.points, rtol=0, atol=1e-3)
    torch.testing.assert_close(moved.depths, plain.depths * scale, rtol=1e-5, atol=0)
    R = loaded.cam_to_worlds[:, :3, :3]
    assert torch.allclose(R @ R.transpose(1, 2), torch.eye(3).double().expand_as(R), atol=1e-9)
    back = np.linalg.inv(loaded.transform) @ np.append(loaded.points[7].numpy(), 1.0)
    assert back[:3] == pytest.approx(synthetic._sparse_points()[0][7], abs=1e-6)


def test_normal_frame_does_not_depend_on_the_frame_of_origin() -> None:
    rng = np.random.default_rng(5)
    poses = SyntheticDataProvider(8, 6, views=7, points=10).cam_to_worlds.numpy()
    points = rng.normal(size=(200, 3)) * [3.0, 1.0, 0.2]
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    similarity = np.eye(4)
    similarity[:3, :3] = 7.0 * turn * np.sign(np.linalg.det(turn))
    similarity[:3, 3] = [10.0, -20.0, 30.0]
    moved_poses, moved_points = transform_poses(similarity, poses), transform_points(similarity, points)
    here, there = normalizing_transform(poses, points), normalizing_transform(moved_poses, moved_points)
    assert transform_points(here, points) == pytest.approx(transform_points(there, moved_points), abs=1e-9)
    assert transform_poses(here, poses) == pytest.approx(transform_poses(there, moved_poses), abs=1e-9)


def test_normalising_one_camera_uses_the_distance_of_the_points() -> None:
    pose = np.eye(4)[None]
    transform = normalizing_transform(pose, np.array([[0.0, 0, 4], [0, 0, 5], [0, 0, 6]]))
    assert np.cbrt(np.linalg.det(transform[:3, :3])) == pytest.approx(1 / 5)
    assert np.isfinite(normalizing_transform(pose, np.zeros((0, 3)))).all()


@pytest.mark.parametrize(
    ("options", "size"), [({"downscale": 2}, (24, 18)), ({"width": 20}, (20, 15)), ({"width": 31}, (31, 23))]
)
def test_resizing_scales_intrinsics_exactly(
    options: dict[str, int], size: tuple[int, int], synthetic: SyntheticDataProvider, written: Path
) -> None:
    it, full = ColmapDataProvider(written, normalize=False, **options).view(2), synthetic.view(2)
    assert (it.width, it.height) == size
    assert it.mask.shape == (1, size[1], size[0])
    factors = torch.tensor([size[0] / 48, size[1] / 36])
    torch.testing.assert_close(it.K[0, :2], full.K[0, :2] * factors[:, None])
    # Points on the border of the picture stay inside it.
    torch.testing.assert_close(it.points, full.points * factors, rtol=0, atol=1e-4)
    assert it.image.mean() == pytest.approx(float(full.image.mean()), abs=0.01)


def test_whole_factors_average_blocks(synthetic: SyntheticDataProvider, written: Path) -> None:
    it = ColmapDataProvider(written, downscale=2).view(2)
    blocks = synthetic.view(2).image[0].reshape(18, 2, 24, 2, 3).mean(dim=(1, 3))
    assert (it.image[0] - blocks).abs().max() <= 1.01 / 255
    kept = synthetic.view(2).mask[0]
    corners = torch.stack([kept[i::2, j::2] for i in (0, 1) for j in (0, 1)])
    assert (torch.eq(it.mask[0], corners).any(dim=0)).all(), "nearest neighbour invents no values"


def test_images_are_never_enlarged(written: Path) -> None:
    assert ColmapDataProvider(written, width=4000).view(0).width == 48


def test_masks_can_be_named_by_stem_missing_or_ignored(scene: Path) -> None:
    masks = scene / "masks"
    (masks / "view_000.png.png").rename(masks / "view_000.png")
    (masks / "view_001.png.png").unlink()
    some = ColmapDataProvider(scene)
    assert some.view(0).mask is not None
    assert some.view(1).mask is None
    assert some.fields == {"target", "points"}
    assert some.fields_some == {"mask"}
    ignored = ColmapDataProvider(scene, masks="none")
    assert ignored.view(0).mask is None
    assert ignored.fields_some == frozenset()
    found = problem(scene, masks="required")
    assert found.code == "DAT010"
    assert found.notes == ("without a mask: view_001.png",)


def test_alpha_is_a_mask_where_there_is_no_other(scene: Path, synthetic: SyntheticDataProvider) -> None:
    path = scene / "images" / "view_002.png"
    with Image.open(path) as image:
        rgba = image.convert("RGBA")
    alpha = np.zeros((36, 48), dtype=np.uint8)
    alpha[:10] = 255
    rgba.putalpha(Image.fromarray(alpha))
    rgba.save(path)
    (scene / "masks" / "view_002.png.png").unlink()
    provider = ColmapDataProvider(scene)
    assert provider.view(2).mask[0].sum(dim=1).tolist() == [48] * 10 + [0] * 26
    assert "mask" in provider.fields
    assert torch.equal(provider.view(2).image, synthetic.view(2).image)
    # A mask file comes first.
    with_file = ColmapDataProvider(scene)
    shutil.copy(scene / "masks" / "view_003.png.png", scene / "masks" / "view_002.png.png")
    assert torch.equal(with_file.view(2).mask, synthetic.view(3).mask)


def test_background_fills_what_masks_leave_out(written: Path, synthetic: SyntheticDataProvider) -> None:
    it = ColmapDataProvider(written, background=(1.0, 1.0, 0.0)).view(1)
    mask = synthetic.view(1).mask
    assert torch.equal(it.image[mask], synthetic.view(1).image[mask])
    assert it.image[~mask].unique(dim=0).tolist() == [[1.0, 1.0, 0.0]]


@pytest.mark.parametrize("layout", ["sparse", "colmap/sparse/0", "."])
def test_models_are_found_in_the_usual_places(layout: str, scene: Path) -> None:
    model = Path(shutil.move(scene / "sparse" / "0", scene / "model"))
    shutil.rmtree(scene / "sparse")
    if layout == ".":
        for file in model.iterdir():
            shutil.move(file, scene / file.name)
    else:
        (scene / layout).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(model, scene / layout)
    assert ColmapDataProvider(scene).get_train_data_size() == 7


def test_loading_twice_reads_once_and_views_are_kept(scene: Path) -> None:
    provider = ColmapDataProvider(scene)
    first = provider.view(1).image
    shutil.rmtree(scene / "sparse")
    (scene / "images" / "view_001.png").unlink()
    assert provider.load_data() == pytest.approx(1.1)
    assert torch.equal(provider.view(1).image, first)


def test_missing_folders_and_models(scene: Path, tmp_path: Path) -> None:
    assert problem(tmp_path / "nowhere").code == "DAT002"
    empty = tmp_path / "empty"
    empty.mkdir()
    assert problem(empty).code == "DAT003"
    shutil.move(scene / "images", scene / "photos")
    assert problem(scene).code == "DAT002"


def test_missing_images_are_listed(scene: Path) -> None:
    for index in (2, 7):
        (scene / "images" / f"view_{index:03d}.png").unlink()
    found = problem(scene)
    assert found.code == "DAT006"
    assert found.message.startswith("2 of 9 images")
    assert found.notes == ("missing: view_002.png, view_007.png",)


def test_damaged_models(scene: Path) -> None:
    for content in (b"", b"these words are no model, and there are enough of them to read"):
        for file in (scene / "sparse" / "0").iterdir():
            file.write_bytes(content)
        assert problem(scene).code == "DAT004"


def rewrite_model(scene: Path, name: str, text: str) -> None:
    """Replace one file of the model, in COLMAP's text format."""
    model = pycolmap.Reconstruction(str(scene / "sparse" / "0"))
    shutil.rmtree(scene / "sparse" / "0")
    (scene / "sparse" / "0").mkdir()
    model.write_text(str(scene / "sparse" / "0"))
    (scene / "sparse" / "0" / name).write_text(text)


def test_distorted_cameras_point_to_the_undistorter(scene: Path) -> None:
    rewrite_model(scene, "cameras.txt", "1 SIMPLE_RADIAL 48 36 51.5 24 18 0.05\n")
    found = problem(scene)
    assert found.code == "DAT005"
    assert "1 (SIMPLE_RADIAL)" in found.message
    assert "colmap image_undistorter" in found.help[0]


def test_simple_pinhole_has_one_focal_length(scene: Path) -> None:
    rewrite_model(scene, "cameras.txt", "1 SIMPLE_PINHOLE 48 36 51.5 24 18\n")
    K = ColmapDataProvider(scene).view(0).K[0]
    assert K.tolist() == [[51.5, 0.0, 24.0], [0.0, 51.5, 18.0], [0.0, 0.0, 1.0]]


def test_models_without_points_cannot_start_gaussians(scene: Path) -> None:
    rewrite_model(scene, "points3D.txt", "")
    provider = ColmapDataProvider(scene)
    assert provider.view(0).points is None
    assert provider.fields == {"target", "mask"}
    with pytest.raises(LossError) as error:
        provider.init_splat_model()
    assert error.value.diagnostics[0].code == "DAT012"


def test_models_without_images(scene: Path) -> None:
    for file in (scene / "sparse" / "0").iterdir():
        file.unlink()
    for name, text in {"cameras": "1 PINHOLE 48 36 51.5 51.5 24 18\n", "images": "", "points3D": ""}.items():
        (scene / "sparse" / "0" / f"{name}.txt").write_text(text)
    assert problem(scene).code == "DAT007"


@pytest.mark.parametrize(
    ("file", "size", "code"),
    [("images/view_004.png", (36, 48), "DAT009"), ("masks/view_004.png.png", (48, 30), "DAT011")],
)
def test_other_shapes_are_refused(file: str, size: tuple[int, int], code: str, scene: Path) -> None:
    Image.new("RGB" if code == "DAT009" else "L", size).save(scene / file)
    assert problem(scene).code == code


def test_smaller_copies_of_images_and_masks_are_fine(scene: Path, synthetic: SyntheticDataProvider) -> None:
    for file in (scene / "images" / "view_004.png", scene / "masks" / "view_004.png.png"):
        with Image.open(file) as image:
            small = image.resize((24, 18))
        small.save(file)
    it = ColmapDataProvider(scene).view(4)
    assert (it.width, it.height) == (24, 18)
    torch.testing.assert_close(it.K[0, :2], synthetic.view(4).K[0, :2] / 2)


def test_unreadable_images(scene: Path) -> None:
    path = scene / "images" / "view_003.png"
    whole = path.read_bytes()
    path.write_bytes(b"no picture")
    assert problem(scene).code == "DAT008"
    path.write_bytes(whole[: len(whole) // 2])  # the header is fine: found when decoded
    found = problem(scene)
    assert found.code == "DAT008"
    assert "cannot be decoded" in found.message


@pytest.mark.parametrize(
    "wrong", [{"width": 10, "downscale": 2}, {"width": 0}, {"downscale": 0.5}, {"masks": "maybe"}, {"test_every": -2}]
)
def test_wrong_options(wrong: dict[str, object], written: Path) -> None:
    assert problem(written, **wrong).code == "DAT015"


def test_too_few_views_for_a_split(written: Path) -> None:
    assert problem(written, test_every=1).code == "DAT013"


def test_image_files_of_other_kinds(tmp_path: Path) -> None:
    deep = np.array([[0, 32768, 65535]], dtype=np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    pixels, alpha = read_image(tmp_path / "deep.png", (3, 1))
    assert pixels[0, :, 0].tolist() == [0, 128, 255]
    assert alpha is None
    Image.fromarray(np.array([[0, 127, 128, 255]], dtype=np.uint8)).save(tmp_path / "mask.png")
    assert read_mask(tmp_path / "mask.png", (4, 1)).tolist() == [[False, False, True, True]]
    Image.fromarray(np.array([[False, True]])).save(tmp_path / "bits.png")
    assert read_mask(tmp_path / "bits.png", (2, 1)).tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("a", "b", "same"),
    [
        ((480, 354), (480, 354), True),
        ((3000, 2000), (750, 500), True),
        ((2832, 2128), (480, 361), True),
        ((480, 354), (354, 480), False),
        ((480, 354), (480, 360), False),
    ],
)
def test_shapes_up_to_rounding(a: tuple[int, int], b: tuple[int, int], same: bool) -> None:
    assert same_shape(a, b) is same
    assert same_shape(b, a) is same


@needs_sceaux
def test_real_scene_loads() -> None:
    provider = ColmapDataProvider(SCEAUX)
    assert provider.load_data() == pytest.approx(1.1)
    assert (provider.get_train_data_size(), provider.get_test_data_size()) == (9, 2)
    assert provider.fields == {"target", "mask", "points"}
    names = [provider.view(i).image_name for i in range(11)]
    assert names == sorted(names)
    for index in (0, 10):
        it = provider.view(index)
        assert it.image.shape == (1, 354, 480, 3)
        assert 0.3 < it.mask.float().mean() < 0.99
        assert it.points.shape[1] > 1000
        assert (it.depths > 0).all()
    model = provider.init_splat_model()
    assert model.num_gaussians == 6143
    assert torch.isfinite(model.scales).all()


@needs_sceaux
@pytest.mark.parametrize(("normalize", "width"), [(False, None), (True, None), (True, 240)])
def test_real_scene_projects_onto_colmaps_observations(normalize: bool, width: int | None) -> None:
    provider = ColmapDataProvider(SCEAUX, normalize=normalize, width=width)
    errors = observation_errors(provider, SCEAUX / "sparse" / "0")
    assert len(errors) == 30143
    scale = 1.0 if width is None else width / 480
    assert np.median(errors) < 0.5 * scale
    assert np.quantile(errors, 0.99) < 2.0 * scale
