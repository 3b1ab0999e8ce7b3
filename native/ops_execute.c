/* The last operations: find the program, run hooks, wait for `start`, leave an init behind, execute. */
#define _GNU_SOURCE
#include <ctype.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "init.h"
#include "kernel.h"
#include "owned.h"
#include "plan.h"

#define KEPT_AWAY 320 /* above all slots: where kept descriptors wait for their numbers */

/* The list as execve wants it; NULL where memory is out. */
static char **vector(const struct argument *list)
{
    const char *end = list->text + list->size;
    size_t count = 0;
    for (const char *item = list->text; item < end; item += strlen(item) + 1)
        count++;
    char **items = calloc(count + 1, sizeof *items);
    if (!items)
        return NULL;
    count = 0;
    for (const char *item = list->text; item < end; item += strlen(item) + 1)
        items[count++] = (char *)item;
    return items;
}

static const char *search_path(const struct argument *environment)
{
    const char *end = environment->text + environment->size, *found = "";
    for (const char *item = environment->text; item < end; item += strlen(item) + 1)
        if (strncmp(item, "PATH=", 5) == 0)
            found = item + 5;
    return found;
}

static int executable(const char *path)
{
    struct stat about;
    if (stat(path, &about) < 0)
        return -errno;
    if (S_ISDIR(about.st_mode))
        return -EISDIR;
    return checked(faccessat(AT_FDCWD, path, X_OK, AT_EACCESS));
}

/* The program's path: `file` itself if it has a slash, else the first executable of that name in $PATH. */
static int find(const char *file, const struct argument *environment, char *path, size_t size)
{
    if (strchr(file, '/')) {
        snprintf(path, size, "%s", file);
        return executable(path);
    }
    for (const char *at = search_path(environment); *file && *at; at += *at == ':') {
        size_t length = strcspn(at, ":");
        if (length && snprintf(path, size, "%.*s/%s", (int)length, at, file) < (int)size && executable(path) >= 0)
            return 0;
        at += length;
    }
    return -ENOENT;
}

int perform_find_program(struct performer *performer, const struct operation *operation)
{
    (void)performer;
    char path[4096];
    return find(operation->a[0].text, &operation->a[1], path, sizeof path);
}

/* Slots 3 to 2 + keep become those very descriptors; the link moves out of their way. */
static int keep_descriptors(struct performer *performer, int keep)
{
    int link = checked(fcntl(performer->link, F_DUPFD_CLOEXEC, KEPT_AWAY));
    if (link < 0)
        return link;
    performer->link = link;
    for (int i = 0; i < keep; i++) {
        performer->slots[FIRST_SLOT + i] = checked(fcntl(performer->slots[FIRST_SLOT + i], F_DUPFD_CLOEXEC, KEPT_AWAY));
        if (performer->slots[FIRST_SLOT + i] < 0)
            return performer->slots[FIRST_SLOT + i];
    }
    for (int i = 0; i < keep; i++)
        if (dup2(performer->slots[FIRST_SLOT + i], FIRST_SLOT + i) < 0)
            return -errno;
    return 0;
}

int perform_execute(struct performer *performer, const struct operation *operation)
{
    char path[4096];
    char **arguments = vector(&operation->a[1]), **environment = vector(&operation->a[2]);
    struct note note = {.kind = NOTE_EXECUTING};
    int keep = (int)operation->a[3].number;
    int result = arguments && environment ? find(operation->a[0].text, &operation->a[2], path, sizeof path) : -ENOMEM;
    if (result < 0)
        return result;
    if (keep < 0 || keep > SLOTS - FIRST_SLOT || (keep && (result = keep_descriptors(performer, keep)) < 0))
        return result < 0 ? result : -EINVAL;
    result = kernel_close_from((unsigned)(3 + keep), KERNEL_CLOSE_RANGE_CLOEXEC);
    if (result < 0 && !performer->sealed)
        return result;
    result = note_send(performer->link, &note, -1);
    if (result >= 0 && operation->a[5].size) /* the last thing of all: nothing of ours must pass the filter */
        result = performer_filter(performer, operation->a[4].number, &operation->a[5]);
    if (result < 0)
        return result;
    execve(path, arguments, environment);
    return -errno;
}

/* Nothing of the host's stays open while the container waits, however long: no cgroup's file, no namespace. */
static void close_slots(struct performer *performer, int64_t keep, int64_t listener)
{
    for (int slot = FIRST_SLOT + (int)keep; slot < SLOTS; slot++)
        if (slot != listener)
            replace_fd(&performer->slots[slot], -1);
    replace_fd(&performer->empty, -1);
}

static const int ending[] = {SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGTERM};
#define ENDING (sizeof ending / sizeof *ending)

static void end_by(int number)
{
    _exit(128 + number);
}

