/* sampan-monitor: one static program for everything that Python cannot do safely in its own process.
 *
 *   sampan-monitor zygote <blanks>        makes monitors, which show as "sampan-monitor monitor <container>"
 *   sampan-monitor spawn                  one plan for the OCI command line
 *   sampan-monitor init <program...>      the first process of a container of another runtime
 *
 * Descriptor 3 is Python's socket, but for init.
 *
 * It runs from a sealed memfd, so that no container can write to it through /proc/<pid>/exe (CVE-2019-5736).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#include "init.h"
#include "kernel.h"
#include "monitor.h"

#define CONTROL 3

#ifdef __SANITIZE_ADDRESS__
/* The sanitizers' report goes to a file: stderr is /dev/null. Leaks cannot be looked for without ptrace. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0:log_path=/tmp/sampan-monitor.asan";
}
#endif

int main(int count, char **arguments)
{
    const char *mode = count > 1 ? arguments[1] : "";
    if (strcmp(mode, "init") == 0)
        return init_program(arguments + 2);
    if (geteuid() == 0)
        prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* while in a container's namespaces, none of its processes may trace us */
    prctl(PR_SET_NAME, "sampan-monitor", 0, 0, 0); /* else the number of the descriptor that was executed */
    fcntl(CONTROL, F_SETFD, FD_CLOEXEC);
    kernel_close_from(CONTROL + 1, 0);
    if (strcmp(mode, "zygote") == 0)
        return zygote_run(arguments, count);
    if (strcmp(mode, "spawn") == 0)
        return spawn_run(CONTROL);
    fprintf(stderr, "usage: sampan-monitor zygote|spawn\n");
    return 2;
}
