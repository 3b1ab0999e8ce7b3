"""What clients of different versions see of the same object, and what their requests mean."""

from typing import Any

import pytest

from sampan.linux.cgroup import hierarchies


async def at(client: Any, version: str, path: str) -> Any:
    return await client.json("GET", f"/v{version}{path}")


async def test_container_lists_grow_with_the_version(client: Any) -> None:
    [newest] = await at(client, "1.52", "/containers/json")
    [older] = await at(client, "1.51", "/containers/json")
    assert newest["Health"] == {"Status": "none", "FailingStreak": 0}
    assert "Health" not in older
    assert newest["Labels"] == older["Labels"] == {}


async def test_inspections_repeat_the_bridge_until_1_51(client: Any) -> None:
    newest = await at(client, "1.52", "/containers/web/json")
    older = await at(client, "1.51", "/containers/web/json")
    assert set(newest["NetworkSettings"]) == {"SandboxID", "SandboxKey", "Ports", "Networks"}
    assert older["NetworkSettings"]["IPAddress"] == "172.17.0.2"
    assert older["NetworkSettings"]["HairpinMode"] is False
    assert older["Config"]["MacAddress"] == "02:00:00:00:00:01"
    assert "MacAddress" not in newest["Config"]
    assert older["Config"]["OnBuild"] is None
    assert "OnBuild" not in newest["Config"]


async def test_image_lists_grow_with_the_version(client: Any, engine: Any) -> None:
    [newest] = await at(client, "1.51", "/images/json?manifests=1&shared-size=1")
    [older] = await at(client, "1.42", "/images/json?manifests=1&shared-size=1")
    assert (newest["Containers"], newest["RepoTags"], "VirtualSize" in newest) == (2, [], False)
    assert (older["Containers"], older["RepoTags"], older["VirtualSize"]) == (-1, ["<none>:<none>"], 10)
    assert "Descriptor" in newest
    assert "Descriptor" not in older
    asked = [options for _, (options,) in engine.images.calls]
    assert [(options.manifests, options.shared_size) for options in asked] == [(True, True), (False, True)]


async def test_image_inspections_leave_out_what_is_empty_since_1_52(client: Any) -> None:
    newest = await at(client, "1.52", "/images/a/json")
    older = await at(client, "1.51", "/images/a/json")
    oldest = await at(client, "1.43", "/images/a/json")
    assert oldest["ContainerConfig"]["Volumes"] is None  # docker-compose 1.29 looks there before it recreates
    assert newest["Config"] == {"Cmd": ["sh"]}
    assert {"Parent", "Comment", "Author", "DockerVersion"} & set(newest) == set()
    assert older["Config"]["User"] == ""
    assert older["Comment"] == ""
    assert "Hostname" not in older["Config"]
    assert oldest["Config"]["Hostname"] == ""
    assert (oldest["VirtualSize"], oldest["Created"]) == (10, "0001-01-01T00:00:00Z")


async def test_information_changes_with_the_version(client: Any) -> None:
    newest = await at(client, "1.55", "/info")
    older = await at(client, "1.46", "/info")
    assert newest["FirewallBackend"] == {"Driver": "nftables"}
    assert "FirewallBackend" not in older
    assert older["RuncCommit"] == {"ID": "", "Expected": ""}
    assert older["BridgeNfIptables"] is False
    assert older["RegistryConfig"]["AllowNondistributableArtifactsCIDRs"] is None


async def test_networks_have_a_status_since_1_52(client: Any) -> None:
    assert "Status" in await at(client, "1.52", "/networks/n")
    assert "Status" not in await at(client, "1.51", "/networks/n")


async def test_disk_usage_has_lists_for_older_clients(client: Any, engine: Any) -> None:
    older = await at(client, "1.51", "/system/df")
    assert older == {"LayersSize": 10, "Images": older["Images"], "Volumes": []}
    assert older["Images"][0]["Id"] == "sha256:b"
    assert "VirtualSize" not in older["Images"][0]
    oldest = (await at(client, "1.43", "/system/df"))["Images"][0]
    assert oldest["VirtualSize"] == oldest["Size"]
    brief = await at(client, "1.52", "/system/df?type=image")
    assert brief["ImageUsage"] == {"TotalCount": 1, "TotalSize": 10, "Items": brief["Images"]}
    assert "Items" in (await at(client, "1.52", "/system/df?verbose=1"))["ImageUsage"]
    assert engine.system.calls[2] == ("disk_usage", (frozenset({"image"}),))
    status, _, _ = await client.call("GET", "/system/df?type=ship")
    assert status == 400


async def created(client: Any, engine: Any, version: str, body: dict[str, Any]) -> tuple[Any, list[str]]:
    """The request that the engine gets for ``body``, and the warnings of the answer."""
    answer = await client.json("POST", f"/v{version}/containers/create", {"Image": "i", **body})
    return engine.containers.calls[-1][1][0], answer["Warnings"]


