/* Ownership of descriptors and memory: released when the variable's scope ends, unless stolen. */
#ifndef SAMPAN_OWNED_H
#define SAMPAN_OWNED_H

#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_fd_(int *fd)
{
    if (*fd >= 0)
        close(*fd);
}

static inline void cleanup_free_(void *pointer)
{
    free(*(void **)pointer);
}

#define cleanup_fd __attribute__((cleanup(cleanup_fd_)))
#define cleanup_free __attribute__((cleanup(cleanup_free_)))

/* The descriptor, which the variable no longer owns. */
static inline int steal_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

static inline void replace_fd(int *fd, int by)
{
    if (*fd >= 0)
        close(*fd);
    *fd = by;
}

#endif
