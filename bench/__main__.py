"""`python -m splatdsl.bench`: times the photometric loss and prints medians and ratios, as a table or as JSON."""

from __future__ import annotations

import argparse
import json

import torch

from .harness import interleave, machine, summarise
from .photometric import variants


def main() -> None:
    """Run the suite."""
    parser = argparse.ArgumentParser(prog="python -m splatdsl.bench", description=__doc__)
    parser.add_argument("--size", default="540x960", help="height x width in pixels (default: %(default)s)")
    parser.add_argument("--repeats", type=int, default=15, help="rounds after the warm-up (default: %(default)s)")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    try:
        height, width = (int(v) for v in options.size.split("x"))
    except ValueError:
        parser.error(f"--size must look like 540x960, not {options.size!r}")
    calls = variants(height, width, options.device)
    losses = {name: float(call()) for name, call in calls.items()}
    rows = summarise(interleave(calls, options.repeats), ours="splatdsl")
    if options.json:
        print(json.dumps({"machine": machine(), "size": [height, width], "losses": losses, "rows": rows}, indent=2))
        return
    print(f"photometric, {height}x{width}, forward and backward, {options.repeats} interleaved rounds")
    print(f"on {machine()}")
    print(f"{'variant':<26}{'median':>10}{'min':>10}{'max':>10}{'x ours':>9}{'loss':>12}")
    for row in rows:
        times = "".join(f"{row[k]:>7.1f} ms" for k in ("median_ms", "min_ms", "max_ms"))
        print(f"{row['variant']:<26}{times}{row['ratio']:>9.2f}{losses[row['variant']]:>12.6f}")


if __name__ == "__main__":
    main()
