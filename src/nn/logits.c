/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Logits of every row, for whoever compares models: never whole, because rows
 * x vocabulary is the largest thing there is. The same product as everywhere
 * else, so what is seen here is what generation sees.
 */
#include "base/checked.h"

#include "layer.h"

#include <math.h>

enum {
    CHUNK_VALUES = 1 << 22
};

/* cap * tanh(x / cap), as the loss caps them (Gemma 2, section 2). */
static void cap_logits(float *logits, int64_t count, double cap)
{
    for (int64_t i = 0; i < count; i++) {
        logits[i] = (float)(cap * tanh((double)logits[i] / cap));
    }
}

cs_status csi_stream_logits(const csi_layer_run *run, const cs_value *y)
{
    const cs_nn_batch *batch = run->nn->batch;
    cs_tape *tape = run->nn->tape;
    const cs_dtype dtype = cs_tape_dtype(tape);
    const int64_t rows = cs_tensor_rows(&y->t);
    cs_weight w;
    void *values = NULL;
    void *floats = NULL;

    CS_CHECK(csi_layer_weight(run, CS_SLOT_HEAD_W, &w), CS_ERR_INTERNAL,
             "the head is not held here");
    const int64_t vocab = cs_tensor_rows(&w.w);
    const int64_t chunk =
        csi_min_i64(rows, csi_max_i64(1, CHUNK_VALUES / vocab));

    CS_TRY(cs_tape_alloc(tape, CS_KEEP_TEMP,
                         (size_t)(chunk * vocab) * cs_dtype_bytes(dtype),
                         &values));
    CS_TRY(cs_tape_alloc(tape, CS_KEEP_TEMP,
                         (size_t)(chunk * vocab) * sizeof(float), &floats));
    for (int64_t first = 0; first < rows; first += chunk) {
        const int64_t n = csi_min_i64(chunk, rows - first);
        const cs_tensor x = cs_tensor_row_view(&y->t, first, first + n);
        const cs_linear_args args = {
            .dtype = dtype,
            .rows = n,
            .in = cs_tensor_columns(&x),
            .out = vocab,
            .x_TI = x.data,
            .w_OI = w.w.data,
            .y_TO = values,
        };
        CS_TRY(cs_op_linear(cs_tape_backend(tape), &args));
        CS_TRY(csi_dtype_convert(values, dtype, floats, CS_F32, n * vocab));
        if (run->layer->logit_softcap > 0.0) {
            cap_logits(floats, n * vocab, run->layer->logit_softcap);
        }
        CS_TRY(batch->on_logits(batch->logits_context, first, n, floats));
    }
    return CS_OK;
}
