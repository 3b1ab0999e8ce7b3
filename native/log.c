#define _GNU_SOURCE
#include "log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kernel.h"
#include "owned.h"

static char out[LOG_ENTRY + 64 * 1024];
static size_t out_size;

int log_open(struct log *log, const char *path, int64_t maximum, int files, const char *attributes, int64_t queue,
             bool exact)
{
    if (strlen(attributes) > 2048)
        return -EINVAL;
    log->exact = exact;
    log->attributes = strdup(attributes);
    if (!log->attributes)
        return -ENOMEM;
    int result = log_file_open(&log->file, path, maximum, files);
    return result < 0 || queue <= 0 ? result : log_queue_open(&log->queue, &log->file, (size_t)queue);
}

static void flush(struct log *log)
{
    log_file_append(&log->file, out, out_size);
    out_size = 0;
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

/* Whether all of it was UTF-8. */
static bool put_escaped(const char *data, size_t size)
{
    bool whole = true;
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
        whole = whole && length;
    }
    return whole;
}

static void put_base64(const unsigned char *data, size_t size)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t at = 0; at < size; at += 3) {
        size_t left = size - at;
        unsigned bits = data[at] * 0x10000U + (left > 1 ? data[at + 1] * 0x100U : 0) + (left > 2 ? data[at + 2] : 0);
        char text[4] = {digits[bits >> 18], digits[bits >> 12 & 63], left > 1 ? digits[bits >> 6 & 63] : '=',
                        left > 2 ? digits[bits & 63] : '='};
        put(text, sizeof text);
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

/* Put an entry at the end of `out`. */
static void format(const struct log *log, int stream, const char *data, size_t size)
{
    put_text("{\"log\":\"");
    bool whole = put_escaped(data, size);
    put_text(stream == 1 ? "\",\"stream\":\"stdout\"" : "\",\"stream\":\"stderr\"");
    if (*log->attributes) {
        put_text(",\"attrs\":");
        put_text(log->attributes);
    }
    if (log->exact && !whole) {
        put_text(",\"bytes\":\"");
        put_base64((const unsigned char *)data, size);
        put_text("\"");
    }
    put_text(",\"time\":\"");
    put_time();
    put_text("\"}\n");
}

static void put_out(struct log *log)
{
    log_queue_put(log->queue, out, out_size);
    out_size = 0;
}

/* An entry for the queue, or none: the rest of a line of which a part was dropped goes too, and the end of one of which
 * a part is in the log already is marked. */
static void enqueue(struct log *log, int stream, const char *data, size_t size)
{
    struct line *line = &log->line[stream - 1];
    bool ends = data[size - 1] == '\n', begun = line->begun, cut = line->cut;
    format(log, stream, data, size);
    bool room = !cut && log_queue_has_room(log->queue, out_size);
    line->begun = room && !ends;
    line->cut = !room && !ends;
    if (room) {
        put_out(log);
        return;
    }
    out_size = 0;
    log->dropped += !cut;
    if (begun) {
        format(log, stream, "\n", 1);
        put_out(log);
    }
}

static void entry(struct log *log, int stream, const char *data, size_t size)
{
    if (log->queue) {
        enqueue(log, stream, data, size);
        return;
    }
    format(log, stream, data, size);
    if (out_size > sizeof out - LOG_ENTRY)
        flush(log);
}

/* Keep what has no newline yet; a full 16 KiB is an entry of its own. Returns how much was taken. */
static size_t keep(struct log *log, int stream, const char *data, size_t size)
{
    char **partial = &log->line[stream - 1].data;
    size_t *used = &log->line[stream - 1].size, room = LOG_LINE - *used;
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
    if (log->line[stream - 1].size)
        entry(log, stream, log->line[stream - 1].data, log->line[stream - 1].size);
    free(log->line[stream - 1].data);
    log->line[stream - 1].data = NULL;
    log->line[stream - 1].size = 0;
}

void log_write(struct log *log, int stream, const char *data, size_t size)
{
    if (log->file.fd < 0)
        return;
    for (const char *end = data + size; data < end;) {
        const char *newline = memchr(data, '\n', (size_t)(end - data));
        const char *stop = newline ? newline + 1 : end;
        if (newline && !log->line[stream - 1].size && stop - data <= LOG_LINE) {
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
    if (log->file.fd < 0)
        return;
    finish_line(log, stream);
    flush(log);
}

void log_close(struct log *log)
{
    if (log->queue)
        log_queue_close(log->queue);
}
