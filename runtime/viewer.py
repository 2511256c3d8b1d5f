"""The viewer in the browser: gaussians, and the terms of the loss as heat maps on them (viser, extra `viewer`)."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .extras import require
from .training.config import training_error
from .viewer_frames import Frames, TermRow
from .viewer_pictures import Camera

HOST, PORT = "127.0.0.1", 8080
FREE = "free camera"
STILL = 0.25
"""Seconds without a movement of the camera after which a picture is drawn at full size."""

MOVING = 3
"""While the camera moves, pictures are smaller by this factor."""

SAME = 1e-3
"""Largest difference of two poses that counts as none: those of browsers are rounded."""


@dataclass
class Seat:
    """One browser that looks on.

    Attributes:
        client: viser's handle.
        moved: when its camera moved last, seconds of the clock.
        drawn: what it has: "" nothing of the present view, "small" or "full".
    """

    client: Any
    moved: float = 0.0
    drawn: str = ""


class Viewer:
    """Serves pictures to browsers. It draws only when `serve` is called, in the thread that calls it.

    Args:
        frames: makes the pictures.
        host: the address to listen at; only this machine can reach the default.
        port: the first port that is free from here on is taken.
        size: pixels along the longer side of a picture; None: 800 with gsplat, 320 with the reference renderer.
        can_pause: whether there is a training to pause.
        clock: seconds.

    Raises:
        LossError: DAT001, viser is not installed; RUN003, this machine cannot listen at such an address.
    """

    def __init__(
        self,
        frames: Frames,
        host: str = HOST,
        port: int = PORT,
        size: int | None = None,
        can_pause: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        viser = require("viser", "viewer")
        check_address(host, port)
        self.frames, self._clock = frames, clock
        self.paused = False
        self.view: int | None = None
        self._at: Tensor | None = None  # the pose of that view
        self._seats: dict[int, Seat] = {}
        self._lock = threading.Lock()  # callbacks come in threads of viser
        self._wake = threading.Event()
        self._shown: tuple[Any, ...] = ()
        self._titles = frames.views()
        self.server = viser.ViserServer(host=host, port=port, verbose=False)
        gui = self.server.gui
        self._mode = gui.add_dropdown("show", tuple(frames.modes()), initial_value="render")
        self._place = gui.add_dropdown("at", (FREE, *self._titles), initial_value=FREE)
        self._size = gui.add_slider("pixels", min=64, max=2048, step=32, initial_value=size or frames.size)
        self._pause = gui.add_button("pause training", visible=can_pause)
        self._terms = gui.add_button("update the table of terms")
        self._text = gui.add_markdown("")
        self._table = gui.add_markdown("")
        self._mode.on_update(lambda _: self.changed())
        self._size.on_update(lambda _: self.changed())
        self._place.on_update(lambda _: self._go())
        self._pause.on_click(lambda _: self.pause(not self.paused))
        self._terms.on_click(lambda _: self._ask_table())
        self._wants_table = False
        if self._titles:
            self._set_start(frames.camera(0))
        self.server.on_client_connect(self._enter)
        self.server.on_client_disconnect(self._leave)

    @property
    def address(self) -> str:
        """Where to point a browser at."""
        return f"http://{self.server.get_host()}:{self.server.get_port()}"

    # What browsers do

    def _set_start(self, camera: Camera) -> None:
        up = -camera.cam_to_world[:3, 1].double().numpy()
        self.server.scene.set_up_direction(tuple(up / np.linalg.norm(up)))
        first = self.server.initial_camera
        position = camera.cam_to_world[:3, 3].double().numpy()
        first.position = tuple(position)
        first.look_at = tuple(position + camera.cam_to_world[:3, 2].double().numpy())
        first.fov = camera.fov

    def _enter(self, client: Any) -> None:
        with self._lock:
            self._seats[client.client_id] = Seat(client)
        client.camera.on_update(lambda _: self.moved(client.client_id))
        self._wake.set()

    def _leave(self, client: Any) -> None:
        with self._lock:
            self._seats.pop(client.client_id, None)

    def moved(self, client_id: int) -> None:
        """The camera of a browser has moved."""
        with self._lock:
            seat = self._seats.get(client_id)
            if seat is None:
                return
            away = self.view is not None and not self._stands(seat.client.camera)
            if away:
                self.view, self._at = None, None
                seat.moved = self._clock()
            elif self.view is None:
                seat.moved = self._clock()
            seat.drawn = ""
        if away:
            self._place.value = FREE
        self._wake.set()

    def _stands(self, camera: Any) -> bool:
        assert self._at is not None
        return bool((camera_of(camera).cam_to_world - self._at).abs().max() < SAME * (1 + self._at.abs().max()))

    def changed(self) -> None:
        """What is to be seen has changed, though no camera has moved."""
        with self._lock:
            for seat in self._seats.values():
                seat.drawn = ""
        self._wake.set()

    def _go(self) -> None:
        if self._place.value != FREE:
            self.stand(self._titles.index(self._place.value))

    def stand(self, view: int) -> None:
        """Bring all browsers to a view of the data."""
        camera = self.frames.camera(view)
        pose = camera.cam_to_world
        with self._lock:
            self.view, self._at = view, pose
            seats = list(self._seats.values())
        quaternion = require("viser.transforms", "viewer").SO3.from_matrix(pose[:3, :3].double().numpy()).wxyz
        for seat in seats:
            with seat.client.atomic():
                seat.client.camera.wxyz = quaternion
                seat.client.camera.position = pose[:3, 3].double().numpy()
                seat.client.camera.fov = camera.fov
        self.changed()

    def pause(self, paused: bool) -> None:
        """Hold the training, or let it go on."""
        self.paused = paused
        self._pause.label = "go on training" if paused else "pause training"
        self._wake.set()

    def _ask_table(self) -> None:
        self._wants_table = True
        self._wake.set()

    # Drawing

    def advance(self) -> None:
        """The gaussians have changed: what browsers have is old."""
        if (self.frames.step, id(self.frames.state)) != self._shown[:2]:
            self._shown = (self.frames.step, id(self.frames.state))
            self.changed()

    def pending(self) -> bool:
        """Whether a browser waits for a picture, or for the table."""
        now = self._clock()
        with self._lock:
            return self._wants_table or any(self._due(seat, now) for seat in self._seats.values())

    def _due(self, seat: Seat, now: float) -> str:
        """What a browser should get now: "" nothing, "small" or "full"."""
        moving = now - seat.moved < STILL
        if seat.drawn == "full" or (moving and seat.drawn == "small"):
            return ""
        return "small" if moving else "full"

    def serve(self) -> int:
        """Draw what browsers wait for; returns the number of pictures."""
        now = self._clock()
        with self._lock:
            wanted = [(seat, self._due(seat, now), self.view) for seat in self._seats.values()]
            for seat, due, _ in wanted:
                seat.drawn = due or seat.drawn
        drawn = 0
        for seat, due, view in wanted:
            if due:
                drawn += 1
                self._draw(seat, due, view)
        if self._wants_table:
            self._wants_table = False
            self._write_table()
        return drawn

    def _draw(self, seat: Seat, due: str, view: int | None) -> None:
        handle = seat.client.camera
        size = self._pixels(float(handle.aspect), 1 if due == "full" else MOVING)
        frame = self.frames.frame(camera_of(handle), self._mode.value, size, view)
        seat.client.scene.set_background_image(frame.image, format="jpeg", jpeg_quality=85)
        state = self.frames.state
        count = f"{state.num_gaussians:,} gaussians" if state is not None else "no gaussians"
        self._text.content = f"step {self.frames.step:,}, {count}\n\n{frame.note}"

    def _pixels(self, aspect: float, factor: int) -> tuple[int, int]:
        longer = max(16, int(self._size.value) // factor)
        if aspect >= 1:
            return longer, max(16, round(longer / aspect))
        return max(16, round(longer * aspect)), longer

    def _write_table(self) -> None:
        with self._lock:
            seat = next(iter(self._seats.values()), None)
            view = self.view
        if seat is None and view is None:
            return
        camera = camera_of(seat.client.camera) if seat is not None else self.frames.camera(view or 0)
        self._table.content = as_markdown(self.frames.table(camera, self._pixels(1.0, 2), view))

    def wait(self, seconds: float) -> None:
        """Wait until a browser wants something, for so long at most."""
        self._wake.wait(seconds)
        self._wake.clear()

    def close(self) -> None:
        """Stop to serve."""
        self.server.stop()


def check_address(host: str, port: int) -> None:
    """Refuse an address at which viser would try one port after the other for ever.

    Raises:
        LossError: RUN003. A port that is taken is none: the next one will do.
    """
    try:
        if not 0 < port < 65536:  # otherwise taken modulo that
            raise OverflowError("there is no such port")
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as trial:
            trial.bind(address)
    except (OSError, OverflowError, UnicodeError) as error:
        if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
            return
        raise training_error(
            "RUN003",
            f"the viewer cannot listen at {host}:{port}: {error}",
            help=("use the host 127.0.0.1, for this machine alone, or 0.0.0.0, and a port from 1024 to 65535",),
        ) from error


def camera_of(handle: Any) -> Camera:
    """The camera of a browser: viser's have OpenCV axes, too."""
    rotation = require("viser.transforms", "viewer").SO3(np.asarray(handle.wxyz, dtype=np.float64)).as_matrix()
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.from_numpy(np.asarray(rotation, dtype=np.float64))
    pose[:3, 3] = torch.from_numpy(np.asarray(handle.position, dtype=np.float64))
    return Camera(pose.float(), float(handle.fov))


def as_markdown(rows: list[TermRow]) -> str:
    """The table of terms."""
    lines = ["| term | weight | value | share |", "|---|---|---|---|"]
    for row in rows:
        value = "not here" if row.value is None else f"{row.value:.4g}"
        share = "" if row.share is None else f"{100 * row.share:.1f} %"
        lines.append(f"| {row.name} | {row.weight:.4g} | {value} | {share} |")
    return "\n".join(lines) if rows else "the loss has no terms to show"
