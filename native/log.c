#define _GNU_SOURCE
#include "log.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>

#include "kernel.h"
#include "owned.h"

#define LONGEST_ENTRY (6 * LOG_LINE + 4096) /* every byte as \u00xx, and the rest */

static char out[LONGEST_ENTRY + 64 * 1024];
static size_t out_size;

static int open_file(struct log *log, int flags)
{
    return checked(openat(log->directory, log->name, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | flags, 0640));
}

/* A power cut may leave half a line, which must not swallow the next. */
static void end_torn_line(struct log *log)
{
    char last;
    cleanup_fd int fd = openat(log->directory, log->name, O_RDONLY | O_CLOEXEC);
    if (log->size > 0 && fd >= 0 && pread(fd, &last, 1, (off_t)log->size - 1) == 1 && last != '\n')
        log->size += write(log->fd, "\n", 1) == 1;
}

int log_open(struct log *log, const char *path, int64_t maximum, int files, const char *attributes)
{
    struct stat about;
    const char *slash = strrchr(path, '/');
    if (!slash || strlen(attributes) > 2048)
        return -EINVAL;
    cleanup_free char *parent = strndup(path, (size_t)(slash - path) + 1);
    log->name = strdup(slash + 1);
    log->attributes = strdup(attributes);
    if (!parent || !log->name || !log->attributes)
        return -ENOMEM;
    log->directory = checked(open(parent, O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (log->directory < 0)
        return log->directory;
    log->fd = open_file(log, 0);
    log->size = log->fd >= 0 && fstat(log->fd, &about) == 0 ? about.st_size : 0;
    end_torn_line(log);
    log->maximum = maximum;
    log->files = files;
    return log->fd;
}

/* The disk is full: what was not written is lost, and the file ends with the last whole line of the `written` bytes. */
static void give_up(struct log *log, size_t written)
{
    struct stat about;
    size_t whole = written;
    while (whole > 0 && out[whole - 1] != '\n')
        whole--;
    if (whole < written && fstat(log->fd, &about) == 0)
        log->size -= ftruncate(log->fd, about.st_size - (off_t)(written - whole)) < 0 ? 0 : (int64_t)(written - whole);
    log->size -= (int64_t)(out_size - written);
}

static void flush(struct log *log)
{
    for (size_t at = 0; at < out_size;) {
        ssize_t written = write(log->fd, out + at, out_size - at);
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0) {
            give_up(log, at); /* loses entries, never the container */
            break;
        }
        at += (size_t)written;
    }
    out_size = 0;
}

/* name.(i-1) becomes name.i, compressed or not. */
static void shift(struct log *log, int i, const char *ending)
{
    char from[320], to[320];
    snprintf(to, sizeof to, "%s.%d%s", log->name, i, ending);
    if (i == log->files - 1)
        unlinkat(log->directory, to, 0);
    if (i > 1)
        snprintf(from, sizeof from, "%s.%d%s", log->name, i - 1, ending);
    else
        snprintf(from, sizeof from, "%s%s", log->name, ending);
    renameat(log->directory, from, log->directory, to);
}

static void rotate(struct log *log)
{
    flush(log);
    flock(log->fd, LOCK_EX); /* the daemon holds it while a compressed file takes a rotated one's place */
    for (int i = log->files - 1; i > 0; i--) {
        shift(log, i, ".gz");
        shift(log, i, "");
    }
    int fd = open_file(log, O_TRUNC);
    if (fd >= 0)
        replace_fd(&log->fd, fd);
    log->size = 0;
}

static void put(const char *text, size_t size)
{
    memcpy(out + out_size, text, size);
    out_size += size;
}

static void put_text(const char *text)
{
    put(text, strlen(text));
}

/* Bytes of the UTF-8 character at `text`, 0 where there is none (RFC 3629: no surrogates, nothing overlong). */
static size_t character(const unsigned char *text, size_t left)
{
    unsigned char lead = *text, low = 0x80, high = 0xbf;
    size_t size = lead < 0x80 ? 1 : lead < 0xc2 ? 0 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : lead < 0xf5 ? 4 : 0;
    if (size < 2 || size > left)
        return size > left ? 0 : size;
    if (lead == 0xe0)
        low = 0xa0;
    if (lead == 0xf0)
        low = 0x90;
    if (lead == 0xed)
        high = 0x9f;
    if (lead == 0xf4)
        high = 0x8f;
    if (text[1] < low || text[1] > high)
        return 0;
    for (size_t i = 2; i < size; i++)
        if ((text[i] & 0xc0) != 0x80)
            return 0;
    return size;
}

/* U+2028 and U+2029, which end lines in JavaScript, are escaped as Go does. */
static const char *escape_character(const unsigned char *text, size_t size)
{
    if (size == 0)
        return "\\ufffd";
    if (size == 3 && text[0] == 0xe2 && text[1] == 0x80 && (text[2] & 0xfe) == 0xa8)
        return text[2] == 0xa8 ? "\\u2028" : "\\u2029";
    return NULL;
}

/* How a byte of ASCII is written. Always eight bytes are copied, which costs less than to look how many are to be. */
static struct escape {
    size_t size;
    char text[8];
} escapes[0x80];

static void write_as(unsigned char byte, const char *text)
{
    escapes[byte].size = strlen(text);
    memcpy(escapes[byte].text, text, escapes[byte].size);
}

static void make_escapes(void)
{
    char text[8];
    for (unsigned byte = 0; byte < 0x80; byte++) {
        bool escaped = byte < 0x20 || byte == '<' || byte == '>' || byte == '&';
        snprintf(text, sizeof text, escaped ? "\\u%04x" : "%c", byte);
        write_as((unsigned char)byte, text);
    }
    write_as('"', "\\\"");
    write_as('\\', "\\\\");
    write_as('\n', "\\n");
    write_as('\r', "\\r");
    write_as('\t', "\\t");
}

/* Put characters of ASCII; returns how many there were. */
static size_t put_ascii(const unsigned char *text, size_t size)
{
    char *to = out + out_size;
    size_t at = 0;
    for (; at < size && text[at] < 0x80; at++) {
        const struct escape *escape = &escapes[text[at]];
        memcpy(to, escape->text, sizeof escape->text);
        to += escape->size;
    }
    out_size = (size_t)(to - out);
    return at;
}

static void put_escaped(const char *data, size_t size)
{
    const unsigned char *text = (const unsigned char *)data;
    if (!escapes['"'].size)
        make_escapes();
    for (size_t at = put_ascii(text, size); at < size; at += put_ascii(text + at, size - at)) {
        size_t length = character(text + at, size - at);
        const char *escaped = escape_character(text + at, length);
        if (escaped)
            put_text(escaped);
        else
            put(data + at, length);
        at += length ? length : 1;
    }
}

/* RFC 3339 with nanoseconds; Go leaves out the fraction's trailing zeros. */
static void put_time(void)
{
    static time_t second = -1;
    static char text[48];
    static size_t whole; /* up to the fraction, made once a second */
    struct timespec now;
    struct tm day;
    clock_gettime(CLOCK_REALTIME, &now);
    if (now.tv_sec != second) {
        second = now.tv_sec;
        gmtime_r(&second, &day);
        whole = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.", &day);
    }
    long fraction = now.tv_nsec;
    for (size_t i = 9; i-- > 0; fraction /= 10)
        text[whole + i] = (char)('0' + fraction % 10);
    size_t size = whole + 9;
    while (text[size - 1] == '0')
        size--;
    put(text, text[size - 1] == '.' ? size - 1 : size);
    put_text("Z");
}

static void entry(struct log *log, int stream, const char *data, size_t size)
{
    size_t before = out_size;
    if (log->maximum > 0 && log->size >= log->maximum) {
        rotate(log);
        before = 0;
    }
    put_text("{\"log\":\"");
    put_escaped(data, size);
    put_text(stream == 1 ? "\",\"stream\":\"stdout\"" : "\",\"stream\":\"stderr\"");
    if (*log->attributes) {
        put_text(",\"attrs\":");
        put_text(log->attributes);
    }
    put_text(",\"time\":\"");
    put_time();
    put_text("\"}\n");
    log->size += (int64_t)(out_size - before);
    if (out_size > sizeof out - LONGEST_ENTRY)
        flush(log);
}

/* Keep what has no newline yet; a full 16 KiB is an entry of its own. Returns how much was taken. */
static size_t keep(struct log *log, int stream, const char *data, size_t size)
{
    char **partial = &log->partial[stream - 1].data;
    size_t *used = &log->partial[stream - 1].size, room = LOG_LINE - *used;
    if (!*partial && !(*partial = malloc(LOG_LINE)))
        return size; /* out of memory: the line is lost */
    size_t taken = size < room ? size : room;
    memcpy(*partial + *used, data, taken);
    *used += taken;
    if (*used == LOG_LINE) {
        entry(log, stream, *partial, LOG_LINE);
        *used = 0;
    }
    return taken;
}

static void finish_line(struct log *log, int stream)
{
    if (log->partial[stream - 1].size)
        entry(log, stream, log->partial[stream - 1].data, log->partial[stream - 1].size);
    free(log->partial[stream - 1].data);
    log->partial[stream - 1].data = NULL;
    log->partial[stream - 1].size = 0;
}

void log_write(struct log *log, int stream, const char *data, size_t size)
{
    if (log->fd < 0)
        return;
    for (const char *end = data + size; data < end;) {
        const char *newline = memchr(data, '\n', (size_t)(end - data));
        const char *stop = newline ? newline + 1 : end;
        if (newline && !log->partial[stream - 1].size && stop - data <= LOG_LINE) {
            entry(log, stream, data, (size_t)(stop - data));
            data = stop;
            continue;
        }
        data += keep(log, stream, data, (size_t)(stop - data));
        if (newline && data == stop)
            finish_line(log, stream);
    }
    flush(log);
}

void log_end(struct log *log, int stream)
{
    if (log->fd < 0)
        return;
    finish_line(log, stream);
    flush(log);
}
