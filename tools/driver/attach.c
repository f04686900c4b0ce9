/* SPDX-License-Identifier: Apache-2.0 */
/* attach.c - see attach.h: the table of held volumes, their turns, and the layer itself */
#include "tools/driver/attach.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/abortpoint.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/uri.h"
#include "tools/driver/attach_impl.h"
#include "tools/driver/device.h"

#define SETTLE_LOOK_MS 20 /* between two volumes that an evacuation gives back */
#define TURN_LOOK_MS 100  /* between two looks at whether a waiting mount is still wanted */

bool held_is_block(const struct held *h)
{
	/* A provider of folders makes images too, if the plan says so. */
	return h->array->provider->ops->kind == PROVIDER_BLOCK || !strncmp(h->key, "image:", 6);
}

struct provider_ref held_ref(const struct held *h)
{
	return (struct provider_ref){ .owner = h->owner, .handle = h->handle, .plan = h->plan };
}

/* --- the table ------------------------------------------------------------- */

static void held_free(struct held *h)
{
	json_decref(h->points);
	json_decref(h->ended);
	json_decref(h->handle);
	json_decref(h->plan);
	free(h->device);
	free(h->uri);
	free(h->owner);
	free(h->key);
	free(h);
}

struct held *held_find_locked(struct attach *a, const struct array *array, const char *key)
{
	mutex_assert_held(&a->lock);
	list_for_each(l, &a->all) {
		struct held *h = list_entry(l, struct held, link);

		if (h->array == array && !strcmp(h->key, key))
			return h;
	}
	return NULL;
}

static struct held *find_point_locked(struct attach *a, const char *point)
{
	list_for_each(l, &a->all) {
		struct held *h = list_entry(l, struct held, link);

		if (json_object_get(h->points, point))
			return h;
	}
	return NULL;
}

struct held *held_add_locked(struct attach *a, const struct array *array, const char *key)
{
	struct held *h = a->n < ATTACH_VOLUMES_MAX ? calloc(1, sizeof *h) : NULL;

	mutex_assert_held(&a->lock);
	if (!h)
		return NULL;
	h->array = array;
	h->key = strdup(key);
	h->points = json_object();
	h->ended = json_array();
	if (!h->key || !h->points || !h->ended) {
		held_free(h);
		return NULL;
	}
	list_push_back(&a->all, &h->link);
	a->n++;
	return h;
}

void held_forget_locked(struct attach *a, struct held *h)
{
	mutex_assert_held(&a->lock);
	if (h->forgotten)
		return;
	h->forgotten = true;
	list_del(&h->link);
	a->n--;
	if (!h->users)
		held_free(h);
}

static void put_locked(struct held *h)
{
	h->users--;
	if (h->forgotten && !h->users)
		held_free(h);
}

/* --- turns ----------------------------------------------------------------- */

/* Locked before and after, with a user of the caller's. False when nobody waits any more: no turn then. */
static bool enter_locked(struct attach *a, struct held *h, const struct cancel *cancel)
{
	while (h->busy) {
		bool wanted;

		cond_wait_until(&a->turn, &a->lock, clock_ms() + TURN_LOOK_MS);
		mutex_unlock(&a->lock);
		wanted = !cancel || cancel->wanted(cancel->arg);
		mutex_lock(&a->lock);
		if (!wanted)
			return false;
	}
	h->busy = true;
	return true;
}

static void leave_locked(struct attach *a, struct held *h)
{
	h->busy = false;
	cond_broadcast(&a->turn);
}

/* --- points ---------------------------------------------------------------- */

/* A session that may live on is looked after until it is over. */
static void drop_point_locked(struct held *h, const char *point, const char *session)
{
	json_object_del(h->points, point);
	if (session && *session)
		json_array_append_new(h->ended, json_string(session));
}

