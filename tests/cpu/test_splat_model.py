"""Models: where they start, their checks, and the PLY files that viewers read."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.splat.model import PARAMETERS, SplatModel
from splatdsl.runtime.splat.neighbors import nearest_distances


def random_model(n: int, degree: int, seed: int = 0) -> SplatModel:
    g = torch.Generator().manual_seed(seed)
    shapes = {"means": (n, 3), "scales": (n, 3), "quats": (n, 4), "opacities": (n,), "sh0": (n, 1, 3)}
    shapes["shN"] = (n, (degree + 1) ** 2 - 1, 3)
    return SplatModel(**{name: torch.randn(*shape, generator=g) for name, shape in shapes.items()})


@pytest.mark.parametrize("n", [2, 5, 600, 3000])
def test_neighbours_equal_brute_force(n: int) -> None:
    g = torch.Generator().manual_seed(n)
    points = torch.randn(n, 3, generator=g) * torch.tensor([10.0, 1.0, 0.1])
    points[: n // 3] *= 0.01  # a dense cluster beside a loose cloud
    every = torch.cdist(points.double(), points.double(), compute_mode="donot_use_mm_for_euclid_dist")
    expected = every.fill_diagonal_(math.inf).sort(dim=1).values[:, :3]
    found = nearest_distances(points)
    assert found.shape == (n, min(3, n - 1))
    torch.testing.assert_close(found.double(), expected[:, : n - 1], rtol=1e-5, atol=1e-6)


def test_neighbours_of_duplicates_are_at_distance_zero() -> None:
    points = torch.cat([torch.zeros(1500, 3), torch.ones(2, 3)])
    found = nearest_distances(points)
    assert (found[:1500] == 0).all()
    assert found[1500:, 0].tolist() == [0.0, 0.0]
    assert found[1500:, 1].tolist() == pytest.approx([math.sqrt(3)] * 2)


def test_from_points_starts_as_gsplat_does() -> None:
    points = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 2, 0], [0, 0, 3], [50, 50, 50]])
    colors = torch.tensor([[0.5, 0.5, 0.5], [1, 0, 0], [0, 1, 0], [0, 0, 1], [0.2, 0.4, 0.6]])
    model = SplatModel.from_points(points, colors, sh_degree=2, init_opacity=0.2, init_scale=0.5)
    assert (model.num_gaussians, model.sh_degree) == (5, 2)
    # The root mean square of 1, 2, 3, halved.
    assert model.scales[0].exp().tolist() == pytest.approx([0.5 * math.sqrt(14 / 3)] * 3, rel=1e-6)
    assert torch.sigmoid(model.opacities).tolist() == pytest.approx([0.2] * 5)
    assert model.quats.tolist() == [[1.0, 0.0, 0.0, 0.0]] * 5
    assert (model.sh0[:, 0] * 0.28209479177387814 + 0.5).flatten().tolist() == pytest.approx(colors.flatten().tolist())
    assert model.shN.shape == (5, 8, 3)
    assert not model.shN.any()


def test_from_points_takes_numpy_and_survives_duplicates_and_one_point() -> None:
    model = SplatModel.from_points(np.zeros((6, 3)), np.full((6, 3), 0.5))
    assert model.means.dtype == torch.float32
    assert torch.isfinite(model.scales).all()
    assert model.scales.exp().max() < 1e-6
    lone = SplatModel.from_points(np.ones((1, 3)), np.ones((1, 3)), init_scale=0.1)
    assert lone.scales.exp()[0, 0] == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("points", "options", "code"),
    [
        (torch.zeros(0, 3), {}, "DAT012"),
        (torch.full((4, 3), math.nan), {}, "DAT017"),
        (torch.zeros(4, 2), {}, "DAT017"),
        (torch.zeros(4, 3), {"init_opacity": 1.0}, "DAT015"),
        (torch.zeros(4, 3), {"init_scale": 0.0}, "DAT015"),
        (torch.zeros(4, 3), {"sh_degree": -1}, "DAT015"),
    ],
)
def test_from_points_reports(points: torch.Tensor, options: dict[str, float], code: str) -> None:
    with pytest.raises(LossError) as error:
        SplatModel.from_points(points, torch.zeros_like(points), **options)
    assert error.value.diagnostics[0].code == code


def test_shapes_are_checked() -> None:
    good = random_model(4, 1).parameters()
    for name, wrong in {
        "quats": torch.zeros(4, 3),
        "opacities": torch.zeros(4, 1),
        "shN": torch.zeros(4, 4, 3),
    }.items():
        with pytest.raises(LossError) as error:
            SplatModel.from_parameters({**good, name: wrong})
        assert error.value.diagnostics[0].code == "DAT017"
        assert error.value.diagnostics[0].message.startswith(name)
    with pytest.raises(LossError) as error:
        SplatModel.from_parameters({k: v for k, v in good.items() if k != "sh0"})
    assert error.value.diagnostics[0].message == "parameters are missing: sh0"


@pytest.mark.parametrize("degree", [0, 1, 3])
def test_ply_is_what_viewers_read(degree: int, tmp_path) -> None:
    plyfile = pytest.importorskip("plyfile")
    pytest.importorskip("gsplat")
    model = random_model(7, degree)
    path = tmp_path / "model.ply"
    assert model.save_ply(path) == 7
    ply = plyfile.PlyData.read(str(path))
    rest = 3 * ((degree + 1) ** 2 - 1)
    names = ["x", "y", "z", *(f"f_dc_{i}" for i in range(3)), *(f"f_rest_{i}" for i in range(rest)), "opacity"]
    names += [*(f"scale_{i}" for i in range(3)), *(f"rot_{i}" for i in range(4))]
    vertex = ply["vertex"]
    assert [p.name for p in vertex.properties] == names
    assert vertex.count == 7
    assert vertex["rot_0"].tolist() == model.quats[:, 0].tolist()
    if degree:
        # All coefficients of red come before those of green.
        assert vertex["f_rest_1"].tolist() == model.shN[:, 1, 0].tolist()
        assert vertex[f"f_rest_{rest // 3}"].tolist() == model.shN[:, 0, 1].tolist()
    back = SplatModel.load_ply(path)
    assert back.sh_degree == degree
    for name in PARAMETERS:
        assert torch.equal(getattr(back, name), getattr(model, name)), name


def test_ply_leaves_out_gaussians_that_are_not_finite(tmp_path) -> None:
    pytest.importorskip("plyfile")
    pytest.importorskip("gsplat")
    model = random_model(6, 1)
    model.opacities[2] = math.nan
    model.shN[4, 1, 1] = math.inf
    assert model.save_ply(tmp_path / "model.ply") == 4
    assert torch.equal(SplatModel.load_ply(tmp_path / "model.ply").means, model.means[[0, 1, 3, 5]])


def test_other_files_are_refused(tmp_path) -> None:
    pytest.importorskip("plyfile")
    cloud = tmp_path / "cloud.ply"
    cloud.write_text(
        "ply\nformat ascii 1.0\nelement vertex 1\n"
        "property float x\nproperty float y\nproperty float z\nend_header\n0 0 0\n"
    )
    (tmp_path / "words.ply").write_text("not a ply file at all\n")
    (tmp_path / "empty.ply").write_bytes(b"")
    for name, words in {
        "cloud.ply": "it lacks scale_0, scale_1",
        "words.ply": "cannot be read",
        "empty.ply": "cannot be read",
        "absent.ply": "does not exist",
    }.items():
        with pytest.raises(LossError) as error:
            SplatModel.load_ply(tmp_path / name)
        assert error.value.diagnostics[0].code == "DAT016"
        assert words in error.value.diagnostics[0].message
