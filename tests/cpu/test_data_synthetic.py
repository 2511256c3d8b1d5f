"""The scene that the project makes itself: repeatable, geometrically exact, and what a COLMAP scene would be."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.data.raycast import Box, Cylinder, Sphere, cast, shade
from splatdsl.runtime.data.synthetic import SyntheticDataProvider


@pytest.fixture(scope="module")
def scene() -> SyntheticDataProvider:
    return SyntheticDataProvider()


def digest(p: SyntheticDataProvider, views: list[int]) -> str:
    h = hashlib.sha256()
    for index in sorted(views):
        it = p.view(index)
        for tensor in (it.image, it.mask, it.depth_map, it.K, it.cam_to_world, it.points, it.depths):
            h.update(tensor.numpy().tobytes())
    for value in p.init_splat_model().parameters().values():
        h.update(value.numpy().tobytes())
    return h.hexdigest()


def world_points(p: SyntheticDataProvider, index: int) -> tuple[np.ndarray, np.ndarray]:
    """World position `[H, W, 3]` of every pixel's centre by its depth, and where there is one `[H, W]`."""
    it = p.view(index)
    depth = it.depth_map[0, ..., 0].double().numpy()
    y, x = np.mgrid[0 : it.height, 0 : it.width] + 0.5
    pose, K = p.cam_to_worlds[index].numpy(), it.K[0].double().numpy()
    rays = np.stack([(x - K[0, 2]) / K[0, 0], (y - K[1, 2]) / K[1, 1], np.ones_like(x)], axis=-1)
    return rays * depth[..., None] @ pose[:3, :3].T + pose[:3, 3], depth > 0


def test_shapes_types_and_ranges(scene: SyntheticDataProvider) -> None:
    it = scene.view(5)
    assert (it.id, it.image_name, it.camera_model) == (5, "view_005.png", "pinhole")
    assert it.image.shape == (1, 72, 96, 3)
    assert it.image.dtype == torch.float32
    assert 0.0 <= it.image.min() < 0.2 < 0.8 < it.image.max() <= 1.0
    assert it.mask.shape == (1, 72, 96)
    assert it.mask.dtype == torch.bool
    assert it.depth_map.shape == (1, 72, 96, 1)
    assert it.K.shape == (1, 3, 3)
    assert it.cam_to_world.shape == (1, 4, 4)
    assert it.points.shape == (1, it.depths.shape[1], 2)
    assert scene.fields == {"target", "mask", "depth_map", "points"}
    assert scene.fields_some == frozenset()


def test_same_arguments_give_the_same_bits_in_any_order() -> None:
    views = [0, 1, 4]
    first, second = (SyntheticDataProvider(40, 30, views=6, points=200) for _ in range(2))
    for index in reversed(range(6)):
        second.view(index)
    assert digest(first, views) == digest(second, views)
    assert digest(first, views) != digest(SyntheticDataProvider(40, 30, views=6, points=200, seed=1), views)


def test_depth_puts_pixels_on_the_scene(scene: SyntheticDataProvider) -> None:
    for index in (0, 7, 15):
        xyz, known = world_points(scene, index)
        on = xyz[known]
        assert on[:, 2].min() > -0.28 - 1e-5  # the table's lower side
        assert on[:, 2].max() < 1.36 + 1e-5  # the top of the upper sphere
        assert np.hypot(on[:, 0], on[:, 1]).max() < 2.2 + 1e-5  # the table's rim
        table = np.abs(on[:, 2]) < 1e-5
        assert 0.2 < table.mean() < 0.9
        sphere = np.abs(np.linalg.norm(on - [-0.70, 0.55, 0.62], axis=1) - 0.62) < 1e-5
        assert sphere.sum() > 30  # the large sphere is in every view


