"""Requests that are refused: which status, which sentence; clients and their users know both by heart.

The table was made by asking dockerd the same (29, API 1.52).
"""

import json
from collections.abc import Callable
from typing import Any

import docker
import pytest
from docker.models.containers import Container

JSON = {"Content-Type": "application/json"}
NO = "No such container: nope"
EMPTY_CONFIG = "config cannot be empty in order to create a container"

REFUSED: tuple[tuple[str, str, bytes | None, int, str], ...] = (
    # method, path, JSON body, status, sentence
    ("GET", "/nothing", None, 404, "page not found"),
    ("PUT", "/containers/json", None, 404, "page not found"),
    ("POST", "/containers/create", b"", 400, "invalid JSON: EOF"),
    ("POST", "/containers/create", b"{}", 400, EMPTY_CONFIG),
    ("POST", "/containers/create", b'{"HostConfig":{}}', 400, EMPTY_CONFIG),
    ("POST", "/containers/create", b'{"Image":""}', 400, "no command specified"),
    (
        "POST",
        "/containers/create",
        b"{bad",
        400,
        "invalid JSON: invalid character 'b' looking for beginning of object key string",
    ),
    ("POST", "/containers/create", b'{"Image":"busybox"} more', 400, "unexpected content after JSON"),
    ("POST", "/containers/create?platform=foo", b'{"Image":"busybox"}', 400,
     '"foo": unknown operating system or architecture: invalid argument'),
    ("GET", "/containers/json?limit=abc", None, 400, 'strconv.Atoi: parsing "abc": invalid syntax'),
    ("GET", "/containers/json?filters=bad", None, 400, "invalid filter"),
    ("GET", '/containers/json?filters={"status":["x"]}', None, 400,
     "invalid filter 'status=x': invalid value for state (x): must be one of created, running, paused, restarting, "
     "removing, exited, dead"),
    ("GET", '/containers/json?filters={"exited":["x"]}', None, 400,
     "invalid filter 'exited=x': strconv.Atoi: parsing \"x\": invalid syntax"),
    ("GET", '/containers/json?filters={"since":["nope"]}', None, 404, NO),
    ("GET", '/containers/json?filters={"publish":["x"]}', None, 500,
     "error while looking up for publish x: invalid start port 'x': invalid syntax"),
    ("GET", "/containers/nope/logs", None, 400, "must specify at least one of 'stdout' or 'stderr'"),
    ("POST", "/containers/nope/wait?condition=bored", None, 400, 'invalid condition: "bored"'),
    ("POST", "/containers/nope/kill", None, 404, f"cannot kill container: nope: {NO}"),
    ("POST", "/containers/nope/kill?signal=FOO", None, 400, "cannot kill container: nope: invalid signal: FOO"),
    ("POST", "/containers/nope/kill?signal=99", None, 400,
     "cannot kill container: nope: the linux daemon does not support signal 99"),
    ("POST", "/containers/nope/restart?t=x", None, 500, 'strconv.Atoi: parsing "x": invalid syntax'),
    ("GET", '/containers/json?filters={"expose":["80-x"]}', None, 500,
     "error while looking up for expose 80-x: invalid end port 'x': invalid syntax"),
    ("GET", '/containers/json?filters={"publish":[""]}', None, 500,
     "error while looking up for publish : invalid port range: value is empty"),
    ("POST", "/containers/nope/stop?t=x", None, 400, 'strconv.Atoi: parsing "x": invalid syntax'),
    ("POST", "/containers/nope/rename", None, 400, "Neither old nor new names may be empty"),
    ("POST", "/containers/nope/resize?h=x&w=1", None, 400, 'invalid resize height "x": invalid syntax'),
    ("POST", "/containers/nope/resize?h=1&w=-1", None, 400, 'invalid resize width "-1": value out of range'),
    ("GET", "/events?since=x", None, 400,
     "invalid value for 'since': invalid timestamp \"x\": invalid seconds \"x\": invalid syntax"),
    ("POST", "/commit", None, 400, 'invalid name or ID supplied: ""'),
    ("POST", "/images/BAD/tag?repo=good", None, 404,
     "invalid reference format: repository name (library/BAD) must be lowercase"),
    ("GET", '/images/json?filters={"reference":["["]}', None, 500, "syntax error in pattern"),
    ("GET", '/images/json?filters={"label!":["x"]}', None, 400, "invalid filter 'label!'"),
    ("GET", '/containers/json?filters={"label!":["x"]}', None, 400, "invalid filter 'label!'"),
    ("GET", "/images/busybox/json?platform=x", None, 400,
     "failed to parse platform: invalid character 'x' looking for beginning of value"),
    ("GET", "/images/search?term=x&limit=a", None, 400,
     'invalid limit specified: strconv.Atoi: parsing "a": invalid syntax'),
    ("GET", '/networks?filters={"type":["x"]}', None, 500, "invalid filter: 'type'='x'"),
    ("POST", "/networks/create", b'{"Name":"x","IPAM":{"Config":[{"Subnet":"bad"}]}}', 400,
     "invalid JSON: netip.ParsePrefix(\"bad\"): no '/'"),
    ("POST", "/networks/create", b'{"Name":"x","IPAM":{"Config":[{"Subnet":"10.0.0.0/33"}]}}', 400,
     'invalid JSON: netip.ParsePrefix("10.0.0.0/33"): prefix length out of range'),
    ("POST", "/networks/create", b'{"Name":"x","IPAM":{"Config":[{"Subnet":"10.0.0.0/8","Gateway":"bad"}]}}', 400,
     'invalid JSON: ParseAddr("bad"): unable to parse IP'),
    ("POST", "/networks/create", b'{"Name":"x","ConfigFrom":{"Network":"nope"},"Labels":{"a":"b"}}', 403,
     "user-specified configurations are not supported if the network depends on a configuration network"),
    ("POST", "/networks/nope/connect", b'{"Container":"nope"}', 404, NO),
    ("POST", "/networks/nope/connect", b'{"Container":"nope","EndpointConfig":{"MacAddress":"bad"}}', 400,
     "invalid JSON: address bad: invalid MAC address"),
    ("POST", "/networks/nope/connect", b'{"Container":"nope","EndpointConfig":{"IPAMConfig":{"IPv4Address":"bad"}}}',
     400, 'invalid JSON: ParseAddr("bad"): unable to parse IP'),
    ("POST", "/networks/nope/disconnect", None, 400, 'invalid name or ID supplied: ""'),
    ("GET", "/volumes?filters=bad", None, 400, "error reading volume filters: invalid filter"),
    ("POST", "/volumes/create", b'{"Name":"v","ClusterVolumeSpec":{}}', 503,
     'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
     "and try again."),
    ("POST", "/build/prune?keep-storage=x", None, 400,
     'keep-storage is in bytes and expects an integer, got x: strconv.Atoi: parsing "x": invalid syntax'),
    ("POST", '/build/prune?filters={"until":["x"]}', None, 400,
     "failed to prune build cache: \"until\" filter expects a duration (e.g., '24h') or a timestamp: "
     'failed to parse value as time or duration: invalid seconds "x": invalid syntax'),
    ("POST", '/build/prune?filters={"bad":["x"]}', None, 400, "failed to prune build cache: invalid filter 'bad'"),
)  # fmt: skip

