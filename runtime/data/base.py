"""What the trainer takes from a scene: items, and the provider that hands them out in a fixed order."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..modules import SplatBaseModule
from ..payload import SplatRenderPayload
from ..poses import inverse_pose
from .problems import data_error
from .transfer import on_device

if TYPE_CHECKING:
    from ...dsl.typed import InputInfo
    from ..splat.model import SplatModel

_ALIASES = {"name": "image_name", "target": "image"}


@dataclass(frozen=True)
class SplatDataItem:
    """B views of one size with what is known about them (field names as in splatkit; B is 1 from our providers).

    Pixel coordinates have their origin at the image's upper left corner; pixel centres are at integers + 0.5.
    Depths are along the camera's z axis, in scene units.

    Attributes:
        id: index of the view among all views of the scene, training and test ones.
        image_name: file name, or a made-up one.
        K: `[B, 3, 3]`, intrinsics in pixels of ``image``.
        cam_to_world: `[B, 4, 4]`, OpenCV axes (x right, y down, z forward).
        image: `[B, H, W, 3]`, 0..1.
        mask: `[B, H, W]` bool, True = this pixel counts; None = every pixel does.
        points: `[B, M, 2]`, pixels at which sparse points are seen; None when the view sees none.
        depths: `[B, M]`, their depths.
        depth_map: `[B, H, W, 1]`, known depth, 0 where there is none; None when it is unknown.
        camera_model: always "pinhole".
        extras: further inputs of a program by their names, each with B in front; they read as attributes and keys too.
        ids: the ``id`` of each view of a batch of several; ``()``: there is but one view.
    """

    id: int
    image_name: str
    K: Tensor
    cam_to_world: Tensor
    image: Tensor
    mask: Tensor | None = None
    points: Tensor | None = None
    depths: Tensor | None = None
    depth_map: Tensor | None = None
    camera_model: str = "pinhole"
    extras: Mapping[str, Tensor] = field(default_factory=dict)
    ids: tuple[int, ...] = ()

    @property
    def height(self) -> int:
        """H in pixels."""
        return self.image.shape[1]

    @property
    def width(self) -> int:
        """W in pixels."""
        return self.image.shape[2]

    @property
    def camera(self) -> dict[str, Tensor]:
        """Cameras as a loss reads them: intrinsics `[B, 3, 3]`, world-to-camera extrinsics `[B, 4, 4]`, index `[B]`."""
        index = torch.full((len(self.K),), float(self.id), device=self.K.device)
        return {"intrinsics": self.K, "extrinsics": inverse_pose(self.cam_to_world), "index": index}

    def __getattr__(self, name: str) -> Tensor:
        # Only called for what is no field; `__dict__` is still empty while an item is being copied.
        extras: Mapping[str, Tensor] = self.__dict__.get("extras") or {}
        if name not in extras:
            raise AttributeError(f"a training item has no `{name}`")
        return extras[name]

    def __getitem__(self, key: str) -> Any:
        """A field or extra by its name; ``"name"`` is ``image_name`` and ``"target"`` is ``image``.

        Raises:
            KeyError: no such field, or the item does not have it.
        """
        value = getattr(self, _ALIASES.get(key, key), None) if key in self else None
        if value is None:
            raise KeyError(key)
        return value

    def __contains__(self, key: object) -> bool:
        name = _ALIASES.get(key, key) if isinstance(key, str) else key
        known = any(f.name == name and getattr(self, f.name) is not None for f in fields(self))
        return known or name in self.extras

    def to(self, device: torch.device | str) -> SplatDataItem:
        """The same item with its tensors on ``device``."""
        moved: dict[str, Any] = {}
        for known in fields(self):
            value = getattr(self, known.name)
            if isinstance(value, Tensor):
                moved[known.name] = on_device(value, device)
        if self.extras:
            moved["extras"] = {name: on_device(value, device) for name, value in self.extras.items()}
        return replace(self, **moved)


class SplatDataProvider(SplatBaseModule[SplatRenderPayload]):
    """Hands out training and test views; subclass it for a source of your own.

    Items are a pure function of the provider's arguments and of ``step``, so that a resumed run sees what an
    uninterrupted one would have seen.
    """

    @abstractmethod
    def load_data(self) -> float:
        """Read what is needed before the first step; calling it again does nothing.

        Returns:
            The scene's scale: 1.1 times the largest distance of a camera from the cameras' mean.
        """

    @abstractmethod
    def next_train_data(self, step: int) -> SplatDataItem:
        """The training item of a step (counted from 0)."""

    @abstractmethod
    def get_train_data_size(self) -> int:
        """How many training views there are."""

    @abstractmethod
    def get_test_data_size(self) -> int:
        """How many test views there are, 0 if none are held out."""

    @abstractmethod
    def test_item(self, i: int) -> SplatDataItem:
        """Test view ``i`` of ``0 .. get_test_data_size() - 1``."""

    @abstractmethod
    def init_splat_model(self, sh_degree: int = 3, init_opacity: float = 0.1, init_scale: float = 1.0) -> SplatModel:
        """A model to start from: one gaussian at every sparse point (see `SplatModel.from_points`)."""

    @property
    @abstractmethod
    def scene_scale(self) -> float:
        """What `load_data` returns."""

    @property
    def fields(self) -> frozenset[str]:
        """Item fields that every item has: of ``target``, ``mask``, ``depth_map``, ``points``, and extras."""
        return frozenset({"target"})

    @property
    def fields_some(self) -> frozenset[str]:
        """Item fields that some items have and others lack."""
        return frozenset()

    @property
    def fields_none(self) -> frozenset[str]:
        """Item fields that were asked for and that no item has."""
        return frozenset()

    def declare(self, inputs: Mapping[str, InputInfo]) -> None:
        """Learn what the program declares, before the first step and when it is exchanged; does nothing by default."""

    def where_looked(self, field: str) -> str:
        """Where a field that was asked for would have been found, for messages; "" if that is not known."""
        return ""

    def next_test_data(self, step: int) -> SplatDataItem:
        """The test views in turn.

        Raises:
            LossError: there are none.
        """
        size = self.get_test_data_size()
        if not size:
            raise data_error("DAT014", "no views are held out for testing", f"<{self.module_name}>")
        return self.test_item(step % size)


class ViewListProvider(SplatDataProvider):
    """A provider over a fixed list of views: splits it, orders it, and starts a model from sparse points.

    A subclass implements `_load` and `_item`. View ``i`` is a test view when ``i % test_every == 0``;
    ``test_every=0`` holds none out. Training views come in a new random order every epoch, drawn from
    ``(seed, epoch)``.
    """

    def __init__(self, test_every: int = 8, seed: int = 0, device: torch.device | str = "cpu") -> None:
        if test_every < 0:
            raise data_error(
                "DAT015",
                f"test_every is {test_every}; it counts views, and 0 holds none out",
                f"<{self.module_name}>",
                help=("use test_every=8 to hold out every eighth view, the usual choice, or 0",),
            )
        self.test_every = test_every
        self.seed = seed
        self.device = torch.device(device)
        self._train: list[int] = []
        self._test: list[int] = []
        self._poses: np.ndarray = np.zeros((0, 4, 4))
        self._scene_scale = 0.0
        self._loaded = False
        self._order: tuple[int, np.ndarray] | None = None

    @abstractmethod
    def _load(self) -> np.ndarray:
        """Read the scene; returns the poses of all views, `[V, 4, 4]` camera to world, in their final order."""

    @abstractmethod
    def _item(self, index: int) -> SplatDataItem:
        """View ``index`` of all views, on ``self.device``."""

    @abstractmethod
    def _sparse_points(self) -> tuple[np.ndarray, np.ndarray]:
        """Sparse points `[N, 3]` in scene units and their colours `[N, 3]`, 0..1."""

    def _split(self, views: int) -> tuple[list[int], list[int]]:
        """Indices of the training and of the test views."""
        return split(views, self.test_every)

    def _scene_depth(self) -> float:
        """A typical depth, the scene's scale when all cameras stand at one place."""
        points, _ = self._sparse_points()
        seen = np.linalg.norm(points - self._poses[:, :3, 3].mean(axis=0), axis=1)
        return float(np.median(seen)) if len(seen) else 1.0

    def load_data(self) -> float:
        """See `SplatDataProvider.load_data`.

        Raises:
            LossError: the split leaves no training view, or the data cannot be read.
        """
        if not self._loaded:
            self._poses = self._load()
            views = range(len(self._poses))
            self._train, self._test = self._split(len(views))
            if not self._train:
                raise data_error(
                    "DAT013",
                    f"no view is left to train on: {len(views)} views and test_every={self.test_every}",
                    f"<{self.module_name}>",
                    help=("use test_every=0 to train on every view",),
                )
            centres = self._poses[:, :3, 3]
            largest = float(np.linalg.norm(centres - centres.mean(axis=0), axis=1).max())
            # Learning rates are proportional to the scale, so it must not vanish for a single camera.
            self._scene_scale = 1.1 * (largest if largest > 1e-6 else self._scene_depth())
            self._loaded = True
        return self._scene_scale

    @property
    def scene_scale(self) -> float:
        """See `SplatDataProvider.scene_scale`."""
        return self.load_data()

    @property
    def train_indices(self) -> tuple[int, ...]:
        """Which views are for training, ascending."""
        self.load_data()
        return tuple(self._train)

    @property
    def test_indices(self) -> tuple[int, ...]:
        """Which views are held out, ascending."""
        self.load_data()
        return tuple(self._test)

    @property
    def cam_to_worlds(self) -> Tensor:
        """`[V, 4, 4]` float64 on the CPU, the poses of all views."""
        self.load_data()
        return torch.from_numpy(self._poses.copy())

    def train_views_without(self, field: str) -> list[str]:
        """Names of the training views that lack an item field; looks at every one of them."""
        self.load_data()
        items = (self._item(index) for index in self._train)
        return [item.image_name for item in items if field not in item]

    def get_train_data_size(self) -> int:
        """See `SplatDataProvider.get_train_data_size`."""
        self.load_data()
        return len(self._train)

    def get_test_data_size(self) -> int:
        """See `SplatDataProvider.get_test_data_size`."""
        self.load_data()
        return len(self._test)

    def view(self, index: int) -> SplatDataItem:
        """View ``index`` of all views, training and test ones."""
        self.load_data()
        return self._item(range(len(self._poses))[index])

    def next_train_data(self, step: int) -> SplatDataItem:
        """See `SplatDataProvider.next_train_data`."""
        size = self.get_train_data_size()
        epoch, place = divmod(step, size)
        if self._order is None or self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(size))
        return self._item(self._train[int(self._order[1][place])])

    def test_item(self, i: int) -> SplatDataItem:
        """See `SplatDataProvider.test_item`.

        Raises:
            LossError: there is no such test view.
        """
        size = self.get_test_data_size()
        if not 0 <= i < size:
            what = f"test view {i} does not exist: {size} are held out" if size else "no views are held out for testing"
            raise data_error(
                "DAT014",
                what,
                f"<{self.module_name}>",
                help=() if size else ("set test_every, for instance to 8",),
            )
        return self._item(self._test[i])

    def init_splat_model(self, sh_degree: int = 3, init_opacity: float = 0.1, init_scale: float = 1.0) -> SplatModel:
        """See `SplatDataProvider.init_splat_model`."""
        from ..splat.model import SplatModel

        self.load_data()
        points, colors = self._sparse_points()
        return SplatModel.from_points(
            torch.from_numpy(np.ascontiguousarray(points, dtype=np.float32)),
            torch.from_numpy(np.ascontiguousarray(colors, dtype=np.float32)),
            sh_degree=sh_degree,
            init_opacity=init_opacity,
            init_scale=init_scale,
        )


