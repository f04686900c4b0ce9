/* SPDX-License-Identifier: Apache-2.0 */
/* onefs.c - a simulated OneFS cluster: start, state, sessions, and the way of a call
 *
 *   /session/1/session   log in, look, log out         here
 *   /platform/...        routes of onefs_route.c       the lock is held in fn(), not in after()
 *   /namespace/...       onefs_ran.c                   locks for itself
 *   /_sim/onefs/...      what no cluster has: nodes, copies that fail
 *
 * A session lives at one node, as on the cluster. Which node answers a call is told by its Host, when
 * that is 127.0.0.K, or else by the control route. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/sim/onefs_impl.h"

#define INACTIVE_S 900
#define ABSOLUTE_S 14400
#define OFFER_S 450 /* left of a session when another cookie is offered */
#define NODES_MAX 16
#define ZONE_NAME_MAX sizeof(((struct onefs_zone *)0)->name)
#define NO_EXTENSION 14 /* N from which activity does not lengthen a session */
#define UNLIMITED UINT32_MAX

static const char *const error_choices[] = { "json", "html", "mixed", NULL };
static const char *const licence_choices[] = { "licensed", "evaluation", "unlicensed", "expired",
					       NULL };

#define ROW(name, type, unit, min, max, dflt, choices, help)                                      \
	{                                                                                         \
#name, type, unit, offsetof(struct onefs_options, name), min, max, dflt, choices, \
			help, false                                                               \
	}

static const struct opt_def options[] = {
	ROW(latest, OPT_STRING, NULL, 0, 0, "12", NULL,
	    "version of the platform API; none: not told"),
	ROW(release, OPT_STRING, NULL, 0, 0, "v9.2.1.0", NULL, "release of the cluster"),
	ROW(csrf, OPT_BOOL, NULL, 0, 0, "yes", NULL, "sessions want X-CSRF-Token and Referer"),
	ROW(basic, OPT_BOOL, NULL, 0, 0, "yes", NULL, "basic authentication is allowed"),
	ROW(nodes, OPT_UINT, "nodes", 1, NODES_MAX, "1", NULL, "nodes; each has its own sessions"),
	ROW(errors, OPT_ENUM, NULL, 0, 0, "json", error_choices, "how errors are told"),
	ROW(quota_licence, OPT_ENUM, NULL, 0, 0, "licensed", licence_choices, "SmartQuotas"),
	ROW(snapshot_licence, OPT_ENUM, NULL, 0, 0, "licensed", licence_choices, "SnapshotIQ"),
	ROW(zones, OPT_STRING, NULL, 0, 0, NULL, NULL,
	    "access zones beside System: name:/ifs/path ..."),
	ROW(hosts, OPT_STRING, NULL, 0, 0, NULL, NULL,
	    "names that resolve beside localhost, by blanks"),
	ROW(deny, OPT_STRING, NULL, 0, 0, NULL, NULL, "privileges the user lacks, by blanks"),
	ROW(smartconnect, OPT_STRING, NULL, 0, 0, "onefs.example.com", NULL, "SmartConnect name"),
	ROW(export_delay_ms, OPT_UINT, "ms", 0, 600000, "0", NULL, "until a new export is seen"),
	ROW(quota_scan_ms, OPT_UINT, "ms", 0, 600000, "100", NULL, "until a new quota is ready"),
	ROW(max_exports, OPT_UINT, "exports", 1, UNLIMITED, "40000", NULL, "that are allowed"),
	ROW(capacity, OPT_SIZE, NULL, 0, 0, "0", NULL, "that is told; 0: the folder's"),
	ROW(ganesha, OPT_BOOL, NULL, 0, 0, "no", NULL, "run nfs-ganesha, which exports the folder"),
	ROW(nfs_port, OPT_UINT, NULL, 0, 65535, "0", NULL, "of nfs-ganesha's NFS"),
	ROW(mount_port, OPT_UINT, NULL, 0, 65535, "0", NULL, "of its MOUNT; 0: nfs_port + 1"),
	{ .name = NULL },
};

/* --- sessions --------------------------------------------------------------- */

