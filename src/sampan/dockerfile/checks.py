"""Build checks: what BuildKit warns of in a Dockerfile, as a table from rule to the function that finds it.

    # check=skip=JSONArgsRecommended,StageNameCasing;error=true

``skip`` (names, or ``all``) leaves rules out, ``experimental`` (names, or ``all``) takes those in that are off by
default, ``error`` makes findings fatal. ``BUILDKIT_DOCKERFILE_CHECK`` says the same for one build.

Source: https://docs.docker.com/reference/build-checks/ (names, sentences).
"""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field

from sampan.dockerfile import check_stages as stages
from sampan.dockerfile import check_variables as variables
from sampan.dockerfile import instructions as ins
from sampan.dockerfile.check_stages import Found
from sampan.dockerfile.ignore import Ignore
from sampan.errors import InvalidParameter

URL = "https://docs.docker.com/go/dockerfile/rule/{}/"


@dataclass(frozen=True, slots=True)
class Checked:
    """What rules look at: the file, names in the environment of base images as far as known, ``.dockerignore``."""

    file: ins.Dockerfile
    bases: Mapping[str, Collection[str]] = field(default_factory=dict)
    ignore: Ignore = field(default_factory=lambda: Ignore(()))


@dataclass(frozen=True, slots=True)
class Rule:
    """One check; ``find`` yields place and sentence of each finding. ``experimental`` ones are off by default."""

    description: str
    find: Callable[[Checked], Iterator[Found]]
    experimental: bool = False


@dataclass(frozen=True, slots=True)
class BuildWarning:
    """A finding: the rule's name, what it is about, where to read on, and what was found on which lines."""

    rule: str
    description: str
    url: str
    message: str
    found: Found


