/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Encoders of every build (class rows, norms in front, behind or nowhere,
 * fused and gated products, LayerScale, rows and columns, chosen layers,
 * stacked rows, mergers) cut into stages at every place: the bits are those of
 * the step by hand.
 */
#include "world.h"

#define RECIPE(vision)                                                         \
    "version: 1\nmodel:\n  attention: islands\n  encoders:\n    vision: "      \
    "{placeholder: \"<image>\", config: {num_hidden_layers: 2, "               \
    "num_attention_heads: 2, hidden_size: 8, intermediate_size: 12, "          \
    "image_size: 12, patch_size: 4, num_channels: 1, " vision "}\n" TINY_LLAMA \
    "data:\n  train: [{path: t.json}]\ntraining: {max_steps: 1}\n"

#define PICTURES "tvT.T.tvt.vtT.tvtvT"

static const char *const RECIPES[] = {
    RECIPE("model_type: clip_vision_model}"),
    RECIPE("model_type: clip_vision_model}, feature_select: default, "
           "feature_layer: -2, stack: 4"),
    RECIPE("model_type: vit}, feature_select: default, projector: {type: "
           "merger}"),
    RECIPE("model_type: dinov2, mlp_ratio: 2, use_swiglu_ffn: true}, pool: 3"),
    RECIPE("model_type: intern_vit_6b, qkv_bias: true}, processor: "
           "{image_size: 12}"),
    RECIPE("model_type: evaclip, use_rms_norm: true, post_layernorm: true}"),
    RECIPE("model_type: pixtral}"),
};

static const char *const CUTS[] = {
    "vision: {pp: 2, cuts: [0, 1]}",
    "vision: {pp: 2, cuts: [0, 2]}",
    "vision: {pp: 2, cuts: [0, 3]}",
};

static const char *const FREEZES[] = {
    NULL,
    "model.encoders.vision.freeze=true",
    "model.encoders.vision.projector.freeze=true",
};

static void compare(const world *w, const by_hand *h)
{
    for (int32_t i = 0; i < w->t->graph->n_params; i++) {
        const cs_param_state *p = cs_param_find(h->params, i);
        const void *got = w->grad[0][i];
        if (p->grad == NULL) {
            assert_null(got);
            continue;
        }
        assert_non_null(got);
        if (memcmp(got, p->grad,
                   (size_t)p->count * cs_dtype_bytes(h->params->real)) != 0) {
            fail_msg("%s: other bits", p->spec->global_name);
        }
    }
}

static void check(const char *recipe, const char *cuts, const char *freeze)
{
    char modules[200];
    tiny t;
    by_hand h;

    assert_ok(csi_format(modules, sizeof modules, "parallel.modules={%s}",
                         cuts));
    const char *const overrides[] = {"parallel.plan=manual",
                                     "parallel.placement=modality_parallel",
                                     "parallel.schedule=1f1b", modules, freeze};

    tiny_build(&t, recipe, overrides, freeze != NULL ? 5 : 4);
    tiny_plan(&t, PICTURES, 3, 1);
    by_hand_begin(&h, &t, "ref", CS_F32);
    assert_ok(by_hand_step(&h, true));
    world w = {.t = &t,
               .backend = "ref",
               .dtype = CS_F32,
               .steps = world_two_steps};
    assert_ok(world_run(&w, 3));
    assert_true(w.loss_sum[world_scorer(&w)] == h.loss_sum);
    compare(&w, &h);
    world_end(&w);
    by_hand_end(&h);
    tiny_end(&t);
}

static void bits_do_not_depend_on_where_an_encoder_is_cut(void **state)
{
    (void)state;
    for (size_t r = 0; r < sizeof RECIPES / sizeof RECIPES[0]; r++) {
        for (size_t c = 0; c < sizeof CUTS / sizeof CUTS[0]; c++) {
            for (size_t f = 0; f < sizeof FREEZES / sizeof FREEZES[0]; f++) {
                check(RECIPES[r], CUTS[c], FREEZES[f]);
            }
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        CST_TEST(bits_do_not_depend_on_where_an_encoder_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
