/* Making processes from plans, and walking their records from state to state. */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "kernel.h"
#include "owned.h"
#include "process.h"

#define OUTPUT_GRACE 2000 /* ms that an exit waits for the end of output that others hold open; dockerd's own */

struct process *process_find(uint32_t number)
{
    struct process *process = monitor.processes;
    while (process && process->number != number)
        process = process->next;
    return process;
}

struct process *process_get(uint32_t number, const void *starter)
{
    struct process *process = process_find(number);
    if (process || !(process = calloc(1, sizeof *process)))
        return process;
    process->number = number;
    process->starter = starter;
    process->link = process->console = process->sources[0].watch = process->sources[1].watch = process->sink.watch =
        NO_WATCH;
    process->next = monitor.processes;
    monitor.processes = process;
    return process;
}

static void process_remove(struct process *process)
{
    struct process **at = &monitor.processes;
    while (*at != process)
        at = &(*at)->next;
    *at = process->next;
    stdio_close(process);
    watch_close(&process->link);
    watch_close(&process->console);
    plan_unmap(&process->plan);
    free(process->pid_file);
    free(process);
}

void process_fail(struct process *process, const char *step, int error, const char *object)
{
    process->failed = true;
    process->failure = (struct note){.error = error};
    snprintf(process->failure.step, sizeof process->failure.step, "%s", step);
    snprintf(process->failure.object, sizeof process->failure.object, "%s", object);
}

/* Tell why there is no process, and make sure of it. */
static void announce_failure(struct process *process)
{
    char text[NOTE_TEXT];
    struct message message = {.kind = MESSAGE_FAILED,
                              .process = process->number,
                              .v = {process->failure.index, process->failure.error}};
    if (process->pid > 0) {
        kill(process->pid, SIGKILL);
        waitpid(process->pid, NULL, 0);
    }
    process->state = TOLD;
    process->forgotten = true;
    process->pid = 0;
    stdio_close(process);
    announce(&message, text, note_text(&process->failure, text), -1);
}

void process_started(struct process *process)
{
    process->state = RUNNING;
    process->started = now_ns();
    if (process->sink.watch.fd < 0)
        buffer_clear(&process->sink.pending);
    for (struct stream *stream = process->streams; stream; stream = stream->next)
        stream_update(stream);
    struct message message = {
        .kind = MESSAGE_STARTED, .process = process->number, .v = {process->pid, process->started}};
    announce(&message, process->name, strlen(process->name) + 1, -1);
}

void process_answer(struct process *process, int error)
{
    struct note note = {.kind = NOTE_ANSWER, .error = error};
    process->paused = 0;
    note_send(process->link.fd, &note, -1);
}

static void serve_request(struct process *process, uint32_t index)
{
    struct operation operation;
    int result = plan_find(&process->plan, index, &operation);
    if (result == 0 && operation.code == OPERATION_pause) {
        struct message message = {.kind = MESSAGE_PAUSED, .process = process->number, .v = {index, process->pid}};
        process->paused = 1;
        if (!announce(&message, operation.a[0].text, operation.a[0].size + 1, -1))
            process_answer(process, ECANCELED);
        return;
    }
    process_answer(process, -(result < 0 ? result : perform_for_child(&operation, process->pid)));
}

static void serve_descriptor(struct process *process, int kind, int fd)
{
    struct message message = {.kind = MESSAGE_DESCRIPTOR, .process = process->number, .v = {kind}};
    if (fd >= 0 && kind == DESCRIPTOR_CONSOLE)
        stdio_take_terminal(process, steal_fd(&fd));
    else if (fd >= 0)
        announce(&message, NULL, 0, fd);
    if (fd >= 0)
        close(fd);
}

static void serve_note(struct process *process, const struct note *note, int fd)
{
    if (note->kind == NOTE_CHILD) {
        process->pid = note->number;
        process_answer(process, 0);
    } else if (note->kind == NOTE_REQUEST)
        serve_request(process, note->index);
    else if (note->kind == NOTE_DESCRIPTOR)
        serve_descriptor(process, note->number, fd);
    else if (note->kind == NOTE_EXECUTING)
        process->executing = true;
    else if (note->kind == NOTE_FAILED) {
        process->failed = true;
        process->failure = *note;
    }
    if (note->kind != NOTE_DESCRIPTOR && fd >= 0)
        close(fd);
}

