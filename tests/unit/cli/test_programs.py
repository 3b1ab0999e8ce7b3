"""The programs behind ``sampan daemon``, ``sampan system`` and ``sampan registry``."""

import pytest

from sampan.cli.main import PROGRAMS, dispatch


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_tells_its_usage_by_the_name_it_was_called(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        dispatch([name, "--help"])
    assert ended.value.code == 0
    assert f"sampan {name}" in capsys.readouterr().out
