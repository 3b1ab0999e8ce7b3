/* Operations on what the process is: namespaces, identity, limits, scheduling. */
#define _GNU_SOURCE
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kernel.h"
#include "owned.h"
#include "plan.h"

#define CAPABILITY_VERSION_3 0x20080522
#define KEYCTL_JOIN_SESSION_KEYRING 1
#define IOPRIO_WHO_PROCESS 1

int perform_set_namespace(struct performer *performer, const struct operation *operation)
{
    int fd = performer_slot(performer, operation->a[0].number);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* not so from the start for a user who is not root: who may map our ids? */
    return fd < 0 ? fd : checked(setns(fd, (int)operation->a[1].number));
}

int perform_unshare(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    return checked(syscall(SYS_unshare, operation->a[0].number));
}

int perform_set_hostname(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    return checked(sethostname(operation->a[0].text, operation->a[0].size));
}

int perform_set_domainname(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    return checked(setdomainname(operation->a[0].text, operation->a[0].size));
}

int perform_raise_loopback(struct performer *performer, const struct operation *operation)
{
    (void)performer, (void)operation;
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    cleanup_fd int any = checked(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    return any < 0 ? any : checked(ioctl(any, SIOCSIFFLAGS, &request));
}

int perform_set_limit(struct performer *performer, const struct operation *operation)
{
    struct rlimit limit = {(rlim_t)operation->a[1].number, (rlim_t)operation->a[2].number};
    performer_about(performer, "resource %d", (int)operation->a[0].number);
    return checked(setrlimit((int)operation->a[0].number, &limit));
}

int perform_set_scheduler(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {
        sizeof attributes,
        (uint32_t)operation->a[0].number,
        (uint64_t)operation->a[1].number,
        (int32_t)operation->a[2].number,
        (uint32_t)operation->a[3].number,
        (uint64_t)operation->a[4].number,
        (uint64_t)operation->a[5].number,
        (uint64_t)operation->a[6].number,
    };
    return checked(syscall(SYS_sched_setattr, 0, &attributes, 0));
}

int perform_set_io_priority(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    return checked(syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, (int)operation->a[0].number));
}

int perform_set_affinity(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    return checked(syscall(SYS_sched_setaffinity, 0, operation->a[0].size, operation->a[0].text));
}

int perform_set_memory_policy(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    unsigned size = operation->a[1].size;
    return checked(syscall(SYS_set_mempolicy, (int)operation->a[0].number, size ? operation->a[1].text : NULL,
                           size ? size * 8UL + 1 : 0UL));
}

int perform_set_personality(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    return checked(personality((unsigned long)operation->a[0].number));
}

int perform_set_umask(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    umask((mode_t)operation->a[0].number);
    return 0;
}

int perform_new_session(struct performer *performer, const struct operation *operation)
{
    (void)performer, (void)operation;
    return setsid() < 0 && errno != EPERM ? -errno : 0; /* EPERM: leader already */
}

int perform_wait_slot(struct performer *performer, const struct operation *operation)
{
    int fd = performer_slot(performer, operation->a[0].number);
    char word;
    ssize_t size;
    if (fd < 0)
        return fd;
    do
        size = read(fd, &word, 1);
    while (size < 0 && errno == EINTR);
    return size < 0 ? -errno : size == 0 ? -ECANCELED : 0;
}

int perform_join_keyring(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    long result = syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, operation->a[0].text);
    return result < 0 && errno != ENOSYS ? -errno : 0;
}

int perform_change_directory(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    char path[4096];
    if (chdir(operation->a[0].text) < 0)
        return -errno;
    if (syscall(SYS_getcwd, path, sizeof path) < 0)
        return -errno;
    return *path == '/' ? 0 : -EXDEV; /* "(unreachable)…" lies outside of the root */
}

int perform_drop_bounding(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    uint64_t keep = (uint64_t)operation->a[0].number;
    for (int capability = 0; capability < 64; capability++) {
        if (keep >> capability & 1)
            continue;
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            return errno == EINVAL ? 0 : -errno; /* EINVAL: past the kernel's last */
    }
    return 0;
}

/* Raw calls: libc's would look for other threads. */
int perform_set_ids(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    unsigned uid = (unsigned)operation->a[0].number, gid = (unsigned)operation->a[1].number;
    const struct argument *groups = &operation->a[2];
    if (operation->a[3].number && syscall(SYS_setgroups, groups->size / sizeof(gid_t), groups->text) < 0 &&
        (errno != EPERM || groups->size > 0)) /* a user namespace may forbid it to all: then there is none to give up */
        return -errno;
    if (syscall(SYS_setresgid, gid, gid, gid) < 0 || prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        return -errno;
    return checked(syscall(SYS_setresuid, uid, uid, uid));
}

static int set_ambient(uint64_t mask)
{
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    for (unsigned long capability = 0; capability < 64; capability++)
        if (mask >> capability & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
            return -errno;
    return 0;
}

int perform_set_capabilities(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    struct {
        uint32_t version;
        int pid;
    } header = {CAPABILITY_VERSION_3, 0};
    struct {
        uint32_t effective, permitted, inheritable;
    } data[2];
    for (int half = 0; half < 2; half++) {
        data[half].effective = (uint32_t)((uint64_t)operation->a[0].number >> 32 * half);
        data[half].permitted = (uint32_t)((uint64_t)operation->a[1].number >> 32 * half);
        data[half].inheritable = (uint32_t)((uint64_t)operation->a[2].number >> 32 * half);
    }
    if (syscall(SYS_capset, &header, data) < 0)
        return -errno;
    return set_ambient((uint64_t)operation->a[3].number);
}

int perform_no_new_privileges(struct performer *performer, const struct operation *operation)
{
    (void)performer, (void)operation;
    return checked(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

int performer_filter(struct performer *performer, int64_t wanted, const struct argument *code)
{
    struct {
        unsigned short length;
        const void *filter;
    } program = {(unsigned short)(code->size / 8), code->text};
    unsigned flags = (unsigned)wanted;
    int result = checked(syscall(SYS_seccomp, KERNEL_SECCOMP_FILTER, flags, &program));
    if (result < 0 || !(flags & KERNEL_SECCOMP_NEW_LISTENER))
        return result;
    cleanup_fd int listener = result;
    struct note note = {.kind = NOTE_DESCRIPTOR, .number = DESCRIPTOR_LISTENER};
    return note_send(performer->link, &note, listener);
}

int perform_seccomp(struct performer *performer, const struct operation *operation)
{
    int result = kernel_close_from(FIRST_SLOT, KERNEL_CLOSE_RANGE_CLOEXEC);
    if (result < 0)
        return result;
    performer->sealed = true;
    return performer_filter(performer, operation->a[0].number, &operation->a[1]);
}

int perform_die_with_parent(struct performer *performer, const struct operation *operation)
{
    (void)operation;
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0)
        return -errno;
    struct pollfd link = {.fd = performer->link}; /* a parent that died before closed its end */
    return poll(&link, 1, 0) > 0 && link.revents & POLLHUP ? -EPIPE : 0;
}
