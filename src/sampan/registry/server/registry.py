"""The registry: what its handlers work on, made from the configuration and closed in reverse order.

What a plain registry does without (a bucket, an upstream) is imported by those who configured it: it starts sooner.
"""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from sampan.registry.server import config as settings
from sampan.registry.server.access import Access
from sampan.registry.server.collector import Collector
from sampan.registry.server.config import Config
from sampan.registry.server.database import Database, open_database
from sampan.registry.server.metrics import Metrics
from sampan.registry.server.sending import Sender
from sampan.registry.server.store import Store
from sampan.registry.server.store.filesystem import FilesystemStore
from sampan.registry.server.uploads import Uploads
from sampan.registry.server.uploads.files import FileUploads

if TYPE_CHECKING:
    from sampan.registry.server.proxy import Proxy


class Registry:
    """Everything of one running registry. Use as ``async with Registry(config) as registry``."""

    store: Store
    uploads: Uploads

    def __init__(self, config: Config) -> None:
        root = Path(config.root)
        root.mkdir(parents=True, exist_ok=True)
        self.config = config
        self.metrics = Metrics()
        self.sender = Sender()
        self.database: Database = open_database(config.database_url)
        if config.storage.s3:
            self.store, self.uploads = _bucket(config.storage.s3, self.database)
            files = FileUploads(root, self.store, self.database)
        else:
            self.store = FilesystemStore(root)
            self.uploads = files = FileUploads(root, self.store, self.database)
        self.proxy = _proxy(config.proxy, self.database, self.store, self.sender, files) if config.proxy else None
        self.access = Access(config.auth, root)
        self.collector = Collector(config.gc, self.database, self.store, self.uploads, self.metrics)
        self._closing = AsyncExitStack()

    async def __aenter__(self) -> Self:
        self._closing.push_async_callback(self.database.close)
        self._closing.push_async_callback(self.store.close)
        self._closing.callback(self.sender.close)
        if self.proxy:
            self._closing.push_async_callback(self.proxy.close)
        await self._closing.enter_async_context(self.collector)
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._closing.aclose()


def _bucket(given: settings.S3, database: Database) -> tuple[Store, Uploads]:
    from sampan.registry.server.store.s3 import BucketStore
    from sampan.registry.server.uploads.bucket import BucketUploads

    store = BucketStore(given)
    return store, BucketUploads(store, database)


def _proxy(given: settings.Proxy, database: Database, store: Store, sender: Sender, files: FileUploads) -> "Proxy":
    from sampan.registry.server.proxy import Proxy

    return Proxy(given, database, store, sender, files)
