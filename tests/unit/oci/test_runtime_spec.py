"""The runtime specification's JSON."""

import json

import pytest

from sampan.errors import InvalidParameter
from sampan.oci.runtime_spec import CPU, Linux, Process, Resources, Seccomp, SeccompArg, Spec, User, decode, encode


def test_null_counts_as_left_out() -> None:
    spec = decode(b'{"ociVersion":"1.0.2","process":{"args":["a"],"cwd":"/","env":null,"capabilities":null}}', Spec)
    assert spec.process is not None
    assert (spec.process.env, spec.process.capabilities) == ((), None)


def test_wire_names_are_the_specifications() -> None:
    text = b'{"linux":{"resources":{"memory":{"disableOOMKiller":true,"kernelTCP":1},"blockIO":{"weight":10}}}}'
    resources = (decode(text, Spec).linux or Linux()).resources or Resources()
    assert resources.memory is not None
    assert resources.memory.disable_oom_killer
    assert resources.block_io is not None


def test_required_members_are_written_when_they_are_zero() -> None:
    written = json.loads(encode(Spec(process=Process(args=["a"], cwd="/", user=User()))))
    assert written["ociVersion"]
    assert written["process"]["user"] == {"uid": 0, "gid": 0}
    assert json.loads(encode(SeccompArg(0, 1)))["op"] == "SCMP_CMP_EQ"


def test_members_left_out_are_not_written() -> None:
    assert json.loads(encode(Resources(cpu=CPU(shares=2)))) == {"cpu": {"shares": 2}}


def test_a_wrong_type_is_named_with_its_place() -> None:
    with pytest.raises(InvalidParameter, match=r"config.json: .*process.args"):
        decode(b'{"process":{"args":"sh","cwd":"/"}}', Spec)
    with pytest.raises(InvalidParameter):
        decode(b"{", Seccomp)
