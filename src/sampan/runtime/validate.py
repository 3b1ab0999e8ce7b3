"""Whether a spec can be run here: every check that needs no kernel object, before anything is made.

Source: runtime-spec config.md; the sentences follow runc's where clients know them.
"""

import re
from pathlib import Path

import msgspec

from sampan.errors import InvalidParameter, Unsupported
from sampan.linux import rlimit
from sampan.oci.runtime_spec import Hooks, Linux, Mount, Process, Spec, User
from sampan.runtime.compile_process import cpu_mask
from sampan.runtime.mount_options import parse
from sampan.runtime.validate_linux import HIGHEST_ID, check_linux

_VERSION = re.compile(r"\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_HIGHEST_UMASK = 0o777


def check(spec: Spec, *, root_given: bool = False) -> None:
    """Raises InvalidParameter or Unsupported with a sentence that names the member at fault."""
    if not _VERSION.fullmatch(spec.oci_version):
        raise InvalidParameter(f'ociVersion "{spec.oci_version}" is not a semantic version (as 1.2.0)')
    if spec.oci_version.split(".")[0] != "1":
        raise InvalidParameter(f'unsupported ociVersion "{spec.oci_version}": expected 1.x')
    if "" in spec.annotations:
        raise InvalidParameter("annotations: the name of an annotation must not be empty")
    if not root_given and (spec.root is None or not spec.root.path):
        raise InvalidParameter("root: a root file system must be given")
    if spec.process is not None:
        check_process(spec.process)
    for mount in spec.mounts:
        _check_mount(mount)
    _check_hooks(spec.hooks or Hooks())
    check_linux(spec, spec.linux or Linux())


def check_process(process: Process) -> None:
    """The checks of a process, of a container or an exec."""
    if not process.args:
        raise InvalidParameter("process.args must not be empty")
    if not process.cwd:
        raise InvalidParameter("Cwd property must not be empty")
    if not process.cwd.startswith("/"):
        raise InvalidParameter(f'Cwd must be an absolute path: "{process.cwd}"')
    _check_user(process.user)
    seen = set()
    for limit in process.rlimits:
        if limit.type not in rlimit.NUMBERS:
            raise InvalidParameter(f"rlimit type {limit.type} is not valid")
        if limit.type in seen:
            raise InvalidParameter(f"rlimit type {limit.type} is given twice")
        seen.add(limit.type)
    for cpus in (
        (process.exec_cpu_affinity.initial, process.exec_cpu_affinity.final) if process.exec_cpu_affinity else ()
    ):
        cpu_mask(cpus)
    if process.apparmor_profile and not Path("/sys/module/apparmor/parameters/enabled").exists():
        raise Unsupported(f'process.apparmorProfile "{process.apparmor_profile}": AppArmor is not enabled on this host')
    if process.selinux_label and not Path("/sys/fs/selinux/enforce").exists():
        raise Unsupported(f'process.selinuxLabel "{process.selinux_label}": SELinux is not enabled on this host')


def _check_user(user: User) -> None:
    numbers = [("uid", user.uid), ("gid", user.gid), *(("additionalGids", gid) for gid in user.additional_gids)]
    for member, number in numbers:
        if not 0 <= number <= HIGHEST_ID:
            raise InvalidParameter(f"process.user.{member} {number} is not between 0 and {HIGHEST_ID}")
    if user.umask is not None and not 0 <= user.umask <= _HIGHEST_UMASK:
        raise InvalidParameter(f"process.user.umask {user.umask} is not between 0 and {_HIGHEST_UMASK}")


def _check_hooks(hooks: Hooks) -> None:
    for name, given in msgspec.structs.asdict(hooks).items():
        for hook in given:
            if not hook.path.startswith("/"):
                raise InvalidParameter(f'hooks.{name}: path "{hook.path}" is not absolute')
            if hook.timeout is not None and hook.timeout <= 0:
                raise InvalidParameter(f"hooks.{name}: timeout {hook.timeout} of {hook.path} is not greater than zero")


def _check_mount(mount: Mount) -> None:
    if not mount.destination:
        raise InvalidParameter("mounts: a mount needs a destination")
    if not mount.type and not {"bind", "rbind"} & set(mount.options):
        raise InvalidParameter(f"mount {mount.destination}: a type must be given, or the option bind or rbind")
    mapped = bool(mount.uid_mappings) != bool(mount.gid_mappings)
    if mapped:
        raise InvalidParameter(f"mount {mount.destination}: uidMappings and gidMappings must be given together")
    if mount.type == "bind" or {"bind", "rbind"} & set(mount.options):
        if data := parse(mount.options).data:
            raise InvalidParameter(
                f"mount {mount.destination}: bind mounts cannot have any filesystem-specific options applied: {data[0]}"
            )
    elif mount.uid_mappings or {"idmap", "ridmap"} & set(mount.options):
        raise InvalidParameter(f"mount {mount.destination}: id-mapped mounts are only supported for bind-mounts")
