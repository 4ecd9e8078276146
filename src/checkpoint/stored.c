/* SPDX-License-Identifier: Apache-2.0 */
/* Reading tensors out of a step folder, box by box. */
#include "stored.h"

#include "base/alloc.h"
#include "base/file.h"

#include "folders.h"

#include <inttypes.h>
#include <string.h>

static cs_status open_folder(const char *checkpoints, int64_t step,
                             csi_stored **out)
{
    cs_status st = CS_OK;
    csi_stored *s = csi_calloc(1, sizeof *s);

    CS_CHECK(s != NULL, CS_ERR_NOMEM, "checkpoint of step %" PRId64, step);
    csi_manifest_init(&s->manifest);
    s->checkpoints = csi_strdup(checkpoints);
    CS_CHECK_GOTO(undo, s->checkpoints != NULL, CS_ERR_NOMEM,
                  "checkpoint of step %" PRId64, step);
    CS_TRY_GOTO(undo, csi_step_folder(checkpoints, step, "", &s->folder));
    CS_TRY_GOTO(undo, csi_manifest_read(s->folder, &s->manifest));
    CS_CHECK_GOTO(undo, s->manifest.step == step, CS_ERR_FORMAT,
                  "%s: its manifest is of step %" PRId64, s->folder,
                  s->manifest.step);
    s->files = csi_calloc((size_t)s->manifest.n_files + 1, sizeof(void *));
    CS_CHECK_GOTO(undo, s->files != NULL, CS_ERR_NOMEM, "%s", s->folder);
    *out = s;
    return CS_OK;
undo:
    csi_stored_close(&s);
    return st;
}

void csi_stored_close(csi_stored **stored)
{
    csi_stored *s = *stored;

    if (s == NULL) {
        return;
    }
    for (int32_t i = 0; i < s->n_refs; i++) {
        csi_stored_close(&s->refs[i]); /* one level deep, by resolve */
    }
    for (int32_t i = 0; s->files != NULL && i < s->manifest.n_files; i++) {
        cs_safetensors_close(&s->files[i]);
    }
    csi_free(s->refs);
    csi_free(s->files);
    csi_manifest_fini(&s->manifest);
    csi_free(s->folder);
    csi_free(s->checkpoints);
    csi_free(s);
    *stored = NULL;
}

static cs_status find_ref(csi_stored *s, int64_t step, csi_stored **out)
{
    for (int32_t i = 0; i < s->n_refs; i++) {
        if (s->refs[i]->manifest.step == step) {
            *out = s->refs[i];
            return CS_OK;
        }
    }
    csi_stored **refs =
        csi_realloc(s->refs, ((size_t)s->n_refs + 1) * sizeof(void *));

    CS_CHECK(refs != NULL, CS_ERR_NOMEM, "%s", s->folder);
    s->refs = refs;
    CS_TRY(open_folder(s->checkpoints, step, &refs[s->n_refs]));
    *out = refs[s->n_refs++];
    return CS_OK;
}

cs_status csi_stored_resolve(csi_stored *s, const csi_stored_tensor *tensor,
                             csi_stored **where, const csi_stored_tensor **out)
{
    csi_stored *ref = s;
    const csi_stored_tensor *found = tensor;

    if (tensor->ref_step > 0) {
        CS_TRY(find_ref(s, tensor->ref_step, &ref));
        found = csi_stored_find(&ref->manifest.tensors, tensor->name);
        CS_CHECK(found != NULL && found->n_slices > 0 &&
                     cs_shape_equal(&found->shape, &tensor->shape),
                 CS_ERR_FORMAT, "%s: %s is said to be in %s, but is not",
                 s->folder, tensor->name, ref->folder);
    }
    CS_CHECK(found->n_slices > 0, CS_ERR_FORMAT, "%s: %s has no slices",
             s->folder, tensor->name);
    *where = ref;
    *out = found;
    return CS_OK;
}

