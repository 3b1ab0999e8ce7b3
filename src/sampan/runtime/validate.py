"""Whether a spec can be run here: every check that needs no kernel object, before anything is made.

Source: runtime-spec config.md and config-linux.md; the sentences follow runc's where clients know them.
"""

from collections.abc import Sequence
from pathlib import Path

from sampan.errors import InvalidParameter, Unsupported
from sampan.linux import rlimit
from sampan.linux.namespaces import FLAGS
from sampan.oci.runtime_spec import Linux, Mount, Namespace, Process, Spec
from sampan.runtime.mount_options import PROPAGATION

_IPC_SYSCTLS = {
    "kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax",
    "kernel.shmmni", "kernel.shm_rmid_forced",
}  # fmt: skip
_UTS_SYSCTLS = {"kernel.domainname", "kernel.hostname"}
_UNSUPPORTED = {
    "intel_rdt": "linux.intelRdt: this runtime does not control cache and memory bandwidth allocation",
    "memory_policy": "linux.memoryPolicy: this runtime does not set NUMA memory policies",
    "net_devices": "linux.netDevices: this runtime does not move network devices",
}


def check(spec: Spec, *, root_given: bool = False) -> None:
    """Raises InvalidParameter or Unsupported with a sentence that names the member at fault."""
    if spec.oci_version.split(".")[0] != "1":
        raise InvalidParameter(f'unsupported ociVersion "{spec.oci_version}": expected 1.x')
    if not root_given and (spec.root is None or not spec.root.path):
        raise InvalidParameter("root: a root file system must be given")
    if spec.process is not None:
        check_process(spec.process)
    for mount in spec.mounts:
        _check_mount(mount)
    _check_linux(spec, spec.linux or Linux())


def check_process(process: Process) -> None:
    """The checks of a process, of a container or an exec."""
    if not process.args:
        raise InvalidParameter("process.args must not be empty")
    if not process.cwd:
        raise InvalidParameter("Cwd property must not be empty")
    if not process.cwd.startswith("/"):
        raise InvalidParameter(f'Cwd must be an absolute path: "{process.cwd}"')
    seen = set()
    for limit in process.rlimits:
        if limit.type not in rlimit.NUMBERS:
            raise InvalidParameter(f"rlimit type {limit.type} is not valid")
        if limit.type in seen:
            raise InvalidParameter(f"rlimit type {limit.type} is given twice")
        seen.add(limit.type)
    if process.apparmor_profile and not Path("/sys/module/apparmor/parameters/enabled").exists():
        raise Unsupported(f'process.apparmorProfile "{process.apparmor_profile}": AppArmor is not enabled on this host')
    if process.selinux_label and not Path("/sys/fs/selinux/enforce").exists():
        raise Unsupported(f'process.selinuxLabel "{process.selinux_label}": SELinux is not enabled on this host')


def _check_mount(mount: Mount) -> None:
    if not mount.destination:
        raise InvalidParameter("mounts: a mount needs a destination")
    mapped = bool(mount.uid_mappings) != bool(mount.gid_mappings)
    if mapped:
        raise InvalidParameter(f"mount {mount.destination}: uidMappings and gidMappings must be given together")


def _check_linux(spec: Spec, linux: Linux) -> None:
    for member, sentence in _UNSUPPORTED.items():
        if getattr(linux, member) is not None:
            raise Unsupported(sentence)
    made = _check_namespaces(linux.namespaces)
    new_user = any(one.type == "user" and not one.path for one in linux.namespaces)
    if bool(linux.uid_mappings) != bool(linux.gid_mappings):
        raise InvalidParameter("linux.uidMappings and linux.gidMappings must be given together")
    if linux.uid_mappings and "user" not in made:
        raise InvalidParameter("User namespace mappings specified, but user namespace isn't enabled in the config")
    if new_user and not linux.uid_mappings:
        raise InvalidParameter("user namespaces enabled, but no uid mappings found")
    if linux.time_offsets and "time" not in made:
        raise InvalidParameter("time namespace offsets specified, but time namespace isn't enabled in the config")
    if spec.hostname and "uts" not in made:
        raise InvalidParameter("unable to set hostname without a private UTS namespace")
    if spec.domainname and "uts" not in made:
        raise InvalidParameter("unable to set domainname without a private UTS namespace")
    if "mount" not in made and (linux.masked_paths or linux.readonly_paths):
        raise InvalidParameter("unable to restrict sys entries without a private MNT namespace")
    if linux.rootfs_propagation and linux.rootfs_propagation not in PROPAGATION:
        raise InvalidParameter(f"rootfsPropagation={linux.rootfs_propagation} is not supported")
    if spec.domainname and linux.sysctl.get("kernel.domainname", spec.domainname) != spec.domainname:
        raise InvalidParameter('sysctl "kernel.domainname" conflicts with the OCI field "domainname"')
    for key in linux.sysctl:
        _check_sysctl(key, made, linux.namespaces)


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
    name = sysctl_path(key).replace("/", ".")
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
