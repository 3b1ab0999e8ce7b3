"""``HostConfig``'s limits as the runtime specification's resources. Zero and None mean "not asked for"."""

import os
import stat
from collections.abc import Sequence

from sampan.api.host_config import Resources, ThrottleDevice
from sampan.errors import InvalidParameter
from sampan.oci import runtime_spec as oci

PERIOD = 100_000
"""Microseconds of the period in which ``NanoCpus`` are given out."""


def resources_of(asked: Resources, devices: Sequence[oci.DeviceCgroup] = ()) -> oci.Resources:
    """The resources ``asked`` for, with the device rules."""
    pids = asked.pids_limit
    return oci.Resources(
        devices=devices,
        memory=memory_of(asked),
        cpu=cpu_of(asked),
        pids=None if pids is None else oci.Pids(limit=pids if pids > 0 else -1),
        block_io=block_io_of(asked),
    )


def memory_of(asked: Resources) -> oci.Memory | None:
    """Memory limits."""
    memory = oci.Memory(
        limit=asked.memory or None,
        reservation=asked.memory_reservation or None,
        swap=asked.memory_swap or None,
        swappiness=asked.memory_swappiness,
        disable_oom_killer=asked.oom_kill_disable or None,
    )
    return None if memory == oci.Memory() else memory


def cpu_of(asked: Resources) -> oci.CPU | None:
    """Processor limits."""
    period, quota = asked.cpu_period, asked.cpu_quota
    if asked.nano_cpus > 0:
        period, quota = PERIOD, asked.nano_cpus * PERIOD // 10**9
    cpu = oci.CPU(
        shares=asked.cpu_shares or None,
        quota=quota or None,
        period=period or None,
        realtime_runtime=asked.cpu_realtime_runtime or None,
        realtime_period=asked.cpu_realtime_period or None,
        cpus=asked.cpuset_cpus,
        mems=asked.cpuset_mems,
    )
    return None if cpu == oci.CPU() else cpu


def block_io_of(asked: Resources) -> oci.BlockIO | None:
    """Weights and rates of block devices."""
    weights = [
        oci.WeightDevice(*device_number(device.path), weight=device.weight)
        for device in asked.blkio_weight_device or ()
    ]
    block_io = oci.BlockIO(
        weight=asked.blkio_weight or None,
        weight_device=weights or (),
        throttle_read_bps_device=throttles(asked.blkio_device_read_bps),
        throttle_write_bps_device=throttles(asked.blkio_device_write_bps),
        throttle_read_iops_device=throttles(asked.blkio_device_read_iops),
        throttle_write_iops_device=throttles(asked.blkio_device_write_iops),
    )
    return None if block_io == oci.BlockIO() else block_io


def throttles(devices: list[ThrottleDevice] | None) -> Sequence[oci.ThrottleDevice]:
    """Rates by device number."""
    return tuple(oci.ThrottleDevice(*device_number(device.path), rate=device.rate) for device in devices or ())


def device_number(path: str) -> tuple[int, int]:
    """Major and minor of a block device; raises InvalidParameter."""
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        raise InvalidParameter(f"stat {path}: {os.strerror(error.errno or 0).lower()}") from None
    if not stat.S_ISBLK(status.st_mode):
        raise InvalidParameter(f"{path} is not a block device")
    return os.major(status.st_rdev), os.minor(status.st_rdev)
