/* SPDX-License-Identifier: Apache-2.0 */
/* volumes_mount.c - the mount operation of volumes.h
 *
 * A client may hang up at any moment, and no Unmount need follow. So each mount "hopes"
 * while its client is there; who makes the mount goes on as long as anybody hopes, and
 * whoever leaves last without a hope undoes it (R12). */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "tools/driver/volumes_impl.h"

#define LOOK_MS 100 /* between two looks at whether a waiting client is still there */

struct attempt {
	struct volumes *vs;
	struct vol *v;
	const struct caller *caller;
	char *point; /* owned */
	bool hopes;  /* counted in v->hoping */
	bool made;   /* the mount was made by this one */
};

static bool client_gone(const struct attempt *a)
{
	return a->caller->gone && a->caller->gone(a->caller->arg);
}

static void give_up_locked(struct attempt *a)
{
	if (a->hopes)
		a->v->hoping--;
	a->hopes = false;
}

/* Unlocked. Gives up when the client is gone; true while anybody hopes. */
static bool still_wanted(void *arg)
{
	struct attempt *a = arg;
	bool gone = a->hopes && client_gone(a), wanted;

	mutex_lock(&a->vs->lock);
	if (gone)
		give_up_locked(a);
	wanted = a->v->hoping > 0 && !a->vs->closed;
	mutex_unlock(&a->vs->lock);
	return wanted;
}

/* Like vol_enter_locked(), but looks after its client meanwhile. */
static bool enter_hoping_locked(struct attempt *a)
{
	struct volumes *vs = a->vs;
	struct vol *v = a->v;

	v->users++;
	v->hoping++;
	a->hopes = true;
	while (v->busy) {
		cond_wait_until(&vs->turn, &vs->lock, clock_ms() + LOOK_MS);
		mutex_unlock(&vs->lock);
		still_wanted(a);
		mutex_lock(&vs->lock);
	}
	v->busy = true;
	return !v->forgotten;
}

/* --- with the turn, unlocked ----------------------------------------------- */

static int set_state(struct attempt *a, enum volume_state state, struct failure *f)
{
	mutex_lock(&a->vs->lock);
	a->v->state = state;
	a->vs->generation++;
	mutex_unlock(&a->vs->lock);
	return volumes_save(a->vs, f);
}

static int build_spec(struct attempt *a, struct mountopts *m, char **options, struct failure *f)
{
	struct volumes *vs = a->vs;
	uint64_t cache;
	json_t *opts;
	bool lost;
	int rc;

	mutex_lock(&vs->lock);
	opts = json_incref(a->v->opts);
	lost = a->v->secret_lost;
	mutex_unlock(&vs->lock);
	if (lost || !opts) {
		json_decref(opts);
		return failure_set(f, -ESTALE,
				   "Volume %s must be created again before being mounted: %s",
				   a->v->name,
				   lost ? "its credentials do not outlive a restart of the driver" :
					  "its options are not known");
	}
	rc = mountopts_build(opts, vs->env.rules, m, f);
	json_decref(opts);
	if (rc)
		return rc;
	cache = vs->env.share ? vs->env.share(vs->env.budget_arg, m->cache_wanted) :
				m->cache_wanted;
	mutex_lock(&vs->lock);
	a->v->cache_wanted = m->cache_wanted;
	mutex_unlock(&vs->lock);
	if (cache)
		rc = asprintf(options, "%s,cache_size=%" PRIu64, m->options, cache);
	else
		rc = asprintf(options, "%s", m->options);
	if (rc < 0) {
		mountopts_done(m);
		return failure_set(f, -ENOMEM, "out of memory");
	}
	return 0;
}

static int do_mount(struct attempt *a, struct failure *f)
{
	const struct volumes_env *env = &a->vs->env;
	const struct cancel cancel = { still_wanted, a };
	struct mountopts m = { NULL, NULL, 0, NULL };
	AUTO_FREE char *options = NULL;
	struct mount_spec spec;
	int rc = build_spec(a, &m, &options, f);

	if (rc)
		return rc;
	/* On disk before it is begun: a successor knows what to undo. */
	rc = set_state(a, VOLUME_MOUNTING, f);
	if (!rc) {
		spec = (struct mount_spec){
			.uri = m.uri, .options = options, .point = a->point, .volume = m.volume
		};
		lock_assert_none();
		rc = env->mounts->mount(env->mounts_arg, &spec, &cancel, f);
	}
	mountopts_done(&m);
	return rc;
}

/* What was counted, and is not there any more, is taken away before it is made anew. */
static void clear_dead(struct attempt *a)
{
	const struct volumes_env *env = &a->vs->env;
	struct failure ignored;

	log_warn("driver: the mount of '%s' is dead; it is mounted anew", a->v->name);
	env->mounts->unmount(env->mounts_arg, a->point, 0, NULL, NULL, &ignored);
}

