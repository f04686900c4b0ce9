/* SPDX-License-Identifier: Apache-2.0 */
#include "common/cancel.h"

#include <errno.h>
#include <stdint.h>
#include <unistd.h>

#include "common/clock.h"

int cancel_pause(unsigned ms, const struct cancel *cancel)
{
	uint64_t end = clock_us() / 1000 + ms;

	for (;;) {
		uint64_t now = clock_us() / 1000;
		uint64_t left = now < end ? end - now : 0;

		if (!cancel_is_wanted(cancel))
			return -ECANCELED;
		if (!left)
			return 0;
		usleep((useconds_t)(left < CANCEL_LOOK_MS ? left : CANCEL_LOOK_MS) * 1000);
	}
}