async def refused(client: Any, version: str, body: dict[str, Any]) -> str:
    status, _, answer = await client.call("POST", f"/v{version}/containers/create", {"Image": "i", **body})
    assert status == 400
    return answer.decode()


async def test_defaults_were_others_once(client: Any, engine: Any) -> None:
    body = {"HostConfig": {"AutoRemove": True, "ConsoleSize": [5, 6], "Annotations": {"a": "b"}, "PidsLimit": -1}}
    oldest, _ = await created(client, engine, "1.24", body)
    newest, _ = await created(client, engine, "1.55", body)
    host = oldest.host_config
    assert (host.auto_remove, host.ipc_mode, host.console_size, host.annotations) == (False, "shareable", [0, 0], {})
    host = newest.host_config
    assert (host.auto_remove, host.ipc_mode, host.console_size, host.annotations) == (True, "", [5, 6], {"a": "b"})
    assert host.pids_limit is None


async def test_a_container_wide_mac_address_moves_to_its_network(client: Any, engine: Any) -> None:
    body = {"MacAddress": "02:00:00:00:00:01", "HostConfig": {"NetworkMode": "net"}}
    older, warnings = await created(client, engine, "1.43", body)
    assert older.networking_config.endpoints_config["net"].mac_address == "02:00:00:00:00:01"
    assert warnings == []
    newer, warnings = await created(client, engine, "1.44", body)
    assert newer.networking_config.endpoints_config["net"].mac_address == "02:00:00:00:00:01"
    assert warnings[0].startswith("The container-wide MacAddress field is now deprecated.")
    newest, warnings = await created(client, engine, "1.52", body)
    assert (newest.networking_config.endpoints_config, newest.mac_address, warnings) == ({}, "", [])
    assert "conflicting options" in await refused(client, "1.43", {**body, "HostConfig": {"NetworkMode": "host"}})


async def test_an_empty_list_of_bindings_is_any_port_and_newer_clients_are_warned(client: Any, engine: Any) -> None:
    body = {"HostConfig": {"PortBindings": {"80/tcp": []}}}
    older, warnings = await created(client, engine, "1.51", body)
    assert (len(older.host_config.port_bindings["80/tcp"]), warnings) == (1, [])
    for version in ("1.52", "1.55"):
        newer, warnings = await created(client, engine, version, body)
        assert len(newer.host_config.port_bindings["80/tcp"]) == 1
        assert "80/tcp. Such bindings will be discarded in a future version." in warnings[0]


@pytest.mark.parametrize(
    ("version", "mount", "sentence"),
    [
        ("1.43", {"Type": "bind", "BindOptions": {"ReadOnlyForceRecursive": True}}, "needs API v1.44 or newer"),
        ("1.44", {"Type": "volume", "VolumeOptions": {"Subpath": "a"}}, "needs API v1.45 or newer"),
        ("1.47", {"Type": "image"}, "needs API v1.48 or newer"),
        ("1.55", {"Type": "bind", "TmpfsOptions": {}}, "TmpfsOptions must not be specified on mount type"),
    ],
)
async def test_mounts_are_checked_against_the_version(
    client: Any, version: str, mount: dict[str, Any], sentence: str
) -> None:
    assert sentence in await refused(client, version, {"HostConfig": {"Mounts": [mount]}})


async def test_read_only_binds_were_not_recursive(client: Any, engine: Any) -> None:
    body = {"HostConfig": {"Mounts": [{"Type": "bind", "ReadOnly": True, "BindOptions": {}}]}}
    older, _ = await created(client, engine, "1.43", body)
    newer, _ = await created(client, engine, "1.44", body)
    assert older.host_config.mounts[0].bind_options.read_only_non_recursive is True
    assert newer.host_config.mounts[0].bind_options.read_only_non_recursive is False


async def test_many_networks_at_creation_came_with_1_44(client: Any, engine: Any) -> None:
    body = {"NetworkingConfig": {"EndpointsConfig": {"a": {}, "b": {"GwPriority": 3}}}}
    assert "multiple network endpoints: a, b" in await refused(client, "1.43", body)
    middle, _ = await created(client, engine, "1.47", body)
    assert middle.networking_config.endpoints_config["b"].gw_priority == 0


async def test_named_volumes_were_pruned_before_1_42(client: Any, engine: Any) -> None:
    await client.call("POST", "/v1.41/volumes/prune")
    await client.call("POST", "/v1.42/volumes/prune")
    assert [filters.get("all") for _, (filters,) in engine.volumes.calls] == [["true"], []]


