"""Classic builds against a real daemon, by docker-py and raw requests."""

import base64
import io
import json
import re
import signal
import socket
import tarfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import docker
import pytest
from docker.errors import BuildError

from sampan.build.buildkit import messages as m


def context_of(files: Mapping[str, str | bytes]) -> io.BytesIO:
    """A tar of ``files``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.uid, entry.gid = len(data), 0o644, 1234, 1234
            tar.addfile(entry, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def build(client: docker.DockerClient, files: Mapping[str, str | bytes], **options: Any) -> tuple[Any, str]:
    """The image and the text of the build."""
    image, log = client.images.build(fileobj=context_of(files), custom_context=True, **options)
    return image, "".join(entry.get("stream", "") for entry in log)


def output_of(client: docker.DockerClient, image: Any, *command: str) -> str:
    return str(client.containers.run(image.id, list(command), remove=True).decode())


def left_in(daemon: Any, directory: str) -> list[str]:
    """Names in a directory of the data root, none where it is missing."""
    return [path.name for path in (daemon.root / "data" / directory).glob("*")]


def test_a_build_runs_copies_and_tags(client: docker.DockerClient) -> None:
    image, text = build(
        client,
        {
            "Dockerfile": "FROM busybox\nARG NAME=x\nENV GREETING=hello\nWORKDIR /app\nCOPY a.txt dir/ ./\n"
            "RUN echo $GREETING $NAME > out && id -u\nCMD cat out\n",
            "a.txt": "a",
            "dir/b.txt": "b",
        },
        tag="built:1",
        buildargs={"NAME": "world"},
    )
    assert "built:1" in image.tags
    assert "Step 1/7 : FROM busybox\n" in text
    assert " ---> Running in " in text
    assert "Successfully tagged built:1\n" in text
    assert client.containers.run("built:1", remove=True) == b"hello world\n"
    assert output_of(client, image, "stat", "-c", "%u %g %a %n", "a.txt", "b.txt") == "0 0 644 a.txt\n0 0 644 b.txt\n"
    assert image.attrs["Config"]["WorkingDir"] == "/app"
    assert "GREETING=hello" in image.attrs["Config"]["Env"]


def test_the_second_build_is_cached_and_the_same_image(client: docker.DockerClient) -> None:
    files = {"Dockerfile": "FROM busybox\nCOPY a /a\nRUN echo once > /b\nLABEL x=y\n", "a": "1"}
    first, _ = build(client, files)
    second, text = build(client, files)
    assert first.id == second.id
    assert text.count(" ---> Using cache\n") == 3
    third, text = build(client, {**files, "a": "2"})
    assert third.id != first.id
    assert "Using cache" not in text


def test_with_cache_from_only_the_named_images_steps_are_known(client: docker.DockerClient) -> None:
    files = {"Dockerfile": "FROM busybox\nENV A=b\nRUN touch /named\n"}
    first, _ = build(client, files, tag="source:1")
    again, text = build(client, files, cache_from=["source:1"])
    assert (again.id, text.count(" ---> Using cache\n")) == (first.id, 2)
    _, text = build(client, files, cache_from=["nosuch:1"])
    assert "Using cache" not in text


def test_steps_and_commits_tell_their_parents(client: docker.DockerClient) -> None:
    base = client.images.get("busybox").id
    step, _ = build(client, {"Dockerfile": "FROM busybox\nLABEL parents=told\n"})
    assert step.attrs["Parent"] == base
    container = client.containers.create(step.id, "true")
    assert container.commit().attrs["Parent"] == step.id


def test_stages_that_are_not_needed_never_run(client: docker.DockerClient) -> None:
    image, text = build(
        client,
        {
            "Dockerfile": "FROM busybox AS tools\nRUN echo made > /made\nFROM busybox AS unused\nRUN exit 9\n"
            "FROM scratch AS last\nCOPY --from=tools /made /made\nCOPY --from=busybox /bin/busybox /bin/cat\n"
        },
    )
    assert "exit 9" not in text
    assert output_of(client, image, "cat", "/made") == "made\n"


def test_a_failing_command_ends_the_build(client: docker.DockerClient) -> None:
    with pytest.raises(BuildError) as caught:
        build(client, {"Dockerfile": "FROM busybox\nRUN echo before; exit 3\n"})
    assert caught.value.msg == "The command '/bin/sh -c echo before; exit 3' returned a non-zero code: 3"
    *_, last = caught.value.build_log
    assert last["errorDetail"]["code"] == 3


def test_a_missing_file_is_named(client: docker.DockerClient) -> None:
    with pytest.raises(BuildError) as caught:
        build(client, {"Dockerfile": "FROM busybox\nCOPY nothing /\n"})
    assert caught.value.msg == (
        "COPY failed: file not found in build context or excluded by .dockerignore: stat nothing: file does not exist"
    )


def test_a_cache_mount_persists_and_stays_out_of_the_image(client: docker.DockerClient) -> None:
    dockerfile = (
        "FROM busybox\nARG N\nRUN --mount=type=cache,target=/cache echo $N >> /cache/log && cp /cache/log /log\n"
        "RUN --mount=type=tmpfs,target=/t echo x > /t/x && ls / > /list\n"
    )
    build(client, {"Dockerfile": dockerfile}, buildargs={"N": "1"})
    image, _ = build(client, {"Dockerfile": dockerfile}, buildargs={"N": "2"})
    assert output_of(client, image, "cat", "/log") == "1\n2\n"
    assert "cache" not in output_of(client, image, "ls", "/").split()
    assert "t" not in output_of(client, image, "ls", "/").split()


def test_a_heredoc_is_a_script_and_a_file(client: docker.DockerClient) -> None:
    image, _ = build(
        client,
        {"Dockerfile": "FROM busybox\nRUN <<EOF\necho one > /x\necho two >> /x\nEOF\nCOPY <<EOF /y\nfrom $PATH\nEOF\n"},
    )
    assert output_of(client, image, "cat", "/x") == "one\ntwo\n"
    assert output_of(client, image, "cat", "/y").startswith("from /")


def test_an_archive_is_taken_apart_by_add(client: docker.DockerClient) -> None:
    inner = context_of({"in/side": "data"}).getvalue()
    image, _ = build(client, {"Dockerfile": "FROM busybox\nADD x.tar /out/\nCOPY x.tar /kept/\n", "x.tar": inner})
    assert output_of(client, image, "cat", "/out/in/side") == "data"
    assert output_of(client, image, "ls", "/kept") == "x.tar\n"


def test_a_step_is_on_its_network(client: docker.DockerClient, network: Any) -> None:
    made = network("built-on")
    container = client.containers.run("busybox", "sleep 60", detach=True, network="built-on", name="reached")
    _, text = build(client, {"Dockerfile": "FROM busybox\nRUN nslookup reached\n"}, network_mode=made.id)
    assert client.containers.get(container.id).attrs["NetworkSettings"]["Networks"]["built-on"]["IPAddress"] in text
    _, text = build(client, {"Dockerfile": "FROM busybox\nRUN ip -4 addr show eth0\n"})
    assert "inet " in text


def test_a_step_without_network_has_none(client: docker.DockerClient) -> None:
    image, _ = build(
        client, {"Dockerfile": "FROM busybox\nRUN --network=none ls /sys/class/net > /nets\n"}, network_mode="default"
    )
    assert output_of(client, image, "cat", "/nets") == "lo\n"


def test_pruning_the_cache_forgets_steps(client: docker.DockerClient) -> None:
    files = {"Dockerfile": "FROM busybox\nRUN echo pruned > /p\n"}
    image, _ = build(client, files)
    client.images.remove(image.id, force=True)
    report = client.api.prune_builds()
    assert report["CachesDeleted"]
    _, text = build(client, files)
    assert "Using cache" not in text


def test_a_client_that_goes_away_ends_its_build(daemon: Any, eventually: Any) -> None:
    body = context_of({"Dockerfile": "FROM busybox\nRUN echo begun; sleep 300\n"}).getvalue()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(daemon.socket))
        head = (
            f"POST /build HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-tar\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection.sendall(head.encode() + body)
        answer = b""
        while b'"begun' not in answer:
            answer += connection.recv(4096)
    eventually(lambda: left_in(daemon, "tmp/build") == [])
    eventually(lambda: left_in(daemon, "containers") == [])


@pytest.mark.parametrize(
    ("version", "moment"), [("1", b"Step 2/2"), ("1", b"Running in"), ("1", b'"begun'), ("2", b"moby.buildkit.trace")]
)
def test_a_cancelled_build_ends(
    daemon: Any, client: docker.DockerClient, eventually: Any, version: str, moment: bytes
) -> None:
    body = context_of({"Dockerfile": "FROM busybox\nRUN echo begun; sleep 300\n"})
    query = {"buildid": "mine", "version": version}
    stream = client.api._post(client.api._url("/build"), data=body, params=query, stream=True, timeout=20)
    lines = stream.iter_lines(chunk_size=1)  # kept: its end closes the connection, which ends the build too
    assert any(moment in line for line in lines)
    assert client.api._post(client.api._url("/build/cancel"), params={"id": "mine"}).status_code == 200
    stream.close()
    eventually(lambda: left_in(daemon, "containers") == [])


def test_a_killed_daemon_leaves_nothing_of_a_build(daemon: Any, client: docker.DockerClient, eventually: Any) -> None:
    body = context_of({"Dockerfile": "FROM busybox\nRUN echo begun; sleep 2\n"})
    stream = client.api._post(client.api._url("/build"), data=body, stream=True, timeout=20)
    assert any(b'"begun' in line for line in stream.iter_lines())
    daemon.stop(signal.SIGKILL)
    daemon.start()
    eventually(lambda: left_in(daemon, "containers") == [])
    assert left_in(daemon, "tmp/build") == []


def post(daemon: Any, text: str, **query: Any) -> tuple[int, list[Any]]:
    """``POST /build`` of a Dockerfile alone: status and lines."""
    with closing(daemon.client()) as caller:
        url = caller.api.base_url + "/v1.44/build"
        answer = caller.api.post(url, params=query, data=context_of({"Dockerfile": text}))
        return answer.status_code, [json.loads(line) for line in answer.text.splitlines()]


def test_the_stream_is_cut_as_dockerd_cuts_it(daemon: Any, client: docker.DockerClient) -> None:
    body = "FROM busybox AS one\nRUN echo said\nFROM busybox\nENV A=1\nCOPY --from=one /bin/true /t\n"
    _, lines = post(daemon, body, networkmode="none", buildargs='{"LOST": "1", "HTTP_PROXY": "x"}')
    shown = [re.sub(r"\b[0-9a-f]{12}\n", "ID\n", line.get("stream", "")) for line in lines]
    assert shown[:9] == [
        *("Step 1/5 : FROM busybox AS one", "\n", " ---> ID\n", "Step 2/5 : RUN echo said", "\n"),
        *(" ---> Running in ID\n", "said\n", " ---> Removed intermediate container ID\n", " ---> ID\n"),
    ]
    images = [line["aux"]["ID"] for line in lines if "aux" in line]
    assert len(images) == 2  # one for each stage
    assert lines[-2] == {"stream": "[Warning] One or more build-args [LOST] were not consumed\n"}
    assert lines[-1] == {"stream": f"Successfully built {images[-1][7:19]}\n"}


def test_a_quiet_build_says_nothing_but_the_id(daemon: Any, client: docker.DockerClient) -> None:
    _, lines = post(daemon, "FROM busybox\nRUN echo loud\n", networkmode="none", q="1")
    assert [list(line) for line in lines] == [["stream"]]
    assert client.images.get(lines[0]["stream"].strip())


@pytest.mark.parametrize(
    ("dockerfile", "query", "status", "words"),
    [
        ("", {}, 400, "the Dockerfile (Dockerfile) cannot be empty"),
        ("FROM busybox", {"dockerfile": "other"}, 500, "Cannot locate specified Dockerfile: other"),
        ("FROM busybox", {"remote": "nonsense"}, 500, "remoteURL (nonsense) could not be recognized as URL"),
        ("FROM busybox", {"version": "3"}, 400, 'invalid version "3"'),
        ("FROM busybox", {"isolation": "hyperv"}, 400, 'unsupported isolation: "hyperv"'),
        ("FROM busybox", {"securityopt": "x"}, 400, "security options are not supported on linux"),
        ("FROM busybox", {"target": "x"}, 400, 'target stage "x" could not be found'),
        ("FROM busybox", {"platform": "a/b/c/d"}, 400, '"a/b/c/d": cannot parse platform specifier: invalid argument'),
        ("FROM busybox", {"buildargs": "{"}, 400, "error reading build args: "),
        ("FROM busybox", {"remote": "client-session"}, 400, "experimental session with v1 builder is no longer "
         "supported, use builder version v2 (BuildKit) instead"),
        ("FROM busybox\nRUN x", {"version": "2", "networkmode": "other"}, 500, 'network mode "other" not supported by '
         "buildkit"),
    ],
)  # fmt: skip
def test_refusals_have_dockerds_words_and_status(
    daemon: Any, dockerfile: str, query: dict[str, str], status: int, words: str
) -> None:
    found, lines = post(daemon, dockerfile, **query)
    assert (found, lines[0]["message"][: len(words)]) == (status, words)


def test_version_2_is_buildkit_told_in_lines(daemon: Any, client: docker.DockerClient) -> None:
    _, lines = post(daemon, "FROM busybox\nARG A\nRUN echo $A\n", version="2", t="second", buildargs='{"A": "given"}')
    assert lines[-1] == {"id": "moby.image.id", "aux": {"ID": client.images.get("second").id}}
    told = [m.StatusResponse.FromString(base64.b64decode(line["aux"])) for line in lines[:-1]]
    assert b"given\n" in [log.msg for response in told for log in response.logs]
    _, lines = post(daemon, "FROM busybox\nRUN exit 4\n", version="2")
    assert lines[-1]["error"] == 'process "/bin/sh -c exit 4" did not complete successfully: exit code: 4'


def test_a_context_may_come_by_a_request_of_its_own(daemon: Any, client: docker.DockerClient) -> None:
    asked = {"version": "2", "remote": "upload-request", "buildid": "uploaded", "t": "uploaded", "ulimits": "null"}
    with ThreadPoolExecutor() as threads:
        built = threads.submit(post, daemon, "", **asked)
        brought, _ = post(daemon, "FROM busybox\nCMD uploaded\n", version="2", buildid="upload-request:uploaded")
    assert brought == 200
    assert built.result()[1][-1] == {"id": "moby.image.id", "aux": {"ID": client.images.get("uploaded").id}}


def test_a_step_that_was_half_gone_at_a_crash_is_gone_after_the_next_start(
    daemon: Any, client: docker.DockerClient
) -> None:
    half = daemon.root / "data" / "containers" / f"build-{'0' * 32}"
    (half / "upper").mkdir(parents=True)
    half.with_name(f"build-{'1' * 32}").mkdir()
    daemon.stop(signal.SIGKILL)
    daemon.start()
    assert left_in(daemon, "containers") == []
