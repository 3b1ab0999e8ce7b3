/* The engine's own pid 1 (--init). */
#ifndef SAMPAN_INIT_H
#define SAMPAN_INIT_H

#include <sys/types.h>

/* Serve as init for the workload `child`: all signals are blocked on entry and forwarded, zombies reaped; ends with
 * the child's status. */
_Noreturn void init_run(pid_t child);

/* In the workload: a process group of its own, in the terminal's foreground where there is one. */
void init_isolate(void);

#endif
