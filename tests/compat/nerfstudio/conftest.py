"""Tests in nerfstudio's own classes. They need nerfstudio, and run on a CPU with torch in the place of CUDA's part."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
NEEDS = "needs nerfstudio: `bash .ci/compat-nerfstudio` makes an environment for it"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if importlib.util.find_spec("nerfstudio") is None:
        for item in items:
            if HERE in Path(item.path).parents:
                item.add_marker(pytest.mark.skip(reason=NEEDS))


@pytest.fixture(scope="session")
def example() -> ModuleType:
    """The example, whose `stand_ins` the tests use."""
    spec = importlib.util.spec_from_file_location(
        "nerfstudio_example", ROOT / "examples/embedding/nerfstudio_splatfacto.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session", autouse=True)
def on_cpu(example: ModuleType) -> Iterator[None]:
    if importlib.util.find_spec("nerfstudio") is None:
        yield
        return
    with example.stand_ins("cpu"):
        yield


@pytest.fixture
def model_with() -> Callable[..., Any]:
    """A model of 60 gaussians with a loss: ``model_with("zoo:splatfacto", use_absgrad=False)``."""
    import torch
    from nerfstudio.data.scene_box import SceneBox

    from splatdsl.runtime.adapters.nerfstudio import SplatDslSplatfactoModelConfig

    def make(loss: str = "zoo:splatfacto", **settings: Any) -> Any:
        generator = torch.Generator().manual_seed(0)
        points = torch.rand(60, 3, generator=generator) - 0.5
        colours = 255 * torch.rand(60, 3, generator=generator)
        torch.manual_seed(1)  # splatfacto draws rotations
        settings = {"backend": "eager", "use_absgrad": False, "num_downscales": 0, **settings}
        config = SplatDslSplatfactoModelConfig(loss=loss, **settings)
        box = SceneBox(torch.tensor([[-1.0] * 3, [1.0] * 3]))
        model = config.setup(
            scene_box=box,
            num_train_data=2,
            metadata={},
            device="cpu",
            grad_scaler=None,
            seed_points=(points, colours),
        )
        model.optimizers = {}  # the trainer's callbacks set them
        return model

    return make


@pytest.fixture
def camera() -> Any:
    """One camera in front of those gaussians, 48 x 40 pixels."""
    import torch
    from nerfstudio.cameras.cameras import Cameras

    pose = torch.eye(4)[None, :3].clone()
    pose[:, 2, 3] = 2.0  # nerfstudio's cameras look along -z
    return Cameras(pose, 48.0, 50.0, 24.0, 20.0, width=48, height=40, metadata={"cam_idx": 1})


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The synthetic scene in nerfstudio's format: five images of 32 x 24 pixels with masks."""
    import numpy as np
    from PIL import Image

    from splatdsl.runtime import SyntheticDataProvider

    folder = tmp_path_factory.mktemp("dataset")
    scene = SyntheticDataProvider(width=32, height=24, views=5, points=100, test_every=0)
    scene.load_data()
    frames = []
    for i in range(scene.get_train_data_size()):
        item = scene.next_train_data(i)
        Image.fromarray(np.uint8(255 * item.image[0].numpy())).save(folder / f"{i}.png")
        Image.fromarray(np.uint8(255 * item.mask[0].float().numpy())).save(folder / f"mask_{i}.png")
        pose = item.cam_to_world[0].clone()
        pose[:3, 1:3] *= -1
        frames.append({"file_path": f"{i}.png", "mask_path": f"mask_{i}.png", "transform_matrix": pose.tolist()})
    k = item.K[0].tolist()
    intrinsics = {"fl_x": k[0][0], "fl_y": k[1][1], "cx": k[0][2], "cy": k[1][2], "w": 32, "h": 24}
    made = {"camera_model": "OPENCV", **intrinsics, "frames": frames}
    (folder / "transforms.json").write_text(json.dumps(made))
    return folder


@pytest.fixture(scope="session")
def ns_train(dataset: Path) -> Callable[..., None]:
    """``ns-train splatdsl-splatfacto`` in this process: ``ns_train(folder, "--pipeline.model.loss", ...)``."""
    import tyro
    from nerfstudio.configs.method_configs import AnnotatedBaseConfigUnion
    from nerfstudio.scripts.train import main
    from nerfstudio.utils import writer

    def run(output: Path, *options: str) -> None:
        os.environ.setdefault("COLUMNS", "120")
        writer.EVENT_WRITERS.clear()  # a process trains once
        writer.EVENT_STORAGE.clear()
        writer.GLOBAL_BUFFER.clear()
        places = ["--data", str(dataset), "--output-dir", str(output), "--timestamp", "run", "--experiment-name", "e"]
        cheap = ["--vis", "tensorboard", "--machine.device-type", "cpu", "--pipeline.model.backend", "eager"]
        small = ["--pipeline.model.random-init", "True", "--pipeline.model.num-random", "80"]
        small += ["--pipeline.model.random-scale", "1.0"]
        fixed = ["--pipeline.model.use-absgrad", "False"]
        data = ["nerfstudio-data", "--eval-mode", "all"]
        arguments = ["splatdsl-splatfacto", *places, *cheap, *small, *fixed, *options, *data]
        main(tyro.cli(AnnotatedBaseConfigUnion, args=arguments))

    return run
