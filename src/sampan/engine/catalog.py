"""All containers, by ID and by name, and their records on disk."""

import logging
from collections.abc import Iterator

from sampan.api.identifiers import is_prefix
from sampan.engine.container import Container, Record
from sampan.engine.context import Context, Roots
from sampan.errors import EngineError, InvalidParameter, NameInUse, NoSuchContainer
from sampan.storage.records import NameTaken, Records

log = logging.getLogger("sampan.engine")


class Catalog:
    """The containers of one data root."""

    def __init__(self, context: Context) -> None:
        self._records = Records(context.storage.database, "container", Record)
        self._roots = context.roots
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, Container] = {}
        self._unwritten: set[str] = set()

    def load(self) -> None:
        """Take up every record on disk."""
        for _, record in self._records.all():
            self._keep(live(record, self._roots))

    @property
    def aside(self) -> frozenset[str]:
        """IDs of containers whose records were unreadable."""
        return self._records.aside()

    def __iter__(self) -> Iterator[Container]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, container_id: object) -> bool:
        return container_id in self._by_id

    def add(self, record: Record) -> Container:
        """A new container, written to disk; raises NameInUse."""
        if owner := self._by_name.get(record.name):
            raise NameInUse(record.name, owner.id)
        container = live(record, self._roots)
        self._keep(container)
        try:
            self.save(container)
        except NameTaken as error:
            self._drop(container)
            raise NameInUse(record.name, error.owner) from None
        return container

    def save(self, container: Container) -> None:
        """Write the record as it stands; raises EngineError when the disk takes nothing: it is not changed then."""
        self._records.put(container.id, container.record, container.name)

    def note(self, container: Container) -> None:
        """Write what has happened already: a disk that takes nothing now gets it when it takes something again."""
        self._unwritten.add(container.id)
        self.catch_up()

    def catch_up(self) -> None:
        """Write what a full disk has kept from being written."""
        for container_id in list(self._unwritten):
            try:
                if container_id in self._by_id:
                    self.save(self._by_id[container_id])
            except EngineError as error:
                log.error("the state of container %s is not on disk: %s", container_id, error)
                return
            self._unwritten.discard(container_id)

    def rename(self, container: Container, name: str) -> None:
        """Another name; raises NameInUse."""
        owner = self._by_name.get(name)
        if owner is not None:
            raise NameInUse(name, owner.id)
        former, container.record.name = container.name, name
        try:
            self.save(container)
        except EngineError:
            container.record.name = former
            raise
        del self._by_name[former]
        self._by_name[name] = container

    def forget(self, container: Container) -> None:
        """The container is gone."""
        self._records.delete(container.id)
        self._drop(container)

    def is_free(self, name: str) -> bool:
        """Whether no container has the name."""
        return name not in self._by_name

    def find(self, reference: str) -> Container:
        """The container a user means: ID, name, or an unambiguous beginning of an ID; raises NoSuchContainer."""
        exact = self._by_id.get(reference) or self._by_name.get(reference.removeprefix("/"))
        if exact is not None:
            return exact
        if not reference:
            raise InvalidParameter('invalid name or ID supplied: ""')
        if not is_prefix(reference):
            raise NoSuchContainer(reference)
        found = [container for container in self._by_id.values() if container.id.startswith(reference)]
        if len(found) > 1:
            raise InvalidParameter(f"multiple IDs found with provided prefix: {reference}")
        if not found:
            raise NoSuchContainer(reference)
        return found[0]

    def _keep(self, container: Container) -> None:
        self._by_id[container.id] = container
        self._by_name[container.name] = container

    def _drop(self, container: Container) -> None:
        self._by_id.pop(container.id, None)
        if self._by_name.get(container.name) is container:
            del self._by_name[container.name]


def live(record: Record, roots: Roots) -> Container:
    """The live object around a record."""
    return Container(record, roots.containers / record.id, roots.monitors / record.id)
