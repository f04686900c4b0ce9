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
struct census {
	struct volume_info *infos;
	ssize_t ninfos;
	struct leftover *left;
	ssize_t nleft;
	/* each owned, with room for all */
	const char **points;
	json_t **stats;
	uint64_t *wanted;
	struct daemon *all;
	size_t n, ndaemons, silent;
	bool lingers;
};

static void census_done(struct census *c)
{
	for (size_t i = 0; i < c->n; i++)
		json_decref(c->stats[i]);
	volume_infos_free(c->infos, c->ninfos < 0 ? 0 : (size_t)c->ninfos);
	free(c->left);
	free(c->points);
	free(c->stats);
	free(c->wanted);
	free(c->all);
}

static bool census_take(struct census *c, struct volumes *vs)
{
	size_t room;

	*c = (struct census){ 0 };
	c->ninfos = volumes_list(vs, &c->infos);
	c->nleft = leftovers_find(&c->left);
	room = (size_t)(c->ninfos < 0 ? 0 : c->ninfos) + (size_t)(c->nleft < 0 ? 0 : c->nleft) + 1;
	c->points = calloc(room, sizeof *c->points);
	c->stats = calloc(room, sizeof(json_t *));
	c->wanted = calloc(room, sizeof *c->wanted);
	c->all = calloc(room, sizeof *c->all);
	if (!c->points || !c->stats || !c->wanted || !c->all || c->ninfos < 0)
		return false;
	for (ssize_t i = 0; i < c->ninfos; i++) {
		if (!*c->infos[i].point)
			continue;
		c->wanted[c->n] = c->infos[i].cache_wanted;
		c->points[c->n++] = c->infos[i].point;
	}
	for (ssize_t i = 0; i < c->nleft; i++)
		if (c->left[i].had_session)
			c->points[c->n++] = c->left[i].at;
	return true;
}

/* Who is silent has a cache all the same, unless it died. */
static void census_ask(struct census *c)
{
	daemons_stat(c->points, c->n, c->stats);
	for (size_t i = 0; i < c->n; i++) {
		bool left = !strncmp(c->points[i], DAEMON_AT_SOCKET, strlen(DAEMON_AT_SOCKET));
		uint64_t wanted = c->wanted[i];

		if (c->stats[i]) {
			if (left) /* nobody reads there any more: it does not grow */
				wanted = cache_size_of(c->stats[i]);
			add_daemon(c->all, &c->ndaemons, c->points[i], wanted, c->stats[i]);
			c->lingers |= left;
		} else if (!left || daemon_ping(c->points[i], NULL) == -ETIMEDOUT) {
			c->silent++;
		}
	}
}

/* False when it should be looked again: somebody did not answer (a mount that is not usable yet, or a
 * busy machine, can be why), or a daemon without a mount will end some time. */
static bool look(struct budget *b)
{
	struct census c;
	bool done = false;

	if (census_take(&c, b->vs)) {
		census_ask(&c);
		b->daemons = (unsigned)(c.ndaemons + c.silent);
		done = divide(b, c.all, c.ndaemons, c.silent) && !c.silent && !c.lingers;
	}
	census_done(&c);
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