/* Whatever had the point before has lost it: the layer above mounts there anew. */
static void add_point_locked(struct attach *a, struct held *h, const char *point)
{
	struct held *old = find_point_locked(a, point);

	if (old && old != h)
		drop_point_locked(old, point,
				  json_string_value(json_object_get(old->points, point)));
	json_object_set_new(h->points, point, json_string(""));
}

/* With the turn, unlocked: of a volume without a point, as far as it goes now. */
static void let_go(struct attach *a, struct held *h, unsigned wait_ms, const struct cancel *cancel)
{
	struct err err = { "" };
	int rc = held_give_back(a, h, wait_ms, cancel, &err);
	uint64_t pause = a->config.poll_ms;

	if (!rc)
		return;
	mutex_lock(&a->lock);
	for (unsigned i = 0; i < h->tries && pause < ATTACH_RETRY_MAX_MS; i++)
		pause *= 2;
	pause = pause < ATTACH_RETRY_MAX_MS ? pause : ATTACH_RETRY_MAX_MS;
	h->retry_at_ms = clock_ms() + pause;
	/* Each time as the pauses grow, not each time. */
	if (!(h->tries & (h->tries - 1)))
		log_warn("driver: volume '%s' stays with this cell: %s; tried again", h->key,
			 err.text);
	h->tries++;
	mutex_unlock(&a->lock);
}

static void give_back_or_save(struct attach *a, struct held *h, unsigned wait_ms,
			      const struct cancel *cancel)
{
	struct err err;
	bool used;

	mutex_lock(&a->lock);
	used = json_object_size(h->points) > 0;
	h->tries = 0;
	mutex_unlock(&a->lock);
	if (!used)
		let_go(a, h, wait_ms, cancel);
	else if (attach_save(a, &err))
		log_error("driver: %s", err.text);
}

/* --- claims ---------------------------------------------------------------- */

static const char *scheme_of(const struct provider *p)
{
	return !strcmp(p->ops->type, "local") ? "image" : p->ops->type;
}

static bool is_ours(const char *uri)
{
	return !strncmp(uri, "scaleio:", 8) || !strncmp(uri, "onefs:", 6) ||
	       !strncmp(uri, "image:", 6);
}

/* By its name; an image without one is of the only provider that has images. */
static const struct array *find_array(const struct attach *a, const char *scheme, const char *name)
{
	const struct array *found = NULL;

	for (size_t i = 0; i < a->narrays; i++) {
		const struct provider *p = a->arrays[i].provider;

		if (strcmp(scheme_of(p), scheme))
			continue;
		if (*name && !strcmp(p->name, name))
			return &a->arrays[i];
		if (!*name) {
			if (found)
				return NULL;
			found = &a->arrays[i];
		}
	}
	return found;
}

