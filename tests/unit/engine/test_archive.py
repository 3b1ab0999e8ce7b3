"""Files of a container that goes away meanwhile."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from sampan.engine.archive import unless_removed
from sampan.engine.states import Status
from sampan.errors import NoSuchContainer


def container(status: Status) -> Any:
    return cast("Any", SimpleNamespace(name="web", status=status))


@pytest.mark.parametrize("status", [Status.REMOVING, Status.DEAD])
def test_files_missing_for_a_removal_mean_that_there_is_no_container(status: Status) -> None:
    with pytest.raises(NoSuchContainer, match="web"), unless_removed(container(status)):
        raise FileNotFoundError


def test_files_missing_otherwise_are_an_error() -> None:
    with pytest.raises(FileNotFoundError), unless_removed(container(Status.EXITED)):
        raise FileNotFoundError
