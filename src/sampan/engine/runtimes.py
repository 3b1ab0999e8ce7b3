"""Which OCI runtime runs a container: our own, or a configured binary under our monitor (runtime.external)."""

import shutil

from sampan.config import OWN_RUNTIMES
from sampan.engine.container import Container
from sampan.engine.context import Context
from sampan.errors import EngineError
from sampan.runtime.external import ExternalRuntime


def external_of(context: Context, container: Container) -> ExternalRuntime | None:
    """The container's other runtime, None for our own; raises EngineError where its binary is missing."""
    host_config = container.record.host_config
    configured = context.config.runtimes.get(host_config.runtime)
    if configured is None and host_config.runtime in OWN_RUNTIMES:
        return None
    if configured is None:
        raise EngineError(f"unknown or invalid runtime name: {host_config.runtime}")
    path = shutil.which(configured.path)
    if path is None:
        raise EngineError(f'runtime "{host_config.runtime}": {configured.path}: executable file not found')
    return ExternalRuntime(path, configured.runtime_args, context.roots.run / "runtimes" / host_config.runtime)
