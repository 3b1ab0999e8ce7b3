"""One stage from its FROM to its end: each instruction expanded, keyed, looked up in the cache or done."""

from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import msgspec

from sampan.build import stages
from sampan.build.building import Build
from sampan.build.commits import commit_state, state_id
from sampan.build.copy_step import copy_step
from sampan.build.descriptions import describe
from sampan.build.errors import place, told_to_buildkit
from sampan.build.layer import layer_step, metadata_step
from sampan.build.request import Step
from sampan.build.run_step import run_step
from sampan.build.scope import Scope
from sampan.build.state import State, scratch, with_path
from sampan.build.threads import in_thread
from sampan.build.workdir import directory_exists, make_workdir
from sampan.dockerfile import instructions as ins
from sampan.dockerfile.changes import apply, expanded
from sampan.dockerfile.check_variables import is_secret
from sampan.dockerfile.expand import ExpansionError, expand, expand_shown
from sampan.dockerfile.parser import parse_instruction
from sampan.dockerfile.source import parse_error_on
from sampan.errors import EngineError, InvalidParameter
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference

Result = tuple[State, bool]
SCRATCH = "scratch"
WITH_FILES = (ins.Copy, ins.Run, ins.Workdir)
MASK = "****"


async def build_stage(build: Build, index: int) -> State:
    """The last state of stage ``index``. Raises EngineError for the step that failed."""
    return await StageBuilder(build, index).run()


