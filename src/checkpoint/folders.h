/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CS_CHECKPOINT_FOLDERS_H
#define CS_CHECKPOINT_FOLDERS_H
/* RUN/checkpoints: step folders, `latest`, and which steps are kept. */
#include "cornstarch/status.h"

enum {
    CSI_STEP_NAME_BYTES = 32
};

/* "step-00000200". */
void csi_step_name(int64_t step, char out[CSI_STEP_NAME_BYTES]);
/* Step of exactly such a name; 0 for any other text. */
int64_t csi_step_of_name(const char *name);
/* RUN/checkpoints and RUN/checkpoints/step-N + suffix. [out,own] csi_free. */
CS_NODISCARD cs_status csi_checkpoints_folder(const char *run_folder,
                                              char **out);
CS_NODISCARD cs_status csi_step_folder(const char *checkpoints, int64_t step,
                                       const char *suffix, char **out);
/* Steps that have a manifest, ascending; none when the folder is not there.
 * [out,own] csi_free. */
CS_NODISCARD cs_status csi_steps_list(const char *checkpoints, int64_t **steps,
                                      int64_t *count);
/* ARG: the step is not among those that are there; names them. */
CS_NODISCARD cs_status csi_steps_fail(const char *checkpoints, int64_t step,
                                      const int64_t *steps, int64_t count);
/* What `latest` names if that step has a manifest; else the last of steps;
 * 0 = there are none. */
int64_t csi_steps_latest(const char *checkpoints, const int64_t *steps,
                         int64_t count);
/* Removes what an interrupted save left behind. */
CS_NODISCARD cs_status csi_steps_sweep(const char *checkpoints);
/* Removes all but: the newest `keep` up to `step` (0 = all of them),
 * keep_step, and steps that a kept manifest refers to. Steps beyond `step`
 * belong to a line of training that was left, and go too. */
CS_NODISCARD cs_status csi_steps_rotate(const char *checkpoints, int64_t step,
                                        int32_t keep, int64_t keep_step);
#endif
