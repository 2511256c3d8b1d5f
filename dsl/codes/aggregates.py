"""RED and REG."""

from __future__ import annotations

from .record import Code

CODES: tuple[Code, ...] = ()
