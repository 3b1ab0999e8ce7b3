"""The attestations of a build for a client: predicates for each of its images."""

import time
from contextlib import ExitStack

from sampan.build.attestations import Predicate, Wanted
from sampan.build.builder import Outcome
from sampan.build.buildkit.product import files_of
from sampan.build.buildkit.solves import Solve
from sampan.build.provenance import Told, provenance
from sampan.build.request import Request
from sampan.build.sbom import sbom
from sampan.build.threads import in_thread
from sampan.storage.images import Image
from sampan.storage.store import Storage


async def predicates_of(
    storage: Storage, solve: Solve, options: dict[str, str], request: Request, outcome: Outcome, wanted: Wanted
) -> tuple[Predicate, ...]:
    """What was asked to be said of ``outcome``."""
    found = []
    if wanted.sbom:
        async with solve.log.vertex(f"generating sbom of {outcome.image.platform}"):
            found.append(await in_thread(_scan, storage, outcome.image, options))
    if wanted.provenance is not None:
        told = Told(
            solve.ref,
            options,
            request.dockerfile.text,
            solve.began,
            time.time_ns(),
            outcome.materials,
            outcome.secrets,
            outcome.agents,
        )
        found.append(provenance(told, wanted.provenance))
    return tuple(found)


def _scan(storage: Storage, image: Image, options: dict[str, str]) -> Predicate:
    with ExitStack() as held:
        root = files_of(storage, image, held)
        epoch = options.get("build-arg:SOURCE_DATE_EPOCH", "")
        created = int(epoch) * 1_000_000_000 if epoch.isdecimal() else time.time_ns()
        return sbom(root, options.get("target") or "sbom", created)
