/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PNG through libpng's row interface: palette, gray, alpha, 16 bit (its high
 * byte, as Pillow does) and interlaced files all become RGB, transparent
 * pixels on white. libpng leaves by longjmp, so everything that must survive
 * it lives in one struct that the caller of setjmp owns, and libpng allocates
 * through alloc.h, so that a failed allocation is known as one.
 */
#include "image.h"

#if CS_HAVE_PNG

#    include "base/alloc.h"

#    include <inttypes.h>
#    include <png.h>
#    include <setjmp.h>
#    include <stdio.h>
#    include <string.h>

enum {
    PNG_HEADER_BYTES = 33, /* signature and the whole IHDR chunk */
    PNG_MAX_CHUNKS = 256,
    PNG_MAX_CHUNK_BYTES = 1 << 20,
    DEFLATE_MAX_RATIO = 1032 /* no deflate stream grows by more */
};

typedef struct png_job {
    const csi_image_source *source;
    size_t position;
    csi_image_size size;
    uint8_t *rgb;   /* borrowed */
    uint8_t *rgba;  /* owned: rows with alpha before they go on white */
    uint8_t **rows; /* owned */
    png_structp png;
    png_infop info;
    bool is_out_of_memory;
    char message[160];
} png_job;

static uint32_t read_u32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 |
           p[3];
}

static cs_status read_size(const csi_image_source *source, csi_image_size *out)
{
    const uint8_t *const p = source->bytes;

    CS_CHECK(source->n_bytes >= PNG_HEADER_BYTES, CS_ERR_FORMAT,
             "%s: PNG file of %zu bytes, wanted at least the %d of its header",
             source->where, source->n_bytes, PNG_HEADER_BYTES);
    CS_CHECK(read_u32(p + 8) == 13 && memcmp(p + 12, "IHDR", 4) == 0,
             CS_ERR_FORMAT, "%s: PNG file that does not begin with IHDR",
             source->where);
    const uint32_t width = read_u32(p + 16);
    const uint32_t height = read_u32(p + 20);
    CS_CHECK(width <= INT32_MAX && height <= INT32_MAX, CS_ERR_FORMAT,
             "%s: PNG picture of %" PRIu32 " x %" PRIu32 " pixels, wanted at "
             "most %d a side",
             source->where, width, height, CSI_IMAGE_MAX_SIDE);
    out->width = (int32_t)width;
    out->height = (int32_t)height;
    return CS_OK;
}

static void on_error(png_structp png, png_const_charp message)
{
    png_job *const job = png_get_error_ptr(png);

    (void)snprintf(job->message, sizeof job->message, "%s", message);
    png_longjmp(png, 1);
}

static void on_warning(png_structp png, png_const_charp message)
{
    (void)png;
    (void)message;
}

static png_voidp on_malloc(png_structp png, png_alloc_size_t n_bytes)
{
    png_job *const job = png_get_mem_ptr(png);
    void *const p = csi_malloc(n_bytes);

    if (p == NULL) {
        job->is_out_of_memory = true;
    }
    return p;
}

static void on_free(png_structp png, png_voidp p)
{
    (void)png;
    csi_free(p);
}

static void on_read(png_structp png, png_bytep to, size_t n_bytes)
{
    png_job *const job = png_get_io_ptr(png);

    if (n_bytes > job->source->n_bytes - job->position) {
        png_error(png, "the file ends too early");
    }
    memcpy(to, job->source->bytes + job->position, n_bytes);
    job->position += n_bytes;
}

/* Asks for 8-bit RGB or RGBA rows; returns whether they have alpha. */
static bool set_transforms(png_structp png, png_infop info)
{
    const int color = png_get_color_type(png, info);
    const bool has_alpha = (color & PNG_COLOR_MASK_ALPHA) != 0 ||
                           png_get_valid(png, info, PNG_INFO_tRNS) != 0;

    png_set_strip_16(png);
    png_set_expand(png);
    if ((color & PNG_COLOR_MASK_COLOR) == 0) {
        png_set_gray_to_rgb(png);
    }
    (void)png_set_interlace_handling(png);
    png_read_update_info(png, info);
    return has_alpha;
}

/* A file cannot hold more pixels than its bytes can inflate to; those that
 * claim more are refused before their rows are allocated. */
