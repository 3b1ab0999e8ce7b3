"""The device list of cgroup v1: what rules in order come to, and the writes that make it so.

    allow      what holds for a device that is not named: everything (after a rule for all), or nothing
    named      device → the letters for which the contrary holds

The kernel keeps just this. It knows nothing of parts: a rule that takes something out of a wider one would change
nothing there, and is an error here. One for a wider range than others before it takes all of those back.

Source: Documentation/admin-guide/cgroup-v1/devices.rst; security/device_cgroup.c.
"""

from collections.abc import Iterator, Sequence

import msgspec

from sampan.errors import InvalidParameter
from sampan.oci.runtime_spec import DeviceCgroup

EVERYTHING = "a"
_ANY = "*"

Device = tuple[str, str, str]
"""Type (b, c), major, minor; ``*`` is any."""


class DeviceList(msgspec.Struct):
    """What may be done with which device."""

    allow: bool
    named: dict[Device, set[str]] = msgspec.field(default_factory=dict)


def compose(rules: Sequence[DeviceCgroup]) -> DeviceList:
    """The list that ``rules`` come to, beginning with nothing. Raises InvalidParameter for what v1 cannot say."""
    found = DeviceList(False)
    for rule in rules:
        if is_everything(rule):
            found = DeviceList(rule.allow)
            continue
        for device in _devices(rule):
            _apply(found, rule.allow, device, set(rule.access or "rwm"))
    return found


def is_everything(rule: DeviceCgroup) -> bool:
    """Whether a rule is for every device, and so settles all that came before it."""
    return rule.type in {"", EVERYTHING} and (_number(rule.major), _number(rule.minor)) == (_ANY, _ANY)


def _devices(rule: DeviceCgroup) -> Iterator[Device]:
    """A rule without a type is for both: to the kernel, "a" means all there is, whatever numbers stand beside it."""
    for kind in ("b", "c") if rule.type in {"", EVERYTHING} else (rule.type,):
        yield kind, _number(rule.major), _number(rule.minor)


def _number(number: int | None) -> str:
    return _ANY if number is None or number < 0 else str(number)


def _apply(found: DeviceList, allow: bool, device: Device, access: set[str]) -> None:
    if allow is not found.allow:
        found.named.setdefault(device, set()).update(access)
        return
    for other, letters in list(found.named.items()):
        if _covers(device, other):
            letters.difference_update(access)
            if not letters:
                del found.named[other]
        elif letters & access and _covers(other, device):
            raise InvalidParameter(
                f"linux.resources.devices: {_shown(device)} is part of {_shown(other)}, which an earlier rule "
                f"{'denies' if found.allow else 'allows'}: cgroup v1 cannot take it out of there"
            )


def _covers(wide: Device, narrow: Device) -> bool:
    return all(one in (_ANY, other) for one, other in zip(wide, narrow, strict=True))


def _shown(device: Device) -> str:
    return f"{device[0]} {device[1]}:{device[2]}"


def listed(text: str) -> DeviceList:
    """What the kernel tells in ``devices.list``: where all is allowed, not what is denied."""
    found = DeviceList(False)
    for line in text.splitlines():
        kind, numbers, access = line.split()
        if kind == EVERYTHING:
            return DeviceList(True)
        major, _, minor = numbers.partition(":")
        found.named[(kind, major, minor)] = set(access)
    return found


def writes(wanted: DeviceList, current: DeviceList | None = None) -> Iterator[tuple[str, list[str]]]:
    """The writes, file and values, that make a cgroup's list ``wanted``: the whole, or what differs from ``current``.

    The kernel changes what holds for all devices only where the cgroup has none below it.
    """
    had: dict[Device, set[str]] = {}
    if current is None or current.allow is not wanted.allow:
        yield _file(wanted.allow), [EVERYTHING]
    else:
        had = current.named
    if gone := _values(had, wanted.named):
        yield _file(wanted.allow), gone
    if more := _values(wanted.named, had):
        yield _file(not wanted.allow), more


def _file(allow: bool) -> str:
    return "devices.allow" if allow else "devices.deny"


def _values(these: dict[Device, set[str]], but: dict[Device, set[str]]) -> list[str]:
    """What is in ``these`` and not in ``but``, as the kernel reads it."""
    found = []
    for device, access in these.items():
        if letters := access - but.get(device, set()):
            found.append(f"{_shown(device)} {''.join(letter for letter in 'rwm' if letter in letters)}")
    return found
