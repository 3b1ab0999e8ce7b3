/* The container's log in Docker's json-file format, one object a line:
 *
 *   {"log":"…\n","stream":"stdout","attrs":{…},"time":"2026-01-02T03:04:05.678901234Z"}
 *
 * A line of output becomes one entry; one longer than 16 KiB becomes several, of which only the last ends in \n. Bytes
 * that are not UTF-8 become \ufffd; an exact log has such an entry's bytes too, as "bytes" in base64. With a queue the program never waits for the disk: what finds no room in it is
 * dropped, by whole lines, and counted.
 */
#ifndef SAMPAN_LOG_H
#define SAMPAN_LOG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "log_file.h"
#include "log_queue.h"

#define LOG_LINE (16 * 1024)
#define LOG_ENTRY (8 * LOG_LINE + 4096) /* every byte as \u00xx and in base64, and the rest */

/* A line of stdout or stderr under way. */
struct line {
    char *data; /* what came since the last newline or full entry */
    size_t size;
    bool begun, cut; /* with a queue: parts of it are there; parts of it were dropped */
};

struct log {
    struct log_file file;
    struct log_queue *queue; /* NULL: the program waits until its output is in the file */
    char *attributes;
    bool exact;
    struct line line[2];
    int64_t dropped; /* lines */
};

/* `queue`: bytes that may wait for the disk before lines are dropped; 0: none is. 0 or more, or -errno. */
int log_open(struct log *log, const char *path, int64_t maximum, int files, const char *attributes, int64_t queue,
             bool exact);

/* Append output of `stream` (1 stdout, 2 stderr). */
void log_write(struct log *log, int stream, const char *data, size_t size);

/* The stream ended: its unfinished line is an entry. */
void log_end(struct log *log, int stream);

/* Wait until all is in the file. */
void log_close(struct log *log);

#endif
