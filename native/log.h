/* The container's log in Docker's json-file format, one object a line:
 *
 *   {"log":"…\n","stream":"stdout","attrs":{…},"time":"2026-01-02T03:04:05.678901234Z"}
 *
 * A line of output becomes one entry; one longer than 16 KiB becomes several, of which only the last ends in \n. Bytes
 * that are not UTF-8 become \ufffd. Before an entry that finds `maximum` bytes or more in the file, the file becomes
 * name.1, name.1 becomes name.2, …; `files` are kept in all. What the daemon has
 * compressed meanwhile is name.1.gz and so on.
 */
#ifndef SAMPAN_LOG_H
#define SAMPAN_LOG_H

#include <stddef.h>
#include <stdint.h>

#define LOG_LINE (16 * 1024)

struct log {
    int fd; /* -1: no log is kept */
    int directory;
    int files;
    int64_t size, maximum;
    char *name, *attributes;
    struct {
        char *data;
        size_t size;
    } partial[2]; /* of stdout and stderr: what came since the last newline */
};

int log_open(struct log *log, const char *path, int64_t maximum, int files, const char *attributes);

/* Append output of `stream` (1 stdout, 2 stderr). */
void log_write(struct log *log, int stream, const char *data, size_t size);

/* The stream ended: its unfinished line is an entry. */
void log_end(struct log *log, int stream);

#endif
