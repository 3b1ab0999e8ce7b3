/* Standard streams of the child: the three slots, or a terminal of the container's own devpts. */
#define _GNU_SOURCE
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <termios.h>

#include "beneath.h"
#include "kernel.h"
#include "owned.h"
#include "plan.h"

#ifndef TIOCGPTPEER
#define TIOCGPTPEER 0x5441
#endif

/* A new pty's master, from a real devpts whatever the container put at the path. */
static int open_master(struct performer *performer)
{
    struct stat about;
    struct statfs system;
    int unlocked = 0, root = performer_root(performer);
    cleanup_fd int master = root < 0 ? root : open_beneath(root, "/dev/pts/ptmx", O_RDWR | O_NOCTTY);
    if (master < 0)
        return master;
    if (fstat(master, &about) < 0 || fstatfs(master, &system) < 0)
        return -errno;
    if (system.f_type != KERNEL_DEVPTS_MAGIC || about.st_rdev != makedev(5, 2))
        return -ENODEV;
    if (ioctl(master, TIOCSPTLCK, &unlocked) < 0)
        return -errno;
    return steal_fd(&master);
}

static int bind_console(struct performer *performer, int terminal, const char *path)
{
    bool made;
    cleanup_fd int target = open_or_make(performer->root, path, false, 0620, &made);
    if (target < 0)
        return target;
    cleanup_fd int mount = kernel_open_tree(terminal, "", KERNEL_OPEN_TREE_CLONE | KERNEL_AT_EMPTY_PATH);
    return mount < 0 ? mount : kernel_move_mount(mount, target, "");
}

static int take_stdio(int in, int out, int error)
{
    return dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(error, 2) < 0 ? -errno : 0;
}

/* Who copies the terminal's output on adds no carriage returns: those are for a terminal that a person looks at. */
static int keep_newlines(int terminal)
{
    struct termios modes;
    if (tcgetattr(terminal, &modes) < 0)
        return -errno;
    modes.c_oflag &= ~(tcflag_t)ONLCR;
    return checked(tcsetattr(terminal, TCSANOW, &modes));
}

int perform_open_console(struct performer *performer, const struct operation *operation)
{
    struct winsize size = {(unsigned short)operation->a[0].number, (unsigned short)operation->a[1].number, 0, 0};
    struct note note = {.kind = NOTE_DESCRIPTOR, .number = DESCRIPTOR_CONSOLE};
    int result;
    performer_about(performer, "/dev/pts/ptmx");
    cleanup_fd int master = open_master(performer);
    if (master < 0)
        return master;
    cleanup_fd int terminal = checked(ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
    if (terminal < 0)
        return terminal;
    if (size.ws_row && ioctl(terminal, TIOCSWINSZ, &size) < 0)
        return -errno;
    if (operation->a[4].number && (result = keep_newlines(terminal)) < 0)
        return result;
    if (fchown(terminal, (uid_t)operation->a[2].number, (gid_t)-1) < 0 && errno != EPERM)
        return -errno;
    performer_about(performer, "%s", operation->a[3].text);
    result = *operation->a[3].text ? bind_console(performer, terminal, operation->a[3].text) : 0;
    if (result < 0)
        return result;
    if (ioctl(terminal, TIOCSCTTY, 0) < 0)
        return -errno;
    result = take_stdio(terminal, terminal, terminal);
    return result < 0 ? result : note_send(performer->link, &note, master);
}

/* Pipes that the child could not own itself, being in another user namespace by then. A file of the host's stays whose
 * it is. */
int perform_own_stdio(struct performer *performer, const struct operation *operation)
{
    struct stat about;
    for (int fd = 0; fd < 3; fd++) {
        int slot = performer->slots[fd];
        if (slot >= 0 && fstat(slot, &about) == 0 && S_ISFIFO(about.st_mode) &&
            fchown(slot, (uid_t)operation->a[0].number, (gid_t)-1) < 0 && errno != EPERM)
            return -errno;
    }
    return 0;
}

int perform_set_stdio(struct performer *performer, const struct operation *operation)
{
    struct stat about;
    int *slots = performer->slots;
    for (int fd = 0; fd < 3; fd++) {
        if (fstat(slots[fd], &about) < 0)
            return -errno;
        /* A user other than root opens /dev/stdout anew only if the pipe is his. Elsewhere refusal does not matter. */
        if (!S_ISCHR(about.st_mode) && fchown(slots[fd], (uid_t)operation->a[0].number, (gid_t)-1) < 0 &&
            errno != EPERM && errno != EINVAL && errno != EROFS)
            return -errno;
    }
    return take_stdio(slots[0], slots[1], slots[2]);
}
