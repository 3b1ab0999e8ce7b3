"""Recipes, and the contexts that go with them."""

import io
import tarfile
from pathlib import Path

import pytest

import sampan.build
from sampan.build import Recipe
from sampan.client.build import IGNORE, NAME, Options, tar_of
from sampan.dockerfile.parser import parse


def test_a_recipe_is_a_dockerfile() -> None:
    recipe = (
        Recipe("debian:12", "base")
        .arg("LEVEL", "2")
        .env(GREETING='say "hi"', HOME="/root")
        .run("apt-get update && apt-get -y install make", mounts=["type=cache,target=/var/cache/apt"])
        .stage("base")
        .copy("a b", "/", source="base", owner="1:1")
        .workdir("/app")
        .expose(80, "53/udp")
        .cmd("make", "all")
    )
    assert str(recipe).splitlines() == [
        "FROM debian:12 AS base",
        'ARG LEVEL="2"',
        'ENV GREETING="say \\"hi\\"" HOME="/root"',
        "RUN --mount=type=cache,target=/var/cache/apt apt-get update && apt-get -y install make",
        "FROM base",
        'COPY --from=base --chown=1:1 ["a b", "/"]',
        "WORKDIR /app",
        "EXPOSE 80 53/udp",
        'CMD ["make", "all"]',
    ]
    assert len(parse(str(recipe)).stages) == 2


def test_a_file_keeps_its_text_whatever_it_says() -> None:
    text = "$HOME\nEOF\nlast"
    copy = parse(str(Recipe("scratch").file("/f", text, mode="600"))).stages[0].body[0]
    assert copy.inline[0].text == text + "\n"  # type: ignore[attr-defined]
    assert not copy.inline[0].expand  # type: ignore[attr-defined]


def members(context: object) -> dict[str, bytes]:
    data = b"".join(tar_of("FROM scratch", context))  # type: ignore[arg-type]
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {entry.name: tar.extractfile(entry).read() for entry in tar if entry.isfile()}  # type: ignore[union-attr]


def test_a_directory_goes_without_what_it_ignores(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name in ("a", "a.log", "sub/b.log", "sub/keep.log"):
        (tmp_path / name).write_text(name)
    (tmp_path / IGNORE).write_text("**/*.log\n!sub/keep.log\n")
    found = members(tmp_path)
    assert found.keys() == {NAME, IGNORE, "a", "sub/keep.log"}
    assert found[IGNORE] == f"**/*.log\n!sub/keep.log\n\n{NAME}\n".encode()


@pytest.mark.parametrize("context", [None, {}])
def test_without_a_context_there_is_the_dockerfile_alone(context: object) -> None:
    assert members(context) == {NAME: b"FROM scratch", IGNORE: f"\n{NAME}\n{IGNORE}\n".encode()}


def test_what_is_unset_is_said_in_build_arguments() -> None:
    assert '"SAMPAN_UNSET_ENV": "A,B"' in Options(unset_env=["A", "B"]).query()["buildargs"]


def test_the_package_offers_nothing_else() -> None:
    with pytest.raises(AttributeError):
        _ = sampan.build.nothing
