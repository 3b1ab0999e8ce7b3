/* The zygote: forks a monitor for each container that its daemon names, and ends with the daemon.
 *
 *   daemon ── MONITOR, one end of a connection ──▶ zygote ── fork, as a child of the daemon's ──▶ monitor
 *   daemon ◀── BORN, pidfd, over that connection ────┘
 *
 * BORN comes from here, so that the daemon knows whom to reap even if the monitor is killed before its first word.
 *
 * A fork of these few pages is a tenth of what it costs a daemon of fifty megabytes to start a program, and stops
 * nothing in the daemon meanwhile.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "kernel.h"
#include "monitor.h"
#include "wire.h"

#define CONTROL 3
#define LONGEST_NAME 128

struct request {
    struct message head;
    char name[LONGEST_NAME];
};

/* Show the container in the list of processes; the words to write over begin at `first` and end at `end`. */
static void set_title(char *first, const char *end, const char *container)
{
    size_t room = (size_t)(end - first);
    memset(first, 0, room);
    snprintf(first, room, "monitor%c%.*s", 0, LONGEST_NAME, container);
}

static void introduce(int connection, int pid, int pidfd)
{
    struct message message = {.kind = MESSAGE_BORN, .v = {pid}};
    if (wire_send(connection, &message, sizeof message, NULL, 0, &pidfd, 1) < 0)
        kill(pid, SIGKILL);
    close(pidfd);
}

static int become_monitor(int connection)
{
    setsid();
    if (dup3(connection, CONTROL, O_CLOEXEC) < 0)
        return 1;
    kernel_close_from(CONTROL + 1, 0);
    return monitor_run(CONTROL);
}

static void tell_failure(int connection, int error)
{
    static const char text[] = "monitor\0sampan-monitor";
    struct message message = {.kind = MESSAGE_FAILED, .v = {0, error}};
    wire_send(connection, &message, sizeof message, text, sizeof text, NULL, 0);
}

int zygote_run(char **arguments, int count)
{
    struct request request;
    int pidfd;
    struct kernel_clone sibling = {.flags = KERNEL_CLONE_PARENT | KERNEL_CLONE_PIDFD, .pidfd = (uintptr_t)&pidfd};
    char *first = arguments[1], *end = arguments[count - 1] + strlen(arguments[count - 1]);
    int fds[WIRE_DESCRIPTORS], given;
    for (;;) {
        ssize_t size = wire_receive(CONTROL, &request, sizeof request - 1, fds, &given);
        if (size < (ssize_t)sizeof request.head || given != 1)
            return size == 0 ? 0 : 1;
        ((char *)&request)[size] = 0;
        int pid = kernel_clone3(&sibling);
        if (pid == 0) {
            set_title(first, end, request.name);
            _exit(become_monitor(fds[0]));
        }
        if (pid < 0)
            tell_failure(fds[0], -pid);
        else
            introduce(fds[0], pid, pidfd);
        close(fds[0]);
    }
}
