"""The seccomp section of a spec as a BPF program, compiled once per content.

A filter that refuses unknown calls with an errno would refuse calls newer than itself with that errno too, where
programs expect ENOSYS and fall back. So a few instructions stand before it, on the native architecture:

    nr newer than any call the filter was written for  →  ENOSYS
    else                                               →  the filter

Source: runtime-spec config-linux.md "Seccomp"; seccomp(2).
"""

import errno
import os
import platform
import struct
import subprocess
import sys
from collections import Counter
from functools import lru_cache

import msgspec

from sampan.errors import InvalidParameter
from sampan.linux import seccomp as kernel
from sampan.oci.runtime_spec import Seccomp, SeccompSyscall, decode, encode
from sampan.runtime.seccomp_compact import compact
from sampan.runtime.seccomp_syscalls import NEWER

ACTIONS = {
    "SCMP_ACT_KILL": kernel.ACT_KILL_THREAD,
    "SCMP_ACT_KILL_THREAD": kernel.ACT_KILL_THREAD,
    "SCMP_ACT_KILL_PROCESS": kernel.ACT_KILL_PROCESS,
    "SCMP_ACT_TRAP": kernel.ACT_TRAP,
    "SCMP_ACT_ERRNO": kernel.ACT_ERRNO,
    "SCMP_ACT_TRACE": kernel.ACT_TRACE,
    "SCMP_ACT_NOTIFY": kernel.ACT_NOTIFY,
    "SCMP_ACT_LOG": kernel.ACT_LOG,
    "SCMP_ACT_ALLOW": kernel.ACT_ALLOW,
}
FLAGS = {
    "SECCOMP_FILTER_FLAG_TSYNC": 1,
    "SECCOMP_FILTER_FLAG_LOG": 2,
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4,
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV": 32,
}
_NEW_LISTENER = 8
_ARGUMENTS = 6
_NOTIFY = "SCMP_ACT_NOTIFY"
_SENDS = "sendmsg"
_WITH_ERRNO = {"SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"}
_AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}
_X32_BIT = 0x40000000
_PATIENCE = 5
"""Seconds for a section whose filter may never be done."""


class Program(msgspec.Struct, frozen=True):
    """What seccomp(2) is given: flags and instructions."""

    flags: int
    code: bytes


NO_FILTER = Program(0, b"")


def compile_filter(section: Seccomp) -> Program:
    """The program of a section. Raises InvalidParameter for words it should not hold.

    With a listener it must be installed by whoever sends the listener on: its flags ask for the descriptor.
    """
    return _known(encode(section)).use()


class _Known:
    """A compiled section. It is made compact when it is used again: for one process that takes longer than it saves."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._uses = 0

    def use(self) -> Program:
        self._uses += 1
        if self._uses == 2:
            self._program = Program(self._program.flags, compact(self._program.code))
        return self._program


@lru_cache(maxsize=64)
def _known(content: bytes) -> _Known:
    return _Known(_compiled(content))


def _compiled(content: bytes) -> Program:
    section = decode(content, Seccomp, "linux.seccomp")
    _check(section)
    code = _compiled_apart(content) if _may_never_end(section) else _code(section)
    return Program(_flags(section), code)


def _code(section: Seccomp) -> bytes:
    default = _action(section.default_action, section.default_errno_ret)
    with kernel.Filter(default) as built:
        _prepare(built, section)
        for rule in section.syscalls:
            _add(built, rule, default)
        code = built.export()
    if section.default_action == "SCMP_ACT_ERRNO":
        code = _newer_is_missing(_newest(section)) + code
    return code


def _may_never_end(section: Seccomp) -> bool:
    """Whether some call has several rules with conditions, one of them with two or more.

    libseccomp joins such rules in one tree of comparisons, and with some it never gets done (2.5.4).
    """
    conditions: dict[str, list[int]] = {}
    for rule in section.syscalls:
        for name in rule.names:
            conditions.setdefault(name, []).append(len({argument.index for argument in rule.args}))
    return any(sum(map(bool, counts)) > 1 and max(counts) > 1 for counts in conditions.values())


def _compiled_apart(content: bytes) -> bytes:
    """The code of a section by a process of its own, which may be ended. Raises InvalidParameter."""
    command = (sys.executable, "-m", "sampan.runtime.seccomp")
    try:
        done = subprocess.run(command, input=content, capture_output=True, timeout=_PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        raise InvalidParameter(
            f"linux.seccomp: libseccomp made no filter of these rules within {_PATIENCE} s: "
            "give fewer conditions to the rules of one system call"
        ) from None
    if done.returncode:
        raise InvalidParameter(done.stderr.decode(errors="replace").strip())
    return done.stdout


def main() -> None:
    """Compile the section on the standard input to the standard output; what is wrong with it is an error's text."""
    try:
        code = _code(decode(sys.stdin.buffer.read(), Seccomp, "linux.seccomp"))
    except InvalidParameter as error:
        sys.exit(error.message)
    sys.stdout.buffer.write(code)


