/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time and memory of this process, as Linux tells them. A figure that the
 * system does not tell is 0: these are for reports, never for decisions.
 */
#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

static const int64_t NS_PER_S = 1000000000;

static double seconds_of(clockid_t id)
{
    struct timespec t = {0};

    (void)clock_gettime(id, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int64_t csi_clock_ns(void)
{
    struct timespec t = {0};

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * NS_PER_S + t.tv_nsec;
}

double csi_clock_s(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

double csi_wall_s(void)
{
    return seconds_of(CLOCK_REALTIME);
}

double csi_process_age_s(void)
{
    enum {
        FIELDS_BEFORE_START = 20
    }; /* fields 3..22 of proc(5) stat */
    char text[1024];
    FILE *const file = fopen("/proc/self/stat", "re");

    if (file == NULL) {
        return 0;
    }
    const size_t n_read = fread(text, 1, sizeof text - 1, file);

    (void)fclose(file);
    text[n_read] = '\0';
    /* Field 2 is the program's name in parentheses and may hold anything. */
    const char *at = strrchr(text, ')');

    for (int i = 0; at != NULL && i < FIELDS_BEFORE_START; i++) {
        at = strchr(at + 1, ' ');
    }
    if (at == NULL) {
        return 0;
    }
    const double ticks = (double)strtoull(at, NULL, 10);

    return seconds_of(CLOCK_BOOTTIME) - ticks / (double)sysconf(_SC_CLK_TCK);
}

void csi_sleep_ns(int64_t ns)
{
    struct timespec left = {.tv_sec = ns / NS_PER_S, .tv_nsec = ns % NS_PER_S};

    while (ns > 0 && nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

int64_t csi_peak_rss_bytes(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0) {
        return 0;
    }
    return (int64_t)usage.ru_maxrss * 1024;
}
