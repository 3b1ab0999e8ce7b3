"""The plan's encoding, and that the C side has the same tables."""

import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.errors import InvalidParameter
from sampan.runtime import plan
from sampan.runtime.plan import Operation, signature, step
from sampan.runtime.plan_encoding import encode
from sampan.runtime.protocol import Message, MessageKind, StartFlag, StreamFlag, strings

NATIVE = Path(__file__).parents[3] / "native"
PLAIN_TEXT = st.text(st.characters(blacklist_characters="\0", blacklist_categories=("Cs",)))


def test_the_c_header_has_the_same_operations() -> None:
    header = (NATIVE / "operations.h").read_text()
    native = {int(code): (name, letters) for code, name, letters in re.findall(r'X\((\d+), (\w+), "(\w*)"\)', header)}
    python = {code: (_name(kind), signature(kind)) for code, kind in plan.OPERATIONS.items()}
    assert native == python


def test_the_c_header_has_the_same_messages() -> None:
    header = (NATIVE / "wire.h").read_text()
    native = {name: int(code) for code, name in re.findall(r"X\((\d+), (\w+)\)", header)}
    assert native == {kind.name: kind.value for kind in MessageKind}


@pytest.mark.parametrize(("prefix", "flags"), [("START_", StartFlag), ("STREAM_", StreamFlag)])
def test_the_c_header_has_the_same_flags(prefix: str, flags: type[StartFlag] | type[StreamFlag]) -> None:
    header = (NATIVE / "wire.h").read_text()
    native = {name: int(value) for name, value in re.findall(rf"\b{prefix}(\w+) = (\d+)", header)}
    assert native == {flag.name: flag.value for flag in flags}


def test_no_two_operations_share_a_code() -> None:
    assert len(plan.OPERATIONS) == len(Operation.__subclasses__())


def test_every_operation_describes_itself() -> None:
    assert all(kind.__doc__ and not kind.__doc__.startswith(kind.__name__ + "(") for kind in plan.OPERATIONS.values())


def test_a_plan_is_encoded_as_drawn() -> None:
    raw = encode([plan.SetUmask(0o22), plan.SetHostname("box"), plan.Execute("a", ("a", "b"), (), 0)])
    assert raw[:16] == struct.pack("<4sIII", b"SMPN", 1, 3, 0)
    assert raw[16:32] == struct.pack("<HHIq", 31, 0, 8, 0o22)
    assert raw[32:48] == struct.pack("<HHI", 23, 0, 8) + b"\x03\0\0\0box\0"
    assert raw[48:56] == struct.pack("<HHI", 45, 0, 56)
    assert raw[56:64] == b"\x01\0\0\0a\0\0\0"
    assert raw[64:80] == b"\x04\0\0\0a\0b\0" + bytes(8)
    assert len(raw) == 56 + 56


def test_a_nul_byte_inside_a_string_is_refused() -> None:
    with pytest.raises(InvalidParameter, match="NUL"):
        encode([plan.SetHostname("a\0b")])
    with pytest.raises(InvalidParameter, match="NUL"):
        strings(["a\0b"])


@given(st.lists(PLAIN_TEXT), PLAIN_TEXT, st.binary(), st.integers(-(1 << 63), (1 << 64) - 1))
def test_everything_stays_aligned(items: list[str], text: str, raw: bytes, number: int) -> None:
    encoded = encode([plan.Execute(text, tuple(items), ()), plan.WriteSlot(number, raw)])
    code, _, size = struct.unpack_from("<HHI", encoded, 16)
    assert code == plan.Execute.CODE and size % 8 == 0
    code, _, size = struct.unpack_from("<HHI", encoded, 24 + size)
    assert code == plan.WriteSlot.CODE
    assert len(encoded) % 8 == 0


def test_slots_count_inherited_descriptors_first() -> None:
    slots = plan.Slots()
    assert [slots.give(11), slots.give(12), slots.take(), slots.take()] == [3, 4, 5, 6]
    assert slots.fds == [11, 12]
    with pytest.raises(ValueError, match="before"):
        slots.give(13)


def test_slots_end() -> None:
    slots = plan.Slots()
    with pytest.raises(InvalidParameter, match="256"):
        for _ in range(plan.SLOTS):
            slots.take()


def test_steps_are_named_as_in_c() -> None:
    assert step(plan.SetOomScore(1)) == "set_oom_score"


@given(
    st.sampled_from(MessageKind),
    st.integers(0, (1 << 32) - 1),
    st.tuples(*[st.integers(-(1 << 63), (1 << 63) - 1)] * 4),
    st.lists(PLAIN_TEXT),
)
def test_messages_survive_the_wire(
    kind: MessageKind, process: int, v: tuple[int, int, int, int], texts: list[str]
) -> None:
    message = Message(kind, process, v, strings(texts), 3, 4)
    assert Message.decode(message.encode()) == message
    assert message.strings == texts


def _name(kind: type[Operation]) -> str:
    return step(kind(*(0 for _ in kind.__struct_fields__)))
