"""``--help``: every command and every flag that is taken is told, and what it means."""

from importlib import import_module

import pytest

from sampan.runtime import cli, help


def flags_of(command: str) -> "help.Table":
    module = import_module(f"sampan.runtime.commands.{cli.COMMANDS[command][0]}")
    given: help.Table = module.FLAGS.get(command, ({}, {}))
    return given


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_each_command_tells_its_flags_and_what_they_mean(command: str) -> None:
    flags = flags_of(command)
    told = help.of_command(command, cli.COMMANDS[command][1], flags)
    assert told.splitlines()[1].strip() == f"sampan-runtime {command} - {cli.COMMANDS[command][1]}"
    for name in flags[0]:
        assert f"--{name}" in told
        assert help.MEANINGS[name]


def test_other_spellings_stand_beside_the_flag() -> None:
    lines = help.of_command("exec", "", flags_of("exec")).splitlines()
    assert any(line.startswith("   --env value, -e value") and line.endswith("(may be repeated)") for line in lines)
    assert lines[-1].split() == ["--help,", "-h", "show", "this"]


def test_every_global_flag_has_a_meaning() -> None:
    assert set(help.GLOBAL_MEANINGS) == set(cli.GLOBAL)
    told = help.whole({name: summary for name, (_, summary) in cli.COMMANDS.items()}, (cli.GLOBAL, cli.SHORT))
    assert all(f"--{name}" in told for name in cli.GLOBAL)
    assert all(f"   {name} " in told for name in cli.COMMANDS)


def test_help_of_a_command_is_asked_for_in_three_ways(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = []
    for words in (["help", "exec"], ["exec", "--help"], ["exec", "-h"]):
        monkeypatch.setattr("sys.argv", ["sampan-runtime", *words])
        assert cli.main() == 0
        said.append(capsys.readouterr().out)
    assert len(set(said)) == 1
    assert said[0].startswith("NAME:\n   sampan-runtime exec - ")