def test_depth_agrees_between_views(scene: SyntheticDataProvider) -> None:
    for a, b in ((1, 2), (9, 10), (20, 23)):
        xyz, known = world_points(scene, a)
        other = scene.view(b)
        pose, K = scene.cam_to_worlds[b].numpy(), other.K[0].double().numpy()
        camera = (xyz[known] - pose[:3, 3]) @ pose[:3, :3]
        z = camera[:, 2]
        x = np.floor(camera[:, 0] / z * K[0, 0] + K[0, 2]).astype(int)
        y = np.floor(camera[:, 1] / z * K[1, 1] + K[1, 2]).astype(int)
        inside = (x >= 0) & (x < other.width) & (y >= 0) & (y < other.height)
        seen = other.depth_map[0, :, :, 0].numpy()[y[inside], x[inside]]
        ratio = z[inside] / np.where(seen > 0, seen, np.inf)
        agree, hidden, in_front = np.abs(ratio - 1) < 0.02, ratio > 1.02, ratio < 0.98
        assert agree.mean() > 0.6, f"views {a}, {b}: only {agree.mean():.2f} of the pixels agree"
        assert hidden.mean() > 0.02, "the scene is meant to have occlusion"
        # Only a pixel's own width at a silhouette can put a surface before what another view sees.
        assert in_front.mean() < 0.08


def test_masks_leave_out_the_sky_and_nothing_else(scene: SyntheticDataProvider) -> None:
    for index in (0, 3, 12):
        it = scene.view(index)
        mask, known = it.mask[0], it.depth_map[0, ..., 0] > 0
        assert 0.4 < mask.float().mean() < 0.9
        assert not (mask & ~known).any(), "a kept pixel has a depth"
        edge = known & ~mask  # silhouettes against the sky: some samples miss
        assert 0 < edge.float().mean() < 0.05


def test_sparse_points_lie_on_visible_surfaces(scene: SyntheticDataProvider) -> None:
    model = scene.init_splat_model()
    assert model.num_gaussians == 2000
    for index in (2, 11):
        it = scene.view(index)
        x, y = it.points[0].floor().long().clamp(min=0).unbind(-1)
        known = it.depth_map[0, y.clamp(max=71), x.clamp(max=95), 0]
        error = (it.depths[0] - known).abs()
        assert error.median() < 0.03  # half a pixel of slope, and noise of 0.004
        assert it.depths.shape[1] > 500
        # What the sparse points look like is what the image shows there.
        assert (known > 0).float().mean() > 0.97


def test_point_colors_are_those_of_the_images(scene: SyntheticDataProvider) -> None:
    points, colors = scene._sparse_points()
    it = scene.view(4)
    pose, K = scene.cam_to_worlds[4].numpy(), it.K[0].double().numpy()
    camera = (points - pose[:3, 3]) @ pose[:3, :3]
    pixels = camera[:, :2] / camera[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]
    seen = scene._points().visible[4] & (pixels > 0).all(1) & (pixels < [96, 72]).all(1)
    x, y = np.floor(pixels[seen]).astype(int).T
    difference = np.abs(it.image[0].numpy()[y, x] - colors[seen]).mean(axis=1)
    assert np.median(difference) < 0.05


def test_scene_scale_is_the_cameras_reach(scene: SyntheticDataProvider) -> None:
    centres = scene.cam_to_worlds[:, :3, 3]
    reach = (centres - centres.mean(dim=0)).norm(dim=1).max()
    assert scene.load_data() == pytest.approx(1.1 * float(reach))


def test_poses_are_rotations_and_upright(scene: SyntheticDataProvider) -> None:
    R = scene.cam_to_worlds[:, :3, :3]
    assert torch.allclose(R @ R.transpose(1, 2), torch.eye(3).double().expand_as(R), atol=1e-12)
    assert torch.allclose(torch.linalg.det(R), torch.ones(24).double())
    assert (R[:, 2, 1] < 0).all(), "image y runs down, world z up"
    assert (R[:, 2, 0].abs() < 1e-12).all(), "horizons are level"


def test_one_camera_takes_its_scale_from_the_scene() -> None:
    p = SyntheticDataProvider(32, 24, views=1, test_every=0, points=60)
    assert p.load_data() == pytest.approx(1.1 * 4.7, rel=0.3)  # it stands about 4.7 units away
    assert p.view(0).points.shape[1] > 20


