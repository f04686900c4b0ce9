/* SPDX-License-Identifier: Apache-2.0 */
/* fake_mounts.h - what mounts.h does, in memory: for the rules of the volume driver
 *
 * Any thread. Fields may be set by a test between calls; those that change while calls
 * run are read by the functions below. */
#ifndef TESTS_FAKE_FAKE_MOUNTS_H
#define TESTS_FAKE_FAKE_MOUNTS_H

#include <pthread.h>

#include "tools/driver/mounts.h"

#define FAKE_POINTS_MAX 64
#define FAKE_TEXT_MAX 8192

struct fake_mounts {
	int mount_fails;   /* -errno of each mount, 0: none fails */
	int unmount_fails; /* likewise */
	bool leaves_dirty; /* unmounts say that data is left */
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* guarded by lock */
	bool hold;         /* mounts wait, until they are cancelled */
	bool hold_unmount; /* likewise; they end dirty then */
	unsigned holding;
	unsigned mounts, unmounts; /* calls */
	unsigned looks;            /* at what is mounted: each reads all of mountinfo */
	unsigned drain_ms;         /* of the last unmount */
	char *points[FAKE_POINTS_MAX];
	bool dead[FAKE_POINTS_MAX];
	char uri[FAKE_TEXT_MAX], options[FAKE_TEXT_MAX]; /* of the last mount */
};

extern const struct mounts_ops fake_mounts_ops; /* arg: struct fake_mounts */

void fake_mounts_init(struct fake_mounts *m);
void fake_mounts_done(struct fake_mounts *m);
bool fake_mounts_has(struct fake_mounts *m, const char *point);
unsigned fake_mounts_count(struct fake_mounts *m);
void fake_mounts_vanish(struct fake_mounts *m, const char *point);
void fake_mounts_kill(struct fake_mounts *m, const char *point); /* mounted, and dead */
void fake_mounts_hold(struct fake_mounts *m, bool hold);
void fake_mounts_wait_holding(struct fake_mounts *m, unsigned n); /* until n mounts hang */

#endif
