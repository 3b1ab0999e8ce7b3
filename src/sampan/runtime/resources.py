"""A cgroup write as a value, what both versions share of translating resources, and the writer's errors.

Resources ── resources1.settings / resources2.settings ──> Settings ── write ──> control files
"""

import errno
from collections.abc import Iterator, Mapping, Sequence

import msgspec

from sampan.errors import EngineError, InvalidParameter
from sampan.linux.cgroup import Cgroup
from sampan.oci.runtime_spec import BlockIO, Rdma

REFUSED = {errno.EINVAL, errno.ERANGE, errno.EOVERFLOW, errno.ENODEV, errno.EBUSY, errno.ENXIO, errno.ENOSPC}
"""Errors that mean the value is wrong, not the system."""


class Setting(msgspec.Struct, frozen=True):
    """One write. ``fallback`` is tried where ``file`` does not exist, with ``fallback_value`` if it differs.

    ``alternative`` is a second write that belongs to this one: it comes after it, or before it where the
    kernel refuses that order (two limits that bound each other, raised or lowered).
    """

    file: str
    value: str
    fallback: str = ""
    fallback_value: str = ""
    alternative: "Setting | None" = None


def each(*pairs: tuple[str, int | str | None]) -> Iterator[Setting]:
    """Settings of the pairs that have a value."""
    return (Setting(file, str(value)) for file, value in pairs if value is not None)


def tasks_limit(limit: int) -> str:
    """``pids.max``; 0 becomes 1, which in effect is the same and which systemd knows too."""
    return "max" if limit < 0 else str(max(limit, 1))


def throttles(block: BlockIO) -> Iterator[tuple[str, str, int]]:
    """All throttles as (rbps, wbps, riops or wiops; ``major:minor``; rate)."""
    for kind, devices in (
        ("rbps", block.throttle_read_bps_device),
        ("wbps", block.throttle_write_bps_device),
        ("riops", block.throttle_read_iops_device),
        ("wiops", block.throttle_write_iops_device),
    ):
        for device in devices:
            yield kind, f"{device.major}:{device.minor}", device.rate


def rdma_limits(limits: Mapping[str, Rdma]) -> Iterator[Setting]:
    """One write per RDMA device; the file is the same in both versions."""
    for device, limit in limits.items():
        parts = (("hca_handle", limit.hca_handles), ("hca_object", limit.hca_objects))
        yield Setting("rdma.max", " ".join([device, *(f"{key}={n}" for key, n in parts if n is not None)]))


def write(cgroup: Cgroup, setting: Setting) -> None:
    """Perform one setting.

    Raises InvalidParameter where the host lacks the controller or the file, or the kernel refuses the value;
    EngineError for any other failure. Each names the file, the value and the reason.
    """
    if setting.alternative is None:
        _write(cgroup, setting)
        return
    try:
        _write(cgroup, Setting(setting.file, setting.value))
    except InvalidParameter:
        _write(cgroup, setting.alternative)
        _write(cgroup, Setting(setting.file, setting.value))
    else:
        _write(cgroup, setting.alternative)


def write_each(cgroup: Cgroup, file: str, values: Sequence[str]) -> None:
    """Write several values to one file, one after the other. Errors as for ``write``."""
    controller = file.partition(".")[0]
    if controller not in {"cgroup", *cgroup.controllers}:
        raise InvalidParameter(f'cannot set {file} to "{values[0]}": this host has no cgroup controller "{controller}"')
    try:
        cgroup.write(file, *values)
    except FileNotFoundError:
        raise InvalidParameter(f'cannot set {file} to "{values[0]}": this kernel has no such control') from None
    except OSError as error:
        raise _refusal(cgroup, file, error) from error


def _write(cgroup: Cgroup, setting: Setting) -> None:
    file, value = setting.file, setting.value
    if setting.fallback and not cgroup.has(file) and cgroup.has(setting.fallback):
        file, value = setting.fallback, setting.fallback_value or value
    write_each(cgroup, file, (value,))


def _refusal(cgroup: Cgroup, file: str, error: OSError) -> EngineError:
    """The error the user reads: a memory limit below what is in use says how much that is."""
    if error.errno == errno.EBUSY and file in {"memory.limit_in_bytes", "memory.max"}:
        memory = cgroup.stats().memory
        return InvalidParameter(f"{error} (current usage: {memory.usage}, peak usage: {memory.max_usage})")
    return (InvalidParameter if error.errno in REFUSED else EngineError)(f"{error.strerror} ({error.filename})")
