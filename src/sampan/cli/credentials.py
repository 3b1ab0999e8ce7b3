"""Credentials that ``docker login`` keeps in ~/.docker/config.json, as the header the daemon expects."""

import base64
import json
import os
from pathlib import Path

MAXIMUM_BYTES = 1 << 20
HUB = "https://index.docker.io/v1/"


def header_for(image: str) -> dict[str, str]:
    """X-Registry-Auth for the registry of ``image``; empty credentials when none are kept."""
    first, slash, _ = image.partition("/")
    registry = first if slash and ("." in first or ":" in first or first == "localhost") else HUB
    given = {"serveraddress": registry, **kept(registry)}
    return {"X-Registry-Auth": base64.urlsafe_b64encode(json.dumps(given).encode()).decode()}


def kept(registry: str) -> dict[str, str]:
    """User name and password, or an identity token, kept for ``registry``."""
    path = Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker") / "config.json"
    try:
        with path.open("rb") as file:
            entry = json.loads(file.read(MAXIMUM_BYTES)).get("auths", {}).get(registry, {})
    except (OSError, ValueError, AttributeError):
        return {}
    if entry.get("identitytoken"):
        return {"identitytoken": entry["identitytoken"]}
    user, _, password = base64.b64decode(entry.get("auth", "")).decode(errors="replace").partition(":")
    return {"username": user, "password": password} if user else {}
