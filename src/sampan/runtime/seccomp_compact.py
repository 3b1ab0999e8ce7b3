"""A seccomp program made smaller, with the same answers.

Installing a filter takes the kernel a time that grows with its length, at each start and each exec; libseccomp compares
call by call where whole ranges of numbers have one answer. What the program says is found out by running it:

    architecture ─▶ number's range ─┬▶ answer                     ranges end where the program compares with something
                                    └▶ where it begins to look at arguments: from there on it is copied as it is

and written down anew: the architecture's block, in it a binary tree over the ranges, then the answers and copied parts.

A program of another shape than that is left alone.
Source: Documentation/networking/filter.rst of Linux for the instructions; seccomp(2) for struct seccomp_data.
"""

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from operator import eq, ge, gt
from typing import NamedTuple

LOAD, JUMP, JUMP_EQUAL, JUMP_GREATER, JUMP_NOT_LESS, JUMP_BITS, RETURN = 0x20, 0x05, 0x15, 0x25, 0x35, 0x45, 0x06
NUMBER, ARCHITECTURE = 0, 4
"""Offsets in struct seccomp_data."""

_COMPARISONS: Mapping[int, Callable[[int, int], bool]] = {JUMP_EQUAL: eq, JUMP_GREATER: gt, JUMP_NOT_LESS: ge}
_FARTHEST = 255
_INSTRUCTION = struct.Struct("<HBBI")


class Instruction(NamedTuple):
    """struct sock_filter: operation, how many to skip if true and if false, operand."""

    code: int
    true: int
    false: int
    k: int


class Answer(NamedTuple):
    """What comes of a call: the value returned, or (``copied``) the index from which on arguments decide."""

    value: int
    copied: bool = False


class Step(NamedTuple):
    """An instruction to be placed; ``name`` is its label, ``true`` and ``false`` are those it jumps to, if it does."""

    name: str
    code: int
    k: int
    true: str = ""
    false: str = ""


class UnknownShape(Exception):
    """The program does something this file does not understand."""


def compact(code: bytes) -> bytes:
    """A program of the same answers as ``code``; ``code`` itself where none that is shorter is found."""
    program = [Instruction(*fields) for fields in _INSTRUCTION.iter_unpack(code)]
    try:
        steps = list(_steps(program))
        made = b"".join(_INSTRUCTION.pack(*instruction) for instruction in _placed(steps))
    except UnknownShape:
        return code
    return made if len(made) < len(code) else code


def _steps(program: Sequence[Instruction]) -> Iterator[Step]:
    """The smaller program, its jumps still labels."""
    compared = _compared(program)
    architectures = sorted({k for code, k in compared[ARCHITECTURE] if code == JUMP_EQUAL})
    if len(architectures) < len({k for _, k in compared[ARCHITECTURE]}):
        raise UnknownShape
    bounds = sorted({0, *(k for _, k in compared[NUMBER]), *(k + 1 for _, k in compared[NUMBER] if k < 0xFFFFFFFF)})
    other = next(value for value in range(len(architectures) + 1) if value not in architectures)
    blocks = {a: _ranges(program, a, bounds) for a in (*architectures, other)}
    yield Step("start", LOAD, ARCHITECTURE)
    for architecture, following in pairwise([*architectures, other]):
        yield Step(f"is {architecture}", JUMP_EQUAL, architecture, f"load {architecture}", f"is {following}")
    for architecture in (other, *architectures):
        name = f"is {other}" if architecture == other else f"load {architecture}"
        yield from _block(program, architecture, name, blocks[architecture])


def _compared(program: Sequence[Instruction]) -> dict[int, set[tuple[int, int]]]:
    """What the number and the architecture are compared with, and how."""
    found: dict[int, set[tuple[int, int]]] = {NUMBER: set(), ARCHITECTURE: set()}
    loaded: list[set[int]] = [set() for _ in program]
    for index, (code, true, false, k) in enumerate(program):
        if code in _COMPARISONS or code == JUMP_BITS:
            known = loaded[index] & {NUMBER, ARCHITECTURE}
            if known and (len(loaded[index]) > 1 or code == JUMP_BITS):
                raise UnknownShape
            for what in known:
                found[what].add((code, k))
        after = {k} if code == LOAD else loaded[index]
        for following in _following(index, code, true, false, k):
            if following >= len(program):
                raise UnknownShape
            loaded[following] |= after
    return found


