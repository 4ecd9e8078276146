/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_AUTOGRAD_MOE_H
#define CS_AUTOGRAD_MOE_H
/*
 * A mixture of experts as one record. Every choice (row, expert) is a slot;
 * slots are ordered by expert and then by row, so that each expert works on
 * one range of rows and sums over rows run in one order:
 *
 *     x [rows] -- row_S --> [slots] gate, up, h, out -- slot_TK --> y [rows]
 *                  begin_E: range of each expert
 *
 * There are rows x top_k slots whatever the router says: only the ranges
 * depend on the data.
 */
#include "record.h"

/* One of the three products of the experts. */
typedef struct csi_moe_product {
    cs_weight w; /* [experts, out, in] */
    int64_t in, out;
    void *dy; /* set by the input half for the weight half: [slots, out] */
} csi_moe_product;

struct csi_moe {
    cs_tape_moe_args args; /* its weights are in the fields below */
    cs_weight router;
    csi_moe_product gate, up, down;
    int64_t rows, slots, columns, hidden;

    /* Whose gradients somebody needs: */
    bool needs_choice; /* the router's weights */
    bool needs_out;    /* the experts' results */
    bool needs_hidden; /* what is inside of the experts */

    void *p_TE;         /* real */
    int32_t *expert_TK; /* chosen */
    void *weight_TK;    /* real */
    int64_t *begin_E;   /* [experts + 1] slots of each expert */
    int32_t *row_S;     /* row of a slot */
    int32_t *slot_TK;   /* slot of a choice */
    void *gate_S, *up_S, *h_S, *out_S;
    void *dlogits_TE; /* set by the input half for the weight half */
    bool has_slopes;  /* the input half was here */
};
typedef struct csi_moe csi_moe;

/* dp of the balance loss, real [rows, experts], 0 outside of documents. */
CS_NODISCARD cs_status csi_moe_balance_slopes(cs_tape *tape, const csi_moe *m,
                                              void **dp_TE);
/* Adds the balance loss of the rows to *sum. */
CS_NODISCARD cs_status csi_moe_add_balance(cs_tape *tape, const csi_moe *m,
                                           double *sum);
/* Rows of x by slot, temporary. */
CS_NODISCARD cs_status csi_moe_gather(cs_tape *tape, const csi_moe *m,
                                      const cs_value *x, void **x_S);
#endif
