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
#include "common/clock.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/opt.h"
#include "tools/driver/census.h"
#include "tools/driver/daemons.h"
#include "tools/driver/leftovers.h"

#define KEY_MAX 256
#define AGAIN_MS 2000 /* after which a daemon that was silent, or refused, is asked again */

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

/* One daemon, reached by the mount of one of its names, or by its socket. */
struct daemon {
	char key[KEY_MAX];
	const char *point;    /* borrowed */
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

static void add_daemon(struct daemon *all, size_t *n, const char *point, uint64_t wanted,
		       const json_t *stat)
{
	struct daemon *d = &all[*n];

	daemon_key(stat, d->key, sizeof d->key);
	for (size_t k = 0; k < *n; k++) {
		if (strcmp(all[k].key, d->key))
			continue;
		if (!wanted || (all[k].wanted && wanted > all[k].wanted))
			all[k].wanted = wanted;
		return;
	}
	d->point = point;
	d->now = cache_size_of(stat);
	d->wanted = wanted;
	(*n)++;
}

/* False when the daemon did not answer. */
static bool tune(const struct daemon *d, uint64_t share)
{
	struct err err = { "" };
	char text[32];

	for (int i = 0; i < BUDGET_TRIES && share != d->now; i++) {
		int rc;

		snprintf(text, sizeof text, "%" PRIu64, share);
		rc = daemon_tune(d->point, "cache_size", text, &err);
		if (!rc) {
			log_info("driver: '%s': cache_size=%s", d->point, text);
			return true;
		}
		if (rc != -EINVAL || share < d->now) {
			log_warn("driver: '%s': cache_size=%" PRIu64 ": %s", d->point, share,
				 err.text);
			return rc == -EINVAL;
		}
		share = d->now + (share - d->now) / 2;
	}
	return true;
}

/* silent: daemons beside them that cannot be asked; an equal share is left to each. */
static bool divide(struct budget *b, const struct daemon *all, size_t n, size_t silent)
{
	bool done = true;
	AUTO_FREE uint64_t *wanted = calloc(n + silent + 1, sizeof *wanted);
	AUTO_FREE uint64_t *shares = calloc(n + silent + 1, sizeof *shares);

	if (!wanted || !shares)
		return false;
	for (size_t i = 0; i < n; i++)
		wanted[i] = all[i].wanted;
	budget_divide(b->total, wanted, n + silent, shares);
	/* First those that give, so that the sum is kept. */
	for (size_t i = 0; i < n; i++)
		if (shares[i] < all[i].now)
			done &= tune(&all[i], shares[i]);
	for (size_t i = 0; i < n; i++)
		if (shares[i] > all[i].now)
			done &= tune(&all[i], shares[i]);
	return done;
}

/* Who is asked at one look: each mounted name, and daemons that no name leads to any more. */
struct asked {
	struct volume_info *infos;
	ssize_t ninfos;
	struct leftover *left;
	ssize_t nleft;
	/* each owned, with room for all */
	struct census_entry *entries;
	uint64_t *wanted; /* of the entry */
	struct daemon *all;
	size_t n, ndaemons, silent;
	bool lingers;
};

static void asked_done(struct asked *a)
{
	census_drop(a->entries, a->n);
	volume_infos_free(a->infos, a->ninfos < 0 ? 0 : (size_t)a->ninfos);
	free(a->left);
	free(a->entries);
	free(a->wanted);
	free(a->all);
}

static bool find_all(struct asked *a, struct volumes *vs)
{
	size_t room;

	*a = (struct asked){ 0 };
	a->ninfos = volumes_list(vs, &a->infos);
	a->nleft = leftovers_find(&a->left);
	room = (size_t)(a->ninfos < 0 ? 0 : a->ninfos) + (size_t)(a->nleft < 0 ? 0 : a->nleft) + 1;
	a->entries = calloc(room, sizeof *a->entries);
	a->wanted = calloc(room, sizeof *a->wanted);
	a->all = calloc(room, sizeof *a->all);
	if (!a->entries || !a->wanted || !a->all || a->ninfos < 0)
		return false;
	for (ssize_t i = 0; i < a->ninfos; i++) {
		if (!*a->infos[i].point)
			continue;
		a->wanted[a->n] = a->infos[i].cache_wanted;
		a->entries[a->n++].point = a->infos[i].point;
	}
	for (ssize_t i = 0; i < a->nleft; i++)
		if (a->left[i].had_session)
			a->entries[a->n++].point = a->left[i].at;
	return true;
}

/* Who is silent has a cache all the same, unless it died. */
static void ask_all(struct asked *a)
{
	census_take(a->entries, a->n);
	for (size_t i = 0; i < a->n; i++) {
		const struct census_entry *e = &a->entries[i];
		bool left = !strncmp(e->point, DAEMON_AT_SOCKET, strlen(DAEMON_AT_SOCKET));
		uint64_t wanted = a->wanted[i];

		if (e->stat) {
			if (left) /* nobody reads there any more: it does not grow */
				wanted = cache_size_of(e->stat);
			add_daemon(a->all, &a->ndaemons, e->point, wanted, e->stat);
			a->lingers |= left;
		} else if (!left || daemon_ping(e->point, NULL) == -ETIMEDOUT) {
			a->silent++;
		}
	}
}

/* False when it should be looked again: somebody did not answer (a mount that is not usable yet, or a
 * busy machine, can be why), or a daemon without a mount will end some time. */
static bool look(struct budget *b)
{
	struct asked a;
	bool done = false;

	if (find_all(&a, b->vs)) {
		ask_all(&a);
		b->daemons = (unsigned)(a.ndaemons + a.silent);
		done = divide(b, a.all, a.ndaemons, a.silent) && !a.silent && !a.lingers;
	}
	asked_done(&a);
	return done;
}

static void *budget_main(void *arg)
{
	struct budget *b = arg;
	bool done = true;

	pthread_setname_np(pthread_self(), "driver-budget");
	mutex_lock(&b->lock);
	while (!b->stopping) {
		if (!b->changed && done) {
			cond_wait(&b->work, &b->lock);
			continue;
		}
		if (!done)
			cond_wait_until(&b->work, &b->lock, clock_ms() + AGAIN_MS);
		if (b->stopping)
			break;
		b->changed = false;
		mutex_unlock(&b->lock);
		done = look(b);
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
