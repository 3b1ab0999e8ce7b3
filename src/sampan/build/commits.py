"""Steps' states as images: what the classic builder leaves of each step, to be run, inspected, removed by its ID.

    base image ◀─parent─ step 1 ◀─parent─ step 2 ◀─parent─ … the last one gets the names

Only the last has names; the others are intermediate images, which go with the last of their children.
"""

from dataclasses import replace

from sampan.build.request import Request
from sampan.build.state import State
from sampan.oci import digest as digests
from sampan.oci.digest import Digest
from sampan.oci.document import Document
from sampan.storage.store import Storage


def commit_state(storage: Storage, state: State) -> State:
    """The state with the image that it is; a cached step's image mostly is there already."""
    config = state.image_config(with_steps=True)
    digest = Document.encode(config).digest
    if digest not in storage.images:
        storage.images.create(config, state.layers, state.base)
    return replace(state, base=Digest(digest), image=Digest(digest))


def state_id(state: State, request: Request) -> str:
    """What names the state to the observer, in hex: its image (if any) where steps are kept, else its key."""
    if request.keep_steps:
        return digests.encoded(state.image) if state.image else ""
    return state.key
