"""Streams of JSON: the media types that clients may ask for, and what each puts before a value.

    application/jsonl, application/x-ndjson    a value a line
    application/json-seq                       the same, each after a record separator (RFC 7464)

``strict`` takes what a client names; ``negotiated`` takes a wildcard as well, as RFC 9110 has it.
"""

from collections.abc import Callable

JSON_LINES, NDJSON, JSON_SEQUENCE = "application/jsonl", "application/x-ndjson", "application/json-seq"

JSON_STREAMS = (JSON_LINES, NDJSON, JSON_SEQUENCE)

WILDCARDS = ("*/*", "application/*")

RECORD_SEPARATOR = b"\x1e"


def strict(accept: str) -> str:
    """The stream that ``Accept`` names with the highest weight, "" if it names none."""
    return _best(accept, lambda offer: (offer,))


def negotiated(accept: str) -> str:
    """The stream for ``Accept``, "" if none will do; one of equal weight that is named stands before a wildcard's."""
    return strict(accept) or _best(accept, lambda _: WILDCARDS)


def separator(media_type: str) -> bytes:
    """What stands before each value of the stream."""
    return RECORD_SEPARATOR if media_type == JSON_SEQUENCE else b""


def _best(accept: str, names: Callable[[str], tuple[str, ...]]) -> str:
    weights = _weights(accept)
    weight, _, offer = max(
        (max(weights.get(name, 0.0) for name in names(offer)), -place, offer)
        for place, offer in enumerate(JSON_STREAMS)
    )
    return offer if weight > 0 else ""


def _weights(accept: str) -> dict[str, float]:
    weights = {}
    for part in accept.split(","):
        media_type, _, parameters = part.partition(";")
        weights[media_type.strip().lower()] = _weight(parameters)
    return weights


def _weight(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    try:
        return float(value) if name == "q" else 1.0
    except ValueError:
        return 0.0
