/* The monitor's records: processes, their standard streams, the clients attached to them.
 *
 *   WAITING   named by an ATTACH, its START is to come; it goes with the connection that named it
 *   MAKING    its plan is being performed (or its OCI runtime runs)
 *   RUNNING   executed
 *   EXITED    reaped, and (process 0) recorded; its output may not have ended
 *   TOLD      EXITED was announced; the record goes when its output and its clients are done and a daemon said FORGET
 */
#ifndef SAMPAN_PROCESS_H
#define SAMPAN_PROCESS_H

#include "buffer.h"
#include "log.h"
#include "loop.h"
#include "plan.h"
#include "wire.h"

enum process_state { WAITING, MAKING, RUNNING, EXITED, TOLD };

struct process;

/* Where output comes from: stdout (or the terminal) and stderr. */
struct source {
    struct watch watch;
    struct process *process;
    int which; /* 1 or 2 */
};

/* Where input goes; full while `pending` holds anything, and clients are not read then. */
struct sink {
    struct watch watch;
    struct buffer pending;
    bool closing; /* close once pending is written */
};

#define LONGEST_KEYS 16

struct stream {
    struct watch watch;
    struct stream *next;
    struct process *process;
    int64_t number;
    uint32_t flags, at_end;
    bool input_open, over;
    enum stream_ending ending;
    unsigned char keys[LONGEST_KEYS], key_count, matched;
    struct buffer pending;
};

struct process {
    struct process *next;
    char name[80]; /* the daemon's own, given back */
    uint32_t number, flags, paused; /* paused: the link waits for CONTINUE */
    enum process_state state;
    pid_t pid, stage;
    int64_t started, finished, deadline; /* ns, ns since the epoch; ms: how long an exit waits for the output's end */
    bool executing, failed, out_of_memory, forgotten;
    const void *starter; /* the connection that named it, to compare with */
    int status, signal;
    struct note failure;
    struct plan plan;
    struct watch link, console;
    struct source sources[2];
    struct sink sink;
    struct stream *streams;
    char *pid_file;
};

struct monitor {
    struct process *processes;
    struct log log;
    int run_directory, state_directory, memory_events;
};

extern struct monitor monitor;

/* process.c */
struct process *process_find(uint32_t number);
struct process *process_get(uint32_t number, const void *starter); /* found or made; NULL where memory is out */
int process_start(struct process *process, const struct message *message, const char *text, const char *end, int *fds,
                  int count);
void process_answer(struct process *process, int error); /* to a paused child; an errno ends it */
int process_signal(const struct process *process, int number);
int process_forget(struct process *process);
void processes_abandon(const void *starter); /* a daemon is gone: what it named and did not start */
void process_started(struct process *process);
void process_fail(struct process *process, const char *step, int error, const char *object);
bool processes_settle(void); /* after each event: bring every record into the state it has reached; false: all done */
int processes_timeout(void);
void reap_children(void); /* on SIGCHLD */

/* exit.c */
int exit_announce(const struct process *process); /* how many heard it */
void exit_record(const struct process *process);
void exit_keep(void); /* those of execs that no daemon recorded, when the monitor goes */
bool exit_out_of_memory(void);

/* external.c */
int external_begin(struct process *process, const char *pid_file, const char *console);
int external_adopt(struct process *process, int status); /* 0 or -errno, the failure noted */

/* stdio.c */
int stdio_open(struct process *process, int child[3]); /* the child's ends */
void stdio_take_terminal(struct process *process, int master);
void stdio_update(struct process *process); /* read on, or not, as the clients' buffers allow */
void stdio_input(struct process *process, const char *data, size_t size);
bool stdio_wants_input(const struct process *process);
void stdio_end_input(struct process *process);
bool stdio_output_open(const struct process *process);
bool stdio_is_blocked(const struct process *process);
void stdio_close(struct process *process);
int stdio_resize(struct process *process, int rows, int columns);

/* stream.c */
int stream_attach(struct process *process, const struct message *message, const char *text, size_t size, int fd);
void stream_output(struct stream *stream, int which, const char *data, size_t size);
void stream_finish(struct stream *stream, enum stream_ending ending); /* deliver what waits, then end and free it */
void stream_update(struct stream *stream);
bool stream_is_full(const struct stream *stream);

/* monitor.c */
int announce(const struct message *message, const char *text, size_t size, int fd); /* how many heard it */

#endif
