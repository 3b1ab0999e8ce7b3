"""``userns-remap``: which users of the host the users of containers are.

    setting   = "default" | user | user:group        each a name or a number; the group defaults to the user's name
    subuid    = user ":" first ":" count             one range a line; the user a name or a uid; subgid(5) alike

A user's ranges, lowest first, become the container's IDs from 0 on. ``default`` is the user ``dockremap``, made with
ranges of its own where there is none. Layers and volumes need no conversion: their owners on disk are always the
container's, and are shown to it through these maps.

Source: dockerd(8) "--userns-remap", subuid(5), useradd(8); sentences are moby's (daemon/daemon_unix.go).
"""

import grp
import logging
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

from sampan.api.host_config import HostConfig
from sampan.errors import EngineError, InvalidParameter
from sampan.linux import userns
from sampan.linux.idmap import IdMap, Range, text
from sampan.linux.userns import Mapped

log = logging.getLogger("sampan.engine")

DEFAULT, DEFAULT_USER = "default", "dockremap"
RANGES = {"uid": Path("/etc/subuid"), "gid": Path("/etc/subgid")}
FIRST_ID, COUNT = 100_000, 65_536
"""Where ranges made here begin at the earliest, and their size, as useradd(8) has them."""


def open_remap(setting: str) -> Mapped | None:
    """The daemon's maps and a user namespace that carries them, the caller's to close; None for no setting and root.

    Raises InvalidParameter for a user or group that is not there or has no ranges, EngineError without namespaces.
    """
    if not setting:
        return None
    user = user_of(setting)
    if user.pw_name == "root":
        log.warning("User namespaces: root cannot be remapped with itself; user namespaces are OFF")
        return None
    maps = IdMap(ranges_of(user, "uid"), ranges_of(user, "gid"))
    try:
        return Mapped(maps, userns.make(text(maps.uids), text(maps.gids)))
    except OSError as error:
        raise EngineError(f"userns-remap: {error}") from error


def user_of(setting: str) -> pwd.struct_passwd:
    """The user whose ranges are meant; raises InvalidParameter."""
    name, *group = setting.split(":")
    if len(group) > 1:
        raise InvalidParameter(f'Invalid user/group specification in --userns-remap: "{setting}"')
    if name == DEFAULT:
        make_default_user()
        name = DEFAULT_USER
    try:
        user = pwd.getpwuid(int(name)) if name.isdecimal() else pwd.getpwnam(name)
    except KeyError:
        what = (
            f"Uid {name} has no entry in /etc/passwd" if name.isdecimal() else f'Error during uid lookup for "{name}"'
        )
        raise InvalidParameter(f"{what}: no such user") from None
    check_group(group[0] if group else name)
    return user


def check_group(name: str) -> None:
    """Raises InvalidParameter where there is no such group."""
    try:
        grp.getgrgid(int(name)) if name.isdecimal() else grp.getgrnam(name)
    except KeyError:
        what = f"Gid {name} has no entry in /etc/group" if name.isdecimal() else f'Error during gid lookup for "{name}"'
        raise InvalidParameter(f"{what}: no such group") from None


def ranges_of(user: pwd.struct_passwd, kind: str) -> tuple[Range, ...]:
    """The user's ranges one after the other, mapped from 0 on; raises InvalidParameter where there are none."""
    found = sorted((first, count) for who, first, count in read(kind) if who in (user.pw_name, str(user.pw_uid)))
    if not found:
        raise InvalidParameter(f'Can\'t create ID mappings: no sub{kind} ranges found for user "{user.pw_name}"')
    ranges: list[Range] = []
    inside = 0
    for first, count in found:
        ranges.append((inside, first, count))
        inside += count
    return tuple(ranges)


def read(kind: str) -> Iterator[tuple[str, int, int]]:
    """User, first ID and count of each line of /etc/subuid or /etc/subgid; what is malformed is skipped."""
    try:
        lines = RANGES[kind].read_text().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        fields = line.split(":")
        if len(fields) == 3 and fields[1].isdecimal() and fields[2].isdecimal():
            yield fields[0], int(fields[1]), int(fields[2])


def make_default_user() -> None:
    """The user, group and ranges of ``default``, where they are missing; raises EngineError with useradd's words."""
    try:
        pwd.getpwnam(DEFAULT_USER)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/bin/false", DEFAULT_USER]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise EngineError(f'Error during "{DEFAULT_USER}" user creation: {done.stderr.strip()}') from None
    for kind, path in RANGES.items():
        taken = list(read(kind))
        if all(user != DEFAULT_USER for user, _, _ in taken):
            first = max([FIRST_ID, *(start + count for _, start, count in taken)])
            with path.open("a") as file:
                file.write(f"{DEFAULT_USER}:{first}:{COUNT}\n")
                os.fsync(file.fileno())


def check_remapped(host_config: HostConfig) -> None:
    """Raises InvalidParameter for what only the host's root may have."""
    if host_config.privileged:
        raise InvalidParameter(
            "privileged mode is incompatible with user namespaces.  "
            "You must run the container in the host namespace when running privileged mode"
        )
    if host_config.network_mode == "host":
        raise InvalidParameter("cannot share the host's network namespace when user namespaces are enabled")
    if host_config.pid_mode == "host":
        raise InvalidParameter("cannot share the host PID namespace when user namespaces are enabled")
