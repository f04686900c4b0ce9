/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_ran.c - /namespace: directories of the real folder
 *
 * Only directories are made and read; what is in a file is not told. Long calls (copy, recursive
 * delete) run without the lock. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/sim/onefs_impl.h"

#define COPY_ERRORS 1000 /* that one answer tells */
#define LISTED " detail limit resume sort dir type hidden zone "

void onefs_fail_errno(struct onefs_call *c, int rc, const char *path)
{
	switch (rc) {
	case -ENOENT:
	case -ENOTDIR:
		onefs_fail(c, 404, "AEC_NOT_FOUND", NULL,
			   "Unable to open object '%s' in store 'ifs' -- not found.", path + 1);
		break;
	case -EEXIST:
		onefs_fail(c, 409, "AEC_CONFLICT", NULL, "'%s' exists already", path);
		break;
	case -ENOTEMPTY:
		onefs_fail(c, 409, "AEC_CONFLICT", NULL, "Directory '%s' is not empty", path);
		break;
	case -EACCES:
	case -EPERM:
		onefs_fail(c, 403, "AEC_FORBIDDEN", NULL, "Access to '%s' is denied", path);
		break;
	case -ENAMETOOLONG:
		onefs_fail(c, 403, "AEC_NAMETOO_LONG", NULL, "A name or path is too long");
		break;
	case -EINVAL:
		onefs_fail(c, 400, "AEC_BAD_REQUEST", NULL, "Not possible with '%s'", path);
		break;
	default:
		onefs_fail(c, 500, "AEC_SYSTEM_INTERNAL_ERROR", NULL, "%s: %s", path,
			   strerrordesc_np(-rc));
	}
}

/* The path of a header that holds "/namespace/ifs/..." or "/ifs/...", decoded; NULL: an error was added. */
static char *path_of_header(struct onefs_call *c, const char *header)
{
	const char *v = httpd_header(c->rq, header);
	AUTO_FREE char *path = NULL;
	char *out;

	if (v && !strncmp(v, "/namespace", 10))
		v += 10;
	out = path = v ? strdup(v) : NULL;
	for (const char *p = path; p && *p; p++) {
		unsigned byte;

		if (*p == '%' && sscanf(p + 1, "%2x", &byte) == 1 && byte && p[1] && p[2]) {
			*out++ = (char)byte;
			p += 2;
		} else {
			*out++ = *p;
		}
	}
	if (out)
		*out = '\0';
	if (path && out > path + 4 && out[-1] == '/')
		out[-1] = '\0';
	if (path && onefs_path_ok(path))
		return take_ptr(&path);
	onefs_fail(c, 400, "AEC_BAD_REQUEST", NULL, "Header %s holds no path below /namespace/ifs",
		   header);
	return NULL;
}

static bool is_snapshot(struct onefs_call *c, const char *path)
{
	if (!onefs_path_below(path, "/ifs/.snapshot"))
		return false;
	onefs_fail(c, 403, "AEC_FORBIDDEN", NULL, "'%s' is read-only", path);
	return true;
}

/* --- what is told of an entry ----------------------------------------------- */

static const char *type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR:
		return "container";
	case S_IFREG:
		return "object";
	case S_IFLNK:
		return "symbolic_link";
	case S_IFIFO:
		return "pipe";
	case S_IFCHR:
		return "character_device";
	case S_IFBLK:
		return "block_device";
	default:
		return "socket";
	}
}

static void http_time(time_t t, char buf[40])
{
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(buf, 40, "%a, %d %b %Y %H:%M:%S GMT", &tm))
		buf[0] = '\0';
}

static json_t *details(const char *name, const struct stat *st, const char *want)
{
	char mode[8], when[40];
	json_t *all, *some, *user = onefs_user(st->st_uid), *group = onefs_group(st->st_gid);

	snprintf(mode, sizeof mode, "%04o", st->st_mode & 07777);
	http_time(st->st_mtim.tv_sec, when);
	all = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:s, s:i}", "name", name,
			"type", type_of(st->st_mode), "mode", mode, "owner",
			json_string_value(json_object_get(user, "name")), "group",
			json_string_value(json_object_get(group, "name")), "uid",
			(json_int_t)st->st_uid, "gid", (json_int_t)st->st_gid, "size",
			(json_int_t)st->st_size, "id", (json_int_t)st->st_ino, "last_modified",
			when, "nlink", (int)st->st_nlink);
	json_decref(user);
	json_decref(group);
	if (!want || !strcmp(want, "default") || !strcmp(want, "yes") || !*want)
		return all;
	some = json_object();
	json_object_set(some, "name", json_object_get(all, "name"));
	for (const char *p = want; *p;) {
		size_t n = strcspn(p, ",");
		char key[32];
		json_t *v;

		snprintf(key, sizeof key, "%.*s", (int)(n < 31 ? n : 31), p);
		v = json_object_get(all, key);
		if (v)
			json_object_set(some, key, v);
		p += n + (p[n] == ',');
	}
	json_decref(all);
	return some;
}

