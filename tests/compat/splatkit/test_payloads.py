"""The fields of splatkit's payloads are found under the names that the language has for them."""

import pytest
import torch

import splatdsl

pytest.importorskip("splatkit", reason="needs splatkit 0.1.0: .ci/compat-splatkit", exc_type=ImportError)


def value(program, given, logger):
    return given.loss(splatdsl.compile(program, backend="eager"), logger)


@pytest.mark.parametrize("views", [1, 2])
def test_a_2dgs_payload(call, logger, views):
    given = call("2dgs", views=views)
    out = given.payload
    program = """
    mean(alpha) + 2 * mean(depth) + 3 * mean(depth.median) + 5 * mean(distortion) + 7 * mean(normals.x)
      + 11 * mean(1 - dot(normals, normals_from_depth))
    """
    dots = (out.normals * out.normals_from_depth.reshape(out.normals.shape)).sum(-1)
    expected = (
        out.alphas.mean()
        + 2 * out.depths_expected.mean()
        + 3 * out.depths_median.mean()
        + 5 * out.render_distort.mean()
        + 7 * out.normals[..., 0].mean()
        + 11 * (1 - dots).mean()
    )
    torch.testing.assert_close(value(program, given, logger), expected)


def test_radii_are_those_of_gaussians(call, logger):
    given = call("3dgs")
    drawn = (given.payload.radii > 0).all(-1).any(0)
    assert 0 < drawn.sum() < len(drawn)
    opacities = torch.sigmoid(given.params["opacities"])
    found = value("mean(state.opacities, visible)", given, logger)
    torch.testing.assert_close(found, opacities[drawn].mean())
    largest = given.payload.radii.amax(-1).amax(0).double()
    found = value("mean(radii * state.opacities)", given, logger)
    torch.testing.assert_close(found, (largest * opacities).mean())


def test_depths_of_gaussians_are_no_depth_map(call, logger):
    given = call("3dgs")
    with pytest.raises(splatdsl.LossError) as problem:
        value("l1() + mean(depth)", given, logger)
    (diagnostic,) = problem.value.diagnostics
    assert diagnostic.code == "BND001", "its trainer draws no depth with 3DGS, and `depths` is one for each gaussian"


def test_accumulated_depth_is_divided_by_alpha(call, logger):
    from dataclasses import replace

    given = call("3dgs")
    accumulated = given.payload.alphas.detach() * 3
    given.payload = replace(given.payload, depths_accumulated=accumulated)
    torch.testing.assert_close(value("mean(depth)", given, logger), torch.tensor(3.0, dtype=torch.float64))
    torch.testing.assert_close(value("mean(depth.accumulated)", given, logger), accumulated.mean())