/* Verifies the files that the tensors of older steps are in. */
static cs_status verify_refs(csi_stored *s)
{
    for (int64_t t = 0; t < s->manifest.tensors.n; t++) {
        const csi_stored_tensor *tensor = &s->manifest.tensors.tensors[t];
        csi_stored *ref = NULL;
        const csi_stored_tensor *found = NULL;
        if (tensor->ref_step == 0) {
            continue;
        }
        CS_TRY(csi_stored_resolve(s, tensor, &ref, &found));
        for (int32_t k = 0; k < found->n_slices; k++) {
            const int32_t file = found->slices[k].file;
            /* n_bytes < 0 marks a file of an older step as verified. */
            if (ref->manifest.files[file].n_bytes >= 0) {
                CS_TRY(csi_stored_file_verify(ref->folder,
                                              &ref->manifest.files[file]));
                ref->manifest.files[file].n_bytes = -1;
            }
        }
    }
    return CS_OK;
}

cs_status csi_stored_open(const char *checkpoints, int64_t step,
                          csi_stored **out)
{
    cs_status st = CS_OK;
    csi_stored *s = NULL;

    CS_TRY(open_folder(checkpoints, step, &s));
    for (int32_t i = 0; i < s->manifest.n_files; i++) {
        CS_TRY_GOTO(undo,
                    csi_stored_file_verify(s->folder, &s->manifest.files[i]));
    }
    CS_CHECK_GOTO(undo,
                  csi_manifest_find_file(&s->manifest, CSI_STATE_FILE) >= 0,
                  CS_ERR_FORMAT, "%s: its manifest lists no %s", s->folder,
                  CSI_STATE_FILE);
    CS_TRY_GOTO(undo, verify_refs(s));
    *out = s;
    return CS_OK;
undo:
    csi_stored_close(&s);
    return st;
}

static cs_status open_file(csi_stored *s, int32_t file)
{
    char *path = NULL;

    if (s->files[file] != NULL) {
        return CS_OK;
    }
    CS_TRY(csi_path_join(s->folder, s->manifest.files[file].name, &path));
    const cs_status st = cs_safetensors_open(path, &s->files[file]);

    csi_free(path);
    CS_TRY(st);
    return CS_OK;
}

/* One slice into the box `whole` at dst. A slice that is all of it, the
 * common case, is read in place. */
static cs_status read_slice(csi_stored *s, const csi_stored_slice *part,
                            const char *name, const cs_slice *whole,
                            cs_dtype dtype, void *dst)
{
    cs_status st = CS_OK;
    const cs_safetensor *stored = NULL;
    const cs_shape shape = cs_slice_shape(&part->slice);
    const int64_t each = (int64_t)cs_dtype_bytes(dtype);
    void *staged = NULL;

    CS_TRY(open_file(s, part->file));
    CS_TRY(cs_safetensors_require(s->files[part->file], name, &shape, &stored));
    if (cs_slice_equal(&part->slice, whole)) {
        return cs_safetensors_read(stored, NULL, dtype, dst);
    }
    staged = csi_aligned((size_t)(cs_slice_count(&part->slice) * each));
    CS_CHECK(staged != NULL, CS_ERR_NOMEM, "%s: a slice of %s", s->folder,
             name);
    CS_TRY_GOTO(done, cs_safetensors_read(stored, NULL, dtype, staged));
    CS_TRY_GOTO(done, csi_slice_copy(staged, &part->slice, dst, whole,
                                     &part->slice, each));
done:
    csi_free(staged);
    return st;
}

cs_status csi_stored_read(csi_stored *s, const csi_stored_tensor *tensor,
                          const char *name, cs_dtype dtype, void *dst)
{
    const cs_slice whole = cs_slice_whole(&tensor->shape);

    for (int32_t i = 0; i < tensor->n_slices; i++) {
        CS_TRY(read_slice(s, &tensor->slices[i], name, &whole, dtype, dst));
    }
    return CS_OK;
}
