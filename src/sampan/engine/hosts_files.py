"""The three files every container gets in /etc: hostname, hosts, resolv.conf.

They live in the container's state directory and are bind-mounted, so that the engine can change them while it runs
(a network is connected, a neighbour gets a name). Written in place: a rename would leave the container with the old
file. A container that shares another's network shares its files.
"""

from pathlib import Path

from sampan.engine.container import Container
from sampan.network.member import Sandbox
from sampan.oci import runtime_spec as oci

FILES = {"resolv.conf": "/etc/resolv.conf", "hostname": "/etc/hostname", "hosts": "/etc/hosts"}


def write_network_files(container: Container, sandbox: Sandbox) -> None:
    """Write ``hosts`` and ``resolv.conf`` as the sandbox says, ``hostname`` as configured."""
    write(container.state_dir / "hosts", sandbox.hosts)
    write(container.state_dir / "resolv.conf", sandbox.resolv_conf)
    write(container.state_dir / "hostname", container.record.config.hostname + "\n")


def write(path: Path, text: str) -> None:
    """Replace the contents, keeping the file."""
    with path.open("w") as file:
        file.write(text)


def file_mounts(owner: Container, taken: set[str], *, read_only: bool) -> list[oci.Mount]:
    """Binds of the files of ``owner`` but where the user mounts something else."""
    options = ("rbind", "rprivate", "ro" if read_only else "rw")
    return [
        oci.Mount(target, "bind", str(owner.state_dir / name), options)
        for name, target in FILES.items()
        if target not in taken and (owner.state_dir / name).exists()
    ]
