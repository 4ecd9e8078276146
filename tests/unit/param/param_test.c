/* SPDX-License-Identifier: Apache-2.0 */
/* What a rank holds of the parameters, and how values get in. */
#include "cornstarch/param.h"

#include "base/alloc.h"
#include "base/rng.h"

#include "test.h"

#include <math.h>

enum {
    N_PARAMS = 5
};

static const struct spec {
    const char *name;
    cs_shape shape;
    cs_init_kind init;
    bool is_trainable;
} SPECS[N_PARAMS] = {
    {"vision.stem", {3, {4, 3, 2}}, CS_INIT_NORMAL, true},
    {"vision.positions", {2, {7, 6}}, CS_INIT_SINUSOID, false},
    {"vision.norm", {1, {6}}, CS_INIT_ONES, true},
    {"lm.bias", {1, {5}}, CS_INIT_ZEROS, true},
    {"lm.frozen", {2, {3, 5}}, CS_INIT_NORMAL, false},
};

static cs_graph *make_graph(void)
{
    cs_graph *g = csi_calloc(1, sizeof *g);

    g->params = csi_calloc(N_PARAMS, sizeof *g->params);
    g->n_params = N_PARAMS;
    for (int i = 0; i < N_PARAMS; i++) {
        g->params[i] = (cs_param){
            .name = csi_strdup(SPECS[i].name),
            .global_name = csi_strdup(SPECS[i].name),
            .shape = SPECS[i].shape,
            .init = SPECS[i].init,
            .init_std = 0.25,
            .is_trainable = SPECS[i].is_trainable,
            .tied_to = -1,
        };
    }
    return g;
}

static const bool ALL[N_PARAMS] = {true, true, true, true, true};

static void frozen_parameters_have_nothing_but_a_working_copy(void **state)
{
    (void)state;
    static const cs_dtype DTYPES[] = {CS_F32, CS_F64, CS_BF16};
    cs_graph *g = make_graph();

    for (int d = 0; d < 3; d++) {
        cs_param_set *set = NULL;
        assert_ok(cs_param_set_create(g, ALL, DTYPES[d], true, &set));
        assert_int_equal(set->real, d == 1 ? CS_F64 : CS_F32);
        for (int32_t i = 0; i < set->n; i++) {
            const cs_param_state *p = &set->items[i];
            const bool trained = p->spec->is_trainable;
            assert_non_null(p->working.data);
            assert_int_equal(p->grad != NULL, trained);
            assert_int_equal(p->m != NULL, trained);
            assert_int_equal(p->v != NULL, trained);
            if (d < 2) {
                assert_ptr_equal(p->master, p->working.data);
            } else {
                assert_int_equal(p->master != NULL, trained);
                assert_ptr_not_equal(p->master, p->working.data);
            }
        }
        const cs_param_bytes bytes = cs_param_set_bytes(set);
        const int64_t trained = 24 + 6 + 5;
        const int64_t all = trained + 42 + 15;
        const int64_t real = (int64_t)cs_dtype_bytes(set->real);
        assert_int_equal(bytes.working,
                         all * (int64_t)cs_dtype_bytes(set->dtype));
        assert_int_equal(bytes.master, d < 2 ? 0 : trained * real);
        assert_int_equal(bytes.grads, trained * real);
        assert_int_equal(bytes.optimizer, 2 * trained * real);
        cs_param_set_destroy(&set);
        assert_null(set);
    }
    cs_graph_destroy(&g);
}

static void without_training_there_are_no_gradients(void **state)
{
    (void)state;
    cs_graph *g = make_graph();
    cs_param_set *set = NULL;

    assert_ok(cs_param_set_create(g, ALL, CS_BF16, false, &set));
    for (int32_t i = 0; i < set->n; i++) {
        assert_null(set->items[i].grad);
        assert_null(set->items[i].m);
        assert_null(set->items[i].master);
    }
    assert_int_equal(cs_param_set_bytes(set).optimizer, 0);
    cs_param_set_destroy(&set);
    cs_graph_destroy(&g);
}

