/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_ns.c - directories, by the namespace API
 *
 * Whole trees (delete, copy) may take longer than any wait: a delete goes on with what the last one has left,
 * and what is to be deleted lies under another name by then. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "backends/providers/onefs_impl.h"
#include "common/cleanup.h"

#define CONTAINER "x-isi-ifs-target-type: container"
#define PARENT_MODE 0755 /* of folders above the volumes */

static int no_memory(struct err *err)
{
	return err_set(err, -ENOMEM, "out of memory");
}

/* --- one directory ------------------------------------------------------------------ */

static const char *attr_value(const json_t *answer, const char *name)
{
	const json_t *attrs = json_object_get(answer, "attrs");

	for (size_t i = 0; i < json_array_size(attrs); i++) {
		const json_t *attr = json_array_get(attrs, i);

		if (!strcmp(rest_text(attr, "name"), name))
			return rest_text(attr, "value");
	}
	return "";
}

/* "Tue, 14 Nov 2023 22:13:20 GMT"; 0 for anything else. */
static uint64_t parse_date(const char *text)
{
	struct tm tm = { 0 };
	time_t t;

	if (!strptime(text, "%a, %d %b %Y %H:%M:%S", &tm))
		return 0;
	t = timegm(&tm);
	return t > 0 ? (uint64_t)t : 0;
}

int isi_ns_stat(struct onefs *o, const char *path, uint64_t *created, struct err *err)
{
	AUTO_FREE char *url = isi_ns_url(path, "metadata");
	const struct isi_call c = {
		.name = "look for directory", .method = "GET", .path = url, .safe = true
	};
	struct isi_reply a;
	int rc = isi_call(o, &c, &a, err);
	const char *type = rc ? "" : attr_value(a.rest.json, "type");

	if (!rc && !json_is_array(json_object_get(a.rest.json, "attrs")))
		rc = err_set(err, -EPROTO, "%s: look for directory: the answer has no \"attrs\"",
			     o->base.name);
	if (!rc && *type && strcmp(type, "container") != 0)
		rc = err_set(err, -EEXIST, "%s: %.300s is no directory", o->base.name, path);
	if (!rc && created)
		*created = parse_date(attr_value(a.rest.json, "create_time"));
	isi_reply_done(&a);
	return rc;
}

static int put_directory(struct onefs *o, const char *path, const char *query, mode_t mode,
			 struct err *err)
{
	AUTO_FREE char *url = isi_ns_url(path, query);
	char access[64];
	const struct isi_call c = { .name = "make directory",
				    .method = "PUT",
				    .path = url,
				    .header = { CONTAINER, access },
				    .safe = true };

	snprintf(access, sizeof access, "x-isi-ifs-access-control: %04o", (unsigned)mode);
	return isi_do(o, &c, err);
}

int isi_ns_mkdir(struct onefs *o, const char *path, mode_t mode, struct err *err)
{
	char parent[ONEFS_PATH_MAX];
	char *slash;
	int rc = put_directory(o, path, NULL, mode, err);

	if (rc != -ENOENT)
		return rc;
	/* Parents made along with it would get its mode. */
	snprintf(parent, sizeof parent, "%s", path);
	slash = strrchr(parent, '/');
	if (!slash || slash == parent)
		return rc;
	*slash = '\0';
	rc = put_directory(o, parent, "recursive=true", PARENT_MODE, err);
	return rc ? rc : put_directory(o, path, NULL, mode, err);
}

int isi_ns_own(struct onefs *o, const char *path, uint32_t uid, uint32_t gid, mode_t mode,
	       struct err *err)
{
	AUTO_FREE char *url = isi_ns_url(path, "acl");
	char user[32], group[32], bits[8];
	json_t *body;
	int rc;

	snprintf(user, sizeof user, "UID:%u", uid);
	snprintf(group, sizeof group, "GID:%u", gid);
	snprintf(bits, sizeof bits, "%04o", (unsigned)mode & 07777);
	body = json_pack("{s:s, s:s, s:{s:s, s:s}, s:{s:s, s:s}}", "authoritative", "mode", "mode",
			 bits, "owner", "id", user, "type", "user", "group", "id", group, "type",
			 "group");
	if (!body)
		return no_memory(err);
	rc = isi_do(o,
		    &(struct isi_call){ .name = "set owner of directory",
					.method = "PUT",
					.path = url,
					.body = body,
					.safe = true },
		    err);
	json_decref(body);
	return rc;
}

/* --- trees ------------------------------------------------------------------------------ */

/* -ENOENT: there is nothing to move; -EEXIST: something lies in the new place. */
static int move(struct onefs *o, const char *from, const char *to, struct err *err)
{
	AUTO_FREE char *url = isi_ns_url(from, NULL);
	AUTO_FREE char *target = isi_ns_url(to, NULL);
	AUTO_FREE char *header = NULL;
	/* Made again after an answer that was lost it finds nothing, which is as good. */
	struct isi_call c = {
		.name = "move directory", .method = "POST", .path = url, .safe = true
	};

	if (!target || asprintf(&header, "x-isi-ifs-set-location: %s", target) < 0) {
		header = NULL;
		return no_memory(err);
	}
	c.header[0] = header;
	return isi_do(o, &c, err);
}