/* The link's end: the plan is done, one way or another. */
static void link_ended(struct process *process)
{
    watch_close(&process->link);
    plan_unmap(&process->plan);
    if (!process->executing && !process->failed)
        process_fail(process, "clone", ECHILD, "the process ended before its program was executed");
    if (process->failed)
        announce_failure(process);
    else if (!(process->flags & START_EXTERNAL))
        process_started(process);
}

/* Serve one note; false when there is none now, or no link any more. */
static bool serve_link(struct process *process)
{
    struct note note;
    int fd = -1, result = process->link.fd < 0 ? 0 : note_receive(process->link.fd, &note, &fd);
    if (result == 1)
        serve_note(process, &note, fd);
    else if (process->link.fd >= 0 && result != -EAGAIN)
        link_ended(process);
    return result == 1;
}

static void link_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    serve_link(owner_of(watch, struct process, link));
}

/* The performer of a start: its stdio and the descriptors that came along fill the slots. */
static int fill_slots(struct process *process, struct performer *performer, int *fds, int count)
{
    performer_begin(performer);
    if (count > SLOTS - FIRST_SLOT)
        return -EMFILE;
    for (int i = 0; i < count; i++)
        performer->slots[FIRST_SLOT + i] = steal_fd(&fds[i]);
    return stdio_open(process, performer->slots);
}

static int open_link(struct process *process, struct performer *performer)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return -errno;
    fcntl(ends[0], F_SETFL, O_NONBLOCK);
    watch_open(&process->link, ends[0], EPOLLIN, link_ready);
    performer->link = ends[1];
    performer->foreign[0] = ends[0];
    return 0;
}

/* Perform the plan fds[0] with the descriptors after it; what it takes of `fds` it replaces by -1. */
static int begin(struct process *process, struct performer *performer, int *fds, int count)
{
    int result = count ? plan_map(&process->plan, fds[0]) : -EPROTO;
    if (result >= 0)
        result = fill_slots(process, performer, fds + 1, count - 1);
    if (result >= 0)
        result = open_link(process, performer);
    if (result < 0)
        return result;
    pid_t pid = perform(&process->plan, performer, &process->stage);
    if (pid > 0)
        process->pid = pid;
    return pid < 0 ? pid : 0;
}

static void close_performer(struct performer *performer)
{
    for (int i = 0; i < SLOTS; i++)
        if (performer->slots[i] >= 0)
            close(performer->slots[i]);
    if (performer->link >= 0)
        close(performer->link);
}

int process_start(struct process *process, const struct message *message, const char *text, const char *end, int *fds,
                  int count)
{
    struct performer performer;
    if (process->state != WAITING)
        return -EALREADY;
    process->state = MAKING;
    process->flags = message->flags;
    snprintf(process->name, sizeof process->name, "%s", text);
    text = wire_next(text, end);
    performer_begin(&performer);
    int result = 0;
    if (message->flags & START_EXTERNAL)
        result = external_begin(process, text, wire_next(text, end));
    if (result >= 0)
        result = begin(process, &performer, fds, count);
    close_performer(&performer);
    if (result < 0) {
        process_fail(process, "clone", -result, "monitor");
        announce_failure(process);
    }
    return 0;
}

int process_signal(const struct process *process, int number)
{
    if (process->state != RUNNING || process->pid <= 0)
        return -ESRCH;
    return checked(kill(process->pid, number));
}

int process_forget(struct process *process)
{
    process->forgotten = process->state == TOLD;
    return process->forgotten ? 0 : -EBUSY;
}

void processes_abandon(const void *starter)
{
    for (struct process *process = monitor.processes; process; process = process->next)
        if (process->state == WAITING && process->starter == starter) {
            process_fail(process, "monitor", ECANCELED, "the daemon ended before the start");
            announce_failure(process);
        }
}