static void only_held_parameters_are_found(void **state)
{
    (void)state;
    static const bool HELD[N_PARAMS] = {false, true, false, true, false};
    cs_graph *g = make_graph();
    cs_param_set *set = NULL;

    assert_ok(cs_param_set_create(g, HELD, CS_F32, true, &set));
    assert_int_equal(set->n, 2);
    assert_null(cs_param_find(set, 0));
    assert_null(cs_param_find(set, -1));
    assert_ptr_equal(cs_param_find(set, 1), &set->items[0]);
    assert_ptr_equal(cs_param_find(set, 3), &set->items[1]);
    assert_ptr_equal(set->items[1].spec, &g->params[3]);
    cs_param_set_destroy(&set);
    cs_graph_destroy(&g);
}

/* Parameter 4 shares the values of parameter 0. */
static void a_tied_parameter_shares_all_but_its_gradient(void **state)
{
    (void)state;
    static const bool ALONE[N_PARAMS] = {false, false, false, false, true};
    cs_graph *g = make_graph();
    cs_param_set *set = NULL;
    cs_param_set *twin = NULL;

    g->params[4].shape = g->params[0].shape;
    g->params[4].init = g->params[0].init;
    g->params[4].is_trainable = g->params[0].is_trainable;
    g->params[4].tied_to = 0;
    assert_ok(cs_param_set_create(g, ALL, CS_BF16, true, &set));
    const cs_param_state *from = &set->items[0];
    const cs_param_state *tied = &set->items[4];

    assert_ptr_equal(tied->working.data, from->working.data);
    assert_ptr_equal(tied->master, from->master);
    assert_non_null(tied->grad);
    assert_ptr_not_equal(tied->grad, from->grad);
    assert_null(tied->m);
    assert_null(tied->v);
    /* alone, it is a whole parameter with the other's initial values */
    assert_ok(cs_param_set_create(g, ALONE, CS_BF16, true, &twin));
    assert_non_null(twin->items[0].m);
    cs_param_set_init(set, 5);
    cs_param_set_init(twin, 5);
    assert_memory_equal(twin->items[0].master, from->master,
                        (size_t)from->count * sizeof(float));
    cs_param_set_destroy(&twin);
    cs_param_set_destroy(&set);
    cs_graph_destroy(&g);
}

static void initial_values_are_their_formulas(void **state)
{
    (void)state;
    cs_graph *g = make_graph();
    cs_param_set *set = NULL;

    assert_ok(cs_param_set_create(g, ALL, CS_F64, true, &set));
    cs_param_set_init(set, 42);
    const double *stem = set->items[0].working.data;
    const uint64_t stream = csi_hash64("vision.stem");

    for (int i = 0; i < 24; i++) {
        assert_near(stem[i], 0.25 * csi_rng_normal(42, stream, (uint64_t)i),
                    0.0);
    }
    for (int i = 0; i < 6; i++) {
        assert_near(((double *)set->items[2].working.data)[i], 1.0, 0.0);
    }
    for (int i = 0; i < 5; i++) {
        assert_near(((double *)set->items[3].working.data)[i], 0.0, 0.0);
    }
    /* Six channels: timescales 1, 100 and 10000. */
    const double *positions = set->items[1].working.data;

    assert_near(positions[2 * 6 + 0], sin(2.0), 1e-12);
    assert_near(positions[2 * 6 + 1], sin(0.02), 1e-12);
    assert_near(positions[2 * 6 + 2], sin(0.0002), 1e-12);
    assert_near(positions[2 * 6 + 3], cos(2.0), 1e-12);
    assert_near(positions[5 * 6 + 5], cos(0.0005), 1e-12);
    cs_param_set_destroy(&set);
    cs_graph_destroy(&g);
}

