"""The Dockerfile language: lines, instructions, and the sentences of its errors."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.dockerfile import instructions as ins
from sampan.dockerfile.parser import FORMS, parse, parse_instruction
from sampan.dockerfile.source import ParseError, Span, excerpt

WHOLE = r"""# syntax=docker/dockerfile:1
# escape=\
ARG V=1
FROM --platform=$BUILDPLATFORM busybox:${V:-2} AS Base
# what it does
RUN --mount=type=cache,target=/x --network=none echo a \
  # vanishes
  && b

RUN <<EOT python3
print(1)
EOT
COPY --chown=1:2 --exclude=*.md <<"A" <<-B x /dst/
a $b
A
	tab
	B
ENV a=b c="d e" f=$V\ x
ENV legacy  some value
HEALTHCHECK --interval=1m30s CMD ["a","b"]
ONBUILD COPY --from=x a b
EXPOSE 81-83/udp 80
"""


def body(text: str) -> tuple[ins.Instruction, ...]:
    return parse("FROM scratch\n" + text).stages[0].body


def test_a_whole_file_becomes_values() -> None:
    file = parse(WHOLE)
    assert file.directives == {"syntax": "docker/dockerfile:1", "escape": "\\"}
    assert file.arguments[0].definitions == (ins.ArgDefinition("V", "1"),)
    (stage,) = file.stages
    assert (stage.head.base, stage.head.name, stage.head.platform) == ("busybox:${V:-2}", "base", "$BUILDPLATFORM")
    run, heredoc_run, copy, env, legacy, health, trigger, expose = stage.body
    assert isinstance(run, ins.Run)
    assert run.mounts == ("type=cache,target=/x",)
    assert run.network == "none"
    assert run.command.words == ("echo a   && b",)
    assert run.origin.comments == ("what it does",)
    assert run.origin.span == Span(6, 8)
    assert isinstance(heredoc_run, ins.Run)
    assert heredoc_run.heredocs[0].content == "print(1)\n"
    assert isinstance(copy, ins.Copy)
    assert copy.sources == ("x",)
    assert [(h.name, h.expand, h.text) for h in copy.inline] == [("A", False, "a $b\n"), ("B", True, "tab\n")]
    assert copy.exclude == ("*.md",)
    assert isinstance(env, ins.Env)
    assert [(p.key, p.value) for p in env.pairs] == [("a", "b"), ("c", '"d e"'), ("f", "$V\\ x")]
    assert isinstance(legacy, ins.Env)
    assert legacy.pairs[0].value == "some value"
    assert legacy.pairs[0].legacy
    assert isinstance(health, ins.HealthCheck)
    assert (health.check.test, health.check.interval) == (["CMD", "a", "b"], 90 * 10**9)
    assert isinstance(trigger, ins.OnBuild)
    assert trigger.trigger == "COPY --from=x a b"
    assert isinstance(expose, ins.Expose)
    assert expose.ports == ("80", "81-83/udp")


def test_the_escape_directive_changes_the_continuation() -> None:
    (run,) = parse("# escape=`\nFROM scratch\nRUN dir c:\\ `\n  more\n").stages[0].body
    assert isinstance(run, ins.Run)
    assert run.command.words == ("dir c:\\   more",)


def test_a_doubled_escape_does_not_continue_the_line() -> None:
    first, second = body("RUN a\\\\\nRUN b")
    assert isinstance(first, ins.Run)
    assert first.command.words == ("a\\\\",)
    assert isinstance(second, ins.Run)


def test_a_windows_line_ending_is_no_part_of_the_line() -> None:
    (run,) = body("RUN a \\\r\n  b\r\n")
    assert isinstance(run, ins.Run)
    assert run.command.words == ("a   b",)


def test_flags_may_be_quoted_and_end_at_two_dashes() -> None:
    (copy,) = body('COPY --chown="a b" -- --x /y')
    assert isinstance(copy, ins.Copy)
    assert (copy.chown, copy.sources, copy.destination) == ("a b", ("--x",), "/y")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("FROM a\n\nRNU x", "dockerfile parse error on line 3: unknown instruction: RNU (did you mean RUN?)"),
        ("from a\nrnu x", "dockerfile parse error on line 2: unknown instruction: rnu (did you mean run?)"),
        ("FROM a b", "dockerfile parse error on line 1: FROM requires either one or three arguments"),
        (
            "FROM a AS 1x",
            'dockerfile parse error on line 1: invalid name for build stage: "1x", '
            "name can't start with a number or contain symbols",
        ),
        (
            "FROM a\nCOPY x",
            "dockerfile parse error on line 2: COPY requires at least two arguments, but only one was provided. "
            "Destination could not be determined",
        ),
        ("FROM a\nCOPY --frm=x a b", "dockerfile parse error on line 2: unknown flag: --frm (did you mean from?)"),
        ("FROM a\nCOPY --from a b", "dockerfile parse error on line 2: missing a value on flag: --from"),
        (
            "FROM a\nCOPY --link=2 a b",
            "dockerfile parse error on line 2: expecting boolean value for flag --link, not: 2",
        ),
        ("FROM a\nCOPY --from=a --from=b c d", "dockerfile parse error on line 2: duplicate flag specified: --from"),
        ("FROM a\nCOPY x <<E\nE", "dockerfile parse error on line 2: COPY cannot accept a heredoc as a destination"),
        ("FROM a\nRUN <<E\nx", "unterminated heredoc"),
        ("FROM a\nENV x", "dockerfile parse error on line 2: ENV must have two arguments"),
        (
            "FROM a\nENV a=b c",
            'dockerfile parse error on line 2: Syntax error - can\'t find = in "c". Must be of the form: name=value',
        ),
        ("FROM a\nENV", "dockerfile parse error on line 2: ENV requires at least one argument"),
        ("FROM a\nENV =x", "dockerfile parse error on line 2: ENV names can not be blank"),
        ("FROM a\nARG =x", "dockerfile parse error on line 2: ARG names can not be blank"),
        ("FROM a\nSHELL x", "dockerfile parse error on line 2: SHELL requires the arguments to be in JSON form"),
        (
            "FROM a\nCMD [1]",
            "dockerfile parse error on line 2: when using JSON array syntax, arrays must be comprised of strings only",
        ),
        ("FROM a\nHEALTHCHECK x", 'dockerfile parse error on line 2: Unknown type "X" in HEALTHCHECK (try CMD)'),
        ("FROM a\nHEALTHCHECK NONE x", "dockerfile parse error on line 2: HEALTHCHECK NONE takes no arguments"),
        ("FROM a\nHEALTHCHECK CMD", "dockerfile parse error on line 2: Missing command after HEALTHCHECK CMD"),
        (
            "FROM a\nHEALTHCHECK --interval=1us CMD x",
            'dockerfile parse error on line 2: Interval "interval" cannot be less than 1ms',
        ),
        (
            "FROM a\nHEALTHCHECK --interval=1x CMD x",
            'dockerfile parse error on line 2: time: unknown unit "x" in duration "1x"',
        ),
        (
            "FROM a\nHEALTHCHECK --retries=-1 CMD x",
            "dockerfile parse error on line 2: --retries cannot be negative (-1)",
        ),
        (
            "FROM a\nONBUILD ONBUILD RUN x",
            "dockerfile parse error on line 2: Chaining ONBUILD via `ONBUILD ONBUILD` isn't allowed",
        ),
        ("FROM a\nONBUILD FROM x", "dockerfile parse error on line 2: FROM isn't allowed as an ONBUILD trigger"),
        ("FROM a\nWORKDIR", "dockerfile parse error on line 2: WORKDIR requires exactly one argument"),
        ('FROM a\nVOLUME ["  "]', "dockerfile parse error on line 2: VOLUME specified can not be an empty string"),
        (
            "FROM a\nRUN --mount=from=$x,target=/y z",
            "dockerfile parse error on line 2: 'from' doesn't support variable expansion, define alias stage instead",
        ),
        ("RUN x", "no build stage in current context"),
        ("", "file with no instructions"),
        ("# only a comment", "file with no instructions"),
        ("# escape=x\nFROM a", "invalid escape token 'x' does not match ` or \\"),
        ("# syntax=a\n# syntax=b\nFROM a", "only one syntax parser directive can be used"),
    ],
)
def test_errors_are_the_sentences_users_know(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert caught.value.message == message


def test_an_excerpt_marks_the_lines_at_fault() -> None:
    assert excerpt("FROM a\nRNU x\nCMD y", Span(2, 2)) == (
        "Dockerfile:2\n--------------------\n"
        "   1 |     FROM a\n   2 | >>> RNU x\n   3 |     CMD y\n--------------------\n"
    )


PIECES = st.sampled_from(
    [*FORMS, "\n", "\\\n", " ", "\t", '"', "'", "[", "]", "{", "}", "$", "<<E", "\nE\n", "--mount=", "--from=x", "#",
     "=", "a", "b/c", "/", "NONE", "CMD", ",", ":", "\\", "`", "# escape=`\n", "é", "\x00", "1s", "as"]
)  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(st.lists(PIECES, max_size=30).map("".join) | st.text(max_size=60))
def test_no_text_raises_anything_but_a_parse_error(text: str) -> None:
    for reader in (parse, parse_instruction, lambda text: parse("FROM a\n" + text)):
        try:
            reader(text)
        except ParseError as error:
            assert error.message
