"""Credentials on the way: our client with our registry's Basic and token authentication, and the docker CLI's words."""

import json
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from sampan.api.images import AuthConfig
from sampan.errors import EngineError, NotFound, Unauthorized

ALICE = AuthConfig(username="alice", password="wonder land")


@pytest.fixture
def users(tmp_path: Path) -> str:
    path = tmp_path / "htpasswd"
    path.write_text(f"alice:{bcrypt.hashpw(b'wonder land', bcrypt.gensalt(4)).decode()}\n")
    return str(path)


@pytest.fixture(params=["basic", "token"])
def guarded(request: pytest.FixtureRequest, users: str, tmp_path: Path, serve_ours: Any) -> Any:
    """Our registry with one user, anonymous pulls refused."""
    auth = {"htpasswd": users} | ({"token": {}} if request.param == "token" else {})
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auth": auth}))
    return serve_ours("--config", str(path))


async def test_a_user_pushes_and_pulls(guarded: Any, engine: Any, layer: Any) -> None:
    here, there = engine("here"), engine("there")
    image = here.make(f"{guarded.address}/app:1", layer(a=b"one"))
    await here.push(f"{guarded.address}/app", tag="1", auth=ALICE)
    await there.pull(f"{guarded.address}/app:1", auth=ALICE)
    assert there.storage.images.resolve(f"{guarded.address}/app:1").id == image.id


async def test_nobody_in_particular_is_refused(guarded: Any, engine: Any, layer: Any) -> None:
    here = engine()
    here.make(f"{guarded.address}/app:1", layer(a=b"one"))
    with pytest.raises(EngineError, match=r"^(no basic auth credentials|unauthorized: authentication required)$"):
        await here.push(f"{guarded.address}/app", tag="1")
    with pytest.raises(EngineError, match=r"^(Head .*: no basic auth credentials|pull access denied for .*)"):
        await here.pull(f"{guarded.address}/other:1")


async def test_a_login_is_checked(guarded: Any, engine: Any) -> None:
    registries = engine().registries
    right = AuthConfig(username="alice", password="wonder land", serveraddress=guarded.address)
    wrong = AuthConfig(username="alice", password="looking glass", serveraddress=guarded.address)
    assert (await registries.authenticate(right)).status == "Login Succeeded"
    with pytest.raises(Unauthorized, match="unauthorized: incorrect username or password"):
        await registries.authenticate(wrong)


async def test_an_identity_token_replaces_the_password(
    users: str, tmp_path: Path, serve_ours: Any, engine: Any, layer: Any
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auth": {"htpasswd": users, "token": {}}}))
    registry = serve_ours("--config", str(path))
    here = engine()
    here.make(f"{registry.address}/app:1", layer(a=b"one"))
    login = AuthConfig(username="alice", password="wonder land", serveraddress=registry.address)
    token = (await here.registries.authenticate(login)).identity_token
    assert token
    await here.push(f"{registry.address}/app", tag="1", auth=AuthConfig(identitytoken=token))


async def test_anonymous_ones_pull_what_they_may(
    users: str, tmp_path: Path, serve_ours: Any, engine: Any, layer: Any
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"auth": {"htpasswd": users, "token": {}, "anonymous_pull": True}}))
    registry = serve_ours("--config", str(path))
    here, there = engine("here"), engine("there")
    here.make(f"{registry.address}/app:1", layer(a=b"one"))
    await here.push(f"{registry.address}/app", tag="1", auth=ALICE)
    await there.pull(f"{registry.address}/app:1")
    with pytest.raises(NotFound, match=r"manifest for .* not found"):
        await there.pull(f"{registry.address}/app:2")
