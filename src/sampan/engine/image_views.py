"""Images as the API shows them: summaries, inspections, histories. Reads the store, changes nothing."""

from collections.abc import Iterable, Mapping, Sequence

from sampan.api import images as api
from sampan.api.containers import GraphDriver, HealthConfig
from sampan.api.descriptor import (
    AttestationData,
    ImageData,
    ImageIdentity,
    ImageManifestSummary,
    ManifestSize,
    OCIDescriptor,
    OCIPlatform,
    PullIdentity,
    UnpackedSize,
)
from sampan.api.times import SECOND, format_time, parse_time
from sampan.engine.image_users import ImageUser
from sampan.errors import InvalidParameter
from sampan.oci import manifest
from sampan.oci.descriptor import REFERENCE_DIGEST, Descriptor
from sampan.oci.digest import ChainID, Digest
from sampan.oci.image_config import History, ImageConfig, RunConfig
from sampan.oci.manifest import Index
from sampan.oci.platform import Platform
from sampan.oci.reference import Reference
from sampan.storage.images import AnyManifest, Image
from sampan.storage.store import Storage

DRIVER = "overlay2"
"""The name under which tools know this layout."""


def created_at(text: str) -> int:
    """An image's time in nanoseconds since 1970; 0 when it does not say, or says nonsense."""
    try:
        return parse_time(text) if text else 0
    except InvalidParameter:
        return 0


def repo_tags(references: Iterable[Reference]) -> list[str]:
    """Tagged references as users write them."""
    return [reference.familiar for reference in references if reference.tag]


def repo_digests(references: Iterable[Reference]) -> list[str]:
    """References by digest as users write them."""
    return [reference.familiar for reference in references if reference.digest]


def identity_of(references: Iterable[Reference]) -> ImageIdentity | None:
    """The repositories that are known to have the image, None when there is none."""
    repositories = sorted({reference.name for reference in references if reference.digest})
    return ImageIdentity(pull=[PullIdentity(repository=name) for name in repositories]) if repositories else None


def summary(storage: Storage, image: Image, references: Sequence[Reference]) -> api.ImageSummary:
    """One line of ``docker images``."""
    return api.ImageSummary(
        id=image.id,
        parent_id=image.parent or "",
        repo_tags=repo_tags(references),
        repo_digests=repo_digests(references),
        created=created_at(image.config.value.created) // SECOND,
        size=storage.images.size(image),
        labels=image.config.value.config.labels or None,
    )


def shared_sizes(storage: Storage, images: Sequence[Image]) -> Mapping[Digest, int]:
    """Bytes of each image's layers that another image has too."""
    sizes = {layer.chain_id: layer.size for layer in storage.snapshots.layers()}
    chains = {image.id: set(image.config.value.chain_ids) for image in images}
    counted: dict[ChainID, int] = {}
    for chain in chains.values():
        for chain_id in chain:
            counted[chain_id] = counted.get(chain_id, 0) + 1
    return {
        id: sum(sizes.get(chain_id, 0) for chain_id in chain if counted[chain_id] > 1) for id, chain in chains.items()
    }


def run_config(config: RunConfig) -> api.ImageConfig:
    """What containers inherit, as the API shows it."""
    check = config.healthcheck
    return api.ImageConfig(
        user=config.user,
        exposed_ports=config.exposed_ports or {},
        env=config.env,
        entrypoint=config.entrypoint,
        cmd=config.cmd,
        healthcheck=HealthConfig(
            test=check.test or [],
            interval=check.interval,
            timeout=check.timeout,
            start_period=check.start_period,
            start_interval=check.start_interval,
            retries=check.retries,
        )
        if check
        else None,
        args_escaped=config.args_escaped,
        volumes=config.volumes,
        working_dir=config.working_dir,
        labels=config.labels or {},
        on_build=config.on_build,
        stop_signal=config.stop_signal,
        shell=config.shell or [],
    )


def inspection(storage: Storage, image: Image) -> api.ImageInspect:
    """Everything about one image."""
    config = image.config.value
    references = storage.images.references_of(image.id)
    created = created_at(config.created)
    last_step = config.history[-1] if config.history else History()
    return api.ImageInspect(
        id=image.id,
        repo_tags=repo_tags(references),
        repo_digests=repo_digests(references),
        parent=image.parent or "",
        comment=config.comment or last_step.comment,
        created=format_time(created) if created else "",
        author=config.author,
        config=run_config(config.config),
        architecture=config.architecture,
        variant=config.variant,
        os=config.os or "linux",
        os_version=config.os_version,
        size=storage.images.size(image),
        graph_driver=GraphDriver(name=DRIVER, data=_driver_data(storage, image)),
        root_fs=api.RootFS(layers=list(config.diff_ids)),
        metadata=api.ImageMetadata(last_tag_time=format_time(image.tagged_at or 0)),
        descriptor=descriptor(manifest.describe(target_of(storage, image, references))),
        identity=identity_of(references),
    )


