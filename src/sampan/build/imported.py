"""``--cache-from``: steps that images of other machines were made of, by the keys that their configs carry.

    config["sampan.steps"]   keys, the last for the last entry of ``history``
    history, layers          what each of those steps made

Only images that a classic build of this engine made carry keys; others are no use as a cache, and are no error either.
"""

from collections.abc import Iterator, Sequence

from sampan.build.cache import Entry
from sampan.errors import InvalidParameter, NotFound
from sampan.storage.images import Image
from sampan.storage.leases import Lease
from sampan.storage.store import Storage


class Imported:
    """Results of steps by their key."""

    def __init__(self, entries: dict[str, Entry] | None = None) -> None:
        self._entries = entries or {}

    def find(self, key: str) -> Entry | None:
        """The step's result."""
        return self._entries.get(key)


def import_steps(storage: Storage, lease: Lease, names: Sequence[str]) -> Imported:
    """The steps of the images ``names`` that are here, their layers unpacked and held by ``lease``."""
    entries: dict[str, Entry] = {}
    for name in names:
        try:
            image = storage.images.resolve(name)
        except (NotFound, InvalidParameter):
            continue  # as dockerd: an image that is not here is a cache that knows nothing
        if image.config.value.steps:
            lease.hold(*(layer.digest for layer in image.manifest.value.layers), *image.config.value.chain_ids)
            storage.images.unpack(image)
            entries.update(_steps(image))
    return Imported(entries)


def _steps(image: Image) -> Iterator[tuple[str, Entry]]:
    """Key and result of each step that the image knows the key of."""
    config, layers = image.config.value, image.manifest.value.layers
    first, position = len(config.history) - len(config.steps), 0
    for number, step in enumerate(config.history):
        entry = Entry(step.created, step.created_by)
        if not step.empty_layer:
            if position >= len(layers):
                return  # a history that does not fit its layers tells nothing
            entry = Entry(
                step.created, step.created_by, layers[position], config.diff_ids[position], config.chain_ids[position]
            )
            position += 1
        if number >= first >= 0:
            yield config.steps[number - first], entry
