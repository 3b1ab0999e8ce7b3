"""What the image service asks of the containers' service: who uses which image, and a container to commit."""

from collections.abc import Iterable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from sampan.api.containers import ContainerConfig
from sampan.errors import InvalidParameter
from sampan.oci.reference import Reference


@dataclass(frozen=True, slots=True)
class ImageUser:
    """A container that uses an image, as its root or as a mount (one value for each such image).

    ``name`` is what the container's creation called its root's image: a reference, an ID or the beginning of one.
    """

    container_id: str
    image_id: str
    running: bool
    name: str = ""

    @property
    def reference(self) -> Reference | None:
        """``name`` as a reference; None if it cannot be one."""
        try:
            return Reference.parse(self.name).tagged()
        except InvalidParameter:
            return None


@dataclass(frozen=True, slots=True)
class CommitSource:
    """A container as a commit needs it: the key of its writable layer, its image (empty: none), its config.

    ``attributes`` are those of an event about it.
    """

    container_id: str
    key: str
    image_id: str
    config: ContainerConfig
    attributes: Mapping[str, str] = field(default_factory=dict)


class Containers(Protocol):
    """The side of the containers' service that images see."""

    def image_users(self) -> Iterable[ImageUser]:
        """All uses of images by containers that exist, running or not."""

    def commit_source(self, reference: str, *, pause: bool) -> AbstractAsyncContextManager[CommitSource]:
        """The container, paused for the time of the block if it runs and ``pause``. NoSuchContainer, Conflict."""
