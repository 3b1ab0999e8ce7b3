"""A small virtual machine whose kernel has cgroup v2 with every controller, and quotas; the project's tests in it.

    .cache/vm/
      kernel/boot/vmlinuz-*, kernel/lib/modules    Debian's cloud kernel, unpacked, never installed
      base-*.ext4                                   a minimal Debian with python3, made once by mmdebstrap
      initramfs.cpio                                busybox, four virtio modules, INIT below
      project.ext4                                  src, tests and site-packages, made anew at every run

qemu's microvm, emulated: no KVM is needed. The guest has no network but loopback. Its console is our output.
"""

import shutil
import subprocess
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).parents[2]
CACHE = PROJECT / ".cache" / "vm"
KERNEL_PACKAGE = "linux-image-cloud-amd64"
BASE_PACKAGES = "python3,libseccomp2,nftables,iproute2,procps,busybox-static,crun,kmod,xfsprogs"
BASE = CACHE / f"base-{zlib.crc32(BASE_PACKAGES.encode()):08x}.ext4"
"""Another list of packages is another base."""
MODULES = ("virtio/virtio_ring", "virtio/virtio", "virtio/virtio_mmio", "block/virtio_blk")
DONE = "VM-EXIT-STATUS="

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
for module in virtio_ring virtio virtio_mmio virtio_blk; do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox mount -t ext4 /dev/vda /root
/bin/busybox mount -t ext4 /dev/vdb /root/project
for place in proc sys dev; do /bin/busybox mount --move /$place /root/$place; done
exec /bin/busybox switch_root /root /bin/sh /project/start
"""

START = """#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TMPDIR=/var/tmp PYTHONDONTWRITEBYTECODE=1
mount -t tmpfs tmpfs /tmp; mount -t tmpfs tmpfs /run; mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666,gid=5 devpts /dev/pts; mount -t tmpfs tmpfs /dev/shm
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
for module in overlay veth bridge nf_tables nft_masq nft_chain_nat nft_ct nft_fib_inet br_netfilter \\
    loop xfs quota_v2; do
    modprobe $module || echo "no module $module"
done
for controller in $(cat /sys/fs/cgroup/cgroup.controllers); do
    echo "+$controller" > /sys/fs/cgroup/cgroup.subtree_control
done
cd /project
export PYTHONPATH=/project/src:/project/site-packages
{command}
echo {done}$?
echo o > /proc/sysrq-trigger
sleep 30
"""


def prepare() -> None:
    """Make the parts that are kept: kernel, base system, initramfs."""
    CACHE.mkdir(parents=True, exist_ok=True)
    if not (CACHE / "kernel").exists():
        unpack_kernel()
    if not BASE.exists():
        make_base()
    make_initramfs()


def unpack_kernel() -> None:
    """Download the kernel's package and unpack it."""
    told = output("apt-cache", "depends", "--important", KERNEL_PACKAGE)
    package = next(line.split()[-1] for line in told.splitlines() if "Depends: linux-image" in line)
    scratch = CACHE / "download"
    scratch.mkdir(exist_ok=True)
    subprocess.run(["apt-get", "download", "-qq", package], cwd=scratch, check=True, stderr=subprocess.DEVNULL)
    unpacked = CACHE / "kernel.unpacking"
    subprocess.run(["dpkg-deb", "-x", str(next(scratch.glob("*.deb"))), str(unpacked)], check=True)
    unpacked.rename(CACHE / "kernel")
    shutil.rmtree(scratch)


def make_base() -> None:
    """Install the guest's system into a directory and turn that into a file system image."""
    root = CACHE / "base"
    subprocess.run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={BASE_PACKAGES}", "bookworm", str(root)],
                   check=True)  # fmt: skip
    (root / "project").mkdir()
    shutil.copytree(modules(), root / "lib/modules" / modules().name)
    subprocess.run(["chroot", str(root), "depmod", modules().name], check=True)
    file_system(root, CACHE / "base.partial", 2048)
    (CACHE / "base.partial").rename(BASE)
    shutil.rmtree(root)


