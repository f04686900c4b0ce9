/* SPDX-License-Identifier: Apache-2.0 */
/* attach_map.c - a held volume's way from its array to a device or share that can be mounted, and back */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "common/abortpoint.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/sdc.h"
#include "tools/driver/attach_impl.h"
#include "tools/driver/device.h"
#include "tools/driver/source.h"

static const struct provider_ops *ops_of(const struct held *h)
{
	return h->array->provider->ops;
}

static void log_refusal(const struct held *h, const char *what, const struct err *err)
{
	log_warn("driver: volume '%s': %s: %s", h->key, what, err->text);
}

/* The provider's sentence is the operator's, it can name hosts; the developer gets one of these. */
static int explain(int rc, struct failure *f)
{
	switch (rc) {
	case -ECANCELED:
		return failure_set(f, rc, "nobody waits for this mount any more");
	case -ENOENT:
		return failure_set_safe(f, rc, "the volume does not exist at the storage system");
	case -EAGAIN:
		return failure_set_safe(f, rc, "the storage system does not answer in time");
	case -EACCES:
		return failure_set_safe(f, rc, "the storage system refuses this cell");
	case -EOPNOTSUPP:
		return failure_set_safe(f, rc, "a volume of this kind cannot be mapped to a cell");
	default:
		return failure_set_safe(f, rc,
					"the storage system cannot give the volume to this cell");
	}
}

/* --- map, exclusively ------------------------------------------------------ */

/* Somebody else has it: for how long we have waited, and since when the array says, to each poll
 * anew, that this one has no connection. */
struct siege {
	uint64_t deadline_ms;
	char id[PROVIDER_NQN_MAX];
	uint64_t cut_since_ms; /* 0: it is connected */
};

/* Nothing is mapped after these, when nothing was before. */
static bool is_refusal(int rc)
{
	return rc == -EBUSY || rc == -ENOENT || rc == -EINVAL || rc == -EACCES || rc == -EOPNOTSUPP;
}

static int map_once(struct attach *a, struct held *h, struct provider_mapping *out, struct err *err)
{
	const struct provider_host host = cell_host(&h->cell);
	const struct provider_ref ref = held_ref(h);
	bool before = h->mapped;
	int rc;

	memset(out, 0, sizeof *out);
	mutex_lock(&a->lock);
	h->mapped = true;
	mutex_unlock(&a->lock);
	lock_assert_none();
	abort_point("attach: before map");
	rc = ops_of(h)->map(h->array->provider, &ref, &host, out, err);
	abort_point("attach: after map");
	if (rc && is_refusal(rc)) {
		mutex_lock(&a->lock);
		h->mapped = before;
		mutex_unlock(&a->lock);
	}
	return rc;
}

/* The policy says that the holder has been cut off for long enough. */
static bool is_dead(const struct attach *a, struct siege *s, const struct provider_mapping *m)
{
	const char *id = *m->holder_guid ? m->holder_guid : m->holder_nqn;
	uint64_t now = clock_ms(), cut_s;

	if (m->holder_connected || !*id) {
		s->cut_since_ms = 0;
		return false;
	}
	if (!s->cut_since_ms || strcmp(s->id, id)) {
		snprintf(s->id, sizeof s->id, "%s", id);
		s->cut_since_ms = now;
	}
	cut_s = (now - s->cut_since_ms) / 1000;
	if (m->holder_since) {
		time_t wall = time(NULL);

		cut_s = wall > 0 && (uint64_t)wall > m->holder_since ?
				(uint64_t)wall - m->holder_since :
				0;
	}
	return a->config.fence && cut_s >= a->config.fence_s;
}

static void fence(const struct held *h, const struct provider_mapping *m)
{
	const struct provider_host host = { .sdc_guid = *m->holder_guid ? m->holder_guid : NULL,
					    .nqn = *m->holder_nqn ? m->holder_nqn : NULL };
	const struct provider_ref ref = held_ref(h);
	struct err err = { "" };

	log_warn("driver: volume '%s' is taken away from '%s', which has no connection to the "
		 "array: policy \"fence\"",
		 h->key, m->holder);
	if (ops_of(h)->unmap(h->array->provider, &ref, &host, &err))
		log_refusal(h, "fence", &err);
}

static int still_held(const struct attach *a, const struct provider_mapping *m, struct failure *f)
{
	return failure_set_safe(
		f, -EBUSY,
		"the volume is in use on another cell (%.120s), which did not let go of it within "
		"%u seconds; it can be mounted on one cell at a time",
		*m->holder ? m->holder : "unknown", a->config.block_wait_ms / 1000);
}

static int map(struct attach *a, struct held *h, const struct cancel *cancel,
	       struct provider_mapping *m, struct failure *f)
{
	struct siege s = { .deadline_ms = clock_ms() + a->config.block_wait_ms };

