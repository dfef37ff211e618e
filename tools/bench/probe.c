/* A timestamped real-time probe: wakes on an absolute grid and writes every wake into a mapped file.
 *
 * usage: probe FILE PERIOD_NS COUNT CPU PRIORITY
 *
 * FILE becomes five int64 words (t0_ns, period_ns, written, count, reserved) and COUNT wake stamps.
 * Tick k was due at t0_ns + k * period_ns. A late tick is followed at once by those that it held up,
 * so the stamps show how long the core ran nobody. Put FILE on tmpfs: on a disk the write-back of a
 * page stops its writer. Prints "ready" once it ticks. Ends by itself, on a signal, or with its
 * parent.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>

enum { T0, PERIOD, WRITTEN, COUNT, RESERVED, HEADER };

static volatile sig_atomic_t running = 1;

static void on_signal(int number) {
    (void)number;
    running = 0;
}

static int fail(const char *what) {
    fprintf(stderr, "probe: %s: %s\n", what, strerror(errno));
    return 1;
}

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void sleep_until(int64_t t_ns) {
    struct timespec t = {.tv_sec = t_ns / 1000000000, .tv_nsec = t_ns % 1000000000};
    while (running && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR) {
    }
}

static int64_t *map_file(const char *path, int64_t count) {
    size_t bytes = (size_t)(HEADER + count) * sizeof(int64_t);
    int file = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (file < 0 || ftruncate(file, (off_t)bytes) != 0) return NULL;
    void *words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
    close(file);
    if (words == MAP_FAILED) return NULL;
    memset(words, 0, bytes); /* every page is there before the first tick */
    return words;
}

static int take_real_time(int cpu, int priority) {
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof set, &set) != 0) return fail("sched_setaffinity");
    if (mlockall(MCL_CURRENT | MCL_FUTURE) != 0) return fail("mlockall");
    struct sched_param parameter = {.sched_priority = priority};
    if (sched_setscheduler(0, SCHED_FIFO, &parameter) != 0) return fail("SCHED_FIFO");
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 6) {
        fprintf(stderr, "usage: probe FILE PERIOD_NS COUNT CPU PRIORITY\n");
        return 2;
    }
    int64_t period_ns = atoll(argv[2]), count = atoll(argv[3]);
    if (period_ns <= 0 || count <= 0) return 2;
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    struct sigaction action = {.sa_handler = on_signal};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGINT, &action, NULL);
    int64_t *words = map_file(argv[1], count);
    if (words == NULL) return fail(argv[1]);
    if (take_real_time(atoi(argv[4]), atoi(argv[5])) != 0) return 3;

    words[PERIOD] = period_ns;
    words[COUNT] = count;
    puts("ready");
    fflush(stdout);
    int64_t t0_ns = words[T0] = now_ns() + period_ns;
    for (int64_t k = 0; running && k < count; k++) {
        sleep_until(t0_ns + k * period_ns);
        if (!running) break;
        words[HEADER + k] = now_ns();
        __atomic_store_n(&words[WRITTEN], k + 1, __ATOMIC_RELEASE);
    }
    return 0;
}