def make_initramfs() -> None:
    """busybox, the modules a disk needs, and INIT, as a cpio archive."""
    root = CACHE / "initramfs"
    shutil.rmtree(root, ignore_errors=True)
    (root / "bin").mkdir(parents=True)
    (root / "modules").mkdir()
    shutil.copy("/bin/busybox", root / "bin/busybox")
    for module in MODULES:
        shutil.copy(modules() / "kernel/drivers" / f"{module}.ko", root / "modules")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    with (CACHE / "initramfs.cpio").open("wb") as archive:
        subprocess.run(
            ["cpio", "--quiet", "-o", "-H", "newc"], cwd=root, input=names.encode(), stdout=archive, check=True
        )


def make_project(command: str) -> None:
    """The project's sources, tests and dependencies, with the command the guest runs."""
    root = CACHE / "project"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    unwanted = shutil.ignore_patterns("__pycache__", "*.pth")
    for name in ("src", "tests"):
        shutil.copytree(PROJECT / name, root / name, ignore=unwanted)
    shutil.copy(PROJECT / "pyproject.toml", root)
    packages = next((Path(sys.prefix) / "lib").glob("python3*/site-packages"))
    heavy = shutil.ignore_patterns("__pycache__", "*.pth", "mypy*", "ruff*", "pip", "setuptools", "psycopg*", "obstore")
    shutil.copytree(packages, root / "site-packages", ignore=heavy)
    (root / "start").write_text(START.format(command=command, done=DONE))
    file_system(root, CACHE / "project.ext4", 512)


def file_system(source: Path, image: Path, megabytes: int) -> None:
    """An ext4 image that holds the tree ``source``."""
    image.unlink(missing_ok=True)
    make = ("mke2fs", "-q", "-F", "-t", "ext4", "-O", "^has_journal", "-d", str(source), str(image), f"{megabytes}M")
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)


def modules() -> Path:
    """Directory of the guest kernel's modules."""
    return next((CACHE / "kernel/lib/modules").iterdir())


def run(command: str, seconds: float) -> tuple[int, str]:
    """Boot, run ``command`` in the guest's shell, and return (its status, the console's text).

    The status is 255 when the guest never got to say it. Raises TimeoutExpired after ``seconds``.
    """
    prepare()
    make_project(command)
    kernel = next((CACHE / "kernel/boot").glob("vmlinuz-*"))
    finished = subprocess.run(qemu(kernel), capture_output=True, timeout=seconds, check=False, stdin=subprocess.DEVNULL)
    text = finished.stdout.decode(errors="replace").replace("\r", "") + finished.stderr.decode(errors="replace")
    told = [line for line in text.splitlines() if line.startswith(DONE)]
    return (int(told[-1].removeprefix(DONE)) if told else 255), text


def qemu(kernel: Path) -> Sequence[str]:
    """The command line of the emulator."""
    drives = [
        word
        for number, disk in enumerate((BASE, CACHE / "project.ext4"))
        for word in (
            "-drive", f"id=d{number},file={disk},format=raw,if=none,snapshot=on",
            "-device", f"virtio-blk-device,drive=d{number}",
        )
    ]  # fmt: skip
    return (
        "qemu-system-x86_64", "-M", "microvm,rtc=on", "-accel", "tcg,thread=multi", "-cpu", "max",
        "-smp", "2", "-m", "2048",
        "-nodefaults", "-no-user-config", "-nographic", "-no-reboot", "-serial", "stdio",
        "-kernel", str(kernel), "-initrd", str(CACHE / "initramfs.cpio"), *drives,
        "-append", "console=ttyS0 quiet panic=-1 reboot=t tsc_early_khz=2000000 lpj=4000000 mitigations=off",
    )  # fmt: skip


def output(*words: str) -> str:
    """Standard output of a command."""
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    status, console = run(" ".join(sys.argv[1:]) or "cat /sys/fs/cgroup/cgroup.controllers", 1200)
    print(console)
    sys.exit(status)