/* False: the session's time is over. */
static bool session_lives(const struct onefs_call *c, const struct onefs_session *s)
{
	return *s->id && c->now - s->used < INACTIVE_S && c->now - s->made < ABSOLUTE_S;
}

static bool cookie_of(const struct onefs_call *c, const char *name, char buf[ONEFS_TOKEN])
{
	const char *text = httpd_header(c->rq, "Cookie");
	size_t n = strlen(name), len;

	for (; text && *text; text += *text == ';') {
		text += strspn(text, " \t");
		len = strcspn(text, ";");
		if (len > n && !strncmp(text, name, n) && text[n] == '=' &&
		    len - n - 1 < ONEFS_TOKEN) {
			memcpy(buf, text + n + 1, len - n - 1);
			buf[len - n - 1] = '\0';
			return *buf;
		}
		text += len;
	}
	return false;
}

static struct onefs_session *find_session(struct onefs_call *c)
{
	char id[ONEFS_TOKEN];

	if (!cookie_of(c, "isisessid", id))
		return NULL;
	for (size_t i = 0; i < ONEFS_SESSIONS; i++) {
		struct onefs_session *s = &c->o->sessions[i];

		if ((!strcmp(s->id, id) || (*s->next && !strcmp(s->next, id))) &&
		    session_lives(c, s) && s->node == c->node)
			return s;
	}
	return NULL;
}

/* Header is a URL of the scheme, host and port that this very call went to. */
static bool same_origin(const struct onefs_call *c, const char *header)
{
	const char *host = httpd_header(c->rq, "Host");
	const char *want = sim_settings(c->o->sim)->cert ? "https://" : "http://";
	size_t n = strlen(want), len = host ? strlen(host) : 0;

	if (!header || !len || strncmp(header, want, n) != 0)
		return false;
	return !strncasecmp(header + n, host, len) && (!header[n + len] || header[n + len] == '/');
}

static void unauthorized(struct onefs_call *c)
{
	onefs_fail(c, 401, "AEC_UNAUTHORIZED", NULL, "Authorization required");
}

static void set_cookie(struct onefs_call *c, const char *name, const char *value, bool script)
{
	char text[160];

	snprintf(text, sizeof text, "%s=%s; path=/;%s%s SameSite=strict", name, value,
		 script ? "" : " HttpOnly;", sim_settings(c->o->sim)->cert ? " Secure;" : "");
	httpd_add_header(c->rq, "Set-Cookie", text);
}

static void use_session(struct onefs_call *c, struct onefs_session *s)
{
	char id[ONEFS_TOKEN] = "";

	if (c->o->latest < NO_EXTENSION) {
		s->used = c->now;
		return;
	}
	cookie_of(c, "isisessid", id);
	if (*s->next && !strcmp(id, s->next)) { /* it was taken up */
		memcpy(s->id, s->next, sizeof s->id);
		s->next[0] = '\0';
		s->used = c->now;
	}
	if (c->now - s->used >= INACTIVE_S - OFFER_S) {
		if (!*s->next)
			onefs_token(s->next);
		set_cookie(c, "isisessid", s->next, false);
	}
}

/* Of a cookie; errors are added. */
static struct onefs_session *check_session(struct onefs_call *c)
{
	struct onefs_session *s = find_session(c);
	const char *token = httpd_header(c->rq, "X-CSRF-Token");
	const char *origin = httpd_header(c->rq, "Referer");

	if (!s) {
		unauthorized(c);
		return NULL;
	}
	if (!origin)
		origin = httpd_header(c->rq, "Origin");
	if (c->o->opt->csrf && (!token || strcmp(token, s->csrf) != 0)) {
		unauthorized(c);
		return NULL;
	}
	if (c->o->opt->csrf && !same_origin(c, origin)) {
		onefs_fail(c, 403, "AEC_FORBIDDEN", NULL,
			   "Referer or Origin is not of this server");
		return NULL;
	}
	use_session(c, s);
	return s;
}