CREATE: tuple[tuple[dict[str, Any], str], ...] = (
    # members of HostConfig, sentence
    ({"RestartPolicy": {"Name": "", "MaximumRetryCount": 3}},
     "invalid restart policy: maximum retry count can only be used with 'on-failure'"),
    ({"CpusetCpus": "x"}, "Invalid value x for cpuset cpus: invalid format: x"),
    ({"IOMaximumIOps": 5}, "invalid option: QoS maximum IOPs configuration is not supported on linux"),
    ({"Isolation": "process"}, "invalid isolation (process): linux only supports 'default'"),
    ({"Links": ["a:b:c"]}, "bad format for links: a:b:c"),
    ({"Dns": ["foo"]}, 'invalid JSON: ParseAddr("foo"): unable to parse IP'),
    ({"PortBindings": {"x/tcp": [{}]}}, "invalid JSON: invalid port 'x': invalid syntax"),
    ({"Binds": ["/tmp:/x:nocopy"]},
     "invalid volume specification: '/tmp:/x:nocopy': invalid mount config for type \"bind\": "
     "field VolumeOptions must not be specified"),
    ({"Binds": ["/tmp:/x:zz"]}, "invalid mode: zz"),
    ({"Binds": ["a:b:c:d"]}, "invalid volume specification: 'a:b:c:d'"),
    ({"SecurityOpt": ["foo"]}, 'invalid --security-opt 1: "foo"'),
    ({"SecurityOpt": ["foo=bar"]}, 'invalid --security-opt 2: "foo=bar"'),
    ({"LogConfig": {"Type": "nope"}}, 'error looking up logging plugin nope: plugin "nope" not found'),
    ({"LogConfig": {"Type": "json-file", "Config": {"mode": "foo"}}}, "logger: logging mode not supported: foo"),
    ({"LogConfig": {"Type": "json-file", "Config": {"max-buffer-size": "1m"}}},
     "logger: max-buffer-size option is only supported with 'mode=non-blocking'"),
)  # fmt: skip

