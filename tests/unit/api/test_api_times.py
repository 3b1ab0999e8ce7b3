"""Times as Docker writes and reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sampan.api import times
from sampan.errors import InvalidParameter

NOW = 1_700_000_000 * times.SECOND


@given(st.integers(1, 4_102_444_800 * times.SECOND))
def test_what_is_written_is_read_back(moment: int) -> None:
    assert times.parse_time(times.format_time(moment)) == moment
    assert times.parse_time(times.format_time_fixed(moment)) == moment


def test_trailing_zeros_are_left_out_as_go_does() -> None:
    assert times.format_time(NOW) == "2023-11-14T22:13:20Z"
    assert times.format_time(NOW + 120_000_000) == "2023-11-14T22:13:20.12Z"
    assert times.format_time_fixed(NOW) == "2023-11-14T22:13:20.000000000Z"
    assert times.format_time(0) == times.ZERO
    assert times.parse_time(times.ZERO) == 0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1700000000", NOW),
        ("1700000000.000000007", NOW + 7),
        ("1700000000.5", NOW + 500_000_000),
        ("-1.5", -1_500_000_000),
        ("10m", NOW - 600 * times.SECOND),
        ("1h30m1.5s", NOW - 5_401_500_000_000),
        ("2023-11-14T22:13:20Z", NOW),
        ("2023-11-14T23:13:20+01:00", NOW),
        ("2023-11-14T22:13:20.000000001", NOW + 1),
        ("2023-11-14T22:13", NOW - 20 * times.SECOND),
        ("2023-11-14T22", NOW - 800 * times.SECOND),
        ("2023-11-14", NOW - 80_000 * times.SECOND),
        ("0", 0),
    ],
)
def test_moment(text: str, moment: int) -> None:
    assert times.parse_moment(text, NOW) == moment


@pytest.mark.parametrize("text", ["yesterday", "10", "1h2", "h", "5x", ".s", "1.2.3s"])
def test_no_duration(text: str) -> None:
    with pytest.raises(InvalidParameter, match="invalid duration"):
        times.parse_duration(text)


@given(st.text(max_size=30))
def test_any_text_is_a_moment_or_refused(text: str) -> None:
    try:
        times.parse_moment(text, NOW)
    except InvalidParameter as error:
        assert "invalid time" in error.message or "failed to parse value as time" in error.message


@pytest.mark.parametrize("text", ["2023-13-01", "2023-02-30T00:00:00Z", "2023-01-01T25:00", "0000-01-01"])
def test_no_such_time(text: str) -> None:
    with pytest.raises(InvalidParameter, match="expected RFC 3339"):
        times.parse_time(text)
