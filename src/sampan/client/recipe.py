"""A Dockerfile as an object: each method adds an instruction and returns the recipe, so that calls chain.

    Recipe("debian:12").run("apt-get update").copy("app.py", "/app/").env(MODE="fast").cmd("python3", "/app/app.py")

``str(recipe)`` is the Dockerfile's text. Words are quoted where the language needs it; ``$`` stays a variable.
"""

import json
from collections.abc import Iterable
from typing import Self


class Recipe:
    """The instructions so far."""

    def __init__(self, base: str = "", name: str = "") -> None:
        self._lines: list[str] = []
        if base:
            self.stage(base, name)

    def __str__(self) -> str:
        return "".join(f"{line}\n" for line in self._lines)

    def add(self, instruction: str) -> Self:
        """An instruction as it is written in a Dockerfile."""
        self._lines.append(instruction)
        return self

    def stage(self, base: str, name: str = "") -> Self:
        """FROM: a new stage."""
        return self.add(f"FROM {base} AS {name}" if name else f"FROM {base}")

    def run(self, *words: str, mounts: Iterable[str] = (), network: str = "") -> Self:
        """RUN: one word is a shell's script, several are a command and its arguments."""
        flags = [f"--mount={mount}" for mount in mounts] + ([f"--network={network}"] if network else [])
        return self.add(" ".join(["RUN", *flags, _command(words)]))

    def copy(self, *paths: str, source: str = "", owner: str = "", mode: str = "") -> Self:
        """COPY: sources and, at the end, the destination; ``source`` is a stage, an image or a context."""
        given = (("from", source), ("chown", owner), ("chmod", mode))
        flags = [f"--{flag}={value}" for flag, value in given if value]
        return self.add(" ".join(["COPY", *flags, json.dumps(list(paths))]))

    def file(self, destination: str, text: str, mode: str = "") -> Self:
        """A file with this text, nothing in it expanded."""
        lines = text if text.endswith("\n") else text + "\n"
        mark = "EOF"
        while f"\n{mark}\n" in f"\n{lines}":
            mark += "F"
        flag = f"--chmod={mode} " if mode else ""
        return self.add(f"COPY {flag}<<'{mark}' {destination}\n{lines}{mark}")

    def arg(self, name: str, value: str | None = None) -> Self:
        """ARG."""
        return self.add(f"ARG {name}" if value is None else f"ARG {name}={_quoted(value)}")

    def env(self, **values: str) -> Self:
        """ENV."""
        return self.add("ENV " + " ".join(f"{name}={_quoted(value)}" for name, value in values.items()))

    def label(self, **values: str) -> Self:
        """LABEL."""
        return self.add("LABEL " + " ".join(f"{name}={_quoted(value)}" for name, value in values.items()))

    def workdir(self, path: str) -> Self:
        """WORKDIR."""
        return self.add(f"WORKDIR {path}")

    def user(self, name: str) -> Self:
        """USER."""
        return self.add(f"USER {name}")

    def expose(self, *ports: int | str) -> Self:
        """EXPOSE."""
        return self.add("EXPOSE " + " ".join(str(port) for port in ports))

    def volume(self, *paths: str) -> Self:
        """VOLUME."""
        return self.add(f"VOLUME {json.dumps(list(paths))}")

    def entrypoint(self, *words: str) -> Self:
        """ENTRYPOINT: one word is a shell's script, several are a command and its arguments."""
        return self.add(f"ENTRYPOINT {_command(words)}")

    def cmd(self, *words: str) -> Self:
        """CMD: one word is a shell's script, several are a command and its arguments."""
        return self.add(f"CMD {_command(words)}")


def _command(words: tuple[str, ...]) -> str:
    return words[0] if len(words) == 1 else json.dumps(list(words))


def _quoted(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
