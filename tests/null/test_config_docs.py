"""What the page on run configs shows is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from splatdsl.dsl.config import check_config, load_config
from splatdsl.dsl.config_schema import page
from splatdsl.dsl.config_sweep import load_sweep

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "configs.md").read_text(encoding="utf-8")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page shows, each under the name in its first line."""
    for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL):
        path = tmp_path / text.splitlines()[0].removeprefix("# ")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tmp_path / "losses").mkdir()
    (tmp_path / "losses" / "quick.loss").write_text((ROOT / "examples" / "losses" / "quick.loss").read_text("utf-8"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_table_of_keys_is_current() -> None:
    text = (ROOT / "docs" / "config-keys.md").read_text(encoding="utf-8")
    assert text == page(), "run `splatdsl reference --config > docs/config-keys.md`"


def test_the_files_are_right(files: Path) -> None:
    for name in ("base.yaml", "run.yaml", "sweep.yaml"):
        assert check_config(name) == []
    config, _ = load_config("run.yaml", ["train.seed=4"])
    assert config is not None
    assert (config.train.max_steps, config.train.eval_every, config.train.lr.means) == (100, 100, 2)
    runs, found = load_sweep("sweep.yaml")
    assert found == []
    assert runs is not None
    assert [run.name for run in runs][:2] == ["ssim_weight=0.1,seed=0", "ssim_weight=0.1,seed=1"]
    assert len(runs) == 6


def test_the_values_that_it_sets_are_right(files: Path) -> None:
    given = [text.strip('"') for text in re.findall(r"`--set (.*?)`", PAGE, re.DOTALL)]
    assert len(given) > 6
    for text in given:
        if "KEY" not in text and "other.yaml" not in text:
            assert load_config("run.yaml", [text])[1] == [], text
    line = next(line for line in PAGE.splitlines() if "--over" in line and line.startswith("splatdsl"))
    assert "--over train.seed=0,1,2" in line
    runs, found = load_sweep("run.yaml", ["loss_params=null"], ["train.seed=0,1,2", "loss=zoo:3dgs,losses/quick.loss"])
    assert found == []
    assert len(runs or ()) == 6


def test_the_transcript_is_what_the_command_prints(files: Path, run_cli) -> None:
    (block,) = re.findall(r"^```\n(\$ splatdsl config.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    command, *shown = block.splitlines()
    done = run_cli(*command.split()[2:], cwd=files)
    assert done.returncode == 0
    printed = iter(done.stdout.splitlines())
    assert all(line in printed for line in shown if line != "..."), "every line, in this order"
    (files / "again.yaml").write_text(done.stdout, encoding="utf-8")
    config, found = load_config("again.yaml")
    assert found == []
    assert config is not None
    assert (config.train.seed, config.train.max_steps, config.loss_params) == (4, 100, {"ssim_weight": 0.4})
    as_json = run_cli("config", "run.yaml", "--format", "json", cwd=files)
    assert '"from": "presets.yaml:3"' in as_json.stdout
