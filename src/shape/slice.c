/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Slices are boxes in the index space of one global tensor. All offsets and
 * copies are in global indices: what a rank holds, what a file holds and what
 * both have in common are boxes in the same space.
 */
#include "cornstarch/shape.h"

#include "base/checked.h"

#include <inttypes.h>

cs_slice cs_slice_whole(const cs_shape *shape)
{
    cs_slice slice = {.n_dims = shape->n_dims};

    for (int32_t i = 0; i < shape->n_dims; i++) {
        slice.end[i] = shape->dim[i];
    }
    return slice;
}

cs_slice cs_slice_split(const cs_slice *slice, int32_t dim, int32_t n_parts,
                        int32_t index)
{
    cs_slice part = *slice;
    const int64_t n = slice->end[dim] - slice->begin[dim];
    const int64_t each = n / n_parts;
    const int64_t n_larger = n % n_parts;

    part.begin[dim] =
        slice->begin[dim] + index * each + csi_min_i64(index, n_larger);
    part.end[dim] = part.begin[dim] + each + (index < n_larger);
    return part;
}

cs_shape cs_slice_shape(const cs_slice *slice)
{
    cs_shape shape = {.n_dims = slice->n_dims};

    for (int32_t i = 0; i < slice->n_dims; i++) {
        shape.dim[i] = csi_max_i64(0, slice->end[i] - slice->begin[i]);
    }
    return shape;
}

int64_t cs_slice_count(const cs_slice *slice)
{
    const cs_shape shape = cs_slice_shape(slice);

    return cs_shape_count(&shape);
}

bool cs_slice_equal(const cs_slice *a, const cs_slice *b)
{
    if (a->n_dims != b->n_dims) {
        return false;
    }
    for (int32_t i = 0; i < a->n_dims; i++) {
        if (a->begin[i] != b->begin[i] || a->end[i] != b->end[i]) {
            return false;
        }
    }
    return true;
}

bool cs_slice_contains(const cs_slice *outer, const cs_slice *inner)
{
    if (outer->n_dims != inner->n_dims) {
        return false;
    }
    if (cs_slice_count(inner) == 0) {
        return true;
    }
    for (int32_t i = 0; i < outer->n_dims; i++) {
        if (inner->begin[i] < outer->begin[i] ||
            inner->end[i] > outer->end[i]) {
            return false;
        }
    }
    return true;
}

bool cs_slice_intersect(const cs_slice *a, const cs_slice *b, cs_slice *out)
{
    cs_slice common = {.n_dims = a->n_dims};

    if (a->n_dims != b->n_dims) {
        return false;
    }
    for (int32_t i = 0; i < a->n_dims; i++) {
        common.begin[i] = csi_max_i64(a->begin[i], b->begin[i]);
        common.end[i] = csi_min_i64(a->end[i], b->end[i]);
        if (common.begin[i] >= common.end[i]) {
            return false;
        }
    }
    *out = common;
    return true;
}

int64_t cs_slice_offset(const cs_slice *slice, const int64_t at[CS_MAX_DIMS])
{
    int64_t offset = 0;

    for (int32_t i = 0; i < slice->n_dims; i++) {
        offset = offset * (slice->end[i] - slice->begin[i]) +
                 (at[i] - slice->begin[i]);
    }
    return offset;
}

const char *cs_slice_print(const cs_slice *slice,
                           char text[CS_SHAPE_TEXT_BYTES])
{
    size_t length = 1;

    text[0] = '[';
    text[1] = '\0';
    for (int32_t i = 0; i < slice->n_dims && i < CS_MAX_DIMS; i++) {
        const size_t room = CS_SHAPE_TEXT_BYTES - length - 1;
        const int n_chars =
            snprintf(text + length, room, "%s%" PRId64 ":%" PRId64,
                     i == 0 ? "" : ", ", slice->begin[i], slice->end[i]);
        if (n_chars < 0 || (size_t)n_chars >= room) {
            length = CS_SHAPE_TEXT_BYTES - 2; /* huge numbers: cut short */
            break;
        }
        length += (size_t)n_chars;
    }
    text[length] = ']';
    text[length + 1] = '\0';
    return text;
}

