"""Filters: the default profile's conditions, and what the compiler refuses."""

import pytest

from sampan.errors import InvalidParameter
from sampan.oci.runtime_spec import Seccomp, SeccompArg, SeccompSyscall
from sampan.runtime import seccomp
from sampan.runtime.seccomp import compile_filter, native_architectures
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


def getpid(action: str, *arguments: SeccompArg) -> SeccompSyscall:
    return SeccompSyscall(["getpid"], action, None, list(arguments))


def test_rules_on_which_the_library_never_ends_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seccomp, "_PATIENCE", 2)
    ne, gt = "SCMP_CMP_NE", "SCMP_CMP_GT"
    endless = [
        getpid("SCMP_ACT_LOG", SeccompArg(0, 1 << 33, 255, gt), SeccompArg(1, 127, 1, "SCMP_CMP_MASKED_EQ")),
        getpid("SCMP_ACT_ALLOW", SeccompArg(2, 127, 1, "SCMP_CMP_EQ"), SeccompArg(1, 1 << 33, 255, ne)),
        getpid("SCMP_ACT_ALLOW", SeccompArg(3, 1 << 31, 0, ne), SeccompArg(1, 1 << 33, 255, ne)),
    ]
    with pytest.raises(InvalidParameter, match="fewer conditions"):
        compile_filter(Seccomp("SCMP_ACT_ERRNO", architectures=native_architectures(), syscalls=endless))


def test_a_section_compiled_apart_is_as_any_other() -> None:
    pair = (SeccompArg(0, 1, 0, "SCMP_CMP_EQ"), SeccompArg(1, 2, 0, "SCMP_CMP_EQ"))
    section = Seccomp("SCMP_ACT_ERRNO", syscalls=[getpid("SCMP_ACT_ALLOW", pair[0]), getpid("SCMP_ACT_LOG", *pair)])
    assert seccomp._may_never_end(section)
    assert seccomp._compiled_apart(seccomp.encode(section)) == seccomp._code(section)
    wrong = Seccomp("SCMP_ACT_ERRNO", syscalls=[*section.syscalls, getpid("SCMP_ACT_ODD")])
    with pytest.raises(InvalidParameter, match='action "SCMP_ACT_ODD" is not known'):
        compile_filter(wrong)
