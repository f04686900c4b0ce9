/* SPDX-License-Identifier: Apache-2.0 */
/* volumes_state.c - how volumes outlive the driver, and how they all end
 *
 * The state file: {"Version":1,"Volumes":[{"Name","Opts","Secret","State","Count","Docker",
 * "Created"},...]}. It is read as if a stranger had written it. What is mounted is asked
 * of the kernel; the file only says how often, and what for. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "tools/driver/volumes_impl.h"

#define STATE_VERSION 1
#define COUNT_MAX 1000000       /* uses of one volume that a state file may claim */
#define EVACUATE_RESERVE_MS 500 /* of the limit, for taking the mounts away */

/* --- dump ------------------------------------------------------------------ */

static json_t *dump_vol(const struct vol *v)
{
	bool secret = false;
	json_t *opts = v->opts ? mountopts_stored(v->opts, &secret) : json_null();

	return json_pack("{s:s, s:o, s:b, s:s, s:i, s:b, s:I}", "Name", v->name, "Opts", opts,
			 "Secret", secret || v->secret_lost, "State", volume_state_names[v->state],
			 "Count", (int)v->count, "Docker", (int)v->docker, "Created",
			 (json_int_t)v->created);
}

char *volumes_dump_locked(struct volumes *vs)
{
	json_t *list = json_array(), *all;
	char *text;

	mutex_assert_held(&vs->lock);
	list_for_each(l, &vs->all) {
		if (json_array_append_new(list, dump_vol(list_entry(l, struct vol, link)))) {
			json_decref(list);
			return NULL;
		}
	}
	all = json_pack("{s:i, s:o}", "Version", STATE_VERSION, "Volumes", list);
	text = json_dumps(all, JSON_INDENT(1));
	json_decref(all);
	return text;
}

/* --- restore --------------------------------------------------------------- */

static void read_vol_locked(struct vol *v, const json_t *j)
{
	const char *state = json_string_value(json_object_get(j, "State"));
	json_int_t count = json_integer_value(json_object_get(j, "Count"));
	json_t *opts = json_object_get(j, "Opts");

	v->opts = json_is_object(opts) ? json_incref(opts) : NULL;
	v->secret_lost = json_is_true(json_object_get(j, "Secret"));
	v->docker = json_is_true(json_object_get(j, "Docker"));
	v->count = count > 0 && count <= COUNT_MAX ? (unsigned)count : 0;
	v->created = (time_t)json_integer_value(json_object_get(j, "Created"));
	if (state && !strcmp(state, volume_state_names[VOLUME_MOUNTING]))
		v->state = VOLUME_MOUNTING;
}

static int read_all_locked(struct volumes *vs, const json_t *state, struct err *err)
{
	const json_t *list = json_object_get(state, "Volumes");
	struct failure f;
	size_t i;
	json_t *j;

	if (json_integer_value(json_object_get(state, "Version")) != STATE_VERSION ||
	    !json_is_array(list))
		return err_set(err, -EINVAL, "the state file is not one of version %d",
			       STATE_VERSION);
	json_array_foreach((json_t *)list, i, j) {
		const char *name = json_string_value(json_object_get(j, "Name"));
		struct vol *v = NULL;

		if (!name || volume_name_check(&vs->env, name, &f) || vol_find_locked(vs, name))
			return err_set(err, -EINVAL, "the state file: entry %zu has no good name",
				       i);
		v = vol_add_locked(vs, name);
		if (!v)
			return err_set(err, -ENOSPC, "the state file names too many volumes");
		read_vol_locked(v, j);
	}
	return 0;
}

static void note_found(void *arg, const char *name)
{
	struct volumes *vs = arg;
	struct vol *v;

	mutex_lock(&vs->lock);
	v = vol_find_locked(vs, name);
	if (v)
		v->found = true;
	mutex_unlock(&vs->lock);
}

/* What died half-made is undone, also where the mount may come yet; else the kernel decides. */
static int reconcile(struct volumes *vs, struct vol *v, struct err *err)
{
	const struct mounts_ops *ops = vs->env.mounts;
	bool mounted = v->found;
	struct failure f;

	if (v->state == VOLUME_MOUNTING) {
		AUTO_FREE char *point = vol_point(vs, v);
		int rc = point ? ops->unmount(vs->env.mounts_arg, point, 0, NULL, NULL, &f) :
				 -ENOMEM;

		if (!point)
			return err_set(err, -ENOMEM, "out of memory");
		if (rc && rc != -ENOENT)
			log_error("driver: '%s': %s", v->name, f.err.text);
		mounted = rc && rc != -ENOENT;
	}
	v->state = mounted ? VOLUME_MOUNTED : VOLUME_KNOWN;
	if (!mounted)
		v->count = 0;
	else if (!v->count)
		v->count = 1;
	return 0;
}

int volumes_restore(struct volumes *vs, const json_t *state, struct err *err)
{
	int rc = 0, looked;

	mutex_lock(&vs->lock);
	if (state)
		rc = read_all_locked(vs, state, err);
	mutex_unlock(&vs->lock);
	looked = vs->env.mounts->below(vs->env.mounts_arg, vs->env.root, note_found, vs);
	if (looked)
		return err_set(err, looked, "cannot tell what is mounted: %s", strerror(-looked));
	/* Nobody else is there yet. What was read before a mistake stays, and may be mounted. */
	list_for_each(l, &vs->all) {
		int one = reconcile(vs, list_entry(l, struct vol, link), rc ? NULL : err);

		rc = rc ? rc : one;
	}
	return rc;
}

