/* SPDX-License-Identifier: Apache-2.0 */
/*
 * UTF-8 letter by letter: scanning, repair of what is ill-formed (one U+FFFD
 * for each maximal subpart, Unicode 3.9), Unicode white space.
 */
#include "tokenizer.h"

int csi_utf8_scan(const char *bytes, size_t n)
{
    const unsigned char *const p = (const unsigned char *)bytes;
    const unsigned lead = p[0];
    unsigned low = 0x80;
    unsigned high = 0xbf;
    int n_bytes = 0;

    if (lead < 0x80) {
        return 1;
    }
    if (lead >= 0xc2 && lead <= 0xdf) {
        n_bytes = 2;
    } else if (lead >= 0xe0 && lead <= 0xef) {
        n_bytes = 3;
        low = lead == 0xe0 ? 0xa0 : low;
        high = lead == 0xed ? 0x9f : high;
    } else if (lead >= 0xf0 && lead <= 0xf4) {
        n_bytes = 4;
        low = lead == 0xf0 ? 0x90 : low;
        high = lead == 0xf4 ? 0x8f : high;
    } else {
        return -1;
    }
    for (int i = 1; i < n_bytes; i++) {
        if ((size_t)i >= n || p[i] < low || p[i] > high) {
            return -i;
        }
        low = 0x80;
        high = 0xbf;
    }
    return n_bytes;
}

uint32_t csi_utf8_get(const char *bytes, int *n_bytes)
{
    const unsigned char *const p = (const unsigned char *)bytes;

    if (p[0] < 0x80) {
        *n_bytes = 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *n_bytes = 2;
        return (p[0] & 0x1fU) << 6 | (p[1] & 0x3fU);
    }
    if (p[0] < 0xf0) {
        *n_bytes = 3;
        return (p[0] & 0x0fU) << 12 | (p[1] & 0x3fU) << 6 | (p[2] & 0x3fU);
    }
    *n_bytes = 4;
    return (p[0] & 0x07U) << 18 | (p[1] & 0x3fU) << 12 | (p[2] & 0x3fU) << 6 |
           (p[3] & 0x3fU);
}

bool csi_is_space(uint32_t code)
{
    return (code >= 9 && code <= 13) || code == 0x20 || code == 0x85 ||
           code == 0xa0 || code == 0x1680 ||
           (code >= 0x2000 && code <= 0x200a) || code == 0x2028 ||
           code == 0x2029 || code == 0x202f || code == 0x205f || code == 0x3000;
}

void csi_utf8_repair(csi_str *out, const char *bytes, size_t n_bytes)
{
    size_t kept = 0; /* bytes before it are written */
    size_t at = 0;

    while (at < n_bytes) {
        const int n = csi_utf8_scan(bytes + at, n_bytes - at);

        if (n < 0) {
            csi_str_add_bytes(out, bytes + kept, at - kept);
            csi_str_add(out, "\xef\xbf\xbd");
            kept = at + (size_t)-n;
        }
        at += (size_t)(n < 0 ? -n : n);
    }
    csi_str_add_bytes(out, bytes + kept, n_bytes - kept);
}
