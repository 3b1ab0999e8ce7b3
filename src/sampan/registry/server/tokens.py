"""Tokens: signed proof of who someone is and what they may do, and the key they are signed with.

    access     {"iss","sub","aud": service,"exp","nbf","iat","jti","access": [{"type","name","actions"}]}
    refresh    {"iss","sub","aud": service + "/refresh","exp",…}      what a client keeps instead of the password

    <root>/token.key      the ES256 key (PKCS 8, PEM), made at the first start; another place by ``auth.token.key``

Source: https://distribution.github.io/distribution/spec/auth/jwt/.
"""

import contextlib
import os
import secrets
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from aiohttp import web
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from sampan.registry.protocol import Scope
from sampan.registry.server.config import Token, seconds

_LEEWAY = 60
_ALGORITHM = "ES256"


class Tokens:
    """Makes and checks tokens."""

    def __init__(self, config: Token, root: Path) -> None:
        self._config = config
        self._key = _load_key(Path(config.key) if config.key else root / "token.key")
        self.lifetime = seconds(config.lifetime)

    def access(self, user: str, scopes: Iterable[Scope]) -> str:
        """A token for ``user`` (empty: anonymous) that grants exactly ``scopes``."""
        granted = [{"type": one.type, "name": one.name, "actions": sorted(one.actions)} for one in scopes]
        return self._sign(user, self._config.service, self.lifetime, {"access": granted})

    def refresh(self, user: str) -> str:
        """A token that stands for the user's password."""
        return self._sign(user, f"{self._config.service}/refresh", seconds(self._config.refresh_lifetime), {})

    def _sign(self, user: str, audience: str, lifetime: int, more: dict[str, Any]) -> str:
        now = int(time.time())
        claims = {
            "iss": self._config.issuer,
            "sub": user,
            "aud": audience,
            "iat": now,
            "nbf": now,
            "exp": now + lifetime,
            "jti": secrets.token_hex(16),
        }
        header = {"alg": _ALGORITHM, "typ": "JWT", "kid": self._key.thumbprint()}
        return jwt.encode(header, {**claims, **more}, self._key)

    def verify_access(self, token: str) -> tuple[str, tuple[Scope, ...]] | None:
        """User and grants of an access token; None when it is not valid (any more)."""
        claims = self._verify(token, self._config.service)
        if claims is None:
            return None
        granted = (Scope(one["type"], one["name"], frozenset(one["actions"])) for one in claims.get("access", ()))
        return claims["sub"], tuple(granted)

    def verify_refresh(self, token: str) -> str | None:
        """User of a refresh token; None when it is not valid (any more)."""
        claims = self._verify(token, f"{self._config.service}/refresh")
        return claims["sub"] if claims else None

    def _verify(self, token: str, audience: str) -> dict[str, Any] | None:
        rules = jwt.JWTClaimsRegistry(
            leeway=_LEEWAY,
            iss={"essential": True, "value": self._config.issuer},
            aud={"essential": True, "value": audience},
            exp={"essential": True},
            sub={"essential": True, "allow_blank": True},
        )
        try:
            claims = jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
            rules.validate(claims)
        except (JoseError, ValueError):
            return None
        return claims

    def challenge(self, request: web.BaseRequest, scopes: Iterable[Scope]) -> dict[str, str]:
        """The WWW-Authenticate header that sends a client to the token service."""
        scheme = request.headers.get("X-Forwarded-Proto", request.scheme)
        realm = self._config.realm or f"{scheme}://{request.host}/token"
        scope = " ".join(map(str, scopes))
        limited = f',scope="{scope}"' if scope else ""
        return {"WWW-Authenticate": f'Bearer realm="{realm}",service="{self._config.service}"{limited}'}


def _load_key(path: Path) -> ECKey:
    """The key at ``path``; made, durably and readable to us only, where there is none."""
    if not path.exists():
        partial = path.with_suffix(f".{secrets.token_hex(4)}")
        fd = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(ECKey.generate_key("P-256", private=True).as_pem(private=True))
            file.flush()
            os.fsync(fd)
        with contextlib.suppress(FileExistsError):  # another registry of this root was faster: its key is everybody's
            os.link(partial, path)
        partial.unlink()
    return ECKey.import_key(path.read_bytes())
