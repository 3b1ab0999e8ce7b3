"""Exporters: where the result of a build goes, by the type that the client names.

    moby, image      this engine's store, under names; a registry too with push=true
    docker, oci      an image archive sent to the client
    local, tar       the files sent to the client, as a tree or as a tar

What an exporter's attributes ask for and this builder does not do is refused, never passed over.
"""

import base64
import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import msgspec

from sampan.archive.copy import export as write_tree
from sampan.build.buildkit.product import Product, annotations_of, assemble
from sampan.build.buildkit.sending import Tree
from sampan.build.buildkit.session import Session
from sampan.build.buildkit.status import Activity, StatusLog
from sampan.build.copying import DIRECTORY
from sampan.build.threads import in_thread
from sampan.errors import InvalidParameter, Unsupported
from sampan.linux.openat2 import open_in_root
from sampan.oci.descriptor import Descriptor
from sampan.oci.reference import Reference
from sampan.storage import save
from sampan.storage.images import Image
from sampan.storage.store import Storage

TRUE = frozenset({"true", "1", "t", "T", "TRUE", "True"})
FALSE = frozenset({"", "false", "0", "f", "F", "FALSE", "False"})
REFUSED: Mapping[str, frozenset[str]] = {
    "compression": frozenset({"", "gzip"}),
    "force-compression": FALSE,
    "rewrite-timestamp": FALSE,
    "push-by-digest": FALSE,
    "tar": TRUE,
    "mode": frozenset({"", "copy"}),
    "name-canonical": FALSE,
    "store": TRUE,
    "unpack": TRUE | FALSE,
}
"""Attribute → the values that mean what happens anyway."""

SHOWN: Mapping[str, str] = {
    "moby": "exporting to image",
    "image": "exporting to image",
    "docker": "exporting to docker image format",
    "oci": "exporting to oci image format",
    "local": "exporting to client directory",
    "tar": "exporting to client tarball",
}
"""Exporter → what progress calls its work."""
SENDING = "sending tarball"

TagImage = Callable[[Reference, Descriptor, Image], None]
"""``tag(reference, target, image)``: let a name mean the target, and announce it."""
Push = Callable[[Reference, Session], Awaitable[None]]
"""``await push(reference, session)``: send what the name means to its registry, with the session's credentials."""


@dataclass(frozen=True)
class Export:
    """One exporter's work: ``id`` is its position, by which the client knows it."""

    id: int
    attributes: Mapping[str, str]
    product: Product
    session: Session
    activity: Activity

    def flag(self, name: str) -> bool:
        """An attribute that is true or false. Raises InvalidParameter."""
        value = self.attributes.get(name, "")
        if value not in TRUE | FALSE:
            raise InvalidParameter(f"non-bool value {value!r} specified for {name}")
        return value in TRUE

    def references(self) -> list[Reference]:
        """The names in ``name``. Raises InvalidParameter."""
        names = self.attributes.get("name", "").split(",")
        return [Reference.parse(name).tagged() for name in names if name]


