/* The monitor: connections of daemons, their requests, and what is told to all of them. wire.h draws the messages. */
#define _GNU_SOURCE
#include "monitor.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "kernel.h"
#include "owned.h"
#include "process.h"

#define SOCKET_NAME "monitor.sock"
#define PATIENCE 5000 /* ms */
#define DROPS 1000    /* ms between two tellings of dropped lines */

struct connection {
    struct watch watch;
    struct connection *next;
};

struct request {
    struct message head;
    char text[WIRE_TEXT];
};

struct monitor monitor = {.log = {.file = {.fd = -1}}, .run_directory = -1, .state_directory = -1, .memory_events = -1};

static struct connection *connections;
static struct watch signals, listener = {.fd = -1};

static void connection_close(struct connection *connection)
{
    struct connection **at = &connections;
    while (*at != connection)
        at = &(*at)->next;
    *at = connection->next;
    processes_abandon(connection);
    watch_close(&connection->watch);
    free(connection);
    for (struct process *process = monitor.processes; process && !connections; process = process->next)
        if (process->paused)
            process_answer(process, ECANCELED); /* nobody is left who could say "continue" */
}

/* A daemon that does not read for some seconds misses what is told; its connection's buffer holds some 200 messages. */
static int tell(const struct connection *connection, const struct message *message, const char *text, size_t size, int fd)
{
    struct pollfd room = {.fd = connection->watch.fd, .events = POLLOUT};
    int result = wire_send(connection->watch.fd, message, sizeof *message, text, size, &fd, fd >= 0);
    if (result == -EAGAIN && poll(&room, 1, PATIENCE) > 0)
        result = wire_send(connection->watch.fd, message, sizeof *message, text, size, &fd, fd >= 0);
    return result;
}

int announce(const struct message *message, const char *text, size_t size, int fd)
{
    int heard = 0;
    for (struct connection *connection = connections; connection; connection = connection->next)
        heard += tell(connection, message, text, size, fd) == 0;
    return heard;
}

/* Tell how many lines were dropped, if there are more; not within `pause` ms of the last time. Whether all is told. */
static bool announce_dropped(int64_t pause)
{
    static int64_t told, told_at;
    struct message message = {.kind = MESSAGE_DROPPED, .v = {monitor.log.dropped}};
    if (monitor.log.dropped == told)
        return true;
    if (now_ms() - told_at < pause)
        return false;
    told = monitor.log.dropped;
    told_at = now_ms();
    announce(&message, NULL, 0, -1);
    return true;
}

static void reply(struct connection *connection, const struct message *to, int error)
{
    struct message message = {.kind = MESSAGE_REPLY, .serial = to->serial, .process = to->process, .v = {error}};
    if (to->serial)
        tell(connection, &message, NULL, 0, -1);
}

static void tell_process(struct connection *connection, struct process *process)
{
    struct message message = {.kind = process->number ? MESSAGE_STARTED : MESSAGE_HELLO, .process = process->number};
    message.v[0] = process->pid;
    message.v[1] = process->started;
    message.v[2] = process->number ? 0 : WIRE_VERSION;
    if (process->state == TOLD && !process->forgotten)
        exit_announce(process);
    if (process->state == RUNNING || process->number == 0)
        tell(connection, &message, process->name, strlen(process->name) + 1, -1);
}

/* A daemon that was started again hears what is. */
static void hello(struct connection *connection)
{
    struct process *first = process_find(0);
    struct message dropped = {.kind = MESSAGE_DROPPED, .v = {monitor.log.dropped}};
    if (monitor.log.dropped)
        tell(connection, &dropped, NULL, 0, -1);
    for (struct process *process = monitor.processes; process; process = process->next)
        if (process != first)
            tell_process(connection, process);
    if (first)
        tell_process(connection, first);
}