def split(views: int, test_every: int) -> tuple[list[int], list[int]]:
    """Training and test indices of ``views`` views: every ``test_every``-th is a test view, starting with 0.

    0 holds none out. The rule is that of the Mip-NeRF 360 benchmark and of gsplat's trainer.
    """
    test = [i for i in range(views) if test_every and i % test_every == 0]
    return [i for i in range(views) if not (test_every and i % test_every == 0)], test


def pixels_of(xyz: np.ndarray, K: np.ndarray, cam_to_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Project points through a pinhole.

    Args:
        xyz: `[M, 3]`, world.
        K: `[3, 3]`.
        cam_to_world: `[4, 4]`.

    Returns:
        Pixels `[M, 2]` and depths `[M]`. Pixels of points at or behind the camera's plane (depth <= 0) mean nothing.
    """
    world_to_cam = np.linalg.inv(cam_to_world)
    camera = xyz @ world_to_cam[:3, :3].T + world_to_cam[:3, 3]
    depth = camera[:, 2]
    homogeneous = camera @ K.T
    return homogeneous[:, :2] / np.where(depth > 0, depth, 1.0)[:, None], depth


def pixels_inside(
    xyz: np.ndarray, K: np.ndarray, cam_to_world: np.ndarray, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """As `pixels_of`, with only those points that lie in front of the camera and inside a picture of (width, height).

    Noise of a point, or of a pose, can put a point that a view has seen outside of it.
    """
    pixels, depth = pixels_of(xyz, K, cam_to_world)
    inside = (depth > 0) & (pixels > 0).all(axis=1) & (pixels < size).all(axis=1)
    return pixels[inside], depth[inside]
