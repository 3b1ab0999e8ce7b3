"""Who may do what: Basic, tokens, rules, anonymous pulls."""

import base64
from pathlib import Path
from typing import Any

import bcrypt
import pytest

from sampan.errors import InvalidParameter
from sampan.registry.server.access import Passwords
from sampan.registry.server.config import Auth, Rule, Token

ALICE, BOB = ("alice", "wonder land"), ("bob", "b:o:b")


@pytest.fixture
def users(tmp_path: Path) -> str:
    path = tmp_path / "htpasswd"
    hashed = [f"{user}:{bcrypt.hashpw(word.encode(), bcrypt.gensalt(4)).decode()}" for user, word in (ALICE, BOB)]
    path.write_text("# users\n" + "\n".join(hashed) + "\n")
    return str(path)


def basic(user: tuple[str, str]) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(":".join(user).encode()).decode()}


async def test_without_credentials_the_registry_challenges(serve: Any, users: str) -> None:
    client = await serve(auth=Auth(htpasswd=users))
    answer = await client("GET", "/v2/")
    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="sampan-registry"'


async def test_the_right_password_opens_and_a_wrong_one_does_not(serve: Any, users: str) -> None:
    client = await serve(auth=Auth(htpasswd=users))
    for _ in range(2):
        assert (await client("GET", "/v2/", headers=basic(BOB))).status == 200
        assert (await client("GET", "/v2/", headers=basic(("bob", "bob")))).status == 401
        assert (await client("GET", "/v2/", headers=basic(("eve", "")))).status == 401


async def test_rules_limit_users_and_anonymous_ones_pull(serve: Any, users: str) -> None:
    rules = (Rule(users=("alice",), repositories=("team/*",)),)
    client = await serve(auth=Auth(htpasswd=users, anonymous_pull=True, access=rules))
    path = "/v2/{}/blobs/uploads/"
    assert (await client("POST", path.format("team/a"), headers=basic(ALICE))).status == 202
    assert (await client("POST", path.format("other/a"), headers=basic(ALICE))).code == "DENIED"
    assert (await client("POST", path.format("team/a"), headers=basic(BOB))).code == "DENIED"
    assert (await client("POST", path.format("team/a"))).status == 401
    assert (await client("GET", "/v2/team/a/manifests/x")).status == 404


async def test_a_token_grants_what_the_user_may(serve: Any, users: str) -> None:
    rules = (Rule(users=("alice",), repositories=("team/*",)),)
    client = await serve(auth=Auth(htpasswd=users, token=Token(), access=rules))
    refused = await client("POST", "/v2/team/a/blobs/uploads/")
    challenge = refused.headers["WWW-Authenticate"]
    assert challenge.startswith(f'Bearer realm="{client.root}/token",service="sampan-registry"')
    assert 'scope="repository:team/a:pull,push"' in challenge
    query = "/token?service=sampan-registry&scope=repository:team/a:pull,push&scope=repository:x:pull"
    given = (await client("GET", query, headers=basic(ALICE))).json
    bearer = {"Authorization": f"Bearer {given['token']}"}
    assert (await client("POST", "/v2/team/a/blobs/uploads/", headers=bearer)).status == 202
    assert (await client("GET", "/v2/x/tags/list", headers=bearer)).status == 401
    assert (await client("GET", "/v2/", headers=bearer)).status == 200
    assert (await client("GET", query, headers=basic(("alice", "wrong")))).status == 401


async def test_a_refresh_token_stands_for_the_password(serve: Any, users: str) -> None:
    client = await serve(auth=Auth(htpasswd=users, token=Token()))
    form = {"grant_type": "password", "username": "bob", "password": BOB[1], "access_type": "offline", "service": "s"}
    refresh = (await client("POST", "/token", data=form)).json["refresh_token"]
    form = {"grant_type": "refresh_token", "refresh_token": refresh, "scope": "repository:a:push"}
    token = (await client("POST", "/token", data=form)).json["access_token"]
    bearer = {"Authorization": f"Bearer {token}"}
    assert (await client("POST", "/v2/a/blobs/uploads/", headers=bearer)).status == 202
    # The one is no substitute for the other.
    assert (await client("GET", "/v2/", headers={"Authorization": f"Bearer {refresh}"})).status == 401
    form["refresh_token"] = token
    assert (await client("POST", "/token", data=form)).status == 401


async def test_tokens_survive_a_restart_and_forgeries_do_not(serve: Any, users: str) -> None:
    auth = Auth(htpasswd=users, token=Token())
    first, second = await serve(auth=auth), await serve(auth=auth)
    token = (await first("GET", "/token", headers=basic(BOB))).json["token"]
    assert (await second("GET", "/v2/", headers={"Authorization": f"Bearer {token}"})).status == 200
    head, body, signature = token.split(".")
    forged = ".".join((head, body, signature[:-4] + ("AAAA" if signature[-4:] != "AAAA" else "BBBB")))
    assert (await second("GET", "/v2/", headers={"Authorization": f"Bearer {forged}"})).status == 401


async def test_mounting_needs_the_right_to_pull(serve: Any, users: str) -> None:
    rules = (Rule(users=("alice",)), Rule(users=("bob",), repositories=("bob/*",)))
    client = await serve(auth=Auth(htpasswd=users, access=rules))
    digest = client.digest_of(b"secret")
    path = f"/v2/alice/x/blobs/uploads/?digest={digest}"
    assert (await client("POST", path, data=b"secret", headers=basic(ALICE))).status == 201
    for mount in (f"mount={digest}&from=alice/x", f"mount={digest}"):
        answer = await client("POST", f"/v2/bob/x/blobs/uploads/?{mount}", headers=basic(BOB))
        assert answer.status == 202


async def test_users_change_with_their_file_and_survive_a_spoiled_one(serve: Any, users: str) -> None:
    client = await serve(auth=Auth(htpasswd=users))
    path = Path(users)
    new = f"carol:{bcrypt.hashpw(b'x', bcrypt.gensalt(4)).decode()}\n"
    steps = ((path.read_text() + new, 200), ("spoiled", 200), (None, 200), (new, 401))
    for content, alice in steps:
        path.unlink() if content is None else path.write_text(content)
        assert (await client("GET", "/v2/", headers=basic(ALICE))).status == alice
        assert (await client("GET", "/v2/", headers=basic(("carol", "x")))).status == 200


async def test_registries_that_share_a_key_take_each_others_tokens(serve: Any, users: str, tmp_path: Path) -> None:
    token = Token(key=str(tmp_path / "shared.key"))
    one, two = [
        await serve(auth=Auth(htpasswd=users, token=token), root=str(tmp_path / name)) for name in ("one", "two")
    ]
    given = (await one("GET", "/token?service=sampan-registry", headers=basic(ALICE))).json["token"]
    for client in (one, two):
        assert (await client("GET", "/v2/", headers={"Authorization": f"Bearer {given}"})).status == 200


def test_an_htpasswd_file_of_other_hashes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "htpasswd"
    path.write_text("joe:$apr1$x$y\n")
    with pytest.raises(InvalidParameter, match="line 1: expected user:bcrypt-hash"):
        Passwords(path)
