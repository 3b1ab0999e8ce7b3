"""Docker's command-line grammar."""

import pytest

from sampan.cli import grammar
from sampan.cli.grammar import Flag, UsageError

FLAGS = (
    Flag("interactive", "i"),
    Flag("tty", "t"),
    Flag("publish", "p", "list"),
    Flag("name", "", "string"),
    Flag("timeout", "", "int"),
)


def parsed(words: list[str], interspersed: bool = True) -> grammar.Call:
    return grammar.Parser(FLAGS, interspersed).parse(words)


def test_letters_join_and_lists_collect() -> None:
    call = parsed(["-it", "-p80:80", "-p", "81:81", "--publish=82:82", "image"])
    assert (call["interactive"], call["tty"]) == (True, True)
    assert call["publish"] == ["80:80", "81:81", "82:82"]
    assert call.arguments == ["image"]


def test_flags_behind_the_first_argument_belong_to_the_container() -> None:
    call = parsed(["-i", "image", "ls", "--name", "x"], interspersed=False)
    assert call.arguments == ["image", "ls", "--name", "x"]
    assert call["name"] == ""


def test_two_dashes_end_the_flags() -> None:
    assert parsed(["--", "-i"]).arguments == ["-i"]


def test_a_boolean_takes_a_value_only_behind_an_equals_sign() -> None:
    call = parsed(["--tty=false", "--interactive", "true"])
    assert (call["tty"], call["interactive"], call.arguments) == (False, True, ["true"])


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--nope"], "unknown flag: --nope"),
        (["-x"], "unknown shorthand flag: 'x' in -x"),
        (["--name"], "flag needs an argument: --name"),
        (["-p"], "flag needs an argument: -p"),
        (["--tty=perhaps"], 'invalid argument "perhaps"'),
        (["--timeout", "soon"], 'invalid argument "soon"'),
    ],
)
def test_a_wrong_word_is_told(words: list[str], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parsed(words)
