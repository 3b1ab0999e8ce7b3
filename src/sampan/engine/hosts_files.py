"""The three files every container gets in /etc: hostname, hosts, resolv.conf.

They live in the container's state directory and are bind-mounted, so that the engine can change them while it runs
(a network is connected, a neighbour gets a name). Written in place: a rename would leave the container with the old
file. A container that shares another's network shares its files.
"""

import os

from sampan.engine.container import Container
from sampan.network.member import Sandbox
from sampan.oci import runtime_spec as oci
from sampan.storage import ground

FILES = {"resolv.conf": "/etc/resolv.conf", "hostname": "/etc/hostname", "hosts": "/etc/hosts"}


# What a start may leave in the writable layer: places to mount on that neither the image nor the ground has, and
# what earlier versions left. No user made these.
PLACES = (
    ground.MARKER, ground.MTAB, *(target.lstrip("/") for target in FILES.values()),
    "dev/console", "dev/mqueue", "dev/pts", "dev/shm", "dev", "proc", "sys",
)  # fmt: skip


def write_network_files(container: Container, sandbox: Sandbox) -> None:
    """Write ``hosts`` and ``resolv.conf`` as the sandbox says, ``hostname`` as configured."""
    directory = str(container.state_dir)
    write(f"{directory}/hosts", sandbox.hosts)
    write(f"{directory}/resolv.conf", sandbox.resolv_conf)
    write(f"{directory}/hostname", container.record.config.hostname + "\n")


def lay_network_files(container: Container) -> None:
    """Have the three files there, to be mounted; they are written later."""
    for name in FILES:
        os.close(os.open(f"{container.state_dir}/{name}", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))


def write(path: str, text: str) -> None:
    """Replace the contents, keeping the file.

    Cut after writing: a file that is emptied first, ext4 brings to the disk when it is closed.
    """
    data = text.encode()
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, data)
        if os.fstat(fd).st_size > len(data):
            os.ftruncate(fd, len(data))
    finally:
        os.close(fd)


def file_mounts(owner: Container, taken: set[str], *, read_only: bool, mapped: bool = False) -> list[oci.Mount]:
    """Binds of the files of ``owner`` but where the user mounts something else; ``mapped`` to the container's users."""
    options = ("rbind", "rprivate", "ro" if read_only else "rw", *(("idmap",) if mapped else ()))
    directory = str(owner.state_dir)
    return [
        oci.Mount(target, "bind", path, options)
        for name, target in FILES.items()
        if target not in taken and os.path.exists(path := f"{directory}/{name}")  # noqa: PTH110  three at each start
    ]
