"""Exporters: where the result of a build goes, by the type that the client names.

    moby, image      this engine's store, under names; a registry too with push=true
    docker, oci      an image archive sent to the client, or (oci, tar=false) a layout in a directory of the client's
    local, tar       the files sent to the client, as a tree or as a tar: see ``export_files``

What an exporter's attributes ask for and this builder does not do is refused, never passed over.
"""

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from sampan.build.buildkit.attributes import FALSE, TRUE, Export, form_of
from sampan.build.buildkit.export_files import export_tar, export_tree
from sampan.build.buildkit.product import Product, annotations_of, assemble
from sampan.build.buildkit.session import Session
from sampan.build.buildkit.status import StatusLog
from sampan.build.conversion import COMPRESSIONS, convert
from sampan.build.threads import in_thread
from sampan.errors import Unsupported
from sampan.oci import descriptor as types
from sampan.oci.descriptor import Descriptor
from sampan.oci.reference import Reference
from sampan.storage import save
from sampan.storage.images import Image
from sampan.storage.store import Storage

ACCEPTED: Mapping[str, frozenset[str]] = {
    "compression": frozenset({"", *COMPRESSIONS}),
    "compression-level": frozenset(),
    "mode": frozenset({"", "copy", "delete"}),
    "oci-mediatypes": TRUE,
    "oci-artifact": FALSE,
    "prefer-nondist-layers": FALSE,
    "unpack": TRUE | FALSE,
    "registry.insecure": FALSE,
}
"""Attribute → the values that can be had."""
IMAGE_EXPORTERS = frozenset({"moby", "image"})
"""Exporters whose images stay here."""
LAYOUT_STORE = "export"
"""How a client calls the directory that it wants a layout in."""
SHOWN: Mapping[str, str] = {
    "moby": "exporting to image",
    "image": "exporting to image",
    "docker": "exporting to docker image format",
    "oci": "exporting to oci image format",
    "local": "exporting to client directory",
    "tar": "exporting to client tarball",
}
"""Exporter → what progress calls its work."""

TellImage = Callable[[Image], None]
"""``made(image)``: announce an image that is kept."""
TagImage = Callable[[Reference, Descriptor, Image], None]
"""``tag(reference, target, image)``: let a name mean the target, and announce it."""
Push = Callable[[Reference, Descriptor, Session], Awaitable[None]]
"""``await push(reference, target, session)``: send the target to the name's registry, as the session's user."""