def _driver_data(storage: Storage, image: Image) -> dict[str, str]:
    *lower, top = [str(storage.snapshots.path(chain_id)) for chain_id in image.config.value.chain_ids] or [""]
    data = {"UpperDir": top, "LowerDir": ":".join(reversed(lower))}
    return {key: value for key, value in data.items() if value}


def target_of(storage: Storage, image: Image, references: Sequence[Reference]) -> AnyManifest:
    """The index that the image's first name means, or the image's own manifest."""
    for reference in references:
        target = storage.images.target(reference)
        if target is not None and target.digest in storage.content:
            return storage.images.document(target.digest)
    return image.manifest


def descriptor(pointer: Descriptor) -> OCIDescriptor:
    """A descriptor as the API shows it."""
    return OCIDescriptor(
        media_type=pointer.media_type,
        digest=pointer.digest,
        size=pointer.size,
        urls=pointer.urls or [],
        annotations=pointer.annotations or {},
        data=pointer.data or "",
        platform=platform(pointer.platform) if pointer.platform else None,
        artifact_type=pointer.artifact_type or "",
    )


def platform(value: Platform) -> OCIPlatform:
    """A platform as the API shows it."""
    return OCIPlatform(
        architecture=value.architecture,
        os=value.os,
        os_version=value.os_version,
        os_features=list(value.os_features),
        variant=value.variant,
    )


def manifests(
    storage: Storage, image: Image, references: Sequence[Reference], users: Iterable[ImageUser]
) -> list[ImageManifestSummary]:
    """Every manifest behind the image's name: its platforms, here or not, and attestations."""
    target = target_of(storage, image, references)
    listed = (
        target.value.manifests
        if isinstance(target.value, Index)
        else [manifest.describe(target, platform=image.platform)]
    )
    members = {member.manifest.digest: member for member in storage.images.members(target.digest)}
    return [_manifest_summary(storage, entry, members.get(entry.digest), users) for entry in listed]


def _manifest_summary(
    storage: Storage, entry: Descriptor, image: Image | None, users: Iterable[ImageUser]
) -> ImageManifestSummary:
    content = _content_size(storage, entry.digest)
    made = ImageManifestSummary(
        id=entry.digest,
        descriptor=descriptor(entry),
        available=image is not None,
        size=ManifestSize(total=content, content=content),
    )
    if entry.is_attestation:
        made.kind = "attestation"
        made.available = entry.digest in storage.content
        made.attestation_data = AttestationData(for_=(entry.annotations or {}).get(REFERENCE_DIGEST, ""))
    elif image is not None or entry.platform is not None:
        made.kind = "image"
        made.image_data = ImageData(platform=platform(entry.platform or Platform()), containers=[])
        if image is not None:
            unpacked = storage.images.size(image) if _is_unpacked(storage, image) else 0
            made.image_data.platform = platform(entry.platform or image.platform)
            made.image_data.size = UnpackedSize(unpacked)
            made.image_data.containers = [user.container_id for user in users if user.image_id == image.id]
            made.size.total += unpacked
    return made


def _is_unpacked(storage: Storage, image: Image) -> bool:
    return image.chain_id is not None and image.chain_id in storage.snapshots


def _content_size(storage: Storage, digest: Digest) -> int:
    """Bytes of a manifest's blobs that are here."""
    if digest not in storage.content:
        return 0
    value = storage.images.document(digest).value
    if isinstance(value, Index):
        return 0
    blobs = [digest, *{entry.digest for entry in (value.config, *value.layers)}]
    return sum(storage.content.size(blob) for blob in blobs if blob in storage.content)


def history(storage: Storage, image: Image) -> list[api.ImageHistoryItem]:
    """The image's steps, newest first; steps of images that are here carry their IDs and tags."""
    sizes = iter(storage.images.layer_sizes(image))
    items = [_step(step, 0 if step.empty_layer else next(sizes, 0)) for step in steps_of(image.config.value)]
    items.reverse()
    known: Image | None = image
    for item in items:
        if known is None:
            break
        item.id = known.id
        item.tags = repo_tags(storage.images.references_of(known.id)) or None
        known = _parent(storage, known)
    return items


def steps_of(config: ImageConfig) -> Sequence[History]:
    """The history; one step per layer for an image that tells none."""
    return config.history or [History(created=config.created) for _ in config.diff_ids]


def _step(step: History, size: int) -> api.ImageHistoryItem:
    return api.ImageHistoryItem(
        comment=step.comment,
        created=created_at(step.created) // SECOND,
        created_by=step.created_by,
        size=size,
    )


def _parent(storage: Storage, image: Image) -> Image | None:
    if image.parent is None or image.parent not in storage.images:
        return None
    return storage.images.get(image.parent)