UNCLASSED = {"Binds", "SecurityOpt"}
"""What is wrong with these has no class of its own in dockerd: 500."""


def asked(client: docker.DockerClient, method: str, path: str, body: bytes | None) -> tuple[int, str]:
    """Status and sentence of the answer."""
    address = f"{client.api.base_url}/v1.52{path}"
    answer = client.api.request(method, address, data=body, headers=JSON if body is not None else {}, timeout=10)
    return answer.status_code, answer.json()["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "sentence"), REFUSED, ids=[f"{row[0]} {row[1]} {row[2]!r}" for row in REFUSED]
)
def test_a_request_is_refused_in_dockerd_s_words(
    client: docker.DockerClient, method: str, path: str, body: bytes | None, status: int, sentence: str
) -> None:
    assert asked(client, method, path, body) == (status, sentence)


@pytest.mark.parametrize(("host_config", "sentence"), CREATE, ids=[str(row[0]) for row in CREATE])
def test_a_container_is_refused_in_dockerd_s_words(
    client: docker.DockerClient, host_config: dict[str, Any], sentence: str
) -> None:
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": "none", **host_config}}
    status, told = asked(client, "POST", "/containers/create", json.dumps(body).encode())
    assert told == sentence
    assert status in ((500,) if host_config.keys() & UNCLASSED else (400, 404))


def test_sentences_repeat_what_the_user_called_the_container(
    client: docker.DockerClient, run: Callable[..., Container]
) -> None:
    run(name="busy").pause()
    command = json.dumps({"Cmd": ["true"]}).encode()
    assert asked(client, "POST", "/containers/busy/exec", command) == (
        409,
        "Container busy is paused, unpause the container before exec",
    )
    assert asked(client, "DELETE", "/containers/busy", None) == (
        409,
        'cannot remove container "busy": container is paused and must be unpaused first',
    )
    assert asked(client, "POST", "/containers/busy/rename?name=x", None) == (
        400,
        "Error when allocating new name: Invalid container name (/x), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed",
    )
    client.containers.get("busy").unpause()


def test_limits_are_updated_as_dockerd_updates_them(client: docker.DockerClient, run: Callable[..., Container]) -> None:
    container = run(name="limited", mem_limit="64m", pids_limit=10)

    def update(**limits: int) -> tuple[int, str]:
        return asked(client, "POST", "/containers/limited/update", json.dumps(limits).encode())

    assert update(Memory=1) == (400, "Minimum memory limit allowed is 6MB")
    assert update(Memory=256 << 20) == (
        409,
        f"Cannot update container {container.id}: Memory limit should be smaller than already set memoryswap limit, "
        "update the memoryswap at the same time",
    )
    client.api.update_container("limited", mem_limit="32m")
    client.api._post_json(client.api._url("/containers/limited/update"), data={"PidsLimit": -1})
    container.reload()
    settled = container.attrs["HostConfig"]
    assert (settled["Memory"], settled["PidsLimit"]) == (32 << 20, 0)


def test_readings_have_dockerd_s_shape(client: docker.DockerClient, run: Callable[..., Container]) -> None:
    reading = run().stats(stream=False)
    assert reading["os_type"] == "linux"
    assert "networks" not in reading, "there is no interface to count"


def test_no_other_column_may_call_itself_pid(client: docker.DockerClient, run: Callable[..., Container]) -> None:
    run(name="shown")
    told = asked(client, "GET", "/containers/shown/top?ps_args=-o comm=PID", None)
    assert told == (400, 'specifying "comm=PID" is not allowed')


def test_a_path_that_is_not_clean_is_sent_to_the_clean_one(client: docker.DockerClient) -> None:
    address = f"{client.api.base_url}/v1.52/containers//./nope/json?size=1"
    answer = client.api.request("GET", address, allow_redirects=False, timeout=10)
    assert (answer.status_code, answer.headers["Location"]) == (301, "/v1.52/containers/nope/json?size=1")


def test_a_registry_that_cannot_be_reached_is_an_error_of_the_server(client: docker.DockerClient) -> None:
    status, told = asked(client, "POST", "/images/create?fromImage=localhost:1/x&tag=v", None)
    assert status == 500
    assert "connection refused" in told