static int make_usable(struct attempt *a, struct failure *f)
{
	const struct volumes_env *env = &a->vs->env;
	struct failure ignored;
	enum volume_state before;
	int rc;

	mutex_lock(&a->vs->lock);
	before = a->v->state;
	mutex_unlock(&a->vs->lock);
	if (before == VOLUME_MOUNTED) {
		if (env->mounts->is_alive(env->mounts_arg, a->point))
			return 0;
		clear_dead(a);
	}
	rc = do_mount(a, f);
	mutex_lock(&a->vs->lock);
	a->v->state = rc ? before : VOLUME_MOUNTED;
	a->vs->generation++;
	free(a->v->last_error);
	a->v->last_error = rc ? strdup(f->err.text) : NULL;
	mutex_unlock(&a->vs->lock);
	if (rc)
		volumes_save(a->vs, &ignored); /* a successor would only undo what is undone */
	a->made = !rc;
	return rc;
}

/* The mount is usable: counts, or lets go. */
static int count_one(struct attempt *a, struct failure *f)
{
	struct vol *v = a->v;
	bool had_id;
	int rc;

	still_wanted(a);
	mutex_lock(&a->vs->lock);
	had_id = v->docker;
	if (!a->hopes || a->vs->closed) {
		mutex_unlock(&a->vs->lock);
		return failure_set(f, -ECANCELED, "nobody waits for this mount any more");
	}
	v->count++;
	v->docker |= a->caller->has_id;
	a->vs->generation++;
	mutex_unlock(&a->vs->lock);
	rc = volumes_save(a->vs, f);
	if (!rc)
		return 0;
	mutex_lock(&a->vs->lock);
	v->count--;
	v->docker = had_id;
	a->vs->generation++;
	mutex_unlock(&a->vs->lock);
	return rc;
}

/* A mount that nobody was told of, and nobody waits for, goes (V4). Locked before and after. */
static void undo_unwanted_locked(struct attempt *a)
{
	struct failure f;
	int rc;

	give_up_locked(a);
	if (a->v->state != VOLUME_MOUNTED || a->v->count || a->v->hoping)
		return;
	mutex_unlock(&a->vs->lock);
	rc = vol_unmount(a->vs, a->v, 0, &f);
	if (rc && rc != -ENOENT)
		log_error("driver: '%s': %s", a->v->name, f.err.text);
	mutex_lock(&a->vs->lock);
	a->v->left_dirty = false; /* nobody could write */
	a->vs->generation++;
	mutex_unlock(&a->vs->lock);
	volumes_save(a->vs, &f);
	mutex_lock(&a->vs->lock);
}

static int mount_turn(struct attempt *a, struct failure *f)
{
	const struct volumes_env *env = &a->vs->env;
	int rc;

	a->point = vol_point(a->vs, a->v);
	if (!a->point)
		return failure_set(f, -ENOMEM, "out of memory");
	if (!still_wanted(a))
		return failure_set(f, -ECANCELED, "nobody waits for this mount any more");
	rc = make_usable(a, f);
	if (!rc)
		rc = count_one(a, f);
	/* Only now: a mount without a count is not listed. */
	if (!rc && a->made && env->changed)
		env->changed(env->budget_arg);
	return rc;
}

int volumes_mount(struct volumes *vs, const char *name, const struct caller *caller, char **point,
		  struct failure *f)
{
	struct attempt a = { .vs = vs, .caller = caller };
	uint64_t begun = clock_us();
	unsigned count;
	int rc = 0;

	if (volume_name_check(&vs->env, name, f))
		return -EINVAL;
	mutex_lock(&vs->lock);
	a.v = vol_find_locked(vs, name);
	if (vs->closed)
		rc = failure_set(f, -ESHUTDOWN, "The driver is being evacuated");
	else if (!a.v)
		rc = failure_set(f, -ENOENT, "Volume %s must be created before being mounted",
				 name);
	if (rc || !a.v) {
		mutex_unlock(&vs->lock);
		return rc;
	}
	if (enter_hoping_locked(&a)) {
		mutex_unlock(&vs->lock);
		rc = mount_turn(&a, f);
		mutex_lock(&vs->lock);
	} else {
		rc = failure_set(f, -ENOENT, "Volume %s must be created before being mounted",
				 name);
	}
	undo_unwanted_locked(&a);
	count = a.v->count;
	vol_leave_locked(vs, a.v);
	mutex_unlock(&vs->lock);
	log_info("driver: mount '%s': %s, count %u, %" PRIu64 " ms", name, rc ? f->err.text : "ok",
		 count, (clock_us() - begun) / 1000);
	if (rc)
		free(a.point);
	else
		*point = a.point;
	return rc;
}
