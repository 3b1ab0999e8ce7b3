"""The classic words, in the order of the file although stages run side by side."""

from sampan.api.progress import Record
from sampan.build.classic import ClassicOutput
from sampan.build.request import Step


def text_of(record: Record) -> str:
    return "".join(message.stream for message in record.messages)


async def test_a_later_stage_waits_for_those_before_it() -> None:
    record = Record()
    output = ClassicOutput(record, [0, 1], quiet=False)
    first, second = Step(1, 2, "FROM a", "", 0), Step(2, 2, "FROM b", "", 1)
    await output.started(second)
    await output.finished(second, "2" * 64, cached=True)
    await output.stage_ended(1)
    assert text_of(record) == ""
    await output.started(first)
    await output.finished(first, "1" * 64, cached=False)
    await output.stage_ended(0)
    assert text_of(record) == (
        "Step 1/2 : FROM a\n ---> 111111111111\nStep 2/2 : FROM b\n ---> Using cache\n ---> 222222222222\n"
    )


async def test_a_command_is_told_with_its_container() -> None:
    record = Record()
    output = ClassicOutput(record, [0], quiet=False)
    step = Step(1, 1, "RUN x", "", 0)
    await output.started(step)
    await output.running(step, "c" * 64)
    await output.printed(step, b"out\n", False)
    await output.finished(step, "d" * 64, cached=False)
    assert text_of(record) == (
        "Step 1/1 : RUN x\n ---> Running in cccccccccccc\nout\n"
        " ---> Removed intermediate container cccccccccccc\n ---> dddddddddddd\n"
    )


async def test_a_quiet_build_says_nothing() -> None:
    record = Record()
    output = ClassicOutput(record, [0], quiet=True)
    await output.started(Step(1, 1, "FROM a", "", 0))
    assert record.messages == []
