"""A registry in a process of its own, on a loopback port."""

import contextlib
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


class Process:
    """A registry in a process of its own, on a loopback port; ``start`` again after ``kill``."""

    def __init__(self, argv: list[str], port: int, log: Path) -> None:
        self.argv = argv
        self.address = f"127.0.0.1:{port}"
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, and return once it answers."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self.argv, stdout=log, stderr=log)
        while not self._answers():
            assert self._process.poll() is None, self._log.read_text()
            # The port is not open yet: give the process a moment.
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.05)

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(f"http://{self.address}/v2/").close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def kill(self, number: int = signal.SIGKILL) -> None:
        """End it, by default as a crash would."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait()
            self._process = None


def ours_in(root: Path, *arguments: str) -> Process:
    """``sampan registry serve`` on ``root`` with further arguments, not yet started; its log is beside the root."""
    port = free_port()
    argv = [sys.executable, "-m", "sampan.registry.server.main", "serve"]
    argv += ["--root", str(root), "--listen", f"127.0.0.1:{port}", *arguments]
    return Process(argv, port, root.with_name(f"{root.name}.log"))
