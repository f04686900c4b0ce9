/* SPDX-License-Identifier: Apache-2.0 */
/* cancel.h - who waits, and asks now and then whether he still should. Any thread. */
#ifndef COMMON_CANCEL_H
#define COMMON_CANCEL_H

#include <stdbool.h>

#define CANCEL_LOOK_MS 100 /* between two questions */

/* wanted: asked now and then by what waits; false ends the wait with -ECANCELED. */
struct cancel {
	bool (*wanted)(void *arg);
	void *arg;
};

/* NULL: wanted by all means. */
static inline bool cancel_is_wanted(const struct cancel *c)
{
	return !c || c->wanted(c->arg);
}

/* Sleeps, and asks meanwhile. 0 or -ECANCELED. */
int cancel_pause(unsigned ms, const struct cancel *cancel);

#endif
