/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_BASE_CLOCK_H
#define CS_BASE_CLOCK_H
#include <stdint.h>

int64_t csi_clock_ns(void);     /* monotonic */
double csi_clock_s(void);       /* monotonic, seconds */
double csi_wall_s(void);        /* seconds since 1970 */
double csi_process_age_s(void); /* seconds since the process was started */
void csi_sleep_ns(int64_t ns);
int64_t csi_peak_rss_bytes(void);
#endif
