"""A container's endpoints: which combinations are refused and in which words, and what the driver options of one do."""

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from docker.errors import APIError
from docker.models.containers import Container
from engine_daemon import IMAGE

Run = Callable[..., Container]
Shell = Callable[..., str]


def attached(container: Container) -> set[str]:
    container.reload()
    return set(container.attrs["NetworkSettings"]["Networks"])


def refused(status: int, said: str, act: Callable[[], object]) -> None:
    with pytest.raises(APIError) as caught:
        act()
    assert (caught.value.status_code, said in caught.value.explanation) == (status, True), caught.value.explanation


def test_private_and_host_containers_take_no_other_network(run: Run, client: Any, network: Any) -> None:
    web = network("web")
    hosted, bridged = run(network_mode="host"), run(network_mode="bridge")
    sharing, alone = run(network_mode=f"container:{bridged.name}"), run(network_mode="none")
    shared = "container sharing network namespace with another container or host cannot be connected to any other"
    refused(400, shared, lambda: web.connect(hosted))
    refused(400, shared, lambda: web.connect(sharing))
    refused(400, "with one of the networks in private (none) mode", lambda: web.connect(alone))
    none, host = client.networks.get("none"), client.networks.get("host")
    refused(400, "with one of the networks in private (none) mode", lambda: none.connect(bridged))
    refused(400, "container must be created in host network mode", lambda: host.connect(bridged))
    refused(400, "container was created in host network mode", lambda: host.disconnect(hosted))


def test_none_or_host_beside_another_network_is_refused_at_creation(client: Any, daemon: Any) -> None:
    done = daemon.cli("create", "--network", "none", "--network", "host", IMAGE, "true")
    assert (done.returncode, b"private (none) mode" in done.stderr) == (1, True), done.stderr
    assert client.containers.list(all=True) == []


def test_the_sandbox_key_is_a_path_of_the_network_namespace(run: Run) -> None:
    one = run()
    one.reload()
    settings, pid = one.attrs["NetworkSettings"], one.attrs["State"]["Pid"]
    assert Path(settings["SandboxKey"]).samefile(f"/proc/{pid}/ns/net")


def test_a_container_without_network_gets_one_once_it_left_none(
    run: Run, client: Any, shell: Shell, network: Any
) -> None:
    web, one = network("web"), run(network_mode="none")
    client.networks.get("none").disconnect(one)
    web.connect(one)
    assert attached(one) == {"web"}
    assert "eth0" in shell(one, "ip link")
    one.restart(timeout=0)
    assert attached(one) == {"web"}
    assert "eth0" in shell(one, "ip link")


def test_a_container_starts_with_the_networks_it_was_left_with(run: Run, network: Any) -> None:
    first, second = network("first"), network("second")
    one = run(network_mode=None, network="first")
    second.connect(one)
    first.disconnect(one)
    one.restart(timeout=0)
    assert attached(one) == {"second"}


def test_connecting_twice_and_disconnecting_what_is_not_there(run: Run, client: Any, network: Any) -> None:
    web, other = network("web"), network("other")
    one = run(name="one", network_mode=None, network="web")
    refused(403, "endpoint with name one already exists in network web", lambda: web.connect(one))
    refused(500, f"container {one.id} is not connected to network other", lambda: other.disconnect(one))
    one.stop(timeout=0)
    web.connect(one)
    refused(500, f"container {one.id} is not connected to the network other", lambda: other.disconnect(one))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ipv4_address": "10.1.2.3"}, "no configured subnet contains IP address 10.1.2.3"),
        ({"ipv4_address": "fd00::1"}, "invalid IPv4 address: fd00::1"),
        ({"link_local_ips": ["10.1.2.3"]}, "invalid link local IP address: 10.1.2.3"),
        ({"driver_opt": {"com.docker.network.endpoint.sysctls": "net.ipv4.x=1"}}, "unrecognised network interface"),
        ({"driver_opt": {"com.docker.network.endpoint.ifname": "a/b"}}, "invalid interface name"),
    ],
)
def test_settings_that_cannot_be_met_are_refused(run: Run, network: Any, settings: dict[str, Any], said: str) -> None:
    web, one = network("web"), run(network_mode="bridge")
    refused(400, said, lambda: web.connect(one, **settings))
    assert attached(one) == {"bridge"}


