"""Project quotas: a number given to a directory, inherited by all that is made below, and a limit for that number.

ext4 (mounted with ``prjquota``) and XFS (``pquota``) have them; both speak XFS's quota commands.

Source: quotactl(2), ioctl_xfs_fsgetxattr(2), include/uapi/linux/{fs,dqblk_xfs,quota}.h.
"""

import errno
import fcntl
import struct
from ctypes import Structure, c_char, c_int8, c_int16, c_int32, c_uint16, c_uint32, c_uint64

from sampan.linux.syscall import syscall

_QUOTACTL_FD = 443  # the same on all architectures, since Linux 5.14
_PROJECT = 2
_SET_LIMIT = ((ord("X") << 8) + 4) << 8 | _PROJECT
_GET_QUOTA = ((ord("X") << 8) + 3) << 8 | _PROJECT
_BLOCK = 512

_FS_IOC_FSGETXATTR = 0x801C581F
_FS_IOC_FSSETXATTR = 0x401C5820
_XFLAG_PROJINHERIT = 0x200
_FSXATTR = struct.Struct("=5I8x")
"""``struct fsxattr``: flags, extent size, number of extents, project, copy-on-write extent size."""


class _DiskQuota(Structure):
    """``struct fs_disk_quota``; sizes in blocks of 512 bytes."""

    _fields_ = (
        ("version", c_int8),
        ("flags", c_int8),
        ("fieldmask", c_uint16),
        ("id", c_uint32),
        ("blk_hardlimit", c_uint64),
        ("blk_softlimit", c_uint64),
        ("ino_hardlimit", c_uint64),
        ("ino_softlimit", c_uint64),
        ("bcount", c_uint64),
        ("icount", c_uint64),
        ("itimer", c_int32),
        ("btimer", c_int32),
        ("iwarns", c_uint16),
        ("bwarns", c_uint16),
        ("timers", c_int8 * 3),
        ("padding2", c_int8),
        ("rtb_hardlimit", c_uint64),
        ("rtb_softlimit", c_uint64),
        ("rtbcount", c_uint64),
        ("rtbtimer", c_int32),
        ("rtbwarns", c_uint16),
        ("padding3", c_int16),
        ("padding4", c_char * 8),
    )


_VERSION = 1
_BSOFT, _BHARD = 1 << 2, 1 << 3
_BLOCK_LIMITS = _BSOFT | _BHARD


def set_limit(fd: int, project: int, size: int) -> None:
    """Let ``project`` have at most ``size`` bytes on the file system of ``fd``; 0 is no limit."""
    blocks = (size + _BLOCK - 1) // _BLOCK
    wanted = _DiskQuota(
        version=_VERSION,
        flags=_PROJECT,
        fieldmask=_BLOCK_LIMITS,
        id=project,
        blk_hardlimit=blocks,
        blk_softlimit=blocks,
    )
    syscall("quotactl_fd", _QUOTACTL_FD, fd, _SET_LIMIT, project, wanted, about=f"project {project}")


def usage(fd: int, project: int) -> tuple[int, int]:
    """Bytes that ``project`` has, and may have (0: no limit), on the file system of ``fd``."""
    found = _DiskQuota()
    try:
        syscall("quotactl_fd", _QUOTACTL_FD, fd, _GET_QUOTA, project, found, about=f"project {project}")
    except OSError as error:
        if error.errno != errno.ENOENT:  # XFS: nobody has used the number
            raise
    return found.bcount * _BLOCK, found.blk_hardlimit * _BLOCK


def project_of(fd: int) -> int:
    """The project of the directory ``fd``."""
    return int(_FSXATTR.unpack(_attributes(fd))[3])


def set_project(fd: int, project: int) -> None:
    """Put the directory ``fd``, and all that is made below from now on, into ``project``."""
    flags, extent_size, extents, _, cow_size = _FSXATTR.unpack(_attributes(fd))
    packed = _FSXATTR.pack(flags | _XFLAG_PROJINHERIT, extent_size, extents, project, cow_size)
    fcntl.ioctl(fd, _FS_IOC_FSSETXATTR, packed)


def _attributes(fd: int) -> bytes:
    return fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size))


def is_supported(fd: int) -> bool:
    """Whether the file system of ``fd`` counts projects and keeps them to their limits."""
    try:
        project_of(fd)
        set_limit(fd, _PROBE, 0)
    except OSError:
        return False
    return True


_PROBE = (1 << 31) - 1
"""A number of no project, to find out whether limits can be set at all."""