class StageBuilder(Scope):
    """Builds a stage; its steps see it as their scope."""

    def __init__(self, build: Build, index: int) -> None:
        super().__init__(build, index)
        self._placed = 0
        self._places = sum(isinstance(step, WITH_FILES) for step in self.stage.body) + self._brings_image()

    async def run(self) -> State:
        """All steps; returns the last state. Raises EngineError for the step that failed."""
        try:
            state = await self._told(0, self.stage.head, None, self._from)
            state = await self._triggers(state)
            for position, instruction in enumerate(self.stage.body, 1):
                state = await self._told(position, instruction, state, self._instruction)
            return state
        finally:
            await self.build.observer.stage_ended(self.index)

    async def _told(
        self,
        position: int,
        instruction: Any,
        state: State | None,
        work: Callable[[Any, Any, Step], Awaitable[Result]],
        trigger: tuple[int, int] = (0, 0),
    ) -> State:
        """Do one step and tell the observer how it went."""
        observer = self.build.observer
        step = replace(
            self.build.step_of(self.index, position, instruction),
            trigger=trigger,
            place=self._place(instruction),
            expanded=self._expanded(instruction, state),
        )
        await observer.started(step)
        try:
            after, cached = await work(instruction, state, step)
        except ExpansionError as error:
            await observer.failed(step, error.message)
            raise parse_error_on(instruction.origin.span, error.message) from None
        except EngineError as error:
            place(error, self.stage.head.origin.span if trigger != (0, 0) else instruction.origin.span)
            await observer.failed(step, told_to_buildkit(error))
            raise
        after = await self._kept(after)
        await observer.finished(step, state_id(after, self.build.request), cached=cached)
        return after

    def _brings_image(self) -> bool:
        """Whether FROM means an image, not an earlier stage and not nothing at all."""
        build = self.build
        name = stages.base_name(build.request.dockerfile, self.stage.head, build.arguments)
        return name != SCRATCH and stages.find_stage(build.request.dockerfile, name, self.index) is None

    def _place(self, instruction: ins.Instruction) -> tuple[int, int]:
        """Which of the stage's steps with files this one is."""
        is_placed = self._brings_image() if isinstance(instruction, ins.From) else isinstance(instruction, WITH_FILES)
        if not is_placed:
            return 0, 0
        self._placed += 1
        return self._placed, self._places

    def _expanded(self, instruction: ins.Instruction, state: State | None) -> str:
        """The instruction's text as it is meant, with what looks like a secret left out."""
        if isinstance(instruction, ins.From):
            name = stages.base_name(self.build.request.dockerfile, instruction, self.build.arguments)
            return f"FROM {full_name(name)}"
        if state is None or not isinstance(instruction, WITH_FILES):
            return instruction.origin.text
        variables = {name: MASK if is_secret(name) else value for name, value in self.variables(state).items()}
        try:
            return expand_shown(instruction.origin.text, variables, self.escape)
        except ExpansionError:
            return instruction.origin.text

    async def _kept(self, state: State) -> State:
        """The state with its image, where the request keeps every step's."""
        if not self.build.request.keep_steps or not state.history or state.image is not None:
            return state
        return await in_thread(commit_state, self.build.workshop.storage, state)

    async def _from(self, head: ins.From, _: None, step: Step) -> Result:
        build = self.build
        platform = build.request.platform
        if head.platform:
            platform = Platform.parse(expand(head.platform, build.arguments, self.escape))
        name = stages.base_name(build.request.dockerfile, head, build.arguments)
        earlier = stages.find_stage(build.request.dockerfile, name, self.index)
        if earlier is not None:
            state = await build.stage(earlier)
        elif name == SCRATCH:
            state = with_path(scratch(platform))
        else:
            state = with_path(await build.base(name, platform))
        # BuildKit's stages know the arguments of the stage that they stand on, the classic builder's do not.
        keeps = earlier is not None and not build.request.keep_steps
        return replace(state, arguments=state.arguments if keeps else {}, cmd_is_own=False), False

    async def _triggers(self, state: State) -> State:
        """ONBUILD instructions of the base image, run as if they stood after FROM."""
        triggers = state.config.on_build
        if not triggers:
            return state
        state = replace(state, config=msgspec.structs.replace(state.config, on_build=None))
        self._places += len(triggers)
        for number, trigger in enumerate(triggers, 1):
            instruction = parse_instruction(trigger, self.escape)
            state = await self._told(0, instruction, state, self._instruction, (number, len(triggers)))
        return state

    async def _instruction(self, instruction: ins.Instruction, state: State, step: Step) -> Result:
        step_words = expanded(instruction, self.variables(state), self.escape)
        match step_words:
            case ins.Arg():
                return await self._arg(step_words, state)
            case ins.Run():
                return await run_step(self, step_words, state, step)
            case ins.Copy():
                return await copy_step(self, step_words, state)
            case ins.Workdir():
                return await self._workdir(step_words, state)
            case ins.Maintainer():
                return await self._metadata(step_words, replace(state, author=step_words.name))
            case _:
                return await self._metadata(step_words, state)

    async def _arg(self, step: ins.Arg, state: State) -> Result:
        values, given, known = dict(state.arguments), self.build.request.build_args, self.variables(state)
        for definition in step.definitions:
            value = given.get(definition.key)
            if value is None and definition.value is not None:
                value = expand(definition.value, known, self.escape)  # names of the same line are not known yet
            if value is None:
                value = self.build.arguments.get(definition.key)
            if value is not None:
                values[definition.key] = value
        words = " ".join(
            definition.key if definition.key not in values else f"{definition.key}={values[definition.key]}"
            for definition in step.definitions
        )
        after, cached = await metadata_step(self.build, state, state.next_key("ARG", words), f"ARG {words}", self.reuse)
        return replace(after, arguments=values), cached

    async def _metadata(self, step: ins.Instruction, state: State) -> Result:
        description = describe(step, state.config)
        after, cached = await metadata_step(
            self.build, state, state.next_key(step.origin.keyword.upper(), description), description, self.reuse
        )
        config = apply(state.config, step, cmd_is_own=state.cmd_is_own)
        own = state.cmd_is_own or isinstance(step, ins.Cmd)
        return replace(after, config=config, cmd_is_own=own), cached

    async def _workdir(self, step: ins.Workdir, state: State) -> Result:
        config = apply(state.config, step, cmd_is_own=state.cmd_is_own)
        path, description = config.working_dir, f"WORKDIR {config.working_dir}"
        # BuildKit makes it the user's, the classic builder root's.
        user = "" if self.build.request.keep_steps else state.config.user
        with ExitStack() as held:
            if await directory_exists(self.build, state, path, held):
                after, cached = await metadata_step(
                    self.build, state, state.next_key("WORKDIR", path), description, self.reuse
                )
            else:
                after, cached = await layer_step(
                    self.build,
                    state,
                    ("WORKDIR", path, *([f"of {user}"] if user else [])),
                    description,
                    lambda rootfs: make_workdir(rootfs, path, user),
                    self.reuse,
                )
        return replace(after, config=config), cached


def full_name(name: str) -> str:
    """An image's name with its registry and tag; itself where it is none."""
    try:
        return str(Reference.parse(name).tagged())
    except InvalidParameter:
        return name