static bool password_ok(const struct onefs_call *c, const char *user, const char *password)
{
	const struct sim_config *cfg = sim_settings(c->o->sim);

	return !strcmp(user, cfg->user ? cfg->user : "admin") &&
	       !strcmp(password, cfg->password ? cfg->password : "password");
}

static bool basic_ok(struct onefs_call *c)
{
	AUTO_FREE char *text = sim_basic(c->rq);
	char *colon = text ? strchr(text, ':') : NULL;

	if (!colon || !c->o->opt->basic)
		return false;
	*colon = '\0';
	return password_ok(c, text, colon + 1);
}

/* True: the caller may use the service. */
static bool authorized(struct onefs_call *c, bool ran)
{
	bool ok = true;

	mutex_lock(&c->o->lock);
	if (httpd_header(c->rq, "Authorization")) {
		ok = basic_ok(c);
		if (!ok)
			unauthorized(c);
	} else {
		const struct onefs_session *s = check_session(c);

		ok = s && (ran ? s->ran : s->platform);
		if (s && !ok)
			unauthorized(c);
	}
	mutex_unlock(&c->o->lock);
	return ok;
}

static bool read_services(struct onefs_call *c, struct onefs_session *s)
{
	const json_t *list = json_object_get(c->body, "services");

	for (size_t i = 0; i < json_array_size(list); i++) {
		const char *name = json_string_value(json_array_get(list, i));

		if (name && !strcmp(name, "platform"))
			s->platform = true;
		else if (name && !strcmp(name, "namespace"))
			s->ran = true;
		else
			onefs_fail(c, 400, "AEC_BAD_REQUEST", "services", "Unknown service");
	}
	if (!json_array_size(list))
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", "services", "services is required");
	return !c->errors;
}

static json_t *describe_session(const struct onefs_call *c, const struct onefs_session *s)
{
	json_t *services = json_array();
	uint64_t left = INACTIVE_S - (c->now - s->used), whole = ABSOLUTE_S - (c->now - s->made);

	if (s->platform)
		json_array_append_new(services, json_string("platform"));
	if (s->ran)
		json_array_append_new(services, json_string("namespace"));
	return json_pack("{s:o, s:I, s:I, s:s}", "services", services, "timeout_absolute",
			 (json_int_t)whole, "timeout_inactive", (json_int_t)left, "username",
			 sim_settings(c->o->sim)->user ? sim_settings(c->o->sim)->user : "admin");
}

static void log_in(struct onefs_call *c)
{
	const char *user = json_string_value(json_object_get(c->body, "username"));
	const char *password = json_string_value(json_object_get(c->body, "password"));
	struct onefs_session *s = &c->o->sessions[0], new = { .made = c->now, .used = c->now };

	if (!user || !password) {
		onefs_fail(c, 400, "AEC_ARG_REQUIRED", user ? "password" : "username",
			   "username and password are required");
		return;
	}
	if (!read_services(c, &new))
		return;
	if (!password_ok(c, user, password)) {
		c->status = 401;
		c->answer = json_pack("{s:s}", "message", "Username or password is incorrect.");
		return;
	}
	for (size_t i = 0; i < ONEFS_SESSIONS && session_lives(c, s); i++)
		if (!session_lives(c, &c->o->sessions[i]) || c->o->sessions[i].used < s->used)
			s = &c->o->sessions[i];
	onefs_token(new.id);
	onefs_token(new.csrf);
	new.node = c->node;
	*s = new;
	set_cookie(c, "isisessid", s->id, false);
	if (c->o->opt->csrf)
		set_cookie(c, "isicsrf", s->csrf, true);
	c->status = 201;
	c->answer = describe_session(c, s);
}

static void session_call(struct onefs_call *c)
{
	struct onefs_session *s;

	mutex_lock(&c->o->lock);
	c->status = 200;
	if (!strcmp(c->method, "POST")) {
		log_in(c);
	} else if (strcmp(c->method, "GET") != 0 && strcmp(c->method, "DELETE") != 0) {
		onefs_fail(c, 405, "AEC_METHOD_NOT_ALLOWED", NULL, "Method %s not allowed",
			   c->method);
	} else if ((s = check_session(c))) {
		if (!strcmp(c->method, "GET")) {
			c->answer = describe_session(c, s);
		} else {
			memset(s, 0, sizeof *s);
			c->status = 204;
		}
	}
	mutex_unlock(&c->o->lock);
}

