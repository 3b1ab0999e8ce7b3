"""Filters: the default profile's conditions, and what the compiler refuses."""

import pytest

from sampan.errors import InvalidParameter
from sampan.oci.runtime_spec import Seccomp, SeccompArg, SeccompSyscall
from sampan.runtime.seccomp import compile_filter
from sampan.runtime.seccomp_default import default_profile


def allowed(profile: Seccomp) -> set[str]:
    return {name for rule in profile.syscalls if not rule.args and "ALLOW" in rule.action for name in rule.names}


def test_mount_needs_sys_admin() -> None:
    assert "mount" not in allowed(default_profile([]))
    assert {"mount", "clone", "clone3", "unshare"} <= allowed(default_profile(["CAP_SYS_ADMIN"]))


def test_without_sys_admin_clone3_is_missing_not_forbidden() -> None:
    (rule,) = [rule for rule in default_profile([]).syscalls if rule.names == ("clone3",)]
    assert rule.errno_ret == 38


def test_the_same_content_is_compiled_once() -> None:
    compile_filter(default_profile([]))
    assert compile_filter(default_profile([])) is compile_filter(default_profile([]))


def test_a_program_is_whole_instructions() -> None:
    program = compile_filter(
        Seccomp("SCMP_ACT_ERRNO", syscalls=[SeccompSyscall(["read", "no_such_call"], "SCMP_ACT_ALLOW")])
    )
    assert program.code
    assert len(program.code) % 8 == 0


BAD = [
    Seccomp("SCMP_ACT_NOPE"),
    Seccomp("SCMP_ACT_ALLOW", flags=["ODD"]),
    Seccomp("SCMP_ACT_ALLOW", architectures=["SCMP_ARCH_PDP11"]),
    Seccomp(
        "SCMP_ACT_ALLOW", syscalls=[SeccompSyscall(["read"], "SCMP_ACT_ERRNO", None, [SeccompArg(0, 1, 0, "ODD")])]
    ),
]


@pytest.mark.parametrize("section", BAD, ids=lambda section: section.default_action)
def test_words_nobody_knows_are_refused(section: Seccomp) -> None:
    with pytest.raises(InvalidParameter):
        compile_filter(section)


def test_a_filter_that_notifies_asks_for_its_listener() -> None:
    rule = SeccompSyscall(["mkdir"], "SCMP_ACT_NOTIFY")
    assert compile_filter(Seccomp("SCMP_ACT_ALLOW", listener_path="/x", syscalls=[rule])).flags & 8
    assert not compile_filter(Seccomp("SCMP_ACT_ALLOW", listener_path="/x")).flags & 8
