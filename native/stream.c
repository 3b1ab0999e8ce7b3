/* Clients attached to a process: their input to its stdin, its output to them, raw or in Docker's frames:
 *
 *   u8 stream (1 stdout, 2 stderr), 3 zero bytes, u32 size (big endian), bytes
 *
 * What a client has not read yet waits in memory, also after the process's end: the monitor stays until the client took
 * it or went away.
 */
#define _GNU_SOURCE
#include <sys/socket.h>

#include "kernel.h"
#include "owned.h"
#include "process.h"

#define FULL (256 * 1024) /* bytes a client may be behind before the process has to wait for it */

static char input[32 * 1024];

bool stream_is_full(const struct stream *stream)
{
    return buffer_size(&stream->pending) > FULL;
}

static void unlink_stream(struct stream *stream)
{
    struct stream **at = &stream->process->streams;
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
}

/* Close so that the client sees all that was sent: input it has sent meanwhile would turn the end into a reset.
 * Where no process was made the connection is left as it is: the daemon still has to tell the client why. */
static void close_socket(struct stream *stream)
{
    if (stream->process->failed) {
        watch_close(&stream->watch);
        return;
    }
    shutdown(stream->watch.fd, SHUT_WR);
    while (recv(stream->watch.fd, input, sizeof input, MSG_DONTWAIT) > 0)
        ;
    watch_close(&stream->watch);
}

static void stream_end(struct stream *stream)
{
    struct process *process = stream->process;
    struct message message = {
        .kind = MESSAGE_ENDED, .process = process->number, .v = {stream->number, stream->ending}};
    unlink_stream(stream);
    close_socket(stream);
    buffer_clear(&stream->pending);
    free(stream);
    announce(&message, NULL, 0, -1);
    stdio_update(process);
}

void stream_finish(struct stream *stream, enum stream_ending ending)
{
    if (stream->over)
        return;
    stream->over = true;
    stream->ending = ending;
    stream->input_open = false;
    if (buffer_size(&stream->pending) == 0)
        stream_end(stream);
    else
        stream_update(stream);
}

/* The client is gone: nothing can be delivered any more. */
static void stream_lost(struct stream *stream)
{
    if (!stream->over)
        stream->ending = ENDING_CLOSED;
    stream->over = true;
    buffer_clear(&stream->pending);
    stream_end(stream);
}

void stream_update(struct stream *stream)
{
    bool reading = stream->input_open && stdio_wants_input(stream->process);
    uint32_t events = (reading ? EPOLLIN : 0U) | (buffer_size(&stream->pending) ? EPOLLOUT : 0U);
    if (stream->input_open && !reading && !events)
        watch_pause(&stream->watch); /* a hang-up behind unread input would be reported without end */
    else
        watch_for(&stream->watch, events);
}

/* What the end of the client's input means (stream flags; a terminal or a stdin that stays open only loses him). */
static void input_ended(struct stream *stream)
{
    struct process *process = stream->process;
    bool may_close = process->flags & START_STDIN_ONCE && !(process->flags & START_TERMINAL);
    stream->input_open = false;
    if (stream->at_end == AT_END_CLOSE_STDIN && may_close)
        stdio_end_input(process);
    else if (stream->at_end != AT_END_NOTHING) {
        stream_finish(stream, ENDING_CLOSED);
        return;
    }
    stream_update(stream);
}

/* Pass input on without the detach keys; held-back keys go on when the next byte breaks the sequence. True: detached. */
static bool pass_input(struct stream *stream, const char *data, size_t size)
{
    static char passed[LONGEST_KEYS + sizeof input];
    size_t used = 0;
    bool detached = false;
    if (!stream->key_count) {
        stdio_input(stream->process, data, size);
        return false;
    }
    for (size_t i = 0; i < size && !detached; i++) {
        unsigned char byte = (unsigned char)data[i];
        if (stream->matched && byte != stream->keys[stream->matched]) {
            memcpy(passed + used, stream->keys, stream->matched);
            used += stream->matched;
            stream->matched = 0;
        }
        if (byte == stream->keys[stream->matched])
            detached = ++stream->matched == stream->key_count;
        else
            passed[used++] = data[i];
    }
    if (used)
        stdio_input(stream->process, passed, used);
    return detached;
}

