/* A plan in memory and its performer. The encoding is drawn in src/sampan/runtime/plan_encoding.py.
 *
 * The performers of one plan share a SOCK_SEQPACKET *link* of notes:
 *
 *   stage, child -> parent    CHILD number=pid             the stage made the child (which waits for an ANSWER)
 *                             REQUEST index                perform this operation for me, then ANSWER
 *                             DESCRIPTOR number + fd       CONSOLE's master or the seccomp LISTENER
 *                             CREATED                      waiting for `start` on the plan's socket
 *                             EXECUTING                    the next thing is execve; the link's end is success
 *                             FAILED index error object
 *   parent -> child           ANSWER error
 */
#ifndef SAMPAN_PLAN_H
#define SAMPAN_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "operations.h"

#define SLOTS 256
#define FIRST_SLOT 3

struct argument {
    int64_t number;
    const char *text; /* followed by NUL */
    uint32_t size;
};

struct operation {
    uint32_t index;
    uint16_t code;
    struct argument a[MAXIMUM_ARGUMENTS];
};

struct plan {
    const char *base;
    size_t size;
    uint32_t count;
};

struct cursor {
    const struct plan *plan;
    size_t offset;
    uint32_t index;
};

enum note_kind { NOTE_CHILD = 1, NOTE_REQUEST, NOTE_DESCRIPTOR, NOTE_CREATED, NOTE_EXECUTING, NOTE_FAILED, NOTE_ANSWER };
enum descriptor_kind { DESCRIPTOR_CONSOLE = 1, DESCRIPTOR_LISTENER };

struct note {
    uint32_t kind, index;
    int32_t error, number;
    char step[32];
    char object[208];
};

/* One performer's state. */
struct performer {
    int slots[SLOTS];
    int root;         /* the container's root: the new one, or "/" once it is ours; -1 until opened */
    int link;         /* to the parent */
    int foreign[3];   /* the link's other end, the plan's file and the like: a child that held them would never see its
                       * parent go, or keep what is the host's */
    int empty;        /* a mounted empty tmpfs that Mask clones, or -1 */
    bool continued;   /* the plan is one that came later, which the parent does not know */
    bool sealed;      /* all descriptors are closed at exec already: a filter that came since may forbid to say so again */
    char object[208]; /* what the failing operation was about, if not its first string */
};

int plan_map(struct plan *plan, int fd);
void plan_unmap(struct plan *plan);
struct cursor plan_begin(const struct plan *plan);
int plan_next(struct cursor *cursor, struct operation *operation); /* 1, 0 at the end, -errno */
int plan_find(const struct plan *plan, uint32_t index, struct operation *operation);
bool plan_has_stage(const struct plan *plan);
const char *operation_name(uint16_t code);

void performer_begin(struct performer *performer);
void performer_about(struct performer *performer, const char *format, ...) __attribute__((format(printf, 2, 3)));
int performer_root(struct performer *performer); /* borrowed; -errno */
int performer_slot(const struct performer *performer, int64_t slot);
int performer_fill(struct performer *performer, int64_t slot, int fd); /* takes fd */
int performer_filter(struct performer *performer, int64_t flags, const struct argument *program); /* seccomp(2) */

#define NOTE_TEXT (sizeof(struct note))

int note_send(int link, const struct note *note, int fd);
int note_receive(int link, struct note *note, int *fd); /* 1, 0 at the end, -errno */
size_t note_text(const struct note *note, char text[NOTE_TEXT]); /* a failure's step, NUL, object, NUL */

pid_t perform(const struct plan *plan, struct performer *performer, pid_t *stage);
int perform_for_child(const struct operation *operation, pid_t child);

typedef int operation_function(struct performer *performer, const struct operation *operation);
#define X(code, name, arguments) operation_function perform_##name;
OPERATIONS(X)
#undef X

#endif
