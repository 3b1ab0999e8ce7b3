"""Lists on the terminal: columns as wide as their widest cell, and Docker's words for ages and sizes."""

import json
import time
from collections.abc import Sequence
from datetime import datetime
from typing import Any

GAP = "   "
STEPS = ((60, "second"), (60, "minute"), (24, "hour"), (7, "day"), (4.35, "week"), (12, "month"))


def show(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a header and rows in columns."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    for row in [header, *rows]:
        print(GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def show_json(values: Sequence[Any]) -> None:
    """Print one JSON object a line (``--format json``)."""
    for value in values:
        print(json.dumps(value))


def age(created: float | str) -> str:
    """``3 minutes ago`` for a Unix time or an RFC 3339 one."""
    if isinstance(created, str):
        created = datetime.fromisoformat(created[:19] + "+00:00").timestamp()
    amount = max(0.0, time.time() - created)
    for step, unit in STEPS:
        if amount < step:
            return f"{amount:.0f} {unit}{'' if round(amount) == 1 else 's'} ago"
        amount /= step
    return f"{amount:.0f} years ago"


def size(count: float) -> str:
    """``12.3MB``: powers of 1000, three digits, as docker prints sizes."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.3g}{unit}"
        count /= 1000
    return f"{count:.3g}TB"
