"""Checkpoints survive crashes, and damage is noticed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from splatdsl.dsl.diagnostics import LossError
from splatdsl.runtime.training.checkpoint import CheckpointStore, check_savable, differences, read, write_atomically


def content(step: int) -> dict[str, Any]:
    return {"step": step, "values": torch.arange(2000.0) + step}


def test_what_was_saved_is_read(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path / "checkpoints")
    path = store.save(content(7))
    assert path.name == "step_000007.pt"
    loaded, passed_over = store.load_newest()
    assert loaded is not None
    assert loaded["step"] == 7
    assert torch.equal(loaded["values"], content(7)["values"])
    assert passed_over == []
    assert [p.name for p in path.parent.iterdir()] == ["step_000007.pt"], "no temporary file is left"


@pytest.mark.parametrize(("keep", "left"), [(2, [4, 3]), (1, [4]), (0, [4, 3, 2, 1])])
def test_keeps_the_newest(tmp_path: Path, keep: int, left: list[int]) -> None:
    store = CheckpointStore(tmp_path, keep)
    for step in (1, 2, 3, 4):
        store.save(content(step))
    assert [path.name for path in store.paths()] == [f"step_{step:06d}.pt" for step in left]


def test_newest_is_by_number_not_by_name(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep=0)
    for step in (999_999, 1_000_000):
        store.save(content(step))
    loaded, _ = store.load_newest()
    assert loaded is not None
    assert loaded["step"] == 1_000_000


def damage_end(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def damage_middle(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)


def damage_all(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [damage_end, damage_middle, damage_all])
def test_a_damaged_newest_one_is_passed_over(tmp_path: Path, damage: Any) -> None:
    store = CheckpointStore(tmp_path)
    store.save(content(1))
    newest = store.save(content(2))
    damage(newest)
    loaded, passed_over = store.load_newest()
    assert loaded is not None
    assert loaded["step"] == 1
    assert passed_over == [newest]


def test_only_damaged_ones_is_an_error(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    damage_end(store.save(content(1)))
    with pytest.raises(LossError) as caught:
        store.load_newest()
    assert [d.code for d in caught.value.diagnostics] == ["RUN006"]


def test_none_at_all_is_no_error(tmp_path: Path) -> None:
    assert CheckpointStore(tmp_path / "nothing").load_newest() == (None, [])


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    target = tmp_path / "made_by_pickle"

    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(target),))

    store = CheckpointStore(tmp_path)
    torch.save({"format": 1, "step": 1, "evil": Evil()}, tmp_path / "step_000001.pt")
    with pytest.raises(LossError):
        store.load_newest()
    assert not target.exists()


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def full_disk(stream: Any) -> None:
        stream.write(b"half of the n")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(LossError) as caught:
        write_atomically(path, full_disk)
    assert [d.code for d in caught.value.diagnostics] == ["RUN014"]
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def interrupted(stream: Any) -> None:
        stream.write(b"half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, interrupted)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LossError) as caught:
        CheckpointStore(tmp_path / "file" / "checkpoints").save(content(1))
    assert [d.code for d in caught.value.diagnostics] == ["RUN014"]


def test_what_cannot_be_read_back_is_refused_before() -> None:
    check_savable("Loss", {"a": [1, 2.0, None, torch.ones(2)], "b": ({"c": "x"}, {1, 2}), 3: b"x"})
    with pytest.raises(LossError) as caught:
        check_savable("Loss", {"memory": [1, object()]})
    (found,) = caught.value.diagnostics
    assert found.code == "RUN015"
    assert found.message.startswith("`Loss.state_dict()['memory'][1]` is a object")


def test_what_is_savable_is_read_back(tmp_path: Path) -> None:
    value = {"a": [1, 2.0, None, torch.ones(2)], "b": ({"c": "x"}, {1, 2}), 3: b"x"}
    CheckpointStore(tmp_path).save({"step": 0, "loss": value})
    loaded = read(tmp_path / "step_000000.pt")["loss"]
    assert loaded["b"] == value["b"]
    assert torch.equal(loaded["a"][3], torch.ones(2))


def test_differences_name_the_entries() -> None:
    old = {"max_steps": 10, "lr": {"means": 1.0}, "gone": 1, "same": [1]}
    new = {"max_steps": 20, "lr": {"means": 0.5}, "same": [1], "new": "x"}
    assert differences(old, new, "config") == [
        "config.max_steps: 10 -> 20",
        "config.lr.means: 1.0 -> 0.5",
        "config.gone: 1 -> None",
        "config.new: None -> 'x'",
    ]