static void check_ratio(png_job *job)
{
    const size_t row_bytes = png_get_rowbytes(job->png, job->info);
    const double raw = (double)row_bytes * job->size.height;

    if (raw > (double)job->source->n_bytes * DEFLATE_MAX_RATIO) {
        png_error(job->png, "more pixels than the file's bytes can hold");
    }
}

static void allocate_rows(png_job *job, bool has_alpha)
{
    const size_t height = (size_t)job->size.height;
    const size_t row_bytes = (size_t)job->size.width * (has_alpha ? 4 : 3);
    uint8_t *base = job->rgb;

    if (png_get_rowbytes(job->png, job->info) != row_bytes) {
        png_error(job->png, "unexpected row size");
    }
    if (has_alpha) {
        job->rgba = csi_malloc(height * row_bytes);
        base = job->rgba;
    }
    job->rows = csi_calloc(height, sizeof *job->rows);
    if (base == NULL || job->rows == NULL) {
        job->is_out_of_memory = true;
        png_error(job->png, "no memory");
    }
    for (size_t y = 0; y < height; y++) {
        job->rows[y] = base + y * row_bytes;
    }
}

static void put_on_white(const uint8_t *rgba, size_t n_pixels, uint8_t *rgb)
{
    for (size_t i = 0; i < n_pixels; i++) {
        for (size_t c = 0; c < 3; c++) {
            rgb[i * 3 + c] =
                csi_image_on_white(rgba[i * 4 + c], rgba[i * 4 + 3]);
        }
    }
}

/* May leave by longjmp at any call to libpng. */
static void read_picture(png_job *job)
{
    png_set_read_fn(job->png, job, on_read);
    png_set_user_limits(job->png, CSI_IMAGE_MAX_SIDE, CSI_IMAGE_MAX_SIDE);
    png_set_chunk_cache_max(job->png, PNG_MAX_CHUNKS);
    png_set_chunk_malloc_max(job->png, PNG_MAX_CHUNK_BYTES);
    png_read_info(job->png, job->info);
    check_ratio(job);
    const bool has_alpha = set_transforms(job->png, job->info);
    allocate_rows(job, has_alpha);
    png_read_image(job->png, job->rows);
    png_read_end(job->png, NULL);
    if (has_alpha) {
        put_on_white(job->rgba,
                     (size_t)job->size.width * (size_t)job->size.height,
                     job->rgb);
    }
}

static void run_job(png_job *job)
{
    job->png = png_create_read_struct_2(PNG_LIBPNG_VER_STRING, job, on_error,
                                        on_warning, job, on_malloc, on_free);
    if (job->png == NULL) {
        job->is_out_of_memory = true;
        return;
    }
    if (setjmp(png_jmpbuf(job->png)) != 0) {
        return;
    }
    job->info = png_create_info_struct(job->png);
    if (job->info == NULL) {
        job->is_out_of_memory = true;
        return;
    }
    read_picture(job);
}

static cs_status read_pixels(const csi_image_source *source,
                             csi_image_size size, uint8_t *rgb)
{
    png_job job = {.source = source, .size = size};

    job.rgb = rgb;
    run_job(&job);
    png_destroy_read_struct(&job.png, &job.info, NULL);
    csi_free(job.rgba);
    csi_free(job.rows);
    CS_CHECK(!job.is_out_of_memory, CS_ERR_NOMEM,
             "%s: no memory to decode a PNG picture of %" PRId32 " x %" PRId32
             " pixels",
             source->where, size.width, size.height);
    CS_CHECK(job.message[0] == '\0', CS_ERR_FORMAT,
             "%s: broken PNG picture: %s", source->where, job.message);
    return CS_OK;
}

#else

static cs_status read_size(const csi_image_source *source, csi_image_size *out)
{
    (void)out;
    return CS_FAIL(CS_ERR_UNSUPPORTED,
                   "unsupported: %s is a PNG picture, and this program was "
                   "built without libpng",
                   source->where);
}

static cs_status read_pixels(const csi_image_source *source,
                             csi_image_size size, uint8_t *rgb)
{
    (void)size;
    (void)rgb;
    csi_image_size ignored;

    return read_size(source, &ignored);
}

#endif

const csi_image_format csi_image_png = {.name = "PNG",
                                        .size = read_size,
                                        .pixels = read_pixels};
