"""One exporter's work, and the attributes that it is asked for with."""

from collections.abc import Mapping
from dataclasses import dataclass

from sampan.build.buildkit.product import Product
from sampan.build.buildkit.session import Session
from sampan.build.buildkit.status import Activity
from sampan.build.conversion import COMPRESSIONS, Form
from sampan.errors import InvalidParameter
from sampan.oci.descriptor import Descriptor
from sampan.oci.reference import Reference
from sampan.storage.leases import Lease

TRUE = frozenset({"true", "1", "t", "T", "TRUE", "True"})
FALSE = frozenset({"", "false", "0", "f", "F", "FALSE", "False"})


@dataclass(frozen=True)
class Export:
    """One exporter's work: ``id`` is its position, by which the client knows it; ``lease`` keeps what it makes."""

    id: int
    attributes: Mapping[str, str]
    product: Product
    session: Session
    activity: Activity
    lease: Lease

    def flag(self, name: str, *, default: bool = False) -> bool:
        """An attribute that is true or false. Raises InvalidParameter."""
        value = self.attributes.get(name)
        if value is None:
            return default
        if value not in TRUE | FALSE:
            raise InvalidParameter(f"non-bool value {value!r} specified for {name}")
        return value in TRUE

    def names(self) -> list[Reference]:
        """The names in ``name``, as they are. Raises InvalidParameter."""
        return [Reference.parse(name) for name in self.attributes.get("name", "").split(",") if name]

    def references(self, target: Descriptor | None = None) -> list[Reference]:
        """The names that ``target`` shall have here. Raises InvalidParameter."""
        if self.flag("push-by-digest"):
            return [name.with_digest(target.digest) for name in self.names()] if target else []
        tagged = [name.tagged() for name in self.names()]
        if target is None:
            return tagged
        if self.flag("name-canonical"):
            tagged += [name.with_digest(target.digest) for name in self.names()]
        prefix = self.attributes.get("dangling-name-prefix", "")
        return tagged or ([Reference.parse(prefix).with_digest(target.digest)] if prefix else [])

    def push_references(self, target: Descriptor) -> list[Reference]:
        """The names that it shall have in registries: a tag's, or only its digest's."""
        if self.flag("push-by-digest"):
            return [name.with_digest(target.digest) for name in self.names()]
        return [name.tagged() for name in self.names()]


def form_of(export: Export, epoch: int | None) -> Form:
    """How layers shall be; ``epoch`` is the build's. Raises InvalidParameter."""
    own = export.attributes.get("source-date-epoch", "")
    if own:
        if not own.isdecimal():
            raise InvalidParameter(f"invalid source-date-epoch: {own}")
        epoch = int(own)
    compression = export.attributes.get("compression", "")
    return Form(
        COMPRESSIONS[compression] if compression else None,
        export.flag("force-compression"),
        epoch if export.flag("rewrite-timestamp") else None,
    )
