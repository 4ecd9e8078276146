/* SPDX-License-Identifier: Apache-2.0 */
/*
 * TensorBoard event files, encoded by hand: a file is a row of TFRecords
 * (length, checksum, bytes, checksum), each one Event message of protobuf with
 * a scalar in it. Four fields do not pay for a protobuf library. Every record
 * is one append, so a run that dies leaves whole records.
 */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/file.h"

#include "internal.h"

#include <inttypes.h>
#include <string.h>

enum {
    HOST_BYTES = 64,
    MAX_TAG_BYTES = 256,
    RECORD_BYTES = 512
};

struct cs_tensorboard {
    char *path; /* owned */
};

/* ---- checksums ---- */

uint32_t csi_crc32c(const void *data, size_t n_bytes)
{
    const uint8_t *at = data;
    uint32_t crc = 0xffffffffU;

    for (size_t i = 0; i < n_bytes; i++) {
        crc ^= at[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ ((crc & 1U) != 0 ? 0x82f63b78U : 0U);
        }
    }
    return ~crc;
}

/* TFRecord rotates and shifts its checksums, because the checksum of data
 * that carries its own checksum would say nothing. */
static uint32_t mask_crc(uint32_t crc)
{
    return ((crc >> 15) | (crc << 17)) + 0xa282ead8U;
}

/* ---- bytes ---- */

/* Callers bound what they put: MAX_TAG_BYTES and the fixed fields fit. */
typedef struct bytes {
    uint8_t data[RECORD_BYTES];
    size_t n;
} bytes;

static void put_little_endian(bytes *b, uint64_t value, int n_bytes)
{
    for (int i = 0; i < n_bytes; i++) {
        b->data[b->n++] = (uint8_t)(value >> (8 * i));
    }
}

static void put_varint(bytes *b, uint64_t value)
{
    while (value >= 0x80) {
        b->data[b->n++] = (uint8_t)(value | 0x80);
        value >>= 7;
    }
    b->data[b->n++] = (uint8_t)value;
}

static void put_raw(bytes *b, const void *data, size_t n_bytes)
{
    memcpy(b->data + b->n, data, n_bytes);
    b->n += n_bytes;
}

/* Protobuf: field number and wire type in one byte. */
enum {
    EVENT_WALL_TIME = 1 << 3 | 1,    /* double */
    EVENT_STEP = 2 << 3 | 0,         /* int64 */
    EVENT_FILE_VERSION = 3 << 3 | 2, /* string */
    EVENT_SUMMARY = 5 << 3 | 2,      /* message */
    SUMMARY_VALUE = 1 << 3 | 2,      /* message */
    VALUE_TAG = 1 << 3 | 2,          /* string */
    VALUE_SIMPLE = 2 << 3 | 5        /* float */
};

static void put_block(bytes *b, int field, const void *data, size_t n_bytes)
{
    put_varint(b, (uint64_t)field);
    put_varint(b, n_bytes);
    put_raw(b, data, n_bytes);
}

static void put_wall_time(bytes *b)
{
    const double now_s = csi_wall_s();
    uint64_t bits = 0;

    memcpy(&bits, &now_s, sizeof bits);
    put_varint(b, EVENT_WALL_TIME);
    put_little_endian(b, bits, 8);
}

static cs_status append_record(const char *path, const bytes *event)
{
    bytes record = {.n = 0};

    put_little_endian(&record, event->n, 8);
    put_little_endian(&record, mask_crc(csi_crc32c(record.data, 8)), 4);
    put_raw(&record, event->data, event->n);
    put_little_endian(&record, mask_crc(csi_crc32c(event->data, event->n)), 4);
    CS_TRY(csi_file_append(path, record.data, record.n));
    return CS_OK;
}

/* ---- the file ---- */

/* The machine's name as a part of a file name; "localhost" where the kernel
 * does not tell it. */
static cs_status read_host(char out[HOST_BYTES])
{
    char *text = NULL;
    size_t n_bytes = 0;
    const cs_status st =
        csi_file_read("/proc/sys/kernel/hostname", HOST_BYTES, &text, &n_bytes);
    size_t n = 0;

    if (st == CS_ERR_IO || st == CS_ERR_FORMAT) {
        cs_error_clear();
    } else {
        CS_TRY(st);
    }
    for (size_t i = 0; i < n_bytes && n < HOST_BYTES - 1; i++) {
        const char c = text[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
            (c >= '0' && c <= '9') || c == '-') {
            out[n++] = c;
        }
    }
    out[n] = '\0';
    if (n == 0) {
        memcpy(out, "localhost", sizeof "localhost");
    }
    csi_free(text);
    return CS_OK;
}

static cs_status write_version(const char *path)
{
    static const char VERSION[] = "brain.Event:2";
    bytes event = {.n = 0};

    put_wall_time(&event);
    put_block(&event, EVENT_FILE_VERSION, VERSION, sizeof VERSION - 1);
    CS_TRY(append_record(path, &event));
    return CS_OK;
}

cs_status cs_tensorboard_create(const char *folder, cs_tensorboard **out)
{
    char host[HOST_BYTES];
    csi_str name = {0};
    cs_status st = CS_OK;
    cs_tensorboard *board = csi_calloc(1, sizeof *board);

    CS_CHECK(board != NULL, CS_ERR_NOMEM, "tensorboard");
    CS_TRY_GOTO(undo, read_host(host));
    csi_str_addf(&name, "events.out.tfevents.%" PRId64 ".%s.cornstarch",
                 (int64_t)csi_wall_s(), host);
    CS_TRY_GOTO(undo, csi_str_check(&name));
    CS_TRY_GOTO(undo, csi_dir_create(folder));
    CS_TRY_GOTO(undo, csi_path_join(folder, name.data, &board->path));
    CS_TRY_GOTO(undo, write_version(board->path));
    csi_str_fini(&name);
    *out = board;
    return CS_OK;
undo:
    csi_str_fini(&name);
    cs_tensorboard_destroy(&board);
    return st;
}

cs_status cs_tensorboard_scalar(cs_tensorboard *board, const char *tag,
                                int64_t step, double value)
{
    const float narrow = (float)value;
    const size_t n_tag = strlen(tag);
    uint32_t bits = 0;
    bytes inner = {.n = 0};
    bytes summary = {.n = 0};
    bytes event = {.n = 0};

    CS_CHECK(n_tag > 0 && n_tag <= MAX_TAG_BYTES, CS_ERR_ARG,
             "tensorboard: wanted a tag of 1 to %d bytes, got %zu",
             MAX_TAG_BYTES, n_tag);
    memcpy(&bits, &narrow, sizeof bits);
    put_block(&inner, VALUE_TAG, tag, n_tag);
    put_varint(&inner, VALUE_SIMPLE);
    put_little_endian(&inner, bits, 4);
    put_block(&summary, SUMMARY_VALUE, inner.data, inner.n);
    put_wall_time(&event);
    put_varint(&event, EVENT_STEP);
    put_varint(&event, (uint64_t)step);
    put_block(&event, EVENT_SUMMARY, summary.data, summary.n);
    CS_TRY(append_record(board->path, &event));
    return CS_OK;
}

void cs_tensorboard_destroy(cs_tensorboard **board)
{
    if (*board != NULL) {
        csi_free((*board)->path);
        csi_free(*board);
        *board = NULL;
    }
}