/* 0 when it is gone. */
static int delete_tree(struct onefs *o, const char *path, struct err *err)
{
	AUTO_FREE char *url = isi_ns_url(path, "recursive=true");
	const struct isi_call c = { .name = "delete directory",
				    .method = "DELETE",
				    .path = url,
				    .total_ms = ONEFS_TREE_MS };
	int rc = 0;

	for (unsigned try = 0; try < ONEFS_TREE_TRIES; try++) {
		if (try)
			isi_pause(o, try);
		rc = isi_do(o, &c, err);
		if (rc == -ENOENT)
			return 0;
		/* Part of it is gone; not empty: somebody still writes there. */
		if (rc != -EAGAIN && rc != -EBUSY)
			break;
	}
	return rc == -EEXIST ? -EBUSY : rc; /* 409: a quota below it, or something not empty */
}

int isi_ns_remove(struct onefs *o, const char *path, const char *trash, struct err *err)
{
	int rc = move(o, path, trash, err);

	if (rc == -EEXIST || rc == -EBUSY) { /* an earlier one of this name is still there */
		rc = delete_tree(o, trash, err);
		if (rc)
			return rc;
		rc = move(o, path, trash, err);
	}
	if (rc && rc != -ENOENT)
		return rc == -EEXIST ? -EBUSY : rc;
	return delete_tree(o, trash, err);
}

/* The first of "copy_errors", a list, or an object that holds it. */
static const json_t *first_copy_error(const json_t *answer)
{
	const json_t *list = json_object_get(answer, "copy_errors");

	if (json_is_object(list))
		list = json_object_get(list, "copy_errors");
	return json_array_get(list, 0);
}

static const char *first_text(const json_t *object, const char *const *keys)
{
	for (; *keys; keys++)
		if (*rest_text(object, *keys))
			return rest_text(object, *keys);
	return "";
}

static int judge_copy(const struct onefs *o, const json_t *answer, struct err *err)
{
	static const char *const names[] = { "source", "path", "name", "error_src", NULL };
	static const char *const words[] = { "message", "error_message", "error", NULL };
	const json_t *first = first_copy_error(answer);
	const char *name = first_text(first, names), *why = first_text(first, words);
	bool denied = strcasestr(why, "denied") || strcasestr(why, "permission");

	if (!first && !json_is_false(json_object_get(answer, "success")))
		return 0;
	return err_set(err, denied ? -EACCES : -EAGAIN,
		       "%s: copy directory: a part could not be copied, first '%.200s': %.150s",
		       o->base.name, *name ? name : "(not named)", *why ? why : "no reason given");
}

int isi_ns_copy(struct onefs *o, const char *from, const char *to, struct err *err)
{
	AUTO_FREE char *url = isi_ns_url(to, "merge=true&overwrite=true");
	AUTO_FREE char *source = isi_ns_url(from, NULL);
	AUTO_FREE char *header = NULL;
	struct isi_call c = {
		.name = "copy directory", .method = "PUT", .path = url, .total_ms = ONEFS_TREE_MS
	};
	struct isi_reply a;
	int rc;

	if (!source || asprintf(&header, "x-isi-ifs-copy-source: %s", source) < 0) {
		header = NULL;
		return no_memory(err);
	}
	c.header[0] = header;
	rc = isi_call(o, &c, &a, err);
	if (!rc && !a.rest.json && a.rest.len) /* what went wrong may have been in there */
		rc = err_set(err, -EPROTO, "%s: copy directory: the answer is no JSON",
			     o->base.name);
	if (!rc)
		rc = judge_copy(o, a.rest.json, err);
	isi_reply_done(&a);
	return rc;
}

/* --- lists ---------------------------------------------------------------------------------- */

static int keep_name(void *arg, json_t *item, json_t *into)
{
	const char *type = rest_text(item, "type");

	(void)arg;
	if (!*rest_text(item, "name") || (*type && strcmp(type, "container") != 0))
		return 0;
	return json_array_append(into, json_object_get(item, "name")) ? -ENOMEM : 0;
}

int isi_ns_list(struct onefs *o, const char *path, json_t **out, struct err *err)
{
	/* hidden: what is on its way out has a dot in front */
	AUTO_FREE char *url =
		isi_ns_url(path, "detail=default&limit=" ONEFS_PAGE "&type=container&hidden=true");
	AUTO_FREE char *more = isi_ns_url(path, NULL);
	const struct isi_list l = {
		.call = "list directories",
		.path = url,
		.more = more,
		.key = "children",
		.keep = keep_name,
	};

	if (!url || !more)
		return no_memory(err);
	return isi_list(o, &l, out, err);
}
