"""The error classes of the whole program, drawn as a tree.

A class says what the caller can do about it; the HTTP status is looked up once, at the edge of the
server, by walking the class's MRO through ``STATUS``. Sentences that clients parse (the docker CLI
chooses its exit status by them, docker-py its exception class) live in the class that owns them.

    EngineError                 500  a bug or an unexpected failure of the system
    ├── InvalidParameter        400  says which field and what was expected
    │   └── CommandNotFound / CommandNotExecutable     the container's program cannot run
    ├── Unauthorized            401
    ├── Forbidden               403
    ├── NotFound                404
    │   └── NoSuchContainer, NoSuchImage, NoSuchNetwork, NoSuchVolume, NoSuchExec
    ├── Conflict                409
    │   └── NameInUse, NotRunning, …
    ├── Unsupported             501  refused by design
    ├── Unavailable             503  not now
    │   └── Unreachable         500  another server's fault, which dockerd calls its own
    └── DataLoss                500  what is on disk does not match its digest
"""

from typing import Self


class EngineError(Exception):
    """Base of every error that reaches a user; the message is the sentence the user reads.

    ``code`` is the exit status of the program that failed, where one did (a build's RUN); else 0.
    """

    code: int = 0

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message

    def within(self, operation: str) -> Self:
        """Say in front of the message what was being done; returns the error itself."""
        self.message = f"{operation}: {self.message}"
        return self


class InvalidParameter(EngineError):
    """The request is wrong; the message names the field and what was expected."""


class CommandNotFound(InvalidParameter):
    """The program to run, or what belongs to it, does not exist in the container (docker CLI exits 127)."""


class CommandNotExecutable(InvalidParameter):
    """The program to run exists and cannot be executed (docker CLI exits 126)."""


class Unauthorized(EngineError):
    """Credentials are missing or wrong."""


class Forbidden(EngineError):
    """The object may not be changed this way, whoever asks."""


class NotFound(EngineError):
    """A named object does not exist."""


class NoSuchContainer(NotFound):
    def __init__(self, reference: str) -> None:
        super().__init__(f"No such container: {reference}")


class NoSuchImage(NotFound):
    def __init__(self, reference: str) -> None:
        super().__init__(f"No such image: {reference}")


class NoSuchNetwork(NotFound):
    def __init__(self, reference: str) -> None:
        super().__init__(f"network {reference} not found")


class NoSuchVolume(NotFound):
    def __init__(self, name: str) -> None:
        super().__init__(f"get {name}: no such volume")


class NoSuchExec(NotFound):
    def __init__(self, exec_id: str) -> None:
        super().__init__(f"No such exec instance: {exec_id}")


class Conflict(EngineError):
    """The object is in a state that forbids the operation."""


class NameInUse(Conflict):
    def __init__(self, name: str, owner: str) -> None:
        super().__init__(
            f'Conflict. The container name "/{name}" is already in use by container "{owner}". '
            "You have to remove (or rename) that container to be able to reuse that name."
        )


class NotRunning(Conflict):
    def __init__(self, container_id: str) -> None:
        super().__init__(f"container {container_id} is not running")


class Unsupported(EngineError):
    """The operation is refused by design; the message says so and why."""


class Unavailable(EngineError):
    """The operation cannot be done now; trying again later may succeed."""


class Unreachable(Unavailable):
    """Another server does not answer: a connection could not be made, or it broke; trying again may help."""


class DataLoss(EngineError):
    """Stored bytes do not match their digest or record."""


STATUS: dict[type[EngineError], int] = {
    EngineError: 500,
    InvalidParameter: 400,
    Unauthorized: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    Unsupported: 501,
    Unavailable: 503,
    Unreachable: 500,
    DataLoss: 500,
}


def status_of(error: BaseException) -> int:
    """HTTP status for ``error``: that of the nearest class in its MRO, 500 for anything else."""
    return next((STATUS[cls] for cls in type(error).__mro__ if cls in STATUS), 500)
