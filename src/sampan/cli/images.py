"""``images``, ``load``, ``pull``, ``push``, ``tag``, ``rmi``."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from sampan.cli import progress, table
from sampan.cli.connect import client
from sampan.cli.credentials import header_for
from sampan.cli.grammar import Call, Command, Flag, UsageError

CHUNK = 1 << 20
HEADER = ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE")


def images(call: Call) -> int:
    """List images by their tags."""
    listed = client(call).get("/images/json", all=call["all"])
    if call["quiet"]:
        for one in listed:
            print(one["Id"].removeprefix("sha256:")[:12])
        return 0
    if call["format"] == "json":
        table.show_json(listed)
        return 0
    rows = []
    for one in listed:
        for tag in one["RepoTags"] or ["<none>:<none>"]:
            repository, _, name = tag.rpartition(":")
            short = one["Id"].removeprefix("sha256:")[:12]
            rows.append((repository, name, short, table.age(one["Created"]), table.size(one["Size"])))
    table.show(HEADER, rows)
    return 0


def load(call: Call) -> int:
    """Load images from an archive."""
    daemon = client(call)
    with opened(call["input"]) as source:
        response = daemon.request("POST", "/images/load", {"quiet": call["quiet"]}, stream=pieces(source))
        progress.show(response.json_lines(), sys.stdout)
    return 0


def opened(name: str) -> BinaryIO:
    """The file called ``name``, or stdin; raises UsageError if it cannot be read."""
    try:
        return Path(name).open("rb") if name else sys.stdin.buffer
    except OSError as error:
        raise UsageError(f"open {name}: {error.strerror}") from None


def pieces(source: BinaryIO) -> Iterator[bytes]:
    """A file's bytes, a piece at a time."""
    while data := source.read(CHUNK):
        yield data


def named(image: str) -> tuple[str, str | None]:
    """(repository, tag) of what the user typed; a digest stays with the repository."""
    repository, colon, tag = image.rpartition(":")
    if "@" in image or not colon or "/" in tag:
        return image, None
    return repository, tag


def pull(call: Call) -> int:
    """Pull an image from its registry."""
    image = call.arguments[0]
    repository, tag = named(image)
    if tag is None and "@" not in image:
        tag = "latest"
    response = client(call).request(
        "POST", "/images/create", {"fromImage": repository, "tag": tag}, headers=header_for(image)
    )
    progress.show(response.json_lines(), sys.stdout)
    return 0


def push(call: Call) -> int:
    """Push an image to its registry."""
    image = call.arguments[0]
    repository, tag = named(image)
    response = client(call).request(
        "POST", f"/images/{repository}/push", {"tag": tag or "latest"}, headers=header_for(image)
    )
    progress.show(response.json_lines(), sys.stdout)
    return 0


def tag(call: Call) -> int:
    """Give an image another name."""
    source, target = call.arguments
    repository, name = named(target)
    client(call).post(f"/images/{source}/tag", repo=repository, tag=name or "latest")
    return 0


def remove(call: Call) -> int:
    """Remove images, or names of them."""
    daemon = client(call)
    for image in call.arguments:
        for item in daemon.request("DELETE", f"/images/{image}", {"force": call["force"]}).json():
            for what, name in item.items():
                print(f"{what}: {name}")
    return 0


COMMANDS = {
    "images": Command(
        "images", "images [OPTIONS]", "List images", images,
        (
            Flag("all", "a", "bool", "Show all images (default hides intermediate images)"),
            Flag("quiet", "q", "bool", "Only show image IDs"),
            Flag("format", "", "string", "json: one object a line"),
        ),
        maximum=0,
    ),
    "load": Command(
        "load", "load [OPTIONS]", "Load an image from a tar archive or STDIN", load,
        (
            Flag("input", "i", "string", "Read from tar archive file, instead of STDIN"),
            Flag("quiet", "q", "bool", "Suppress the load output"),
        ),
        maximum=0,
    ),
    "pull": Command("pull", "pull NAME[:TAG|@DIGEST]", "Download an image from a registry", pull,
                    minimum=1, maximum=1),
    "push": Command("push", "push NAME[:TAG]", "Upload an image to a registry", push, minimum=1, maximum=1),
    "tag": Command("tag", "tag SOURCE_IMAGE[:TAG] TARGET_IMAGE[:TAG]", "Create a tag that refers to an image", tag,
                   minimum=2, maximum=2),
    "rmi": Command("rmi", "rmi [OPTIONS] IMAGE [IMAGE...]", "Remove one or more images", remove,
                   (Flag("force", "f", "bool", "Force removal of the image"),), minimum=1),
}  # fmt: skip
