"""The attestations of a build for a client: predicates for each of its images."""

import time
from collections.abc import Mapping
from contextlib import ExitStack

import msgspec

from sampan.build.attestations import Predicate, ProvenanceWanted, Wanted
from sampan.build.builder import Outcome
from sampan.build.buildkit.product import IN_TOTO, PREDICATE_TYPE, files_of
from sampan.build.buildkit.solves import Solve
from sampan.build.provenance import Told, provenance
from sampan.build.request import Request
from sampan.build.sbom import sbom
from sampan.build.threads import in_thread
from sampan.oci import digest as digests
from sampan.oci.descriptor import Descriptor
from sampan.storage.images import Image
from sampan.storage.store import Storage


def told_of(solve: Solve, request: Request, outcome: Outcome) -> Told:
    """What a build knows of itself."""
    return Told(
        solve.ref,
        solve.options,
        request.dockerfile.text,
        solve.began,
        time.time_ns(),
        outcome.materials,
        outcome.secrets,
        outcome.agents,
    )


async def predicates_of(
    storage: Storage, solve: Solve, told: Told, outcome: Outcome, wanted: Wanted
) -> tuple[Predicate, ...]:
    """What was asked to be said of ``outcome``."""
    found = []
    if wanted.sbom:
        async with solve.log.vertex(f"generating sbom of {outcome.image.platform}"):
            found.append(await in_thread(_scan, storage, outcome.image, told.options))
    if wanted.provenance is not None:
        found.append(provenance(told, wanted.provenance))
    return tuple(found)


def note_provenance(storage: Storage, solve: Solve, told: Told, outcome: Outcome) -> None:
    """Keep for the history how ``outcome`` was made; ``solve`` holds it until then. Blocks."""
    predicate = provenance(told, ProvenanceWanted())
    data = msgspec.json.encode(predicate.body)
    solve.lease.hold(digests.of(data))
    digest = storage.content.write(data)
    kind = {PREDICATE_TYPE: predicate.type}
    descriptor = Descriptor(media_type=IN_TOTO, digest=digest, size=len(data), annotations=kind)
    solve.results[str(outcome.image.platform)] = [descriptor]


def _scan(storage: Storage, image: Image, options: Mapping[str, str]) -> Predicate:
    with ExitStack() as held:
        root = files_of(storage, image, held)
        epoch = options.get("build-arg:SOURCE_DATE_EPOCH", "")
        created = int(epoch) * 1_000_000_000 if epoch.isdecimal() else time.time_ns()
        return sbom(root, options.get("target") or "sbom", created)
