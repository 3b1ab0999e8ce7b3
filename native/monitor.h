#ifndef SAMPAN_MONITOR_H
#define SAMPAN_MONITOR_H

/* Be a container's monitor; requests come over the SOCK_SEQPACKET descriptor `control`. The exit status. */
int monitor_run(int control);

/* Make monitors until the daemon is gone; the title of each is written over the words after the first. */
int zygote_run(char **arguments, int count);

/* Perform one plan for a command line: with the caller's stdio, and no longer than needed. */
int spawn_run(int control);

#endif
