/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CORNSTARCH_PARAM_H
#define CORNSTARCH_PARAM_H
/*
 * The parameters that one rank holds: the owner of weights, gradients and
 * optimizer state. A frozen parameter has a working copy and nothing else.
 *
 *     dtype  working       master          grad, m, v (trainable only)
 *     f32    f32           = working       f32
 *     f64    f64           = working       f64
 *     bf16   bf16          f32, trainable  f32
 *
 * A tied parameter shares the other's values. Where both are held, its memory
 * is the other's, and it has only a gradient of its own; held alone (another
 * rank has the other), it is a whole twin: the same initial values, the same
 * summed gradient, the same update.
 *
 * Initial values are a pure function of (seed, global name, element index), so
 * every layout starts from the same bits. Not thread-safe.
 */
#include "cornstarch/graph.h"
#include "cornstarch/tensor.h"

CS_BEGIN_DECLS

typedef struct cs_param_state {
    const cs_param *spec; /* borrowed from the graph */
    int64_t count;
    cs_tensor working;  /* owned memory, as all below */
    void *master;       /* real; = working.data unless bf16 */
    void *grad, *m, *v; /* real; NULL when frozen or not training */
    bool is_alias;      /* values and optimizer state are another item's */
} cs_param_state;

typedef struct cs_param_set {
    const cs_graph *graph; /* borrowed: must outlive the set */
    cs_dtype dtype, real;
    int32_t n;
    cs_param_state *items; /* owned, in graph order */
    int32_t *item_of;      /* owned: graph parameter -> item, -1 = not held */
} cs_param_set;

/* held[i] says whether graph parameter i lives on this rank. Without training
 * there are no gradients or optimizer states. Memory is zeroed. */
CS_API CS_NODISCARD cs_status cs_param_set_create(const cs_graph *graph,
                                                  const bool *held,
                                                  cs_dtype dtype,
                                                  bool is_training,
                                                  cs_param_set **out);
CS_API void cs_param_set_destroy(cs_param_set **set);
/* Initial values of one parameter, in master and working copy. */
CS_API void cs_param_init(cs_param_set *set, int32_t item, uint64_t seed);
CS_API void cs_param_set_init(cs_param_set *set, uint64_t seed); /* all */
CS_API void cs_param_set_zero_grads(cs_param_set *set);
/* Sets item's values from count elements of src_dtype (f32 f64 bf16 f16). */
CS_API CS_NODISCARD cs_status cs_param_store(cs_param_set *set, int32_t item,
                                             cs_dtype src_dtype,
                                             const void *src);
/* Item of a graph parameter; NULL when it is not held here. */
CS_API cs_param_state *cs_param_find(const cs_param_set *set,
                                     int32_t graph_param);
/* Bytes held: working, master, gradients, optimizer. */
typedef struct cs_param_bytes {
    int64_t working, master, grads, optimizer;
} cs_param_bytes;
CS_API cs_param_bytes cs_param_set_bytes(const cs_param_set *set);

/* How files hold a parameter (cs_param_layout): as cs_param_file_count()
 * tensors, 1 or one per expert, each with a name and a shape of its own. */
CS_API int32_t cs_param_file_count(const cs_param *param);
/* Errors: ARG when the name does not fit into name_bytes. */
CS_API CS_NODISCARD cs_status cs_param_file_tensor(const cs_param *param,
                                                   int32_t index, char *name,
                                                   size_t name_bytes,
                                                   cs_shape *shape);
/* Copies file tensor `index`, elements of any type, to its places in the whole
 * parameter, and back. The two may not overlap. */
CS_API void cs_param_from_file(const cs_graph *graph, const cs_param *param,
                               int32_t index, size_t element_bytes,
                               const void *stored, void *memory);
CS_API void cs_param_to_file(const cs_graph *graph, const cs_param *param,
                             int32_t index, size_t element_bytes,
                             const void *memory, void *stored);

CS_END_DECLS
#endif
