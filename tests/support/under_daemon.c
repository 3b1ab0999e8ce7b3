/* Preloaded into a daemon by tests: its time of day and its disk are as the cells of a shared file say.
 *
 *     cells  [added to the time of day, ns]  [what syncing a file takes, ns]  [syncs begun]
 *
 * $SAMPAN_TEST_CELLS names the file. Durations go on evenly, and what is not this process (monitors, the kernel) keeps
 * the machine's time: as after a machine's clock was set, files' times and the daemon's disagree.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define SECOND 1000000000LL

static volatile int64_t *cells;

__attribute__((constructor)) static void map(void)
{
    int fd = open(getenv("SAMPAN_TEST_CELLS"), O_RDWR | O_CLOEXEC);
    void *mapped = mmap(NULL, 24, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (mapped == MAP_FAILED)
        abort();
    cells = mapped;
}

static int64_t real_ns(clockid_t clock)
{
    struct timespec now;
    syscall(SYS_clock_gettime, clock, &now);
    return now.tv_sec * SECOND + now.tv_nsec + (clock == CLOCK_REALTIME && cells ? cells[0] : 0);
}

int clock_gettime(clockid_t clock, struct timespec *result)
{
    if (clock != CLOCK_REALTIME)
        return (int)syscall(SYS_clock_gettime, clock, result);
    int64_t now = real_ns(clock);
    result->tv_sec = now / SECOND;
    result->tv_nsec = now % SECOND;
    return 0;
}

int gettimeofday(struct timeval *restrict result, void *restrict zone)
{
    (void)zone;
    int64_t now = real_ns(CLOCK_REALTIME);
    result->tv_sec = now / SECOND;
    result->tv_usec = now % SECOND / 1000;
    return 0;
}

time_t time(time_t *result)
{
    time_t now = real_ns(CLOCK_REALTIME) / SECOND;
    if (result)
        *result = now;
    return now;
}

/* A disk that is slow: the caller waits as long as the cell says, looking at it again and again. */
static void wait_for_disk(void)
{
    __atomic_add_fetch(&cells[2], 1, __ATOMIC_SEQ_CST);
    int64_t begun = real_ns(CLOCK_MONOTONIC);
    while (real_ns(CLOCK_MONOTONIC) - begun < cells[1])
        usleep(5000);
}

int fsync(int fd)
{
    wait_for_disk();
    return (int)syscall(SYS_fsync, fd);
}

int fdatasync(int fd)
{
    wait_for_disk();
    return (int)syscall(SYS_fdatasync, fd);
}

int syncfs(int fd)
{
    wait_for_disk();
    return (int)syscall(SYS_syncfs, fd);
}
