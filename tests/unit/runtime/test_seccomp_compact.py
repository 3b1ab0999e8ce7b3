"""Compact filters give the answers of the filters they were made of; both are run here, instruction by instruction."""

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sampan.errors import InvalidParameter
from sampan.oci.runtime_spec import Seccomp, SeccompArg, SeccompSyscall
from sampan.runtime.seccomp import compile_filter
from sampan.runtime.seccomp_compact import compact
from sampan.runtime.seccomp_default import default_profile

X86_64, I386, ELSE = 0xC000003E, 0x40000003, 0xC00000B7
X32 = 0x40000000
NUMBERS = [*range(480), 511, 512, 547, 600, X32 - 1, *range(X32, X32 + 560), 0xFFFFFFFE, 0xFFFFFFFF]
ALLOW, EPERM = 0x7FFF0000, 0x00050001


def answer(code: bytes, architecture: int, number: int, arguments: tuple[int, ...] = (0,) * 6) -> int:
    """What the kernel would answer: seccomp(2)'s subset of classic BPF, anything else an error."""
    program = list(struct.iter_unpack("<HBBI", code))
    data = struct.pack("<iIQ6Q", number if number < 1 << 31 else number - (1 << 32), architecture, 0, *arguments)
    index, accumulator = 0, 0
    while True:
        operation, true, false, k = program[index]
        if operation == 0x06:
            return k
        if operation == 0x20:
            assert k % 4 == 0
            (accumulator,) = struct.unpack_from("<I", data, k)
            index += 1
        elif operation == 0x54:
            accumulator &= k
            index += 1
        elif operation == 0x05:
            index += 1 + k
        else:
            taken = {
                0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)
            }[operation]  # fmt: skip
            index += 1 + (true if taken else false)


def plain(section: Seccomp) -> bytes:
    """The program before it is made compact: that of a section never used before."""
    from sampan.runtime import seccomp

    return seccomp._compiled(seccomp.encode(section)).code


@pytest.mark.parametrize("capabilities", [[], ["CAP_SYS_ADMIN"], ["CAP_SYS_PTRACE", "CAP_CHOWN"]], ids=str)
def test_the_default_profile_answers_as_before_in_a_third_of_the_length(capabilities: list[str]) -> None:
    code = plain(default_profile(capabilities))
    small = compact(code)
    assert len(small) < len(code) / 2
    # personality and socket are told apart by their first argument, clone by its flags
    for first in (0, 8, 40, 0x20000, 0x7E020000, 1 << 32, 0xFFFFFFFF):
        arguments = (first, 0, 0, 0, 0, 0)
        for number in NUMBERS:
            for architecture in (X86_64, I386, ELSE):
                expected = answer(code, architecture, number, arguments)
                assert answer(small, architecture, number, arguments) == expected, (architecture, number, first)


NAMES = ["read", "write", "open", "mkdir", "clone", "personality", "socket", "getpid", "openat2", "mseal"]
ARGUMENTS = st.builds(
    SeccompArg,
    st.integers(0, 3),
    st.sampled_from([0, 1, 0x7F, 1 << 31, 1 << 33]),
    st.sampled_from([0, 1, 0xFF]),
    st.sampled_from(["SCMP_CMP_EQ", "SCMP_CMP_NE", "SCMP_CMP_GT", "SCMP_CMP_LE", "SCMP_CMP_MASKED_EQ"]),
)
RULES = st.builds(
    lambda names, action, args: SeccompSyscall(names, action, None, args),
    st.lists(st.sampled_from(NAMES), min_size=1, max_size=6, unique=True),
    st.sampled_from(["SCMP_ACT_ALLOW", "SCMP_ACT_LOG", "SCMP_ACT_KILL_PROCESS"]),
    st.lists(ARGUMENTS, max_size=2, unique_by=lambda one: one.index),
)
ARCHITECTURES = st.sampled_from([(), ("SCMP_ARCH_X86",), ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32")])
VALUES = st.sampled_from([0, 1, 2, 0x7F, 0xFE, 0xFF, 1 << 31, (1 << 31) + 1, 1 << 33, (1 << 64) - 1])


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(["SCMP_ACT_ERRNO", "SCMP_ACT_TRAP"]),
    ARCHITECTURES,
    st.lists(RULES, max_size=5),
    st.tuples(*[VALUES] * 6),
)
def test_any_section_answers_as_before(
    default: str, architectures: tuple[str, ...], rules: list[SeccompSyscall], arguments: tuple[int, ...]
) -> None:
    try:
        code = plain(Seccomp(default, architectures=architectures, syscalls=rules))
    except InvalidParameter:  # libseccomp takes no rule beside another that says something else of the same call
        return
    small = compact(code)
    assert len(small) <= len(code)
    for number in NUMBERS:
        for architecture in (X86_64, I386, ELSE):
            assert answer(small, architecture, number, arguments) == answer(code, architecture, number, arguments)


def test_a_program_of_another_shape_is_left_alone() -> None:
    counts = struct.pack("<HBBI", 0x80, 0, 0, 0) + struct.pack("<HBBI", 0x16, 0, 0, 0)  # A = length; return A
    assert compact(counts) == counts


def test_a_section_used_again_is_compact() -> None:
    section = default_profile(["CAP_SYS_BOOT"])
    once, twice, thrice = (compile_filter(section).code for _ in range(3))
    assert twice == thrice == compact(once)
    assert len(twice) < len(once)