static void drop_tokens(void *arg)
{
	struct onefs *o = arg;

	mutex_lock(&o->lock);
	memset(o->sessions, 0, sizeof o->sessions);
	mutex_unlock(&o->lock);
}

/* --- a call of the platform ------------------------------------------------- */

static bool read_zone(struct onefs_call *c)
{
	const char *name = onefs_arg(c, "zone");

	c->zone = &c->o->zones[0];
	if (!name || !strcmp(name, "System"))
		return true;
	for (unsigned i = 1; i < c->o->nzones; i++)
		if (!strcasecmp(name, c->o->zones[i].name)) {
			c->zone = &c->o->zones[i];
			return true;
		}
	onefs_fail(c, 404, "AEC_NOT_FOUND", "zone", "Access zone '%.64s' not found.", name);
	return false;
}

static void check_args(struct onefs_call *c, const struct onefs_route *r)
{
	const char *name;
	json_t *v;

	json_object_foreach(c->args, name, v) {
		if (!onefs_word(r->args, name))
			onefs_fail(c, 400, "AEC_BAD_REQUEST", NULL, "Unknown argument '%.64s'",
				   name);
		else if (json_is_array(v) && strcmp(name, "key") != 0)
			onefs_fail(c, 400, "AEC_ARG_SINGLE_ONLY", name,
				   "Argument '%.64s' may be given once only", name);
	}
}

bool onefs_denied(const struct onefs *o, const char *privilege)
{
	char list[OPT_VALUE_MAX + 4];

	snprintf(list, sizeof list, " %s ", o->opt->deny ? o->opt->deny : "");
	return onefs_word(list, privilege);
}

static bool wants_body(const struct onefs_call *c)
{
	return !strcmp(c->method, "POST") || !strcmp(c->method, "PUT");
}

static void run_route(struct onefs_call *c, const struct onefs_route *r)
{
	check_args(c, r);
	if (wants_body(c) && !c->body)
		onefs_fail(c, 400, "AEC_BAD_REQUEST", NULL, "The body is not a JSON object");
	if (r->privilege && onefs_denied(c->o, r->privilege))
		onefs_fail(c, 403, "AEC_FORBIDDEN", NULL, "Privilege check failed. %s is required",
			   r->privilege);
	if (c->errors || !read_zone(c))
		return;
	mutex_lock(&c->o->lock);
	r->fn(c);
	mutex_unlock(&c->o->lock);
	if (!c->errors && r->after)
		r->after(c);
	if (c->exports)
		onefs_nfsd_reload(c->o);
}

static void platform_call(struct onefs_call *c, const char *rest)
{
	const struct onefs_route *r;
	bool known;
	char *end;

	if (!strcmp(rest, "latest") && c->o->latest) {
		onefs_latest(c);
		return;
	}
	c->version = (unsigned)strtoul(rest, &end, 10);
	r = *end == '/' ? onefs_find_route(c->method, end + 1, c->key, &known) : NULL;
	if (*end != '/' || !c->version || c->version > (c->o->latest ? c->o->latest : 2) ||
	    (!r && !known) || (r && c->version < r->since))
		onefs_fail(c, 404, "AEC_NOT_FOUND", NULL, "Path not found: %.200s", c->path);
	else if (!r)
		onefs_fail(c, 405, "AEC_METHOD_NOT_ALLOWED", NULL, "Method %s not allowed",
			   c->method);
	else
		run_route(c, r);
}

/* --- the control route ------------------------------------------------------ */

static void set_node(struct onefs_call *c)
{
	const json_t *node = json_object_get(c->body, "node"),
		     *r = json_object_get(c->body, "rotate");

	if (r)
		c->o->rotate = json_is_true(r);
	if (!node)
		return;
	if (json_integer_value(node) < 1 || json_integer_value(node) > (json_int_t)c->o->opt->nodes)
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "node", "There is no such node");
	else
		c->o->node = (unsigned)json_integer_value(node);
}