def test_a_list_names_the_image_by_its_id_once_its_name_means_another(
    client: docker.DockerClient, run: Callable[..., Container]
) -> None:
    busybox = client.images.get("busybox")
    busybox.tag("moved:1")
    container = client.containers.create("moved:1", "true")
    shown = {"id": container.id}
    assert client.api.containers(all=True, filters=shown)[0]["Image"] == "moved:1"
    container.commit("moved", "1")
    assert client.api.containers(all=True, filters=shown)[0]["Image"] == busybox.id
    client.images.remove("moved:1")
    assert client.api.containers(all=True, filters=shown)[0]["Image"] == busybox.id
    container.remove()


def test_nothing_is_imported_as_an_image_without_files(client: docker.DockerClient) -> None:
    client.api.import_image_from_data(b"", repository="nothing")
    image = client.images.get("nothing")
    assert client.api.images("nothing")[0]["Labels"] is None
    assert len(image.attrs["RootFS"]["Layers"]) == 1
    client.images.remove("nothing")


def test_networks_without_pools_have_null_for_them(client: docker.DockerClient) -> None:
    assert client.networks.list(names=["host"])[0].attrs["IPAM"]["Config"] is None


def test_a_pool_of_which_nothing_is_said_is_left_open(client: docker.DockerClient) -> None:
    made = client.networks.create("open", ipam={"Config": [{}]})
    assert "/" in client.networks.get("open").attrs["IPAM"]["Config"][0]["Subnet"]
    made.remove()


def test_what_only_a_start_finds_out_is_an_error_of_the_server(client: docker.DockerClient) -> None:
    for options, sentence in (
        ({"devices": ["/nope"]}, "/nope"),
        ({"security_opt": ["seccomp={bad"]}, "Decoding seccomp profile failed: invalid character 'b' looking for "),
    ):
        container = client.containers.create("busybox", "true", network_mode="none", **options)
        status, told = asked(client, "POST", f"/containers/{container.id}/start", None)
        container.remove()
        assert status == 500
        assert sentence in told


def test_a_container_that_is_not_paused_is_not_thawed(
    client: docker.DockerClient, run: Callable[..., Container]
) -> None:
    container = run()
    assert asked(client, "POST", f"/containers/{container.id}/unpause", None) == (
        500,
        f"Container {container.id} is not paused",
    )


def test_an_attach_is_refused_in_plain_text(client: docker.DockerClient) -> None:
    answer = client.api.request("POST", f"{client.api.base_url}/v1.52/containers/nope/attach", timeout=10)
    assert (answer.status_code, answer.text) == (404, f"{NO}\r\n")
    assert answer.headers["Content-Type"] == "application/vnd.docker.raw-stream"


def test_capabilities_of_api_1_40_are_refused(client: docker.DockerClient) -> None:
    body = json.dumps({"Image": "busybox", "HostConfig": {"Capabilities": ["CAP_CHOWN"]}}).encode()
    answer = client.api.request(
        "POST", f"{client.api.base_url}/v1.40/containers/create", data=body, headers=JSON, timeout=10
    )
    assert answer.status_code == 400
    assert answer.json()["message"].startswith("the HostConfig.Capabilities field is not supported by this daemon")


def test_ports_are_those_of_a_running_container_s_networks(
    client: docker.DockerClient, network: Callable[..., Any]
) -> None:
    network("ported")
    ports = {"80/tcp": ("127.0.0.1", None)}
    container = client.containers.create("busybox", "sleep 60", network="ported", ports=ports)

    def listed(**filters: str) -> list[dict[str, Any]]:
        return client.api.containers(all=True, filters={"id": container.id, **filters})

    assert listed()[0]["Ports"] == []
    assert not listed(expose="80")
    container.start()
    (port,) = listed()[0]["Ports"]
    assert port["PrivatePort"] == 80
    assert listed(publish=str(port["PublicPort"]))
    assert listed(expose="79-80")
    assert not listed(publish="80")
    assert not listed(expose=str(port["PublicPort"]))
    assert listed(expose="80", publish="1"), "either will do"
    container.remove(force=True)


@pytest.mark.parametrize(
    ("options", "sentence", "exit_code"),
    [
        ({"command": "nosuch"}, 'error during container init: exec: "nosuch": executable file not found in $PATH', 127),
        ({"command": "/etc"}, 'exec: "/etc": is a directory: unknown: permission denied', 126),
        ({"volumes": ["/etc:/etc/passwd"]}, 'mounting "/etc" to rootfs at "/etc/passwd": not a directory', 127),
        ({"volumes": ["/etc/hostname:/etc"]}, "Are you trying to mount a directory onto a file (or vice-versa)?", 127),
        ({"sysctls": {"net.ipv4.nosuch": "1"}}, "no such file or directory", 127),
    ],
)
def test_a_start_that_the_request_makes_impossible_is_the_clients_error(
    client: docker.DockerClient, options: dict[str, Any], sentence: str, exit_code: int
) -> None:
    command = options.pop("command", "true")
    container = client.containers.create("busybox", command, network_mode="none", **options)
    status, told = asked(client, "POST", f"/containers/{container.id}/start", None)
    container.reload()
    assert (status, container.attrs["State"]["ExitCode"], container.attrs["State"]["Error"]) == (400, exit_code, told)
    assert sentence in told