	for (;;) {
		struct err err = { "" };
		int rc = map_once(a, h, m, &err);

		if (!rc)
			return 0;
		if (rc != -EBUSY && rc != -EAGAIN) {
			log_refusal(h, "map", &err);
			return explain(rc, f);
		}
		if (rc == -EBUSY && is_dead(a, &s, m))
			fence(h, m);
		else if (clock_ms() >= s.deadline_ms) {
			log_refusal(h, "map", &err);
			return rc == -EBUSY ? still_held(a, m, f) : explain(rc, f);
		}
		if (cancel_pause(a->config.poll_ms, cancel))
			return explain(-ECANCELED, f);
	}
}

/* --- block ----------------------------------------------------------------- */

static int64_t id_of(const struct held *h, const char *key)
{
	const json_t *v = json_object_get(h->plan, key);

	return json_is_integer(v) && json_integer_value(v) >= 0 ? json_integer_value(v) : -1;
}

static int format(struct attach *a, struct held *h, const struct cancel *cancel, struct failure *f)
{
	const struct provider_ref ref = held_ref(h);
	struct err err = { "" };
	int rc;

	log_info("driver: volume '%s' is new: it gets a file system", h->key);
	abort_point("attach: before mkfs");
	rc = device_format(h->device, a->config.mkfs, id_of(h, "uid"), id_of(h, "gid"), cancel, f);
	abort_point("attach: after mkfs");
	if (rc)
		return rc;
	rc = ops_of(h)->set_used(h->array->provider, &ref, &err);
	abort_point("attach: after set_used");
	if (!rc)
		return 0;
	log_refusal(h, "set_used", &err);
	return explain(rc, f);
}

/* A3. */
static int prepare_content(struct attach *a, struct held *h, const struct cancel *cancel,
			   struct failure *f)
{
	const struct provider_ref ref = held_ref(h);
	struct provider_volume v = { .fresh = false };
	enum device_content content;
	struct err err = { "" };
	int rc = ops_of(h)->get(h->array->provider, &ref, &v, &err);

	if (rc) {
		log_refusal(h, "get", &err);
		return explain(rc, f);
	}
	rc = device_check(h->device, v.size == PROVIDER_UNKNOWN ? 0 : v.size, f);
	if (rc)
		return rc;
	rc = device_content(h->device, &content);
	if (rc) {
		log_error("driver: device '%s': %s", h->device, strerror(-rc));
		return failure_set_safe(f, rc, "the volume's device cannot be read on this cell");
	}
	if (!v.fresh && content == DEVICE_BLANK)
		return failure_set_safe(f, -EMEDIUMTYPE,
					"the volume holds no file system and is not new: it is "
					"left as it is, ask the operator");
	if (v.fresh && content == DEVICE_FILLED)
		return failure_set_safe(
			f, -EMEDIUMTYPE,
			"the volume counts as new, but holds a file system that was "
			"used: it is left as it is, ask the operator");
	return v.fresh ? format(a, h, cancel, f) : 0;
}

static int set_uri(struct attach *a, struct held *h, char *uri_take, struct failure *f)
{
	if (!uri_take)
		return failure_set(f, -ENOMEM, "out of memory");
	mutex_lock(&a->lock);
	free(h->uri);
	h->uri = uri_take;
	mutex_unlock(&a->lock);
	return 0;
}

static int note_device(struct attach *a, struct held *h, const struct provider_mapping *m,
		       struct failure *f)
{
	const char *name = *m->device                       ? m->device :
			   !strncmp(m->source, "image:", 6) ? m->source + 6 :
							      "";
	char path[PATH_MAX], *copy;

	if (!*name)
		return failure_set(f, -EPROTO, "provider '%s' names no device",
				   h->array->provider->name);
	copy = sdc_path(a->config.device_dir, name, path, sizeof path) ? NULL : strdup(path);
	if (!copy)
		return failure_set(f, -ENOMEM, "out of memory");
	mutex_lock(&a->lock);
	free(h->device);
	h->device = copy;
	mutex_unlock(&a->lock);
	return 0;
}

static int take_block(struct attach *a, struct held *h, const struct provider_mapping *m,
		      const struct cancel *cancel, struct failure *f)
{
	const struct sdc_host sdc = { .drv_cfg = a->config.cell.drv_cfg };
	struct err err;
	int rc = note_device(a, h, m, f);

	if (rc)
		return rc;
	/* Before anything is done with it: who is killed now leaves a device that can be asked after. */
	if (attach_save(a, &err))
		return failure_set(f, -EIO, "%.400s", err.text);
	rc = sdc_wait(&sdc, h->device, a->config.device_wait_ms, cancel);
	if (rc == -ECANCELED)
		return explain(rc, f);
	if (rc) {
		log_error("driver: device '%s' of volume '%s' does not appear", h->device, h->key);
		return failure_set_safe(f, rc,
					"the volume's device did not appear on this cell within %u "
					"seconds",
					a->config.device_wait_ms / 1000);
	}
	rc = device_check(h->device, m->size, f);
	if (!rc)
		rc = prepare_content(a, h, cancel, f);
	return rc ? rc : set_uri(a, h, source_join("ext4:", h->device), f);
}

