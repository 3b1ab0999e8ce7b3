"""Mounts as users ask for them: ``--volume``, ``--mount``, ``--volumes-from``; parsed and checked, nothing is mounted.

    bind    = [source ":"] target [":" mode]      source: a path (bind), a name (volume); none: anonymous
    mode    = option *("," option)                ro|rw · z|Z · [r]private|slave|shared · [no]copy · consistency
                                                  idmap=… (bind_idmap)
    from    = container [":" ro|rw|z|Z]

A later mount at the same destination replaces an inherited one; two at the same place in one request are an error.
Sentences are Docker's (moby volume/mounts).
"""

import posixpath
from pathlib import Path

from sampan.api.mounts import BindOptions, DriverConfig, Mount, MountPoint, TmpfsOptions, VolumeOptions
from sampan.engine.bind_idmap import parse_idmap
from sampan.engine.container import MountRecord
from sampan.errors import InvalidParameter

MODES = {
    **dict.fromkeys(("rw", "ro"), "access"),
    **dict.fromkeys(("z", "Z"), "label"),
    **dict.fromkeys(("private", "rprivate", "slave", "rslave", "shared", "rshared"), "propagation"),
    **dict.fromkeys(("copy", "nocopy"), "copy"),
    **dict.fromkeys(("consistent", "cached", "delegated"), "consistency"),
}
VOLUME_MODE = "z"
"""The mode shown for a volume that was given none."""
IDMAP = "idmap="
PROPAGATIONS = frozenset(mode for mode, kind in MODES.items() if kind == "propagation")
TMPFS_OPTIONS = frozenset({"exec", "noexec"})
# Options that belong to one type of mount only.
OPTIONS_OF = {
    "bind_options": ("bind", "BindOptions"),
    "volume_options": ("volume", "VolumeOptions"),
    "image_options": ("image", "ImageOptions"),
    "tmpfs_options": ("tmpfs", "TmpfsOptions"),
    "cluster_options": ("cluster", "ClusterOptions"),
}


def parse_mode(mode: str) -> dict[str, str]:
    """Options of a mode by kind; raises InvalidParameter for unknown ones and two of a kind."""
    options: dict[str, str] = {}
    for option in mode.split(",") if mode else ():
        kind = "idmap" if option.startswith(IDMAP) else MODES.get(option)
        if kind is None or kind in options:
            raise InvalidParameter(f"invalid mode: {mode}")
        options[kind] = option
    return options


def is_mode(text: str) -> bool:
    """Whether ``text`` would be read as a mode."""
    try:
        return bool(parse_mode(text))
    except InvalidParameter:
        return False


def parse_bind(raw: str, volume_driver: str = "") -> MountRecord:
    """One ``--volume``; raises InvalidParameter."""
    parts = raw.split(":")
    if not parts[0] or len(parts) > 3 or (len(parts) == 2 and is_mode(parts[1])):
        raise InvalidParameter(f"invalid volume specification: '{raw}'")
    source, target = ("", parts[0]) if len(parts) == 1 else (parts[0], parts[1])
    mode = parts[2] if len(parts) == 3 else ""
    options = parse_mode(mode)
    type_ = "bind" if source.startswith("/") else "volume"
    foreign = {"copy": "VolumeOptions"} if type_ == "bind" else {"propagation": "BindOptions"}
    for option, field in foreign.items():
        if option in options:
            raise InvalidParameter(
                f"invalid volume specification: '{raw}': invalid mount config for type \"{type_}\": "
                f"field {field} must not be specified"
            )
    request = Mount(
        type=type_,
        source=source,
        target=target,
        read_only=options.get("access") == "ro",
    )
    if request.type == "bind" or {"propagation", "idmap"} & options.keys():
        request.bind_options = BindOptions(
            propagation=options.get("propagation", ""),
            create_mountpoint=request.type == "bind",
            id_map=options.get("idmap", "").removeprefix(IDMAP),
        )
    if request.type == "volume" or "copy" in options:
        request.volume_options = VolumeOptions(
            no_copy=options.get("copy") == "nocopy",
            driver_config=DriverConfig(name=volume_driver) if volume_driver else None,
        )
    try:
        record = parse_mount(request)
    except InvalidParameter as error:
        raise InvalidParameter(f"invalid volume specification: '{raw}': {error}") from None
    record.point.mode = mode or (VOLUME_MODE if type_ == "volume" else "")
    return record


def parse_mount(request: Mount) -> MountRecord:
    """One ``--mount``; raises InvalidParameter."""
    try:
        check_mount(request)
    except InvalidParameter as error:
        raise InvalidParameter(f'invalid mount config for type "{request.type}": {error}') from None
    point = MountPoint(
        type=request.type,
        destination=posixpath.normpath(request.target),
        rw=not request.read_only and request.type != "image",
    )
    if request.type == "bind":
        point.source = posixpath.normpath(request.source)
        point.propagation = (request.bind_options or BindOptions()).propagation or "rprivate"
    elif request.type == "volume":
        point.name, point.mode = request.source, VOLUME_MODE
        driver = (request.volume_options or VolumeOptions()).driver_config
        point.driver = driver.name if driver and driver.name else "local"
    elif request.type == "image":
        point.source, point.propagation = request.source, "rprivate"
    return MountRecord(point, request, anonymous=request.type == "volume" and not request.source)


