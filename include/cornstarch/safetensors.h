/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_SAFETENSORS_H
#define CORNSTARCH_SAFETENSORS_H
/*
 * Hugging Face's safetensors: named tensors in one mapped file, or in several
 * that an index names. Opening checks everything (offsets, holes, overlaps,
 * shapes, names), so that what is found afterwards can be used unseen. Knows
 * nothing of models. An open file is immutable: share it between threads.
 */
#include "cornstarch/shape.h"
#include "cornstarch/status.h"

CS_BEGIN_DECLS

typedef struct cs_safetensors cs_safetensors;

/* One tensor. All pointers are borrowed from the open file. */
typedef struct cs_safetensor {
    const char *name;
    const char *path; /* of the file that holds it */
    cs_dtype dtype;   /* CS_DTYPE_COUNT: a type that only other programs read */
    const char *dtype_name; /* "f32"; of a foreign type the file's word */
    cs_shape shape;
    const void *data; /* in the map; foreign files may leave it unaligned, so
                         read it through cs_safetensors_read() or memcpy */
    int64_t n_bytes;
} cs_safetensor;

/* One file. */
CS_API CS_NODISCARD cs_status cs_safetensors_open(const char *path,
                                                  cs_safetensors **out);
/* model.safetensors in `folder`, or else the files that its
 * model.safetensors.index.json names. UNSUPPORTED where there are only weights
 * pickled by PyTorch. */
CS_API CS_NODISCARD cs_status cs_safetensors_open_folder(const char *folder,
                                                         cs_safetensors **out);
/* Accepts NULL; nulls the pointer. */
CS_API void cs_safetensors_close(cs_safetensors **file_holder);

/* The path or folder it was opened with. */
CS_API const char *cs_safetensors_path(const cs_safetensors *file);
CS_API int64_t cs_safetensors_count(const cs_safetensors *file);
/* In the order of the data. */
CS_API const cs_safetensor *cs_safetensors_at(const cs_safetensors *file,
                                              int64_t i);
/* NULL when there is none of this name. */
CS_API const cs_safetensor *cs_safetensors_find(const cs_safetensors *file,
                                                const char *name);
/* Finds or fails, and checks the shape (NULL = any), with a sentence that
 * names file, tensor, wanted and got. */
CS_API CS_NODISCARD cs_status cs_safetensors_require(const cs_safetensors *file,
                                                     const char *name,
                                                     const cs_shape *shape,
                                                     const cs_safetensor **out);
/* A value of __metadata__, or NULL. */
CS_API const char *cs_safetensors_metadata(const cs_safetensors *file,
                                           const char *key);

/* Copies the box `slice` (NULL = all) of a tensor into dst, which holds
 * exactly that box, row-major, as `dtype`. Converts between float types only;
 * a tensor of the same type is copied bit by bit. UNSUPPORTED for a tensor of
 * a foreign type. */
CS_API CS_NODISCARD cs_status cs_safetensors_read(const cs_safetensor *tensor,
                                                  const cs_slice *slice,
                                                  cs_dtype dtype, void *dst);

typedef struct cs_safetensors_pair {
    const char *key;
    const char *value;
} cs_safetensors_pair;

/*
 * Writing: declare all tensors, then give the data in that order, in as many
 * pieces as wanted; commit puts the whole file in place or none of it.
 *
 *     create -> add, add, ... -> write, write, ... -> commit -> destroy
 */
typedef struct cs_safetensors_writer cs_safetensors_writer;

/* `metadata` is copied. Other programs want {"format", "pt"} in it. */
CS_API CS_NODISCARD cs_status
cs_safetensors_writer_create(const char *path,
                             const cs_safetensors_pair *metadata,
                             int64_t n_metadata, cs_safetensors_writer **out);
/* Wider element types first: data that would begin unaligned is refused. */
CS_API CS_NODISCARD cs_status
cs_safetensors_writer_add(cs_safetensors_writer *writer, const char *name,
                          cs_dtype dtype, const cs_shape *shape);
/* The next bytes of `name`: the tensor begun last, or the next one (those of
 * zero bytes may be passed over). */
CS_API CS_NODISCARD cs_status
cs_safetensors_writer_write(cs_safetensors_writer *writer, const char *name,
                            const void *data, int64_t n_bytes);
CS_API CS_NODISCARD cs_status
cs_safetensors_writer_commit(cs_safetensors_writer *writer);
CS_API void
cs_safetensors_writer_destroy(cs_safetensors_writer **writer_holder);

CS_END_DECLS
#endif
