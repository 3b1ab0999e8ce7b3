/* System calls and constants that C libraries of every age lack; functions return a value or -errno. */
#ifndef SAMPAN_KERNEL_H
#define SAMPAN_KERNEL_H

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { /* the same on every architecture */
    CALL_PIDFD_OPEN = 434,
    CALL_OPEN_TREE = 428,
    CALL_MOVE_MOUNT = 429,
    CALL_FSOPEN = 430,
    CALL_FSCONFIG = 431,
    CALL_FSMOUNT = 432,
    CALL_CLONE3 = 435,
    CALL_CLOSE_RANGE = 436,
    CALL_OPENAT2 = 437,
    CALL_MOUNT_SETATTR = 442,
};

#define KERNEL_AT_EMPTY_PATH 0x1000
#define KERNEL_AT_RECURSIVE 0x8000
#define KERNEL_CLONE_PIDFD 0x1000ULL
#define KERNEL_CLONE_PARENT 0x8000ULL
#define KERNEL_CLONE_INTO_CGROUP 0x200000000ULL
#define KERNEL_CLOSE_RANGE_CLOEXEC 4
#define KERNEL_OPEN_TREE_CLONE 1
#define KERNEL_MOVE_FROM_DESCRIPTOR 0x4
#define KERNEL_MOVE_TO_SYMLINKS 0x10
#define KERNEL_MOVE_TO_DESCRIPTOR 0x40
#define KERNEL_MOUNT_READONLY 0x1
#define KERNEL_MOUNT_NOSUID 0x2
#define KERNEL_MOUNT_NODEV 0x4
#define KERNEL_MOUNT_NOEXEC 0x8
#define KERNEL_SLAVE (1 << 19)
#define KERNEL_RESOLVE_NO_MAGICLINKS 0x02
#define KERNEL_RESOLVE_NO_SYMLINKS 0x04
#define KERNEL_RESOLVE_IN_ROOT 0x10
#define KERNEL_CONFIG_FLAG 0
#define KERNEL_CONFIG_STRING 1
#define KERNEL_CONFIG_CREATE 6
#define KERNEL_DEVPTS_MAGIC 0x1cd1
#define KERNEL_PROC_MAGIC 0x9fa0
#define KERNEL_SECCOMP_FILTER 1
#define KERNEL_SECCOMP_NEW_LISTENER 8

struct kernel_clone {
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup;
};

struct kernel_open_how {
    uint64_t flags, mode, resolve;
};

struct kernel_mount_attributes {
    uint64_t set, clear, propagation, userns;
};

/* The result of a call as a value or -errno. */
static inline int checked(long result)
{
    return result < 0 ? -errno : (int)result;
}

static inline int kernel_open_tree(int directory, const char *path, unsigned flags)
{
    return checked(syscall(CALL_OPEN_TREE, directory, path, flags | O_CLOEXEC));
}

static inline int kernel_move_mount(int mount, int directory, const char *path)
{
    unsigned to = *path ? KERNEL_MOVE_TO_SYMLINKS : KERNEL_MOVE_TO_DESCRIPTOR;
    return checked(syscall(CALL_MOVE_MOUNT, mount, "", directory, path, KERNEL_MOVE_FROM_DESCRIPTOR | to));
}

static inline int kernel_mount_setattr(int directory, const char *path, unsigned flags, struct kernel_mount_attributes *to)
{
    unsigned empty = *path ? 0 : KERNEL_AT_EMPTY_PATH;
    return checked(syscall(CALL_MOUNT_SETATTR, directory, path, flags | empty, to, sizeof *to));
}

static inline int kernel_fsconfig(int context, unsigned command, const char *key, const char *value)
{
    return checked(syscall(CALL_FSCONFIG, context, command, key, value, 0));
}

static inline int kernel_close_from(unsigned first, unsigned flags)
{
    return checked(syscall(CALL_CLOSE_RANGE, first, ~0U, flags));
}

static inline int kernel_pidfd_open(pid_t pid)
{
    return checked(syscall(CALL_PIDFD_OPEN, pid, 0));
}

static inline int kernel_clone3(struct kernel_clone *arguments)
{
    return checked(syscall(CALL_CLONE3, arguments, sizeof *arguments));
}

#endif
