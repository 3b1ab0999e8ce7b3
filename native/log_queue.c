#define _GNU_SOURCE
#include "log_queue.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "kernel.h"
#include "log.h"

#define STACK (128 * 1024)
#define WRITE (64 * 1024) /* about as much is written at once */

struct log_queue {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_t writer;
    struct log_file *file;
    char *bytes;
    size_t size, limit;
    size_t head, tail, end, waiting;
    bool closing;
};

/* The lines to be written next: contiguous, whole. */
static size_t next_lines(const struct log_queue *queue, const char **lines)
{
    size_t stop = queue->tail > queue->head ? queue->tail : queue->end, size = stop - queue->head;
    *lines = queue->bytes + queue->head;
    if (size <= WRITE)
        return size;
    const char *last = memrchr(*lines, '\n', WRITE);
    if (!last)
        last = memchr(*lines, '\n', size);
    return last ? (size_t)(last - *lines) + 1 : size;
}

static void take(struct log_queue *queue, size_t size)
{
    queue->waiting -= size;
    queue->head += size;
    if (queue->waiting == 0)
        queue->head = queue->tail = 0; /* memory that was not needed stays untouched */
    else if (queue->tail <= queue->head && queue->head == queue->end)
        queue->head = 0;
}

static void *write_entries(void *argument)
{
    struct log_queue *queue = argument;
    pthread_mutex_lock(&queue->lock);
    while (queue->waiting || !queue->closing) {
        if (!queue->waiting) {
            pthread_cond_wait(&queue->filled, &queue->lock);
            continue;
        }
        const char *lines;
        size_t size = next_lines(queue, &lines);
        pthread_mutex_unlock(&queue->lock);
        log_file_append(queue->file, lines, size);
        pthread_mutex_lock(&queue->lock);
        take(queue, size);
    }
    pthread_mutex_unlock(&queue->lock);
    return NULL;
}

static int start_writer(struct log_queue *queue)
{
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK);
    int error = pthread_create(&queue->writer, &attributes, write_entries, queue);
    pthread_attr_destroy(&attributes);
    return -error;
}

int log_queue_open(struct log_queue **made, struct log_file *file, size_t limit)
{
    struct log_queue *queue = calloc(1, sizeof *queue);
    if (!queue)
        return -ENOMEM;
    queue->file = file;
    queue->limit = limit;
    queue->size = limit + limit / 64 + 3 * LOG_ENTRY; /* what is let in beyond the limit, and an end left unused */
    queue->bytes = mmap(NULL, queue->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (queue->bytes == MAP_FAILED) {
        free(queue);
        return -ENOMEM;
    }
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->filled, NULL);
    *made = queue;
    return start_writer(queue);
}

bool log_queue_has_room(struct log_queue *queue, size_t size)
{
    pthread_mutex_lock(&queue->lock);
    bool room = queue->waiting == 0 || queue->waiting + size <= queue->limit;
    pthread_mutex_unlock(&queue->lock);
    return room;
}

/* Where an entry goes; false where there is no place. */
static bool find_place(struct log_queue *queue, size_t size)
{
    bool wrapped = queue->waiting && queue->tail <= queue->head;
    if (wrapped)
        return queue->head - queue->tail >= size;
    if (queue->size - queue->tail >= size)
        return true;
    if (queue->head < size)
        return false;
    queue->end = queue->tail;
    queue->tail = 0;
    return true;
}

void log_queue_put(struct log_queue *queue, const char *entry, size_t size)
{
    pthread_mutex_lock(&queue->lock);
    if (find_place(queue, size)) {
        memcpy(queue->bytes + queue->tail, entry, size);
        if (!queue->waiting)
            pthread_cond_signal(&queue->filled); /* the writer waits for the first only */
        queue->tail += size;
        queue->waiting += size;
    }
    pthread_mutex_unlock(&queue->lock);
}

void log_queue_close(struct log_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
    queue->closing = true;
    pthread_cond_signal(&queue->filled);
    pthread_mutex_unlock(&queue->lock);
    pthread_join(queue->writer, NULL);
}