void volumes_adopt(struct volumes *vs, const char *name)
{
	struct failure f;
	struct vol *v;

	if (volume_name_check(&vs->env, name, &f)) {
		log_error("driver: something is mounted there: %s", f.err.text);
		return;
	}
	mutex_lock(&vs->lock);
	if (!vol_find_locked(vs, name)) {
		v = vol_add_locked(vs, name);
		if (v) {
			v->state = VOLUME_MOUNTED;
			v->count = 1;
			log_warn("driver: '%s' is mounted and not in the state file: taken over",
				 name);
		}
	}
	mutex_unlock(&vs->lock);
}

/* --- evacuate -------------------------------------------------------------- */

struct evacuation {
	struct volumes *vs;
	uint64_t deadline_ms;
	struct vol **vols; /* each with a user of ours */
	size_t n;
	/* guarded by vs->lock */
	size_t next;
	json_t *dirty, *failed;
};

static unsigned time_to_drain(const struct evacuation *e)
{
	uint64_t now = clock_ms() + EVACUATE_RESERVE_MS;

	return now < e->deadline_ms ? (unsigned)(e->deadline_ms - now) : 0;
}

/* With the turn, locked before and after. */
static void evacuate_one_locked(struct evacuation *e, struct vol *v)
{
	struct volumes *vs = e->vs;
	bool was_mounted = v->state == VOLUME_MOUNTED;
	struct failure f;
	int rc = 0;

	if (was_mounted) {
		mutex_unlock(&vs->lock);
		rc = vol_unmount(vs, v, time_to_drain(e), &f);
		mutex_lock(&vs->lock);
		vs->generation++;
	}
	if (v->left_dirty)
		json_array_append_new(e->dirty, json_string(v->name));
	if (rc && rc != -ENOENT) {
		json_array_append_new(e->failed, json_string(v->name));
		log_error("driver: evacuate '%s': %s", v->name, f.err.text);
	} else if (was_mounted && !v->docker) {
		vol_forget_locked(vs, v);
	}
}

static void evacuate_one(struct evacuation *e, struct vol *v)
{
	struct volumes *vs = e->vs;

	mutex_lock(&vs->lock);
	/* Somebody who has the turn leaves it soon; one who does not may not hold up the end. */
	while (v->busy && clock_ms() < e->deadline_ms)
		cond_wait_until(&vs->turn, &vs->lock, e->deadline_ms);
	if (v->busy) {
		json_array_append_new(e->failed, json_string(v->name));
		log_error("driver: evacuate '%s': another operation does not end", v->name);
	} else {
		vol_enter_locked(vs, v);
		evacuate_one_locked(e, v);
		vol_leave_locked(vs, v);
	}
	mutex_unlock(&vs->lock);
}

static void *evacuate_main(void *arg)
{
	struct evacuation *e = arg;

	for (;;) {
		struct vol *v = NULL;

		mutex_lock(&e->vs->lock);
		if (e->next < e->n)
			v = e->vols[e->next++];
		mutex_unlock(&e->vs->lock);
		if (!v)
			break;
		evacuate_one(e, v);
	}
	return NULL;
}

static void list_all(struct evacuation *e)
{
	struct volumes *vs = e->vs;

	mutex_lock(&vs->lock);
	e->vols = calloc(vs->n + 1, sizeof(struct vol *));
	list_for_each(l, &vs->all) {
		if (e->vols)
			e->vols[e->n++] = list_entry(l, struct vol, link);
	}
	for (size_t i = 0; i < e->n; i++)
		e->vols[i]->users++; /* stays until it is looked at */
	mutex_unlock(&vs->lock);
}

static void release_all(struct evacuation *e)
{
	mutex_lock(&e->vs->lock);
	for (size_t i = 0; i < e->n; i++)
		vol_put_locked(e->vols[i]);
	mutex_unlock(&e->vs->lock);
	free(e->vols);
}

void volumes_evacuate(struct volumes *vs, unsigned limit_ms, json_t **dirty, json_t **failed)
{
	struct evacuation e = { .vs = vs,
				.deadline_ms = clock_ms() + limit_ms,
				.dirty = json_array(),
				.failed = json_array() };
	pthread_t threads[EVACUATE_PARALLEL_MAX];
	size_t started = 0;

	mutex_lock(&vs->lock);
	vs->drain_until_ms =
		e.deadline_ms - (limit_ms < EVACUATE_RESERVE_MS ? limit_ms : EVACUATE_RESERVE_MS);
	mutex_unlock(&vs->lock);
	list_all(&e);
	while (started < EVACUATE_PARALLEL_MAX && started + 1 < e.n &&
	       !pthread_create(&threads[started], NULL, evacuate_main, &e))
		started++;
	evacuate_main(&e);
	for (size_t i = 0; i < started; i++)
		pthread_join(threads[i], NULL);
	release_all(&e);
	*dirty = e.dirty;
	*failed = e.failed;
}