def test_the_default_bridge_takes_no_addresses_and_aliases(run: Run, client: Any, daemon: Any, network: Any) -> None:
    network("web")
    one, bridge = run(network_mode=None, network="web"), client.networks.get("bridge")
    address = f"{daemon.subnet}.77"
    refused(400, "user-specified IP address is supported", lambda: bridge.connect(one, ipv4_address=address))
    refused(400, "network-scoped aliases are only supported", lambda: bridge.connect(one, aliases=["x"]))


def test_an_interface_has_the_name_parameters_and_addresses_it_was_asked_for(
    run: Run, shell: Shell, network: Any
) -> None:
    web, one = network("web"), run(network_mode="bridge")
    options = {
        "com.docker.network.endpoint.ifname": "lan0",
        "com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.log_martians=1,net.ipv4.conf.ifname.tag=7",
    }
    web.connect(one, driver_opt=options, link_local_ips=["169.254.8.8"])
    assert "169.254.8.8/16" in shell(one, "ip addr show lan0")
    assert shell(one, "cd /proc/sys/net/ipv4/conf/lan0; cat log_martians tag").split() == ["1", "7"]


def test_a_parameter_that_the_kernel_lacks_leaves_no_endpoint(run: Run, shell: Shell, network: Any) -> None:
    web, one = network("web"), run(network_mode="bridge")
    options = {"com.docker.network.endpoint.sysctls": "net.ipv4.conf.IFNAME.nosuch=1"}
    refused(400, "failed to set sysctl of eth1", lambda: web.connect(one, driver_opt=options))
    assert attached(one) == {"bridge"}
    web.connect(one)
    assert "eth1" in shell(one, "ip link")


def test_a_created_container_keeps_its_network_when_it_is_connected_to_another(
    client: Any, run: Run, shell: Shell, network: Any
) -> None:
    web, data = network("web"), network("data")
    one = client.containers.create("busybox", "sleep 60", network_mode="web", stop_signal="SIGKILL")
    data.connect(one)
    assert set(attached(one)) == {"web", "data"}
    one.start()
    assert set(attached(one)) == {"web", "data"}
    one.stop()
    web.disconnect(one)
    data.disconnect(one)
    assert attached(one) == set()
    one.start()
    assert shell(one, "ls /sys/class/net").split() == ["lo"]


REFUSALS = (
    ("/networks/web/connect", {}, 400, 'invalid name or ID supplied: ""'),
    ("/networks/web/connect", {"Container": "nosuch"}, 404, "No such container: nosuch"),
    ("/networks/nosuch/connect", {"Container": "one"}, 404, "network nosuch not found"),
    (
        "/networks/none/connect",
        {"Container": "one"},
        400,
        "container cannot be connected to multiple networks with one of the networks in private (none) mode",
    ),
    ("/networks/web/disconnect", {"Container": "nosuch"}, 404, "No such container: nosuch"),
    ("/networks/web/disconnect", {"Container": "nosuch", "Force": True}, 404, "endpoint nosuch not found"),
    ("/networks/data/disconnect", {"Container": "one"}, 500, "is not connected to network data"),
)


@pytest.mark.parametrize(("path", "body", "status", "said"), REFUSALS)
def test_connections_are_refused_in_dockers_words(
    daemon: Any, run: Run, network: Any, path: str, body: dict[str, Any], status: int, said: str
) -> None:
    network("web")
    network("data")
    run(name="one", network_mode="web")
    assert post(daemon, path, body) == (status, said)


def post(daemon: Any, path: str, body: dict[str, Any]) -> tuple[int, str]:
    """Status and message of a request, the container's ID left out of it."""
    with closing(daemon.client()) as client:
        answer = client.api._post_json(client.api._url(path), data=body)
        return answer.status_code, re.sub(r"^container [0-9a-f]{64} ", "", answer.json()["message"])


def test_a_container_without_networking_has_a_loopback_alone(client: Any, shell: Shell) -> None:
    one = client.containers.create("busybox", "sleep 60", network_disabled=True, stop_signal="SIGKILL")
    one.start()
    assert attached(one) == set()
    assert shell(one, "ls /sys/class/net").split() == ["lo"]