class Exporters:
    """Does what exporters ask; ``run`` is the door."""

    def __init__(self, storage: Storage, made: TellImage, tag: TagImage, push: Push) -> None:
        self._storage = storage
        self._made = made
        self._tag = tag
        self._push = push
        self._kinds: Mapping[str, Callable[[Export], Awaitable[dict[str, str]]]] = {
            "moby": self._image,
            "image": self._image,
            "docker": self._docker,
            "oci": self._oci,
            "local": self._local,
            "tar": self._tar,
        }

    def check(self, exporters: Any) -> None:
        """Refuse before the build what could not be exported after it. Raises Unsupported, InvalidParameter."""
        for exporter in exporters:
            if exporter.Type not in self._kinds:
                raise Unsupported(f"exporter {exporter.Type!r} is not supported")
            for name, accepted in ACCEPTED.items():
                value = exporter.Attrs.get(name)
                if value is not None and value not in accepted:
                    raise Unsupported(f"exporter {exporter.Type!r}: {name}={value} is not supported")
            annotations_of(exporter.Attrs)

    async def run(self, exporters: Any, product: Product, session: Session, log: StatusLog) -> dict[str, str]:
        """Run all of them, in order; returns what the client is told. Raises EngineError."""
        answer: dict[str, str] = {}
        for number, exporter in enumerate(exporters):
            shown = log.vertex(SHOWN[exporter.Type], id=f"exporter {number}")
            async with shown as activity:
                with self._storage.leases.take() as lease:
                    export = Export(number, dict(exporter.Attrs), product, session, activity, lease)
                    export = replace(export, product=await self._converted(export))
                    answer |= await self._kinds[exporter.Type](export)
                    self._forget_other(exporter.Type, product, export.product)
        return answer

    def _forget_other(self, kind: str, product: Product, converted: Product) -> None:
        """Of an image and what was made of it for an exporter, only what is meant to stay here stays."""
        for image, other in zip(product.images, converted.images, strict=True):
            goes = image if kind in IMAGE_EXPORTERS else other
            if image.id != other.id and not self._storage.images.references_of(goes.id):
                self._storage.images.forget(goes.id)

    async def _image(self, export: Export) -> dict[str, str]:
        pushes = export.flag("push")
        product, target = await self._assembled(export, inline=pushes)
        references = export.references(target)
        if export.flag("store", default=True):
            self._made(product.first)
            for reference in references:
                async with export.activity.task(f"naming to {reference}"):
                    self._tag(reference, target, product.first)
        if pushes:
            for reference in export.push_references(target):
                async with export.activity.task(f"pushing manifest for {reference}@{target.digest}"):
                    await self._push(reference, target, export.session)
        answer = _told(product, target, references)
        if target.media_type in types.MANIFEST_TYPES and not pushes:
            # The digest of what stays here is the image's ID: compose compares it with what inspect says.
            answer["containerimage.digest"] = product.first.id
        return answer

    async def _docker(self, export: Export) -> dict[str, str]:
        if len(export.product.images) > 1:
            raise Unsupported("docker exporter does not support exporting manifest lists, use the oci exporter instead")
        # Docker's archives have no place for statements.
        return await self._archive(replace(export, product=replace(export.product, predicates=())))

    async def _oci(self, export: Export) -> dict[str, str]:
        if export.flag("tar", default=True):
            return await self._archive(export)
        product, target = await self._assembled(export, inline=True)
        content = export.session.content(LAYOUT_STORE)
        async with export.activity.task("copying files"):
            plan = await in_thread(save.plan_of, self._storage, product.images, target, [])
            await content.send_blobs(self._storage, plan.blobs)
        return _told(product, target, export.references(target))

    async def _archive(self, export: Export) -> dict[str, str]:
        product, target = await self._assembled(export, inline=True)
        references = export.references(target)
        plan = await in_thread(save.plan_of, self._storage, product.images, target, references)
        async with export.activity.task("sending tarball"):
            await export.session.send_file(export.id, lambda sink: save.save(self._storage, plan, sink))
        return _told(product, target, references)

    async def _assembled(self, export: Export, *, inline: bool) -> tuple[Product, Descriptor]:
        """The images as the attributes want them, and what a name shall mean; ``inline``: with all statements."""
        product = export.product
        if not inline:
            stated = tuple(tuple(one for one in of if not one.inline_only) for of in product.predicates)
            product = replace(product, predicates=stated)
        async with export.activity.task("exporting layers"):
            annotations, names = annotations_of(export.attributes), export.references()
            product, target = await in_thread(assemble, self._storage, export.lease, product, annotations, names)
        for image in product.images:
            await export.activity.done(f"writing image {image.id}")
        if target.media_type in types.INDEX_TYPES:
            await export.activity.done(f"exporting manifest list {target.digest}")
        return product, target

    async def _converted(self, export: Export) -> Product:
        images = []
        for image, outcome in zip(export.product.images, export.product.outcomes, strict=True):
            form = form_of(export, outcome.epoch)
            images.append(await in_thread(convert, self._storage, export.lease, image, outcome.own_layers, form))
        return replace(export.product, images=tuple(images))

    async def _local(self, export: Export) -> dict[str, str]:
        return await export_tree(self._storage, export)

    async def _tar(self, export: Export) -> dict[str, str]:
        return await export_tar(self._storage, export)


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
