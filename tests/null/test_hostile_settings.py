"""Run configs, settings files and command lines that were written to hang, to eat memory or to read other files.

The limits are those of the hostile programs: an answer is wanted within 2 seconds and 300 MB.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

SECONDS = 10.0  # of processor time: five times the aim, as a busy machine also slows down each instruction
MEGABYTES = 300
OUTPUT = 300_000

# Runs a command and says what it took; `getrusage` knows the largest of all children, so that each needs a new process.
LAUNCH = """
import json, resource, subprocess, sys
done = subprocess.run([sys.executable, "-m", "splatdsl", *sys.argv[1:]], stdin=subprocess.DEVNULL, capture_output=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
texts = [t.decode("utf-8", "replace") for t in (done.stdout, done.stderr)]
print(json.dumps([done.returncode, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, *texts]))
"""

Run = Callable[..., str]


@pytest.fixture
def check(run_python, tmp_path: Path) -> Run:
    """Runs `check` in the test's folder, and gives what it printed."""
    (tmp_path / ".git").mkdir()  # the project ends here
    (tmp_path / "a.loss").write_text("term t = l1(masked)\n")

    def go(*arguments: str, statuses: tuple[int, ...] = (1, 2)) -> str:
        done = run_python("-c", LAUNCH, "check", "--no-cache", *arguments, cwd=tmp_path)
        status, seconds, megabytes, out, error = json.loads(done.stdout)
        assert "Traceback" not in error + out, error[-1500:]
        assert status in statuses, (status, out[-500:], error[-1500:])
        assert seconds < SECONDS
        assert megabytes < MEGABYTES
        assert len(out + error) < OUTPUT
        assert "root:" not in out + error
        return out + error

    return go


RUN = "loss: l1()\ndata: {kind: synthetic}\n"


def aliases(count: int, width: int) -> str:
    """Each of so many lists holds the one before so many times."""
    lists = [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * width)}]\n" for i in range(1, count)]
    return "a0: &a0 x\n" + "".join(lists) + RUN


CONFIGS: dict[str, str | bytes] = {
    "a billion laughs": aliases(30, 9),
    "aliases in mappings": "a0: &a0 {x: 1}\n"
    + "".join(f"a{i}: &a{i} {{{','.join(f'k{j}: *a{i - 1}' for j in range(9))}}}\n" for i in range(1, 40)),
    "200,000 aliases": f"a: &a [1, 2]\nb: [{','.join(['*a'] * 200_000)}]\n",
    "an alias inside itself": "a: &a [*a]\n" + RUN,
    "60,000 anchors": "".join(f"a{i}: &x{i} 1\n" for i in range(60_000)),
    "deep lists": "a: " + "[" * 100_000,
    "deep mappings": "a: " + "{a: " * 100_000,
    "deep blocks": "- " * 300_000,
    "deep keys": "? " * 300_000,
    "a Python call": "loss: !!python/object/apply:os.system ['touch pwned']\ndata: {kind: synthetic}\n",
    "a Python object": "!!python/object/new:os.system [touch pwned]\n",
    "Python names": "a: !!python/name:os.system\nb: !!python/module:os\n" + RUN,
    "a tag of its own": "%TAG ! tag:yaml.org,2002:python/\n---\nloss: !name:os.system x\n",
    "an include": "loss: !include /etc/passwd\ndata: !env HOME\n",
    "a long tag": "loss: !<" + "a" * 200_000 + "> x\n",
    "50 MB": "x" * 50_000_000,
    "one long line": "loss: " + "x" * 1_000_000 + "\n",
    "many items": "a:\n" + "- 1\n" * 250_000,
    "many keys": "".join(f"k{i}: 1\n" for i in range(80_000)),
    "unknown keys": RUN + "train:\n" + "".join(f"  max_step{i}: 1\n" for i in range(900)),
    "keys twice": RUN + "train: {max_steps: 1}\n" * 900,
    "merge keys": "a: &a {kind: synthetic}\nloss: l1()\ndata:\n  <<: *a\n",
    "keys that are lists": "? [a, b]\n: 1\n" + RUN,
    "a zero byte": "loss: l1()\0\n",
    "a lone surrogate": b"loss: \xed\xa0\x80\n",
    "no UTF-8": b"loss: \xff\xfe\n",
    "UTF-16": ("\ufeff" + RUN).encode("utf-16-le"),
    "byte-order marks": "\ufeff" * 100_000 + RUN,
    "tabs": "\t" * 500_000 + RUN,
    "quotes": "loss: '" + "''" * 400_000,
    "an escape that is no character": 'loss: "\\U00110000"\n',
    "an escaped surrogate": 'loss: "\\uD800"\ndata: {kind: synthetic}\n',
    "an escaped zero byte": 'loss: "a\\0b.loss"\ndata: {kind: colmap, path: "x\\0y"}\n',
    "documents": "--- a\n" * 100_000,
    "a long alias": "loss: *" + "a" * 500_000,
    "colons": ":" * 500_000,
    "a number of 400 digits": RUN + "train: {max_steps: 1" + "0" * 400 + "}\n",
    "a large number": RUN + "train: {max_steps: 1e300}\n",
    "a large exponent": RUN + "train: {max_steps: 1e999999999}\n",
    "base sixty": RUN + "train: {max_steps: " + "1:" * 100_000 + "1}\n",
    "another file": "loss: /etc/passwd\ndata: {kind: synthetic}\n",
    "another file with dots": "loss: " + "../" * 9 + "etc/passwd\ndata: {kind: synthetic}\n",
    "a link to another file": "loss: out.loss\ndata: {kind: synthetic}\n",
    "a pipe": "loss: pipe.loss\ndata: {kind: synthetic}\n",
    "a device": "loss: zero.loss\ndata: {kind: synthetic}\n",
    "a scene that is a file": "loss: l1()\ndata: {kind: colmap, path: /etc/passwd}\n",
    "a hostile program": "loss: |\n  term t = " + "(" * 90_000 + "\ndata: {kind: synthetic}\n",
    "suppressions": "# splat: ignore[CFG001]\n" * 40_000 + "loss: 1\n",
    "bytes": bytes(range(256)) * 3_000,
}