static void get_metadata(struct onefs_call *c, const char *path)
{
	struct stat st;
	int rc = onefs_stat(c->o, path, &st);
	json_t *all, *attrs, *v;
	const char *key;

	if (rc) {
		onefs_fail_errno(c, rc, path);
		return;
	}
	all = details(strrchr(path, '/') + 1, &st, NULL);
	attrs = json_array();
	json_object_foreach(all, key, v) {
		json_array_append_new(attrs, json_pack("{s:s, s:O, s:n}", "name", key, "value", v,
						       "namespace"));
	}
	json_decref(all);
	c->answer = json_pack("{s:o}", "attrs", attrs);
}

static void head(struct onefs_call *c, const char *path)
{
	struct stat st;
	char when[40];
	int rc = onefs_stat(c->o, path, &st);

	if (rc) {
		onefs_fail_errno(c, rc, path);
		return;
	}
	http_time(st.st_mtim.tv_sec, when);
	httpd_add_header(c->rq, "Last-Modified", when);
	httpd_add_header(c->rq, "x-isi-ifs-target-type", type_of(st.st_mode));
}

/* --- listings --------------------------------------------------------------- */

struct entry {
	char *name;
	int64_t by;
};

static int compare_entries(const void *a, const void *b)
{
	const struct entry *x = a, *y = b;

	if (x->by != y->by)
		return x->by < y->by ? -1 : 1;
	return strcmp(x->name, y->name);
}

static bool wanted(struct onefs_call *c, const char *path, const struct dirent *e,
		   const struct stat *st)
{
	const char *type = onefs_arg(c, "type");

	if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
		return false;
	if (!strcmp(path, "/ifs") && !strcmp(e->d_name, ".snapshot") &&
	    !onefs_arg_true(c, "hidden"))
		return false;
	return !type || !strcmp(type, type_of(st->st_mode));
}

static int64_t order_of(const char *sort, const struct stat *st)
{
	if (!strcmp(sort, "size"))
		return st->st_size;
	return !strcmp(sort, "last_modified") ? st->st_mtim.tv_sec : 0;
}

static json_t *sorted_names(struct onefs_call *c, struct entry *all, size_t n)
{
	const char *dir = onefs_arg(c, "dir");
	bool down = dir && !strcasecmp(dir, "DESC");
	json_t *names = json_array();

	if (n)
		qsort(all, n, sizeof *all, compare_entries);
	for (size_t i = 0; i < n; i++) /* names that are no UTF-8 are not told */
		json_array_append_new(names, json_string(all[down ? n - 1 - i : i].name));
	return names;
}

static json_t *read_names(struct onefs_call *c, const char *path, DIR *d)
{
	const char *sort = onefs_arg(c, "sort") ? onefs_arg(c, "sort") : "name";
	struct entry *all = NULL, *more;
	size_t n = 0, cap = 0;
	const struct dirent *e;
	struct stat st;
	json_t *names;

	while ((e = readdir(d))) {
		if (fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) ||
		    !wanted(c, path, e, &st))
			continue;
		if (n == cap) {
			cap = cap ? 2 * cap : 64;
			more = realloc(all, cap * sizeof *all);
			if (!more)
				break;
			all = more;
		}
		all[n].by = order_of(sort, &st);
		all[n].name = strdup(e->d_name);
		n += all[n].name != NULL;
	}
	names = sorted_names(c, all, n);
	for (size_t i = 0; i < n; i++)
		free(all[i].name);
	free(all);
	return names;
}

static void check_list_args(struct onefs_call *c)
{
	const char *name, *sort = onefs_arg(c, "sort"), *type = onefs_arg(c, "type");
	json_t *v;

	json_object_foreach(c->args, name, v) {
		if (!onefs_word(LISTED, name))
			onefs_fail(c, 400, "AEC_BAD_REQUEST", NULL, "Unknown argument '%.64s'",
				   name);
	}
	if (sort && !onefs_word(" name size last_modified ", sort))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "sort", "Cannot sort by '%.64s'", sort);
	if (type &&
	    !onefs_word(" container object symbolic_link pipe character_device block_device "
			"socket whiteout_file ",
			type))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "type", "Unknown type '%.64s'", type);
}

/* One page; the path is remembered with the arguments. */
static json_t *page_of(struct onefs_call *c, const char *path, json_t *names_take, json_t **resume)
{
	json_t *page;

	if (names_take)
		json_object_set_new(c->args, "/path", json_string(path));
	mutex_lock(&c->o->lock);
	page = onefs_page(c, onefs_namespace, names_take, resume);
	mutex_unlock(&c->o->lock);
	if (page && strcmp(onefs_arg(c, "/path"), path) != 0) {
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "resume", "Invalid resume token");
		json_decref(page);
		json_decref(*resume);
		page = NULL;
	}
	return page;
}