int held_take(struct attach *a, struct held *h, const struct cancel *cancel, struct failure *f)
{
	struct provider_mapping m;
	struct cell cell;
	struct err err;
	int rc;

	cell_find(&a->config.cell, h->array->config, &cell);
	mutex_lock(&a->lock);
	/* What is mapped is given back as whom it was mapped. */
	if (!h->mapped)
		h->cell = cell;
	mutex_unlock(&a->lock);
	if (attach_save(a, &err))
		return failure_set(f, -EIO, "%.400s", err.text);
	rc = map(a, h, cancel, &m, f);
	if (rc)
		return rc;
	if (held_is_block(h))
		return take_block(a, h, &m, cancel, f);
	if (!*m.source)
		return failure_set(f, -EPROTO, "provider '%s' names no share",
				   h->array->provider->name);
	if (!m.was_mapped)
		h->patient_until_ms =
			clock_ms() + (uint64_t)ATTACH_ACCESS_TRIES * a->config.poll_ms;
	return set_uri(a, h, strdup(m.source), f);
}

/* --- back ------------------------------------------------------------------ */

/* A2; who still needs it, "" nobody. */
static void users_of(struct attach *a, struct held *h, char *who, size_t cap)
{
	char session[32];
	size_t i = 0;

	*who = '\0';
	for (;;) {
		mutex_lock(&a->lock);
		snprintf(session, sizeof session, "%s",
			 i < json_array_size(h->ended) ?
				 json_string_value(json_array_get(h->ended, i)) :
				 "");
		mutex_unlock(&a->lock);
		if (!*session)
			break;
		if (!attach_session_over(session)) {
			snprintf(who, cap, "session %s, which is unmounted and lives on", session);
			return;
		}
		mutex_lock(&a->lock);
		json_array_remove(h->ended, i); /* who has the turn alone removes or adds */
		mutex_unlock(&a->lock);
	}
	if (h->device)
		device_users(h->device, who, cap);
}

static int wait_quiet(struct attach *a, struct held *h, unsigned wait_ms,
		      const struct cancel *cancel, struct err *err)
{
	uint64_t end = clock_us() / 1000 + wait_ms;
	char who[400];

	for (;;) {
		users_of(a, h, who, sizeof who);
		if (!*who)
			return 0;
		if (clock_us() / 1000 >= end || cancel_pause(CANCEL_LOOK_MS, cancel))
			return err_set(err, -EBUSY, "it is used by %.300s", who);
	}
}

static bool is_link(const char *path)
{
	struct stat st;

	return path && !lstat(path, &st) && S_ISLNK(st.st_mode);
}

static int unmap(struct attach *a, struct held *h, const struct cancel *cancel, struct err *err)
{
	const struct provider_host host = cell_host(&h->cell);
	const struct provider_ref ref = held_ref(h);
	bool goes = is_link(h->device); /* an image stays where it is */
	int rc = h->device ? device_flush(h->device) : 0;

	if (rc)
		return err_set(err, rc, "device '%.200s' cannot be flushed: %s", h->device,
			       strerror(-rc));
	lock_assert_none();
	abort_point("attach: before unmap");
	rc = ops_of(h)->unmap(h->array->provider, &ref, &host, err);
	abort_point("attach: after unmap");
	if (rc && rc != -ENOENT)
		return rc;
	if (goes && paths_wait(h->device, false, a->config.device_wait_ms, cancel))
		log_warn("driver: device '%s' is still there after it was unmapped", h->device);
	return 0;
}

int held_give_back(struct attach *a, struct held *h, unsigned wait_ms, const struct cancel *cancel,
		   struct err *err)
{
	struct err ignored;
	int rc = 0;

	if (h->mapped) {
		rc = wait_quiet(a, h, wait_ms, cancel, err);
		/* An array can be slow to answer, an evacuation without time goes on with others. */
		if (!rc && cancel && !cancel->wanted(cancel->arg))
			rc = err_set(err, -ECANCELED, "there is no time left");
		if (!rc)
			rc = unmap(a, h, cancel, err);
	}
	if (rc)
		return rc;
	log_info("driver: volume '%s': this cell does not need it any more", h->key);
	mutex_lock(&a->lock);
	held_forget_locked(a, h);
	mutex_unlock(&a->lock);
	/* An entry too many costs the next driver a question to the array. */
	if (attach_save(a, &ignored))
		log_error("driver: %s", ignored.text);
	return 0;
}
