"""A base image of Debian packages for builds of real projects: Python, a C compiler, Node.

    .cache/images/debian-<crc>.tar    the packages unpacked by mmdebstrap, nothing of them configured; made once

It trusts what this machine trusts, so that a package index behind a proxy of one's own can be reached from it.
"""

import os
import subprocess
import tarfile
import zlib
from pathlib import Path

CACHE = Path(__file__).parents[2] / ".cache" / "images"
PACKAGES = "dash,coreutils,libc-bin,python3,python3-pip,gcc,libc6-dev,nodejs"
TRUSTED = Path("/etc/ssl/certs/ca-certificates.crt")
LEFT_OUT = ("doc", "man", "locale", "info")
NAME = "debian-made-here:latest"


def debian_tar() -> Path:
    """The image's root file system; another list of packages is another file."""
    made = CACHE / f"debian-{zlib.crc32(PACKAGES.encode()):08x}.tar"
    if not made.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        partial = made.with_suffix(f".partial-{os.getpid()}.tar")
        smaller = [f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in LEFT_OUT]
        subprocess.run(
            ["mmdebstrap", "--quiet", "--variant=extract", "--mode=root", f"--include={PACKAGES}", *smaller,
             "--customize-hook=ln -sf dash $1/bin/sh", "bookworm", str(partial)],
            check=True,
        )  # fmt: skip
        with tarfile.open(partial, "a") as tar:
            tar.add(TRUSTED, "." + str(TRUSTED))
        partial.rename(made)
    return made
