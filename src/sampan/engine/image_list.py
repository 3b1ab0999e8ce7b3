"""``docker images``: which images are listed, in which order, with which names."""

import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from sampan.api.descriptor import ImageManifestSummary
from sampan.api.filters import Filters
from sampan.api.images import ImageListOptions, ImageSummary
from sampan.api.times import parse_moment
from sampan.engine import image_views as views
from sampan.engine.image_users import ImageUser
from sampan.errors import EngineError, InvalidParameter
from sampan.oci.reference import Reference
from sampan.storage.images import Image
from sampan.storage.store import Storage

ACCEPTED = ("dangling", "label", "before", "since", "reference", "until")


@dataclass(frozen=True)
class _Selection:
    """The filters, decided: times in nanoseconds, exclusive."""

    filters: Filters
    before: int | None
    since: int | None

    def takes(self, image: Image) -> bool:
        created = views.created_at(image.config.value.created)
        return (
            (self.before is None or created < self.before)
            and (self.since is None or created > self.since)
            and self.filters.labels_and_none_of(image.config.value.config.labels)
        )


def list_images(storage: Storage, options: ImageListOptions, users: Sequence[ImageUser]) -> list[ImageSummary]:
    """The images asked for, newest first. Raises InvalidParameter for filters, NoSuchImage for since and before."""
    options.filters.validate(ACCEPTED)
    selection = _selection(storage, options.filters)
    images = sorted(storage.images.all(), key=_age)
    shared = views.shared_sizes(storage, images) if options.shared_size else {}
    found = []
    for image in images:
        references = storage.images.references_of(image.id)
        shown = _shown(storage, image, references, options) if selection.takes(image) else None
        if shown is None:
            continue
        line = views.summary(storage, image, shown)
        line.shared_size = shared.get(image.id, -1)
        if options.container_count:
            line.containers = sum(user.image_id == image.id for user in users)
        if options.manifests:
            line.manifests = views.manifests(storage, image, references, users)
            if options.identity:
                _identify(line.manifests, references)
        found.append(line)
    return found


def _identify(manifests: Sequence[ImageManifestSummary], references: Sequence[Reference]) -> None:
    """Say of the images that are here where they come from."""
    for one in manifests:
        if one.image_data is not None and one.available:
            one.image_data.identity = views.identity_of(references)


def _age(image: Image) -> int:
    """Newest first, to the nanosecond."""
    return -views.created_at(image.config.value.created)


def _selection(storage: Storage, filters: Filters) -> _Selection:
    now = time.time_ns()
    before = [_created(storage, name) for name in filters.get("before")]
    before += [_until(text, now) for text in filters.get("until")]
    since = [_created(storage, name) for name in filters.get("since")]
    return _Selection(filters, min(before, default=None), max(since, default=None))


def _created(storage: Storage, name: str) -> int:
    return views.created_at(storage.images.resolve(name).config.value.created)


def _until(text: str, now: int) -> int:
    try:
        return parse_moment(text, now)
    except InvalidParameter as error:
        raise InvalidParameter(f"invalid value for 'until' filter: {error}") from error


def _shown(
    storage: Storage, image: Image, references: Sequence[Reference], options: ImageListOptions
) -> list[Reference] | None:
    """The references to show; None when the image is not listed."""
    filters = options.filters
    named = list(references)
    if "reference" in filters:
        named = [known for known in named if _matches(known, filters.get("reference"))]
        if not named:
            return None
    if not named and storage.images.is_folded(image.id):
        return named if options.all else None
    is_intermediate = not named and bool(storage.images.children(image.id))
    if is_intermediate and not options.all:
        return None
    if "dangling" in filters and filters.flag("dangling") != (not views.repo_tags(named)):
        return None
    return named


def _matches(reference: Reference, patterns: Iterable[str]) -> bool:
    """Whether a shell pattern, in which ``*`` stops at a slash, matches the reference short or in full."""
    forms = (reference.familiar, reference.familiar_name, str(reference), reference.name)
    return any(_pattern(pattern).fullmatch(form) for pattern in patterns for form in forms)


def _pattern(text: str) -> "re.Pattern[str]":
    """Go's path.Match as a regular expression. Raises EngineError, as dockerd: it finds out while it matches."""
    parts = re.split(r"(\*|\?|\[[^]]*\])", text)
    wild = {"*": "[^/]*", "?": "[^/]"}
    try:
        return re.compile("".join(wild.get(p) or (p if p.startswith("[") else re.escape(p)) for p in parts))
    except re.error as error:
        raise EngineError("syntax error in pattern") from error
