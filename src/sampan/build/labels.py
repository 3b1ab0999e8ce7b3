"""``--label`` of the classic builder: LABEL steps at the end of the target stage, one for each, sorted."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from sampan.build.stages import target_index
from sampan.dockerfile import instructions as ins
from sampan.dockerfile.source import Span
from sampan.dockerfile.words import Pair

_SPECIAL = re.compile(r"""[\\`$"']""")


def with_labels(file: ins.Dockerfile, target: str, labels: Mapping[str, str]) -> ins.Dockerfile:
    """``file`` with the steps in the stage that ``target`` names. Raises InvalidParameter."""
    if not labels:
        return file
    index = target_index(file, target)
    stage = file.stages[index]
    end = (stage.body[-1] if stage.body else stage.head).origin.span.end
    grown = replace(stage, body=(*stage.body, *_steps(labels, Span(end, end), file.escape)))
    return replace(file, stages=(*file.stages[:index], grown, *file.stages[index + 1 :]))


def _steps(labels: Mapping[str, str], where: Span, escape: str) -> Iterator[ins.Label]:
    for key, value in sorted(labels.items()):
        origin = ins.Origin("LABEL", f"LABEL {key}={value}", where)
        yield ins.Label(origin, (Pair(_literal(key, escape), _literal(value, escape)),))


def _literal(text: str, escape: str) -> str:
    """``text`` so that expansion gives it back."""
    return _SPECIAL.sub(lambda match: escape + match[0], text)
