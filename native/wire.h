/* Messages between the daemon and this program, on SOCK_SEQPACKET sockets, descriptors by SCM_RIGHTS.
 *
 * Each is a `struct message` followed by text: strings, each followed by NUL, unless said otherwise. Native byte
 * order; src/sampan/runtime/protocol.py has the same tables. `process` is 0 for the container's first process, any
 * other number (chosen by the daemon) for an exec. Requests with a serial are answered by REPLY v[0]=errno.
 *
 *   daemon -> monitor
 *   START      flags, v = {rows, columns, log size, log files}, fds = [plan, oom file (flag OOM), slot 3, 4, …],
 *              text = name, pid file, console socket; for process 0 also run dir, state dir, log path, log attributes,
 *              log queue (bytes, decimal), "exact" or nothing
 *   ATTACH     flags STREAM_*, v = {stream, at end, key length, early length}, fds = [socket], text = keys, early bytes.
 *              Before START, for streams that must miss nothing
 *   CONTINUE   v = {errno}: after PAUSED; an errno ends the child
 *   RESIZE     v = {rows, columns}
 *   SIGNAL     v = {number}
 *   FORGET     an exec's EXITED is recorded: it need not be told again
 *
 *   daemon -> zygote
 *   MONITOR    fds = [the monitor's end of a new connection], text = container
 *
 *   monitor -> daemon
 *   BORN       v = {pid}, fds = [pidfd]: the monitor's own, told by the zygote over the new connection
 *   HELLO      v = {pid of process 0, started (ns since the epoch), version}, text = name: ends the greeting of a new
 *              connection, after STARTED for each exec that runs and EXITED for each that ended and is not forgotten
 *   STARTED    v = {pid, started}, text = name
 *   CREATED    v = {pid}: spawn mode, waiting in WaitStart
 *   PAUSED     v = {operation's index, pid}, text = name
 *   FAILED     v = {operation's index, errno}, text = step, object
 *   EXITED     flags bit 0: out of memory; v = {status, signal, seconds, nanoseconds}, text = name
 *   ENDED      v = {stream, reason}
 *   DESCRIPTOR v = {kind}, fds = [seccomp listener; in spawn mode the terminal's master]
 *   DROPPED    v = {lines that the log's queue had no room for}: told when more were, at most each second
 *   REPLY      v = {errno}
 */
#ifndef SAMPAN_WIRE_H
#define SAMPAN_WIRE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A monitor outlives the daemon that had it made, so a newer daemon speaks with it. Kinds, flags and places in `v` keep
 * their meaning for ever; what is added is asked only of a monitor whose HELLO tells the version that has it. */
#define WIRE_VERSION 1

#define WIRE_DESCRIPTORS 250
#define WIRE_TEXT (160 * 1024)

#define MESSAGES(X)  \
    X(1, START)      \
    X(2, ATTACH)     \
    X(3, CONTINUE)   \
    X(4, RESIZE)     \
    X(5, SIGNAL)     \
    X(6, FORGET)     \
    X(7, MONITOR)    \
    X(16, HELLO)     \
    X(17, STARTED)   \
    X(18, CREATED)   \
    X(19, PAUSED)    \
    X(20, FAILED)    \
    X(21, EXITED)    \
    X(22, ENDED)     \
    X(23, DESCRIPTOR) \
    X(24, REPLY)     \
    X(25, BORN)       \
    X(26, DROPPED)

enum message_kind {
#define X(code, name) MESSAGE_##name = (code),
    MESSAGES(X)
#undef X
};

enum start_flag { START_TERMINAL = 1, START_STDIN = 2, START_STDIN_ONCE = 4, START_EXTERNAL = 8, START_OOM = 16, START_WAIT = 32 };
enum stream_flag { STREAM_STDIN = 1, STREAM_STDOUT = 2, STREAM_STDERR = 4, STREAM_FRAMED = 8 };
enum stream_at_end { AT_END_CLOSE_STDIN, AT_END_END_STREAM, AT_END_NOTHING };
enum stream_ending { ENDING_FINISHED, ENDING_DETACHED, ENDING_CLOSED };

struct message {
    uint32_t kind, serial, process, flags;
    int64_t v[4];
};

/* Send a head and a text as one packet; 0 or -errno. */
int wire_send(int socket, const void *head, size_t size, const void *text, size_t length, const int *fds, int count);

/* Receive one packet into `data`; descriptors are close-on-exec. Its size, 0 at the end, -errno. */
ssize_t wire_receive(int socket, void *data, size_t size, int *fds, int *count);

/* The string after `text` in a list that ends at `end`; an empty one past the last. */
const char *wire_next(const char *text, const char *end);

#endif
