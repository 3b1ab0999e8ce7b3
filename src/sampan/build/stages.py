"""Which stages a target needs, by name or number; the rest of the Dockerfile is never run."""

from collections.abc import Iterator, Mapping

from sampan.dockerfile import instructions as ins
from sampan.dockerfile.expand import expand
from sampan.dockerfile.mounts import check_mount
from sampan.dockerfile.source import ParseError
from sampan.dockerfile.suggest import suggestion
from sampan.errors import InvalidParameter


def target_index(file: ins.Dockerfile, target: str) -> int:
    """The stage to build: the last one, or that named (or numbered) ``target``. Raises InvalidParameter."""
    if not target:
        return len(file.stages) - 1
    found = find_stage(file, target, len(file.stages))
    if found is None and target.isdecimal() and int(target) < len(file.stages):
        return int(target)
    if found is None:
        meant = suggestion(target, [stage.head.name for stage in file.stages if stage.head.name], case_sensitive=False)
        raise InvalidParameter(f'target stage "{target}" could not be found{meant}')
    return found


def find_stage(file: ins.Dockerfile, name: str, before: int) -> int | None:
    """The last stage before number ``before`` that is called ``name``."""
    wanted = name.lower()
    return next((i for i in reversed(range(before)) if file.stages[i].head.name == wanted), None)


def source_stage(file: ins.Dockerfile, name: str, before: int) -> int | None:
    """What ``--from=name`` means as a stage: a name, or a number. Raises InvalidParameter for itself or a later one."""
    found = find_stage(file, name, before)
    if found is None and any(stage.head.name == name.lower() for stage in file.stages[before + 1 :]):
        current = file.stages[before].head.name or f"stage-{before}"
        raise InvalidParameter(
            f'cannot copy from stage "{name}", it needs to be defined before current stage "{current}"'
        )
    if found is not None or not name.isdecimal():
        return found
    if int(name) >= before:
        raise InvalidParameter(f"invalid from flag value {name}: refers to current build stage")
    return int(name)


def global_arguments(file: ins.Dockerfile, given: Mapping[str, str], predefined: Mapping[str, str]) -> dict[str, str]:
    """Values of the ARGs before the first FROM, each seeing those before it."""
    values = dict(predefined)
    for definition in (definition for arg in file.arguments for definition in arg.definitions):
        if definition.key in given:
            values[definition.key] = given[definition.key]
        elif definition.value is not None:
            values[definition.key] = expand(definition.value, values, file.escape)
    return values


def needed_stages(file: ins.Dockerfile, target: int, arguments: Mapping[str, str]) -> list[int]:
    """The target and everything it depends on, in the file's order."""
    needed: set[int] = set()
    waiting = [target]
    while waiting:
        index = waiting.pop()
        if index not in needed:
            needed.add(index)
            waiting.extend(_dependencies(file, index, arguments))
    return sorted(needed)


def _dependencies(file: ins.Dockerfile, index: int, arguments: Mapping[str, str]) -> Iterator[int]:
    stage = file.stages[index]
    base = find_stage(file, base_name(file, stage.head, arguments), index)
    if base is not None:
        yield base
    for step in stage.body:
        for name in _sources(step):
            found = source_stage(file, name, index)
            if found is not None:
                yield found


def base_name(file: ins.Dockerfile, head: ins.From, arguments: Mapping[str, str]) -> str:
    """What FROM names, with global arguments put in. Raises ``ParseError`` when nothing is left."""
    name = expand(head.base, arguments, file.escape)
    if not name:
        raise ParseError(f"base name ({head.base}) should not be blank", head.origin.span)
    return name


def _sources(step: ins.Instruction) -> Iterator[str]:
    if isinstance(step, ins.Copy) and step.from_:
        yield step.from_
    elif isinstance(step, ins.Run):
        yield from (name for mount in step.mounts if (name := check_mount(mount)))
