/* SPDX-License-Identifier: Apache-2.0 */
/* attach_state.c - what outlives a driver of what arrays gave to this cell, and sessions that outlive
 * their mounts
 *
 * The state file: {"Version":1,"Volumes":[{"Provider","Source","Owner","Handle","Plan","Device","Uri","Cell":
 * {"sdc_guid","nqn","address"},"Points":{POINT:SESSION},"Ended":[SESSION]},...]}. It holds no secret, and is read as if
 * a stranger had written it. Without volumes there is no file. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/runtime.h"
#include "tools/driver/attach_impl.h"
#include "tools/driver/daemons.h"
#include "tools/driver/state.h"

#define STATE_VERSION 1
#define SESSION_DRAIN_MS 200 /* for a daemon to say that it has nothing left to write */

/* --- sessions -------------------------------------------------------------- */

void attach_session_of(const char *point, char *buf, size_t cap)
{
	unsigned maj, min;

	if (runtime_mount_dev(point, &maj, &min, NULL, 0, NULL))
		*buf = '\0';
	else
		snprintf(buf, cap, "%u-%u", maj, min);
}

static bool is_mounted_somewhere(unsigned maj, unsigned min)
{
	AUTO_FREE struct mount_entry *e = malloc(sizeof *e);
	AUTO_FREE char *line = NULL;
	FILE *in = fopen("/proc/self/mountinfo", "re");
	bool found = !in || !e; /* who cannot look leaves it alone */
	size_t cap = 0;

	while (!found && getline(&line, &cap, in) > 0)
		found = !mount_entry_parse(line, e) && e->maj == maj && e->min == min;
	if (in)
		fclose(in);
	return found;
}

/* The number of a session that is over may be another's now; then this one is over when that one is. */
bool attach_session_over(const char *session)
{
	char path[PATH_MAX], at[sizeof DAEMON_AT_SOCKET + PATH_MAX];
	struct err err = { "" };
	unsigned maj, min;
	int rc;

	if (sscanf(session, "%u-%u", &maj, &min) != 2 ||
	    runtime_socket_path(maj, min, path, sizeof path, NULL))
		return true;
	if (access(path, F_OK))
		return !is_mounted_somewhere(maj, min);
	/* The link is there: a session that lives, or one whose daemon was killed. */
	snprintf(at, sizeof at, DAEMON_AT_SOCKET "%s", path);
	rc = daemon_drain(at, SESSION_DRAIN_MS, NULL, &err);
	return rc == -ECONNREFUSED || rc == -ENOENT;
}

/* --- writing --------------------------------------------------------------- */

static json_t *text_or_null(const char *text)
{
	return text ? json_string(text) : json_null();
}

static json_t *dump_held(const struct held *h)
{
	return json_pack("{s:s, s:s, s:o, s:O?, s:O?, s:o, s:o, s:{s:s, s:s, s:s}, s:o, s:o}",
			 "Provider", h->array->provider->name, "Source", h->key, "Owner",
			 text_or_null(h->owner), "Handle", h->handle, "Plan", h->plan, "Device",
			 text_or_null(h->device), "Uri", text_or_null(h->uri), "Cell", "sdc_guid",
			 h->cell.sdc_guid, "nqn", h->cell.nqn, "address", h->cell.address, "Points",
			 json_copy(h->points), "Ended", json_copy(h->ended));
}

/* *n: volumes in it. NULL without memory. */
static char *dump(struct attach *a, unsigned *n)
{
	json_t *list = json_array(), *all;
	char *text = NULL;
	bool ok = true;

	mutex_lock(&a->lock);
	list_for_each(l, &a->all) {
		ok = ok &&
		     !json_array_append_new(list, dump_held(list_entry(l, struct held, link)));
	}
	*n = a->n;
	mutex_unlock(&a->lock);
	all = json_pack("{s:i, s:o}", "Version", STATE_VERSION, "Volumes", list);
	if (ok)
		text = json_dumps(all, JSON_INDENT(1));
	json_decref(all);
	return text;
}

int attach_save(struct attach *a, struct err *err)
{
	AUTO_FREE char *text = NULL;
	unsigned n;
	int rc;

	mutex_lock(&a->save_lock);
	text = dump(a, &n);
	rc = text ? 0 : -ENOMEM;
	if (!rc && n)
		rc = state_write(a->config.state, text, 0600);
	else if (!rc && unlink(a->config.state) && errno != ENOENT)
		rc = -errno;
	mutex_unlock(&a->save_lock);
	return rc ? err_set(err, rc, "the driver cannot save its state '%.300s': %s",
			    a->config.state, strerror(-rc)) :
		    0;
}

