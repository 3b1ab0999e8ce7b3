"""A cgroup's device list as a BPF program: rules are looked at from the last to the first, the first match decides.

    r2 = type, r3 = access asked for, r4 = major, r5 = minor
    rule n:  type differs → next · asks for more than the rule names → next · major, minor differ → next · verdict
    end:     refused

Source: runtime-spec config-linux.md "Allowed Device list"; struct bpf_cgroup_dev_ctx of Linux.
"""

import os
from collections.abc import Iterator, Sequence

import msgspec

from sampan.linux import bpf
from sampan.linux.bpf import Instruction

_TYPES = {"b": 1, "c": 2}
_ACCESS = {"m": 1, "r": 2, "w": 4}
_ALL_ACCESS = 7

_LOAD_WORD = 0x61
_MOVE = 0xBF
_MOVE_32 = 0xBC
_MOVE_NUMBER = 0xB7
_AND_32 = 0x54
_SHIFT_RIGHT_32 = 0x74
_JUMP_NOT_EQUAL = 0x55
_JUMP_NOT_EQUAL_REGISTER = 0x5D
_EXIT = 0x95


class DeviceRule(msgspec.Struct, frozen=True):
    """``type`` a (both), b or c; a number of None is every number; ``access`` out of rwm."""

    allow: bool
    type: str = "a"
    major: int | None = None
    minor: int | None = None
    access: str = "rwm"


def program(rules: Sequence[DeviceRule]) -> list[Instruction]:
    """The whole program; a rule that settles everything ends it early."""
    code = [
        Instruction(_LOAD_WORD, 2, 1, 0),
        Instruction(_MOVE_32, 3, 2),
        Instruction(_AND_32, 2, immediate=0xFFFF),
        Instruction(_SHIFT_RIGHT_32, 3, immediate=16),
        Instruction(_LOAD_WORD, 4, 1, 4),
        Instruction(_LOAD_WORD, 5, 1, 8),
    ]
    for rule in reversed(rules):
        body = list(_rule(rule))
        code += body
        if len(body) == _VERDICT_LENGTH:
            return code
    return code + _verdict(False)


_VERDICT_LENGTH = 2


def _verdict(allow: bool) -> list[Instruction]:
    return [Instruction(_MOVE_NUMBER, 0, immediate=int(allow)), Instruction(_EXIT)]


def _rule(rule: DeviceRule) -> Iterator[Instruction]:
    """The tests of one rule, each jumping behind its verdict when it fails."""
    tests: list[list[Instruction]] = []
    if rule.type in _TYPES:
        tests.append([Instruction(_JUMP_NOT_EQUAL, 2, immediate=_TYPES[rule.type])])
    access = sum(_ACCESS[letter] for letter in set(rule.access))
    if access != _ALL_ACCESS:
        tests.append(_access_test(access, rule.allow))
    for register, number in ((4, rule.major), (5, rule.minor)):
        if number is not None and number >= 0:
            tests.append([Instruction(_JUMP_NOT_EQUAL, register, immediate=number)])
    remaining = sum(map(len, tests)) + _VERDICT_LENGTH
    for test in tests:
        remaining -= len(test)
        *before, jump = test
        yield from before
        yield Instruction(jump.code, jump.destination, jump.source, remaining, jump.immediate)
    yield from _verdict(rule.allow)


_JUMP_EQUAL = 0x15


def _access_test(access: int, allow: bool) -> list[Instruction]:
    """An allowing rule must name all that is asked for; a denying rule any of it."""
    masked = [Instruction(_MOVE_32, 1, 3), Instruction(_AND_32, 1, immediate=access)]
    if allow:
        return [*masked, Instruction(_JUMP_NOT_EQUAL_REGISTER, 1, 3)]
    return [*masked, Instruction(_JUMP_EQUAL, 1, immediate=0)]


def install(directory: str, rules: Sequence[DeviceRule]) -> None:
    """Put the rules in force on a cgroup v2 directory, in place of what was there."""
    cgroup = os.open(directory, os.O_DIRECTORY | os.O_RDONLY | os.O_CLOEXEC)
    try:
        old = bpf.attached(cgroup)
        new = bpf.load_device_program(program(rules))
        try:
            bpf.attach(cgroup, new)
            for one in old:
                bpf.detach(cgroup, one)
        finally:
            for fd in (new, *old):
                os.close(fd)
    finally:
        os.close(cgroup)