def _check(section: Seccomp) -> None:
    """What the words of a section must not say together."""
    if section.listener_metadata and not section.listener_path:
        raise InvalidParameter("linux.seccomp.listenerMetadata: there is no listenerPath it could be told to")
    if section.default_action == _NOTIFY:
        raise InvalidParameter(f"linux.seccomp.defaultAction: {_NOTIFY} would notify of the runtime's own calls")
    if section.default_errno_ret is not None and section.default_action not in _WITH_ERRNO:
        raise InvalidParameter(f"linux.seccomp.defaultErrnoRet: {section.default_action} gives no errno")
    for rule in section.syscalls:
        if not rule.names:
            raise InvalidParameter("linux.seccomp.syscalls: names must contain at least one entry")
        if rule.errno_ret is not None and rule.action not in _WITH_ERRNO:
            raise InvalidParameter(f"linux.seccomp: errnoRet of {rule.names[0]}: {rule.action} gives no errno")
        if any(not 0 <= argument.index < _ARGUMENTS for argument in rule.args):
            raise InvalidParameter(f"linux.seccomp: argument index of {rule.names[0]} is not between 0 and 5")
        if rule.action == _NOTIFY and not section.listener_path:
            raise InvalidParameter(f"linux.seccomp: {_NOTIFY} needs a listenerPath")
        if rule.action == _NOTIFY and _SENDS in rule.names:
            raise InvalidParameter(
                f"linux.seccomp: {_NOTIFY} cannot be used for the {_SENDS} syscall: the listener itself is sent by it"
            )


def _prepare(built: kernel.Filter, section: Seccomp) -> None:
    for name in section.architectures:
        token = kernel.architecture(name.removeprefix("SCMP_ARCH_").lower())
        if not token:
            raise InvalidParameter(f'linux.seccomp: architecture "{name}" is not known')
        built.add_architecture(token)
    built.set_attribute(kernel.ATTRIBUTE_NO_NEW_PRIVILEGES, 0)
    try:
        built.set_attribute(kernel.ATTRIBUTE_OPTIMIZE, kernel.BINARY_TREE)
    except OSError:
        return  # libseccomp before 2.5: a list of comparisons, slower and as right


def _add(built: kernel.Filter, rule: SeccompSyscall, default: int) -> None:
    """One rule; conditions on one argument given twice are alternatives, as in every runtime."""
    action = _action(rule.action, rule.errno_ret)
    if action == default:
        return
    conditions = [
        kernel.Comparison(arg.index, _comparison(arg.op), arg.value % (1 << 64), arg.value_two) for arg in rule.args
    ]
    repeated = any(count > 1 for count in Counter(arg.index for arg in rule.args).values())
    for name in rule.names:
        number = _number(name)
        if number is None:
            continue
        for alternative in [[one] for one in conditions] if repeated else [conditions]:
            _add_rule(built, action, number, alternative, name)


