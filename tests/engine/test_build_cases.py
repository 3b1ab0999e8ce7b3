"""Dockerfiles, instruction by instruction, with both builders: the image's config and files, or the error's sentence.

The cases are in ``build_cases/*.txt``; ``support/build_cases.py`` says how to read them. What Docker 20.10 can build
was compared with it, builder by builder; where the two differ here on purpose, the newer documentation decides.
"""

from pathlib import Path
from typing import Any

import docker
import pytest
from build_cases import Case, expected_of, outcome, read_cases

FILES = sorted(Path(__file__).with_name("build_cases").glob("*.txt"))
CASES = [
    pytest.param(case, version, id=f"{path.stem}, {case.name}, {version}")
    for path in FILES
    for case in read_cases(path)
    for version in case.versions
]


@pytest.mark.parametrize(("case", "version"), CASES)
def test_what_comes_of(daemon: Any, client: docker.DockerClient, case: Case, version: str) -> None:
    assert outcome(client.api, case, version) == expected_of(case, version)


def test_every_file_has_cases_with_names_of_their_own() -> None:
    for path in FILES:
        names = [case.name for case in read_cases(path)]
        assert names
        assert len(set(names)) == len(names)
