/* One plan for `sampan-runtime`: the caller's stdio, Python on the control socket, no monitor left behind.
 *
 * Ends when the process is created (WaitStart) or started; with flag WAIT, when it ended, with EXITED told.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "kernel.h"
#include "monitor.h"
#include "owned.h"
#include "plan.h"
#include "wire.h"

struct spawn {
    int control, link;
    pid_t pid, stage;
    bool executing, done;
    struct plan plan;
};

static void tell(const struct spawn *spawn, const struct message *message, const char *text, size_t size, int fd)
{
    wire_send(spawn->control, message, sizeof *message, text, size, &fd, fd >= 0);
}

static void tell_failure(const struct spawn *spawn, const struct note *note)
{
    char text[NOTE_TEXT];
    struct message message = {.kind = MESSAGE_FAILED, .v = {note->index, note->error}};
    tell(spawn, &message, text, note_text(note, text), -1);
}

/* Ask Python whether to go on; its silence is no. */
static int pause_for_python(const struct spawn *spawn, const struct operation *operation)
{
    struct message message = {.kind = MESSAGE_PAUSED, .v = {operation->index, spawn->pid}};
    int fds[WIRE_DESCRIPTORS], count;
    tell(spawn, &message, operation->a[0].text, operation->a[0].size + 1, -1);
    if (wire_receive(spawn->control, &message, sizeof message, fds, &count) != sizeof message)
        return -ECANCELED;
    return -(int)message.v[0];
}

static void answer_request(const struct spawn *spawn, uint32_t index)
{
    struct operation operation;
    struct note note = {.kind = NOTE_ANSWER};
    int result = plan_find(&spawn->plan, index, &operation);
    if (result == 0)
        result = operation.code == OPERATION_pause ? pause_for_python(spawn, &operation)
                                                   : perform_for_child(&operation, spawn->pid);
    note.error = result < 0 ? -result : 0;
    note_send(spawn->link, &note, -1);
}

static void serve_note(struct spawn *spawn, const struct note *note, int fd)
{
    struct message message = {.kind = MESSAGE_DESCRIPTOR, .v = {note->number, spawn->pid}};
    struct note answer = {.kind = NOTE_ANSWER};
    switch (note->kind) {
    case NOTE_CHILD:
        spawn->pid = note->number;
        note_send(spawn->link, &answer, -1);
        break;
    case NOTE_REQUEST:
        answer_request(spawn, note->index);
        break;
    case NOTE_DESCRIPTOR:
        tell(spawn, &message, NULL, 0, fd);
        break;
    case NOTE_EXECUTING:
        spawn->executing = true;
        break;
    case NOTE_CREATED:
        message = (struct message){.kind = MESSAGE_CREATED, .v = {spawn->pid}};
        tell(spawn, &message, NULL, 0, -1);
        spawn->done = true;
        break;
    default:
        tell_failure(spawn, note);
        spawn->done = true;
        spawn->executing = false;
    }
}

/* Serve the plan to its end; 0 when there is a process. */
static int serve_plan(struct spawn *spawn)
{
    struct note note = {.step = "clone", .error = ECHILD, .object = "the process ended before its program was executed"};
    int fd = -1, more;
    while (!spawn->done && (more = note_receive(spawn->link, &note, &fd)) == 1) {
        serve_note(spawn, &note, fd);
        if (fd >= 0)
            close(fd);
    }
    if (spawn->done || spawn->executing)
        return 0;
    tell_failure(spawn, &note);
    return 1;
}

static void wait_for_exit(const struct spawn *spawn)
{
    int status;
    while (waitpid(spawn->pid, &status, 0) < 0)
        if (errno != EINTR)
            return;
    int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    struct message message = {.kind = MESSAGE_EXITED, .v = {number ? 128 + number : WEXITSTATUS(status), number}};
    tell(spawn, &message, NULL, 0, -1);
}

static int begin(struct spawn *spawn, int *fds, int count)
{
    struct performer performer;
    int ends[2], result = count ? plan_map(&spawn->plan, fds[0]) : -EPROTO;
    if (result < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return result < 0 ? result : -errno;
    performer_begin(&performer);
    for (int i = 0; i < 3; i++)
        performer.slots[i] = i;
    for (int i = 1; i < count; i++)
        performer.slots[FIRST_SLOT + i - 1] = fds[i];
    spawn->link = ends[0];
    performer.link = ends[1];
    performer.foreign[0] = ends[0];
    performer.foreign[1] = spawn->control;
    performer.foreign[2] = fds[0];
    int pid = perform(&spawn->plan, &performer, &spawn->stage);
    spawn->pid = pid > 0 ? pid : 0;
    close(ends[1]);
    return pid < 0 ? pid : 0;
}

int spawn_run(int control)
{
    struct spawn spawn = {.control = control, .link = -1};
    struct message start, started = {.kind = MESSAGE_STARTED};
    int fds[WIRE_DESCRIPTORS], count;
    if (wire_receive(control, &start, sizeof start, fds, &count) != sizeof start || start.kind != MESSAGE_START)
        return 2;
    int result = begin(&spawn, fds, count);
    while (count-- > 0)
        close(fds[count]);
    if (result < 0) {
        struct note note = {.step = "clone", .error = -result};
        tell_failure(&spawn, &note);
        return 1;
    }
    if (serve_plan(&spawn))
        return 1;
    if (!spawn.executing)
        return 0;
    started.v[0] = spawn.pid;
    tell(&spawn, &started, NULL, 0, -1);
    if (start.flags & START_WAIT)
        wait_for_exit(&spawn);
    return 0;
}