@pytest.mark.parametrize("what", CONFIGS)
def test_configs(what: str, check: Run, tmp_path: Path) -> None:
    text = CONFIGS[what]
    (tmp_path / "run.yaml").write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    os.mkfifo(tmp_path / "pipe.loss")
    (tmp_path / "zero.loss").symlink_to("/dev/zero")
    (tmp_path / "out.loss").symlink_to("/etc/passwd")
    check("run.yaml")
    assert not (tmp_path / "pwned").exists()


PIPE, FOLDER, LINK = "(pipe)", "(folder)", "(link to) "

SETTINGS: dict[str, dict[str, str | bytes]] = {
    "50 MB": {"splatdsl.toml": "#" * 50_000_000},
    "many codes": {"splatdsl.toml": "ignore = [" + '"NAM001",' * 90_000 + "]\n"},
    "many words": {"splatdsl.toml": "ignore = [" + ",".join(f"'NAX{i}'" for i in range(900)) + "]\n"},
    "many keys": {"splatdsl.toml": "".join(f"k{i} = 1\n" for i in range(80_000))},
    "many tables": {"splatdsl.toml": "".join(f"[a{i}]\n" for i in range(80_000))},
    "many patterns": {
        "splatdsl.toml": "[per-file-ignores]\n" + "".join(f'"a{i}*" = ["XX"]\n' for i in range(900)),
    },
    "deep lists": {"splatdsl.toml": "ignore = " + "[" * 100_000},
    "deep tables": {"splatdsl.toml": "x = " + "{a=" * 100_000},
    "a deep key": {"splatdsl.toml": ".".join(["a"] * 60_000) + " = 1\n"},
    "deep keys": {"splatdsl.toml": "".join(f"a{i}." + ".".join(["a"] * 100) + " = 1\n" for i in range(4_000))},
    "a deep header": {"splatdsl.toml": f"[{'.'.join(['a'] * 60_000)}]\n"},
    "a number of 60,000 digits": {"splatdsl.toml": "steps = " + "9" * 60_000 + "\n"},
    "a number of 400 digits": {"splatdsl.toml": "steps = " + "9" * 400 + "\n"},
    "a large exponent": {"splatdsl.toml": "steps = 1e999999999\n"},
    "no date": {"splatdsl.toml": "steps = 9999-99-99\n"},
    "no UTF-8": {"splatdsl.toml": b"ignore = ['\xff\xfe']\n"},
    "a zero byte": {"splatdsl.toml": "ignore = ['\0']\n"},
    "an escaped surrogate": {"splatdsl.toml": 'ignore = ["\\uD800"]\n'},
    "itself": {"splatdsl.toml": 'extend = "splatdsl.toml"\n'},
    "a ring": {"splatdsl.toml": 'extend = "b.toml"\n', "b.toml": 'extend = "splatdsl.toml"\n'},
    "a long chain": {
        "splatdsl.toml": 'extend = "a0.toml"\n',
        **{f"a{i}.toml": f'extend = "a{i + 1}.toml"\n' for i in range(900)},
    },
    "another file": {"splatdsl.toml": 'extend = "/etc/passwd"\n'},
    "another file with dots": {"splatdsl.toml": f'extend = "{"../" * 9}etc/passwd"\n'},
    "a file outside": {"splatdsl.toml": 'extend = "../outside.toml"\n'},
    "a link out": {"splatdsl.toml": 'extend = "l.toml"\n', "l.toml": LINK + "/etc/passwd"},
    "a pipe": {"splatdsl.toml": 'extend = "l.toml"\n', "l.toml": PIPE},
    "a device": {"splatdsl.toml": 'extend = "/dev/zero"\n'},
    "a folder": {"splatdsl.toml": 'extend = "."\n'},
    "a path with a zero byte": {"splatdsl.toml": 'extend = "a\\u0000b"\n'},
    "a long path": {"splatdsl.toml": f'extend = "{"a/" * 100_000}"\n'},
    "a large shared file": {"pyproject.toml": "[tool.splatdsl]\n" + "#" * 50_000_000},
    "a shared file of codes": {"pyproject.toml": "[tool.splatdsl]\nignore = [" + '"NAM001",' * 90_000 + "]\n"},
    "a table that is none": {"pyproject.toml": "[tool]\nsplatdsl = 1\n"},
}


