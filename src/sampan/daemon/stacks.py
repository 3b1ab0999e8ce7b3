"""Where the daemon stands: the stacks of its tasks and threads, written to a file for SIGUSR1 (moby pkg/stack)."""

import asyncio
import io
import sys
import threading
import time
import traceback
from pathlib import Path


def dump_stacks(directory: Path) -> Path:
    """Write the stacks of every task and thread into a file of ``directory``; raises OSError."""
    path = directory / f"stacks-{time.strftime('%Y-%m-%dT%H%M%SZ', time.gmtime())}.log"
    path.write_text(stacks())
    return path


def stacks() -> str:
    """All stacks as text, those of threads with the most recent call last."""
    told = io.StringIO()
    for task in sorted(asyncio.all_tasks(), key=asyncio.Task.get_name):
        task.print_stack(file=told)
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    for ident, frame in sys._current_frames().items():
        told.write(f"Thread {names.get(ident, ident)}:\n{''.join(traceback.format_stack(frame))}")
    return told.getvalue()