def test_a_subpath_that_is_not_there_is_not_found(client: docker.DockerClient) -> None:
    mount = {"Type": "volume", "Source": "sub", "Target": "/x", "VolumeOptions": {"Subpath": "nothere"}}
    body = {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"Mounts": [mount], "NetworkMode": "none"}}
    made = client.api._post_json(client.api._url("/containers/create"), data=body).json()["Id"]
    status, told = asked(client, "POST", f"/containers/{made}/start", None)
    client.api.remove_container(made)
    client.volumes.get("sub").remove()
    assert (status, "cannot access path" in told, "nothere: no such file or directory" in told) == (404, True, True)


def test_labels_and_profiles_mean_nothing_without_the_kernels_part(client: docker.DockerClient) -> None:
    options = ["label=level:s0:c100,c200", "apparmor=docker-default"]
    client.containers.create("busybox", "true", network_mode="none", security_opt=options).remove()


SWARM_QUERIES = (
    ("POST", "/swarm/update", 400, "invalid swarm version '': strconv.ParseUint: parsing \"\": invalid syntax"),
    ("POST", "/nodes/x/update?version=a", 400, "invalid node version 'a': strconv.ParseUint: parsing \"a\": invalid"),
    ("POST", "/services/x/update", 400, "invalid service version ''"),
    ("POST", "/secrets/x/update", 400, "invalid secret version"),
    ("POST", "/configs/x/update", 400, "invalid config version"),
    ("GET", "/services?filters=bad", 400, "invalid filter"),
    ("GET", '/services?filters={"bogus":["x"]}', 400, "invalid filter 'bogus'"),
    ("GET", "/services/x/logs", 400, "must specify at least one of 'stdout' or 'stderr'"),
    ("POST", "/swarm/update?version=1", 503, "This node is not a swarm manager."),
    ("GET", "/services/x/logs?stdout=1", 503, "This node is not a swarm manager."),
    ("POST", "/swarm/unlock", 503, "This node is not a swarm manager."),
)


@pytest.mark.parametrize(("method", "path", "status", "sentence"), SWARM_QUERIES)
def test_a_wrong_query_is_refused_before_the_swarm_is_missed(
    client: docker.DockerClient, method: str, path: str, status: int, sentence: str
) -> None:
    code, told = asked(client, method, path, None)
    assert (code, sentence in told) == (status, True), told


def test_an_exec_is_forgotten_with_its_container(client: docker.DockerClient, run: Callable[..., Container]) -> None:
    container = run()
    made = client.api.exec_create(container.id, "true")["Id"]
    client.api.exec_start(made)
    container.remove(force=True)
    assert asked(client, "GET", f"/exec/{made}/json", None) == (404, f"No such exec instance: {made}")


def test_keys_that_are_none_are_refused_where_they_are_given(
    client: docker.DockerClient, run: Callable[..., Container]
) -> None:
    container = run()
    body = json.dumps({"Cmd": ["true"], "DetachKeys": "bogus"}).encode()
    path = f"/containers/{container.id}"
    assert asked(client, "POST", f"{path}/exec", body) == (500, "Invalid escape keys (bogus) provided")
    answer = client.api.request("POST", f"{client.api.base_url}/v1.52{path}/attach?detachKeys=bogus", timeout=10)
    assert (answer.status_code, answer.text) == (400, "Invalid detach keys (bogus) provided\r\n")


def test_a_file_is_no_directory(client: docker.DockerClient, run: Callable[..., Container]) -> None:
    path = f"/containers/{run().id}/archive?path=/etc/passwd/"
    assert asked(client, "GET", path, None) == (400, "lstat /etc/passwd/: not a directory")


def test_a_push_of_nothing_ends_in_its_own_stream(client: docker.DockerClient) -> None:
    status, *rest = client.api.push("nothing", stream=True, decode=True)
    assert "The push refers to repository" in status["status"]
    assert rest[0]["error"] == "An image does not exist locally with the tag: nothing"
