/* Paths of the container, resolved beneath its root at the moment of use. All return a descriptor or -errno. */
#ifndef SAMPAN_BENEATH_H
#define SAMPAN_BENEATH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define BENEATH_PATH 4096

/* Open what is there: symbolic links stay within the root, magic links are refused. */
int open_beneath(int root, const char *path, uint64_t flags);

/* An O_PATH descriptor of what is there, with -ELOOP where a symbolic link would be followed. */
int open_plain(int root, const char *path);

/* The directory that holds the last component of `path`, made with its parents where missing; `*name` is that
 * component, within `path`. -EINVAL for a path that names the root. */
int open_parent(int root, const char *path, const char **name);

/* An O_PATH descriptor of the directory or file at `path`, made where missing, also behind dangling links. */
int open_or_make(int root, const char *path, bool directory, mode_t mode, bool *made);

#endif
