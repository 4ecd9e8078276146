/* SPDX-License-Identifier: Apache-2.0 */
/* While steps run, signals only leave a note; the step's agreement reads it.
 * Before (reading the data may take long) and after there is nothing that
 * could be saved, so a signal ends the process at once. */
#include "internal.h"

#include <signal.h>
#include <stdatomic.h>

static atomic_int stop_signal;
static atomic_int save_wanted;
static atomic_bool is_running;

void cs_train_on_signal(int signal_number)
{
    if (signal_number == SIGUSR1) {
        atomic_store(&save_wanted, 1);
        return;
    }
    atomic_store(&stop_signal, signal_number);
    if (!atomic_load(&is_running)) {
        (void)signal(signal_number, SIG_DFL);
        (void)raise(signal_number);
    }
}

int csi_signal_stop(void)
{
    return atomic_load(&stop_signal);
}

bool csi_signal_take_save(void)
{
    return atomic_exchange(&save_wanted, 0) != 0;
}

void csi_signal_reset(void)
{
    atomic_store(&stop_signal, 0);
    atomic_store(&save_wanted, 0);
}

void csi_signal_begin(void)
{
    atomic_store(&is_running, true);
}

void csi_signal_end(void)
{
    atomic_store(&is_running, false);
}