/* Slice `last` has nothing in common with those before it. */
static cs_status check_disjoint(const cs_slice *slices, int64_t last)
{
    char text[CS_SHAPE_TEXT_BYTES];
    char other[CS_SHAPE_TEXT_BYTES];
    cs_slice common;

    for (int64_t i = 0; i < last; i++) {
        CS_CHECK(!cs_slice_intersect(&slices[i], &slices[last], &common),
                 CS_ERR_SHAPE, "slices %s and %s overlap",
                 cs_slice_print(&slices[i], text),
                 cs_slice_print(&slices[last], other));
    }
    return CS_OK;
}

cs_status cs_slices_tile(const cs_slice *whole, const cs_slice *slices,
                         int64_t n_slices)
{
    char text[CS_SHAPE_TEXT_BYTES];
    char other[CS_SHAPE_TEXT_BYTES];
    int64_t covered = 0;

    for (int64_t i = 0; i < n_slices; i++) {
        CS_CHECK(cs_slice_contains(whole, &slices[i]), CS_ERR_SHAPE,
                 "slice %s does not lie in %s",
                 cs_slice_print(&slices[i], text),
                 cs_slice_print(whole, other));
        CS_TRY(check_disjoint(slices, i));
        covered += cs_slice_count(&slices[i]);
    }
    CS_CHECK(covered == cs_slice_count(whole), CS_ERR_SHAPE,
             "%" PRId64 " slices cover %" PRId64 " of %" PRId64
             " elements of %s",
             n_slices, covered, cs_slice_count(whole),
             cs_slice_print(whole, text));
    return CS_OK;
}

static cs_status check_inside(const cs_slice *outer, const cs_slice *part,
                              const char *side)
{
    char text[CS_SHAPE_TEXT_BYTES];
    char other[CS_SHAPE_TEXT_BYTES];

    CS_CHECK(cs_slice_contains(outer, part), CS_ERR_SHAPE,
             "copy of %s: the %s holds %s", cs_slice_print(part, text), side,
             cs_slice_print(outer, other));
    return CS_OK;
}

/* Steps `at` to the next index of the dims before `n`; false after the last. */
static bool step_index(const cs_slice *part, int32_t n, int64_t at[CS_MAX_DIMS])
{
    for (int32_t i = n - 1; i >= 0; i--) {
        if (++at[i] < part->end[i]) {
            return true;
        }
        at[i] = part->begin[i];
    }
    return false;
}

cs_status csi_slice_copy(const void *src, const cs_slice *src_slice, void *dst,
                         const cs_slice *dst_slice, const cs_slice *part,
                         int64_t element_bytes)
{
    int64_t at[CS_MAX_DIMS];
    int64_t run = element_bytes; /* bytes that lie together in both buffers */
    int32_t n_outer = part->n_dims;

    CS_TRY(check_inside(src_slice, part, "source"));
    CS_TRY(check_inside(dst_slice, part, "destination"));
    if (cs_slice_count(part) == 0) {
        return CS_OK;
    }
    /* A dim joins the run while all dims behind it are whole on both sides. */
    for (bool is_whole = true; n_outer > 0 && is_whole;) {
        const int32_t i = --n_outer;
        const int64_t n = part->end[i] - part->begin[i];
        run *= n;
        is_whole = n == src_slice->end[i] - src_slice->begin[i] &&
                   n == dst_slice->end[i] - dst_slice->begin[i];
    }
    memcpy(at, part->begin, sizeof at);
    do {
        const int64_t from = cs_slice_offset(src_slice, at) * element_bytes;
        const int64_t to = cs_slice_offset(dst_slice, at) * element_bytes;
        memcpy((char *)dst + to, (const char *)src + from, (size_t)run);
    } while (step_index(part, n_outer, at));
    return CS_OK;
}
