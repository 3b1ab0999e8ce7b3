/* Operations on mounts: made detached, changed, then attached beneath the container's root. */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>

#include "beneath.h"
#include "kernel.h"
#include "owned.h"
#include "plan.h"

int perform_open_tree(struct performer *performer, const struct operation *operation)
{
    unsigned recursive = operation->a[2].number ? KERNEL_AT_RECURSIVE : 0;
    int fd = kernel_open_tree(AT_FDCWD, operation->a[1].text, KERNEL_OPEN_TREE_CLONE | recursive);
    return performer_fill(performer, operation->a[0].number, fd);
}

/* Configure one option, "key=value" or "key". */
static int configure(struct performer *performer, int context, const char *option)
{
    char key[128];
    const char *equals = strchr(option, '=');
    size_t length = equals ? (size_t)(equals - option) : strlen(option);
    performer_about(performer, "option %s", option);
    if (length >= sizeof key)
        return -ENAMETOOLONG;
    memcpy(key, option, length);
    key[length] = 0;
    return equals ? kernel_fsconfig(context, KERNEL_CONFIG_STRING, key, equals + 1)
                  : kernel_fsconfig(context, KERNEL_CONFIG_FLAG, key, NULL);
}

/* Add the kernel's own words about a failure, which it leaves in the context. */
static void add_words(struct performer *performer, int context)
{
    char words[160];
    ssize_t size = read(context, words, sizeof words - 1);
    if (size <= 2)
        return;
    words[words[size - 1] == '\n' ? size - 1 : size] = 0;
    size_t used = strlen(performer->object);
    snprintf(performer->object + used, sizeof performer->object - used, " (%s)", words + 2);
}

static int configure_all(struct performer *performer, int context, const struct operation *operation)
{
    const struct argument *options = &operation->a[4];
    int result = 0;
    if (*operation->a[2].text)
        result = kernel_fsconfig(context, KERNEL_CONFIG_STRING, "source", operation->a[2].text);
    for (const char *option = options->text; result >= 0 && option < options->text + options->size;
         option += strlen(option) + 1)
        result = configure(performer, context, option);
    if (result < 0)
        return result;
    performer_about(performer, "%s", operation->a[1].text);
    return kernel_fsconfig(context, KERNEL_CONFIG_CREATE, NULL, NULL);
}

int perform_make_mount(struct performer *performer, const struct operation *operation)
{
    performer_about(performer, "%s", operation->a[1].text);
    cleanup_fd int context = checked(syscall(CALL_FSOPEN, operation->a[1].text, 1));
    if (context < 0)
        return context;
    int result = configure_all(performer, context, operation);
    if (result >= 0)
        result = checked(syscall(CALL_FSMOUNT, context, 1, (unsigned)operation->a[3].number));
    if (result < 0)
        add_words(performer, context);
    return performer_fill(performer, operation->a[0].number, result);
}

int perform_set_mount(struct performer *performer, const struct operation *operation)
{
    int mount = performer_slot(performer, operation->a[0].number);
    int userns = performer_slot(performer, operation->a[4].number);
    struct kernel_mount_attributes attributes = {
        .set = (uint64_t)operation->a[1].number,
        .clear = (uint64_t)operation->a[2].number,
        .propagation = (uint64_t)operation->a[3].number,
        .userns = userns >= 0 ? (uint64_t)userns : 0,
    };
    return mount < 0 ? mount : kernel_mount_setattr(mount, "", operation->a[5].number ? KERNEL_AT_RECURSIVE : 0, &attributes);
}

/* Who could put files of his own over those of procfs would be written to in their place, or have the wrong ones written
 * to, by all that enter the container (CVE-2019-16884, CVE-2025-52881). */
static bool is_on_proc(int target)
{
    struct statfs about;
    return fstatfs(target, &about) == 0 && about.f_type == KERNEL_PROC_MAGIC;
}

/* What a link of the image leads to is not where the runtime looks for procfs and sysfs (CVE-2019-19921,
 * CVE-2023-27561). */