/* The first process of a pid namespace has no default actions: what would end any other must end it while it waits. */
static int accept_start(int listener)
{
    struct sigaction end = {.sa_handler = end_by}, before[ENDING];
    for (size_t i = 0; i < ENDING; i++)
        sigaction(ending[i], &end, &before[i]);
    int link = checked(accept4(listener, NULL, NULL, SOCK_CLOEXEC));
    for (size_t i = 0; i < ENDING; i++)
        sigaction(ending[i], &before[i], NULL);
    return link;
}

/* Report "created" to the parent, which leaves; from here on whoever starts us is the parent. */
int perform_wait_start(struct performer *performer, const struct operation *operation)
{
    struct note note = {.kind = NOTE_CREATED};
    int listener = performer_slot(performer, operation->a[0].number);
    if (listener < 0)
        return listener;
    close_slots(performer, operation->a[1].number, operation->a[0].number);
    int result = note_send(performer->link, &note, -1);
    if (result < 0)
        return result;
    int link = accept_start(listener);
    if (link < 0)
        return link;
    replace_fd(&performer->link, link);
    return 0;
}

/* The hook's input as a file in memory, with our pid as it is called in here between its two parts. */
static int input_of(const struct argument *before, const struct argument *behind)
{
    cleanup_fd int fd = checked(memfd_create("state", MFD_CLOEXEC));
    if (fd < 0)
        return fd;
    if (dprintf(fd, "%s%d%s", before->text, getpid(), behind->text) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return -EIO;
    return steal_fd(&fd);
}

/* Run the hook's program; what it says goes to two files in memory. */
static int start_hook(const struct operation *operation, const int said[2])
{
    char **arguments = vector(&operation->a[1]), **environment = vector(&operation->a[2]);
    cleanup_fd int input = input_of(&operation->a[3], &operation->a[4]);
    if (input < 0 || !arguments || !environment)
        return input < 0 ? input : -ENOMEM;
    int result = executable(operation->a[0].text), pid = result < 0 ? result : checked(fork());
    if (pid != 0)
        return pid;
    dup2(input, 0);
    dup2(said[0], 1);
    dup2(said[1], 2);
    kernel_close_from(3, KERNEL_CLOSE_RANGE_CLOEXEC);
    execve(operation->a[0].text, arguments, environment);
    _exit(127);
}

/* Wait for a hook's end, at most `limit` ms (0: for ever); its status, or why there is none. */
static int end_hook(int pid, int limit)
{
    int status;
    cleanup_fd int process = kernel_pidfd_open(pid);
    struct pollfd end = {.fd = process, .events = POLLIN};
    int ended = checked(poll(&end, 1, limit > 0 ? limit : -1));
    if (ended <= 0)
        kill(pid, SIGKILL);
    if (waitpid(pid, &status, 0) < 0)
        return -errno;
    return ended > 0 ? status : ended < 0 ? ended : -ETIMEDOUT;
}

/* The beginning of what was said, as far as a note has room for it. */
static const char *read_said(int fd, char *text, size_t size)
{
    ssize_t got = pread(fd, text, size - 1, 0);
    text[got > 0 ? got : 0] = 0;
    return text;
}

static const char *lower(const char *words, char *text, size_t size)
{
    snprintf(text, size, "%s", words ? words : "unknown");
    *text = (char)tolower((unsigned char)*text);
    return text;
}

static int hook_failed(struct performer *performer, const struct operation *operation, int status, const int said[2])
{
    char words[64], out[64], error[96];
    int limit = (int)operation->a[5].number;
    const char *name = operation->a[6].text;
    if (status == -ETIMEDOUT)
        performer_about(performer, "%s: hook ran past specified timeout of %d.%ds", name, limit / 1000, limit % 1000 / 100);
    if (status < 0 && status != -ETIMEDOUT)
        performer_about(performer, "%s: fork/exec %s: %s", name, operation->a[0].text,
                        lower(strerror(-status), words, sizeof words));
    if (status < 0)
        return status;
    if (WIFSIGNALED(status))
        snprintf(words, sizeof words, "signal: %.50s", lower(strsignal(WTERMSIG(status)), out, sizeof out));
    else
        snprintf(words, sizeof words, "exit status %d", WEXITSTATUS(status));
    performer_about(performer, "%s: %s, stdout: %s, stderr: %s", name, words, read_said(said[0], out, sizeof out),
                    read_said(said[1], error, sizeof error));
    return -ECHILD;
}

int perform_run_hook(struct performer *performer, const struct operation *operation)
{
    cleanup_fd int out = checked(memfd_create("stdout", MFD_CLOEXEC));
    cleanup_fd int error = checked(memfd_create("stderr", MFD_CLOEXEC));
    int pid = start_hook(operation, (int[]){out, error});
    int status = pid < 0 ? pid : end_hook(pid, (int)operation->a[5].number);
    return status == 0 ? 0 : hook_failed(performer, operation, status, (int[]){out, error});
}

int perform_reap(struct performer *performer, const struct operation *operation)
{
    (void)performer, (void)operation;
    return init_begin();
}
