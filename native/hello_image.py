"""Makes the image that ships in the package: one static program in one layer, as a docker-archive.

    hello.tar
      manifest.json     [{"Config": "<hex>.json", "RepoTags": ["sampan/hello:latest"], "Layers": ["<hex>/layer.tar"]}]
      <hex>.json        the image config; its SHA-256 is the image's ID
      <hex>/layer.tar   /hello

Everything has a fixed time and owner, so the same program gives the same image.
"""

import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path

CREATED = "2026-01-01T00:00:00Z"
TAG = "sampan/hello:latest"


def entry(name: str, data: bytes, mode: int) -> tuple[tarfile.TarInfo, io.BytesIO]:
    """A regular file owned by root, last changed at the epoch."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(data), mode
    return info, io.BytesIO(data)


def archive(*files: tuple[tarfile.TarInfo, io.BytesIO]) -> bytes:
    """An uncompressed tar of ``files``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for info, data in files:
            tar.addfile(info, data)
    return buffer.getvalue()


def image(program: bytes) -> bytes:
    """The docker-archive of an image that runs ``program``."""
    layer = archive(entry("hello", program, 0o755))
    diff_id = hashlib.sha256(layer).hexdigest()
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "created": CREATED,
            "config": {"Cmd": ["/hello"], "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{diff_id}"]},
            "history": [{"created": CREATED, "created_by": "COPY hello /hello"}],
        }
    ).encode()
    name = hashlib.sha256(config).hexdigest()
    manifest = [{"Config": f"{name}.json", "RepoTags": [TAG], "Layers": [f"{diff_id}/layer.tar"]}]
    return archive(
        entry("manifest.json", json.dumps(manifest).encode(), 0o644),
        entry(f"{name}.json", config, 0o644),
        entry(f"{diff_id}/layer.tar", layer, 0o644),
    )


if __name__ == "__main__":
    program, target = map(Path, sys.argv[1:])
    target.write_bytes(image(program.read_bytes()))
