"""Lines of an image's history, and the environment that a stage begins with."""

import pytest

from sampan.build.descriptions import describe
from sampan.build.state import scratch, with_path
from sampan.dockerfile.parser import parse_instruction
from sampan.oci.image_config import RunConfig
from sampan.oci.platform import host


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("EXPOSE 80-81/udp 90", "EXPOSE [80/udp 81/udp 90/tcp]"),
        ('CMD ["a", "b c"]', 'CMD ["a" "b c"]'),
        ("ENTRYPOINT top", 'ENTRYPOINT ["/bin/sh" "-c" "top"]'),
        ('SHELL ["/bin/ash", "-ec"]', "SHELL [/bin/ash -ec]"),
        (
            "HEALTHCHECK --interval=90s --retries=2 CMD true",
            "HEALTHCHECK {Test:[CMD-SHELL true] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:2}",
        ),
        ('VOLUME ["/a", "/b"]', "VOLUME [/a /b]"),
        ("ENV a=1 b=2", "ENV a=1 b=2"),
        ("STOPSIGNAL 9", "STOPSIGNAL 9"),
        ("USER me", "USER me"),
    ],
)
def test_a_step_is_described_as_buildkit_does(text: str, line: str) -> None:
    assert describe(parse_instruction(text), RunConfig()) == line


def test_every_stage_has_a_path() -> None:
    begun = with_path(scratch(host()))
    (path,) = begun.config.env or ()
    assert path.startswith("PATH=/usr/local/sbin:")
    assert with_path(begun) == begun
