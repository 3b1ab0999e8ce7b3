"""Many small Dockerfiles: the image config they lead to, the file tree, or the sentence they fail with."""

import io
import tarfile
from collections.abc import Mapping
from typing import Any

import docker
import pytest
from docker.errors import APIError, BuildError

FILES = {"a": "A\n", "b.txt": "B\n", "d/one": "1\n", "d/e/two": "2\n", "with space": "S\n", ".dockerignore": "*.log\n",
         "x.log": "ignored"}  # fmt: skip


def context_of(dockerfile: str) -> io.BytesIO:
    """A tar of ``FILES`` and the Dockerfile."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in {**FILES, "Dockerfile": dockerfile}.items():
            if name == "x.log":
                continue  # the client leaves it out
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.mtime = len(content), 0o640, 77, 1_600_000_000
            tar.addfile(entry, io.BytesIO(content.encode()))
    buffer.seek(0)
    return buffer


CONFIGS: list[tuple[str, Mapping[str, Any]]] = [
    ('CMD ["a", "b"]', {"Cmd": ["a", "b"]}),
    ("CMD a b", {"Cmd": ["/bin/sh", "-c", "a b"]}),
    ('CMD ["x"]\nENTRYPOINT ["e"]', {"Cmd": ["x"], "Entrypoint": ["e"]}),
    ('SHELL ["/bin/ash", "-ec"]\nENTRYPOINT run', {"Entrypoint": ["/bin/ash", "-ec", "run"]}),
    ("ENV A=1 B='two words'\nENV C=$A-${B} D=${N:-none} E=\\$A", {"Env": ["A=1", "B=two words", "C=1-two words",
     "D=none", "E=$A"]}),
    ("ENV legacy one two", {"Env": ["legacy=one two"]}),
    ("ENV V=a.tar.gz\nENV P=${V%.*} Q=${V%%.*} R=${V#*.} S=${V/tar/zip}", {"Env": ["V=a.tar.gz", "P=a.tar", "Q=a",
     "R=tar.gz", "S=a.zip.gz"]}),
    ("ARG A=arg\nENV B=$A", {"Env": ["B=arg"]}),
    ("LABEL a=b 'c d'=\"e f\"\nLABEL g=$PATH$none", {"Labels": {"a": "b", "c d": "e f"}}),
    ("EXPOSE 80 53/udp 9000-9001", {"ExposedPorts": {"80/tcp": {}, "53/udp": {}, "9000/tcp": {}, "9001/tcp": {}}}),
    ('VOLUME /a ["x"]', {"Volumes": {"/a": {}, '[x]': {}}}),
    ('VOLUME ["/v", "/w"]', {"Volumes": {"/v": {}, "/w": {}}}),
    ("USER app:extra", {"User": "app:extra"}),
    ("WORKDIR /a\nWORKDIR b/../c", {"WorkingDir": "/a/c"}),
    ("STOPSIGNAL SIGUSR1", {"StopSignal": "SIGUSR1"}),
    ("HEALTHCHECK --interval=5s --retries=3 CMD true", {"Healthcheck": {"Test": ["CMD-SHELL", "true"],
     "Interval": 5_000_000_000, "Retries": 3}}),
    ("HEALTHCHECK NONE", {"Healthcheck": {"Test": ["NONE"]}}),
    ("ONBUILD COPY . /app\nONBUILD RUN make", {"OnBuild": ["COPY . /app", "RUN make"]}),
]  # fmt: skip

TREES: list[tuple[str, str, str]] = [
    ("COPY a /x", "/x", "640 0 0 /x"),
    ("COPY a b.txt /dir/", "/dir/*", "640 0 0 /dir/a|640 0 0 /dir/b.txt"),
    ("COPY d /to", "/to/* /to/e/*", "755 0 0 /to/e|640 0 0 /to/one|640 0 0 /to/e/two"),
    ("COPY d/ /to/", "/to/one", "640 0 0 /to/one"),
    ('COPY ["with space", "/s p/"]', '"/s p/with space"', "640 0 0 /s p/with space"),
    ("COPY --chown=app:extra a /x", "/x", "640 1000 2000 /x"),
    ("COPY --chown=5:6 d /new/dir", "/new /new/dir/one", "755 5 6 /new|640 5 6 /new/dir/one"),
    ("COPY --chmod=751 a /x", "/x", "751 0 0 /x"),
    ("COPY --parents d/e/two /p/", "/p/d/e/two", "640 0 0 /p/d/e/two"),
    ("COPY --parents ./d/./e/two /p/", "/p/e/two", "640 0 0 /p/e/two"),
    ("COPY --exclude=**/one d /x", "/x/*", "755 0 0 /x/e"),
    ("COPY ?.txt *pace /g/", "/g/*", "640 0 0 /g/b.txt|640 0 0 /g/with space"),
    ("WORKDIR /w\nCOPY a .\nCOPY a sub/", "/w/a /w/sub/a", "640 0 0 /w/a|640 0 0 /w/sub/a"),
    ("ARG T=/t\nCOPY a ${T}/x", "/t/x", "640 0 0 /t/x"),
    ("COPY <<one <<two /h/\n1\none\n2\ntwo", "/h/*", "644 0 0 /h/one|644 0 0 /h/two"),
    ("USER app\nWORKDIR /w\nRUN touch /tmp/f", "/w /tmp/f", "755 0 0 /w|644 1000 1000 /tmp/f"),
    ("RUN ln -s /tmp /l\nCOPY a /l/x", "/tmp/x", "640 0 0 /tmp/x"),
    ("ADD d /to/", "/to/one", "640 0 0 /to/one"),
]

ERRORS: list[tuple[str, str]] = [
    ("FORM x", "dockerfile parse error on line 1: unknown instruction: FORM (did you mean FROM?)"),
    ("RUN x", "no build stage in current context"),
    ("FROM busybox\nCOPY nothing /", "COPY failed: file not found in build context or excluded by .dockerignore: "
     "stat nothing: file does not exist"),
    ("FROM busybox\nCOPY x.log /", "COPY failed: file not found in build context or excluded by .dockerignore: "
     "stat x.log: file does not exist"),
    ("FROM busybox\nCOPY a b.txt /dir", "When using COPY with more than one source file, the destination must be a "
     "directory and end with a /"),
    ("FROM busybox\nCOPY --from=busybox /none /x", 'COPY failed: stat none: file does not exist in "busybox"'),
    ("FROM busybox\nRUN exit 7", "The command '/bin/sh -c exit 7' returned a non-zero code: 7"),
    ("FROM busybox\nCOPY --chown=nobody2 a /", "unable to convert uid/gid chown string to host mapping: can't find "
     "uid for user nobody2"),
    ("FROM busybox\nENV A=${B:?needed}", "needed"),
    ("FROM busybox\nRUN --mount=type=tmp,target=/x true", 'unsupported mount type "tmp" (did you mean tmpfs?)'),
    ("FROM busybox\nRUN --mount=type=secret,id=s,required true", "secret s: not found"),
    ("FROM busybox\nHEALTHCHECK --interval=1us CMD x", 'Interval "interval" cannot be less than 1ms'),
    ("FROM busybox\nCOPY --form=x a /", "unknown flag: --form (did you mean from?)"),
    ("FROM busybox\nONBUILD FROM x", "FROM isn't allowed as an ONBUILD trigger"),
]  # fmt: skip


def build(client: docker.DockerClient, dockerfile: str) -> Any:
    return client.images.build(fileobj=context_of(dockerfile), custom_context=True)[0]


@pytest.mark.parametrize(("body", "expected"), CONFIGS, ids=[body.split("\n")[0] for body, _ in CONFIGS])
def test_the_config_is(client: docker.DockerClient, body: str, expected: Mapping[str, Any]) -> None:
    config = build(client, f"FROM scratch\n{body}\n").attrs["Config"]
    found = {name: config.get(name) for name in expected}
    if "Labels" in expected:
        found["Labels"] = {key: value for key, value in found["Labels"].items() if key in expected["Labels"]}
    if "Env" in expected:
        found["Env"] = [entry for entry in found["Env"] if not entry.startswith("PATH=")]
    assert found == expected


@pytest.mark.parametrize(("body", "paths", "expected"), TREES, ids=[body.split("\n")[-1] for body, _, _ in TREES])
def test_the_tree_is(client: docker.DockerClient, body: str, paths: str, expected: str) -> None:
    image = build(client, f"FROM busybox\n{body}\nUSER root\n")
    output = client.containers.run(
        image.id, ["sh", "-c", f"stat -c '%a %u %g %n' {paths}"], remove=True, network_mode="none"
    )
    assert output.decode().splitlines() == expected.split("|")


@pytest.mark.parametrize(("dockerfile", "sentence"), ERRORS, ids=[text.split("\n")[-1] for text, _ in ERRORS])
def test_the_error_is(client: docker.DockerClient, dockerfile: str, sentence: str) -> None:
    with pytest.raises((BuildError, APIError)) as caught:
        build(client, dockerfile)
    error = caught.value
    assert sentence in str(error.msg if isinstance(error, BuildError) else error.explanation)
