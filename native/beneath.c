/* openat2(RESOLVE_IN_ROOT), and the making of what is missing on the way. */
#define _GNU_SOURCE
#include "beneath.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kernel.h"
#include "owned.h"

#define LINKS 40 /* as the kernel's own limit */

static int resolve(int root, const char *path, uint64_t flags, uint64_t refused)
{
    struct kernel_open_how how = {.flags = flags | O_CLOEXEC, .resolve = KERNEL_RESOLVE_IN_ROOT | refused};
    int fd;
    do /* EAGAIN: something was renamed above us during a lookup of ".." */
        fd = checked(syscall(CALL_OPENAT2, root, *path ? path : ".", &how, sizeof how));
    while (fd == -EAGAIN);
    return fd;
}

int open_beneath(int root, const char *path, uint64_t flags)
{
    return resolve(root, path, flags, KERNEL_RESOLVE_NO_MAGICLINKS);
}

int open_plain(int root, const char *path)
{
    return resolve(root, path, O_PATH, KERNEL_RESOLVE_NO_SYMLINKS);
}

/* Split off the last component, trailing slashes aside; the root has none. */
static int split(const char *path, char *parent, const char **name)
{
    if (snprintf(parent, BENEATH_PATH, "%s", path) >= BENEATH_PATH)
        return -ENAMETOOLONG;
    size_t end = strlen(parent);
    while (end && parent[end - 1] == '/')
        end--;
    size_t start = end;
    while (start && parent[start - 1] != '/')
        start--;
    if (start == end)
        return -EINVAL;
    *name = path + start;
    parent[start] = 0;
    return 0;
}

static int make_deep(int root, const char *path, bool directory, mode_t mode, bool *made, int links);

static int parent_of(int root, const char *path, const char **name, int links)
{
    char parent[BENEATH_PATH];
    bool made;
    int result = split(path, parent, name);
    return result < 0 ? result : make_deep(root, parent, true, 0755, &made, links);
}

static int make_one(int parent, const char *name, bool directory, mode_t mode)
{
    char last[256];
    size_t length = strcspn(name, "/");
    if (length >= sizeof last)
        return -ENAMETOOLONG;
    memcpy(last, name, length);
    last[length] = 0;
    return checked(directory ? mkdirat(parent, last, mode) : mknodat(parent, last, S_IFREG | mode, 0));
}

/* Where the dangling link `name` of `path`'s parent leads, as a path from the root. */
static int follow(int parent, const char *path, const char *name, char *target)
{
    char link[BENEATH_PATH / 2], last[256];
    snprintf(last, sizeof last, "%.*s", (int)strcspn(name, "/"), name);
    ssize_t size = readlinkat(parent, last, link, sizeof link - 1);
    if (size < 0)
        return -errno;
    link[size] = 0;
    int length = *link == '/' ? snprintf(target, BENEATH_PATH, "%s", link)
                              : snprintf(target, BENEATH_PATH, "%.*s/%s", (int)(name - path), path, link);
    return length < BENEATH_PATH ? 0 : -ENAMETOOLONG;
}

static int make_deep(int root, const char *path, bool directory, mode_t mode, bool *made, int links)
{
    *made = false;
    int fd = open_beneath(root, path, O_PATH);
    if (fd != -ENOENT)
        return fd;
    if (links == 0)
        return -ELOOP;
    const char *name;
    cleanup_fd int parent = parent_of(root, path, &name, links - 1);
    if (parent < 0)
        return parent;
    int result = make_one(parent, name, directory, mode);
    if (result == -EEXIST) { /* a dangling link, or someone was faster */
        char target[BENEATH_PATH];
        if (follow(parent, path, name, target) == 0)
            return make_deep(root, target, directory, mode, made, links - 1);
    } else if (result < 0)
        return result;
    *made = result == 0;
    return open_beneath(root, path, O_PATH);
}

int open_or_make(int root, const char *path, bool directory, mode_t mode, bool *made)
{
    return make_deep(root, path, directory, mode, made, LINKS);
}

int open_parent(int root, const char *path, const char **name)
{
    return parent_of(root, path, name, LINKS);
}
