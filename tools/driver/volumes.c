/* SPDX-License-Identifier: Apache-2.0 */
/* volumes.c - see volumes.h: the table, its turns, and the operations but mount */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "tools/driver/volumes_impl.h"

const char *const volume_state_names[] = { "known", "mounting", "mounted", "unmounting", NULL };

/* --- names ----------------------------------------------------------------- */

static bool has_control(const char *name)
{
	for (const unsigned char *s = (const unsigned char *)name; *s; s++)
		if (*s < 0x20 || *s == 0x7f || (s[0] == 0xc2 && s[1] >= 0x80 && s[1] <= 0x9f))
			return true;
	return false;
}

static bool is_utf8(const char *name)
{
	json_t *j = json_string(name);
	bool is = j != NULL;

	json_decref(j);
	return is;
}

int volume_name_check(const struct volumes_env *env, const char *name, struct failure *f)
{
	if (!*name)
		return failure_set(f, -EINVAL, "Missing mandatory 'volume_name'");
	if (strlen(name) > VOLUME_NAME_MAX)
		return failure_set(f, -ENAMETOOLONG, "Volume name is longer than %d bytes",
				   VOLUME_NAME_MAX);
	if (strpbrk(name, "/\\") || has_control(name) || !strcmp(name, ".") || !strcmp(name, ".."))
		return failure_set(
			f, -EINVAL,
			"Volume name may not be a dot or two, nor hold slashes, backslashes "
			"or control characters");
	if (!is_utf8(name)) /* of a mount that is found: the state file could not hold it */
		return failure_set(f, -EINVAL, "Volume name '%s' is not UTF-8", name);
	/* The state file is written beside itself first, under the name with a tail. */
	if (env->reserved && !strncmp(name, env->reserved, strlen(env->reserved)))
		return failure_set(f, -EINVAL, "Volume name '%s' is taken by the driver",
				   env->reserved);
	return 0;
}

/* --- the table ------------------------------------------------------------- */

static struct list *bucket_of(struct volumes *vs, const char *name)
{
	return &vs->bucket[hash_bytes(name, strlen(name), 0) % VOLUME_BUCKETS];
}

struct vol *vol_find_locked(struct volumes *vs, const char *name)
{
	mutex_assert_held(&vs->lock);
	list_for_each(l, bucket_of(vs, name)) {
		struct vol *v = list_entry(l, struct vol, chain);

		if (!strcmp(v->name, name))
			return v;
	}
	return NULL;
}

static void vol_free(struct vol *v)
{
	json_decref(v->opts);
	free(v->last_error);
	free(v->name);
	free(v);
}

void vol_put_locked(struct vol *v)
{
	v->users--;
	if (v->forgotten && !v->users)
		vol_free(v);
}

void vol_forget_locked(struct volumes *vs, struct vol *v)
{
	mutex_assert_held(&vs->lock);
	if (v->forgotten)
		return;
	v->forgotten = true;
	list_del(&v->link);
	list_del(&v->chain);
	vs->n--;
	if (!v->users)
		vol_free(v);
}

/* Volman never removes what it created and did not mount. */
static bool make_room_locked(struct volumes *vs)
{
	if (vs->n < VOLUMES_MAX)
		return true;
	list_for_each(l, &vs->all) {
		struct vol *v = list_entry(l, struct vol, link);

		if (v->state == VOLUME_KNOWN && !v->docker && !v->users) {
			vol_forget_locked(vs, v);
			return true;
		}
	}
	return false;
}

struct vol *vol_add_locked(struct volumes *vs, const char *name)
{
	struct vol *v = make_room_locked(vs) ? calloc(1, sizeof *v) : NULL;

	if (!v)
		return NULL;
	v->name = strdup(name);
	if (!v->name) {
		free(v);
		return NULL;
	}
	v->created = time(NULL);
	list_push_back(&vs->all, &v->link);
	list_push_back(bucket_of(vs, name), &v->chain);
	vs->n++;
	return v;
}

char *vol_point(const struct volumes *vs, const struct vol *v)
{
	char *point;

	return asprintf(&point, "%s/%s", vs->env.root, v->name) < 0 ? NULL : point;
}

