#define _GNU_SOURCE
#include "init.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel.h"

/* Reap all that ended; ends the process when the workload is among them. */
static void reap(pid_t workload)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == workload)
            _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

void init_run(pid_t child)
{
    sigset_t all;
    sigfillset(&all);
    kernel_close_from(3, 0);
    prctl(PR_SET_NAME, "sampan-init", 0, 0, 0);
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); /* where the pid namespace is not our own */
    for (;;) {
        int number = sigwaitinfo(&all, NULL);
        if (number == SIGCHLD)
            reap(child);
        else if (number > 0 && number != SIGTTIN && number != SIGTTOU)
            kill(child, number);
    }
}

void init_isolate(void)
{
    setpgid(0, 0);
    tcsetpgrp(0, getpgrp()); /* SIGTTOU is blocked; no terminal is fine */
}
