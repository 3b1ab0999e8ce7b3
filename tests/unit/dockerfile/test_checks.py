"""Each build check finds what it is for, in BuildKit's words, and nothing in a file that is in order."""

import pytest

from sampan.dockerfile.checks import RULES, Checked, Choice, check, choice_of
from sampan.dockerfile.ignore import Ignore
from sampan.dockerfile.parser import parse
from sampan.errors import InvalidParameter

ALL = Choice(experimental=frozenset({"all"}))

FINDINGS = [
    ("FROM scratch AS Base", "StageNameCasing", 1, "Stage name 'Base' should be lowercase"),
    ("FROM scratch as base", "FromAsCasing", 1, "'as' and 'FROM' keywords' casing do not match"),
    ("FROM scratch\nRUN a \\\n\n  b", "NoEmptyContinuation", 4, "Empty continuation line"),
    (
        "FROM scratch\nENV a=b\nrun x",
        "ConsistentInstructionCasing",
        3,
        "Command 'run' should match the case of the command majority (uppercase)",
    ),
    (
        "FROM scratch AS a\nFROM scratch AS a",
        "DuplicateStageName",
        2,
        'Duplicate stage name "a", stage names should be unique',
    ),
    (
        "FROM scratch AS context",
        "ReservedStageName",
        1,
        'Stage name should not use the same name as reserved stage "context"',
    ),
    (
        "FROM scratch\nENTRYPOINT top",
        "JSONArgsRecommended",
        2,
        "JSON arguments recommended for ENTRYPOINT to prevent unintended behavior related to OS signals",
    ),
    (
        "FROM scratch\nMAINTAINER me",
        "MaintainerDeprecated",
        2,
        "Maintainer instruction is deprecated in favor of using label",
    ),
    ("ARG TAG=1\nFROM a:$TAB", "UndefinedArgInFrom", 2, "FROM argument 'TAB' is not declared (did you mean TAG?)"),
    (
        "FROM scratch\nWORKDIR app",
        "WorkdirRelativePath",
        2,
        'Relative workdir "app" can have unexpected results if the base image changes',
    ),
    (
        "FROM scratch\nARG name\nCOPY $nam /",
        "UndefinedVar",
        3,
        "Usage of undefined variable '$nam' (did you mean $name?)",
    ),
    (
        'FROM scratch\nCMD ["a"]\nCMD ["b"]',
        "MultipleInstructionsDisallowed",
        2,
        "Multiple CMD instructions should not be used in the same stage because only the last one will be used",
    ),
    (
        "FROM scratch\nENV a b",
        "LegacyKeyValueFormat",
        2,
        '"ENV key=value" should be used instead of legacy "ENV key value" format',
    ),
    (
        "FROM --platform=$TARGETPLATFORM scratch",
        "RedundantTargetPlatform",
        1,
        "Setting platform to predefined $TARGETPLATFORM in FROM is redundant as this is the default behavior",
    ),
    (
        "FROM scratch\nARG DB_PASSWORD",
        "SecretsUsedInArgOrEnv",
        2,
        'Do not use ARG or ENV instructions for sensitive data (ARG "DB_PASSWORD")',
    ),
    (
        "ARG TAG\nFROM busybox:$TAG",
        "InvalidDefaultArgInFrom",
        2,
        "Default value for ARG busybox:$TAG results in empty or invalid base image name",
    ),
    (
        "FROM --platform=linux/amd64 scratch",
        "FromPlatformFlagConstDisallowed",
        1,
        'FROM --platform flag should not use constant value "linux/amd64"',
    ),
    (
        "FROM scratch\nADD secret.txt /",
        "CopyIgnoredFile",
        2,
        'Attempting to Add file "secret.txt" that is excluded by .dockerignore',
    ),
    (
        "# something else\nFROM scratch AS base",
        "InvalidDefinitionDescription",
        2,
        "Comment for FROM should follow the format: `# base <description>`",
    ),
    ("FROM scratch\nEXPOSE 80/TCP", "ExposeProtoCasing", 2, "Defined protocol '80/TCP' in EXPOSE instruction should be "
     "lowercase"),
    (
        "FROM scratch\nEXPOSE 127.0.0.1:80:80",
        "ExposeInvalidFormat",
        2,
        "EXPOSE instruction should not define an IP address or host-port mapping, found '127.0.0.1:80:80'",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "rule", "line", "message"), FINDINGS, ids=[rule for _, rule, _, _ in FINDINGS])
def test_a_rule_finds_what_it_is_for(text: str, rule: str, line: int, message: str) -> None:
    warnings = check(Checked(parse(text), ignore=Ignore(["*.txt"])), ALL)
    assert [(w.rule, w.found.span.start, w.message) for w in warnings] == [(rule, line, message)]


def test_every_rule_is_tried() -> None:
    assert {rule for _, rule, _, _ in FINDINGS} == RULES.keys()


def test_a_file_in_order_is_silent() -> None:
    text = (
        "ARG TAG=1\n# base is the base\nFROM busybox:${TAG} AS base\nARG V=1\nENV HOME=/x PUBLIC_KEY=a\n"
        'WORKDIR /app\nWORKDIR sub\nCOPY --from=base $V ./\nEXPOSE 80/tcp\nCMD ["x"]\nFROM base\nWORKDIR more\n'
    )
    assert check(Checked(parse(text), bases={"busybox:${TAG}": ()}), ALL) == []


def test_variables_of_an_unknown_base_are_not_judged() -> None:
    text = "FROM java\nWORKDIR $JAVA_HOME"
    assert check(Checked(parse(text))) == []
    assert [w.rule for w in check(Checked(parse(text), bases={"java": ()}))] == ["UndefinedVar"]
    assert check(Checked(parse(text), bases={"java": ["JAVA_HOME"]})) == []


def test_the_directive_leaves_rules_out() -> None:
    text = "# check=skip=JSONArgsRecommended,stagenamecasing;error=true\nFROM scratch AS A\nCMD x\nMAINTAINER me"
    assert [w.rule for w in check(Checked(parse(text)))] == ["MaintainerDeprecated"]
    assert choice_of(parse(text).directives["check"]).error
    assert check(Checked(parse(text)), choice_of("skip=all")) == []


def test_an_unknown_option_is_an_error() -> None:
    with pytest.raises(InvalidParameter, match="invalid check option"):
        choice_of("jump=x")
