/* Reading plans, and the walk over their operations in the stage and in the child. */
#define _GNU_SOURCE
#include "plan.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kernel.h"
#include "owned.h"
#include "wire.h"

#define HEADER 16
#define PLAN_VERSION 1

struct table_entry {
    const char *name, *arguments;
    operation_function *function;
};

static const struct table_entry table[] = {
#define X(code, name, arguments) [code] = {#name, arguments, perform_##name},
    OPERATIONS(X)
#undef X
};

#define TABLE_SIZE (sizeof table / sizeof *table)

int plan_map(struct plan *plan, int fd)
{
    struct stat about;
    if (fstat(fd, &about) < 0)
        return -errno;
    if (about.st_size < HEADER || about.st_size > 1 << 26)
        return -EPROTO;
    void *base = mmap(NULL, (size_t)about.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (base == MAP_FAILED)
        return -errno;
    *plan = (struct plan){.base = base, .size = (size_t)about.st_size};
    uint32_t version;
    memcpy(&version, plan->base + 4, sizeof version);
    memcpy(&plan->count, plan->base + 8, sizeof plan->count);
    if (memcmp(base, "SMPN", 4) || version != PLAN_VERSION) {
        plan_unmap(plan);
        return -EPROTO;
    }
    return 0;
}

void plan_unmap(struct plan *plan)
{
    if (plan->base)
        munmap((void *)plan->base, plan->size);
    *plan = (struct plan){0};
}

struct cursor plan_begin(const struct plan *plan)
{
    return (struct cursor){.plan = plan, .offset = HEADER};
}

/* Read one argument of `letter` at `*at`, which moves on; false where the plan is too short. */
static bool read_argument(char letter, const char **at, const char *end, struct argument *argument)
{
    if (end - *at < 8)
        return false;
    if (letter == 'n') {
        memcpy(&argument->number, *at, 8);
        *at += 8;
        return true;
    }
    memcpy(&argument->size, *at, 4);
    size_t whole = ((size_t)argument->size + 5 + 7) & ~(size_t)7;
    if ((size_t)(end - *at) < whole || (*at)[4 + argument->size])
        return false;
    argument->text = *at + 4;
    *at += whole;
    return true;
}

int plan_next(struct cursor *cursor, struct operation *operation)
{
    const struct plan *plan = cursor->plan;
    if (cursor->index == plan->count)
        return 0;
    struct {
        uint16_t code, zero;
        uint32_t size;
    } header;
    if (plan->size - cursor->offset < sizeof header)
        return -EPROTO;
    memcpy(&header, plan->base + cursor->offset, sizeof header);
    const char *at = plan->base + cursor->offset + sizeof header;
    if (header.size > (size_t)(plan->base + plan->size - at) || header.code >= TABLE_SIZE || !table[header.code].name)
        return -EPROTO;
    *operation = (struct operation){.index = cursor->index, .code = header.code};
    const char *letters = table[header.code].arguments, *end = at + header.size;
    for (int i = 0; letters[i]; i++)
        if (!read_argument(letters[i], &at, end, &operation->a[i]))
            return -EPROTO;
    cursor->offset = (size_t)(end - plan->base);
    cursor->index++;
    return 1;
}

int plan_find(const struct plan *plan, uint32_t index, struct operation *operation)
{
    struct cursor cursor = plan_begin(plan);
    int more;
    while ((more = plan_next(&cursor, operation)) > 0)
        if (operation->index == index)
            return 0;
    return more ? more : -EPROTO;
}

bool plan_has_stage(const struct plan *plan)
{
    struct cursor cursor = plan_begin(plan);
    struct operation first;
    return plan_next(&cursor, &first) == 1 && first.code != OPERATION_clone;
}

const char *operation_name(uint16_t code)
{
    return code < TABLE_SIZE && table[code].name ? table[code].name : "plan";
}

void performer_begin(struct performer *performer)
{
    memset(performer->slots, -1, sizeof performer->slots);
    performer->root = performer->link = performer->empty = -1;
    memset(performer->foreign, -1, sizeof performer->foreign);
    performer->object[0] = 0;
    performer->continued = performer->sealed = false;
}

void performer_about(struct performer *performer, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(performer->object, sizeof performer->object, format, arguments);
    va_end(arguments);
}

int performer_root(struct performer *performer)
{
    if (performer->root < 0)
        performer->root = checked(open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
    return performer->root;
}

int performer_slot(const struct performer *performer, int64_t slot)
{
    return slot >= 0 && slot < SLOTS && performer->slots[slot] >= 0 ? performer->slots[slot] : -EBADF;
}

int performer_fill(struct performer *performer, int64_t slot, int fd)
{
    if (fd < 0)
        return fd;
    if (slot < FIRST_SLOT || slot >= SLOTS) {
        close(fd);
        return -EBADF;
    }
    replace_fd(&performer->slots[slot], fd);
    return 0;
}

int perform_take_slot(struct performer *performer, const struct operation *operation)
{
    int64_t from = operation->a[1].number;
    int fd = performer_slot(performer, from);
    if (fd < 0)
        return fd;
    performer->slots[from] = -1;
    return performer_fill(performer, operation->a[0].number, fd);
}

int note_send(int link, const struct note *note, int fd)
{
    return wire_send(link, note, sizeof *note, NULL, 0, &fd, fd >= 0);
}

int note_receive(int link, struct note *note, int *fd)
{
    int count = 0, fds[WIRE_DESCRIPTORS];
    ssize_t size = wire_receive(link, note, sizeof *note, fds, &count);
    for (int i = fd ? 1 : 0; i < count; i++)
        close(fds[i]);
    if (fd)
        *fd = count ? fds[0] : -1;
    return size <= 0 ? (int)size : size == sizeof *note ? 1 : -EPROTO;
}

size_t note_text(const struct note *note, char text[NOTE_TEXT])
{
    return (size_t)snprintf(text, NOTE_TEXT, "%s%c%s", note->step, 0, note->object) + 1;
}

/* Say why, and end: failures of stage and child are final. */
static _Noreturn void fail(struct performer *performer, const struct operation *operation, int error)
{
    struct note note = {.kind = NOTE_FAILED, .index = operation->index, .error = -error};
    const char *first = table[operation->code].arguments ? strpbrk(table[operation->code].arguments, "s") : NULL;
    const char *object = performer->object;
    if (!*object && first)
        object = operation->a[first - table[operation->code].arguments].text;
    snprintf(note.step, sizeof note.step, "%s", operation_name(operation->code));
    snprintf(note.object, sizeof note.object, "%s", object ? object : "");
    note_send(performer->link, &note, -1);
    _exit(127);
}

/* Operations that only the parent can perform: the child asks and waits. */
static int ask_parent(struct performer *performer, const struct operation *operation)
{
    struct note note = {.kind = NOTE_REQUEST, .index = operation->index};
    if (performer->continued)
        return -EPROTO;
    int result = note_send(performer->link, &note, -1);
    if (result < 0)
        return result;
    result = note_receive(performer->link, &note, NULL);
    return result <= 0 ? -EPIPE : -note.error;
}

static bool is_for_parent(const struct operation *operation)
{
    return operation->code == OPERATION_map_ids || operation->code == OPERATION_pause ||
           (operation->code == OPERATION_set_oom_score && operation->a[1].number);
}

/* The rest of a plan, which was not known when its beginning was sent: it comes over a slot's socket, with descriptors
 * that fill the slots from `first`. */
static int read_plan(struct cursor *cursor, struct performer *performer, const struct operation *operation)
{
    static struct plan rest;
    int fds[WIRE_DESCRIPTORS], count = 0, socket = performer_slot(performer, operation->a[0].number);
    int64_t first = operation->a[1].number;
    char word;
    ssize_t size = socket < 0 ? socket : wire_receive(socket, &word, sizeof word, fds, &count);
    if (size <= 0)
        return size < 0 ? (int)size : -ECANCELED;
    int result = count ? plan_map(&rest, fds[0]) : -EPROTO;
    for (int i = 1; i < count && result >= 0; i++)
        result = performer_fill(performer, first + i - 1, fds[i]);
    if (count)
        close(fds[0]);
    *cursor = plan_begin(&rest);
    performer->continued = true;
    return result;
}

static int perform_one(struct cursor *cursor, struct performer *performer, const struct operation *operation)
{
    performer->object[0] = 0;
    if (operation->code == OPERATION_read_plan)
        return read_plan(cursor, performer, operation);
    return is_for_parent(operation) ? ask_parent(performer, operation)
                                    : table[operation->code].function(performer, operation);
}

/* Perform operations up to Clone (in the stage; returns with it) or to the end (in the child; does not return). */
static void walk(struct cursor *cursor, struct performer *performer, struct operation *operation)
{
    int more, result;
    while ((more = plan_next(cursor, operation)) > 0) {
        if (operation->code == OPERATION_clone)
            return;
        result = perform_one(cursor, performer, operation);
        if (result < 0)
            fail(performer, operation, result);
    }
    performer_about(performer, "the plan ends without a program");
    fail(performer, operation, more < 0 ? more : -EPROTO);
}

static void close_foreign(struct performer *performer)
{
    for (size_t i = 0; i < sizeof performer->foreign / sizeof *performer->foreign; i++)
        replace_fd(&performer->foreign[i], -1);
}

/* What a fresh process must not have of the monitor's. Signals 32 and 33 are libc's own: glibc's posix_spawn ignores
 * them for its children, and no libc lets them be set but by the raw call. */
static void leave_monitor(struct performer *performer)
{
    sigset_t none;
    const struct {
        uint64_t handler, flags, restorer, mask;
    } fresh = {0};
    sigemptyset(&none);
    signal(SIGPIPE, SIG_DFL);
    syscall(SYS_rt_sigaction, 32, &fresh, NULL, sizeof fresh.mask);
    syscall(SYS_rt_sigaction, 33, &fresh, NULL, sizeof fresh.mask);
    sigprocmask(SIG_SETMASK, &none, NULL);
    close_foreign(performer);
}

static int make_child(const struct operation *clone, const struct performer *performer, uint64_t parent)
{
    int cgroup = performer_slot(performer, clone->a[1].number);
    struct kernel_clone arguments = {
        .flags = (uint64_t)clone->a[0].number | parent | (cgroup >= 0 ? KERNEL_CLONE_INTO_CGROUP : 0),
        .exit_signal = parent ? 0 : SIGCHLD,
        .cgroup = cgroup >= 0 ? (uint64_t)cgroup : 0,
    };
    return kernel_clone3(&arguments);
}

static _Noreturn void run_child(struct cursor *cursor, struct performer *performer)
{
    struct operation operation = {0};
    leave_monitor(performer);
    walk(cursor, performer, &operation);
    performer_about(performer, "a second clone");
    fail(performer, &operation, -EPROTO);
}

/* The stage: perform what comes before Clone, make the child as the parent's own, tell its pid. */
static _Noreturn void run_stage(struct cursor *cursor, struct performer *performer)
{
    struct operation operation = {0};
    struct note note;
    close_foreign(performer);
    walk(cursor, performer, &operation);
    int child = make_child(&operation, performer, KERNEL_CLONE_PARENT);
    if (child < 0)
        fail(performer, &operation, child);
    if (child > 0) {
        note = (struct note){.kind = NOTE_CHILD, .number = child};
        note_send(performer->link, &note, -1);
        _exit(0);
    }
    if (note_receive(performer->link, &note, NULL) <= 0)
        _exit(127);
    run_child(cursor, performer);
}

/* Start a plan; the performer's link is the child's end. Returns the child's pid, or 0 with *stage set: the pid
 * comes as NOTE_CHILD. */
pid_t perform(const struct plan *plan, struct performer *performer, pid_t *stage)
{
    struct cursor cursor = plan_begin(plan);
    struct operation operation;
    *stage = 0;
    if (plan_has_stage(plan)) {
        struct kernel_clone fork = {.exit_signal = SIGCHLD};
        int pid = kernel_clone3(&fork);
        if (pid == 0)
            run_stage(&cursor, performer);
        *stage = pid;
        return pid < 0 ? pid : 0;
    }
    if (plan_next(&cursor, &operation) != 1)
        return -EPROTO;
    int pid = make_child(&operation, performer, 0);
    if (pid == 0)
        run_child(&cursor, performer);
    return pid;
}

int perform_clone(struct performer *performer, const struct operation *operation)
{
    (void)performer, (void)operation;
    return -EPROTO; /* the walk stops at it */
}

int perform_read_plan(struct performer *performer, const struct operation *operation)
{
    (void)performer, (void)operation;
    return -EPROTO; /* the walk's own */
}

int perform_pause(struct performer *performer, const struct operation *operation)
{
    (void)performer, (void)operation;
    return -EPROTO; /* the parent's */
}