def _add_rule(built: kernel.Filter, action: int, number: int, conditions: list[kernel.Comparison], name: str) -> None:
    try:
        built.add_rule(action, number, conditions)
    except OSError as error:
        if error.errno in {errno.EDOM, errno.ENOENT} or name in NEWER:
            return  # a call that none of the filter's architectures has
        raise InvalidParameter(f'linux.seccomp: rule for "{name}": {error.strerror}') from error


def _number(name: str) -> int | None:
    number = kernel.syscall_number(name)
    return NEWER.get(name) if number == kernel.UNKNOWN_SYSCALL else number


def _action(name: str, errno_ret: int | None) -> int:
    if name not in ACTIONS:
        raise InvalidParameter(f'linux.seccomp: action "{name}" is not known')
    if name not in _WITH_ERRNO:
        return ACTIONS[name]
    return ACTIONS[name] | ((errno.EPERM if errno_ret is None else errno_ret) & 0xFFFF)


def _comparison(name: str) -> int:
    if name not in kernel.COMPARISONS:
        raise InvalidParameter(f'linux.seccomp: comparison "{name}" is not known')
    return kernel.COMPARISONS[name]


def _flags(section: Seccomp) -> int:
    """Left out, speculation is left to the process: the mitigation costs much and newer kernels drop it too."""
    flags = 0
    for name in section.flags or ("SECCOMP_FILTER_FLAG_SPEC_ALLOW",):
        if name not in FLAGS:
            raise InvalidParameter(f'linux.seccomp: flag "{name}" is not known')
        flags |= FLAGS[name]
    if any(rule.action == _NOTIFY for rule in section.syscalls):
        return flags & ~FLAGS["SECCOMP_FILTER_FLAG_TSYNC"] | _NEW_LISTENER  # one thread: nothing to synchronise
    return flags & ~FLAGS["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"]  # which is about notifications


def _newest(section: Seccomp) -> int:
    """Highest number the filter speaks of."""
    numbers = [_number(name) or 0 for rule in section.syscalls for name in rule.names]
    return max(numbers, default=0)


def _newer_is_missing(newest: int) -> bytes:
    """The instructions before the filter; other architectures and x32 calls go straight on to it."""
    audit = _AUDIT_ARCHITECTURE.get(platform.machine())
    if audit is None or not newest:
        return b""
    load, jump_equal, jump_greater, jump_not_less, give = 0x20, 0x15, 0x25, 0x35, 0x06
    refuse = kernel.ACT_ERRNO | errno.ENOSYS
    instructions = (
        (load, 0, 0, 4),
        (jump_equal, 0, 4, audit),
        (load, 0, 0, 0),
        (jump_not_less, 2, 0, _X32_BIT),
        (jump_greater, 0, 1, newest),
        (give, 0, 0, refuse),
    )
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in instructions)


def native_architectures() -> tuple[str, ...]:
    """This machine's architecture and those whose calls it can make too, by the specification's names."""
    return _ARCHITECTURES.get(os.uname().machine, ())


def known_architectures() -> list[str]:
    """Every architecture the specification names that this libseccomp filters for."""
    return [f"SCMP_ARCH_{name}" for name in _NAMED if kernel.architecture(name.lower())]


_NAMED = (
    "AARCH64", "ARM", "LOONGARCH64", "M68K", "MIPS", "MIPS64", "MIPS64N32", "MIPSEL", "MIPSEL64", "MIPSEL64N32",
    "PARISC", "PARISC64", "PPC", "PPC64", "PPC64LE", "RISCV64", "S390", "S390X", "SH", "SHEB", "X32", "X86", "X86_64",
)  # fmt: skip
"""Source: runtime-spec config-linux.md "Seccomp"."""
_ARCHITECTURES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
    "s390x": ("SCMP_ARCH_S390X", "SCMP_ARCH_S390"),
    "riscv64": ("SCMP_ARCH_RISCV64",),
    "ppc64le": ("SCMP_ARCH_PPC64LE",),
    "loongarch64": ("SCMP_ARCH_LOONGARCH64",),
}

if __name__ == "__main__":
    main()