static void list(struct onefs_call *c, const char *path)
{
	int fd;
	DIR *d;
	json_t *page, *children, *resume;
	const char *detail;

	check_list_args(c);
	if (c->errors)
		return;
	fd = onefs_open_dir(c->o, path);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d) {
		if (fd >= 0)
			close(fd);
		onefs_fail_errno(c, fd < 0 ? fd : -ENOMEM, path);
		return;
	}
	page = page_of(c, path, onefs_arg(c, "resume") ? NULL : read_names(c, path, d), &resume);
	detail = onefs_arg(c, "detail");
	children = json_array();
	for (size_t i = 0; i < json_array_size(page); i++) {
		const char *name = json_string_value(json_array_get(page, i));
		struct stat st;

		if (!fstatat(dirfd(d), name, &st, AT_SYMLINK_NOFOLLOW))
			json_array_append_new(children, detail ? details(name, &st, detail) :
								 json_pack("{s:s}", "name", name));
	}
	closedir(d);
	if (page)
		c->answer = json_pack("{s:o, s:o}", "children", children, "resume", resume);
	else
		json_decref(children);
	json_decref(page);
}

static void get(struct onefs_call *c, const char *path)
{
	struct stat st;
	int rc;

	if (onefs_arg(c, "acl")) {
		onefs_get_acl(c, path);
	} else if (onefs_arg(c, "metadata")) {
		get_metadata(c, path);
	} else {
		rc = onefs_stat(c->o, path, &st);
		if (rc)
			onefs_fail_errno(c, rc, path);
		else if (!S_ISDIR(st.st_mode))
			onefs_fail(c, 405, "AEC_METHOD_NOT_ALLOWED", NULL,
				   "The simulator does not tell what is in a file");
		else
			list(c, path);
	}
}

/* --- copies ----------------------------------------------------------------- */

struct copying {
	struct onefs_call *c;
	json_t *errors;
	bool go_on;
	char why[256];
};

static const char *copy_check(void *arg, const char *from)
{
	struct copying *k = arg;
	const char *why;

	mutex_lock(&k->c->o->lock);
	why = json_string_value(json_object_get(k->c->o->copyfail, from));
	if (why)
		snprintf(k->why, sizeof k->why, "%s", why);
	mutex_unlock(&k->c->o->lock);
	return why ? k->why : NULL;
}

static bool copy_failed(void *arg, const char *from, const char *to, const char *why)
{
	struct copying *k = arg;
	char source[ONEFS_PATH_MAX + 16], target[ONEFS_PATH_MAX + 16];

	snprintf(source, sizeof source, "/namespace%s", from);
	snprintf(target, sizeof target, "/namespace%s", to);
	json_array_append_new(k->errors,
			      json_pack("{s:s, s:s*, s:s*, s:s*}", "error_src", "copy", "message",
					why, "source", source, "target", target));
	return k->go_on && json_array_size(k->errors) < COPY_ERRORS;
}

static void copy_tree(struct onefs_call *c, const char *to)
{
	AUTO_FREE char *from = path_of_header(c, "x-isi-ifs-copy-source");
	struct copying k = { .c = c,
			     .errors = json_array(),
			     .go_on = onefs_arg_true(c, "continue") };
	struct onefs_copy how = {
		.check = copy_check, .failed = copy_failed, .arg = &k, .stop_after = c->half ? 1 : 0
	};
	bool merge = onefs_arg_true(c, "merge") || onefs_arg_true(c, "overwrite");
	struct stat st;
	int rc = c->errors ? -EINVAL : onefs_stat(c->o, from, &st);

	if (!c->errors && rc)
		onefs_fail_errno(c, rc, from);
	else if (!rc && onefs_path_below(to, from))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", NULL, "A tree cannot be copied into itself");
	else if (!rc && !merge && !onefs_stat(c->o, to, &st))
		onefs_fail_errno(c, -EEXIST, to);
	if (!c->errors) {
		rc = onefs_copy_tree(c->o, from, to, &how);
		if (rc && rc != -ECANCELED && rc != -EINTR)
			onefs_fail_errno(c, rc, to);
	}
	if (!c->errors && json_array_size(k.errors))
		c->answer = json_pack("{s:O, s:b}", "copy_errors", k.errors, "success", 0);
	json_decref(k.errors);
}

/* --- changes ---------------------------------------------------------------- */