static bool is_plain(int root, const char *path, int target)
{
    struct stat about, plain;
    cleanup_fd int fd = open_plain(root, path);
    return fd >= 0 && fstat(fd, &plain) == 0 && fstat(target, &about) == 0 && plain.st_dev == about.st_dev &&
           plain.st_ino == about.st_ino;
}

/* What is made where the target is missing; of a source that was not there when the plan was made, only the mount tells. */
static bool is_directory(long long kind, int mount)
{
    enum { DIRECTORY, FILE, AS_SOURCE };
    struct stat about;
    return kind == DIRECTORY || (kind == AS_SOURCE && fstat(mount, &about) == 0 && S_ISDIR(about.st_mode));
}

int perform_attach(struct performer *performer, const struct operation *operation)
{
    int root = performer_root(performer), mount = performer_slot(performer, operation->a[0].number);
    if (root < 0 || mount < 0)
        return root < 0 ? root : mount;
    bool made, directory = is_directory(operation->a[2].number, mount);
    cleanup_fd int target = open_or_make(root, operation->a[1].text, directory, directory ? 0755 : 0644, &made);
    if (target < 0)
        return target;
    if (!operation->a[3].number && is_on_proc(target)) {
        performer_about(performer, "%s: inside of procfs nothing can be mounted", operation->a[1].text);
        return -EPERM;
    }
    if (operation->a[4].number && !is_plain(root, operation->a[1].text, target)) {
        performer_about(performer, "%s must be mounted on ordinary directory", operation->a[1].text);
        return -ELOOP;
    }
    return kernel_move_mount(mount, target, "");
}

int perform_attach_root(struct performer *performer, const struct operation *operation)
{
    int mount = performer_slot(performer, operation->a[0].number);
    if (mount < 0)
        return mount;
    int result = kernel_move_mount(mount, AT_FDCWD, operation->a[1].text);
    if (result < 0)
        return result;
    replace_fd(&performer->root, checked(fcntl(mount, F_DUPFD_CLOEXEC, 3)));
    return performer->root;
}

int perform_set_propagation(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    struct kernel_mount_attributes attributes = {.propagation = (uint64_t)operation->a[1].number};
    unsigned recursive = operation->a[2].number ? KERNEL_AT_RECURSIVE : 0;
    return kernel_mount_setattr(AT_FDCWD, operation->a[0].text, recursive, &attributes);
}

static int enter_new_root(struct performer *performer)
{
    if (chdir("/") < 0)
        return -errno;
    replace_fd(&performer->root, -1);
    return performer_root(performer);
}

