/* Containers and execs made by another OCI runtime: it runs as our child with the process's stdio, leaves the pid in a
 * file and ends; the process, its parent gone, becomes our child because we are a subreaper. The master of a terminal
 * comes over the console socket, on which we listen (runc(8), --console-socket).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "kernel.h"
#include "owned.h"
#include "process.h"

static void console_ready(struct watch *watch, uint32_t events)
{
    (void)events;
    struct process *process = owner_of(watch, struct process, console);
    char name[256];
    int fds[WIRE_DESCRIPTORS], count = 0;
    cleanup_fd int connection = checked(accept4(watch->fd, NULL, NULL, SOCK_CLOEXEC));
    if (connection < 0 || wire_receive(connection, name, sizeof name, fds, &count) < 0 || count == 0)
        return;
    stdio_take_terminal(process, fds[0]);
    while (--count > 0)
        close(fds[count]);
    watch_close(watch);
}

/* The path may be longer than a socket's address: it is bound by way of its directory. */
static int listen_at(const char *path)
{
    char above[4096];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *name = strrchr(path, '/');
    if (!name || snprintf(above, sizeof above, "%.*s", (int)(name - path), path) >= (int)sizeof above)
        return -EINVAL;
    cleanup_fd int directory = checked(open(above, O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (directory < 0)
        return directory;
    int length = snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d%s", directory, name);
    if (length >= (int)sizeof address.sun_path)
        return -ENAMETOOLONG;
    cleanup_fd int fd = checked(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (fd < 0)
        return fd;
    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0 || listen(fd, 1) < 0)
        return -errno;
    return steal_fd(&fd);
}

int external_begin(struct process *process, const char *pid_file, const char *console)
{
    process->pid_file = strdup(pid_file);
    if (!process->pid_file)
        return -ENOMEM;
    if (!*console)
        return 0;
    int fd = listen_at(console);
    if (fd >= 0)
        watch_open(&process->console, fd, EPOLLIN, console_ready);
    return fd < 0 ? fd : 0;
}

static int read_pid(const char *path)
{
    char text[32];
    cleanup_fd int fd = checked(open(path, O_RDONLY | O_CLOEXEC));
    ssize_t size = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (size <= 0)
        return fd < 0 ? fd : -ENODATA;
    text[size] = 0;
    return atoi(text) > 1 ? atoi(text) : -ENODATA;
}

int external_adopt(struct process *process, int status)
{
    char object[64];
    if (status) {
        snprintf(object, sizeof object, "runtime: exit status %d", WIFEXITED(status) ? WEXITSTATUS(status) : 128);
        process_fail(process, "execute", ECHILD, object);
        return -ECHILD;
    }
    if (process->console.fd >= 0 && process->sources[0].watch.fd < 0)
        console_ready(&process->console, EPOLLIN); /* sent before the runtime ended */
    int pid = read_pid(process->pid_file);
    if (pid < 0)
        process_fail(process, "execute", -pid, process->pid_file);
    process->pid = pid < 0 ? 0 : pid;
    return pid < 0 ? pid : 0;
}
