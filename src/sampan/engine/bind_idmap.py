"""``idmap`` of a bind: whose the host's files are in the container, file by file, without changing them.

    idmap  = "uids=" ranges [";gids=" ranges]        without gids they are mapped as the uids
    ranges = range *("#" range)
    range  = on-disk "-" seen "-" count              podman's order

IDs outside the ranges appear as nobody's and cannot be used: neither read with their rights nor written.
"""

import re
from collections.abc import Sequence
from itertools import pairwise

from sampan.errors import InvalidParameter
from sampan.oci.runtime_spec import IDMapping

IDS = re.compile(r"uids=([^;]+)(?:;gids=([^;]+))?")
RANGE = re.compile(r"(\d{1,10})-(\d{1,10})-(\d{1,10})", re.ASCII)
LARGEST = (1 << 32) - 1

Mappings = Sequence[IDMapping]


def parse_idmap(text: str) -> tuple[Mappings, Mappings]:
    """The maps of users and groups; raises InvalidParameter."""
    found = IDS.fullmatch(text)
    if found is None:
        raise InvalidParameter(f"invalid idmap: {text}: expected uids=ON_DISK-SEEN-COUNT[#…][;gids=…]")
    uids = parse_ranges(found[1])
    return uids, parse_ranges(found[2]) if found[2] else uids


def parse_ranges(text: str) -> Mappings:
    """The ranges of one kind of ID; raises InvalidParameter for what the kernel would refuse."""
    ranges = []
    for part in text.split("#"):
        found = RANGE.fullmatch(part)
        on_disk, seen, count = (int(number) for number in found.groups()) if found else (0, 0, 0)
        if not count or max(on_disk, seen) + count > LARGEST:
            raise InvalidParameter(f"invalid idmap range: {part}: expected ON_DISK-SEEN-COUNT")
        ranges.append(IDMapping(on_disk, seen, count))
    for side in ("container_id", "host_id"):
        ordered = sorted((getattr(one, side), one.size) for one in ranges)
        if any(first + size > after for (first, size), (after, _) in pairwise(ordered)):
            raise InvalidParameter(f"invalid idmap: {text}: ranges overlap")
    return ranges