static void initial_values_do_not_depend_on_the_layout(void **state)
{
    (void)state;
    cs_graph *g = make_graph();
    cs_param_set *all = NULL;

    assert_ok(cs_param_set_create(g, ALL, CS_BF16, true, &all));
    cs_param_set_init(all, 7);
    for (int i = 0; i < N_PARAMS; i++) {
        bool held[N_PARAMS] = {false};
        cs_param_set *one = NULL;
        held[i] = true;
        assert_ok(cs_param_set_create(g, held, CS_BF16, true, &one));
        cs_param_set_init(one, 7);
        assert_memory_equal(one->items[0].working.data,
                            all->items[i].working.data,
                            cs_tensor_bytes(&one->items[0].working));
        if (one->items[0].master != NULL) {
            assert_memory_equal(one->items[0].master, all->items[i].master,
                                (size_t)one->items[0].count * sizeof(float));
        }
        cs_param_set_destroy(&one);
    }
    cs_param_set_destroy(&all);
    cs_graph_destroy(&g);
}

static void stored_values_reach_master_and_working_copy(void **state)
{
    (void)state;
    static const cs_dtype DTYPES[] = {CS_F32, CS_F64, CS_BF16, CS_F16};
    cs_graph *g = make_graph();
    cs_param_set *set = NULL;

    assert_ok(cs_param_set_create(g, ALL, CS_BF16, true, &set));
    for (size_t d = 0; d < 4; d++) {
        uint8_t source[8 * 8];
        for (int64_t i = 0; i < 6; i++) {
            csi_dtype_set(source, DTYPES[d], i, 1.0 + (double)i / 1024.0);
        }
        assert_ok(cs_param_store(set, 2, DTYPES[d], source));
        for (int64_t i = 0; i < 6; i++) {
            const float value = (float)csi_dtype_get(source, DTYPES[d], i);
            const cs_param_state *p = &set->items[2];
            assert_true(((float *)p->master)[i] == value);
            assert_int_equal(((uint16_t *)p->working.data)[i],
                             csi_f32_to_bf16(value));
        }
    }
    assert_fails(cs_param_store(set, 2, CS_I32, ""), CS_ERR_DTYPE,
                 "vision.norm: wanted f32, f64, bf16 or f16 values, got i32");
    cs_param_set_destroy(&set);
    cs_graph_destroy(&g);
}

static void gradients_are_zeroed(void **state)
{
    (void)state;
    cs_graph *g = make_graph();
    cs_param_set *set = NULL;

    assert_ok(cs_param_set_create(g, ALL, CS_F32, true, &set));
    memset(set->items[0].grad, 0x55, 24 * sizeof(float));
    cs_param_set_zero_grads(set);
    for (int i = 0; i < 24; i++) {
        assert_true(((float *)set->items[0].grad)[i] == 0.0F);
    }
    cs_param_set_destroy(&set);
    cs_graph_destroy(&g);
}

static cs_status create_set(void *arg)
{
    cs_param_set *set = NULL;

    CS_TRY(cs_param_set_create(arg, ALL, CS_BF16, true, &set));
    cs_param_set_destroy(&set);
    return CS_OK;
}

static void no_fault_leaks(void **state)
{
    (void)state;
    cs_graph *g = make_graph();

    (void)cst_torture(create_set, g);
    cs_graph_destroy(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(frozen_parameters_have_nothing_but_a_working_copy),
        CST_TEST(without_training_there_are_no_gradients),
        CST_TEST(only_held_parameters_are_found),
        CST_TEST(a_tied_parameter_shares_all_but_its_gradient),
        CST_TEST(initial_values_are_their_formulas),
        CST_TEST(initial_values_do_not_depend_on_the_layout),
        CST_TEST(stored_values_reach_master_and_working_copy),
        CST_TEST(gradients_are_zeroed),
        CST_TEST(no_fault_leaks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
