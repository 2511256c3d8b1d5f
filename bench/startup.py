"""Seconds until the first gradient, in processes of their own: with empty caches, and again with what the first left.

They depend on the machine more than anything else here, so they are given as multiples of `import torch` as well.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

from .programs import BY_COMPILER, EAGER, OURS, PROGRAMS, Settings, Size

VARIANTS = (OURS, BY_COMPILER, EAGER)
PROGRAM = "photometric"


def measure(size: Size, settings: Settings, said: Callable[[str], None]) -> dict[str, Any]:
    """Of each variant the first step of a process, cold and warm, in seconds and over `import torch`."""
    said("reading torch once, so that it is in the file cache")
    _child("nothing", size, settings, {})
    rows: list[dict[str, Any]] = []
    imports: list[float] = []
    for variant in VARIANTS if settings.backend != "eager" else (OURS, EAGER):
        with tempfile.TemporaryDirectory(prefix="splatdsl-bench-") as folder:
            names = ("TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "XDG_CACHE_HOME", "SPLATDSL_CACHE_DIR")
            caches = {name: os.path.join(folder, name.lower()) for name in names}
            found = []
            for which in ("empty caches", "its second process"):
                said(f"{variant}, {which}")
                found.append(_child(variant, size, settings, caches))
        imports += [f["import_torch"] for f in found]
        rows.append({"variant": variant, "cold_s": found[0]["first_step"], "warm_s": found[1]["first_step"]})
    base = statistics.median(imports)
    for row in rows:
        row.update(cold_over_import=row["cold_s"] / base, warm_over_import=row["warm_s"] / base)
    title = f"first step of {PROGRAM} at {size.of('pixels')}, from making the loss to its gradient"
    return {"title": title, "import_torch_s": base, "rows": rows}


def _child(variant: str, size: Size, settings: Settings, caches: dict[str, str]) -> dict[str, float]:
    job = json.dumps([variant, list(size), list(settings)])
    # Without `-m splatdsl...`: the package must not be imported before torch is timed.
    code = (
        "import sys, time; t = time.perf_counter(); import torch; t = time.perf_counter() - t; "
        "from splatdsl.bench.startup import main; main(sys.argv[1], t)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, job],
        env={**os.environ, **caches},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"measuring the start of `{variant}` failed:\n{done.stderr}")
    answer: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return answer


def main(job: str, import_torch: float) -> None:
    """The child: one step, its seconds on the last line of the output."""
    variant, size, options = json.loads(job)
    settings = Settings(*options)
    answer = {"import_torch": import_torch}
    if variant != "nothing":
        program = next(p for p in PROGRAMS if p.name == PROGRAM)
        inputs = program.inputs(Size(*size), settings.device)
        started = time.perf_counter()
        program.build(variant, inputs, settings).run()
        if settings.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()
        answer["first_step"] = time.perf_counter() - started
    print(json.dumps(answer))
