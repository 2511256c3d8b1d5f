"""What a scene on disk has, as far as names and `transforms.json` tell it: no image is opened."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any

from .config_schema import DataConfig

TRANSFORMS = "transforms.json"
TRAIN = "transforms_train.json"
HELD_OUT = ("transforms_test.json", "transforms_val.json")
MAPS = (".npy", ".exr", ".png")
"""What the files of inputs end in."""

_IMAGES = ("", ".png", ".jpg", ".jpeg", ".JPG", ".JPEG", ".PNG", ".webp")
_NO_INPUTS = frozenset({"images", "masks", "sparse", "colmap"})
_MOST = 256 * 1024 * 1024


def has_files(folder: str) -> bool:
    """Whether a folder exists and holds something."""
    try:
        with os.scandir(folder) as entries:
            return any(True for _ in entries)
    except OSError:
        return False


def scene_kind(kind: str, path: str | None) -> str:
    """`auto` resolved: `transforms` where there is such a file, else `colmap`; other kinds as they are."""
    if kind != "auto":
        return kind
    path = path or "."
    there = path.endswith(".json") or any(os.path.isfile(os.path.join(path, name)) for name in (TRANSFORMS, TRAIN))
    return "transforms" if there else "colmap"


def root_of(path: str) -> str:
    """The folder of a scene that is given by its folder or by its file."""
    return os.path.dirname(path) if path.endswith(".json") else path


def scene_fields(data: DataConfig) -> set[str]:
    """The item fields of a scene, and the inputs that have a folder with files.

    Whether every view has them is known when the scene is loaded.
    """
    path = data.path
    if path is None:
        return {"target"}
    root, found = root_of(path), {"target"}
    if scene_kind(data.kind, path) == "transforms":
        frames = _frames(path)
        found |= {"mask"} if data.alpha == "mask" or any(f.get("mask_path") for f in frames) else set()
        found |= {"depth_map"} if any(f.get("depth_file_path") for f in frames) else set()
    else:
        found |= {"points", "depths"}  # a view is registered by the points that it sees
    if has_files(os.path.join(root, "masks")):
        found.add("mask")
    return found | set(_input_folders(data, root))


def scene_problems(data: DataConfig, path: str) -> Iterator[tuple[str, str, str | None]]:
    """What is wrong with a scene: the key that says so, a message, and a way out, None for a name that is near.

    Args:
        data: the section.
        path: its path, resolved.
    """
    kind, root = scene_kind(data.kind, path), root_of(path)
    if not os.path.exists(path):
        yield "data.path", f"the scene `{path}` does not exist", None
        return
    if kind == "transforms":
        problem = _transforms_problem(path)
        if problem:
            yield "data.path", problem, "give the folder that holds the file, or the file itself"
            return
    elif not os.path.isdir(path):
        yield "data.path", f"the scene `{path}` is a file, not a folder", None
        return
    elif not os.path.isdir(os.path.join(path, "sparse")):
        also = " and no `transforms.json`" if data.kind == "auto" else ""
        message = f"the scene `{path}` has no folder `sparse/` with a reconstruction{also}"
        yield "data.path", message, "run COLMAP first, or name the folder that holds `images/` and `sparse/`"
    masked = has_files(os.path.join(root, "masks"))
    if data.masks == "required" and not masked and "mask" not in scene_fields(data):
        message = f"masks are required, but the scene `{path}` has no folder `masks/` with files"
        yield "data.masks", message, "add them, or set `masks: auto`"
    for name, options in data.inputs.items():
        if options.folder is not None and not os.path.isdir(os.path.join(root, options.folder)):
            message = f"the scene `{root}` has no folder `{options.folder}` for the input `{name}`"
            yield f"data.inputs.{name}.folder", message, "it is relative to the folder of the scene"


def scene_files(data: DataConfig) -> list[str]:
    """Every file of a scene on disk that a run can read, sorted: to tell whether it is still the same scene."""
    if data.path is None:
        return []
    root, found = root_of(data.path), set[str]()
    folders = [os.path.join(root, "masks"), *_input_folders(data, root).values()]
    if scene_kind(data.kind, data.path) == "transforms":
        for file in transforms_files(data.path):
            found.add(file)
            found.update(_named(file))
    else:
        folders += [os.path.join(root, "images"), os.path.join(root, "sparse")]
    for folder in folders:
        for at, _, names in os.walk(folder):
            found.update(os.path.join(at, name) for name in names)
    return sorted(found)


def transforms_files(path: str) -> list[str]:
    """The files of cameras: that of training views first, then that of test views."""
    if path.endswith(".json"):
        first = path
    else:
        first = next((p for n in (TRANSFORMS, TRAIN) if os.path.isfile(p := os.path.join(path, n))), "")
    if not first:
        return []
    beside = [os.path.join(os.path.dirname(first), name) for name in HELD_OUT]
    second = [p for p in beside if os.path.isfile(p)][:1] if os.path.basename(first) == TRAIN else []
    return [first, *second]


def _named(file: str) -> Iterator[str]:
    """The files that a file of cameras names and that exist."""
    folder, top = os.path.dirname(file), _read(file)
    owners = [top, *_list_of(top)]
    for owner in owners:
        for key in ("file_path", "mask_path", "depth_file_path", "ply_file_path"):
            name = owner.get(key)
            if isinstance(name, str) and name:
                path = os.path.join(folder, name)
                yield from [p for p in (path + end for end in _IMAGES) if os.path.isfile(p)][:1]


def _transforms_problem(path: str) -> str:
    files = transforms_files(path)
    if not files:
        return f"the scene `{path}` has neither `{TRANSFORMS}` nor `{TRAIN}`"
    for file in files:
        try:
            top = _parse(file)
        except OSError as error:
            return f"`{file}` cannot be read: {error.strerror or error}"
        except (ValueError, RecursionError) as error:
            return f"`{file}` is not JSON: {error}"
        if not isinstance(top, dict) or not isinstance(top.get("frames"), list):
            return f"`{file}` has no list `frames`"
    return ""


def _frames(path: str) -> list[dict[str, Any]]:
    return [frame for file in transforms_files(path) for frame in _list_of(_read(file))]


def _list_of(top: dict[str, Any]) -> list[dict[str, Any]]:
    frames = top.get("frames")
    return [frame for frame in frames if isinstance(frame, dict)] if isinstance(frames, list) else []


def _read(file: str) -> dict[str, Any]:
    """A file's object; empty where it cannot be read, which `scene_problems` reports."""
    try:
        top = _parse(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return top if isinstance(top, dict) else {}


def _parse(file: str) -> Any:
    if os.path.getsize(file) > _MOST:
        raise ValueError(f"it is larger than {_MOST >> 20} MiB")
    with open(file, encoding="utf-8") as stream:
        return json.load(stream)


def _input_folders(data: DataConfig, root: str) -> dict[str, str]:
    """Folders with files of inputs, by the input's name: those that the config names, and all that could be one."""
    try:
        with os.scandir(root or ".") as entries:
            names = sorted(e.name for e in entries if e.is_dir() and e.name.isidentifier())
    except OSError:
        names = []
    folders = {name: os.path.join(root, name) for name in names if name not in _NO_INPUTS}
    folders.update((name, os.path.join(root, o.folder)) for name, o in data.inputs.items() if o.folder is not None)
    return {name: folder for name, folder in folders.items() if _has_maps(folder)}


def _has_maps(folder: str, depth: int = 2) -> bool:
    """Whether a folder, or a folder in it, holds a file of an input."""
    below = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.lower().endswith(MAPS):
                    return True
                if entry.is_dir():
                    below.append(entry.path)
    except OSError:
        return False
    return depth > 1 and any(_has_maps(path, depth - 1) for path in below)
