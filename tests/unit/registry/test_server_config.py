"""The registry's settings."""

from pathlib import Path

import pytest

from sampan.errors import InvalidParameter
from sampan.registry.server.config import Config, load, seconds


def test_defaults_need_no_file() -> None:
    config = load(None, {})
    assert config == Config()
    assert config.address == ("127.0.0.1", 5000)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "registry.yml"
    path.write_text("root: /a\nlisten: 127.0.0.1:1\ngc: {grace: 2h}\n")
    config = load(path, {"root": "/b"})
    assert (config.root, config.listen, config.gc.grace) == ("/b", "127.0.0.1:1", "2h")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("colour: red", "unknown field `colour`"),
        ("auth: {htpasswd: x, typo: 1}", r"unknown field `typo` - at `\$.auth`"),
        ("auth: {}", "missing required field `htpasswd`"),
        ("listen: nowhere", "invalid listen address 'nowhere'"),
        ("gc: {grace: soon}", "at `.*grace`"),
        ("proxy: {upstream: hub}", "proxy.upstream must be a URL"),
        ("log: {level: loud}", "log.level must be"),
        ("[", "invalid registry configuration"),
        ("- a", "invalid registry configuration"),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "registry.yml"
    path.write_text(text)
    with pytest.raises(InvalidParameter, match=sentence):
        load(path, {})


def test_postgresql_means_its_third_driver() -> None:
    assert load(None, {"database": "postgresql://u@h/d"}).database_url == "postgresql+psycopg://u@h/d"
    assert load(None, {"root": "/r"}).database_url == "sqlite:////r/registry.db"


def test_durations_have_a_unit() -> None:
    assert [seconds(text) for text in ("5s", "2m", "1h", "1d")] == [5, 120, 3600, 86400]
    with pytest.raises(InvalidParameter, match="invalid duration"):
        seconds("5")
