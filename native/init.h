/* The engine's own pid 1 (--init). */
#ifndef SAMPAN_INIT_H
#define SAMPAN_INIT_H

/* Stay behind as init, forwarding signals and reaping zombies, until the workload ends, and end with its status. Returns
 * in the workload, which has a process group of its own, in the terminal's foreground where there is one. */
int init_begin(void);

/* The same as a program, for containers of other runtimes: `arguments` are those of the workload. */
int init_program(char **arguments);

#endif