def _write(folder: Path, files: dict[str, str | bytes]) -> None:
    for name, text in files.items():
        path = folder / name
        if text == PIPE:
            os.mkfifo(path)
        elif isinstance(text, str) and text.startswith(LINK):
            path.symlink_to(text.removeprefix(LINK))
        else:
            path.write_bytes(text if isinstance(text, bytes) else text.encode())


@pytest.mark.parametrize("what", SETTINGS)
def test_settings(what: str, check: Run, tmp_path: Path) -> None:
    (tmp_path.parent / "outside.toml").write_text("ignore = []\n")
    _write(tmp_path, SETTINGS[what])
    assert "error[CFG1" in check("a.loss", statuses=(2,))


PATTERNS = ["a*" * 30 + "b", "**/" * 150 + "x", "[a-z]*" * 80 + "z", "*" * 498 + "b", "[z-a]", "[", "{a,b", "(a+)+$"]


def test_patterns_take_no_longer_the_more_stars_they_have(check: Run, tmp_path: Path) -> None:
    (tmp_path / f"{'a' * 200}.loss").write_text("term t = l1(masked)\n")
    listed = ", ".join(f"'{p}'" for p in PATTERNS)
    ignores = "\n".join(f"'{p}' = ['USE001']" for p in PATTERNS)
    (tmp_path / "splatdsl.toml").write_text(f"exclude = [{listed}]\n[per-file-ignores]\n{ignores}\n")
    assert "no findings in" in check(".", statuses=(0,))


@pytest.mark.parametrize("name", ["splatdsl.toml", "pyproject.toml"])
@pytest.mark.parametrize("target", [PIPE, LINK + "/dev/zero", LINK + "loop", FOLDER])
def test_settings_files_that_are_no_files_are_not_opened(name: str, target: str, check: Run, tmp_path: Path) -> None:
    if target == FOLDER:
        (tmp_path / name).mkdir()
    else:
        _write(tmp_path, {name: target.replace("loop", name)})
    check("a.loss", statuses=(0, 2))


COMMANDS: dict[str, list[str]] = {
    "a long code": ["--select", "A" * 100_000],
    "many codes": ["--select", ",".join(f"X{i}" for i in range(10_000))],
    "commas": ["--select", "," * 100_000],
    "a code of Python": ["--select", "__import__('os').system('touch pwned')"],
    "steps of 400 digits": ["--steps", "1" + "0" * 400],
    "steps of 5,000 digits": ["--steps", "9" * 5_000],
    "no steps": ["--steps=-1"],
    "a deep setting": ["--config", "ignore=" + "[" * 50_000],
    "a long setting": ["--config", "a" * 100_000 + "=1"],
    "a pipe of settings": ["--config", "pipe.toml"],
    "a value of garbage": ["--set", "a" * 100_000],
    "a deep value": ["--set", "loss_params.x=" + "[" * 50_000],
    "a deep key": ["--set", "a." * 50_000 + "b=1"],
    "a Python tag": ["--set", "loss_params.x=!!python/object/apply:os.system [touch pwned]"],
    "a number of 5,000 digits": ["--set", "loss_params.a=1" + "0" * 5_000],
    "a large number": ["--set", "train.max_steps=1e300"],
    "a long option": ["--" + "x" * 100_000],
    "a long path": ["a/" * 2_000 + "x.loss"],
}


@pytest.mark.parametrize("what", COMMANDS)
def test_command_lines(what: str, check: Run, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    check(*COMMANDS[what], "a.loss")
    assert not (tmp_path / "pwned").exists()