/* Hear all that a process said before its end; where that was a failure, it is reaped here. */
static void finish_link(struct process *process)
{
    while (serve_link(process))
        ;
    if (process->link.fd >= 0)
        link_ended(process);
}

/* The container's or an exec's process was reaped, or the OCI runtime that makes it. */
static void child_ended(struct process *process, int status)
{
    if (process->state == MAKING && process->flags & START_EXTERNAL) {
        process->pid = 0;
        if (external_adopt(process, status) < 0)
            announce_failure(process);
        else
            process_started(process);
        return;
    }
    if (process->state != RUNNING)
        return;
    process->state = EXITED;
    process->pid = 0;
    process->signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    process->status = process->signal ? 128 + process->signal : WEXITSTATUS(status);
    process->finished = now_ns();
    process->deadline = now_ms() + OUTPUT_GRACE;
    if (process->number == 0) {
        process->out_of_memory = exit_out_of_memory();
        exit_record(process);
    }
}

static struct process *process_of(pid_t pid)
{
    struct process *process = monitor.processes;
    while (process && process->pid != pid)
        process = process->next;
    return process;
}

static bool is_adopting(void)
{
    for (struct process *process = monitor.processes; process; process = process->next)
        if (process->state == MAKING && process->flags & START_EXTERNAL)
            return true;
    return false;
}

/* The pid is reaped last: until then it is ours, and nobody else's to be killed by mistake. */
static void reap_process(struct process *process)
{
    int status;
    pid_t pid = process->pid;
    finish_link(process);
    if (process->pid == pid && waitpid(pid, &status, WNOHANG) == pid)
        child_ended(process, status);
}

/* Processes we know of that ended; false if there was none. */
static bool reap_known(void)
{
    siginfo_t about;
    bool any = false;
    for (struct process *process = monitor.processes; process; process = process->next) {
        about.si_pid = 0;
        if (process->pid > 0 && waitid(P_PID, (id_t)process->pid, &about, WEXITED | WNOHANG | WNOWAIT) == 0 &&
            about.si_pid) {
            reap_process(process);
            any = true;
        }
    }
    return any;
}

/* Of all children: processes, OCI runtimes, stages, orphans we got. While an OCI runtime is at work, an unknown child
 * may be the very process whose pid it is about to leave: it waits. */
void reap_children(void)
{
    siginfo_t about = {0};
    while (waitid(P_ALL, 0, &about, WEXITED | WNOHANG | WNOWAIT) == 0 && about.si_pid) {
        struct process *process = process_of(about.si_pid);
        if (process)
            reap_process(process);
        else if (!is_adopting())
            waitpid(about.si_pid, NULL, WNOHANG);
        else if (!reap_known())
            return;
        about.si_pid = 0;
    }
}

/* Bring one record into the state it has reached: its output ended, or was waited for long enough. */
static void settle(struct process *process)
{
    bool late = process->state >= EXITED && now_ms() >= process->deadline;
    if (process->state == EXITED && (late || !stdio_output_open(process))) {
        process->state = TOLD;
        exit_announce(process);
    }
    if (process->state == TOLD && late && !stdio_is_blocked(process))
        stdio_close(process);
    if (process->state != TOLD || stdio_output_open(process))
        return;
    for (struct stream *stream = process->streams, *next; stream; stream = next) {
        next = stream->next;
        stream_finish(stream, ENDING_FINISHED);
    }
    if (!process->streams && process->number != 0 && process->forgotten)
        process_remove(process);
}

static bool is_done(const struct process *process)
{
    return process->state == TOLD && !process->streams && !stdio_output_open(process);
}

bool processes_settle(void)
{
    bool busy = false, first_done = false;
    for (struct process *process = monitor.processes, *next; process; process = next) {
        next = process->next;
        if (process->number == 0)
            first_done = (settle(process), is_done(process));
        else {
            busy = busy || !is_done(process);
            settle(process);
        }
    }
    return busy || !first_done;
}

int processes_timeout(void)
{
    for (struct process *process = monitor.processes; process; process = process->next)
        if (process->state >= EXITED && stdio_output_open(process))
            return 100;
    return -1;
}