static const char *last_component(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* What the array calls it, as the providers' mount_config() writes it into a source. */
static json_t *handle_of(const struct uri *u)
{
	const char *name = last_component(u->path), *path = uri_param(u, "path");
	const char *zone = uri_param(u, "zone");

	if (!strcmp(u->scheme, "scaleio"))
		return json_pack("{s:s}", "id", name);
	return json_pack("{s:s, s:s*, s:s*}", "name", name, "path", path, "zone", zone);
}

static int parse_claim(const struct attach *a, const struct mount_spec *m, struct claim *c,
		       struct failure *f)
{
	AUTO_FREE struct uri *u = malloc(sizeof *u);
	const char *name = json_string_value(json_object_get(m->volume, "provider"));
	bool is_image;

	if (!u)
		return failure_set(f, -ENOMEM, "out of memory");
	if (uri_parse(m->uri, u, NULL))
		return failure_set_safe(f, -EINVAL, "source is no scheme://ARRAY/VOLUME");
	if (*u->host && name && strcmp(u->host, name))
		return failure_set_safe(f, -EINVAL,
					"source and option volume name different arrays");
	c->array = find_array(a, u->scheme, *u->host ? u->host : name ? name : "");
	if (!c->array)
		return failure_set_safe(f, -EINVAL,
					"source names an array that this cell does not know");
	is_image = !strcmp(u->scheme, "image");
	c->key = m->uri;
	c->owner = json_string_value(json_object_get(m->volume, "owner"));
	c->handle = json_object_get(m->volume, "handle");
	c->plan = json_object_get(m->volume, "plan");
	if (!*last_component(u->path))
		return failure_set_safe(f, -EINVAL, "source names no volume");
	if (is_image && (!c->owner || !c->plan))
		return failure_set_safe(f, -EINVAL, "option volume: an image wants owner and plan");
	c->from_source = is_image ? NULL : handle_of(u);
	return c->from_source || is_image ? 0 : failure_set(f, -ENOMEM, "out of memory");
}

/* --- mount ----------------------------------------------------------------- */

/* With the turn and a user; NULL with a failure. */
static struct held *enter_claimed(struct attach *a, const struct claim *c,
				  const struct cancel *cancel, struct failure *f)
{
	struct held *h;
	bool got;

	mutex_lock(&a->lock);
	for (;;) {
		h = held_find_locked(a, c->array, c->key);
		if (!h)
			h = held_add_locked(a, c->array, c->key);
		if (!h)
			break;
		h->users++;
		got = enter_locked(a, h, cancel);
		if (got && !h->forgotten)
			break;
		if (got)
			leave_locked(a, h);
		put_locked(h);
		h = NULL;
		if (!got)
			break;
	}
	mutex_unlock(&a->lock);
	if (!h && cancel && !cancel->wanted(cancel->arg))
		failure_set(f, -ECANCELED, "nobody waits for this mount any more");
	else if (!h)
		failure_set(f, -ENOMEM, "no room for one more volume of an array");
	return h;
}

static void replace(json_t **old, const json_t *new)
{
	if (!new)
		return;
	json_decref(*old);
	*old = json_incref((json_t *)new);
}

/* A source alone does not make forgotten what is known beside it. */
static void learn_locked(struct held *h, const struct claim *c)
{
	char *owner = c->owner ? strdup(c->owner) : NULL;

	if (owner) {
		free(h->owner);
		h->owner = owner;
	}
	replace(&h->handle, c->handle);
	replace(&h->plan, c->plan);
	if (!h->handle)
		replace(&h->handle, c->from_source);
}

/* With the turn: has it mapped, and its uri known. */
static int begin(struct attach *a, struct held *h, const struct claim *c,
		 const struct mount_spec *m, const struct cancel *cancel, struct failure *f)
{
	struct err err;

	mutex_lock(&a->lock);
	/* What nobody used meanwhile may be another cell's now, and is asked for again. */
	if (!json_object_size(h->points)) {
		free(h->uri);
		h->uri = NULL;
	}
	add_point_locked(a, h, m->point);
	learn_locked(h, c);
	mutex_unlock(&a->lock);
	if (!h->uri)
		return held_take(a, h, cancel, f);
	if (attach_save(a, &err))
		return failure_set(f, -EIO, "%.400s", err.text);
	return 0;
}

static int mount_below(struct attach *a, const struct held *h, const struct mount_spec *m,
		       const struct cancel *cancel, struct failure *f)
{
	struct mount_spec below = { .uri = h->uri, .options = m->options, .point = m->point };
	int rc;

	lock_assert_none();
	for (int i = 0; i < ATTACH_ACCESS_TRIES; i++) {
		rc = a->config.below->mount(a->config.below_arg, &below, cancel, f);
		if (rc != -EACCES || clock_ms() >= h->patient_until_ms)
			break;
		log_info("driver: mount at '%s': access is denied yet; tried again", m->point);
		if (cancel_pause(a->config.poll_ms, cancel))
			return failure_set(f, -ECANCELED, "nobody waits for this mount any more");
	}
	return rc;
}

static void note_mounted(struct attach *a, struct held *h, const char *point)
{
	char session[32];
	struct err err;

	attach_session_of(point, session, sizeof session);
	mutex_lock(&a->lock);
	if (json_object_get(h->points, point))
		json_object_set_new(h->points, point, json_string(session));
	mutex_unlock(&a->lock);
	if (attach_save(a, &err))
		log_error("driver: %s", err.text);
}

static void undo(struct attach *a, struct held *h, const char *point)
{
	mutex_lock(&a->lock);
	enter_locked(a, h, NULL);
	drop_point_locked(h, point, NULL);
	mutex_unlock(&a->lock);
	give_back_or_save(a, h, ATTACH_QUIET_MIN_MS, NULL);
	mutex_lock(&a->lock);
	leave_locked(a, h);
	mutex_unlock(&a->lock);
}

static int mount_claimed(struct attach *a, const struct claim *c, const struct mount_spec *m,
			 const struct cancel *cancel, struct failure *f)
{
	struct held *h = enter_claimed(a, c, cancel, f);
	int rc;

	if (!h)
		return cancel && !cancel->wanted(cancel->arg) ? -ECANCELED : -ENOMEM;
	rc = begin(a, h, c, m, cancel, f);
	mutex_lock(&a->lock);
	leave_locked(a, h);
	mutex_unlock(&a->lock);
	if (!rc)
		rc = mount_below(a, h, m, cancel, f);
	abort_point("attach: mounted below");
	if (rc)
		undo(a, h, m->point);
	else
		note_mounted(a, h, m->point);
	mutex_lock(&a->lock);
	put_locked(h);
	mutex_unlock(&a->lock);
	return rc;
}

static int attach_mount(void *arg, const struct mount_spec *m, const struct cancel *cancel,
			struct failure *f)
{
	struct attach *a = arg;
	struct claim c = { 0 };
	int rc;

	if (!is_ours(m->uri))
		return a->config.below->mount(a->config.below_arg, m, cancel, f);
	rc = parse_claim(a, m, &c, f);
	if (!rc && c.key)
		rc = mount_claimed(a, &c, m, cancel, f);
	json_decref(c.from_source);
	return rc;
}

/* --- unmount --------------------------------------------------------------- */

static void unmounted(struct attach *a, struct held *h, const char *point, const char *session,
		      unsigned wait_ms, const struct cancel *cancel)
{
	abort_point("attach: unmounted below");
	mutex_lock(&a->lock);
	enter_locked(a, h, NULL);
	drop_point_locked(h, point, session);
	mutex_unlock(&a->lock);
	give_back_or_save(a, h, wait_ms, cancel);
	mutex_lock(&a->lock);
	leave_locked(a, h);
	mutex_unlock(&a->lock);
}

static int attach_unmount(void *arg, const char *point, unsigned drain_ms,
			  const struct cancel *cancel, bool *dirty, struct failure *f)
{
	struct attach *a = arg;
	char session[32] = "";
	struct held *h;
	int rc;

	mutex_lock(&a->lock);
	h = find_point_locked(a, point);
	if (h) {
		h->users++;
		snprintf(session, sizeof session, "%s",
			 json_string_value(json_object_get(h->points, point)));
	}
	mutex_unlock(&a->lock);
	if (h && !*session)
		attach_session_of(point, session, sizeof session);
	lock_assert_none();
	rc = a->config.below->unmount(a->config.below_arg, point, drain_ms, cancel, dirty, f);
	if (!h)
		return rc;
	if (!rc || rc == -ENOENT)
		unmounted(a, h, point, session,
			  drain_ms > ATTACH_QUIET_MIN_MS ? drain_ms : ATTACH_QUIET_MIN_MS, cancel);
	mutex_lock(&a->lock);
	put_locked(h);
	mutex_unlock(&a->lock);
	return rc;
}

static bool attach_is_mounted(void *arg, const char *point)
{
	const struct attach *a = arg;

	return a->config.below->is_mounted(a->config.below_arg, point);
}

static bool attach_is_alive(void *arg, const char *point)
{
	const struct attach *a = arg;

	return a->config.below->is_alive(a->config.below_arg, point);
}

static int attach_below(void *arg, const char *root, void (*found)(void *arg, const char *name),
			void *found_arg)
{
	const struct attach *a = arg;

	return a->config.below->below(a->config.below_arg, root, found, found_arg);
}

const struct mounts_ops attach_ops = {
	.mount = attach_mount,
	.unmount = attach_unmount,
	.is_mounted = attach_is_mounted,
	.is_alive = attach_is_alive,
	.below = attach_below,
};

/* --- what has no point ----------------------------------------------------- */

/* With a turn and a user, or NULL; *next_ms: when there may be one. */
static struct held *next_due_locked(struct attach *a, uint64_t *next_ms)
{
	uint64_t now = clock_ms();

	list_for_each(l, &a->all) {
		struct held *h = list_entry(l, struct held, link);

		if (h->busy || json_object_size(h->points))
			continue;
		if (h->retry_at_ms <= now) {
			h->busy = true;
			h->users++;
			return h;
		}
		if (h->retry_at_ms < *next_ms)
			*next_ms = h->retry_at_ms;
	}
	return NULL;
}

static void *attach_main(void *arg)
{
	struct attach *a = arg;

	pthread_setname_np(pthread_self(), "driver-attach");
	mutex_lock(&a->lock);
	while (!a->stopping) {
		uint64_t next_ms = clock_ms() + ATTACH_RETRY_MAX_MS;
		struct held *h = next_due_locked(a, &next_ms);

		if (!h) {
			cond_wait_until(&a->turn, &a->lock, next_ms);
			continue;
		}
		mutex_unlock(&a->lock);
		let_go(a, h, 0, NULL);
		mutex_lock(&a->lock);
		leave_locked(a, h);
		put_locked(h);
	}
	a->stopped = true;
	cond_broadcast(&a->turn);
	mutex_unlock(&a->lock);
	return NULL;
}

/* What the layer above does not have mounted lost its points while no driver was there. */
static void drop_vanished(struct attach *a)
{
	list_for_each(l, &a->all) { /* nobody else is there yet */
		struct held *h = list_entry(l, struct held, link);
		json_t *points = json_copy(h->points), *session;
		const char *point;

		json_object_foreach(points, point, session) {
			if (!a->config.below->is_mounted(a->config.below_arg, point))
				drop_point_locked(h, point, json_string_value(session));
		}
		json_decref(points);
	}
}

int attach_start(struct attach *a)
{
	drop_vanished(a);
	a->started = !pthread_create(&a->thread, NULL, attach_main, a);
	return a->started ? 0 : -EAGAIN;
}

bool attach_stop(struct attach *a, unsigned limit_ms)
{
	uint64_t end = clock_ms() + limit_ms;
	bool stopped;

	if (!a || !a->started)
		return true;
	mutex_lock(&a->lock);
	a->stopping = true;
	cond_broadcast(&a->turn);
	while (!a->stopped && clock_ms() < end)
		cond_wait_until(&a->turn, &a->lock, end);
	stopped = a->stopped;
	mutex_unlock(&a->lock);
	if (stopped)
		pthread_join(a->thread, NULL);
	a->started = !stopped;
	return stopped;
}

static bool before(void *arg)
{
	return clock_ms() < *(const uint64_t *)arg;
}

/* *any: there is one, perhaps in another thread's hands. */
static struct held *settle_next_locked(struct attach *a, bool *any)
{
	struct held *next = NULL;

	*any = false;
	list_for_each(l, &a->all) {
		struct held *h = list_entry(l, struct held, link);

		if (json_object_size(h->points))
			continue;
		*any = true;
		/* One that nobody can give back does not hold up the others. */
		if (!h->busy && (!next || h->tries < next->tries))
			next = h;
	}
	return next;
}

static void note_left(struct attach *a, json_t *left)
{
	mutex_lock(&a->lock);
	list_for_each(l, &a->all) {
		const struct held *h = list_entry(l, struct held, link);

		json_array_append_new(left, json_string(h->key));
	}
	mutex_unlock(&a->lock);
}

void attach_settle(struct attach *a, uint64_t deadline_ms, json_t *left)
{
	const struct cancel cancel = { before, &deadline_ms };
	bool any = true;
	struct held *h;

	while (any && clock_ms() < deadline_ms) {
		mutex_lock(&a->lock);
		h = settle_next_locked(a, &any);
		if (h) {
			h->busy = true;
			h->users++;
			mutex_unlock(&a->lock);
			let_go(a, h, a->config.poll_ms, &cancel);
			mutex_lock(&a->lock);
			leave_locked(a, h);
			put_locked(h);
		}
		mutex_unlock(&a->lock);
		if (any)
			cancel_pause(SETTLE_LOOK_MS, &cancel);
	}
	note_left(a, left);
}

/* --- the whole ------------------------------------------------------------- */

static int open_all(struct attach *a, struct err *err)
{
	const json_t *all = a->config.providers;
	const char *name;
	json_t *value;
	int rc = 0;

	json_object_foreach((json_t *)all, name, value) {
		struct array *array = &a->arrays[a->narrays];

		if (a->narrays == ATTACH_PROVIDERS_MAX)
			return err_set(err, -EINVAL, "providers: at most %d", ATTACH_PROVIDERS_MAX);
		rc = a->config.open(name, value, &array->provider, err);
		if (rc)
			break;
		array->config = value;
		a->narrays++;
	}
	return rc;
}

static int list_sources(struct attach *a, struct err *err)
{
	size_t n = 0;

	for (size_t i = 0; i < a->narrays; i++) {
		const struct provider *p = a->arrays[i].provider;
		const char *scheme = scheme_of(p);
		int rc = 0;

		if (!strcmp(scheme, "image"))
			rc = asprintf(&a->sources[n], "image:");
		else if (!strcmp(scheme, "scaleio") || !strcmp(scheme, "onefs"))
			rc = asprintf(&a->sources[n], "%s://%s", scheme, p->name);
		if (rc < 0) {
			a->sources[n] = NULL;
			return err_set(err, -ENOMEM, "out of memory");
		}
		n += rc > 0;
	}
	return 0;
}

int attach_new(const struct attach_config *c, struct attach **out, struct err *err)
{
	struct attach *a = calloc(1, sizeof *a);
	int rc;

	if (!a)
		return err_set(err, -ENOMEM, "out of memory");
	a->config = *c;
	list_init(&a->all);
	mutex_init(&a->save_lock, LOCK_attach_save);
	mutex_init(&a->lock, LOCK_attach);
	cond_init(&a->turn);
	rc = open_all(a, err);
	if (!rc)
		rc = list_sources(a, err);
	if (rc)
		attach_free(a);
	else
		*out = a;
	return rc;
}

void attach_free(struct attach *a)
{
	if (!a)
		return;
	list_for_each_safe(l, tmp, &a->all)
		held_free(list_entry(l, struct held, link));
	for (size_t i = 0; i < a->narrays; i++)
		a->arrays[i].provider->ops->close(a->arrays[i].provider);
	for (size_t i = 0; a->sources[i]; i++)
		free(a->sources[i]);
	cond_done(&a->turn);
	mutex_done(&a->lock);
	mutex_done(&a->save_lock);
	free(a);
}

const char *const *attach_sources(const struct attach *a)
{
	return (const char *const *)a->sources;
}

int attach_parse_fence(const char *text, bool *fence, unsigned *seconds, struct err *err)
{
	char end;

	*fence = strcmp(text, "never") != 0;
	*seconds = 0;
	if (!*fence)
		return 0;
	if (sscanf(text, "disconnected:%7u%c", seconds, &end) != 1 || !*seconds)
		return err_set(err, -EINVAL, "fence '%.100s': want never or disconnected:SECONDS",
			       text);
	return 0;
}