/* The rest of the first START: where this container's files are. */
static int configure(const char *text, const char *end, const struct message *message)
{
    const char *run = wire_next(wire_next(wire_next(text, end), end), end);
    const char *state = wire_next(run, end), *log = wire_next(state, end), *attributes = wire_next(log, end);
    monitor.run_directory = checked(open(run, O_PATH | O_DIRECTORY | O_CLOEXEC));
    monitor.state_directory = checked(open(state, O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (monitor.run_directory < 0 || monitor.state_directory < 0)
        return monitor.run_directory < 0 ? monitor.run_directory : monitor.state_directory;
    const char *queue = wire_next(attributes, end), *exact = wire_next(queue, end);
    if (!*log)
        return 0;
    return log_open(&monitor.log, log, message->v[2], (int)message->v[3], attributes, strtoll(queue, NULL, 10), *exact);
}

static void accept_connection(struct watch *watch, uint32_t events);

/* Listen in the run directory, by way of its descriptor: the path may be longer than a socket's address. */
static int listen_for_daemons(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/" SOCKET_NAME, monitor.run_directory);
    cleanup_fd int fd = checked(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (fd < 0)
        return fd;
    unlinkat(monitor.run_directory, SOCKET_NAME, 0);
    mode_t before = umask(0177);
    int result = checked(bind(fd, (struct sockaddr *)&address, sizeof address));
    umask(before);
    if (result < 0 || listen(fd, 8) < 0)
        return result < 0 ? result : -errno;
    watch_open(&listener, steal_fd(&fd), EPOLLIN, accept_connection);
    return 0;
}

static int start(const struct connection *connection, const struct message *message, const char *text, const char *end,
                 int *fds, int count)
{
    struct process *process = process_get(message->process, connection);
    int result = 0;
    if (!process)
        return -ENOMEM;
    if (message->flags & START_OOM && count > 1) { /* [plan, oom file, …]: the plan moves to its slots' front */
        monitor.memory_events = fds[1];
        fds[1] = fds[0];
        *fds++ = -1;
        count--;
    }
    if (message->process == 0 && process->state == WAITING) {
        result = configure(text, end, message);
        if (result >= 0)
            result = listen_for_daemons();
    }
    return result < 0 ? result : process_start(process, message, text, end, fds, count);
}

static int serve(const struct connection *connection, const struct message *message, const char *text, size_t size,
                 int *fds, int count)
{
    if (message->kind == MESSAGE_START)
        return start(connection, message, text, text + size, fds, count);
    struct process *process = message->kind == MESSAGE_ATTACH ? process_get(message->process, connection)
                                                              : process_find(message->process);
    if (!process)
        return -ESRCH;
    if (message->kind == MESSAGE_ATTACH)
        return count == 1 ? stream_attach(process, message, text, size, fds[0]) : -EPROTO;
    if (message->kind == MESSAGE_RESIZE)
        return stdio_resize(process, (int)message->v[0], (int)message->v[1]);
    if (message->kind == MESSAGE_SIGNAL)
        return process_signal(process, (int)message->v[0]);
    if (message->kind == MESSAGE_FORGET)
        return process_forget(process);
    if (message->kind != MESSAGE_CONTINUE || !process->paused)
        return -EPROTO;
    process_answer(process, (int)message->v[0]);
    return 0;
}

static void connection_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    static struct request request;
    struct connection *connection = owner_of(watch, struct connection, watch);
    int fds[WIRE_DESCRIPTORS], count = 0;
    ssize_t size = wire_receive(watch->fd, &request, sizeof request - 1, fds, &count);
    if (size == -EAGAIN)
        return;
    if (size < (ssize_t)sizeof request.head) {
        connection_close(connection);
        return;
    }
    size_t text = (size_t)size - sizeof request.head;
    request.text[text] = 0;
    int result = serve(connection, &request.head, request.text, text, fds, count);
    while (count-- > 0)
        if (fds[count] >= 0)
            close(fds[count]);
    reply(connection, &request.head, result < 0 ? -result : 0);
}

static struct connection *connection_open(int fd)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (!connection) {
        close(fd);
        return NULL;
    }
    fcntl(fd, F_SETFL, O_NONBLOCK);
    connection->next = connections;
    connections = connection;
    watch_open(&connection->watch, fd, EPOLLIN, connection_ready);
    return connection;
}

/* Only our own user may speak to us, whatever the directory's mode. */
static bool is_ours(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.uid == geteuid();
}

static void accept_connection(struct watch *watch, uint32_t events)
{
    (void)events;
    int fd = checked(accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC));
    if (fd >= 0 && !is_ours(fd))
        close(fd);
    else if (fd >= 0) {
        struct connection *connection = connection_open(fd);
        if (connection)
            hello(connection);
    }
}

/* SIGTERM (a machine that shuts down) is the container's to answer. */
static void signals_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    struct signalfd_siginfo about;
    struct process *first = process_find(0);
    if (read(watch->fd, &about, sizeof about) != sizeof about)
        return;
    if (about.ssi_signo == SIGCHLD)
        reap_children();
    else if (about.ssi_signo == SIGTERM && first)
        process_signal(first, SIGTERM);
}

static int open_signals(void)
{
    sigset_t watched;
    sigemptyset(&watched);
    sigaddset(&watched, SIGCHLD);
    sigaddset(&watched, SIGTERM);
    sigaddset(&watched, SIGINT);
    sigaddset(&watched, SIGHUP);
    sigprocmask(SIG_SETMASK, &watched, NULL);
    signal(SIGPIPE, SIG_IGN);
    int fd = checked(signalfd(-1, &watched, SFD_CLOEXEC | SFD_NONBLOCK));
    if (fd >= 0)
        watch_open(&signals, fd, EPOLLIN, signals_ready);
    return fd;
}

int monitor_run(int control)
{
    umask(0022);
    if (chdir("/") < 0) /* pin no file system */
        return 1;
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
    if (loop_open() < 0 || open_signals() < 0 || !connection_open(control))
        return 1;
    /* Until a container was started the daemon is all there is; afterwards it may come and go. */
    while (processes_settle() && (connections || monitor.run_directory >= 0))
        loop_once(announce_dropped(DROPS) ? processes_timeout() : 100);
    if (monitor.run_directory >= 0) {
        announce_dropped(0);
        log_close(&monitor.log);
        exit_keep();
        unlinkat(monitor.run_directory, SOCKET_NAME, 0);
    }
    return 0;
}
