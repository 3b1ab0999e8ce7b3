#define _GNU_SOURCE
#include "loop.h"

#include <time.h>

#include "kernel.h"

static int epoll = -1;

int loop_open(void)
{
    epoll = checked(epoll_create1(EPOLL_CLOEXEC));
    return epoll;
}

void watch_open(struct watch *watch, int fd, uint32_t events, void (*ready)(struct watch *, uint32_t))
{
    *watch = (struct watch){.fd = fd, .ready = ready};
    watch_for(watch, events);
}

void watch_for(struct watch *watch, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = watch};
    if (watch->fd < 0 || (watch->watched && watch->events == events))
        return;
    epoll_ctl(epoll, watch->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, watch->fd, &event);
    watch->watched = true;
    watch->events = events;
}

void watch_pause(struct watch *watch)
{
    if (watch->watched)
        epoll_ctl(epoll, EPOLL_CTL_DEL, watch->fd, NULL);
    watch->watched = false;
}

void watch_close(struct watch *watch)
{
    if (watch->fd < 0)
        return;
    watch_pause(watch); /* a duplicate elsewhere would keep it in the epoll set */
    close(watch->fd);
    watch->fd = -1;
}

void loop_once(int timeout)
{
    struct epoll_event event;
    if (epoll_wait(epoll, &event, 1, timeout) > 0) {
        struct watch *watch = event.data.ptr;
        watch->ready(watch, event.events);
    }
}

static int64_t clock_ns(clockid_t clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t now_ms(void)
{
    return clock_ns(CLOCK_MONOTONIC) / 1000000;
}

int64_t now_ns(void)
{
    return clock_ns(CLOCK_REALTIME);
}
