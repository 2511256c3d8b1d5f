"""What needs torch says so where torch is missing; what does not need it works."""

import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]

BLOCK = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
"""


def run(code, tmp_path):
    program = BLOCK + textwrap.dedent(code)
    return subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=60)


def test_checking_works(tmp_path):
    done = run("import splatdsl; print(splatdsl.check('l1(maskd)')[0].code)", tmp_path)
    assert done.stdout.strip() == "NAM001", done.stderr


def test_compiling_names_the_extra(tmp_path):
    done = run(
        """
        import splatdsl
        try:
            splatdsl.compile("l1()")
        except splatdsl.LossError as problem:
            print(problem)
        """,
        tmp_path,
    )
    assert "DAT001" in done.stdout, done.stderr
    assert "pip install 'splatdsl[torch]'" in done.stdout


def test_training_names_the_extra(tmp_path):
    config = ROOT / "examples" / "quickstart.yaml"
    done = run(
        f"import sys; from splatdsl.cli.main import main; sys.exit(main(['train', {str(config)!r}]))",
        tmp_path,
    )
    assert done.returncode == 1, done.stderr
    assert "pip install 'splatdsl[train]'" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr
