/* SPDX-License-Identifier: Apache-2.0 */
/* Signals only leave a note; the step's agreement reads it. */
#include "internal.h"

#include <signal.h>
#include <stdatomic.h>

static atomic_int stop_signal;
static atomic_int save_wanted;

void cs_train_on_signal(int signal_number)
{
    if (signal_number == SIGUSR1) {
        atomic_store(&save_wanted, 1);
    } else {
        atomic_store(&stop_signal, signal_number);
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