static void put(struct onefs_call *c, const char *path)
{
	const char *type = httpd_header(c->rq, "x-isi-ifs-target-type");
	mode_t mode;
	int rc;

	if (is_snapshot(c, path))
		return;
	if (onefs_arg(c, "acl")) {
		onefs_put_acl(c, path);
		return;
	}
	if (httpd_header(c->rq, "x-isi-ifs-copy-source")) {
		copy_tree(c, path);
		return;
	}
	if (!type || strcmp(type, "container") != 0) {
		onefs_fail(
			c, 400, "AEC_BAD_REQUEST", NULL,
			"x-isi-ifs-target-type must be container: the simulator makes directories only");
		return;
	}
	if (!onefs_read_mode(httpd_header(c->rq, "x-isi-ifs-access-control"), 0700, &mode)) {
		onefs_fail(c, 400, "AEC_BAD_REQUEST", NULL,
			   "x-isi-ifs-access-control is neither octal nor the name of an ACL");
		return;
	}
	rc = onefs_mkdir(c->o, path, mode, onefs_arg_true(c, "recursive"));
	if (rc < 0)
		onefs_fail_errno(c, rc == -ENOTDIR ? -EEXIST : rc, path);
	else if (rc)
		onefs_forget_acls(c, path);
}

static void remove_it(struct onefs_call *c, const char *path)
{
	bool recursive = onefs_arg_true(c, "recursive"), quota;
	enum onefs_removal how = REMOVE_ONE;
	int rc;

	if (is_snapshot(c, path))
		return;
	if (!strcmp(path, "/ifs")) {
		onefs_fail(c, 403, "AEC_FORBIDDEN", NULL, "/ifs may not be deleted");
		return;
	}
	mutex_lock(&c->o->lock);
	quota = onefs_has_quota(c->o, path, true);
	mutex_unlock(&c->o->lock);
	if (quota) {
		onefs_fail_errno(c, -ENOTEMPTY, path);
		return;
	}
	if (recursive)
		how = onefs_denied(c->o, "ISI_PRIV_IFS_RESTORE") ? REMOVE_BOUNDED : REMOVE_ALL;
	rc = onefs_remove(c->o, path, how, c->half ? 1 : 0);
	if (rc == -EINTR)
		return; /* half of it is done */
	if (rc) {
		onefs_fail_errno(c, rc, path);
	} else {
		onefs_forget_acls(c, path);
		c->status = 204;
	}
}

static void post(struct onefs_call *c, const char *path)
{
	AUTO_FREE char *to = NULL;
	bool quota;
	int rc;

	if (onefs_arg(c, "query")) {
		onefs_fail(c, 405, "AEC_METHOD_NOT_ALLOWED", NULL, "The simulator does not search");
		return;
	}
	to = path_of_header(c, "x-isi-ifs-set-location");
	if (!to || is_snapshot(c, path) || is_snapshot(c, to))
		return;
	mutex_lock(&c->o->lock);
	quota = onefs_has_quota(c->o, path, true);
	mutex_unlock(&c->o->lock);
	if (quota || !strcmp(path, "/ifs")) {
		onefs_fail(c, 403, "AEC_FORBIDDEN", NULL, "'%s' has a quota and cannot be moved",
			   path);
		return;
	}
	rc = onefs_move(c->o, path, to);
	if (rc)
		onefs_fail_errno(c, rc, rc == -EEXIST ? to : path);
	else
		onefs_forget_acls(c, path);
}

void onefs_namespace(struct onefs_call *c)
{
	char path[ONEFS_PATH_MAX];
	size_t n = strlen(c->path + 10);

	if (onefs_denied(c->o, "ISI_PRIV_NS_IFS_ACCESS")) {
		onefs_fail_errno(c, -EACCES, "/ifs");
		return;
	}
	if (n >= sizeof path ||
	    (n > 4 && c->path[10 + n - 1] == '/' && c->path[10 + n - 2] == '/')) {
		onefs_fail_errno(c, -ENAMETOOLONG, "/ifs");
		return;
	}
	strcpy(path, c->path + 10);
	if (n > 1 && path[n - 1] == '/')
		path[n - 1] = '\0';
	if ((!*path || !strcmp(path, "/")) && !strcmp(c->method, "GET"))
		c->answer =
			json_pack("{s:[{s:s, s:s}]}", "namespaces", "name", "ifs", "path", "/ifs");
	else if (!onefs_path_ok(path))
		onefs_fail(c, 404, "AEC_NOT_FOUND", NULL, "'%.200s' is not in store 'ifs'", path);
	else if (!strcmp(c->method, "GET"))
		get(c, path);
	else if (!strcmp(c->method, "HEAD"))
		head(c, path);
	else if (!strcmp(c->method, "PUT"))
		put(c, path);
	else if (!strcmp(c->method, "POST"))
		post(c, path);
	else if (!strcmp(c->method, "DELETE"))
		remove_it(c, path);
	else
		onefs_fail(c, 405, "AEC_METHOD_NOT_ALLOWED", NULL, "Method %s not allowed",
			   c->method);
}
