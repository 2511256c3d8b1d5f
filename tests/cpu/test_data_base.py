"""Items, the split, the order of training views, and the message for packages that are missing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.data.base import SplatDataItem, pixels_of, split
from splatdsl.runtime.data.synthetic import SyntheticDataProvider
from splatdsl.runtime.extras import require


def code_of(error: pytest.ExceptionInfo[LossError]) -> str:
    assert len(error.value.diagnostics) == 1
    return error.value.diagnostics[0].code


def item(**extra: torch.Tensor) -> SplatDataItem:
    return SplatDataItem(
        id=3,
        image_name="a.png",
        K=torch.eye(3)[None],
        cam_to_world=torch.eye(4)[None],
        image=torch.rand(1, 6, 8, 3, generator=torch.Generator().manual_seed(0)),
        **extra,
    )


def test_item_reads_as_a_mapping() -> None:
    it = item(mask=torch.ones(1, 6, 8, dtype=torch.bool))
    assert it["name"] == it["image_name"] == "a.png"
    assert it["target"] is it.image
    assert "mask" in it
    assert "depth_map" not in it
    assert "width" not in it  # a property, not a field
    assert (it.width, it.height) == (8, 6)
    with pytest.raises(KeyError, match="depth_map"):
        it["depth_map"]
    with pytest.raises(KeyError, match="nonsense"):
        it["nonsense"]


def test_item_moves_all_tensors() -> None:
    moved = item(depths=torch.ones(1, 2)).to("meta")
    assert {moved.image.device.type, moved.K.device.type, moved.depths.device.type} == {"meta"}
    assert moved.mask is None
    assert (moved.id, moved.image_name) == (3, "a.png")


@pytest.mark.parametrize(
    ("views", "every", "test"),
    [(11, 8, [0, 8]), (8, 8, [0]), (5, 2, [0, 2, 4]), (3, 0, []), (2, 1, [0, 1]), (1, 8, [0])],
)
def test_split_holds_out_every_kth_view(views: int, every: int, test: list[int]) -> None:
    train, held_out = split(views, every)
    assert held_out == test
    assert sorted(train + held_out) == list(range(views))


def test_every_epoch_is_a_new_permutation_of_the_training_views() -> None:
    p = SyntheticDataProvider(16, 12, views=9, test_every=4, points=50)
    n = p.get_train_data_size()
    assert (n, p.get_test_data_size(), p.test_indices) == (6, 3, (0, 4, 8))
    epochs = [[p.next_train_data(e * n + i).id for i in range(n)] for e in range(6)]
    assert all(sorted(epoch) == list(p.train_indices) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1


def test_order_is_a_function_of_seed_and_step_alone() -> None:
    def provider(seed: int) -> SyntheticDataProvider:
        return SyntheticDataProvider(16, 12, views=9, test_every=4, points=50, seed=seed)

    forwards = [provider(3).next_train_data(step).id for step in range(20)]
    other = provider(3)
    assert [other.next_train_data(step).id for step in reversed(range(20))] == forwards[::-1]
    assert [provider(4).next_train_data(step).id for step in range(20)] != forwards


def test_test_views_come_in_turn() -> None:
    p = SyntheticDataProvider(16, 12, views=9, test_every=4, points=50)
    assert [p.next_test_data(step).id for step in range(4)] == [0, 4, 8, 0]
    with pytest.raises(LossError) as error:
        p.test_item(3)
    assert code_of(error) == "DAT014"


def test_no_test_views_is_reported() -> None:
    p = SyntheticDataProvider(16, 12, views=3, test_every=0, points=50)
    assert (p.get_train_data_size(), p.get_test_data_size()) == (3, 0)
    with pytest.raises(LossError) as error:
        p.next_test_data(0)
    assert code_of(error) == "DAT014"


@pytest.mark.parametrize(("views", "every"), [(1, 8), (4, 1)])
def test_no_training_view_left_is_reported(views: int, every: int) -> None:
    with pytest.raises(LossError) as error:
        SyntheticDataProvider(16, 12, views=views, test_every=every, points=50).load_data()
    assert code_of(error) == "DAT013"


def test_negative_test_every_is_reported() -> None:
    with pytest.raises(LossError) as error:
        SyntheticDataProvider(test_every=-1)
    assert code_of(error) == "DAT015"


def test_projection_of_known_points() -> None:
    K = torch.tensor([[100.0, 0, 32], [0, 50.0, 24], [0, 0, 1]]).double().numpy()
    pose = torch.eye(4).double()
    pose[:3, 3] = torch.tensor([1.0, 0.0, -2.0])
    # In the camera's frame: (0, 0, 2), (1, -1, 4), (0, 0, -1).
    xyz = torch.tensor([[1.0, 0, 0], [2.0, -1, 2], [1.0, 0, -3]]).double().numpy()
    pixels, depth = pixels_of(xyz, K, pose.numpy())
    assert depth.tolist() == [2.0, 4.0, -1.0]
    assert pixels[:2].tolist() == [[32.0, 24.0], [57.0, 11.5]]


def test_missing_package_names_the_extra() -> None:
    with pytest.raises(LossError) as error:
        require("no_such_package_anywhere.part", extra="plot")
    assert code_of(error) == "DAT001"
    found = error.value.diagnostics[0]
    assert found.message == "`no_such_package_anywhere` is needed here and is not installed"
    assert found.help == ("install it with: pip install 'splatdsl[plot]'",)


def test_broken_package_is_not_called_absent(tmp_path, monkeypatch) -> None:
    (tmp_path / "broken_on_import.py").write_text("import no_such_dependency_of_it\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(LossError) as error:
        require("broken_on_import")
    assert "cannot be imported: No module named 'no_such_dependency_of_it'" in error.value.diagnostics[0].message


def test_data_modules_import_no_optional_package() -> None:
    code = (
        "import sys, splatdsl.runtime.data.colmap, splatdsl.runtime.data.synthetic, splatdsl.runtime.splat.state, "
        "splatdsl.runtime.data.transforms;"
        "print([m for m in ('pycolmap', 'gsplat', 'plyfile', 'PIL', 'OpenEXR') if m in sys.modules])"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
