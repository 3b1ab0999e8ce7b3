"""Which networks a list shows: the filters of ``GET /networks``, checked and applied."""

from sampan.api.filters import Filters
from sampan.errors import EngineError, InvalidParameter
from sampan.network.network import Network

TERMS = ("dangling", "driver", "id", "label", "name", "scope", "type")
TYPES = frozenset({"custom", "builtin"})
BOOLEANS = frozenset({"0", "false", "1", "true"})


def check(filters: Filters) -> None:
    """Raise InvalidParameter in Docker's words for terms and values that there are not."""
    filters.validate(TERMS)
    dangling = filters.get("dangling")
    if len(dangling) > 1:
        raise InvalidParameter('got more than one value for filter key "dangling"')
    if set(dangling) - BOOLEANS:
        raise InvalidParameter('invalid value for filter \'dangling\', must be "true" (or "1"), or "false" (or "0")')
    if unknown := set(filters.get("type")) - TYPES:
        raise EngineError(f"invalid filter: 'type'='{sorted(unknown)[0]}'")


def matches(network: Network, filters: Filters) -> bool:
    """Whether ``filters`` of a list let the network through."""
    summary = network.summary
    dangling = not network.predefined and not network.endpoints
    return (
        filters.exact("driver", summary.driver)
        and filters.pattern("id", summary.id)
        and filters.pattern("name", summary.name)
        and filters.exact("scope", summary.scope)
        and filters.exact("type", "builtin" if network.predefined else "custom")
        and filters.labels(summary.labels)
        and ("dangling" not in filters or filters.flag("dangling") == dangling)
    )