@dataclass(frozen=True, slots=True)
class Choice:
    """Which rules run, and whether a finding is an error."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    def takes(self, name: str, rule: Rule) -> bool:
        """Whether the rule runs."""
        if rule.experimental and not self.experimental & {"all", name.lower()}:
            return False
        return not self.skip & {"all", name.lower()}


def _copied(checked: Checked) -> Iterator[Found]:
    if not checked.ignore:
        return
    for stage in checked.file.stages:
        for step in stage.body:
            if isinstance(step, ins.Copy) and not step.from_:
                keyword = "Add" if isinstance(step, ins.Add) else "Copy"
                for source in step.sources:
                    if "://" not in source and checked.ignore.excludes(source.lstrip("./")):
                        yield Found(
                            step.origin.span,
                            f'Attempting to {keyword} file "{source}" that is excluded by .dockerignore',
                        )


def _of_file(find: Callable[[ins.Dockerfile], Iterator[Found]]) -> Callable[[Checked], Iterator[Found]]:
    return lambda checked: find(checked.file)


RULES: dict[str, Rule] = {
    "StageNameCasing": Rule("Stage names should be lowercase", _of_file(stages.stage_name_casing)),
    "FromAsCasing": Rule(
        "The 'as' keyword should match the case of the 'from' keyword", _of_file(stages.from_as_casing)
    ),
    "NoEmptyContinuation": Rule(
        "Empty continuation lines will become errors in a future release", _of_file(stages.empty_continuation)
    ),
    "ConsistentInstructionCasing": Rule(
        "All commands within the Dockerfile should use the same casing (either upper or lower)",
        _of_file(stages.instruction_casing),
    ),
    "DuplicateStageName": Rule("Stage names should be unique", _of_file(stages.duplicate_stage_name)),
    "ReservedStageName": Rule("Reserved words should not be used as stage names", _of_file(stages.reserved_stage_name)),
    "JSONArgsRecommended": Rule(
        "JSON arguments recommended for ENTRYPOINT/CMD to prevent unintended behavior related to OS signals",
        _of_file(stages.json_arguments),
    ),
    "MaintainerDeprecated": Rule(
        "The MAINTAINER instruction is deprecated, use a label instead to define an image author",
        _of_file(stages.maintainer),
    ),
    "UndefinedArgInFrom": Rule("FROM command must use declared ARGs", _of_file(variables.undefined_in_from)),
    "WorkdirRelativePath": Rule(
        "Relative workdir without an absolute workdir declared within the build can have unexpected results if the "
        "base image changes",
        _of_file(stages.relative_workdir),
    ),
    "UndefinedVar": Rule(
        "Variables should be defined before their use",
        lambda checked: variables.undefined(checked.file, checked.bases),
    ),
    "MultipleInstructionsDisallowed": Rule(
        "Multiple instructions of the same type should not be used in the same stage",
        _of_file(stages.multiple_instructions),
    ),
    "LegacyKeyValueFormat": Rule(
        "Legacy key/value format with whitespace separator should not be used", _of_file(stages.legacy_pairs)
    ),
    "RedundantTargetPlatform": Rule(
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
        _of_file(stages.redundant_platform),
    ),
    "SecretsUsedInArgOrEnv": Rule(
        "Sensitive data should not be used in the ARG or ENV commands", _of_file(variables.secrets)
    ),
    "InvalidDefaultArgInFrom": Rule(
        "Default value for global ARG results in an empty or invalid base image name",
        _of_file(variables.invalid_default),
    ),
    "FromPlatformFlagConstDisallowed": Rule(
        "FROM --platform flag should not use a constant value", _of_file(stages.constant_platform)
    ),
    "CopyIgnoredFile": Rule("Attempting to Copy file that is excluded by .dockerignore", _copied),
    "InvalidDefinitionDescription": Rule(
        "Comment for build stage or argument should follow the format: `# <arg/stage name> <description>`. If this is "
        "not intended to be a description comment, add an empty line or comment between the instruction and the "
        "comment.",
        _of_file(stages.definition_description),
        experimental=True,
    ),
    "ExposeProtoCasing": Rule("Protocol in EXPOSE instruction should be lowercase", _of_file(stages.expose_casing)),
    "ExposeInvalidFormat": Rule(
        "IP address and host-port mapping should not be used in EXPOSE instruction. This will become an error in a "
        "future release",
        _of_file(stages.expose_format),
    ),
}


PASSES = (
    {"NoEmptyContinuation"},
    {"StageNameCasing", "MaintainerDeprecated", "FromAsCasing", "InvalidDefinitionDescription"},
    {"DuplicateStageName", "ReservedStageName"},
    {"ConsistentInstructionCasing"},
    {"UndefinedArgInFrom", "InvalidDefaultArgInFrom", "FromPlatformFlagConstDisallowed", "RedundantTargetPlatform"},
)
"""Rules that are judged before the steps are gone through, pass by pass; each pass and the steps by their lines."""


def choice_of(text: str) -> Choice:
    """The ``check`` directive's value. Raises InvalidParameter."""
    values: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        key, equals, value = part.partition("=")
        if not equals or key not in ("skip", "error", "experimental"):
            raise InvalidParameter(f"invalid check option {part!r}")
        values[key] = value
    if values.get("error", "false").lower() not in ("true", "false"):
        raise InvalidParameter(f"failed to parse check option 'error={values['error']}'")
    return Choice(
        skip=_names(values.get("skip", "")),
        experimental=_names(values.get("experimental", "")),
        error=values.get("error", "").lower() == "true",
    )


def _names(text: str) -> frozenset[str]:
    return frozenset(name.strip().lower() for name in text.split(",") if name.strip())


def check(checked: Checked, choice: Choice | None = None) -> list[BuildWarning]:
    """All findings in BuildKit's order, see PASSES; ``choice`` overrules the file's own directive."""
    if choice is None:
        choice = choice_of(checked.file.directives.get("check", ""))
    warnings = [
        BuildWarning(name, rule.description, URL.format(_kebab(name)), found.message, found)
        for name, rule in RULES.items()
        if choice.takes(name, rule)
        for found in rule.find(checked)
    ]
    passes = {name: number for number, names in enumerate(PASSES) for name in names}
    return sorted(warnings, key=lambda warning: (passes.get(warning.rule, len(PASSES)), warning.found.span.start))


def _kebab(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", name).lower()
