"""A container as its networks see it, and the engine as the networks service sees it."""

from sampan.api.networks import EndpointSettings
from sampan.engine.catalog import Catalog
from sampan.engine.container import Container, Record
from sampan.engine.hosts_files import write_network_files
from sampan.network.member import Member, Sandbox, recorded


def member_of(record: Record, pid: int = 0) -> Member:
    """What the container asks of its networks."""
    config, host_config = record.config, record.host_config
    return Member(
        container_id=record.id,
        name=record.name,
        hostname=config.hostname,
        domainname=config.domainname,
        network_mode=host_config.network_mode,
        disconnected=config.network_disabled or not (record.endpoints or shares_network(record)),
        endpoints=record.endpoints,
        ports=host_config.port_bindings or {},
        exposed=tuple(config.exposed_ports),
        publish_all=host_config.publish_all_ports,
        links=host_config.links or (),
        dns=host_config.dns or (),
        dns_search=host_config.dns_search or (),
        dns_options=host_config.dns_options or (),
        extra_hosts=host_config.extra_hosts or (),
        mac_address=config.mac_address,
        environment=config.env or (),
        labels=config.labels or {},
        pid=pid,
    )


def shares_network(record: Record) -> str:
    """ID of the container whose network this one shares; "" when it has its own (or the host's, or none)."""
    kind, _, container_id = record.host_config.network_mode.partition(":")
    return container_id if kind == "container" else ""


class Directory:
    """What the networks service asks about containers (``network.networks.Directory``)."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog

    def member(self, reference: str) -> Member:
        """The container as it stands; raises NoSuchContainer."""
        container = self._catalog.find(reference)
        return member_of(container.record, container.pid)

    async def set_endpoint(self, container_id: str, network: str, settings: EndpointSettings | None) -> None:
        """Record that the container is (None: is no longer) connected to ``network``."""
        container = self._catalog.find(container_id)
        if settings is None:
            container.record.endpoints.pop(network, None)
        else:
            container.record.endpoints[network] = settings
        self._catalog.save(container)
        refresh_files(container)


def record_endpoints(container: Container, sandbox: Sandbox) -> None:
    """Keep what the endpoints of a run got, for the next run and for whoever looks when there is none."""
    asked = container.record.endpoints
    container.record.endpoints = {
        name: recorded(endpoint, asked.get(name, EndpointSettings())) for name, endpoint in sandbox.endpoints.items()
    }


def asked_mac_address(record: Record) -> str:
    """The MAC address that was asked for on the container's main network, "" if any would do."""
    mode = record.host_config.network_mode
    main = record.endpoints.get("bridge" if mode == "default" else mode)
    return main.mac_address if main else ""


def refresh_files(container: Container) -> None:
    """Write the files in /etc again for a container whose sandbox has changed."""
    if container.sandbox is not None and container.live:
        write_network_files(container, container.sandbox)
