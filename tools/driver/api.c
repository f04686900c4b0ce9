/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/api.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"

struct call {
	const struct api *api;
	const json_t *body; /* an object */
	const char *name;   /* of the volume, "" when there was none */
	struct caller caller;
	struct api_undo *undo;
	struct failure f;
};

/* Each returns the answer, or NULL with the failure in c->f. */
typedef json_t *route_fn(struct call *c);

static json_t *done(int rc)
{
	return rc ? NULL : json_pack("{s:s}", "Err", "");
}

static json_t *activate(struct call *c)
{
	(void)c;
	return json_pack("{s:[s]}", "Implements", "VolumeDriver");
}

static json_t *capabilities(struct call *c)
{
	return json_pack("{s:{s:s}}", "Capabilities", "Scope", c->api->scope);
}

static json_t *create(struct call *c)
{
	return done(
		volumes_create(c->api->volumes, c->name, json_object_get(c->body, "Opts"), &c->f));
}

static json_t *remove_volume(struct call *c)
{
	return done(volumes_remove(c->api->volumes, c->name, &c->f));
}

static json_t *mount_volume(struct call *c)
{
	AUTO_FREE char *point = NULL;

	if (volumes_mount(c->api->volumes, c->name, &c->caller, &point, &c->f))
		return NULL;
	c->undo->mounted = strdup(c->name);
	return json_pack("{s:s, s:s}", "Mountpoint", point, "Err", "");
}

static json_t *unmount_volume(struct call *c)
{
	return done(volumes_unmount(c->api->volumes, c->name, &c->f));
}

static json_t *path_of(struct call *c)
{
	AUTO_FREE char *point = NULL;

	if (volumes_path(c->api->volumes, c->name, &point, &c->f))
		return NULL;
	return json_pack("{s:s, s:s}", "Mountpoint", point, "Err", "");
}

static json_t *describe(const struct volume_info *i)
{
	return json_pack("{s:s, s:s, s:i}", "Name", i->name, "Mountpoint", i->point, "MountCount",
			 (int)i->count);
}

/* Docker's decoder fails on an empty time, so an unknown one is left out. */
static void add_created(json_t *volume, time_t created)
{
	char text[32];
	struct tm tm;

	if (created > 0 && gmtime_r(&created, &tm) &&
	    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm))
		json_object_set_new(volume, "CreatedAt", json_string(text));
}

static json_t *get(struct call *c)
{
	struct volume_info i;
	json_t *volume;

	if (volumes_get(c->api->volumes, c->name, &i, &c->f))
		return NULL;
	volume = describe(&i);
	add_created(volume, i.created);
	json_object_set_new(volume, "Status",
			    json_pack("{s:s}", "state", volume_state_names[i.state]));
	volume_info_done(&i);
	return json_pack("{s:o, s:s}", "Volume", volume, "Err", "");
}

static json_t *list(struct call *c)
{
	struct volume_info *all = NULL;
	ssize_t n = volumes_list(c->api->volumes, &all);
	json_t *volumes;

	if (n < 0) {
		failure_set(&c->f, -ENOMEM, "out of memory");
		return NULL;
	}
	volumes = json_array();
	for (ssize_t i = 0; i < n; i++)
		json_array_append_new(volumes, describe(&all[i]));
	volume_infos_free(all, (size_t)n);
	return json_pack("{s:o, s:s}", "Volumes", volumes, "Err", "");
}

static const struct route {
	const char *path;
	enum op op;
	bool may_wait, wants_name;
	route_fn *answer;
	const char *empty; /* beside Err, so that clients find the keys they decode; NULL: nothing */
} routes[] = {
	{ "/Plugin.Activate", OP_ACTIVATE, false, false, activate, NULL },
	{ "/VolumeDriver.Capabilities", OP_CAPABILITIES, false, false, capabilities, NULL },
	{ "/VolumeDriver.Create", OP_CREATE, true, true, create, NULL },
	{ "/VolumeDriver.Remove", OP_REMOVE, true, true, remove_volume, NULL },
	{ "/VolumeDriver.Mount", OP_MOUNT, true, true, mount_volume, "Mountpoint" },
	{ "/VolumeDriver.Unmount", OP_UNMOUNT, true, true, unmount_volume, NULL },
	{ "/VolumeDriver.Path", OP_PATH, false, true, path_of, "Mountpoint" },
	{ "/VolumeDriver.Get", OP_GET, false, true, get, NULL },
	{ "/VolumeDriver.List", OP_LIST, false, false, list, NULL },
};

