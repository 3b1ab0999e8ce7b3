"""Processes of a container as ``ps`` shows them: the host's ``ps``, kept to the container's processes.

Where the host has no ``ps`` the columns of ``ps -ef`` are made from /proc.
"""

import asyncio
import pwd
import re
import shlex
from pathlib import Path

from sampan.api.containers import ContainerTop
from sampan.engine.container import Container
from sampan.errors import EngineError, InvalidParameter, NotRunning

DEFAULT = "-ef"
TITLES = ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
PATIENCE = 10.0


async def top(container: Container, ps_args: str) -> ContainerTop:
    """The table; raises NotRunning, InvalidParameter for arguments that lose the PID column."""
    check_arguments(ps_args)
    container.allow("top")
    if container.cgroup is None:
        raise NotRunning(container.id)
    pids = set(container.cgroup.pids())
    arguments = shlex.split(ps_args or DEFAULT)
    try:
        printed = await run_ps(arguments)
    except FileNotFoundError:
        return from_proc(pids)
    return chosen(printed, pids)


def check_arguments(ps_args: str) -> None:
    """Raise InvalidParameter for another column that would call itself PID: the rows are chosen by that."""
    for column, title in re.findall(r"\s+(\S*)=\s*(PID\S*)", ps_args):
        if column != "pid":
            raise InvalidParameter(f'specifying "{column}={title}" is not allowed')


async def run_ps(arguments: list[str]) -> str:
    """What ``ps`` prints; raises InvalidParameter with its complaint."""
    process = await asyncio.create_subprocess_exec(
        *("ps", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed, complaint = await asyncio.wait_for(process.communicate(), PATIENCE)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise EngineError("ps did not end in time") from None
    if process.returncode:
        lines = complaint.decode(errors="replace").splitlines() or ["failed"]
        raise InvalidParameter(f"ps: {lines[0]}")
    return printed.decode(errors="replace")


def chosen(printed: str, pids: set[int]) -> ContainerTop:
    """The header, and the lines whose PID is one of the container's; threads (PID ``-``) follow their process."""
    header, *lines = printed.splitlines() or [""]
    titles = header.split()
    if "PID" not in titles:
        raise InvalidParameter("Couldn't find PID field in ps output")
    column = titles.index("PID")
    rows, inside = [], False
    for line in lines:
        fields = line.split(None, len(titles) - 1)
        if len(fields) <= column:
            continue
        if fields[column] == "-":
            if inside:
                rows.append(fields)
            continue
        inside = fields[column].isdecimal() and int(fields[column]) in pids
        if inside:
            rows.append(fields)
    return ContainerTop(titles=titles, processes=rows)


def from_proc(pids: set[int]) -> ContainerTop:
    """``ps -ef`` in short, from /proc."""
    rows = []
    for pid in sorted(pids):
        try:
            status = dict(
                line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines() if ":\t" in line
            )
            command = Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0").replace(b"\0", b" ").decode()
        except OSError:
            continue
        uid = int(status["Uid"].split()[0])
        rows.append([user_name(uid), str(pid), status["PPid"].strip(), "0", "-", "?", "-", command or status["Name"]])
    return ContainerTop(titles=TITLES, processes=rows)


def user_name(uid: int) -> str:
    """The host's name of a user, the number without one."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
