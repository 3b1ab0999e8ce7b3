"""A runtime started by a user who is not root: what it can do is what a user namespace of that user's gives.

One id, the user's own, it maps itself; ranges of /etc/subuid and /etc/subgid are mapped by newuidmap and newgidmap. A
cgroup is made where the user may make one; where not, a container without limits and without a path goes without.

Source: user_namespaces(7), newuidmap(1).
"""

import os
from collections.abc import Sequence
from pathlib import Path

from sampan.errors import EngineError, InvalidParameter
from sampan.oci.runtime_spec import IDMapping, Linux, Resources, Spec
from sampan.runtime.cgroups import cgroup_of, open_cgroup


def check(spec: Spec) -> None:
    """Raises InvalidParameter for a spec that no user but root can run."""
    linux = spec.linux or Linux()
    if os.geteuid() == 0:
        return
    if not any(one.type == "user" for one in linux.namespaces):
        raise InvalidParameter(
            "rootless container requires user namespaces: "
            'add a namespace of type "user" with mappings to linux (as `spec --rootless` does), or run as root'
        )
    if linux.net_devices:
        raise InvalidParameter("linux.netDevices: network devices are not supported for rootless containers")


def goes_without_cgroup(spec: Spec, container_id: str) -> bool:
    """Whether the user may make no cgroup and the spec asks for none."""
    linux = spec.linux or Linux()
    if os.geteuid() == 0 or linux.cgroups_path or _limits(linux.resources):
        return False
    directories = open_cgroup(cgroup_of(spec, container_id)).directories()
    return not all(os.access(Path(directory).parent, os.W_OK) for directory in directories)


def _limits(resources: Resources | None) -> bool:
    """Whether anything is asked for but a list of devices, which a user namespace confines anyway."""
    return resources is not None and resources != Resources(devices=resources.devices)


def needs_help(spec: Spec) -> bool:
    """Whether the mappings are more than this user may write."""
    linux = spec.linux or Linux()
    return os.geteuid() != 0 and not (
        _is_own(linux.uid_mappings, os.geteuid()) and _is_own(linux.gid_mappings, os.getegid())
    )


def _is_own(mappings: Sequence[IDMapping], own: int) -> bool:
    return len(mappings) == 1 and (mappings[0].host_id, mappings[0].size) == (own, 1)


def map_ids(spec: Spec, pid: int) -> None:
    """Let newuidmap and newgidmap write the mappings of ``pid``; raises EngineError with what they say."""
    import subprocess  # only here

    linux = spec.linux or Linux()
    for program, mappings in (("newuidmap", linux.uid_mappings), ("newgidmap", linux.gid_mappings)):
        numbers = [str(n) for one in mappings for n in (one.container_id, one.host_id, one.size)]
        try:
            done = subprocess.run([program, str(pid), *numbers], capture_output=True, text=True, check=False)
        except OSError as error:
            raise EngineError(f"{program}, which maps ids for a user who is not root: {error.strerror}") from error
        if done.returncode:
            raise EngineError(f"{program}: {done.stderr.strip()} (see /etc/subuid and /etc/subgid)")
