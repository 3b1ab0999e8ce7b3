/* Standard streams on the monitor's side.
 *
 * Output goes to the log and to every client. A client that reads slower than the process writes fills a buffer of its
 * own (stream.c); while any is over its limit the process's output is not read, so the process waits in write(2), as
 * under dockerd. No byte is dropped for a client that stays.
 */
#define _GNU_SOURCE
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>

#include "kernel.h"
#include "owned.h"
#include "process.h"

static char chunk[32 * 1024];

static void source_close(struct source *source)
{
    if (source->watch.fd < 0)
        return;
    watch_close(&source->watch);
    if (source->process->number == 0)
        log_end(&monitor.log, source->which);
}

static void source_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    struct source *source = owner_of(watch, struct source, watch);
    struct process *process = source->process;
    ssize_t size = read(watch->fd, chunk, sizeof chunk);
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (size <= 0) { /* EIO: the last holder of the terminal closed it */
        source_close(source);
        return;
    }
    if (process->number == 0)
        log_write(&monitor.log, source->which, chunk, (size_t)size);
    for (struct stream *stream = process->streams, *next; stream; stream = next) {
        next = stream->next;
        stream_output(stream, source->which, chunk, (size_t)size);
    }
    stdio_update(process);
}

static void source_open(struct process *process, int which, int fd)
{
    struct source *source = &process->sources[which - 1];
    source->process = process;
    source->which = which;
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    watch_open(&source->watch, fd, EPOLLIN, source_ready);
}

static void sink_close(struct sink *sink)
{
    watch_close(&sink->watch);
    buffer_clear(&sink->pending);
}

/* Write what waits; a process that no longer reads loses it. */
static void sink_flush(struct sink *sink)
{
    while (buffer_size(&sink->pending)) {
        ssize_t size = write(sink->watch.fd, sink->pending.data + sink->pending.start, buffer_size(&sink->pending));
        if (size < 0 && errno == EAGAIN)
            break;
        if (size < 0 && errno != EINTR) {
            sink_close(sink);
            return;
        }
        buffer_take(&sink->pending, size < 0 ? 0 : (size_t)size);
    }
    if (buffer_size(&sink->pending))
        watch_for(&sink->watch, EPOLLOUT);
    else if (sink->closing)
        sink_close(sink);
    else
        watch_pause(&sink->watch);
}

static void sink_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    struct process *process = owner_of(watch, struct process, sink.watch);
    sink_flush(&process->sink);
    for (struct stream *stream = process->streams; stream; stream = stream->next)
        stream_update(stream);
}

static void sink_open(struct process *process, int fd)
{
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
    watch_open(&process->sink.watch, fd, 0, sink_ready);
    sink_flush(&process->sink);
}

static int open_null(int child[3])
{
    for (int i = 0; i < 3; i++)
        if (child[i] < 0 && (child[i] = checked(open("/dev/null", O_RDWR | O_CLOEXEC))) < 0)
            return child[i];
    return 0;
}

int stdio_open(struct process *process, int child[3])
{
    int pipe[2];
    bool terminal = process->flags & START_TERMINAL;
    if (!terminal && process->flags & START_STDIN) {
        if (pipe2(pipe, O_CLOEXEC) < 0)
            return -errno;
        child[0] = pipe[0];
        sink_open(process, pipe[1]);
    }
    for (int which = 1; !terminal && which <= 2; which++) {
        if (pipe2(pipe, O_CLOEXEC) < 0)
            return -errno;
        child[which] = pipe[1];
        source_open(process, which, pipe[0]);
    }
    return open_null(child);
}

void stdio_take_terminal(struct process *process, int master)
{
    int again = process->flags & START_STDIN ? checked(fcntl(master, F_DUPFD_CLOEXEC, 3)) : -1;
    source_open(process, 1, master);
    if (again >= 0)
        sink_open(process, again);
}

void stdio_update(struct process *process)
{
    bool blocked = stdio_is_blocked(process);
    for (int i = 0; i < 2; i++)
        if (blocked)
            watch_pause(&process->sources[i].watch);
        else
            watch_for(&process->sources[i].watch, EPOLLIN);
}

bool stdio_is_blocked(const struct process *process)
{
    for (struct stream *stream = process->streams; stream; stream = stream->next)
        if (stream_is_full(stream))
            return true;
    return false;
}

/* Before the process has its standard input, input waits here; once that is closed it goes nowhere. */
void stdio_input(struct process *process, const char *data, size_t size)
{
    if (process->state >= RUNNING && process->sink.watch.fd < 0)
        return;
    buffer_add(&process->sink.pending, data, size);
    if (process->sink.watch.fd >= 0)
        sink_flush(&process->sink);
}

bool stdio_wants_input(const struct process *process)
{
    return process->state >= RUNNING && buffer_size(&process->sink.pending) == 0;
}

void stdio_end_input(struct process *process)
{
    process->sink.closing = true;
    if (process->sink.watch.fd >= 0)
        sink_flush(&process->sink);
}

bool stdio_output_open(const struct process *process)
{
    return process->sources[0].watch.fd >= 0 || process->sources[1].watch.fd >= 0;
}

void stdio_close(struct process *process)
{
    source_close(&process->sources[0]);
    source_close(&process->sources[1]);
    sink_close(&process->sink);
}

int stdio_resize(struct process *process, int rows, int columns)
{
    struct winsize size = {(unsigned short)rows, (unsigned short)columns, 0, 0};
    if (!(process->flags & START_TERMINAL) || process->sources[0].watch.fd < 0)
        return 0;
    return checked(ioctl(process->sources[0].watch.fd, TIOCSWINSZ, &size));
}