static void set_copy_error(struct onefs_call *c)
{
	const char *path = json_string_value(json_object_get(c->body, "path"));
	const char *message = json_string_value(json_object_get(c->body, "message"));

	if (!path || !onefs_path_ok(path))
		onefs_fail(c, 400, "AEC_BAD_REQUEST", "path", "path is none below /ifs");
	else
		json_object_set_new(c->o->copyfail, path,
				    json_string(message ? message : "Permission denied"));
}

static void control_call(struct onefs_call *c, const char *rest)
{
	mutex_lock(&c->o->lock);
	if (!strcmp(rest, "node") && !strcmp(c->method, "POST") && c->body)
		set_node(c);
	else if (!strcmp(rest, "copy_error") && !strcmp(c->method, "POST") && c->body)
		set_copy_error(c);
	else if (!strcmp(rest, "copy_error") && !strcmp(c->method, "DELETE"))
		json_object_clear(c->o->copyfail);
	else
		onefs_fail(c, 404, "AEC_NOT_FOUND", NULL, "no such control route");
	mutex_unlock(&c->o->lock);
	c->answer = json_object();
}

/* --- the way of a call ------------------------------------------------------ */

static void add_arg(void *arg, const char *name, const char *value)
{
	struct onefs_call *c = arg;
	json_t *before = json_object_get(c->args, name), *v = json_string(value);

	if (!v)
		onefs_fail(c, 400, "AEC_BAD_REQUEST", NULL, "An argument is not UTF-8");
	else if (!before)
		json_object_set_new(c->args, name, v);
	else if (json_is_array(before))
		json_array_append_new(before, v);
	else
		json_object_set_new(c->args, name, json_pack("[O, o]", before, v));
}

static void choose_node(struct onefs_call *c)
{
	const char *host = httpd_header(c->rq, "Host");
	unsigned long nodes = c->o->opt->nodes, k = 0;

	if (host && !strncmp(host, "127.0.0.", 8))
		k = strtoul(host + 8, NULL, 10);
	mutex_lock(&c->o->lock);
	if (c->o->rotate)
		c->o->node = c->o->node % (unsigned)nodes + 1;
	c->node = !c->o->rotate && k > 1 && k <= nodes ? (unsigned)k : c->o->node;
	mutex_unlock(&c->o->lock);
}

static void run_call(struct onefs_call *c)
{
	bool ran = !strncmp(c->path, "/namespace", 10) && (!c->path[10] || c->path[10] == '/');

	if (c->errors)
		return;
	if (!strncmp(c->path, "/_sim/onefs/", 12)) {
		control_call(c, c->path + 12);
		return;
	}
	choose_node(c);
	if (!strcmp(c->path, "/session/1/session")) {
		session_call(c);
	} else if (!ran && strncmp(c->path, "/platform/", 10) != 0) {
		onefs_fail(c, 404, "AEC_NOT_FOUND", NULL, "Path not found: %.200s", c->path);
	} else if (authorized(c, ran)) {
		if (ran)
			onefs_namespace(c);
		else
			platform_call(c, c->path + 10);
	}
	/* Calls of several parts have failed in the midst of it. */
	if (c->half && !c->errors)
		onefs_fail(c, 500, "AEC_EXCEPTION", NULL, "Internal error");
}

static void answer(void *arg, struct httpd_request *rq, bool half)
{
	struct onefs *o = arg;
	struct onefs_call c = { .o = o,
				.rq = rq,
				.method = httpd_method(rq),
				.path = httpd_path(rq),
				.args = json_object(),
				.zone = &o->zones[0],
				.now = sim_now(o->sim),
				.half = half,
				.status = 200 };
	size_t len;
	const char *text = httpd_body(rq, &len);

	c.body = text ? json_loadb(text, len, 0, NULL) : NULL;
	if (!json_is_object(c.body)) {
		json_decref(c.body);
		c.body = NULL;
	}
	httpd_each_query(rq, add_arg, &c);
	run_call(&c);
	if (c.changed)
		sim_changed(o->sim);
	onefs_reply(&c);
	/* They share values with the state and with cursors, whose counts are not for two threads. */
	mutex_lock(&o->lock);
	json_decref(c.args);
	json_decref(c.body);
	json_decref(c.answer);
	mutex_unlock(&o->lock);
	json_decref(c.errors);
}

