"""Devices that a driver gives: ``--device vendor.com/class=name`` and ``--gpus``, both by CDI.

    Driver "cdi", DeviceIDs           the named devices
    Capabilities [[gpu …]]            devices of a CDI class ``gpu``: those of DeviceIDs, the first Count, or all (-1)

They are looked up when the container starts: its devices may have other numbers than when it was made.
"""

from collections.abc import Iterator, Sequence

from sampan.api.host_config import DeviceRequest
from sampan.errors import EngineError, InvalidParameter, Unsupported
from sampan.oci import cdi
from sampan.oci.runtime_spec import Hooks, Spec

CDI = "cdi"
GPU = "gpu"
ALL = "all"
VENDORLESS = ("", "amd")
"""Drivers of GPUs that are looked up by CDI alone."""
UNSUPPORTED_HOOKS = ("prestart", "create_runtime", "poststart", "poststop")


def with_devices(spec: Spec, requests: Sequence[DeviceRequest], directories: Sequence[str]) -> Spec:
    """``spec`` with all requested devices; raises InvalidParameter for those that cannot be had."""
    if not requests:
        return spec
    registry = cdi.scan(directories)
    edited = registry.edit(spec, [name for request in requests for name in names_of(request, registry)])
    hooks = edited.hooks or Hooks()
    if any(getattr(hooks, point) for point in UNSUPPORTED_HOOKS):
        raise Unsupported("CDI device injection failed: only createContainer and startContainer hooks are supported")
    return edited


def names_of(request: DeviceRequest, registry: cdi.Registry) -> list[str]:
    """Qualified names of the devices asked for; raises InvalidParameter, EngineError where no driver fits."""
    if request.driver == CDI:
        return list(request.device_ids or ())
    kind = gpu_kind(request, registry)
    if kind is None and request.driver in VENDORLESS and asks_for_gpu(request):
        raise EngineError("failed to discover GPU vendor from CDI: no known GPU vendor found")
    if kind is None:
        shown = " ".join("[" + " ".join(group) + "]" for group in request.capabilities or ())
        raise InvalidParameter(f'could not select device driver "{request.driver}" with capabilities: [{shown}]')
    if request.device_ids:
        return [f"{kind}={name}" for name in request.device_ids]
    found = sorted(name for name in registry.devices if name.startswith(f"{kind}=") and name != f"{kind}={ALL}")
    if request.count < 0:
        return [f"{kind}={ALL}"] if f"{kind}={ALL}" in registry.devices else found
    numbered = [f"{kind}={number}" for number in range(request.count)]
    return numbered if all(name in registry.devices for name in numbered) else first(found, request.count, kind)


def first(found: list[str], count: int, kind: str) -> list[str]:
    """The first ``count`` devices; raises InvalidParameter if there are not as many."""
    if len(found) < count:
        raise InvalidParameter(f"could not select {count} devices of {kind}: there are {len(found)}")
    return found[:count]


def gpu_kind(request: DeviceRequest, registry: cdi.Registry) -> str | None:
    """The kind whose devices are GPUs, of the vendor that the driver names; None without one."""
    if not asks_for_gpu(request):
        return None
    return next((kind for kind in gpu_kinds(registry) if kind.startswith(request.driver)), None)


def asks_for_gpu(request: DeviceRequest) -> bool:
    """Whether any of the sets of capabilities that would do has a GPU."""
    return any(GPU in group for group in request.capabilities or ())


def gpu_kinds(registry: cdi.Registry) -> Iterator[str]:
    """``vendor/gpu`` of every vendor that has some."""
    yield from sorted({file.kind for file, _ in registry.devices.values() if file.kind.endswith(f"/{GPU}")})
