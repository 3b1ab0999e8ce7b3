/* How a process's end is kept and told.
 *
 * state_dir/exit, written before anyone hears of it:     status=137\nsignal=9\nfinished=<ns since the epoch>\noom=1\n
 * run_dir/exit                                            the same, when state_dir's disk is full
 * run_dir/execs, written when the monitor goes:           <name> <status>\n for each end that no daemon recorded
 *
 * Not synced: the disk would hold up every end for the sake of a power cut, after which nothing runs anyway.
 */
#define _GNU_SOURCE
#include <stdio.h>

#include "kernel.h"
#include "owned.h"
#include "process.h"

/* memory.oom_control (v1) and memory.events (v2) both have a line "oom_kill <count>". */
bool exit_out_of_memory(void)
{
    char text[512];
    ssize_t size = monitor.memory_events < 0 ? -1 : pread(monitor.memory_events, text, sizeof text - 1, 0);
    text[size < 0 ? 0 : size] = 0;
    for (char *line = text; (line = strstr(line, "oom_kill ")); line += 9)
        if (line == text || line[-1] == '\n')
            return atoll(line + 9) > 0;
    return false;
}

static bool record_in(int directory, const char *text, ssize_t size)
{
    cleanup_fd int fd = openat(directory, "exit.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    return fd >= 0 && write(fd, text, (size_t)size) == size &&
           renameat(directory, "exit.new", directory, "exit") == 0;
}

void exit_record(const struct process *process)
{
    char text[160];
    int size = snprintf(text, sizeof text, "status=%d\nsignal=%d\nfinished=%lld\noom=%d\n", process->status,
                        process->signal, (long long)process->finished, process->out_of_memory);
    if (!record_in(monitor.state_directory, text, size))
        record_in(monitor.run_directory, text, size);
}

void exit_keep(void)
{
    cleanup_fd int fd = -1;
    for (struct process *process = monitor.processes; process; process = process->next) {
        if (process->number == 0 || process->state != TOLD || process->forgotten)
            continue;
        if (fd < 0)
            fd = openat(monitor.run_directory, "execs", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        dprintf(fd, "%s %d\n", process->name, process->status);
    }
}

int exit_announce(const struct process *process)
{
    struct message message = {
        .kind = MESSAGE_EXITED,
        .process = process->number,
        .flags = process->out_of_memory,
        .v = {process->status, process->signal, process->finished / 1000000000, process->finished % 1000000000},
    };
    return announce(&message, process->name, strlen(process->name) + 1, -1);
}
