/* SPDX-License-Identifier: Apache-2.0 */
/* fake_array.h - one volume of an array as the volume driver sees it, in memory that survives a killed child
 *
 * Any thread. Each call is a step, before and after its effect: steps are written down, and at
 * the one that is asked for, the process is killed. So a test forks a driver, and looks at what it leaves. */
#ifndef TESTS_FAKE_FAKE_ARRAY_H
#define TESTS_FAKE_FAKE_ARRAY_H

#include <pthread.h>

#include "backends/providers/provider.h"

#define FAKE_ARRAY_CALLS_MAX 16384
#define FAKE_ARRAY_SIZE (1u << 20) /* of the image */

/* Fields are set by a test between calls; those below the lock change while calls run. */
struct fake_array {
	char dir[128];       /* IMAGE is there; LINK appears while it is mapped to "cell-a" */
	bool no_device;      /* the link does not come */
	bool device_stays;   /* the link does not go */
	uint64_t tells_size; /* of the mapping; 0: the true one */
	int map_fails, get_fails, set_used_fails, unmap_fails; /* -errno */
	bool map_lost, set_used_lost;                          /* done, and -EAGAIN; once */
	bool other_connected;                                  /* the holder, when it is not us */
	uint64_t other_since;
	pthread_mutex_t lock; /* process-shared */
	/* guarded by lock */
	char holder[64]; /* GUID or address of the one host; "" none */
	bool fresh;
	unsigned maps, unmaps, polls;     /* polls: maps that found it busy */
	unsigned steps, kill_at;          /* kill_at 0: never */
	char owner[64], handle[256];      /* as of the last map; "" none */
	char calls[FAKE_ARRAY_CALLS_MAX]; /* names, a blank behind each */
};

/* Shared memory, for one test at a time; dir is an own folder with an image in it. */
struct fake_array *fake_array_new(void);
void fake_array_free(struct fake_array *a);
/* As new, with an empty image. */
void fake_array_reset(struct fake_array *a);
void fake_array_step(struct fake_array *a, const char *name);
/* "calls" since the last time, the caller's. */
char *fake_array_calls(struct fake_array *a);
void fake_array_hold(struct fake_array *a, const char *guid);
/* Is it the host's? "" for nobody's. */
bool fake_array_is_held_by(struct fake_array *a, const char *guid);

/* As provider_open(), of type "scaleio", "onefs" or "local" (of images); the array is the one of fake_array_new(). */
int fake_array_open(const char *name, const json_t *config, struct provider **out, struct err *err);

#endif
