"""Exec: run one more process in a container; create, start, inspect."""

from sampan.api.wire import Wire, named, present, present_list, present_named, present_struct


class ExecCreateRequest(Wire):
    """Body of ``POST /containers/{id}/exec``; ``console_size`` is (height, width)."""

    user: str = present("")
    privileged: bool = present(False)
    tty: bool = present(False)
    console_size: list[int] | None = None
    attach_stdin: bool = present(False)
    attach_stderr: bool = present(False)
    attach_stdout: bool = present(False)
    detach_keys: str = present("")
    env: list[str] | None = present(None)
    working_dir: str = present("")
    cmd: list[str] | None = present(None)


class ExecCreateResponse(Wire):
    """Identifier of the exec instance."""

    id: str = present("")


class ExecStartRequest(Wire):
    """Body of ``POST /exec/{id}/start``."""

    detach: bool = present(False)
    tty: bool = present(False)
    console_size: list[int] | None = None


class ExecProcess(Wire):
    """The process of an exec instance; lower-case names on the wire."""

    tty: bool = present_named("tty", False)
    entrypoint: str = present_named("entrypoint", "")
    arguments: list[str] = present_list("arguments")
    privileged: bool = present_named("privileged", False)
    user: str = named("user", "")


class ExecInspect(Wire):
    """Answer of ``GET /exec/{id}/json``; ``exit_code`` is ``None`` while it runs."""

    id: str = present_named("ID", "")
    running: bool = present(False)
    exit_code: int | None = present(None)
    process_config: ExecProcess = present_struct(ExecProcess)
    open_stdin: bool = present(False)
    open_stderr: bool = present(False)
    open_stdout: bool = present(False)
    can_remove: bool = present(False)
    container_id: str = present("")
    detach_keys: str = present("")
    pid: int = present(0)
