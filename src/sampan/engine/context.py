"""What every part of the engine stands on, passed along as one value; ``engine.Engine`` makes it."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sampan.api.host_config import HostConfig
from sampan.config import Config
from sampan.engine.events import Events
from sampan.engine.supervisor import Supervisor
from sampan.engine.volumes import Volumes
from sampan.linux.userns import Mapped
from sampan.network.networks import Networks
from sampan.runtime.zygote import Zygote
from sampan.storage.store import Storage


@dataclass
class Roots:
    """Where the engine keeps things; see docs/architecture.md, "On disk"."""

    data: Path
    run: Path

    @property
    def containers(self) -> Path:
        """One directory per container: writable layer, log, files of /etc, exit status."""
        return self.data / "containers"

    @property
    def monitors(self) -> Path:
        """One directory per running container: its monitor's socket."""
        return self.run / "containers"

    def make(self) -> None:
        """Make the directories; only root may list them."""
        for path in (self.containers, self.monitors):
            path.mkdir(mode=0o711, parents=True, exist_ok=True)


@dataclass
class Context:
    """The engine's foundation. ``config`` is replaced when the daemon reads its configuration again.

    ``remap`` are the users of containers on the host (engine.remap), None where they are the host's own.
    """

    config: Config
    roots: Roots
    storage: Storage
    networks: Networks
    volumes: Volumes
    events: Events
    supervisor: Supervisor
    threads: ThreadPoolExecutor
    zygote: Zygote
    remap: Mapped | None = None

    def remap_of(self, host_config: HostConfig) -> Mapped | None:
        """The maps of a container that starts now; None for one in the host's user namespace."""
        return None if host_config.userns_mode == "host" else self.remap
