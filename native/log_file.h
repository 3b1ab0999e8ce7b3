/* The file of a log and those it was: lines are appended, and a full file makes room.
 *
 *   name      the live file
 *   name.1    what it was before, and so on; `files` are kept in all. What the daemon has compressed meanwhile is
 *             name.1.gz and so on
 */
#ifndef SAMPAN_LOG_FILE_H
#define SAMPAN_LOG_FILE_H

#include <stddef.h>
#include <stdint.h>

struct log_file {
    int fd; /* -1: there is none */
    int directory;
    int files;
    int64_t size, maximum; /* bytes; a file of `maximum` or more is not written to; 0: without bound */
    char *name;
};

/* Open or make the file. The descriptor or -errno. */
int log_file_open(struct log_file *file, const char *path, int64_t maximum, int files);

/* Append whole lines; those that the disk does not take are lost, and the file still ends with a whole one. */
void log_file_append(struct log_file *file, const char *lines, size_t size);

#endif