int perform_pivot_root(struct performer *performer, const struct operation *operation)
{
    (void)operation;
    struct kernel_mount_attributes slave = {.propagation = KERNEL_SLAVE};
    cleanup_fd int old = checked(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (performer->root < 0 || fchdir(performer->root) < 0)
        return performer->root < 0 ? -EINVAL : -errno;
    if (syscall(SYS_pivot_root, ".", ".") < 0)
        return -errno;
    /* The old root now lies over the new one; as a slave it takes nothing down on the host when it goes. */
    if (fchdir(old) < 0)
        return -errno;
    int result = kernel_mount_setattr(AT_FDCWD, ".", KERNEL_AT_RECURSIVE, &slave);
    if (result < 0)
        return result;
    if (umount2(".", MNT_DETACH) < 0)
        return -errno;
    return enter_new_root(performer);
}

/* What is locked in this user namespace is covered. What lay on a mount that is gone is gone with it. */
static int take_away(const char *point)
{
    if (umount2(point, MNT_DETACH) == 0 || errno == ENOENT)
        return 0;
    if (errno != EINVAL && errno != EPERM)
        return -errno;
    return checked(mount("tmpfs", point, "tmpfs", MS_RDONLY, NULL));
}

int perform_change_root(struct performer *performer, const struct operation *operation)
{
    const struct argument *points = &operation->a[0];
    if (performer->root < 0)
        return -EINVAL;
    for (const char *point = points->text; point < points->text + points->size; point += strlen(point) + 1) {
        int result = take_away(point);
        if (result < 0)
            return result;
    }
    if (fchdir(performer->root) < 0 || chroot(".") < 0)
        return -errno;
    return enter_new_root(performer);
}

/* A read-only clone of /dev/null: of this mount namespace's, which must be the real one (CVE-2025-31133). */
static int clone_null(void)
{
    struct stat about;
    cleanup_fd int null = kernel_open_tree(AT_FDCWD, "/dev/null", KERNEL_OPEN_TREE_CLONE);
    if (null < 0)
        return null;
    if (fstat(null, &about) < 0)
        return -errno;
    if (!S_ISCHR(about.st_mode) || about.st_rdev != makedev(1, 3))
        return -ENODEV;
    return steal_fd(&null);
}

static int make_empty(void)
{
    cleanup_fd int context = checked(syscall(CALL_FSOPEN, "tmpfs", 1));
    if (context < 0)
        return context;
    int result = kernel_fsconfig(context, KERNEL_CONFIG_STRING, "size", "0");
    if (result >= 0)
        result = kernel_fsconfig(context, KERNEL_CONFIG_STRING, "nr_inodes", "1");
    if (result >= 0)
        result = kernel_fsconfig(context, KERNEL_CONFIG_CREATE, NULL, NULL);
    if (result < 0)
        return result;
    unsigned attributes = KERNEL_MOUNT_READONLY | KERNEL_MOUNT_NOSUID | KERNEL_MOUNT_NODEV | KERNEL_MOUNT_NOEXEC;
    return checked(syscall(CALL_FSMOUNT, context, 1, attributes));
}

/* Cover a directory; all masks of a container share one file system, cloned from where it is attached first. */
static int mask_directory(struct performer *performer, int target)
{
    if (performer->empty >= 0) {
        cleanup_fd int clone = kernel_open_tree(performer->empty, "", KERNEL_OPEN_TREE_CLONE | KERNEL_AT_EMPTY_PATH);
        return clone < 0 ? clone : kernel_move_mount(clone, target, "");
    }
    performer->empty = make_empty();
    return performer->empty < 0 ? performer->empty : kernel_move_mount(performer->empty, target, "");
}

/* The container's `path`, or -ENOENT where it leads nowhere. */
static int open_existing(struct performer *performer, const char *path)
{
    int root = performer_root(performer);
    if (root < 0)
        return root;
    int fd = open_beneath(root, path, O_PATH);
    return fd == -ENOTDIR ? -ENOENT : fd;
}

int perform_mask(struct performer *performer, const struct operation *operation)
{
    struct stat about;
    cleanup_fd int target = open_existing(performer, operation->a[0].text);
    if (target < 0)
        return target == -ENOENT ? 0 : target;
    if (fstat(target, &about) < 0)
        return -errno;
    if (S_ISDIR(about.st_mode))
        return mask_directory(performer, target);
    cleanup_fd int null = clone_null();
    return null < 0 ? null : kernel_move_mount(null, target, "");
}

int perform_make_readonly(struct performer *performer, const struct operation *operation)
{
    struct kernel_mount_attributes readonly = {.set = KERNEL_MOUNT_READONLY};
    if (strcmp(operation->a[0].text, "/") == 0) {
        int root = performer_root(performer);
        return root < 0 ? root : kernel_mount_setattr(root, "", 0, &readonly);
    }
    cleanup_fd int target = open_existing(performer, operation->a[0].text);
    if (target < 0)
        return target == -ENOENT ? 0 : target;
    unsigned clone = KERNEL_OPEN_TREE_CLONE | KERNEL_AT_RECURSIVE | KERNEL_AT_EMPTY_PATH;
    cleanup_fd int copy = kernel_open_tree(target, "", clone);
    if (copy < 0)
        return copy;
    int result = kernel_mount_setattr(copy, "", KERNEL_AT_RECURSIVE, &readonly);
    return result < 0 ? result : kernel_move_mount(copy, target, "");
}