struct volumes *volumes_new(const struct volumes_env *env)
{
	struct volumes *vs = calloc(1, sizeof *vs);

	if (!vs)
		return NULL;
	vs->env = *env;
	mutex_init(&vs->save_lock, LOCK_driver_save);
	mutex_init(&vs->lock, LOCK_volumes);
	cond_init(&vs->turn);
	list_init(&vs->all);
	for (size_t i = 0; i < VOLUME_BUCKETS; i++)
		list_init(&vs->bucket[i]);
	return vs;
}

void volumes_free(struct volumes *vs)
{
	if (!vs)
		return;
	mutex_lock(&vs->lock);
	list_for_each_safe(l, tmp, &vs->all)
		vol_forget_locked(vs, list_entry(l, struct vol, link));
	mutex_unlock(&vs->lock);
	cond_done(&vs->turn);
	mutex_done(&vs->lock);
	mutex_done(&vs->save_lock);
	free(vs);
}

void volumes_close(struct volumes *vs)
{
	mutex_lock(&vs->lock);
	vs->closed = true;
	mutex_unlock(&vs->lock);
}

/* --- turns ----------------------------------------------------------------- */

bool vol_enter_locked(struct volumes *vs, struct vol *v)
{
	mutex_assert_held(&vs->lock);
	v->users++;
	while (v->busy)
		cond_wait(&vs->turn, &vs->lock);
	v->busy = true;
	return !v->forgotten;
}

void vol_leave_locked(struct volumes *vs, struct vol *v)
{
	mutex_assert_held(&vs->lock);
	v->busy = false;
	vol_put_locked(v);
	cond_broadcast(&vs->turn);
}

/* Finds name and has its turn, locked; NULL and unlocked when it is not there. */
static struct vol *enter(struct volumes *vs, const char *name)
{
	struct vol *v;

	mutex_lock(&vs->lock);
	v = vol_find_locked(vs, name);
	if (v && vol_enter_locked(vs, v))
		return v;
	if (v)
		vol_leave_locked(vs, v);
	mutex_unlock(&vs->lock);
	return NULL;
}

static void leave(struct volumes *vs, struct vol *v)
{
	vol_leave_locked(vs, v);
	mutex_unlock(&vs->lock);
}

/* --- saving ---------------------------------------------------------------- */

int volumes_save(struct volumes *vs, struct failure *f)
{
	AUTO_FREE char *text = NULL;
	uint64_t wanted, writing;
	int rc = 0;

	mutex_lock(&vs->lock);
	wanted = vs->generation;
	mutex_unlock(&vs->lock);
	mutex_lock(&vs->save_lock);
	/* Who waited for the lock often finds that its change went out with another's. */
	if (vs->saved < wanted) {
		mutex_lock(&vs->lock);
		writing = vs->generation;
		text = volumes_dump_locked(vs);
		mutex_unlock(&vs->lock);
		rc = text ? vs->env.save(vs->env.save_arg, text) : -ENOMEM;
		if (!rc)
			vs->saved = writing;
	}
	mutex_unlock(&vs->save_lock);
	if (rc)
		return failure_set(f, rc, "The driver cannot save its state: %s", strerror(-rc));
	return 0;
}

/* --- create and remove ----------------------------------------------------- */

static void log_create(const char *name, const json_t *opts)
{
	json_t *shown = mountopts_redacted(opts);
	AUTO_FREE char *text = json_dumps(shown, JSON_COMPACT);

	log_info("driver: create '%s' %.600s", name, text ? text : "");
	json_decref(shown);
}

static int check_opts(const json_t *opts, struct failure *f)
{
	if (opts && !json_is_null(opts) && !json_is_object(opts))
		return failure_set(f, -EINVAL, "Opts is not an object");
	if (opts && json_dumpb(opts, NULL, 0, 0) > VOLUMES_OPTS_MAX)
		return failure_set(f, -E2BIG, "Opts is longer than %d bytes", VOLUMES_OPTS_MAX);
	return 0;
}

/* What is wrong with a source, Mount tells, whose words the developer sees. That there is none is
 * a mistake of who asks, and Docker's users see this one. */
