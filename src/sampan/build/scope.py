"""What a step knows of the place where it stands: its build, its stage, and what words mean there."""

from sampan.build.building import Build
from sampan.build.state import State
from sampan.dockerfile.changes import DEFAULT_PATH, environment


class Scope:
    """Stage ``index`` of ``build``; ``reuse`` says whether results from the cache count."""

    def __init__(self, build: Build, index: int) -> None:
        self.build = build
        self.index = index
        self.stage = build.request.dockerfile.stages[index]
        self.escape = build.request.dockerfile.escape
        request = build.request
        self.reuse = not (request.no_cache or self.stage.head.name in request.no_cache_stages)

    def variables(self, state: State) -> dict[str, str]:
        """What ``$name`` may mean: ARGs in scope, and ENV over them."""
        return {"PATH": DEFAULT_PATH, **state.arguments, **environment(state.config)}
