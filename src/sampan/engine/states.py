"""What may be done to a container in which state: one table.

    created ─start─▶ running ─pause─▶ paused
       ▲                │  ◀─unpause─
       │              exit ─▶ exited ─start─▶ running
       │                └──▶ restarting (policy) ─▶ running
       └ any state ─remove─▶ removing ─▶ gone, or dead when removing failed

A cell of the table says ``GO`` (do it), ``SAME`` (nothing to do: 304), or the sentence of the Conflict that refuses.
"""

from enum import StrEnum
from typing import Final

from sampan.errors import Conflict, EngineError, NotRunning


class Status(StrEnum):
    """The seven states; the words are the API's."""

    CREATED = "created"
    RUNNING = "running"
    PAUSED = "paused"
    RESTARTING = "restarting"
    REMOVING = "removing"
    EXITED = "exited"
    DEAD = "dead"


LIVE: Final = frozenset({Status.RUNNING, Status.PAUSED})
"""States with a process."""

GO: Final = "go"
SAME: Final = "same"
NOT_RUNNING: Final = "container {id} is not running"
RESTARTING: Final = "Container {id} is restarting, wait until the container is running"
MARKED: Final = "container is marked for removal and cannot be started"
UNPAUSE_FIRST: Final = "cannot start a paused container, try unpause instead"
EXEC_PAUSED: Final = "Container {id} is paused, unpause the container before exec"
ATTACH_PAUSED: Final = "container {id} is paused, unpause the container before attach"
ATTACH_RESTARTING: Final = "container {id} is restarting, wait until the container is running"

_NO, _BUSY = NOT_RUNNING, RESTARTING
_PAUSED, _THAWED = "container {id} is already paused", "Container {id} is not paused"
_STOP_FIRST = "container is {state}: stop the container before removing or force remove"
_UNPAUSE_TO_REMOVE = "container is paused and must be unpaused first"
_GOING = "removal of container {id} is already in progress"
_NO_UPDATE = 'container is marked for removal and cannot be "update"'
_NO_LOGS = "can not get logs from container which is dead or marked for removal"
_EXPORT, _COMMIT = "You cannot export container {id} which is ", "You cannot commit container {id} which is "
_LEAVING, _DEAD = "being removed", "Dead"
_A_PAUSED, _A_BUSY = ATTACH_PAUSED, ATTACH_RESTARTING

# operation     created running  paused         restarting  exited  removing            dead
_TABLE = {
    "start":   (GO,     SAME,    UNPAUSE_FIRST, SAME,       GO,     MARKED,             MARKED),
    "stop":    (SAME,   GO,      GO,            GO,         SAME,   SAME,               SAME),
    "kill":    (_NO,    GO,      GO,            GO,         _NO,    _NO,                _NO),
    "pause":   (_NO,    GO,      _PAUSED,       _BUSY,      _NO,    _NO,                _NO),
    "unpause": (_THAWED, _THAWED, GO,           _BUSY,      _THAWED, _THAWED,           _THAWED),
    "exec":    (_NO,    GO,      EXEC_PAUSED,   _BUSY,      _NO,    _NO,                _NO),
    "top":     (_NO,    GO,      GO,            _BUSY,      _NO,    _NO,                _NO),
    "resize":  (_NO,    GO,      GO,            _BUSY,      _NO,    _NO,                _NO),
    "attach":  (GO,     GO,      _A_PAUSED,     _A_BUSY,    GO,     MARKED,             MARKED),
    "update":  (GO,     GO,      GO,            GO,         GO,     _NO_UPDATE,         _NO_UPDATE),
    "logs":    (GO,     GO,      GO,            GO,         GO,     _NO_LOGS,           _NO_LOGS),
    "export":  (GO,     GO,      GO,            GO,         GO,     _EXPORT + _LEAVING, _EXPORT + _DEAD),
    "commit":  (GO,     GO,      GO,            GO,         GO,     _COMMIT + _LEAVING, _COMMIT + _DEAD),
    "remove":  (GO,     _STOP_FIRST, _UNPAUSE_TO_REMOVE, _STOP_FIRST, GO, _GOING,       GO),
}  # fmt: skip
_COLUMNS = (
    Status.CREATED, Status.RUNNING, Status.PAUSED, Status.RESTARTING, Status.EXITED, Status.REMOVING, Status.DEAD,
)  # fmt: skip
RULES: dict[tuple[str, Status], str] = {
    (operation, status): verdict
    for operation, row in _TABLE.items()
    for status, verdict in zip(_COLUMNS, row, strict=True)
}


def check(operation: str, status: Status, container_id: str) -> bool:
    """True when ``operation`` is to be done, False when the container is as wanted already.

    Raises Conflict, or EngineError for what dockerd has no class for.
    """
    verdict = RULES[operation, status]
    if verdict in (GO, SAME):
        return verdict == GO
    if verdict == _THAWED:
        raise EngineError(verdict.format(id=container_id))
    if verdict == NOT_RUNNING:
        raise NotRunning(container_id)
    raise Conflict(verdict.format(id=container_id, state=status.value))
