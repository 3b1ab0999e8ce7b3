"""The classic build's operations; BuildKit's own protocol is in ``session``."""

from aiohttp import web

from sampan.api.build import BuildOptions, BuildPruneOptions
from sampan.api.host_config import Ulimit
from sampan.api.images import AuthConfig
from sampan.api.progress import Message, Progress
from sampan.errors import InvalidParameter
from sampan.server import answers
from sampan.server.answers import answer, done
from sampan.server.call import Call, decode_header
from sampan.server.routes import changes, reads

BUILDER_VERSIONS = frozenset({"1", "2"})


class WithoutAux:
    """Progress for clients before API 1.30, which did not know ``aux``."""

    def __init__(self, sink: Progress) -> None:
        self._sink = sink

    async def send(self, message: Message) -> None:
        """Pass ``message`` on unless it is nothing but ``aux``."""
        if message.aux is None:
            await self._sink.send(message)


def build_options(call: Call) -> BuildOptions:
    """The query of ``POST /build``; raises InvalidParameter."""
    version = call.text("version", "1") or "1"
    if version not in BUILDER_VERSIONS:
        raise InvalidParameter(f'invalid version "{version}"')
    if call.texts("securityopt"):
        raise InvalidParameter("security options are not supported on linux")
    isolation = call.text("isolation")
    if isolation not in ("", "default"):
        raise InvalidParameter(f'unsupported isolation: "{isolation}"')
    return BuildOptions(
        dockerfile=call.text("dockerfile") or "Dockerfile",
        tags=call.texts("t"),
        extra_hosts=call.texts("extrahosts"),
        remote=call.text("remote"),
        quiet=call.flag("q"),
        no_cache=call.flag("nocache"),
        cache_from=call.structure("cachefrom", list[str], [], "cache-from"),
        pull=call.flag("pull"),
        remove=call.flag("forcerm") or not call.text("rm") or call.flag("rm"),
        force_remove=call.flag("forcerm"),
        memory=call.integer("memory"),
        memory_swap=call.integer("memswap"),
        cpu_shares=call.integer("cpushares"),
        cpuset_cpus=call.text("cpusetcpus"),
        cpuset_mems=call.text("cpusetmems"),
        cpu_period=call.integer("cpuperiod"),
        cpu_quota=call.integer("cpuquota"),
        cgroup_parent=call.text("cgroupparent"),
        build_args=call.structure("buildargs", dict[str, str | None], {}, "build args"),
        shm_size=call.integer("shmsize"),
        squash=call.flag("squash"),
        labels=call.structure("labels", dict[str, str], {}),
        network_mode=call.text("networkmode"),
        platform=call.text("platform") if call.since(1, 32) else "",
        target=call.text("target"),
        outputs=call.text("outputs") if call.since(1, 40) else "",
        version=version,
        ulimits=call.structure("ulimits", list[Ulimit], [], "ulimit settings"),
        session=call.text("session"),
        build_id=call.text("buildid"),
        auths=decode_header(call.request.headers.get("X-Registry-Config", ""), dict[str, AuthConfig]) or {},
    )


async def image_build(call: Call) -> web.StreamResponse:
    options, builder = build_options(call), call.engine.builder

    async def build(sink: Progress) -> None:
        await builder.build(options, call.stream(), sink if call.since(1, 30) else WithoutAux(sink))

    return await answers.follow(call, build)


async def build_cancel(call: Call) -> web.StreamResponse:
    build_id = call.text("id")
    if not build_id:
        raise InvalidParameter("build ID not provided")
    await call.engine.builder.cancel(build_id)
    return done(200)


def _bytes(call: Call, name: str) -> int:
    """A parameter that counts bytes."""
    try:
        return call.integer(name)
    except InvalidParameter as error:
        raise error.within(f"{name} is in bytes and expects an integer, got {call.text(name)}") from None


async def build_prune(call: Call) -> web.StreamResponse:
    kept = _bytes(call, "keep-storage")
    newer = call.since(1, 48)
    options = BuildPruneOptions(
        all=call.flag("all"),
        reserved_space=(_bytes(call, "reserved-space") if newer else 0) or kept,
        max_used_space=_bytes(call, "max-used-space") if newer else 0,
        min_free_space=_bytes(call, "min-free-space") if newer else 0,
        filters=call.filters(),
    )
    return answer(await call.engine.builder.prune(options))


ROUTES = (
    reads("POST", "/build", image_build),
    changes("POST", "/build/cancel", build_cancel),
    changes("POST", "/build/prune", build_prune),
)
