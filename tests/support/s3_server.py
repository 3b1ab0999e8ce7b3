"""A bucket in moto's S3 server, on a loopback port of this process."""

import socket
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from moto.server import ThreadedMotoServer

from sampan.registry.server.config import S3


@contextmanager
def bucket() -> Iterator[S3]:
    """An empty bucket, as the registry's configuration names it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = ThreadedMotoServer("127.0.0.1", port, verbose=False)
    server.start()
    endpoint = f"http://127.0.0.1:{port}"
    try:
        urllib.request.urlopen(urllib.request.Request(f"{endpoint}/images", method="PUT")).close()
        yield S3(bucket="images", prefix="p", endpoint=endpoint, access_key="a", secret_key="s", redirect=True)
    finally:
        server.stop()