/* --- reading --------------------------------------------------------------- */

static char *copy_text(const json_t *j, const char *key)
{
	const char *text = json_string_value(json_object_get(j, key));

	return text && *text && strlen(text) < PATH_MAX ? strdup(text) : NULL;
}

static void copy_into(const json_t *j, const char *key, char *buf, size_t cap)
{
	const char *text = json_string_value(json_object_get(j, key));

	snprintf(buf, cap, "%s", text ? text : "");
}

static json_t *copy_object(const json_t *j, const char *key)
{
	json_t *v = json_object_get(j, key);

	return json_is_object(v) ? json_incref(v) : NULL;
}

static void read_points(struct held *h, const json_t *j)
{
	const json_t *ended = json_object_get(j, "Ended");
	json_t *points = json_object_get(j, "Points"), *session;
	const char *point;

	json_object_foreach(points, point, session) {
		if (json_is_string(session))
			json_object_set(h->points, point, session);
	}
	for (size_t i = 0; i < json_array_size(ended); i++)
		if (json_is_string(json_array_get(ended, i)))
			json_array_append(h->ended, json_array_get(ended, i));
}

static const struct array *array_of(const struct attach *a, const char *name)
{
	for (size_t i = 0; name && i < a->narrays; i++)
		if (!strcmp(a->arrays[i].provider->name, name))
			return &a->arrays[i];
	return NULL;
}

static int read_held(struct attach *a, const json_t *j, struct err *err)
{
	const char *name = json_string_value(json_object_get(j, "Provider"));
	const char *key = json_string_value(json_object_get(j, "Source"));
	const json_t *cell = json_object_get(j, "Cell");
	const struct array *array = array_of(a, name);
	struct held *h = NULL;

	if (!name || !key || !*key)
		return err_set(err, -EINVAL, "an entry has no provider or source");
	/* The operator took the array out of the configuration: nobody can be asked to take it back. */
	if (!array) {
		log_error(
			"driver: volume '%s' is mapped to this cell by provider '%s', which is not "
			"configured any more",
			key, name);
		return 0;
	}
	mutex_lock(&a->lock);
	if (!held_find_locked(a, array, key))
		h = held_add_locked(a, array, key);
	mutex_unlock(&a->lock);
	if (!h)
		return err_set(err, -EINVAL, "volume '%.100s' is there twice, or one too many",
			       key);
	h->mapped = true;
	h->owner = copy_text(j, "Owner");
	h->handle = copy_object(j, "Handle");
	h->plan = copy_object(j, "Plan");
	h->device = copy_text(j, "Device");
	h->uri = copy_text(j, "Uri");
	copy_into(cell, "sdc_guid", h->cell.sdc_guid, sizeof h->cell.sdc_guid);
	copy_into(cell, "nqn", h->cell.nqn, sizeof h->cell.nqn);
	copy_into(cell, "address", h->cell.address, sizeof h->cell.address);
	read_points(h, j);
	return 0;
}

static int read_all(struct attach *a, const json_t *state, struct err *err)
{
	const json_t *list = json_object_get(state, "Volumes");
	int rc = 0;

	if (json_integer_value(json_object_get(state, "Version")) != STATE_VERSION ||
	    !json_is_array(list))
		return err_set(err, -EINVAL, "is not one of version %d", STATE_VERSION);
	for (size_t i = 0; !rc && i < json_array_size(list); i++)
		rc = read_held(a, json_array_get(list, i), err);
	return rc;
}

int attach_restore(struct attach *a, struct err *err)
{
	char bad[PATH_MAX];
	json_t *state = NULL;
	struct err why = { "" };
	int rc = state_read(a->config.state, &state, &why);

	if (!rc && state)
		rc = read_all(a, state, &why);
	json_decref(state);
	if (!rc)
		return 0;
	log_error("driver: '%s': %s; put aside", a->config.state, why.text);
	if (snprintf(bad, sizeof bad, "%s" STATE_BAD_TAIL, a->config.state) >= (int)sizeof bad)
		return err_set(err, -ENAMETOOLONG, "state '%.200s': is too long", a->config.state);
	if (rename(a->config.state, bad))
		return err_set(err, -errno, "cannot rename '%.300s': %s", a->config.state,
			       strerror(errno));
	return 0;
}
