"""The registry on a real PostgreSQL, and several registries on one."""

import asyncio
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sampan.oci.digest import Digest
from sampan.registry.server import records
from sampan.registry.server.database import Database, open_database
from sampan.registry.server.manifests import record
from sampan.registry.server.payload import describe
from sampan.registry.server.refusal import Refusal
from sampan.registry.server.store import new_key

BINARIES = Path("/usr/lib/postgresql")


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A fresh cluster on a socket of its own, run by the user postgres."""
    found = sorted(BINARIES.glob("*/bin/postgres"))
    assert found, "PostgreSQL is needed for this test: apt-get install postgresql"
    binaries = found[-1].parent
    user = pwd.getpwnam("postgres")
    root = Path(tempfile.mkdtemp(prefix="sampan-pg-"))
    os.chown(root, user.pw_uid, user.pw_gid)

    def run(*argv: str | Path) -> None:
        subprocess.run(argv, check=True, user="postgres", cwd=root, stdout=subprocess.DEVNULL)

    run(binaries / "initdb", "-D", root / "data", "-A", "trust", "--no-sync")
    options = f"-k {root} -c listen_addresses='' -c fsync=off"
    run(binaries / "pg_ctl", "-D", root / "data", "-w", "-l", root / "log", "-o", options, "start")
    try:
        yield f"postgresql+psycopg://postgres@/postgres?host={root}"
    finally:
        run(binaries / "pg_ctl", "-D", root / "data", "-m", "immediate", "stop")
        shutil.rmtree(root)


@pytest.fixture
async def databases(url: str) -> "list[Database]":
    """Two registries' databases on one cluster: the second finds the tables made."""
    return [open_database(url), open_database(url)]


def manifest(config: Digest, size: int) -> bytes:
    return (
        b'{"schemaVersion":2,"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"%s","size":%d},'
        b'"layers":[]}' % (config.encode(), size)
    )


async def test_two_registries_share_one_database(databases: list[Database]) -> None:
    one, two = databases
    digest = Digest("sha256:" + "1" * 64)
    assert await one.write(lambda c: records.add_blob(c, "a/b", digest, 2, new_key(digest)))
    assert not await two.write(lambda c: records.add_blob(c, "c/d", digest, 2, new_key(digest)))
    new = describe(manifest(digest, 2), "")
    await two.write(lambda c: record(c, "a/b", new, ["latest", "1"], False))
    found = await one.read(lambda c: records.find_manifest(c, "a/b", "latest"))
    assert found is not None
    assert (found.digest, found.payload) == (new.digest, manifest(digest, 2))
    assert await one.read(lambda c: records.catalog(c, "", 10)) == ["a/b", "c/d"]
    for database in databases:
        await database.close()


async def test_concurrent_pushes_and_a_collector_keep_the_books(databases: list[Database]) -> None:
    one, two = databases
    digests = [Digest(f"sha256:{number:064x}") for number in range(100, 120)]

    async def push(database: Database, digest: Digest) -> None:
        await database.write(lambda c: records.add_blob(c, "race", digest, 1, new_key(digest)))
        new = describe(manifest(digest, 1), "")
        try:
            await database.write(lambda c: record(c, "race", new, [f"t{digest[-3:]}"], False))
        except Refusal:
            await push(database, digest)

    async def collect(database: Database) -> None:
        for _ in range(5):
            await database.write(lambda c: records.drop_idle_holdings(c, 1e12))
            await database.write(lambda c: records.drop_unheld_blobs(c, 1e12, 100))

    pushes = [push(databases[number % 2], digest) for number, digest in enumerate(digests)]
    await asyncio.gather(*pushes, collect(one), collect(two))
    for digest in digests:
        assert await one.read(lambda c, digest=digest: records.find_blob(c, "race", digest)) is not None
    for database in databases:
        await database.close()