@pytest.mark.parametrize(
    ("version", "query", "accept", "media_type"),
    [
        ("1.54", "", "", "application/vnd.docker.multiplexed-stream"),
        ("1.54", "", "*/*", "application/vnd.docker.multiplexed-stream"),
        ("1.54", "", "application/x-ndjson", "application/x-ndjson"),
        ("1.54", "", "application/json-seq;q=0.5, application/jsonl;q=0.1", "application/json-seq"),
        ("1.54", "&format=json", "", "application/x-ndjson"),
        ("1.54", "&format=json", "*/*", "application/jsonl"),
        ("1.54", "&format=json", "application/json-seq", "application/json-seq"),
        ("1.53", "&format=json", "application/x-ndjson", "application/vnd.docker.multiplexed-stream"),
        ("1.53", "&format=xml", "", "application/vnd.docker.multiplexed-stream"),
    ],
)
async def test_logs_may_be_a_stream_of_json(
    client: Any, engine: Any, version: str, query: str, accept: str, media_type: str
) -> None:
    path = f"/v{version}/containers/web/logs?stdout=1{query}"
    status, headers, _ = await client.call("GET", path, headers={"Accept": accept})
    assert (status, headers["Content-Type"]) == (200, media_type)
    asked = engine.containers.calls[-1][1][0].json_stream
    assert asked == ("" if "docker" in media_type else media_type)


async def test_logs_have_one_format_of_json(client: Any) -> None:
    status, _, answer = await client.call("GET", "/v1.54/containers/web/logs?stdout=1&format=xml")
    assert (status, answer) == (400, b'{"message":"unsupported log format"}\n')


async def test_parameters_of_eth0_moved_to_the_endpoint_until_1_47(client: Any, engine: Any) -> None:
    option = "com.docker.network.endpoint.sysctls"
    body = {
        "HostConfig": {"Sysctls": {"net.ipv4.conf.eth0.forwarding": "1", "net.ipv4.ip_forward": "0"}},
        "NetworkingConfig": {"EndpointsConfig": {"default": {"DriverOpts": {option: "net.ipv6.conf.IFNAME.mtu=9"}}}},
    }
    older, warnings = await created(client, engine, "1.47", body)
    moved = "net.ipv4.conf.IFNAME.forwarding=1"
    assert older.host_config.sysctls == {"net.ipv4.ip_forward": "0"}
    endpoint = older.networking_config.endpoints_config["bridge"]
    assert endpoint.driver_opts == {option: f"{moved},net.ipv6.conf.IFNAME.mtu=9"}
    assert warnings == [f'Migrated sysctl "net.ipv4.conf.eth0.forwarding" to DriverOpts{{"{option}":"{moved}"}}.']


@pytest.mark.parametrize(
    ("version", "interface", "sentence"),
    [
        ("1.48", "eth0", "must be supplied using driver option 'com.docker.network.endpoint.sysctls'"),
        ("1.47", "eth1", "unable to determine network endpoint for sysctl net.ipv4.conf.eth1.forwarding"),
    ],
)
async def test_parameters_of_other_interfaces_do_not_move(
    client: Any, version: str, interface: str, sentence: str
) -> None:
    body = {"Image": "i", "HostConfig": {"Sysctls": {f"net.ipv4.conf.{interface}.forwarding": "1"}}}
    status, _, answer = await client.call("POST", f"/v{version}/containers/create", body)
    assert status == 500
    assert sentence in answer.decode()


async def test_the_cgroup_namespace_was_the_hosts_until_1_40(client: Any, engine: Any) -> None:
    older, _ = await created(client, engine, "1.40", {})
    newer, _ = await created(client, engine, "1.41", {})
    assert older.host_config.cgroupns_mode == ("host" if hierarchies().version == 1 else "")
    assert newer.host_config.cgroupns_mode == ""


@pytest.mark.parametrize(
    ("method", "path", "version", "named"),
    [
        ("POST", "/containers/prune", "1.24", "POST /containers/prune requires minimum API version 1.25"),
        ("GET", "/secrets/a", "1.24", "GET /secrets/{id} requires minimum API version 1.25"),
        ("GET", "/configs", "1.29", "GET /configs requires minimum API version 1.30"),
        ("GET", "/distribution/a/b/json", "1.29", "GET /distribution/{name:.*}/json requires minimum API version 1.30"),
        ("PUT", "/volumes/v", "1.41", "PUT /volumes/{name:.*} requires minimum API version 1.42"),
        ("GET", "/images/a/attestations", "1.54", "/images/{name:.*}/attestations requires minimum API version 1.55"),
    ],
)
async def test_an_operation_is_refused_to_clients_that_are_older_than_it(
    client: Any, method: str, path: str, version: str, named: str
) -> None:
    status, _, answer = await client.call(method, f"/v{version}{path}")
    assert (status, named in answer.decode()) == (400, True), answer
    major, minor = version.split(".")
    _, _, answer = await client.call(method, f"/v{major}.{int(minor) + 1}{path}")
    assert b"requires minimum" not in answer
