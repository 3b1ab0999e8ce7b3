/* sampan-monitor: one static program for everything that Python cannot do safely in its own process.
 *
 *   sampan-monitor monitor <container>    a container's monitor; the daemon's socket is descriptor 3
 *   sampan-monitor spawn                  one plan for the OCI command line; Python's socket is descriptor 3
 *
 * It runs from a sealed memfd, so that no container can write to it through /proc/<pid>/exe (CVE-2019-5736).
 */
#define _GNU_SOURCE
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

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
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* while in a container's namespaces, none of its processes may trace us */
    fcntl(CONTROL, F_SETFD, FD_CLOEXEC);
    kernel_close_from(CONTROL + 1, 0);
    if (strcmp(mode, "monitor") == 0)
        return monitor_run(CONTROL);
    if (strcmp(mode, "spawn") == 0)
        return spawn_run(CONTROL);
    fprintf(stderr, "usage: sampan-monitor monitor|spawn\n");
    return 2;
}
