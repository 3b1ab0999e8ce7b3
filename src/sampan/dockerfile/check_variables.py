"""Build checks of variables: undeclared, without a default that works, secret. See ``checks``."""

import re
from collections.abc import Collection, Iterator, Mapping

from sampan.dockerfile import instructions as ins
from sampan.dockerfile.changes import expanded
from sampan.dockerfile.check_stages import Found, instructions
from sampan.dockerfile.expand import ExpansionError, expand
from sampan.dockerfile.suggest import nearest
from sampan.errors import InvalidParameter
from sampan.oci.reference import Reference

AUTOMATIC = frozenset(f"{side}{part}" for side in ("TARGET", "BUILD") for part in ("PLATFORM", "OS", "ARCH", "VARIANT"))
_SECRET = re.compile(r"(?i)(?:_|^)(?:apikey|auth|credentials?|key|password|pword|passwd|secret|token)(?:_|$)", re.ASCII)
_PUBLIC = re.compile(r"(?i)(?:_|^)public(?:_|$)", re.ASCII)


def _unset(words: Collection[str], names: Collection[str], escape: str) -> list[str]:
    """Variables of ``words`` that are not among ``names``."""
    missing: set[str] = set()
    for word in words:
        try:
            expand(word, dict.fromkeys(names, "x"), escape, missing)
        except ExpansionError:
            continue  # ``${name:?}`` speaks for itself when the step runs
    return sorted(missing)


def _declared(file: ins.Dockerfile) -> set[str]:
    return {definition.key for arg in file.arguments for definition in arg.definitions}


def undefined_in_from(file: ins.Dockerfile) -> Iterator[Found]:
    """FROM with an ARG that is not declared before the first stage."""
    names = _declared(file) | AUTOMATIC
    for stage in file.stages:
        for name in _unset((stage.head.base, stage.head.platform), names, file.escape):
            yield Found(stage.head.origin.span, f"FROM argument '{name}' is not declared{_meant(name, names, '')}")


def _meant(name: str, names: Collection[str], sign: str) -> str:
    near = nearest(name, names)
    return f" (did you mean {sign}{near}?)" if near else ""


def undefined(file: ins.Dockerfile, bases: Mapping[str, Collection[str]]) -> Iterator[Found]:
    """Variables that neither ARG, ENV nor the base image define; only where the base's environment is known."""
    known: dict[str, set[str] | None] = {"scratch": set()}
    for stage in file.stages:
        base = stage.head.base
        names = known.get(base.lower(), set(bases[base]) if base in bases else None)
        names = None if names is None else {"PATH", *names}
        for step in stage.body:
            if names is not None:
                yield from _undefined_in(step, names, file.escape)
                names |= _defines(step)
        if stage.head.name:
            known[stage.head.name] = names


def _undefined_in(step: ins.Instruction, names: set[str], escape: str) -> Iterator[Found]:
    missing: set[str] = set()
    try:
        expanded(step, dict.fromkeys(names, "x"), escape, missing)
        if isinstance(step, ins.Copy):
            missing |= set(_unset((*step.sources, step.destination, step.chown, step.chmod), names, escape))
    except ExpansionError:
        return
    for name in sorted(missing):
        yield Found(step.origin.span, f"Usage of undefined variable '${name}'{_meant(name, names, '$')}")


def _defines(step: ins.Instruction) -> set[str]:
    if isinstance(step, ins.Env):
        return {pair.key for pair in step.pairs}
    return {definition.key for definition in step.definitions} if isinstance(step, ins.Arg) else set()


def is_secret(name: str) -> bool:
    """Whether a variable's name speaks of a password, a key, a token."""
    return bool(_SECRET.search(name) and not _PUBLIC.search(name))


def secrets(file: ins.Dockerfile) -> Iterator[Found]:
    """Names that speak of passwords, keys, tokens."""
    for step in instructions(file):
        word = step.origin.keyword.upper()
        for name in sorted(_defines(step)):
            if is_secret(name):
                yield Found(
                    step.origin.span, f'Do not use ARG or ENV instructions for sensitive data ({word} "{name}")'
                )


def invalid_default(file: ins.Dockerfile) -> Iterator[Found]:
    """FROM that names no image unless ``--build-arg`` is given."""
    values = dict.fromkeys(AUTOMATIC, "x")
    for definition in (definition for arg in file.arguments for definition in arg.definitions):
        if definition.value is not None:
            values[definition.key] = expand(definition.value, values, file.escape)
    for stage in file.stages:
        base = stage.head.base
        if (
            "$" in base
            and not _unset((base,), _declared(file) | AUTOMATIC, file.escape)
            and not _names_image(base, values, file.escape)
        ):
            yield Found(
                stage.head.origin.span, f"Default value for ARG {base} results in empty or invalid base image name"
            )


def _names_image(base: str, values: Mapping[str, str], escape: str) -> bool:
    try:
        Reference.parse(expand(base, values, escape))
    except (InvalidParameter, ExpansionError):
        return False
    return True
