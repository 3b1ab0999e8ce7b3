"""``RUN --mount``."""

import pytest

from sampan.dockerfile.mounts import RunMount, parse_mount
from sampan.dockerfile.source import ParseError


@pytest.mark.parametrize(
    ("text", "mount"),
    [
        ("target=/x", RunMount(target="/x")),
        ("dst=/x,rw,src=a,from=b", RunMount(target="/x", source="a", from_="b", read_only=False)),
        (
            "type=cache,id=i,target=/c,sharing=locked,mode=0700,uid=1",
            RunMount("cache", target="/c", id="i", sharing="locked", mode=0o700, uid=1, read_only=False),
        ),
        ("type=tmpfs,target=/t,size=10m", RunMount("tmpfs", target="/t", size=10 << 20, read_only=False)),
        ("type=secret,id=s,required,env=S", RunMount("secret", id="s", required=True, env="S")),
    ],
)
def test_a_mount_becomes_a_value(text: str, mount: RunMount) -> None:
    assert parse_mount(text, str) == mount


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("type=cahce", 'unsupported mount type "cahce" (did you mean cache?)'),
        ("type=bind,size=1", "unexpected key 'size' for mount type 'bind'"),
        ("targt=/x", "unexpected key 'targt' in 'targt=/x' (did you mean target?)"),
        ("target", "invalid field 'target' must be a key=value pair"),
        ("type=bind,uid=1", 'uid not allowed for "bind" type mounts'),
        ("type=secret", "invalid secret mount. one of source, target required"),
        ("type=cache,sharing=x", 'unsupported sharing value "x"'),
        ("type=cache,mode=9", "invalid value 9 for mode"),
        ("type=bind,ro=2", "invalid value for ro: 2"),
    ],
)
def test_a_wrong_mount_says_why(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse_mount(text, str)
    assert caught.value.message == message
