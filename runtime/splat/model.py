"""A gaussian model at rest: raw parameters on the CPU, and the files that hold them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..data.problems import data_error
from ..extras import require
from .neighbors import nearest_distances

PARAMETERS = ("means", "scales", "quats", "opacities", "sh0", "shN")

# Value of the constant spherical harmonic, 1 / (2 sqrt(pi)).
SH_C0 = 0.28209479177387814

_CLOSEST = 1e-7  # duplicates of a point would otherwise start with size 0, the logarithm of which is -inf


@dataclass(frozen=True)
class SplatModel:
    """N gaussians by their raw parameters, float32 on the CPU; numpy arrays are converted.

    Attributes:
        means: `[N, 3]`, scene units.
        scales: `[N, 3]`, natural logarithms of the standard deviations along the axes.
        quats: `[N, 4]`, rotations as w, x, y, z, not necessarily of unit length.
        opacities: `[N]`, logits.
        sh0: `[N, 1, 3]`, the constant spherical harmonic.
        shN: `[N, K - 1, 3]`, the others, K = (degree + 1)^2.

    Raises:
        LossError: shapes do not fit together.
    """

    means: Tensor
    scales: Tensor
    quats: Tensor
    opacities: Tensor
    sh0: Tensor
    shN: Tensor

    def __post_init__(self) -> None:
        for name in PARAMETERS:
            value = torch.as_tensor(getattr(self, name)).detach().to("cpu", torch.float32)
            object.__setattr__(self, name, value)
        n = self.means.shape[0] if self.means.ndim else 0
        wanted = {"means": (n, 3), "scales": (n, 3), "quats": (n, 4), "opacities": (n,), "sh0": (n, 1, 3)}
        for name, shape in wanted.items():
            found = tuple(getattr(self, name).shape)
            if found != shape:
                raise data_error("DAT017", f"{name} has shape {list(found)}, not {list(shape)}", "<gaussians>")
        higher = tuple(self.shN.shape)
        if len(higher) != 3 or higher[0] != n or higher[2] != 3 or math.isqrt(higher[1] + 1) ** 2 != higher[1] + 1:
            raise data_error(
                "DAT017",
                f"shN has shape {list(higher)}, not [{n}, K - 1, 3] with K a square number",
                "<gaussians>",
                notes=("K is (degree + 1)^2: 1, 4, 9 or 16 for degrees 0 to 3",),
            )

    @property
    def num_gaussians(self) -> int:
        """N."""
        return self.means.shape[0]

    @property
    def sh_degree(self) -> int:
        """Degree of the spherical harmonics, 0..3 usually."""
        return math.isqrt(self.shN.shape[1] + 1) - 1

    def parameters(self) -> dict[str, Tensor]:
        """The raw parameters by name, not copied."""
        return {name: getattr(self, name) for name in PARAMETERS}

    @classmethod
    def from_parameters(cls, parameters: Mapping[str, Any]) -> SplatModel:
        """A model of raw parameters by name.

        Raises:
            LossError: one is missing, or shapes do not fit together.
        """
        missing = [name for name in PARAMETERS if name not in parameters]
        if missing:
            raise data_error("DAT017", f"parameters are missing: {', '.join(missing)}", "<gaussians>")
        return cls(**{name: parameters[name] for name in PARAMETERS})

    @classmethod
    def from_points(
        cls,
        points: Tensor | np.ndarray,
        colors: Tensor | np.ndarray,
        sh_degree: int = 3,
        init_opacity: float = 0.1,
        init_scale: float = 1.0,
    ) -> SplatModel:
        """One round gaussian at every point.

        Its standard deviation is ``init_scale`` times the root mean square distance to the 3 nearest points, as in
        gsplat's trainer; a lone point counts as 1 away from the next. Rotations start as the identity, as in the
        3DGS reference code.

        Args:
            points: `[N, 3]`, scene units.
            colors: `[N, 3]`, 0..1; higher harmonics start at 0.
            sh_degree: degree of the spherical harmonics, 0 or more.
            init_opacity: in (0, 1).
            init_scale: > 0.

        Raises:
            LossError: no points, points that are not finite, or an argument out of its range.
        """
        points, colors = torch.as_tensor(points), torch.as_tensor(colors)
        xyz, rgb = points.detach().to("cpu", torch.float32), colors.detach().to("cpu", torch.float32)
        n = xyz.shape[0]
        if n == 0:
            raise data_error("DAT012", "there are no points to start gaussians from", "<points>")
        if xyz.shape != (n, 3) or rgb.shape != (n, 3):
            shapes = f"{list(xyz.shape)} and {list(rgb.shape)}"
            raise data_error("DAT017", f"points and colors have shapes {shapes}, not [N, 3] both", "<points>")
        bad = int((~torch.isfinite(xyz).all(dim=1)).sum())
        if bad:
            raise data_error("DAT017", f"{bad} of {n} points are not finite", "<points>")
        if not 0.0 < init_opacity < 1.0 or not init_scale > 0.0 or sh_degree < 0:
            raise data_error(
                "DAT015",
                f"init_opacity={init_opacity}, init_scale={init_scale}, sh_degree={sh_degree} are not all in range",
                "<points>",
                help=("init_opacity lies in (0, 1), init_scale is above 0, sh_degree is 0 or more",),
            )
        # Distances are found on the points' own device: there it is the fast step for large scenes.
        distances = nearest_distances(points.detach().float()).cpu()
        size = distances.square().mean(dim=1).sqrt() if n > 1 else torch.ones(1)
        scales = torch.log(size.clamp(min=_CLOSEST) * init_scale)[:, None].repeat(1, 3)
        return cls(
            means=xyz.clone(),
            scales=scales,
            quats=torch.tensor([1.0, 0.0, 0.0, 0.0]).repeat(n, 1),
            opacities=torch.full((n,), math.log(init_opacity / (1.0 - init_opacity))),
            sh0=((rgb - 0.5) / SH_C0)[:, None, :],
            shN=torch.zeros(n, (sh_degree + 1) ** 2 - 1, 3),
        )

    def save_ply(self, path: str | Path) -> int:
        """Write the PLY file that gaussian viewers read, through gsplat's exporter.

        Gaussians with a parameter that is not finite are left out. A model of degree 0 is written without
        ``f_rest`` properties.

        Returns:
            How many gaussians were written.

        Raises:
            LossError: gsplat is not installed.
        """
        exporter = require("gsplat.exporter")
        finite = torch.ones(self.num_gaussians, dtype=torch.bool)
        for value in self.parameters().values():
            finite &= value.isfinite().reshape(len(value), math.prod(value.shape[1:])).all(dim=1)
        rows = {name: value[finite].contiguous() for name, value in self.parameters().items()}
        if self.shN.shape[1]:
            exporter.export_splats(**rows, format="ply", save_to=str(path))
        else:
            # export_splats cannot reshape an empty shN; the writer below it takes flat rows and can.
            rows["sh0"], rows["shN"] = rows["sh0"].flatten(1), rows["sh0"].new_zeros((len(rows["sh0"]), 0))
            Path(path).write_bytes(exporter.splat2ply_bytes(**rows))
        return int(finite.sum())

    @classmethod
    def load_ply(cls, path: str | Path) -> SplatModel:
        """Read a gaussian PLY file, of this package, of gsplat or of the 3DGS reference code.

        Raises:
            LossError: plyfile is not installed, the file does not exist, or it does not hold gaussians.
        """
        plyfile = require("plyfile")
        try:
            vertex = plyfile.PlyData.read(str(path))["vertex"]
        except FileNotFoundError as error:
            raise data_error("DAT016", f"{path} does not exist", path) from error
        except (KeyError, OSError, ValueError, EOFError, plyfile.PlyParseError) as error:
            raise data_error("DAT016", f"{path} cannot be read as a PLY file with vertices: {error}", path) from error
        present = {p.name for p in vertex.properties}
        groups = {
            "means": ["x", "y", "z"],
            "scales": [f"scale_{i}" for i in range(3)],
            "quats": [f"rot_{i}" for i in range(4)],
            "opacities": ["opacity"],
            "sh0": [f"f_dc_{i}" for i in range(3)],
        }
        missing = [name for names in groups.values() for name in names if name not in present]
        if missing:
            raise data_error(
                "DAT016",
                f"{path} is not a gaussian PLY file: it lacks {', '.join(missing)}",
                path,
                help=("a point cloud is turned into gaussians with SplatModel.from_points",),
            )
        groups["shN"] = [f"f_rest_{i}" for i in range(sum(name.startswith("f_rest_") for name in present))]
        n = vertex.count
        columns = {
            name: torch.from_numpy(
                np.stack([np.asarray(vertex[p], dtype=np.float32) for p in names], axis=1)
                if names
                else np.zeros((n, 0), dtype=np.float32)
            )
            for name, names in groups.items()
        }
        columns["opacities"] = columns["opacities"][:, 0]
        columns["sh0"] = columns["sh0"][:, None, :]
        # The file holds all coefficients of red, then of green, then of blue.
        columns["shN"] = columns["shN"].reshape(n, 3, columns["shN"].shape[1] // 3).transpose(1, 2).contiguous()
        return cls(**columns)