static void stream_read(struct stream *stream)
{
    struct process *process = stream->process;
    ssize_t size = recv(stream->watch.fd, input, sizeof input, MSG_DONTWAIT);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0) {
        input_ended(stream);
        return;
    }
    if (pass_input(stream, input, (size_t)size))
        stream_finish(stream, ENDING_DETACHED);
    if (!stdio_wants_input(process))
        for (struct stream *each = process->streams; each; each = each->next)
            stream_update(each);
}

/* Send what waits. */
static void stream_flush(struct stream *stream)
{
    const char *data = stream->pending.data + stream->pending.start;
    ssize_t size = send(stream->watch.fd, data, buffer_size(&stream->pending), MSG_DONTWAIT | MSG_NOSIGNAL);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size < 0) {
        stream_lost(stream);
        return;
    }
    buffer_take(&stream->pending, (size_t)size);
    stdio_update(stream->process);
    if (stream->over && buffer_size(&stream->pending) == 0)
        stream_end(stream);
    else
        stream_update(stream);
}

static void stream_ready(struct watch *watch, uint32_t events)
{
    struct stream *stream = owner_of(watch, struct stream, watch);
    if (events & EPOLLOUT && buffer_size(&stream->pending))
        stream_flush(stream);
    else if (stream->input_open && stdio_wants_input(stream->process))
        stream_read(stream);
    else if (stream->input_open)
        watch_pause(watch); /* its hang-up waits behind its input */
    else if (events & (EPOLLHUP | EPOLLERR))
        stream_lost(stream);
}

void stream_output(struct stream *stream, int which, const char *data, size_t size)
{
    uint32_t wanted = which == 1 ? STREAM_STDOUT : STREAM_STDERR;
    bool framed = stream->flags & STREAM_FRAMED;
    unsigned char header[8] = {(unsigned char)which, 0, 0, 0, (unsigned char)(size >> 24), (unsigned char)(size >> 16),
                               (unsigned char)(size >> 8), (unsigned char)size};
    struct iovec parts[2] = {{header, framed ? sizeof header : 0}, {(void *)data, size}};
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    if (stream->over || !(stream->flags & wanted))
        return;
    ssize_t sent = 0;
    if (buffer_size(&stream->pending) == 0)
        sent = sendmsg(stream->watch.fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0 && errno != EAGAIN && errno != EINTR) {
        stream_lost(stream);
        return;
    }
    size_t done = sent < 0 ? 0 : (size_t)sent;
    for (int i = 0; i < 2; i++) {
        size_t skipped = done < parts[i].iov_len ? done : parts[i].iov_len;
        done -= skipped;
        if (skipped < parts[i].iov_len)
            buffer_add(&stream->pending, (char *)parts[i].iov_base + skipped, parts[i].iov_len - skipped);
    }
    stream_update(stream);
}

int stream_attach(struct process *process, const struct message *message, const char *text, size_t size, int fd)
{
    size_t keys = (size_t)message->v[2], early = (size_t)message->v[3];
    if (keys > LONGEST_KEYS || keys > size || early != size - keys)
        return -EPROTO;
    struct stream *stream = calloc(1, sizeof *stream);
    int own = stream ? checked(fcntl(fd, F_DUPFD_CLOEXEC, 3)) : -ENOMEM;
    if (own < 0) {
        free(stream);
        return own;
    }
    *stream = (struct stream){.next = process->streams, .process = process, .number = message->v[0],
                              .flags = message->flags, .at_end = (uint32_t)message->v[1],
                              .input_open = message->flags & STREAM_STDIN, .key_count = (unsigned char)keys};
    memcpy(stream->keys, text, keys);
    process->streams = stream;
    watch_open(&stream->watch, own, 0, stream_ready);
    if (early && stream->input_open && pass_input(stream, text + keys, early))
        stream_finish(stream, ENDING_DETACHED);
    else
        stream_update(stream);
    return 0;
}