def _following(index: int, code: int, true: int, false: int, k: int) -> tuple[int, ...]:
    """Indices of the instructions that may come next."""
    if code == RETURN:
        return ()
    if code == JUMP:
        return (index + 1 + k,)
    return (index + 1 + true, index + 1 + false) if code & 0x07 == JUMP else (index + 1,)


def _ranges(program: Sequence[Instruction], architecture: int, bounds: Sequence[int]) -> list[tuple[int, Answer]]:
    """First number of each range of an architecture, and the answer in it."""
    ranges: list[tuple[int, Answer]] = []
    for bound in bounds:
        answer = _answer(program, architecture, bound)
        if not ranges or ranges[-1][1] != answer:
            ranges.append((bound, answer))
    return ranges


def _answer(program: Sequence[Instruction], architecture: int, number: int) -> Answer:
    """Run the program as far as it looks at nothing else."""
    index, value = 0, 0
    while True:
        code, true, false, k = program[index]
        if code == RETURN:
            return Answer(k)
        if code == LOAD and k in (NUMBER, ARCHITECTURE):
            value = number if k == NUMBER else architecture
            index += 1
        elif code == JUMP:
            index += 1 + k
        elif code in _COMPARISONS:
            index += 1 + (true if _COMPARISONS[code](value, k) else false)
        elif code == LOAD:
            return Answer(index, copied=True)
        else:
            raise UnknownShape


def _block(
    program: Sequence[Instruction], architecture: int, name: str, ranges: Sequence[tuple[int, Answer]]
) -> Iterator[Step]:
    """All that is said of one architecture: the tree, the answers, the copied parts."""
    answers = {answer: f"{architecture} {answer}" for _, answer in ranges}
    if len(ranges) == 1 and not ranges[0][1].copied:
        yield Step(name, RETURN, ranges[0][1].value)
        return
    yield Step(name, LOAD, NUMBER)
    yield from _tree([(first, answers[answer]) for first, answer in ranges], f"{architecture} tree")
    for answer, label in answers.items():
        if answer.copied:
            yield Step(label, JUMP, 0, f"{architecture} copy {answer.value}")  # the tree may be too far away
        else:
            yield Step(label, RETURN, answer.value)
    for index in _reachable(program, [answer.value for answer in answers if answer.copied]):
        code, true, false, k = program[index]
        here = f"{architecture} copy {index}"
        if code & 0x07 == JUMP:
            targets = [f"{architecture} copy {at}" for at in _following(index, code, true, false, k)]
            yield Step(here, code, 0 if code == JUMP else k, targets[0], targets[-1])
        else:
            yield Step(here, code, k)


def _tree(ranges: Sequence[tuple[int, str]], name: str) -> Iterator[Step]:
    """Comparisons that lead a number to the label of its range; nothing for a single one."""
    if len(ranges) == 1:
        return
    middle = len(ranges) // 2
    below, above = ranges[:middle], ranges[middle:]
    left = below[0][1] if len(below) == 1 else name + "l"
    right = above[0][1] if len(above) == 1 else name + "r"
    yield Step(name, JUMP_NOT_LESS, ranges[middle][0], right, left)
    yield from _tree(below, name + "l")
    yield from _tree(above, name + "r")


def _reachable(program: Sequence[Instruction], starts: Sequence[int]) -> list[int]:
    """Indices of all instructions that may follow one of ``starts``, these included, in order."""
    found, left = set[int](), list(starts)
    while left:
        index = left.pop()
        if index not in found:
            found.add(index)
            left += _following(index, *program[index])
    return sorted(found)


def _placed(steps: Sequence[Step]) -> Iterator[Instruction]:
    """Labels as distances."""
    places = {step.name: place for place, step in enumerate(steps)}
    for place, step in enumerate(steps):
        if not step.true:
            yield Instruction(step.code, 0, 0, step.k)
        elif step.code == JUMP:
            yield Instruction(JUMP, 0, 0, places[step.true] - place - 1)
        else:
            true, false = (places[label] - place - 1 for label in (step.true, step.false))
            if max(true, false) > _FARTHEST:
                raise UnknownShape
            yield Instruction(step.code, true, false, step.k)
