"""ADD from a URL, and contexts at one: downloads, bounded and checked.

A download has at most ``LIMIT`` bytes, and leaves ``RESERVE`` of the disk to others.
"""

import asyncio
import hashlib
import posixpath
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp

from sampan.errors import DataLoss, EngineError, InvalidParameter
from sampan.oci import digest as digests

CHUNK = 1 << 18
LIMIT = 32 << 30
RESERVE = 1 << 30
TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30, sock_read=60)


@dataclass(frozen=True, slots=True)
class Download:
    """A file that was fetched to ``path``; ``mtime_ns`` is the server's Last-Modified, 0 if it did not say."""

    url: str
    name: str
    path: Path
    digest: str
    mtime_ns: int


def is_url(source: str) -> bool:
    """Whether ADD fetches ``source`` over HTTP."""
    return source.startswith(("http://", "https://"))


def room(directory: Path) -> int:
    """Bytes that a download to ``directory`` may have."""
    return min(LIMIT, max(0, shutil.disk_usage(directory).free - RESERVE))


async def fetch_all(urls: Sequence[str], directory: Path, checksum: str = "") -> list[Download]:
    """Fetch ``urls`` side by side into files of ``directory``. Raises EngineError, DataLoss, InvalidParameter."""
    if not urls:
        return []
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        return list(await asyncio.gather(*(_fetch(session, url, directory, checksum) for url in urls)))


async def _fetch(session: aiohttp.ClientSession, url: str, directory: Path, checksum: str) -> Download:
    try:
        name = posixpath.basename(urlsplit(url).path.rstrip("/")) or "__unnamed__"
    except ValueError as error:
        raise InvalidParameter(f"invalid url {url}: {error}") from None
    wanted = digests.parse(checksum) if checksum else None
    state, left = digests.hasher(wanted) if wanted else hashlib.sha256(), room(directory)
    with tempfile.NamedTemporaryFile(dir=directory, prefix="download-", delete=False) as file:
        path = Path(file.name)
        try:
            async with session.get(url) as response:
                if response.status >= 400:
                    raise EngineError(f"invalid response status {response.status}")
                async for chunk in response.content.iter_chunked(CHUNK):
                    left -= len(chunk)
                    if left < 0:
                        raise EngineError(f"{url} is larger than a download may be here")
                    state.update(chunk)
                    file.write(chunk)
                modified = response.headers.get("Last-Modified", "")
            if wanted and digests.of_hash(state) != wanted:
                raise DataLoss(f"digest mismatch {digests.of_hash(state)}: {wanted}")
        except aiohttp.ClientError as error:
            path.unlink()
            raise EngineError(f"error downloading {url}: {explained(error)}") from error
        except BaseException:
            path.unlink(missing_ok=True)
            raise
    return Download(url, name, path, str(digests.of_hash(state)), _nanoseconds(modified))


def explained(error: aiohttp.ClientError) -> str:
    """What went wrong, in the kernel's words where it was a connection."""
    cause = error.os_error if isinstance(error, aiohttp.ClientConnectorError) else error
    return (cause.strerror if isinstance(cause, OSError) else None) or str(cause)


def _nanoseconds(text: str) -> int:
    try:
        return int(parsedate_to_datetime(text).timestamp()) * 1_000_000_000
    except (TypeError, ValueError):
        return 0
