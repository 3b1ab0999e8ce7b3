"""Who asks, and what they may do.

    no auth configured           everyone may do everything
    auth                         Basic, checked against an htpasswd file of bcrypt hashes
    auth.token                   Bearer tokens of our own service at /token; Basic works there only

A user may do what some rule of ``auth.access`` allows; anonymous ones may pull if ``auth.anonymous_pull``.
"""

import asyncio
import base64
import binascii
import fnmatch
import hashlib
import logging
import secrets
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import bcrypt
from aiohttp import web

from sampan.errors import InvalidParameter
from sampan.registry.protocol import Code, Scope
from sampan.registry.server.config import Auth, Token
from sampan.registry.server.refusal import Refusal

if TYPE_CHECKING:
    from sampan.registry.server.tokens import Tokens

_REMEMBERED = 1000
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Identity:
    """Who asks; ``granted`` is what a token limits them to, None for everything the rules allow."""

    user: str
    granted: tuple[Scope, ...] | None = None


ANONYMOUS = Identity("")


class Passwords:
    """Users and bcrypt hashes of an htpasswd file, read again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read_at = -1
        self._hashes: dict[str, bytes] = {}
        # bcrypt takes tens of milliseconds by design: remember, under a key of this process, what was right.
        self._salt = secrets.token_bytes(16)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._read()

    def _read(self) -> None:
        """Take up the file if it changed; raises InvalidParameter, and what was known stays."""
        try:
            changed = self._path.stat().st_mtime_ns
            if changed == self._read_at:
                return
            lines = self._path.read_text().splitlines()
        except OSError as error:
            raise InvalidParameter(f"cannot read auth.htpasswd {self._path}: {error.strerror}") from None
        self._read_at = changed
        self._hashes = dict(_parse_htpasswd(lines))
        self._right.clear()

    def _refresh(self) -> None:
        """Take up the file; one that somebody is just writing or has spoiled changes nothing but the log."""
        try:
            self._read()
        except InvalidParameter as error:
            _log.warning("users stay as they were: %s", error)

    def __contains__(self, user: str) -> bool:
        self._refresh()
        return user in self._hashes

    async def check(self, user: str, password: str) -> bool:
        """Whether ``password`` is the user's."""
        self._refresh()
        known = self._hashes.get(user)
        seen = hashlib.blake2b(f"{user}\0{password}".encode(), key=self._salt).digest()
        if seen in self._right:
            return True
        # An unknown user takes as long as a wrong password does.
        right = await asyncio.to_thread(_matches, password, known or _NOBODY)
        if known is None or not right:
            return False
        self._right[seen] = None
        if len(self._right) > _REMEMBERED:
            self._right.popitem(last=False)
        return True


_NOBODY = bcrypt.hashpw(b"", bcrypt.gensalt(5))


def _matches(password: str, hashed: bytes) -> bool:
    # bcrypt looks at 72 bytes; htpasswd(1) cuts longer passwords there too.
    return bcrypt.checkpw(password.encode()[:72], hashed)


def _parse_htpasswd(lines: Iterable[str]) -> Iterable[tuple[str, bytes]]:
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        user, colon, hashed = line.strip().partition(":")
        if not colon or not hashed.startswith(("$2a$", "$2b$", "$2y$")):
            raise InvalidParameter(f"htpasswd line {number}: expected user:bcrypt-hash (htpasswd -B)")
        yield user, hashed.encode()


def _tokens(config: Token, root: Path) -> "Tokens":
    """Their signatures are slow to import: only those who configured tokens wait for it."""
    from sampan.registry.server.tokens import Tokens

    return Tokens(config, root)


class Access:
    """Answers who may do what."""

    def __init__(self, config: Auth | None, root: Path) -> None:
        self._config = config
        self._passwords = Passwords(Path(config.htpasswd)) if config else None
        self.tokens = _tokens(config.token, root) if config and config.token else None

    async def identify(self, request: web.BaseRequest) -> Identity:
        """Who sends the request; raises Refusal UNAUTHORIZED for credentials that are wrong."""
        header = request.headers.get("Authorization", "")
        if self._config is None or not header:
            return ANONYMOUS
        scheme, _, value = header.partition(" ")
        if self.tokens and scheme.lower() == "bearer":
            claims = self.tokens.verify_access(value.strip())
            if claims is not None:
                return Identity(*claims)
        elif not self.tokens and scheme.lower() == "basic":
            return Identity(await self.login(value))
        raise self.challenge(request, ())

    async def login(self, encoded: str) -> str:
        """The user whose ``base64(user:password)`` this is; raises Refusal UNAUTHORIZED."""
        try:
            user, _, password = base64.b64decode(encoded, validate=True).decode().partition(":")
        except (binascii.Error, UnicodeDecodeError):
            user = password = ""
        return await self.check(user, password)

    async def check(self, user: str, password: str) -> str:
        """``user`` if the password is theirs; raises Refusal UNAUTHORIZED."""
        assert self._passwords is not None
        if not await self._passwords.check(user, password):
            raise Refusal(Code.UNAUTHORIZED, message="incorrect username or password", headers=self._basic_challenge())
        return user

    def knows(self, user: str) -> bool:
        """Whether the user still exists."""
        return self._passwords is not None and user in self._passwords

    def _basic_challenge(self) -> dict[str, str]:
        assert self._config is not None
        return {"WWW-Authenticate": f'Basic realm="{self._config.realm}"'}

    def allows(self, identity: Identity, repository: str, action: str) -> bool:
        """Whether the identity may do ``action`` (pull, push, delete) on the repository."""
        if self._config is None:
            return True
        if identity.granted is not None:
            return any(
                scope.type == "repository" and scope.name == repository and action in scope.actions
                for scope in identity.granted
            )
        return self.rules_allow(identity.user, repository, action)

    def rules_allow(self, user: str, repository: str, action: str) -> bool:
        """Whether the rules let ``user`` (empty: anonymous) do it, whatever token they have."""
        assert self._config is not None
        if action == "pull" and self._config.anonymous_pull:
            return True
        return bool(user) and any(
            (user in rule.users or "*" in rule.users)
            and action in rule.actions
            and any(fnmatch.fnmatchcase(repository, pattern) for pattern in rule.repositories)
            for rule in self._config.access
        )

    async def require(self, request: web.BaseRequest, repository: str, action: str) -> None:
        """Return if the request may go on; raises Refusal UNAUTHORIZED or DENIED."""
        if self._config is None:
            return
        identity = await self.identify(request)
        if self.allows(identity, repository, action):
            return
        scope = Scope("repository", repository, frozenset({"pull", action}))
        if identity.user and identity.granted is None:
            raise Refusal(Code.DENIED, {"type": "repository", "name": repository, "action": action})
        raise self.challenge(request, (scope,))

    async def require_user(self, request: web.BaseRequest, scope: Scope | None = None) -> None:
        """Return for an authenticated user, or any where anonymous ones may pull (``scope`` None)."""
        if self._config is None:
            return
        identity = await self.identify(request)
        if identity.user or (identity.granted is not None and scope is None):
            return
        # Docker's client learns to authenticate from the ping's 401: it must get one even where pulls are free.
        raise self.challenge(request, (scope,) if scope else ())

    def challenge(self, request: web.BaseRequest, scopes: Iterable[Scope]) -> Refusal:
        """A 401 that says how to authenticate."""
        headers = self.tokens.challenge(request, scopes) if self.tokens else self._basic_challenge()
        detail = [{"Type": one.type, "Name": one.name, "Action": action} for one in scopes for action in one.actions]
        return Refusal(Code.UNAUTHORIZED, detail or None, headers=headers)
