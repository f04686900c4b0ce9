/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/budget.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/opt.h"
#include "tools/driver/daemons.h"

#define KEY_MAX 256

struct budget {
	uint64_t total;
	_Atomic unsigned daemons; /* when they were counted last */
	struct volumes *vs;       /* borrowed */
	pthread_t thread;
	bool started;
	struct mutex lock;
	struct cond work;
	/* guarded by lock */
	bool changed, stopping;
};

/* One daemon, reached by the mount of one of its names. */
struct daemon {
	char key[KEY_MAX];
	const char *point;
	uint64_t now, wanted; /* its cache_size; 0: some name has no wish */
};

static uint64_t round_share(uint64_t share)
{
	share -= share % BUDGET_STEP;
	return share < BUDGET_SHARE_MIN ? BUDGET_SHARE_MIN : share;
}

void budget_divide(uint64_t total, const uint64_t *wanted, size_t n, uint64_t *shares)
{
	size_t open = n;
	bool again = true;

	for (size_t i = 0; i < n; i++)
		shares[i] = 0;
	/* Who wants less than an equal share gets that, and the rest is divided anew. */
	while (again && open) {
		uint64_t each = total / open;

		again = false;
		for (size_t i = 0; i < n; i++) {
			if (shares[i] || !wanted[i] || wanted[i] > each)
				continue;
			shares[i] = wanted[i];
			total -= wanted[i];
			open--;
			again = true;
		}
	}
	for (size_t i = 0; i < n; i++)
		if (!shares[i])
			shares[i] = round_share(total / open);
}

uint64_t budget_share(void *arg, uint64_t wanted)
{
	const struct budget *b = arg;
	uint64_t share = round_share(b->total / (b->daemons + 1));

	return wanted && wanted < share ? wanted : share;
}

void budget_changed(void *arg)
{
	struct budget *b = arg;

	mutex_lock(&b->lock);
	b->changed = true;
	cond_signal(&b->work);
	mutex_unlock(&b->lock);
}

/* --- the thread ------------------------------------------------------------ */

static uint64_t cache_size_of(const json_t *stat)
{
	static const struct opt_def table[] = {
		{ "size", OPT_SIZE, NULL, 0, 0, 0, NULL, NULL, NULL, false }, { 0 }
	};
	const char *text =
		json_string_value(json_object_get(json_object_get(stat, "options"), "cache_size"));
	uint64_t size = 0;

	return text && !opt_set(table, &size, "size", text, NULL) ? size : 0;
}

static void add_daemon(struct daemon *all, size_t *n, const struct volume_info *i,
		       const json_t *stat)
{
	struct daemon *d = &all[*n];

	daemon_key(stat, d->key, sizeof d->key);
	for (size_t k = 0; k < *n; k++) {
		if (strcmp(all[k].key, d->key))
			continue;
		if (!i->cache_wanted || (all[k].wanted && i->cache_wanted > all[k].wanted))
			all[k].wanted = i->cache_wanted;
		return;
	}
	d->point = i->point;
	d->now = cache_size_of(stat);
	d->wanted = i->cache_wanted;
	(*n)++;
}

static void tune(const struct daemon *d, uint64_t share)
{
	struct err err = { "" };
	char text[32];

	for (int i = 0; i < BUDGET_TRIES && share != d->now; i++) {
		int rc;

		snprintf(text, sizeof text, "%" PRIu64, share);
		rc = daemon_tune(d->point, "cache_size", text, &err);
		if (!rc) {
			log_info("driver: '%s': cache_size=%s", d->point, text);
			return;
		}
		if (rc != -EINVAL || share < d->now)
			break;
		share = d->now + (share - d->now) / 2;
	}
	if (share != d->now)
		log_warn("driver: '%s': cache_size=%" PRIu64 ": %s", d->point, share, err.text);
}

static void divide(struct budget *b, const struct daemon *all, size_t n)
{
	AUTO_FREE uint64_t *wanted = calloc(n + 1, sizeof *wanted);
	AUTO_FREE uint64_t *shares = calloc(n + 1, sizeof *shares);

	if (!wanted || !shares)
		return;
	for (size_t i = 0; i < n; i++)
		wanted[i] = all[i].wanted;
	budget_divide(b->total, wanted, n, shares);
	/* First those that give, so that the sum is kept. */
	for (size_t i = 0; i < n; i++)
		if (shares[i] < all[i].now)
			tune(&all[i], shares[i]);
	for (size_t i = 0; i < n; i++)
		if (shares[i] > all[i].now)
			tune(&all[i], shares[i]);
}

static void look(struct budget *b)
{
	struct volume_info *infos = NULL;
	ssize_t n = volumes_list(b->vs, &infos);
	size_t mounted = 0, ndaemons = 0;
	AUTO_FREE const char **points = n < 0 ? NULL : calloc((size_t)n + 1, sizeof *points);
	AUTO_FREE json_t **stats = n < 0 ? NULL : calloc((size_t)n + 1, sizeof(json_t *));
	AUTO_FREE struct daemon *all = n < 0 ? NULL : calloc((size_t)n + 1, sizeof *all);

	for (ssize_t i = 0; points && i < n; i++) {
		if (!*infos[i].point)
			continue;
		points[mounted] = infos[i].point;
		if (mounted != (size_t)i) { /* the mounted ones first */
			struct volume_info swap = infos[mounted];

			infos[mounted] = infos[i];
			infos[i] = swap;
		}
		mounted++;
	}
	if (points && stats && all) {
		daemons_stat(points, mounted, stats);
		for (size_t i = 0; i < mounted; i++)
			if (stats[i])
				add_daemon(all, &ndaemons, &infos[i], stats[i]);
		b->daemons = (unsigned)ndaemons;
		divide(b, all, ndaemons);
		for (size_t i = 0; i < mounted; i++)
			json_decref(stats[i]);
	}
	volume_infos_free(infos, n < 0 ? 0 : (size_t)n);
}

static void *budget_main(void *arg)
{
	struct budget *b = arg;

	pthread_setname_np(pthread_self(), "driver-budget");
	mutex_lock(&b->lock);
	while (!b->stopping) {
		if (!b->changed) {
			cond_wait(&b->work, &b->lock);
			continue;
		}
		b->changed = false;
		mutex_unlock(&b->lock);
		look(b);
		mutex_lock(&b->lock);
	}
	mutex_unlock(&b->lock);
	return NULL;
}

struct budget *budget_new(uint64_t total)
{
	struct budget *b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->total = total;
	b->changed = true;
	mutex_init(&b->lock, LOCK_driver_budget);
	cond_init(&b->work);
	return b;
}

int budget_start(struct budget *b, struct volumes *vs)
{
	b->vs = vs;
	b->started = !pthread_create(&b->thread, NULL, budget_main, b);
	return b->started ? 0 : -EAGAIN;
}

void budget_stop(struct budget *b)
{
	if (!b || !b->started)
		return;
	mutex_lock(&b->lock);
	b->stopping = true;
	cond_signal(&b->work);
	mutex_unlock(&b->lock);
	pthread_join(b->thread, NULL);
	b->started = false;
}

void budget_free(struct budget *b)
{
	if (!b)
		return;
	cond_done(&b->work);
	mutex_done(&b->lock);
	free(b);
}
