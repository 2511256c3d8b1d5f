"""``splatdsl fmt`` and the files it writes."""

from __future__ import annotations

import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from splatdsl.cli import fmt
from splatdsl.cli.main import main
from splatdsl.dsl.files import LOSS_LIMIT

MESSY, TIDY = "term  a=1\n", "term a = 1\n"


def _left(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_permissions_stay_and_nothing_is_left_behind(write, tmp_path: Path) -> None:
    path = write("a.loss", MESSY)
    path.chmod(0o640)
    assert main(["fmt", str(path)]) == 0
    assert path.read_text() == TIDY
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert _left(tmp_path) == ["a.loss"]


def test_a_formatted_file_is_not_written(write) -> None:
    path = write("a.loss", TIDY)
    before = path.stat()
    assert main(["fmt", str(path)]) == 0
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("option", ["--check", "--diff"])
def test_check_and_diff_write_nothing(option: str, write, capsys: pytest.CaptureFixture[str]) -> None:
    path = write("a.loss", MESSY)
    before = path.stat()
    assert main(["fmt", option, str(path)]) == 1
    assert path.read_text() == MESSY
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert "1 file would be reformatted" in capsys.readouterr().err
    write("a.loss", TIDY)
    assert main(["fmt", option, str(path)]) == 0


def test_a_link_stays_a_link(write, tmp_path: Path) -> None:
    target = write("real/a.loss", MESSY)
    link = tmp_path / "link.loss"
    link.symlink_to(target)
    assert main(["fmt", str(link)]) == 0
    assert link.is_symlink()
    assert target.read_text() == TIDY
    assert _left(tmp_path) == ["link.loss", "real", "real/a.loss"]


def test_a_file_that_is_reached_twice_is_counted_once(write, tmp_path: Path, capsys) -> None:
    path = write("a.loss", MESSY)
    (tmp_path / "b.loss").symlink_to(path)
    assert main(["fmt", str(path), str(tmp_path), str(tmp_path / "b.loss")]) == 0
    assert capsys.readouterr().err == "1 file reformatted\n"


@pytest.mark.parametrize("step", ["fsync", "replace", "fdopen"])
def test_a_write_that_fails_keeps_the_file(step: str, write, tmp_path: Path, monkeypatch, capsys) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    path = write("a.loss", MESSY)
    other = write("b.loss", MESSY)
    monkeypatch.setattr(fmt.os, step, fail)
    assert main(["fmt", str(path)]) == 2
    monkeypatch.undo()
    assert path.read_text() == MESSY
    assert _left(tmp_path) == ["a.loss", "b.loss"]
    assert "cannot be written: No space left on device" in capsys.readouterr().err
    assert main(["fmt", str(other)]) == 0


def test_ctrl_c_while_writing_keeps_the_file(write, tmp_path: Path, monkeypatch) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    path = write("a.loss", MESSY)
    monkeypatch.setattr(fmt.os, "fsync", stop)
    assert main(["fmt", str(path)]) == 130
    assert path.read_text() == MESSY
    assert _left(tmp_path) == ["a.loss"]


def test_a_file_that_may_not_be_written(write, monkeypatch, capsys) -> None:
    path = write("a.loss", MESSY)
    monkeypatch.setattr(fmt.os, "access", lambda *_: False)  # as root everything may be written
    assert main(["fmt", str(path)]) == 2
    assert path.read_text() == MESSY
    assert "cannot be written: permission denied" in capsys.readouterr().err


def test_unreadable_files_do_not_stop_the_others(write, tmp_path: Path, capsys) -> None:
    paths = [write(name, MESSY) for name in ("a.loss", "d.loss")]
    (tmp_path / "b.loss").write_bytes(b"term a = 1 # \xff\n")
    write("c.loss", "#" * (LOSS_LIMIT + 1))
    assert main(["fmt", str(tmp_path)]) == 2
    assert [path.read_text() for path in paths] == [TIDY, TIDY]
    err = capsys.readouterr().err
    assert "b.loss` is not UTF-8 text: byte 0xff on line 1\n" in err
    assert "c.loss` is larger than 256 KiB\n" in err
    assert err.endswith("2 files reformatted, 2 could not be formatted\n")


def test_folders_skip_what_is_hidden_or_installed(write, tmp_path: Path, capsys) -> None:
    kept = [write(f"{name}/a.loss", MESSY) for name in (".git", "node_modules", "venv")] + [write(".a.loss", MESSY)]
    seen = write("losses/deep/a.loss", MESSY)
    write("losses/a.txt", MESSY)
    assert main(["fmt", str(tmp_path)]) == 0
    assert [path.read_text() for path in kept] == [MESSY] * 4
    assert seen.read_text() == TIDY
    assert capsys.readouterr().out == f"reformatted {seen}\n"


def test_an_empty_folder_is_a_mistake(tmp_path: Path, capsys) -> None:
    assert main(["fmt", str(tmp_path)]) == 2
    assert "holds no `.loss` files" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("let a=1\nlet b=2\n", "let a = 1\nlet b = 2\n"),
        ("let a=1\r\nlet b=2\r\n", "let a = 1\r\nlet b = 2\r\n"),
        ("let a = 1\nlet b=2", "let a = 1\nlet b = 2\n"),
        ("\n\nlet a = 1 # \u2028 no line end\n", "let a = 1  # \u2028 no line end\n"),
        ('"""a\x0cb\x1c"""\nl1()', '"""a\x0cb\x1c"""\n\nl1()\n'),
    ],
)
def test_a_diff_is_a_patch(old: str, new: str, tmp_path: Path, run_cli) -> None:
    path = tmp_path / "a.loss"
    path.write_bytes(old.encode())
    done = run_cli("fmt", "--diff", "a.loss", cwd=tmp_path)
    assert done.returncode == 1
    if shutil.which("patch") is None:
        pytest.skip("there is no `patch` to try it with")
    patch = fmt.unified(old, new, "a.loss")
    subprocess.run(["patch", "--binary", "-p0"], cwd=tmp_path, input=patch.encode(), check=True, capture_output=True)
    assert path.read_bytes() == new.encode()


def test_standard_input_keeps_its_line_ends(run_cli, run_python, tmp_path: Path) -> None:
    text = "\ufeffterm a=1\r\nterm b=2\r\n"
    probe = (
        "import subprocess, sys\n"
        "done = subprocess.run([sys.executable, '-m', 'splatdsl', 'fmt', '-'], input=sys.stdin.buffer.read(),"
        " capture_output=True)\n"
        "print(done.returncode, done.stdout)"
    )
    done = run_python("-c", probe, stdin=text.encode())
    assert done.stdout == f"0 {b'term a = 1' + bytes([13, 10]) + b'term b = 2' + bytes([13, 10])!r}\n"
    assert run_cli("fmt", "-", stdin=b"\xff").returncode == 2


def test_a_reader_that_goes_away_is_no_error(write, tmp_path: Path) -> None:
    path = write("a.loss", "\n".join(f"term a{n}=1" for n in range(9_000)))
    command = f"{sys.executable} -m splatdsl fmt --diff {path} | head -1"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stdout == f"--- {path}\n"
    assert "Traceback" not in done.stderr
