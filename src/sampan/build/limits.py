"""What steps may use, read from a frontend's attributes; the classic builder has them in its query.

memory, memswap        bytes                     cpushares, cpuperiod, cpuquota    shares, microseconds
cpusetcpus, cpusetmems lists such as ``0-2,4``   shm-size                          bytes
ulimit                 ``nofile=1024:2048,…``    cgroup-parent                     a path
"""

from collections.abc import Mapping

from sampan.api.host_config import Ulimit
from sampan.build.executor import Limits
from sampan.errors import InvalidParameter


def limits_of(attributes: Mapping[str, str]) -> Limits:
    """The limits among a frontend's ``attributes``. Raises InvalidParameter."""
    return Limits(
        memory=_number(attributes, "memory"),
        memory_swap=_number(attributes, "memswap"),
        cpu_shares=_number(attributes, "cpushares"),
        cpu_period=_number(attributes, "cpuperiod"),
        cpu_quota=_number(attributes, "cpuquota"),
        cpuset_cpus=attributes.get("cpusetcpus", ""),
        cpuset_mems=attributes.get("cpusetmems", ""),
        shm_size=_number(attributes, "shm-size"),
        ulimits=tuple(_ulimit(text) for text in attributes.get("ulimit", "").split(",") if text),
        cgroup_parent=attributes.get("cgroup-parent", ""),
    )


def _number(attributes: Mapping[str, str], name: str) -> int:
    text = attributes.get(name) or "0"
    try:
        return int(text)
    except ValueError:
        raise InvalidParameter(f"invalid value for {name}: {text}") from None


def _ulimit(text: str) -> Ulimit:
    name, _, values = text.partition("=")
    soft, colon, hard = values.partition(":")
    try:
        return Ulimit(name=name, soft=int(soft), hard=int(hard if colon else soft))
    except ValueError:
        raise InvalidParameter(f"invalid ulimit argument: {text}") from None
