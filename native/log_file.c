#define _GNU_SOURCE
#include "log_file.h"

#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "kernel.h"
#include "owned.h"

static int open_live(struct log_file *file, int flags)
{
    return checked(openat(file->directory, file->name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | flags, 0640));
}

/* A power cut may leave half a line, which must not swallow the next. */
static void end_torn_line(struct log_file *file)
{
    char last;
    if (file->size <= 0)
        return;
    cleanup_fd int fd = openat(file->directory, file->name, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && pread(fd, &last, 1, (off_t)file->size - 1) == 1 && last != '\n')
        file->size += write(file->fd, "\n", 1) == 1;
}

int log_file_open(struct log_file *file, const char *path, int64_t maximum, int files)
{
    struct stat about;
    const char *slash = strrchr(path, '/');
    if (!slash)
        return -EINVAL;
    cleanup_free char *parent = strndup(path, (size_t)(slash - path) + 1);
    file->name = strdup(slash + 1);
    if (!parent || !file->name)
        return -ENOMEM;
    file->directory = checked(open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (file->directory < 0)
        return file->directory;
    file->fd = open_live(file, 0);
    file->size = file->fd >= 0 && fstat(file->fd, &about) == 0 ? about.st_size : 0;
    end_torn_line(file);
    file->maximum = maximum;
    file->files = files;
    return file->fd;
}

/* name.(i-1) becomes name.i, compressed or not. */
static void shift(struct log_file *file, int i, const char *ending)
{
    char from[320], to[320];
    snprintf(to, sizeof to, "%s.%d%s", file->name, i, ending);
    if (i == file->files - 1)
        unlinkat(file->directory, to, 0);
    if (i > 1)
        snprintf(from, sizeof from, "%s.%d%s", file->name, i - 1, ending);
    else
        snprintf(from, sizeof from, "%s%s", file->name, ending);
    renameat(file->directory, from, file->directory, to);
}

static void rotate(struct log_file *file)
{
    flock(file->fd, LOCK_EX); /* the daemon holds it while a compressed file takes a rotated one's place */
    for (int i = file->files - 1; i > 0; i--) {
        shift(file, i, ".gz");
        shift(file, i, "");
    }
    int fd = open_live(file, O_TRUNC);
    if (fd >= 0)
        replace_fd(&file->fd, fd);
    file->size = 0;
}

/* The disk is full: the file ends with the last whole line of the `written` bytes. */
static void give_up(struct log_file *file, const char *lines, size_t written)
{
    struct stat about;
    size_t whole = written;
    while (whole > 0 && lines[whole - 1] != '\n')
        whole--;
    if (whole < written && fstat(file->fd, &about) == 0 &&
        ftruncate(file->fd, about.st_size - (off_t)(written - whole)) == 0)
        file->size -= (int64_t)(written - whole);
}

static void write_all(struct log_file *file, const char *lines, size_t size)
{
    for (size_t at = 0; at < size;) {
        ssize_t written = write(file->fd, lines + at, size - at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            give_up(file, lines, at); /* loses entries, never the container */
            return;
        }
        at += (size_t)written;
        file->size += written;
    }
}

/* How much of `lines` still goes into the file: up to the end of the line that fills it. */
static size_t fitting(const struct log_file *file, const char *lines, size_t size)
{
    int64_t room = file->maximum - file->size;
    if (file->maximum <= 0 || room >= (int64_t)size)
        return size;
    const char *from = lines + (room > 1 ? room - 1 : 0), *end = memchr(from, '\n', size - (size_t)(from - lines));
    return end ? (size_t)(end - lines) + 1 : size;
}

void log_file_append(struct log_file *file, const char *lines, size_t size)
{
    while (size > 0) {
        if (file->maximum > 0 && file->size >= file->maximum)
            rotate(file);
        size_t taken = fitting(file, lines, size);
        write_all(file, lines, taken);
        lines += taken;
        size -= taken;
    }
}
