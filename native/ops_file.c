/* Operations that make and fill files of the container, and write to the kernel's. */
#define _GNU_SOURCE
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statfs.h>

#include "beneath.h"
#include "kernel.h"
#include "owned.h"
#include "plan.h"

static int write_all(int fd, const char *data, size_t size)
{
    ssize_t written = write(fd, data, size);
    return written < 0 ? -errno : (size_t)written == size ? 0 : -EIO;
}

/* Write to a file of procfs, and refuse what only poses as one: after the pivot /proc is the image's affair. */
static int write_proc(int fd, const char *text, size_t size)
{
    struct statfs about;
    if (fstatfs(fd, &about) < 0 || about.f_type != KERNEL_PROC_MAGIC)
        return -EXDEV;
    return write_all(fd, text, size);
}

static int write_path(const char *path, const char *text)
{
    cleanup_fd int fd = checked(open(path, O_WRONLY | O_CLOEXEC));
    return fd < 0 ? fd : write_proc(fd, text, strlen(text));
}

int perform_write_slot(struct performer *performer, const struct operation *operation)
{
    int fd = performer_slot(performer, operation->a[0].number);
    return fd < 0 ? fd : write_all(fd, operation->a[1].text, operation->a[1].size);
}

int perform_join_cgroup(struct performer *performer, const struct operation *operation)
{
    const struct argument *files = &operation->a[0];
    int result = 0;
    for (const char *file = files->text; result >= 0 && file < files->text + files->size; file += strlen(file) + 1) {
        performer_about(performer, "%s", file);
        cleanup_fd int fd = checked(open(file, O_WRONLY | O_CLOEXEC));
        result = fd < 0 ? fd : write_all(fd, "0", 1);
    }
    return result;
}

int perform_write_sysctl(struct performer *performer, const struct operation *operation)
{
    char path[512];
    int root = performer_root(performer);
    if (root < 0)
        return root;
    if (snprintf(path, sizeof path, "/proc/sys/%s", operation->a[0].text) >= (int)sizeof path)
        return -ENAMETOOLONG;
    cleanup_fd int fd = open_beneath(root, path, O_WRONLY);
    return fd < 0 ? fd : write_proc(fd, operation->a[1].text, operation->a[1].size);
}

int perform_set_time_offsets(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    return write_path("/proc/self/timens_offsets", operation->a[0].text);
}

int perform_set_oom_score(struct performer *performer, const struct operation *operation)
{
    char text[24];
    snprintf(text, sizeof text, "%lld", (long long)operation->a[0].number);
    performer_about(performer, "%s", text);
    return write_path("/proc/self/oom_score_adj", text);
}

static int map_ids(const struct operation *operation, pid_t child)
{
    static const char *const files[] = {"setgroups", "uid_map", "gid_map"};
    const char *const texts[] = {operation->a[2].text, operation->a[0].text, operation->a[1].text};
    char path[64];
    int result = 0;
    for (int i = 0; i < 3 && result >= 0; i++) {
        snprintf(path, sizeof path, "/proc/%d/%s", child, files[i]);
        if (*texts[i])
            result = write_path(path, texts[i]);
    }
    return result;
}

/* The parent's part: operations on the child from outside. */
int perform_for_child(const struct operation *operation, pid_t child)
{
    char path[64], text[24];
    if (operation->code == OPERATION_map_ids)
        return map_ids(operation, child);
    if (operation->code != OPERATION_set_oom_score)
        return -EPROTO;
    snprintf(path, sizeof path, "/proc/%d/oom_score_adj", child);
    snprintf(text, sizeof text, "%lld", (long long)operation->a[0].number);
    return write_path(path, text);
}

int perform_map_ids(struct performer *performer, const struct operation *operation)
{
    (void)performer, (void)operation;
    return -EPROTO; /* the parent's */
}

