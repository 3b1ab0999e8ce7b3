"""Builds: the query of ``POST /build`` as a value, and of ``POST /build/prune``."""

from sampan.api.filters import Filters
from sampan.api.host_config import Ulimit
from sampan.api.images import AuthConfig
from sampan.api.wire import Wire, omitted_list, omitted_map, present_struct


class BuildOptions(Wire):
    """Everything that a classic build is asked for; the names follow the query's parameters.

    ``remote`` is empty when the context is the request's body, ``client-session`` when it comes over a session.
    ``remove`` and ``force_remove`` change nothing: no container of a step outlives it, failed or not.
    ``cpu_*`` and ``memory*`` limit the steps' containers. ``build_args`` maps to ``None`` for an argument
    that takes its value from the builder. ``version`` "1" is the classic builder, "2" BuildKit.
    """

    dockerfile: str = "Dockerfile"
    tags: list[str] = omitted_list()
    extra_hosts: list[str] = omitted_list()
    remote: str = ""
    quiet: bool = False
    no_cache: bool = False
    cache_from: list[str] = omitted_list()
    pull: bool = False
    remove: bool = True
    force_remove: bool = False
    memory: int = 0
    memory_swap: int = 0
    cpu_shares: int = 0
    cpuset_cpus: str = ""
    cpuset_mems: str = ""
    cpu_period: int = 0
    cpu_quota: int = 0
    cgroup_parent: str = ""
    build_args: dict[str, str | None] = omitted_map()
    shm_size: int = 0
    squash: bool = False
    labels: dict[str, str] = omitted_map()
    network_mode: str = ""
    platform: str = ""
    target: str = ""
    outputs: str = ""
    version: str = "1"
    ulimits: list[Ulimit] = omitted_list()
    security_opt: list[str] = omitted_list()
    session: str = ""
    build_id: str = ""
    auths: dict[str, AuthConfig] = omitted_map()


class BuildPruneOptions(Wire):
    """Query of ``POST /build/prune``; sizes in bytes, 0 is not given."""

    all: bool = False
    reserved_space: int = 0
    max_used_space: int = 0
    min_free_space: int = 0
    filters: Filters = present_struct(Filters)
