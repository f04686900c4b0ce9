/* SPDX-License-Identifier: Apache-2.0 */
#include "common/clock.h"

_Atomic uint64_t clock_skew_ms;
