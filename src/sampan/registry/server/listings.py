"""What is here: tags (end-8), the catalog, and Docker's v1 search.

GET /v2/<name>/tags/list?n=&last=     {"name": …, "tags": […]}             Link to the next page
GET /v2/_catalog?n=&last=             {"repositories": […]}                names the client may read
GET /v1/search?q=&n=&page=            {"num_results": …, "results": […]}   what ``docker search`` asks
GET /v1/_ping                         true
"""

from aiohttp import web
from sqlalchemy import Connection

from sampan.registry.protocol import Code
from sampan.registry.server import answers, records
from sampan.registry.server.records import Found
from sampan.registry.server.refusal import Refusal
from sampan.registry.server.registry import Registry

_SEARCH_DEFAULT = 25
_SEARCH_LIMIT = 100


async def tags_list(registry: Registry, request: web.BaseRequest, name: str) -> web.Response:
    """Tags in ASCII order, a page at a time."""
    last, limit = answers.page_bounds(request, registry.config.limits.page)

    def find(connection: Connection) -> list[str] | None:
        repository = records.repository_id(connection, name)
        return None if repository is None else records.tag_names(connection, repository, last, limit + 1)

    found = await registry.database.read(find)
    if found is None:
        raise Refusal(Code.NAME_UNKNOWN, {"name": name})
    page = found[:limit]
    more = answers.next_link(request, page[-1], limit) if page and len(found) > limit else None
    return answers.json({"name": name, "tags": page}, headers=more)


async def catalog(registry: Registry, request: web.BaseRequest) -> web.Response:
    """Repository names in ASCII order, a page at a time."""
    last, limit = answers.page_bounds(request, registry.config.limits.page)
    found = await registry.database.read(lambda connection: records.catalog(connection, last, limit + 1))
    page = found[:limit]
    more = answers.next_link(request, page[-1], limit) if page and len(found) > limit else None
    identity = await registry.access.identify(request)
    shown = [name for name in page if registry.access.allows(identity, name, "pull")]
    return answers.json({"repositories": shown}, headers=more)


async def search(registry: Registry, request: web.BaseRequest) -> web.Response:
    """Repositories by a part of their name or description."""
    term = request.query.get("q", "")
    size = min(_number(request, "n", _SEARCH_DEFAULT), _SEARCH_LIMIT)
    page = _number(request, "page", 1)
    found, total = await registry.database.read(
        lambda connection: records.search(connection, term, (page - 1) * size, size)
    )
    identity = await registry.access.identify(request)
    shown = [_result(one) for one in found if registry.access.allows(identity, one.name, "pull")]
    pages = -(-total // size)
    return answers.json(
        {"query": term, "num_results": total, "num_pages": pages, "page": page, "page_size": size, "results": shown}
    )


def _number(request: web.BaseRequest, name: str, default: int) -> int:
    """A positive number of the query, ``default`` when absent or not one."""
    text = request.query.get(name, "")
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) <= 9 else default


def _result(found: Found) -> dict[str, str | int | bool]:
    return {
        "name": found.name,
        "description": found.description,
        "star_count": found.stars,
        "is_official": found.official,
        "is_automated": False,
        "is_trusted": False,
    }


async def ping_v1(_registry: Registry, _request: web.BaseRequest) -> web.Response:
    """Here is a registry that can be searched."""
    return answers.json(True, headers={"X-Docker-Registry-Version": "0.9.1", "X-Docker-Registry-Standalone": "true"})


async def ping(_registry: Registry, _request: web.BaseRequest) -> web.Response:
    """end-1: here is a registry of version 2, and the client may use it."""
    return answers.json({})


async def health(registry: Registry, _request: web.BaseRequest) -> web.Response:
    """200 while the database answers."""
    await registry.database.read(records.alive)
    return answers.json({"status": "ok"})
