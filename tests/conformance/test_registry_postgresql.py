"""The registry on a real PostgreSQL, and several registries on one."""

import asyncio
import hashlib
import http.client
import json
import os
import pwd
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from registry_process import Process, ours_in
from s3_server import bucket

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


@pytest.fixture
def processes(url: str, tmp_path: Path) -> Iterator[list[Process]]:
    """Two registries in processes of their own, over one database and one bucket; nothing else is shared."""
    with bucket() as s3:
        settings = {"database": url, "storage": {"s3": msgspec.to_builtins(s3)}}
        (tmp_path / "config.json").write_text(json.dumps(settings))
        made = [ours_in(tmp_path / name, "--config", str(tmp_path / "config.json")) for name in ("one", "two")]
        for process in made:
            process.start()
        try:
            yield made
        finally:
            for process in made:
                process.kill()


def ask(process: Process, method: str, path: str, body: bytes = b"", **headers: str) -> "http.client.HTTPResponse":
    connection = http.client.HTTPConnection(process.address, timeout=20)
    connection.request(method, path, body, headers)
    return connection.getresponse()


def test_an_upload_goes_on_at_another_registry_when_its_own_is_killed(processes: list[Process]) -> None:
    one, two = processes
    data = os.urandom(3_000_000)
    place = ask(one, "POST", "/v2/shared/app/blobs/uploads/").headers["Location"]
    assert ask(one, "PATCH", place, data[:1_000_000]).status == 202
    connection = http.client.HTTPConnection(one.address, timeout=20)
    connection.putrequest("PATCH", place)
    connection.putheader("Content-Length", "1000000")
    connection.endheaders(data[1_000_000:1_500_000])
    one.kill()
    connection.close()
    status = ask(two, "GET", place)
    assert (status.status, status.headers["Range"]) == (204, "0-999999")
    assert ask(two, "PATCH", place, data[1_000_000:], **{"Content-Range": "1000000-2999999"}).status == 202
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    assert ask(two, "PUT", f"{place}?digest={digest}").status == 201
    one.start()
    answer = ask(one, "GET", f"/v2/shared/app/blobs/{digest}")
    assert answer.status == 307  # to the bucket itself
    with urllib.request.urlopen(answer.headers["Location"]) as content:
        assert content.read() == data