static int check_source(const json_t *opts, struct failure *f)
{
	const char *source = json_string_value(json_object_get(opts, "source"));

	return source && *source ? 0 : failure_set(f, -EINVAL, "Missing mandatory options: source");
}

/* With the turn, locked: new Opts, kept only when they are on disk. */
static int replace_opts(struct volumes *vs, struct vol *v, json_t *copy, struct failure *f)
{
	json_t *old = v->opts;
	bool was_lost = v->secret_lost;
	int rc;

	v->opts = copy;
	v->secret_lost = false;
	vs->generation++;
	mutex_unlock(&vs->lock);
	rc = volumes_save(vs, f);
	mutex_lock(&vs->lock);
	if (!rc) {
		json_decref(old);
		return 0;
	}
	vs->generation++;
	v->opts = old;
	v->secret_lost = was_lost;
	json_decref(copy);
	if (!old && v->state == VOLUME_KNOWN)
		vol_forget_locked(vs, v);
	return rc;
}

int volumes_create(struct volumes *vs, const char *name, const json_t *opts, struct failure *f)
{
	struct vol *v;
	json_t *copy;
	int rc;

	if (volume_name_check(&vs->env, name, f) || check_opts(opts, f))
		return -EINVAL;
	log_create(name, opts);
	if (check_source(opts, f))
		return -EINVAL;
	copy = json_deep_copy(opts);
	if (!copy)
		return failure_set(f, -ENOMEM, "out of memory");
	for (;;) {
		mutex_lock(&vs->lock);
		v = vol_find_locked(vs, name);
		if (!v)
			v = vol_add_locked(vs, name);
		if (!v || vol_enter_locked(vs, v))
			break;
		leave(vs, v); /* forgotten while we waited: once more, as new */
	}
	if (!v) {
		mutex_unlock(&vs->lock);
		json_decref(copy);
		return failure_set(f, -ENOSPC, "No more than %d volumes are possible", VOLUMES_MAX);
	}
	rc = replace_opts(vs, v, copy, f);
	leave(vs, v);
	return rc;
}

int volumes_remove(struct volumes *vs, const char *name, struct failure *f)
{
	struct vol *v;
	int rc = 0;

	if (volume_name_check(&vs->env, name, f))
		return -EINVAL;
	log_info("driver: remove '%s'", name);
	v = enter(vs, name);
	if (!v)
		return 0;
	if (v->state == VOLUME_MOUNTED) {
		mutex_unlock(&vs->lock);
		rc = vol_unmount(vs, v, vs->env.unmount_wait_ms, f);
		mutex_lock(&vs->lock);
	}
	if (rc && rc != -ENOENT) {
		leave(vs, v);
		return rc;
	}
	vol_forget_locked(vs, v);
	vs->generation++;
	leave(vs, v);
	return volumes_save(vs, f);
}

/* --- unmount --------------------------------------------------------------- */

/* Unlocked. */
static bool may_drain(void *arg)
{
	struct volumes *vs = arg;
	bool may;

	mutex_lock(&vs->lock);
	may = !vs->drain_until_ms || clock_ms() < vs->drain_until_ms;
	mutex_unlock(&vs->lock);
	return may;
}

int vol_unmount(struct volumes *vs, struct vol *v, unsigned drain_ms, struct failure *f)
{
	const struct cancel cancel = { may_drain, vs };
	AUTO_FREE char *point = vol_point(vs, v);
	bool dirty = false;
	int rc;

	if (!point)
		return failure_set(f, -ENOMEM, "out of memory");
	mutex_lock(&vs->lock);
	v->state = VOLUME_UNMOUNTING;
	mutex_unlock(&vs->lock);
	lock_assert_none();
	rc = vs->env.mounts->unmount(vs->env.mounts_arg, point, drain_ms, &cancel, &dirty, f);
	mutex_lock(&vs->lock);
	v->left_dirty = dirty && vs->closed;
	v->state = rc && rc != -ENOENT ? VOLUME_MOUNTED : VOLUME_KNOWN;
	if (v->state == VOLUME_KNOWN)
		v->count = 0;
	mutex_unlock(&vs->lock);
	if (vs->env.changed)
		vs->env.changed(vs->env.budget_arg);
	return rc;
}

