"""Instructions applied to an image config."""

import pytest

from sampan.dockerfile.changes import apply_changes
from sampan.dockerfile.source import ParseError
from sampan.oci.image_config import RunConfig


def test_changes_apply_in_order() -> None:
    config = apply_changes(
        RunConfig(env=["A=1", "Z=1"], cmd=["old"]),
        ["ENV A=2 B=$A", "EXPOSE 80 90/UDP", "WORKDIR /a", "WORKDIR b", 'LABEL x="y z"', "ENTRYPOINT foo",
         "VOLUME /v", "USER me", "STOPSIGNAL SIGINT", "ONBUILD RUN x", "HEALTHCHECK --retries=3 CMD true"],
    )  # fmt: skip
    assert config.env == ["A=2", "Z=1", "B=1"]
    assert config.exposed_ports == {"80/tcp": {}, "90/udp": {}}
    assert (config.working_dir, config.user, config.stop_signal) == ("/a/b", "me", "SIGINT")
    assert config.labels == {"x": "y z"}
    assert config.entrypoint == ["/bin/sh", "-c", "foo"]
    assert config.cmd is None
    assert config.on_build == ["RUN x"]
    assert config.healthcheck is not None
    assert config.healthcheck.test == ["CMD-SHELL", "true"]


def test_an_entrypoint_keeps_the_cmd_given_with_it() -> None:
    config = apply_changes(RunConfig(), ['CMD ["a"]', 'ENTRYPOINT ["b"]'])
    assert (config.cmd, config.entrypoint) == (["a"], ["b"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("RUN x", "RUN is not a valid change command"),
        ("FROM x", "FROM is not a valid change command"),
        ("EXPOSE 99999", "invalid containerPort: 99999"),
        ("EXPOSE 80/abc", "invalid proto: abc"),
    ],
)
def test_a_change_that_is_no_metadata_is_refused(change: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        apply_changes(RunConfig(), [change])
    assert caught.value.message == message
