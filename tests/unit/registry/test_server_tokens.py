"""Lifetimes of tokens, also when the clock is set under them."""

import time
from pathlib import Path

import pytest

from sampan.registry.protocol import Scope
from sampan.registry.server.config import Token
from sampan.registry.server.tokens import Tokens

YEAR = 365 * 86400
SCOPE = Scope("repository", "a/b", frozenset({"pull"}))


@pytest.mark.parametrize("jump", [YEAR, -YEAR])
def test_tokens_of_another_time_are_void_and_new_ones_hold(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: int
) -> None:
    tokens, told = Tokens(Token(), tmp_path), time.time
    before = tokens.access("someone", [SCOPE])
    assert tokens.verify_access(before) == ("someone", (SCOPE,))
    monkeypatch.setattr(time, "time", lambda: told() + jump)
    assert tokens.verify_access(before) is None
    assert tokens.verify_access(tokens.access("someone", [SCOPE])) == ("someone", (SCOPE,))
    assert tokens.verify_refresh(tokens.refresh("someone")) == "someone"