static const struct route *find_route(const char *path)
{
	for (size_t i = 0; i < ARRAY_LEN(routes); i++)
		if (!strcmp(routes[i].path, path))
			return &routes[i];
	return NULL;
}

bool api_knows(const char *path)
{
	return find_route(path) != NULL;
}

bool api_may_wait(const char *path)
{
	const struct route *r = find_route(path);

	return r && r->may_wait;
}

/* The object of the body; what is empty, or null, is one without keys. */
static json_t *parse_body(const char *body, size_t len, struct failure *f)
{
	json_error_t e;
	json_t *j;

	if (!body) {
		failure_set(f, -E2BIG, "The request's body is too long");
		return NULL;
	}
	while (len && strchr(" \t\r\n", body[len - 1]) && body[len - 1])
		len--;
	if (!len)
		return json_object();
	j = json_loadb(body, len, JSON_DECODE_ANY, &e);
	if (json_is_null(j))
		return json_object();
	if (json_is_object(j))
		return j;
	/* e.text quotes the body, which may hold a secret. */
	if (j)
		failure_set(f, -EINVAL, "The request's body is not a JSON object");
	else
		failure_set(f, -EINVAL, "The request's body is not JSON: line %d, column %d",
			    e.line, e.column);
	json_decref(j);
	return NULL;
}

static int find_name(struct call *c, const struct route *r)
{
	const json_t *name = json_object_get(c->body, "Name");

	c->name = "";
	if (!r->wants_name || !name || json_is_null(name))
		return 0;
	if (!json_is_string(name) || strlen(json_string_value(name)) != json_string_length(name))
		return failure_set(&c->f, -EINVAL, "Name is not a string, or holds a NUL");
	c->name = json_string_value(name);
	return 0;
}

static json_t *failed(const struct route *r, const struct failure *f)
{
	json_t *answer = json_object(), *safe;
	AUTO_FREE char *text = NULL;

	if (f->safe) {
		safe = json_pack("{s:s}", "SafeDescription", f->err.text);
		text = json_dumps(safe, JSON_COMPACT);
		json_decref(safe);
	}
	if (r && r->empty)
		json_object_set_new(answer, r->empty, json_string(""));
	json_object_set_new(answer, "Err", json_string(text ? text : f->err.text));
	return answer;
}

static json_t *run_route(struct call *c, const struct route *r, const char *body, size_t len)
{
	json_t *object = parse_body(body, len, &c->f), *answer = NULL;

	c->body = object;
	if (object && !find_name(c, r)) {
		c->caller.has_id = json_string_length(json_object_get(object, "ID")) > 0;
		answer = r->answer(c);
	}
	json_decref(object);
	return answer;
}

json_t *api_answer(const struct api *api, const char *path, const char *body, size_t len,
		   bool (*gone)(void *arg), void *gone_arg, struct api_undo *undo)
{
	const struct route *r = find_route(path);
	struct call c = { .api = api, .undo = undo, .caller = { gone, gone_arg, false } };
	uint64_t begun = clock_us();
	json_t *answer = NULL;

	undo->mounted = NULL;
	strcpy(c.f.err.text, "out of memory");
	if (!r) {
		failure_set(&c.f, -ENOENT, "No such route");
		return failed(NULL, &c.f);
	}
	answer = run_route(&c, r, body, len);
	metrics_count(api->metrics, r->op, !answer, clock_us() - begun);
	/* An object of its own, whatever its maker looked at. */
	if (answer)
		return answer; /* cppcheck-suppress returnDanglingLifetime */
	log_debug("driver: %s: %s", path, c.f.err.text);
	return failed(r, &c.f);
}

void api_undo(const struct api *api, struct api_undo *undo)
{
	struct failure f;

	if (!undo->mounted)
		return;
	log_warn("driver: nobody heard that '%s' was mounted: undone", undo->mounted);
	if (volumes_unmount(api->volumes, undo->mounted, &f))
		log_warn("driver: %s", f.err.text);
	free(undo->mounted);
	undo->mounted = NULL;
}