/* --- start and stop --------------------------------------------------------- */

static json_t *state_new(void)
{
	return json_pack("{s:{}, s:{}, s:{}, s:{}, s:{}, s:{}, s:{}, s:i, s:i, s:i}", "exports",
			 "quotas", "snapshots", "aliases", "acls", "global", "zones", "quota_id", 0,
			 "snapshot_id", 1, "nfsd_id", 0);
}

/* Every entry of a table has these texts, and its paths lie below /ifs. */
static bool entry_ok(const json_t *e, const char *const *texts)
{
	const json_t *paths = json_object_get(e, "paths");
	const char *path;

	for (size_t i = 0; texts[i]; i++) {
		const char *text = json_string_value(json_object_get(e, texts[i]));

		if (!text || (!strcmp(texts[i], "path") && !onefs_path_ok(text)) ||
		    (!strcmp(texts[i], "zone") && strlen(text) >= ZONE_NAME_MAX))
			return false;
	}
	for (size_t i = 0; i < json_array_size(paths); i++) {
		path = json_string_value(json_array_get(paths, i));
		if (!path || !onefs_path_ok(path))
			return false;
	}
	return json_is_object(e);
}

static bool table_ok(const json_t *state, const char *table, const char *const *texts)
{
	json_t *entries = json_object_get(state, table), *e;
	const char *key;

	json_object_foreach(entries, key, e) {
		if (!entry_ok(e, texts) ||
		    (!strcmp(table, "exports") && !json_array_size(json_object_get(e, "paths"))))
			return false;
		if (!strcmp(table, "quotas") && !json_is_object(json_object_get(e, "thresholds")))
			return false;
	}
	return true;
}

bool onefs_state_ok(const json_t *state)
{
	static const char *const
		zone[] = { "zone", NULL },
		*const quota[] = { "path", "type", NULL }, *const snap[] = { "name", "path", NULL },
		*const alias[] = { "zone", "name", "path", NULL }, *const none[] = { NULL };
	json_t *want = state_new(), *v;
	const char *key;
	bool ok = true;

	json_object_foreach(want, key, v) {
		const json_t *have = json_object_get(state, key);

		ok = ok && have && json_typeof(have) == json_typeof(v) &&
		     json_integer_value(have) >= 0;
	}
	json_decref(want);
	return ok && table_ok(state, "exports", zone) && table_ok(state, "quotas", quota) &&
	       table_ok(state, "snapshots", snap) && table_ok(state, "aliases", alias) &&
	       table_ok(state, "acls", none) && table_ok(state, "zones", none);
}

static int add_zone(struct onefs *o, const char *name, size_t n, const char *path, size_t plen,
		    struct err *err)
{
	struct onefs_zone *z = &o->zones[o->nzones];

	if (o->nzones == ONEFS_ZONES || !n || n >= sizeof z->name || plen >= sizeof z->path)
		return err_set(err, -EINVAL, "zones: too many, or a name or path too long");
	snprintf(z->name, sizeof z->name, "%.*s", (int)n, name);
	snprintf(z->path, sizeof z->path, "%.*s", (int)plen, path);
	if (!onefs_path_ok(z->path))
		return err_set(err, -EINVAL, "zones: '%s' is no path below /ifs", z->path);
	o->nzones++;
	return onefs_mkdir(o, z->path, 0755, true) < 0 ?
		       err_set(err, -EIO, "zones: the folder of '%s' cannot be made", z->path) :
		       0;
}

