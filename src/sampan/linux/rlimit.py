"""Resource limits by name. Source: getrlimit(2); the numbers are those of most architectures (not mips, sparc)."""

NUMBERS = {
    "RLIMIT_CPU": 0,
    "RLIMIT_FSIZE": 1,
    "RLIMIT_DATA": 2,
    "RLIMIT_STACK": 3,
    "RLIMIT_CORE": 4,
    "RLIMIT_RSS": 5,
    "RLIMIT_NPROC": 6,
    "RLIMIT_NOFILE": 7,
    "RLIMIT_MEMLOCK": 8,
    "RLIMIT_AS": 9,
    "RLIMIT_LOCKS": 10,
    "RLIMIT_SIGPENDING": 11,
    "RLIMIT_MSGQUEUE": 12,
    "RLIMIT_NICE": 13,
    "RLIMIT_RTPRIO": 14,
    "RLIMIT_RTTIME": 15,
}

INFINITY = -1
_WORD = 1 << 64


def value(limit: int) -> int:
    """A limit as the kernel's signed number: "unlimited" arrives as 2**64 - 1 or -1."""
    return INFINITY if limit in (-1, _WORD - 1) else limit
