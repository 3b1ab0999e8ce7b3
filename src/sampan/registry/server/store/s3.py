"""Blobs as objects of an S3 bucket, through obstore; large ones in parallel multipart uploads.

s3://<bucket>/<prefix>/blobs/sha256/<2 hex>/<hex>/<generation>
                        blobs/uploads/<uuid>/<start>-<random>      a part of an upload; a blob if it stays the only one
"""

import contextlib
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore.exceptions import BaseError, NotFoundError
from obstore.store import S3Store

from sampan.errors import NotFound, Unavailable
from sampan.registry.server.config import S3, seconds
from sampan.registry.server.store import Key, Stored

_PART_BYTES = 8 << 20
_PARTS_AT_ONCE = 4


class BucketStore:
    """A storage driver on S3 or what speaks like it."""

    def __init__(self, config: S3) -> None:
        self._config = config
        self._prefix = f"{config.prefix.strip('/')}/blobs/".lstrip("/")
        self._store = S3Store(config.bucket, **_options(config))

    async def put(self, key: Key, source: Path) -> None:
        """Upload the file, then remove it; an object appears whole or not at all."""
        with _told():
            await obstore.put_async(
                self._store, self._prefix + key, source, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            )
        source.unlink()

    async def write(self, key: Key, pieces: AsyncIterator[bytes]) -> None:
        """Store what comes, a few parts on their way at a time; an object appears whole or not at all."""
        with _told():
            await obstore.put_async(
                self._store, self._prefix + key, pieces, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            )

    async def read(self, key: Key, start: int, length: int) -> AsyncIterator[bytes]:
        """Stream a range of the object."""
        if length == 0:
            return
        with _told():
            answer = await obstore.get_async(
                self._store, self._prefix + key, options={"range": (start, start + length)}
            )
            async for piece in answer.stream():
                yield bytes(piece)

    def file(self, key: Key) -> Path | None:
        """Objects are not local."""
        return None

    async def url(self, key: Key) -> str | None:
        """A presigned URL, if redirects are configured."""
        if not self._config.redirect:
            return None
        lifetime = timedelta(seconds=seconds(self._config.redirect_lifetime))
        return await obstore.sign_async(self._store, "GET", self._prefix + key, lifetime)

    async def delete(self, key: Key) -> None:
        """Delete the object."""
        with contextlib.suppress(NotFound), _told():
            await obstore.delete_async(self._store, self._prefix + key)

    async def stored(self) -> AsyncIterator[Stored]:
        """List the prefix page by page."""
        with _told():
            async for page in obstore.list(self._store, self._prefix):
                for entry in page:
                    key = Key(entry["path"].removeprefix(self._prefix))
                    yield Stored(key, entry["size"], entry["last_modified"].timestamp())

    async def close(self) -> None:
        """obstore closes its connections with the object."""


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """The bucket's errors as ours: NotFound for what is not there, Unavailable for the rest."""
    try:
        yield
    except (NotFoundError, FileNotFoundError) as error:
        raise NotFound(f"the blob is not stored: {error}") from error
    except BaseError as error:
        raise Unavailable(f"the bucket cannot be used: {error}") from error


def _options(config: S3) -> dict[str, Any]:
    """obstore's constructor arguments; what is empty is left to the environment."""
    given: dict[str, Any] = {
        "region": config.region,
        "endpoint": config.endpoint,
        "access_key_id": config.access_key,
        "secret_access_key": config.secret_key,
    }
    options = {name: value for name, value in given.items() if value}
    if config.endpoint.startswith("http://"):
        options["client_options"] = {"allow_http": True}
    return options
