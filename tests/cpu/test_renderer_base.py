"""Choosing a renderer, and what renderers refuse."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace

import pytest
import torch

from splatdsl.dsl.diagnostics import LossError
from splatdsl.dsl.manifest import RENDERERS
from splatdsl.runtime.renderers import make_renderer
from splatdsl.runtime.renderers.gsplat_renderer import GsplatRenderer
from splatdsl.runtime.renderers.projection import project
from splatdsl.runtime.renderers.reference import ReferenceRenderer


@pytest.fixture
def scene():
    g = torch.Generator().manual_seed(0)
    return {
        "means": torch.rand(8, 3, generator=g) - torch.tensor([0.5, 0.5, -1.5]),
        "quats": torch.rand(8, 4, generator=g),
        "scales": torch.full((8, 3), -2.0),
        "opacities": torch.zeros(8),
        "sh0": torch.rand(8, 1, 3, generator=g),
        "shN": torch.rand(8, 3, 3, generator=g),
    }


@pytest.fixture
def view():
    return torch.eye(4)[None], torch.tensor([[[20.0, 0, 10], [0, 20, 8], [0, 0, 1]]])


def diagnostic(excinfo):
    (found,) = excinfo.value.diagnostics
    return found


def test_manifest_and_classes_agree():
    classes = {cls.name: cls for cls in (GsplatRenderer, ReferenceRenderer)}
    assert {name: cls.buffers for name, cls in classes.items()} == RENDERERS


def test_unknown_kind_names_the_known_ones():
    with pytest.raises(LossError) as excinfo:
        make_renderer("opengl", "cpu")
    found = diagnostic(excinfo)
    assert (found.code, found.slug) == ("RUN010", "renderer-unavailable")
    assert "'opengl'" in found.message
    assert "auto, gsplat, reference" in str(excinfo.value)


def test_gsplat_refuses_a_cpu():
    with pytest.raises(LossError) as excinfo:
        make_renderer("gsplat", "cpu")
    found = diagnostic(excinfo)
    assert found.code == "RUN010"
    assert "CUDA" in found.message
    assert any("'reference'" in line for line in found.help)


@pytest.mark.skipif(torch.cuda.is_available(), reason="is about machines without CUDA")
@pytest.mark.parametrize("kind", ["gsplat", "auto"])
def test_a_cuda_device_that_is_not_there(kind):
    with pytest.raises(LossError) as excinfo:
        make_renderer(kind, "cuda")
    assert diagnostic(excinfo).code == "RUN010"


def test_reference_is_the_choice_on_a_cpu():
    assert isinstance(make_renderer("auto", "cpu"), ReferenceRenderer)
    assert isinstance(make_renderer("reference", torch.device("cpu")), ReferenceRenderer)


def test_reference_warns_once_about_a_large_image(scene, view, caplog):
    renderer = ReferenceRenderer()
    with caplog.at_level(logging.WARNING), torch.no_grad():
        renderer.render(scene, *view, 64, 4)
        assert not caplog.records
        renderer.render(scene, *view, 600, 4)
        renderer.render(scene, *view, 600, 4)
    assert [record.getMessage().split(" draws ")[0] for record in caplog.records] == ["the reference renderer"]


def test_state_object_and_mapping_draw_the_same(scene, view):
    renderer = ReferenceRenderer()
    from_mapping, _ = renderer.render(scene, *view, 20, 16)
    from_state, _ = renderer.render(SimpleNamespace(params=torch.nn.ParameterDict(scene)), *view, 20, 16)
    assert from_mapping.any()
    assert torch.equal(from_mapping, from_state)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"opacities": None}, "lack the parameter opacities"),
        ({"sh0": None, "shN": None}, "lack the parameters sh0, shN"),
        ({"scales": torch.zeros(7, 3)}, r"'scales' has shape \[7, 3\], \[8, 3\] is expected for 8 gaussians"),
        ({"shN": torch.zeros(8, 9)}, r"'shN' has shape \[8, 9\], \[N, K-1, 3\]"),
        ({"shN": torch.zeros(8, 5, 3)}, "'shN' holds 5 coefficients"),
    ],
)
def test_bad_parameters(scene, view, change, words):
    scene = {k: v for k, v in {**scene, **change}.items() if v is not None}
    with pytest.raises(LossError, match=words) as excinfo:
        ReferenceRenderer().render(scene, *view, 20, 16)
    assert diagnostic(excinfo).code == "RUN020"


@pytest.mark.parametrize(
    ("request_", "words"),
    [
        ({"sh_degree": 2}, "sh_degree is 2, but the gaussians hold bands 0 to 1"),
        ({"sh_degree": -1}, "sh_degree is -1"),
        ({"buffers": frozenset({"normals"})}, "'reference' does not supply 'normals'"),
        ({"render_mode": "ED"}, "no render mode 'ED'"),
        ({"backgrounds": torch.zeros(3)}, r"backgrounds has shape \[3\], \[B, 3\]"),
        ({"backgrounds": torch.zeros(2, 3)}, r"backgrounds has shape \[2, 3\]"),
        ({"Ks": torch.eye(3)}, r"Ks has shape \[3, 3\], \[B, 3, 3\]"),
        ({"cam_to_worlds": torch.zeros(0, 4, 4)}, "cam_to_worlds has shape"),
        ({"width": 0}, "0 x 16 pixels"),
    ],
)
def test_bad_requests(scene, view, request_, words):
    arguments = {"cam_to_worlds": view[0], "Ks": view[1], "width": 20, "height": 16, **request_}
    with pytest.raises(LossError, match=words) as excinfo:
        ReferenceRenderer().render(scene, **arguments)
    assert diagnostic(excinfo).code == "RUN020"


def test_projection_keeps_to_gsplat(scene, view):
    """Against gsplat's functions called on all gaussians at once, without the culling that precedes them here."""
    impl = pytest.importorskip("gsplat.cuda._torch_impl")
    poses, Ks = view
    screen = project(scene, poses, Ks, 20, 16, sh_degree=1)
    covariances, _ = impl._quat_scale_to_covar_preci(scene["quats"], scene["scales"].exp(), compute_preci=False)
    radii, means2d, depths, conics, _ = impl._fully_fused_projection(
        scene["means"], covariances, torch.linalg.inv(poses), Ks, 20, 16
    )
    ids = screen.gaussian_ids
    assert len(ids) == 8
    assert torch.allclose(screen.means2d, means2d)
    assert torch.allclose(screen.depths, depths[0, ids])
    assert torch.allclose(screen.conics, conics[0, ids])
    colors = impl._spherical_harmonics(1, scene["means"], torch.cat([scene["sh0"], scene["shN"]], dim=1))
    assert torch.allclose(screen.colors, (colors + 0.5).clamp(min=0)[ids])
    # gsplat's torch function bounds every gaussian at 3.33 deviations, its CUDA kernel narrows that with the opacity
    assert (screen.radii <= radii).all()
    narrower = math.sqrt(2 * math.log(255 * 0.5)) / 3.33
    assert (screen.radii >= torch.floor(radii * narrower) - 1).all()