/* With the turn, unlocked, of several uses one less: -ENOENT when the mount has vanished. */
static int drop_one(struct volumes *vs, struct vol *v)
{
	AUTO_FREE char *point = vol_point(vs, v);
	bool there = point && vs->env.mounts->is_mounted(vs->env.mounts_arg, point);

	mutex_lock(&vs->lock);
	v->count--;
	mutex_unlock(&vs->lock);
	return there ? 0 : -ENOENT;
}

static int not_there(const char *name, const char *why, struct failure *f)
{
	return failure_set(f, -ENOENT, "Volume %s does not exist%s", name, why);
}

int volumes_unmount(struct volumes *vs, const char *name, struct failure *f)
{
	struct failure save;
	struct vol *v;
	int rc;

	if (volume_name_check(&vs->env, name, f))
		return -EINVAL;
	log_info("driver: unmount '%s'", name);
	v = enter(vs, name);
	if (!v)
		return not_there(name, "", f);
	if (v->state != VOLUME_MOUNTED || !v->count) {
		leave(vs, v);
		return not_there(name, ": it is not mounted", f);
	}
	rc = v->count > 1;
	mutex_unlock(&vs->lock);
	rc = rc ? drop_one(vs, v) : vol_unmount(vs, v, vs->env.unmount_wait_ms, f);
	mutex_lock(&vs->lock);
	if (v->state == VOLUME_KNOWN && !v->docker)
		vol_forget_locked(vs, v);
	vs->generation++;
	leave(vs, v);
	if (volumes_save(vs, &save) && !rc) {
		*f = save;
		return -EIO;
	}
	return rc == -ENOENT ? not_there(name, ": its mount has vanished", f) : rc;
}

/* --- answers from memory --------------------------------------------------- */

static bool fill_info_locked(const struct volumes *vs, const struct vol *v, struct volume_info *out)
{
	*out = (struct volume_info){ .state = v->state,
				     .count = v->count,
				     .created = v->created,
				     .cache_wanted = v->cache_wanted };
	out->name = strdup(v->name);
	out->point = v->state == VOLUME_MOUNTED && v->count ? vol_point(vs, v) : strdup("");
	out->last_error = v->last_error ? strdup(v->last_error) : NULL;
	return out->name && out->point;
}

void volume_info_done(struct volume_info *i)
{
	free(i->name);
	free(i->point);
	free(i->last_error);
}

void volume_infos_free(struct volume_info *all, size_t n)
{
	for (size_t i = 0; all && i < n; i++)
		volume_info_done(&all[i]);
	free(all);
}

int volumes_get(struct volumes *vs, const char *name, struct volume_info *out, struct failure *f)
{
	const struct vol *v;
	bool ok = false;

	if (volume_name_check(&vs->env, name, f))
		return -EINVAL;
	mutex_lock(&vs->lock);
	v = vol_find_locked(vs, name);
	if (v)
		ok = fill_info_locked(vs, v, out);
	mutex_unlock(&vs->lock);
	if (!v)
		return not_there(name, "", f);
	if (ok)
		return 0;
	volume_info_done(out);
	return failure_set(f, -ENOMEM, "out of memory");
}

int volumes_path(struct volumes *vs, const char *name, char **point, struct failure *f)
{
	struct volume_info i = { 0 };
	int rc = volumes_get(vs, name, &i, f);

	if (rc)
		return rc;
	if (i.point && *i.point)
		*point = take_ptr(&i.point);
	else
		rc = failure_set(f, -ENOENT, "Volume %s is not mounted", name);
	volume_info_done(&i);
	return rc;
}

ssize_t volumes_list(struct volumes *vs, struct volume_info **out)
{
	struct volume_info *all;
	size_t n = 0;
	bool ok = true;

	mutex_lock(&vs->lock);
	all = calloc(vs->n + 1, sizeof *all);
	if (!all)
		ok = false;
	list_for_each(l, &vs->all) {
		if (ok)
			ok = fill_info_locked(vs, list_entry(l, struct vol, link), &all[n++]);
	}
	mutex_unlock(&vs->lock);
	if (ok) {
		*out = all;
		return (ssize_t)n;
	}
	volume_infos_free(all, n);
	return -ENOMEM;
}