@pytest.mark.parametrize(("subnet", "length"), [("0.0.0.0/26", 26), ("0.0.0.0/0", 24), ("0.0.0.0/30", 30)])
def test_only_the_size_of_a_subnet_may_be_asked_for(daemon: Any, client: Any, subnet: str, length: int) -> None:
    made = daemon.cli("network", "create", "--subnet", subnet, "sized")
    try:
        assert made.returncode == 0, made.stderr
        (pool,) = client.networks.get("sized").attrs["IPAM"]["Config"]
        assert pool["Subnet"].endswith(f"/{length}") or subnet.endswith("/0")
        assert not pool["Subnet"].startswith("0.")
    finally:
        daemon.cli("network", "rm", "sized")


def mac_addresses(client: Any, container: Container, version: str) -> tuple[str, str]:
    """What was asked for, and what the interface on the bridge has, as a client of ``version`` is told."""
    address = f"{client.api.base_url}/v{version}/containers/{container.id}/json"
    found = client.api.get(address).json()
    return found["Config"].get("MacAddress", ""), found["NetworkSettings"]["Networks"]["bridge"]["MacAddress"]


def test_a_mac_address_that_nobody_asked_for_lasts_for_one_run(run: Run, client: Any) -> None:
    one = run(network_mode="bridge")
    asked, first = mac_addresses(client, one, "1.51")
    assert (asked, first != "") == ("", True)
    one.stop(timeout=0)
    assert mac_addresses(client, one, "1.51") == ("", "")
    two = run(network_mode="bridge")
    one.start()
    assert len({mac_addresses(client, each, "1.51")[1] for each in (one, two)}) == 2


def test_a_mac_address_that_was_asked_for_stays(run: Run, client: Any) -> None:
    mine = "02:42:00:00:00:77"
    endpoint = client.api.create_endpoint_config(mac_address=mine)
    one = client.containers.run(
        IMAGE, "sleep 60", detach=True, network="bridge", networking_config={"bridge": endpoint}
    )
    assert mac_addresses(client, one, "1.51") == (mine, mine)
    assert mac_addresses(client, one, "1.52") == ("", mine)
    one.stop(timeout=0)
    assert mac_addresses(client, one, "1.51") == (mine, mine)


def test_networks_without_interfaces_show_their_containers_too(run: Run, client: Any) -> None:
    for name in ("host", "none"):
        one = run(name=f"on-{name}", network_mode=name)
        one.reload()
        shown = client.networks.get(name).attrs["Containers"][one.id]
        assert shown["Name"] == f"on-{name}"
        assert shown["EndpointID"] == one.attrs["NetworkSettings"]["Networks"][name]["EndpointID"] != ""
        one.remove(force=True)
        assert one.id not in client.networks.get(name).attrs["Containers"]


def test_a_containers_networks_may_change_all_at_once(run: Run, shell: Shell, client: Any, network: Any) -> None:
    networks = [network(f"net{number}", enable_ipv6=number % 2 == 0) for number in range(5)]
    one = run(network_mode="bridge", ports={"80/tcp": None})
    with ThreadPoolExecutor(5) as pool:
        for _ in range(3):
            list(pool.map(lambda each: each.connect(one), networks))
            assert attached(one) == {"bridge", *(each.name for each in networks)}
            assert shell(one, "ip link | grep -c ': eth'") == "6"
            addresses = {each["IPAddress"] for each in one.attrs["NetworkSettings"]["Networks"].values()}
            assert addresses <= set(shell(one, "cat /etc/hosts").split())
            list(pool.map(lambda each: each.disconnect(one), networks))
            assert attached(one) == {"bridge"}
            assert shell(one, "ip link | grep -c ': eth'") == "1"
        refusals = list(pool.map(lambda _: refusal(lambda: networks[0].connect(one)), range(4)))
    assert sorted(refusals)[1:] == [403, 403, 403]
    assert one.attrs["NetworkSettings"]["Ports"]["80/tcp"]


def refusal(work: Callable[[], object]) -> int:
    """The status with which ``work`` is refused, 0 if it is not."""
    try:
        work()
    except APIError as error:
        return int(error.status_code)
    return 0


def test_who_shares_a_restarted_containers_namespace_finds_the_new_one(run: Run, shell: Shell) -> None:
    one = run(name="one", network_mode="bridge")
    two = run(network_mode="container:one")
    one.restart(timeout=0)
    two.restart(timeout=0)
    assert shell(one, "readlink /proc/1/ns/net") == shell(two, "readlink /proc/1/ns/net")
    assert shell(one, "cat /etc/hosts") == shell(two, "cat /etc/hosts")
    one.stop(timeout=0)
    refused(409, "cannot join network namespace of a non running container", lambda: two.restart(timeout=0))