/* Give a new file its owner and, free of the umask, its mode. */
static int finish(int parent, const char *name, mode_t mode, uid_t uid, gid_t gid)
{
    if ((uid || gid) && fchownat(parent, name, uid, gid, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return checked(fchmodat(parent, name, mode & 07777, 0));
}

int perform_make_directory(struct performer *performer, const struct operation *operation)
{
    const char *path = operation->a[0].text;
    mode_t mode = (mode_t)operation->a[1].number;
    bool made;
    int root = performer_root(performer);
    if (root < 0)
        return root;
    cleanup_fd int directory = open_or_make(root, path, true, mode, &made);
    if (directory < 0 || !made)
        return directory < 0 ? directory : 0;
    cleanup_fd int opened = open_beneath(directory, ".", O_DIRECTORY | O_RDONLY);
    if (opened < 0)
        return opened;
    if (fchown(opened, (uid_t)operation->a[2].number, (gid_t)operation->a[3].number) < 0)
        return -errno;
    return checked(fchmod(opened, mode));
}

int perform_make_node(struct performer *performer, const struct operation *operation)
{
    const char *name;
    struct stat about;
    mode_t mode = (mode_t)operation->a[1].number;
    dev_t device = (dev_t)operation->a[2].number;
    int root = performer_root(performer);
    cleanup_fd int parent = root < 0 ? root : open_parent(root, operation->a[0].text, &name);
    if (parent < 0)
        return parent;
    if (mknodat(parent, name, mode, device) == 0)
        return finish(parent, name, mode, (uid_t)operation->a[3].number, (gid_t)operation->a[4].number);
    if (errno != EEXIST || fstatat(parent, name, &about, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    return about.st_rdev == device && (about.st_mode & S_IFMT) == (mode & S_IFMT) ? 0 : -EEXIST;
}

int perform_make_symlink(struct performer *performer, const struct operation *operation)
{
    const char *name;
    performer_about(performer, "%s", operation->a[1].text);
    int root = performer_root(performer);
    cleanup_fd int parent = root < 0 ? root : open_parent(root, operation->a[1].text, &name);
    if (parent < 0)
        return parent;
    return symlinkat(operation->a[0].text, parent, name) < 0 && errno != EEXIST ? -errno : 0;
}

static int copy_tree(int from, int to);

static int copy_file(int from, int to, const char *name, const struct stat *about)
{
    cleanup_fd int source = checked(openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    cleanup_fd int target = checked(openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
    if (source < 0 || target < 0)
        return source < 0 ? source : target;
    for (off_t left = about->st_size; left > 0;) {
        ssize_t moved = sendfile(target, source, NULL, (size_t)left);
        if (moved <= 0)
            return moved ? -errno : 0;
        left -= moved;
    }
    return 0;
}

static int copy_link(int from, int to, const char *name)
{
    char target[BENEATH_PATH];
    ssize_t size = readlinkat(from, name, target, sizeof target - 1);
    if (size < 0)
        return -errno;
    target[size] = 0;
    return checked(symlinkat(target, to, name));
}

static int copy_directory(int from, int to, const char *name)
{
    if (mkdirat(to, name, 0700) < 0)
        return -errno;
    cleanup_fd int source = checked(openat(from, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    cleanup_fd int target = checked(openat(to, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    return source < 0 ? source : target < 0 ? target : copy_tree(source, target);
}

static int copy_entry(int from, int to, const char *name)
{
    struct stat about;
    if (fstatat(from, name, &about, AT_SYMLINK_NOFOLLOW) < 0)
        return -errno;
    int result = S_ISDIR(about.st_mode)   ? copy_directory(from, to, name)
                 : S_ISLNK(about.st_mode) ? copy_link(from, to, name)
                 : S_ISREG(about.st_mode) ? copy_file(from, to, name, &about)
                                          : checked(mknodat(to, name, about.st_mode, about.st_rdev));
    if (result >= 0 && fchownat(to, name, about.st_uid, about.st_gid, AT_SYMLINK_NOFOLLOW) < 0)
        result = -errno;
    return result < 0 || S_ISLNK(about.st_mode) ? result : checked(fchmodat(to, name, about.st_mode & 07777, 0));
}

/* Copy all entries of one directory into another. */
static int copy_tree(int from, int to)
{
    int again = checked(openat(from, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    DIR *directory = again < 0 ? NULL : fdopendir(again);
    if (!directory)
        return -errno;
    int result = 0;
    for (struct dirent *entry; result >= 0 && (entry = readdir(directory));)
        if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
            result = copy_entry(from, to, entry->d_name);
    closedir(directory);
    return result;
}

int perform_copy_mode(struct performer *performer, const struct operation *operation)
{
    struct stat about;
    int root = performer_root(performer), mount = performer_slot(performer, operation->a[0].number);
    if (root < 0 || mount < 0)
        return root < 0 ? root : mount;
    cleanup_fd int source = open_beneath(root, operation->a[1].text, O_PATH | O_DIRECTORY);
    if (source < 0)
        return source == -ENOENT ? 0 : source;
    cleanup_fd int target = checked(openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (target < 0 || fstat(source, &about) < 0)
        return -errno;
    return checked(fchmod(target, about.st_mode & 07777));
}

int perform_copy_up(struct performer *performer, const struct operation *operation)
{
    struct stat about;
    int root = performer_root(performer), mount = performer_slot(performer, operation->a[0].number);
    if (root < 0 || mount < 0)
        return root < 0 ? root : mount;
    cleanup_fd int source = open_beneath(root, operation->a[1].text, O_RDONLY | O_DIRECTORY);
    if (source < 0)
        return source == -ENOENT ? 0 : source;
    cleanup_fd int target = checked(openat(mount, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (target < 0 || fstat(source, &about) < 0)
        return -errno;
    if (fchown(target, about.st_uid, about.st_gid) < 0 || fchmod(target, about.st_mode & 07777) < 0)
        return -errno;
    return copy_tree(source, target);
}
