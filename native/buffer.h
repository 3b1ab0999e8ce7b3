/* Bytes that wait for their descriptor; memory is held only while there are some. */
#ifndef SAMPAN_BUFFER_H
#define SAMPAN_BUFFER_H

#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

struct buffer {
    char *data;
    size_t start, end, capacity;
};

static inline size_t buffer_size(const struct buffer *buffer)
{
    return buffer->end - buffer->start;
}

static inline void buffer_clear(struct buffer *buffer)
{
    free(buffer->data);
    *buffer = (struct buffer){0};
}

/* False where memory is out; nothing was added then. */
static inline int buffer_add(struct buffer *buffer, const void *data, size_t size)
{
    if (buffer->end + size > buffer->capacity) {
        if (buffer->start)
            memmove(buffer->data, buffer->data + buffer->start, buffer_size(buffer));
        buffer->end -= buffer->start;
        buffer->start = 0;
    }
    if (buffer->end + size > buffer->capacity) {
        size_t capacity = buffer->end + size + buffer->capacity;
        char *larger = realloc(buffer->data, capacity);
        if (!larger)
            return 0;
        buffer->data = larger;
        buffer->capacity = capacity;
    }
    memcpy(buffer->data + buffer->end, data, size);
    buffer->end += size;
    return 1;
}

static inline void buffer_take(struct buffer *buffer, size_t size)
{
    buffer->start += size;
    if (buffer->start == buffer->end)
        buffer_clear(buffer);
}

#endif
