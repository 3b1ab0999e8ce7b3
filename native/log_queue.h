/* Entries of a log that no program waits for, on their way to its file: the loop puts them in, a thread writes them.
 *
 *        head        tail                            head        tail     end
 *   ......[entries…..]......        or, wrapped:   …]...........[entries…]..      `size` bytes in all
 *
 * An entry that does not fit within `limit` is refused, unless it finds the queue empty. It is the only thread beside
 * the loop; it takes no memory, so that a child cloned meanwhile finds no lock taken.
 */
#ifndef SAMPAN_LOG_QUEUE_H
#define SAMPAN_LOG_QUEUE_H

#include <stdbool.h>
#include <stddef.h>

#include "log_file.h"

struct log_queue;

/* A queue of `limit` bytes before `file`, which is its thread's from now on. 0 or -errno. */
int log_queue_open(struct log_queue **queue, struct log_file *file, size_t limit);

/* Whether there is room for an entry of `size` bytes. */
bool log_queue_has_room(struct log_queue *queue, size_t size);

/* Put an entry, which ends with a line feed; `LOG_ENTRY` bytes at most. */
void log_queue_put(struct log_queue *queue, const char *entry, size_t size);

/* Wait until everything is in the file. */
void log_queue_close(struct log_queue *queue);

#endif
