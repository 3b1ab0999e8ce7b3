"""On which mount a path lies, and what that allows."""

from pathlib import Path

import pytest

from sampan.engine.propagation import mount_of
from sampan.linux.mountinfo import parse

MOUNTINFO = """\
27 1 254:0 / / rw,relatime - ext4 /dev/root rw
31 27 0:29 / /srv rw shared:3 - tmpfs tmpfs rw
32 31 0:30 / /srv/with\\040space rw master:3 - tmpfs tmpfs rw
33 27 0:31 / /srvother rw - tmpfs tmpfs rw
34 27 0:32 / /dätä rw - tmpfs tmpfs rw
35 34 0:33 / /dätä rw shared:9 - tmpfs tmpfs rw
"""


@pytest.mark.parametrize(
    ("path", "point", "fields"),
    [
        ("/etc", "/", ()),
        ("/srv", "/srv", ("shared:3",)),
        ("/srv/a/b", "/srv", ("shared:3",)),
        ("/srv/with space/x", "/srv/with space", ("master:3",)),
        ("/srvother", "/srvother", ()),
        ("/dätä/x", "/dätä", ("shared:9",)),
    ],
)
def test_a_path_lies_on_the_innermost_mount(path: str, point: str, fields: tuple[str, ...]) -> None:
    assert mount_of(Path(path), parse(MOUNTINFO))[2:4] == (point, fields)