class Exporters:
    """Does what exporters ask; ``run`` is the door."""

    def __init__(self, storage: Storage, tag: TagImage, push: Push) -> None:
        self._storage = storage
        self._tag = tag
        self._push = push
        self._kinds: Mapping[str, Callable[[Export], Awaitable[dict[str, str]]]] = {
            "moby": self._image,
            "image": self._image,
            "docker": self._docker,
            "oci": self._archive,
            "local": self._local,
            "tar": self._tar,
        }

    def check(self, exporters: Any) -> None:
        """Refuse before the build what could not be exported after it. Raises Unsupported."""
        for exporter in exporters:
            if exporter.Type not in self._kinds:
                raise Unsupported(f"exporter {exporter.Type!r} is not supported")
            for name, accepted in REFUSED.items():
                value = exporter.Attrs.get(name)
                if value is not None and value not in accepted:
                    raise Unsupported(f"exporter {exporter.Type!r}: {name}={value} is not supported")

    async def run(self, exporters: Any, product: Product, session: Session, log: StatusLog) -> dict[str, str]:
        """Run all of them, in order; returns what the client is told. Raises EngineError."""
        answer: dict[str, str] = {}
        for number, exporter in enumerate(exporters):
            async with log.vertex(SHOWN[exporter.Type], id=f"exporter {number}") as activity:
                export = Export(number, dict(exporter.Attrs), product, session, activity)
                answer |= await self._kinds[exporter.Type](export)
        return answer

    async def _image(self, export: Export) -> dict[str, str]:
        product, target = await self._assembled(export)
        references = export.references()
        for reference in references:
            async with export.activity.task(f"naming to {reference}"):
                self._tag(reference, target, product.first)
        if export.flag("push"):
            for reference in references:
                async with export.activity.task(f"pushing {reference}"):
                    await self._push(reference, export.session)
        answer = _told(product, target, references)
        if len(product.images) == 1 and not export.flag("push"):
            # The digest of what stays here is the image's ID: compose compares it with what inspect says.
            answer["containerimage.digest"] = product.first.id
        return answer

    async def _docker(self, export: Export) -> dict[str, str]:
        if len(export.product.images) > 1:
            raise Unsupported("docker exporter does not support exporting manifest lists, use the oci exporter instead")
        return await self._archive(export)

    async def _archive(self, export: Export) -> dict[str, str]:
        product, target = await self._assembled(export)
        references = export.references()
        plan = await in_thread(save.plan_of, self._storage, product.images, target, references)
        async with export.activity.task(SENDING):
            await export.session.send_file(export.id, lambda sink: save.save(self._storage, plan, sink))
        return _told(product, target, references)

    async def _assembled(self, export: Export) -> tuple[Product, Descriptor]:
        """The images with what the attributes want of them, and what a name shall mean."""
        async with export.activity.task("exporting layers"):
            product, target = await in_thread(
                assemble, self._storage, export.product, annotations_of(export.attributes)
            )
        for image in product.images:
            await export.activity.done(f"writing image {image.id}")
        if len(product.images) > 1:
            await export.activity.done(f"exporting manifest list {target.digest}")
        return product, target

    async def _local(self, export: Export) -> dict[str, str]:
        split = _is_split(export)
        with ExitStack() as held:
            trees = [
                Tree(self._view(image, held), _directory(image) if split else "") for image in export.product.images
            ]
            async with export.activity.task("copying files"):
                await export.session.send_trees(export.id, trees)
        return {}

    async def _tar(self, export: Export) -> dict[str, str]:
        if len(export.product.images) > 1:
            raise Unsupported("exporter 'tar': several platforms in one tar are not supported")
        with ExitStack() as held:
            root = self._view(export.product.first, held)
            async with export.activity.task(SENDING):
                await export.session.send_file(export.id, lambda sink: write_tree(root, sink))
        return {}

    def _view(self, image: Image, held: ExitStack) -> int:
        """The image's files; the fd closes with ``held``."""
        view = self._storage.snapshots.view(image.chain_id)
        held.callback(os.close, view)
        root = open_in_root(view, ".", DIRECTORY)
        held.callback(os.close, root)
        return root


def _is_split(export: Export) -> bool:
    """Whether each platform has a directory of its own: asked for, or else when there are several."""
    if "platform-split" in export.attributes:
        return export.flag("platform-split")
    return len(export.product.images) > 1


def _directory(image: Image) -> str:
    return str(image.platform).replace("/", "_")


def _told(product: Product, target: Descriptor, references: list[Reference]) -> dict[str, str]:
    """What the client is told of an image: it goes to ``--iidfile`` and ``--metadata-file``."""
    answer = {
        "containerimage.digest": target.digest,
        "containerimage.descriptor": base64.b64encode(msgspec.json.encode(target)).decode(),
    }
    if len(product.images) == 1:
        answer["containerimage.config.digest"] = product.first.id
    if references:
        answer["image.name"] = ",".join(str(reference) for reference in references)
    return answer