static int read_zones(struct onefs *o, struct err *err)
{
	const char *p = o->opt->zones;
	int rc = add_zone(o, "System", 6, "/ifs", 4, err);

	for (; !rc && p && *(p += strspn(p, " ")); p += strcspn(p, " ")) {
		size_t n = strcspn(p, " "), name = strcspn(p, ": ");

		if (name >= n)
			return err_set(err, -EINVAL, "zones: '%.*s' is not name:/ifs/path", (int)n,
				       p);
		rc = add_zone(o, p, name, p + name + 1, n - name - 1, err);
	}
	return rc;
}

static int open_folder(struct onefs *o, struct err *err)
{
	const char *root = sim_settings(o->sim)->root;
	AUTO_FREE char *ifs = NULL;

	if (!root)
		return err_set(err, -EINVAL, "onefs wants a folder for /ifs: --root DIR");
	if (asprintf(&ifs, "%s/ifs", root) < 0) {
		ifs = NULL;
		return err_set(err, -ENOMEM, "no memory");
	}
	if (mkdir(ifs, 0755) && errno != EEXIST)
		return err_set(err, -errno, "cannot make '%s': %s", ifs, strerror(errno));
	o->ifs = open(ifs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (o->ifs < 0)
		return err_set(err, -errno, "cannot open '%s': %s", ifs, strerror(errno));
	return 0;
}

static int read_latest(struct onefs *o, struct err *err)
{
	char *end;
	const char *text = o->opt->latest ? o->opt->latest : "";
	unsigned long v;

	if (!strcmp(text, "none"))
		return 0;
	v = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || !v || v > 999 || (*end && *end != '.'))
		return err_set(err, -EINVAL, "latest: '%.32s' is no version", text);
	o->latest = (unsigned)v;
	return 0;
}

static void onefs_free(struct onefs *o)
{
	onefs_nfsd_stop(o);
	for (size_t i = 0; i < ONEFS_CURSORS; i++) {
		json_decref(o->cursors[i].keys);
		json_decref(o->cursors[i].args);
	}
	json_decref(o->state);
	json_decref(o->paths);
	json_decref(o->visible);
	json_decref(o->copyfail);
	json_decref(o->defaults);
	if (o->ifs >= 0)
		close(o->ifs);
	mutex_done(&o->lock);
	free(o);
}

static int start(struct onefs *o, const json_t *state, struct err *err)
{
	int rc = read_latest(o, err);

	rc = rc ? rc : open_folder(o, err);
	rc = rc ? rc : read_zones(o, err);
	if (rc)
		return rc;
	if (state && !onefs_state_ok(state))
		return err_set(err, -EINVAL, "the state file is not one of onefs");
	o->state = state ? json_deep_copy(state) : state_new();
	o->paths = json_object();
	o->visible = json_object();
	o->copyfail = json_object();
	o->defaults = onefs_export_defaults_new();
	if (!o->state || !o->paths || !o->visible || !o->copyfail || !o->defaults)
		return err_set(err, -ENOMEM, "no memory");
	onefs_index_exports(o);
	onefs_snap_load(o);
	return o->opt->ganesha ? onefs_nfsd_start(o, err) : 0;
}

static int open_onefs(struct sim *sim, void *opt, const json_t *state, void **out, struct err *err)
{
	struct onefs *o = calloc(1, sizeof *o);
	int rc;

	if (!o)
		return err_set(err, -ENOMEM, "no memory");
	o->sim = sim;
	o->opt = opt;
	o->ifs = -1;
	o->node = 1;
	mutex_init(&o->lock, LOCK_sim_array);
	rc = start(o, state, err);
	if (rc)
		onefs_free(o);
	else
		*out = o;
	return rc;
}

static void close_onefs(void *arg)
{
	onefs_free(arg);
}

static json_t *save(void *arg)
{
	struct onefs *o = arg;
	json_t *copy;

	mutex_lock(&o->lock);
	copy = json_deep_copy(o->state);
	mutex_unlock(&o->lock);
	return copy;
}

const struct sim_kind sim_onefs = {
	.name = "onefs",
	.options = options,
	.options_size = sizeof(struct onefs_options),
	.open = open_onefs,
	.close = close_onefs,
	.answer = answer,
	.save = save,
	.drop_tokens = drop_tokens,
};