def check_mount(request: Mount) -> None:
    """Raises InvalidParameter for a request without sense; a missing bind source is one."""
    for field, (type_, name) in OPTIONS_OF.items():
        if getattr(request, field) is not None and request.type != type_:
            raise InvalidParameter(f"field {name} must not be specified")
    if not request.target:
        raise InvalidParameter("field Target must not be empty")
    if posixpath.normpath(request.target) in ("/", "//"):
        raise InvalidParameter("invalid specification: destination can't be '/'")
    require_absolute(request.target)
    match request.type:
        case "bind":
            check_bind(request)
        case "volume":
            check_volume(request)
        case "tmpfs":
            check_tmpfs(request)
        case "image":
            if not request.source:
                raise InvalidParameter("field Source must not be empty")
            check_subpath(request.image_options.subpath if request.image_options else "")
        case _:
            raise InvalidParameter("mount type unknown")


def check_bind(request: Mount) -> None:
    """Source, propagation and read-only options of a bind."""
    options = request.bind_options or BindOptions()
    if not request.source:
        raise InvalidParameter("field Source must not be empty")
    if options.propagation and options.propagation not in PROPAGATIONS:
        raise InvalidParameter(f"invalid propagation mode: {options.propagation}")
    require_absolute(request.source)
    if options.id_map:
        parse_idmap(options.id_map)
    if not options.create_mountpoint and not Path(request.source).exists():
        raise InvalidParameter(f"bind source path does not exist: {request.source}")
    if not request.read_only and options.read_only_non_recursive:
        raise InvalidParameter("mount options conflict: !ReadOnly && BindOptions.ReadOnlyNonRecursive")
    if not request.read_only and options.read_only_force_recursive:
        raise InvalidParameter("mount options conflict: !ReadOnly && BindOptions.ReadOnlyForceRecursive")
    if options.read_only_non_recursive and options.read_only_force_recursive:
        raise InvalidParameter("mount options conflict: ReadOnlyNonRecursive && BindOptions.ReadOnlyForceRecursive")


def check_volume(request: Mount) -> None:
    """Subpath of a volume."""
    subpath = request.volume_options.subpath if request.volume_options else ""
    if subpath and not request.source:
        raise InvalidParameter("must not set Subpath when using anonymous volumes")
    check_subpath(subpath)


def check_subpath(subpath: str) -> None:
    """A subpath stays below what it is a path of."""
    if subpath.startswith("/") or posixpath.normpath(subpath).split("/")[0] == "..":
        raise InvalidParameter("subpath must be a relative path within the volume")


def check_tmpfs(request: Mount) -> None:
    """Options of a tmpfs."""
    if request.source:
        raise InvalidParameter("field Source must not be specified")
    for option in (request.tmpfs_options or TmpfsOptions()).options:
        if len(option) not in (1, 2):
            raise InvalidParameter("invalid option array length")
        if option[0] not in TMPFS_OPTIONS:
            raise InvalidParameter(f"invalid option: {option[0]}")


def require_absolute(path: str) -> None:
    """Raises InvalidParameter unless ``path`` begins with a slash."""
    if not path.startswith("/"):
        raise InvalidParameter(f"invalid mount path: '{path}' mount path must be absolute")


def parse_volumes_from(text: str) -> tuple[str, bool]:
    """Container and whether its mounts stay writable; raises InvalidParameter."""
    if not text:
        raise InvalidParameter("volumes-from specification cannot be an empty string")
    container, _, mode = text.partition(":")
    options = parse_mode(mode)
    if options.keys() - {"access", "label", "consistency"}:
        raise InvalidParameter(f"invalid mode: {mode}")
    return container, options.get("access") != "ro"


def settle_propagation(record: MountRecord, data_root: Path) -> None:
    """A bind of the data root, or of what it lies in, sees volumes unmounted, and so keeps none of them in use.

    Raises InvalidParameter where another propagation was asked for.
    """
    point, root = record.point, str(data_root)
    if point.type != "bind" or not (root.startswith(point.source) or point.source.startswith(root)):
        return
    asked = record.request.bind_options.propagation if record.request.bind_options else ""
    if asked not in ("", "rslave", "rshared"):
        raise InvalidParameter(
            'invalid mount config: must use either propagation mode "rslave" or "rshared" when mount source is within '
            f'the daemon root, daemon root: "{root}", bind mount source: "{point.source}", propagation: "{asked}"'
        )
    point.propagation = asked or "rslave"
