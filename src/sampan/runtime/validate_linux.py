"""The checks of ``linux``: namespaces, id maps, devices, limits, sysctls, paths; part of ``validate.check``.

Source: runtime-spec config-linux.md; the sentences follow runc's where clients know them.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from sampan.errors import InvalidParameter, Unsupported
from sampan.linux.namespaces import FLAGS
from sampan.oci.runtime_spec import Device, IDMapping, Linux, Namespace, Resources, Spec
from sampan.runtime.mount_options import PROPAGATION

HIGHEST_ID = (1 << 32) - 2
"""The last number a user or group can have: the one after it stands for none."""

_LONGEST_LINK = 15
_CLOCKS = {"monotonic", "boottime"}
_DEVICE_TYPES = {"c", "u", "b", "p"}
_IPC_SYSCTLS = {
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
    "kernel.shmmni", "kernel.shm_rmid_forced",
}  # fmt: skip
_UTS_SYSCTLS = {"kernel.domainname", "kernel.hostname"}
_UNSUPPORTED = {
    "intel_rdt": "linux.intelRdt: this runtime does not control cache and memory bandwidth allocation",
}


def check_linux(spec: Spec, linux: Linux) -> None:
    """Raises InvalidParameter or Unsupported with a sentence that names the member at fault."""
    for member, sentence in _UNSUPPORTED.items():
        if getattr(linux, member) is not None:
            raise Unsupported(sentence)
    made = _check_namespaces(linux.namespaces)
    for contradicts, sentence in _contradictions(spec, linux, made):
        if contradicts:
            raise InvalidParameter(sentence)
    for found in _beyond([*linux.uid_mappings, *linux.gid_mappings]):
        raise InvalidParameter(f"id mapping {found.container_id} {found.host_id} {found.size}: ids have 32 bits")
    for name in (*linux.net_devices, *(one.name for one in linux.net_devices.values() if one.name)):
        if not 0 < len(name) <= _LONGEST_LINK or name in {".", ".."} or set(name) & set("/: "):
            raise InvalidParameter(f'linux.netDevices: invalid network device name "{name}"')
    for clock in set(linux.time_offsets) - _CLOCKS:
        raise InvalidParameter(f'linux.timeOffsets: clock "{clock}" is not monotonic or boottime')
    if linux.mount_label and not Path("/sys/fs/selinux/enforce").exists():
        raise Unsupported(f'linux.mountLabel "{linux.mount_label}": SELinux is not enabled on this host')
    for key in linux.sysctl:
        _check_sysctl(key, made, linux.namespaces)
    _check_paths(linux)
    for device in linux.devices:
        _check_device(device)
    _check_resources(linux.resources or Resources())


def _contradictions(spec: Spec, linux: Linux, made: set[str]) -> tuple[tuple[bool, str], ...]:
    """What must not be said together: whether it is, and the sentence about it."""
    new_user = any(one.type == "user" and not one.path for one in linux.namespaces)
    domain = linux.sysctl.get("kernel.domainname", spec.domainname)
    propagation = linux.rootfs_propagation
    return (
        (
            bool(linux.uid_mappings) != bool(linux.gid_mappings),
            "linux.uidMappings and linux.gidMappings must be given together",
        ),
        (
            bool(linux.uid_mappings) and "user" not in made,
            "User namespace mappings specified, but user namespace isn't enabled in the config",
        ),
        (new_user and not linux.uid_mappings, "user namespaces enabled, but no uid mappings found"),
        (
            bool(linux.time_offsets) and "time" not in made,
            "time namespace offsets specified, but time namespace isn't enabled in the config",
        ),
        (bool(linux.net_devices) and "network" not in made, "unable to move network devices without a NET namespace"),
        (bool(spec.hostname) and "uts" not in made, "unable to set hostname without a private UTS namespace"),
        (bool(spec.domainname) and "uts" not in made, "unable to set domainname without a private UTS namespace"),
        (
            "mount" not in made and bool(linux.masked_paths or linux.readonly_paths),
            "unable to restrict sys entries without a private MNT namespace",
        ),
        (bool(propagation) and propagation not in PROPAGATION, f"rootfsPropagation={propagation} is not supported"),
        (
            bool(spec.domainname) and domain != spec.domainname,
            'sysctl "kernel.domainname" conflicts with the OCI field "domainname"',
        ),
    )


def _check_paths(linux: Linux) -> None:
    for member, paths in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
        for path in paths:
            if not path.startswith("/"):
                raise InvalidParameter(f'linux.{member}: "{path}" is not an absolute path')


def _check_device(device: Device) -> None:
    if not device.path.startswith("/"):
        raise InvalidParameter(f'linux.devices: path "{device.path}" is not an absolute path')
    if device.type not in _DEVICE_TYPES:
        raise InvalidParameter(f'device {device.path}: type "{device.type}" is not one of c, u, b, p')
    if device.type != "p" and (device.major is None or device.minor is None):
        raise InvalidParameter(f"device {device.path}: major and minor must be given")


def _check_resources(resources: Resources) -> None:
    for rule in resources.devices:
        if rule.type not in {"", "a", "b", "c"}:
            raise InvalidParameter(f'linux.resources.devices: type "{rule.type}" is not one of a, b, c')
        if rule.access and not set(rule.access) & set("rwm"):  # other letters mean nothing, as with runc
            raise InvalidParameter(f'linux.resources.devices: access "{rule.access}" is not of the letters r, w, m')
    for weight in resources.block_io.weight_device if resources.block_io else ():
        if weight.weight is None and weight.leaf_weight is None:
            raise InvalidParameter(
                f"linux.resources.blockIO.weightDevice {weight.major}:{weight.minor}: no weight is given"
            )
    for name, limit in resources.rdma.items():
        if limit.hca_handles is None and limit.hca_objects is None:
            raise InvalidParameter(f"linux.resources.rdma.{name}: hcaHandles or hcaObjects must be given")


def _beyond(mappings: Sequence[IDMapping]) -> Iterator[IDMapping]:
    """The mappings that reach outside the numbers there are, or map nothing."""
    for one in mappings:
        first, last = min(one.container_id, one.host_id), max(one.container_id, one.host_id) + one.size - 1
        if first < 0 or one.size < 1 or last > HIGHEST_ID:
            yield one


def _check_namespaces(namespaces: Sequence[Namespace]) -> set[str]:
    seen: set[str] = set()
    for one in namespaces:
        if one.type not in FLAGS:
            raise InvalidParameter(f'namespace "{one.type}" does not exist')
        if one.type in seen:
            raise InvalidParameter(f'malformed spec file: duplicated ns "{one.type}"')
        if one.path and not one.path.startswith("/"):
            raise InvalidParameter(f'namespace {one.type}: path "{one.path}" is not absolute')
        seen.add(one.type)
    return seen


def _check_sysctl(key: str, made: set[str], namespaces: Sequence[Namespace]) -> None:
    """A sysctl must belong to a namespace the container does not share with the host."""
    path = sysctl_path(key)
    if ".." in path.split("/"):
        raise InvalidParameter(f'sysctl "{key}" is not the name of a kernel parameter')
    name = path.replace("/", ".")
    if name in _IPC_SYSCTLS or name.startswith("fs.mqueue."):
        if "ipc" not in made:
            raise InvalidParameter(f'sysctl "{key}" is not allowed in the hosts ipc namespace')
    elif name.startswith("net."):
        network = next((one for one in namespaces if one.type == "network"), None)
        if network is None or network.path in ("/proc/self/ns/net", "/proc/1/ns/net"):
            raise InvalidParameter(f'sysctl "{key}" not allowed in host network namespace')
    elif name in _UTS_SYSCTLS:
        if "uts" not in made:
            raise InvalidParameter(f'sysctl "{key}" is not allowed in the hosts uts namespace')
        if name == "kernel.hostname":
            raise InvalidParameter(f'sysctl "{key}" conflicts with the OCI field "hostname"')
    elif not name.startswith("user."):
        raise InvalidParameter(f'sysctl "{key}" is not in a separate kernel namespace')


def sysctl_path(key: str) -> str:
    """``net.ipv4.ip_forward`` → ``net/ipv4/ip_forward``; the separator that comes first is the separator."""
    dot, slash = key.find("."), key.find("/")
    if slash < 0 or 0 <= dot < slash:
        return key.translate(str.maketrans("./", "/."))
    return key
