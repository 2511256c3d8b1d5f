"""`python -m splatdsl.bench`: another way to say `splatdsl bench`."""

from __future__ import annotations

import sys

from ..cli.main import main

if __name__ == "__main__":
    sys.exit(main(["bench", *sys.argv[1:]]))
