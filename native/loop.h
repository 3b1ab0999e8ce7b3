/* One epoll loop over watches that their owners embed. A handler may free anything: one event is taken at a time. */
#ifndef SAMPAN_LOOP_H
#define SAMPAN_LOOP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>

struct watch {
    int fd;
    bool watched;
    uint32_t events;
    void (*ready)(struct watch *watch, uint32_t events);
};

#define NO_WATCH ((struct watch){.fd = -1})
#define owner_of(watch, type, member) ((type *)((char *)(watch) - offsetof(type, member)))

int loop_open(void);
void watch_open(struct watch *watch, int fd, uint32_t events, void (*ready)(struct watch *, uint32_t)); /* takes fd */
void watch_for(struct watch *watch, uint32_t events); /* errors and hang-ups are reported even for 0 */
void watch_pause(struct watch *watch);                /* nothing is reported until the next watch_for */
void watch_close(struct watch *watch);
void loop_once(int timeout); /* ms, -1 for ever */
int64_t now_ms(void);
int64_t now_ns(void); /* since the epoch */

#endif