def test_large_pictures_do_not_show_the_bands_they_are_made_in() -> None:
    small = SyntheticDataProvider(100, 80, views=4, points=10)
    large = SyntheticDataProvider(300, 240, views=4, points=10)  # several bands; every third pixel has the same centre
    torch.testing.assert_close(large.view(1).depth_map[:, 1::3, 1::3], small.view(1).depth_map)
    reduced = large.view(1).image.reshape(80, 3, 100, 3, 3).mean(dim=(1, 3))
    assert (reduced - small.view(1).image[0]).abs().mean() < 0.01


def test_options_leave_fields_out() -> None:
    p = SyntheticDataProvider(16, 12, views=4, test_every=0, points=60, masks=False, depth_maps=False)
    it = p.view(0)
    assert it.mask is None
    assert it.depth_map is None
    assert p.fields == {"target", "points"}


def test_plain_background() -> None:
    p = SyntheticDataProvider(24, 18, views=4, test_every=0, points=60, background=(1.0, 0.0, 0.2))
    it = p.view(0)
    sky = it.image[it.depth_map[..., 0] == 0]
    assert torch.tensor([1.0, 0.0, 0.2]).sub(sky).abs().amax(dim=1).eq(0).float().mean() > 0.5


@pytest.mark.parametrize("wrong", [{"width": 0}, {"views": 0}, {"points": 0}])
def test_impossible_sizes_are_reported(wrong: dict[str, int]) -> None:
    with pytest.raises(LossError) as error:
        SyntheticDataProvider(**wrong)
    assert error.value.diagnostics[0].code == "DAT015"


def gray(points: np.ndarray, normals: np.ndarray) -> np.ndarray:
    return np.full(points.shape, 0.5)


def test_rays_meet_solids_where_geometry_says() -> None:
    solids = (
        Sphere((0.0, 0.0, 5.0), gray, 0.0, 1.0),
        Box((10.0, 0.0, 5.0), gray, np.pi / 4, (1.0, 1.0, 1.0)),
        Cylinder((0.0, 10.0, 5.0), gray, 0.0, 0.5, 2.0),
    )
    direction = np.array([[0.0, 0.0, 1.0]] * 5 + [[0.0, 0.0, -1.0]])
    origin = np.array([[0.0, 0, 0], [0.6, 0, 0], [10.0 + 1.3, 0, 0], [10.0 + 1.5, 0, 0], [0.3, 10, 0], [0.0, 0, 0]])
    hits = cast(solids, origin, direction)
    # Half the diagonal of the turned box is 1.414, so 1.3 hits and 1.5 misses; the last ray looks away.
    assert hits.solid.tolist() == [0, 0, 1, -1, 2, -1]
    assert hits.t[hits.found] == pytest.approx([4.0, 4.2, 4.0, 3.0], abs=1e-12)
    assert np.isinf(hits.t[~hits.found]).all()
    along_x = cast(solids, np.array([[5.0, 0.0, 5.0], [-5.0, 10.0, 5.0]]), np.array([[2.0, 0.0, 0.0], [1.0, 0.0, 0.0]]))
    assert along_x.t == pytest.approx([(5 - np.sqrt(2)) / 2, 4.5], abs=1e-12)  # t counts directions, not units


def test_shading_follows_the_sun_and_its_shadows() -> None:
    floor = Box((0.0, 0.0, -0.5), gray, 0.0, (9.0, 9.0, 0.5))
    open_floor = shade((floor,), np.array([[0.0, 0.0, 0.0]]), np.array([0]))
    roofed = shade(
        (floor, Box((0.0, 0.0, 2.0), gray, 0.0, (5.0, 5.0, 0.1))), np.array([[0.0, 0.0, 0.0]]), np.array([0])
    )
    assert (open_floor > roofed + 0.2).all()
    assert (roofed > 0.05).all(), "shadows are not black: the sky lights them"
