#define _GNU_SOURCE
#include "init.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel.h"
#include "owned.h"

/* Reap all that ended; ends the process when the workload is among them. */
static void reap(pid_t workload)
{
    int status;
    for (pid_t pid; (pid = waitpid(-1, &status, WNOHANG)) > 0;)
        if (pid == workload)
            _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
}

static _Noreturn void run(pid_t child)
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

static void isolate(void)
{
    setpgid(0, 0);
    tcsetpgrp(0, getpgrp()); /* SIGTTOU is blocked; no terminal is fine */
}

int init_begin(void)
{
    sigset_t all, before;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, &before); /* nothing is lost between fork and init's first wait */
    int pid = checked(fork());
    if (pid < 0)
        return pid;
    if (pid > 0)
        run(pid);
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    isolate();
    return checked(sigprocmask(SIG_SETMASK, &before, NULL));
}

int init_program(char **arguments)
{
    if (!*arguments || init_begin() < 0)
        return 1;
    execvp(*arguments, arguments);
    int status = errno == ENOENT ? 127 : 126;
    perror(*arguments);
    return status;
}
