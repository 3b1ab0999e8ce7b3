"""``build``: a directory and its Dockerfile to an image."""

import sys
from pathlib import Path

from sampan.cli.connect import client
from sampan.cli.grammar import Call, Command, Flag, UsageError
from sampan.client.build import build
from sampan.errors import EngineError

LISTS = {"unset-env": "unset_env", "unset-label": "unset_label", "unset-volume": "unset_volume",
         "unset-expose": "unset_expose", "cache-from": "cache_from", "tag": "tags"}  # fmt: skip


def run(call: Call) -> int:
    """Build, showing what the build says."""
    client(call)  # starts the daemon where that is ours to do
    path = Path(call.arguments[0])
    if not path.is_dir():
        raise UsageError(f"unable to prepare context: path {str(path)!r} is no directory")
    file = Path(call["file"]) if call["file"] else path / "Dockerfile"
    try:
        text = file.read_text()
    except OSError as error:
        raise UsageError(f"unable to read Dockerfile {str(file)!r}: {error.strerror}") from None
    built = build(
        text,
        path,
        host=call.host,
        on_output=None if call["quiet"] else shown,
        target=call["target"],
        arguments=pairs("build-arg", call["build-arg"]),
        labels=pairs("label", call["label"]),
        network=call["network"],
        platform=call["platform"],
        no_cache=call["no-cache"],
        pull=call["pull"],
        squash=call["squash"],
        **{option: call[flag] for flag, option in LISTS.items()},
    )
    if call["quiet"]:
        print(built.id)
    if call["iidfile"]:
        Path(call["iidfile"]).write_text(built.id)
    return 0


def shown(text: str) -> None:
    """Print a piece of the build's text."""
    sys.stdout.write(text)
    sys.stdout.flush()


def pairs(flag: str, given: list[str]) -> dict[str, str]:
    """``NAME=VALUE`` words; raises EngineError for one without a name."""
    found = {}
    for word in given:
        name, separator, value = word.partition("=")
        if not name or not separator:
            raise EngineError(f'invalid argument "{word}" for "--{flag}" flag: expected NAME=VALUE')
        found[name] = value
    return found


COMMANDS = {
    "build": Command(
        "build", "build [OPTIONS] DIRECTORY", "Build an image from a Dockerfile", run,
        (
            Flag("tag", "t", "list", "Name of the image"),
            Flag("file", "f", "string", "Path of the Dockerfile (default DIRECTORY/Dockerfile)"),
            Flag("target", "", "string", "Stage to build"),
            Flag("build-arg", "", "list", "Build-time variable"),
            Flag("label", "", "list", "Metadata of the image"),
            Flag("network", "", "string", "Network of RUN: default, none, host, or a name"),
            Flag("platform", "", "string", "Platform of the image"),
            Flag("cache-from", "", "list", "Images to use as cache sources"),
            Flag("no-cache", "", "bool", "Do not use the cache"),
            Flag("pull", "", "bool", "Always look for newer base images"),
            Flag("squash", "", "bool", "One layer upon the base image"),
            Flag("unset-env", "", "list", "Take a variable out of the final image"),
            Flag("unset-label", "", "list", "Take a label out of the final image"),
            Flag("unset-volume", "", "list", "Take a volume out of the final image"),
            Flag("unset-expose", "", "list", "Take an exposed port out of the final image"),
            Flag("iidfile", "", "string", "Write the image's ID to the file"),
            Flag("quiet", "q", "bool", "Print only the image's ID"),
        ),
        minimum=1, maximum=1,
    ),
}  # fmt: skip
