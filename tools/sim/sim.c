/* SPDX-License-Identifier: Apache-2.0 */
/* sim.c - see sim.h
 *
 * A call passes here:
 *
 *   counted --> its fault chosen --> delay | drop, status, html, empty: the end
 *           --> the kind's answer() --> state file --> lost, cut, garbage, slow --> sent
 *
 * The state file is written by whoever has changed something, before that call is answered. Calls
 * that wait for their turn to write find their change written by another one. */
#include "tools/sim/sim.h"

#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/listen.h"
#include "common/lock.h"
#include "common/log.h"
#include "common/paths.h"
#include "tools/driver/state.h"

#define FAULTS_MAX 64
#define CALLS_MAX 4096         /* kinds of calls that are counted apart */
#define MATCH_MAX 512          /* bytes */
#define PEM_MAX (256 << 10)    /* bytes of a certificate's file */
#define BASIC_MAX 4096         /* bytes of user and password */
#define STOP_MS 10000          /* for calls that run */
#define GONE_MS 50             /* how often a silent call looks after its client */
#define SILENCE_MAX_MS 3600000 /* of delay and slow */
#define ADVANCE_MAX (100ULL * 366 * 86400)
#define CONTROL "/_sim"

enum fault_name {
	FAULT_NONE,
	FAULT_DELAY,
	FAULT_DROP,
	FAULT_LOST,
	FAULT_CUT,
	FAULT_STATUS,
	FAULT_HTML,
	FAULT_EMPTY,
	FAULT_GARBAGE,
	FAULT_HALF,
	FAULT_SLOW,
	FAULT_NAMES
};

static const char *const fault_names[FAULT_NAMES] = { "none",    "delay",  "drop", "lost",
						      "cut",     "status", "html", "empty",
						      "garbage", "half",   "slow" };

struct fault {
	char match[MATCH_MAX];
	enum fault_name name;
	uint64_t after, times, hits; /* times 0: always */
	unsigned ms, status;
	size_t bytes;
};

struct sim {
	const struct sim_kind *kind;
	struct sim_config cfg; /* strings are owned, settings not kept */
	void *options, *array; /* owned */
	bool opened;
	struct httpd *httpd;
	unsigned port;
	_Atomic uint64_t advance; /* seconds of the clock before the real one */
	_Atomic uint64_t changes;
	struct mutex save_lock;
	uint64_t saved; /* guarded by save_lock: changes that the file holds */
	struct mutex lock;
	struct cond wake;
	/* guarded by lock */
	struct fault faults[FAULTS_MAX];
	size_t nfaults;
	json_t *calls;
	bool stopping;
};

/* --- for kinds ------------------------------------------------------------- */

const struct sim_config *sim_settings(const struct sim *s)
{
	return &s->cfg;
}

uint64_t sim_now(const struct sim *s)
{
	return (uint64_t)time(NULL) + atomic_load(&s->advance);
}

void sim_changed(struct sim *s)
{
	atomic_fetch_add(&s->changes, 1);
}

void sim_reply(struct httpd_request *rq, unsigned status, json_t *object_take)
{
	char *text = object_take ? json_dumps(object_take, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;

	json_decref(object_take);
	httpd_reply_take(rq, status, text, NULL);
}

char *sim_basic(struct httpd_request *rq)
{
	const char *h = httpd_header(rq, "Authorization");
	AUTO_FREE char *text = calloc(1, BASIC_MAX + 1);
	const char *end;
	size_t len;

	if (!text || !h || strncasecmp(h, "Basic ", 6) != 0)
		return NULL;
	h += 6 + strspn(h + 6, " ");
	if (sodium_base642bin((unsigned char *)text, BASIC_MAX, h, strlen(h), " ", &len, &end,
			      sodium_base64_VARIANT_ORIGINAL) ||
	    *end || strlen(text) != len || !strchr(text, ':'))
		return NULL;
	return take_ptr(&text);
}

/* --- state ----------------------------------------------------------------- */

static char *state_text(struct sim *s)
{
	json_t *array = s->kind->save(s->array);
	json_t *all = array ? json_pack("{s:s, s:I, s:o}", "kind", s->kind->name, "advance",
					(json_int_t)atomic_load(&s->advance), "state", array) :
			      NULL;
	char *text = all ? json_dumps(all, JSON_COMPACT) : NULL;

	json_decref(all);
	return text;
}

/* Everything changed so far is in the file when this returns 0. */
static int save(struct sim *s)
{
	uint64_t wanted = atomic_load(&s->changes);
	int rc = 0;

	if (!s->cfg.state)
		return 0;
	mutex_lock(&s->save_lock);
	if (s->saved < wanted) {
		uint64_t now = atomic_load(&s->changes);
		AUTO_FREE char *text = state_text(s);

		rc = text ? state_write(s->cfg.state, text, 0600) : -ENOMEM;
		if (!rc)
			s->saved = now;
	}
	mutex_unlock(&s->save_lock);
	if (rc)
		log_error("sim: state file '%s': %s", s->cfg.state, strerror(-rc));
	return rc;
}

static int load(struct sim *s, json_t **array, struct err *err)
{
	json_t *all = NULL;
	json_int_t advance;
	int rc;

	*array = NULL;
	if (!s->cfg.state)
		return 0;
	rc = paths_make_parents(s->cfg.state, err);
	if (!rc)
		rc = state_read(s->cfg.state, &all, err);
	if (rc || !all)
		return rc;
	*array = json_incref(json_object_get(all, "state"));
	advance = json_integer_value(json_object_get(all, "advance"));
	if (!json_is_object(*array) || advance < 0 || (uint64_t)advance > ADVANCE_MAX)
		rc = err_set(err, -EINVAL, "state file '%s' holds no simulated array",
			     s->cfg.state);
	else if (!json_is_string(json_object_get(all, "kind")) ||
		 strcmp(json_string_value(json_object_get(all, "kind")), s->kind->name) != 0)
		rc = err_set(err, -EINVAL, "state file '%s' is not of kind '%s'", s->cfg.state,
			     s->kind->name);
	else
		atomic_store(&s->advance, (uint64_t)advance);
	json_decref(all);
	return rc;
}

/* --- control --------------------------------------------------------------- */

static void refuse(struct httpd_request *rq, unsigned status, const char *why)
{
	sim_reply(rq, status, json_pack("{s:s}", "error", why));
}

/* A number in 0..max, or dflt when it is absent. */
static bool number(const json_t *body, const char *key, uint64_t max, uint64_t dflt, uint64_t *out)
{
	const json_t *v = json_object_get(body, key);

	*out = dflt;
	if (!v)
		return true;
	*out = (uint64_t)json_integer_value(v);
	return json_is_integer(v) && json_integer_value(v) >= 0 && *out <= max;
}

static const char *read_fault(const json_t *body, struct fault *f)
{
	const char *match = json_string_value(json_object_get(body, "match"));
	const char *name = json_string_value(json_object_get(body, "fault"));
	uint64_t ms, status, bytes;

	memset(f, 0, sizeof *f);
	for (unsigned i = FAULT_NONE + 1; name && i < FAULT_NAMES; i++)
		if (!strcmp(fault_names[i], name))
			f->name = i;
	if (!f->name)
		return "'fault' is none of delay, drop, lost, cut, status, html, empty, garbage, half, slow";
	if (!match || strlen(match) >= sizeof f->match)
		return "'match' is no text of METHOD and path";
	strcpy(f->match, match);
	if (!number(body, "after", UINT32_MAX, 0, &f->after) ||
	    !number(body, "times", UINT32_MAX, 0, &f->times))
		return "'after' or 'times' is no number of calls";
	if (!number(body, "ms", SILENCE_MAX_MS, 1000, &ms))
		return "'ms' is no number up to an hour";
	if (!number(body, "status", 599, 503, &status) || status < 200)
		return "'status' is none of HTTP";
	if (!number(body, "bytes", UINT32_MAX, 0, &bytes))
		return "'bytes' is no number";
	f->ms = (unsigned)ms;
	f->status = (unsigned)status;
	f->bytes = (size_t)bytes;
	return NULL;
}

static void add_fault(struct sim *s, struct httpd_request *rq, const json_t *body)
{
	struct fault f;
	const char *why = read_fault(body, &f);

	mutex_lock(&s->lock);
	if (!why && s->nfaults == FAULTS_MAX)
		why = "too many faults";
	if (!why)
		s->faults[s->nfaults++] = f;
	mutex_unlock(&s->lock);
	if (why)
		refuse(rq, 400, why);
	else
		sim_reply(rq, 200, json_object());
}

static void clear_faults(struct sim *s, struct httpd_request *rq, const json_t *body)
{
	(void)body;
	mutex_lock(&s->lock);
	s->nfaults = 0;
	mutex_unlock(&s->lock);
	sim_reply(rq, 200, json_object());
}

static void move_clock(struct sim *s, struct httpd_request *rq, const json_t *body)
{
	uint64_t by;

	if (!number(body, "advance", ADVANCE_MAX - atomic_load(&s->advance), 0, &by)) {
		refuse(rq, 400, "'advance' is no number of seconds");
		return;
	}
	atomic_fetch_add(&s->advance, by);
	sim_changed(s);
	if (save(s))
		refuse(rq, 500, "the state file cannot be written");
	else
		sim_reply(rq, 200, json_pack("{s:I}", "clock", (json_int_t)sim_now(s)));
}

static void drop_tokens(struct sim *s, struct httpd_request *rq, const json_t *body)
{
	if (!json_is_true(json_object_get(body, "drop"))) {
		refuse(rq, 400, "'drop' is not true");
		return;
	}
	s->kind->drop_tokens(s->array);
	sim_reply(rq, 200, json_object());
}

static void tell(struct sim *s, struct httpd_request *rq, const json_t *body)
{
	json_t *faults = json_array(), *calls;

	(void)body;
	mutex_lock(&s->lock);
	for (size_t i = 0; i < s->nfaults; i++) {
		const struct fault *f = &s->faults[i];

		json_array_append_new(
			faults, json_pack("{s:s, s:s, s:I, s:I, s:I, s:i, s:i, s:I}", "match",
					  f->match, "fault", fault_names[f->name], "after",
					  (json_int_t)f->after, "times", (json_int_t)f->times,
					  "hits", (json_int_t)f->hits, "ms", (int)f->ms, "status",
					  (int)f->status, "bytes", (json_int_t)f->bytes));
	}
	calls = json_deep_copy(s->calls);
	mutex_unlock(&s->lock);
	sim_reply(rq, 200,
		  json_pack("{s:s, s:I, s:o, s:o}", "kind", s->kind->name, "clock",
			    (json_int_t)sim_now(s), "faults", faults, "calls", calls));
}

static const struct control {
	const char *method, *path;
	void (*run)(struct sim *s, struct httpd_request *rq, const json_t *body);
} controls[] = {
	{ "GET", CONTROL, tell },
	{ "POST", CONTROL "/faults", add_fault },
	{ "DELETE", CONTROL "/faults", clear_faults },
	{ "POST", CONTROL "/clock", move_clock },
	{ "POST", CONTROL "/tokens", drop_tokens },
};

static bool is_control(const char *path)
{
	size_t n = strlen(CONTROL);

	return !strncmp(path, CONTROL, n) && (!path[n] || path[n] == '/');
}

static bool is_of_kind(const struct sim *s, const char *path)
{
	size_t n = strlen(s->kind->name);

	path += strlen(CONTROL);
	return *path == '/' && !strncmp(path + 1, s->kind->name, n) && path[n + 1] == '/';
}

static void control(struct sim *s, struct httpd_request *rq)
{
	const char *text, *path = httpd_path(rq), *method = httpd_method(rq);
	size_t len;
	json_t *body;

	for (size_t i = 0; i < ARRAY_LEN(controls); i++) {
		if (strcmp(controls[i].method, method) != 0 || strcmp(controls[i].path, path) != 0)
			continue;
		text = httpd_body(rq, &len);
		body = text ? json_loadb(text, len, 0, NULL) : NULL;
		if (!strcmp(method, "POST") && !json_is_object(body))
			refuse(rq, 400, "the body is no JSON object");
		else
			controls[i].run(s, rq, body);
		json_decref(body);
		return;
	}
	refuse(rq, 404, "no such control route");
}

/* --- faults ---------------------------------------------------------------- */

static void count_locked(struct sim *s, const char *call)
{
	json_t *n = json_object_get(s->calls, call);

	mutex_assert_held(&s->lock);
	if (!n && json_object_size(s->calls) >= CALLS_MAX) {
		call = "other";
		n = json_object_get(s->calls, call);
	}
	if (n)
		json_integer_set(n, json_integer_value(n) + 1);
	else
		json_object_set_new(s->calls, call, json_integer(1));
}

static struct fault choose(struct sim *s, struct httpd_request *rq)
{
	struct fault none = { .name = FAULT_NONE };
	AUTO_FREE char *call = NULL;

	if (asprintf(&call, "%s %s", httpd_method(rq), httpd_path(rq)) < 0) {
		call = NULL;
		return none;
	}
	mutex_lock(&s->lock);
	count_locked(s, call);
	for (size_t i = 0; i < s->nfaults; i++) {
		struct fault *f = &s->faults[i];

		if (strncmp(call, f->match, strlen(f->match)) != 0 ||
		    (f->times && f->hits == f->times))
			continue;
		if (f->after) {
			f->after--;
			continue;
		}
		f->hits++;
		none = *f;
		break;
	}
	mutex_unlock(&s->lock);
	return none;
}

/* Ends early when the client has gone, or the simulator goes. */
static void be_silent(struct sim *s, struct httpd_request *rq, unsigned ms)
{
	uint64_t deadline = clock_ms() + ms, now = clock_ms();

	mutex_lock(&s->lock);
	while (!s->stopping && now < deadline && !httpd_client_gone(rq)) {
		uint64_t next = now + GONE_MS;

		cond_wait_until(&s->wake, &s->lock, next < deadline ? next : deadline);
		now = clock_ms();
	}
	mutex_unlock(&s->lock);
}

static char *status_page(unsigned status)
{
	char *text = NULL;

	if (asprintf(&text,
		     "<html><head><title>%u</title></head><body><h1>%u</h1><hr>nginx</body></html>",
		     status, status) < 0)
		return NULL;
	return text;
}

/* True: the call is over. */
static bool fail_before(struct sim *s, struct httpd_request *rq, const struct fault *f)
{
	switch (f->name) {
	case FAULT_DELAY:
		be_silent(s, rq, f->ms);
		return false;
	case FAULT_DROP:
		httpd_reply_cut(rq, HTTPD_NO_ANSWER);
		return true;
	case FAULT_STATUS:
		sim_reply(rq, f->status,
			  json_pack("{s:s, s:i}", "message", "simulated fault", "httpStatusCode",
				    (int)f->status));
		return true;
	case FAULT_HTML:
		httpd_reply_take(rq, f->status, status_page(f->status), "text/html");
		return true;
	case FAULT_EMPTY:
		httpd_reply_take(rq, f->status, strdup(""), NULL);
		return true;
	default:
		return false;
	}
}

static void fail_after(struct sim *s, struct httpd_request *rq, const struct fault *f)
{
	switch (f->name) {
	case FAULT_LOST:
		httpd_reply_cut(rq, HTTPD_NO_ANSWER);
		break;
	case FAULT_CUT:
		httpd_reply_cut(rq, f->bytes);
		break;
	case FAULT_GARBAGE:
		httpd_reply_take(rq, 200, strdup("{\"id\":\xff\xfe, ]]"), NULL);
		break;
	case FAULT_SLOW:
		be_silent(s, rq, f->ms);
		break;
	default:
		break;
	}
}

static bool may_wait(void *arg, const struct httpd_request *rq)
{
	(void)arg;
	(void)rq;
	return true;
}

static void answer(void *arg, struct httpd_request *rq)
{
	struct sim *s = arg;
	bool ours = is_control(httpd_path(rq));
	struct fault f = { .name = FAULT_NONE };

	if (ours && !is_of_kind(s, httpd_path(rq))) {
		control(s, rq);
		return;
	}
	if (!ours)
		f = choose(s, rq);
	if (fail_before(s, rq, &f))
		return;
	s->kind->answer(s->array, rq, f.name == FAULT_HALF);
	if (save(s))
		refuse(rq, 500, "the state file cannot be written");
	fail_after(s, rq, &f);
}

static const struct httpd_handler handler = { may_wait, answer, NULL };

/* --- start and stop -------------------------------------------------------- */

static int copy(const char **out, const char *text, const char *dflt)
{
	text = text ? text : dflt;
	*out = text ? strdup(text) : NULL;
	return text && !*out ? -ENOMEM : 0;
}

static int copy_config(struct sim *s, const struct sim_config *cfg)
{
	struct sim_config *c = &s->cfg;
	int rc = copy(&c->listen, cfg->listen, "tcp:127.0.0.1:0");

	rc = rc ? rc : copy(&c->cert, cfg->cert, NULL);
	rc = rc ? rc : copy(&c->key, cfg->key, NULL);
	rc = rc ? rc : copy(&c->state, cfg->state, NULL);
	rc = rc ? rc : copy(&c->user, cfg->user, "admin");
	rc = rc ? rc : copy(&c->password, cfg->password, "password");
	return rc ? rc : copy(&c->root, cfg->root, NULL);
}

static int set_options(struct sim *s, const char *const *settings, struct err *err)
{
	int rc;

	s->options = calloc(1, s->kind->options_size ? s->kind->options_size : 1);
	if (!s->options || opt_defaults(s->kind->options, s->options))
		return err_set(err, -ENOMEM, "out of memory");
	for (; settings && *settings; settings++) {
		const char *value = strchr(*settings, '=');
		AUTO_FREE char *name = value ? strndup(*settings, (size_t)(value - *settings)) :
					       strdup(*settings);

		if (!name)
			return err_set(err, -ENOMEM, "out of memory");
		rc = opt_set(s->kind->options, s->options, name, value ? value + 1 : NULL, err);
		if (rc)
			return rc;
	}
	return 0;
}

static int read_pem(const char *what, const char *path, char **out, struct err *err)
{
	AUTO_FREE char *text = malloc(PEM_MAX + 1);
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n;

	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	if (fd < 0)
		return err_set(err, -errno, "%s '%.300s': %s", what, path, strerror(errno));
	while (len < PEM_MAX && (n = read(fd, text + len, PEM_MAX - len)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	if (!strstr(text, "-----BEGIN "))
		return err_set(err, -EINVAL, "%s '%.300s' is no PEM file", what, path);
	*out = take_ptr(&text);
	return 0;
}

static int listen_start(struct sim *s, struct err *err)
{
	AUTO_FREE char *cert = NULL, *key = NULL;
	struct httpd_listener l = { .tls = s->cfg.cert };
	struct httpd_config h = {
		.name = "sim", .listeners = &l, .nlisteners = 1, .handler = &handler, .arg = s
	};
	struct listen_addr a;
	int rc = listen_parse(s->cfg.listen, &a, err);

	if (!s->cfg.cert != !s->cfg.key)
		return err_set(err, -EINVAL, "cert and key: one without the other");
	if (!rc && s->cfg.cert)
		rc = read_pem("cert", s->cfg.cert, &cert, err);
	if (!rc && s->cfg.key)
		rc = read_pem("key", s->cfg.key, &key, err);
	if (rc)
		return rc;
	h.cert_pem = cert;
	h.key_pem = key;
	l.fd = listen_open(&a, err);
	if (l.fd < 0)
		return l.fd;
	s->port = listen_port(l.fd);
	rc = httpd_start(&h, &s->httpd, err);
	if (rc)
		close(l.fd);
	if (key)
		sodium_memzero(key, strlen(key));
	return rc;
}

static int start(struct sim *s, const struct sim_config *cfg, struct err *err)
{
	json_t *state = NULL;
	int rc = copy_config(s, cfg);

	s->calls = json_object();
	if (rc || !s->calls)
		return err_set(err, -ENOMEM, "out of memory");
	rc = set_options(s, cfg->settings, err);
	if (!rc && s->cfg.root)
		rc = paths_make_folder(s->cfg.root, err);
	if (!rc)
		rc = load(s, &state, err);
	if (!rc)
		rc = s->kind->open(s, s->options, state, &s->array, err);
	json_decref(state);
	if (rc)
		return rc;
	s->opened = true;
	return listen_start(s, err);
}

int sim_start(const struct sim_kind *kind, const struct sim_config *cfg, struct sim **out,
	      struct err *err)
{
	struct sim *s = calloc(1, sizeof *s);
	int rc;

	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	s->kind = kind;
	mutex_init(&s->save_lock, LOCK_sim_save);
	mutex_init(&s->lock, LOCK_sim);
	cond_init(&s->wake);
	rc = start(s, cfg, err);
	if (rc) {
		sim_stop(s);
		return rc;
	}
	*out = s;
	return 0;
}

static void free_config(struct sim_config *c)
{
	free((char *)(uintptr_t)c->listen);
	free((char *)(uintptr_t)c->cert);
	free((char *)(uintptr_t)c->key);
	free((char *)(uintptr_t)c->state);
	free((char *)(uintptr_t)c->user);
	free((char *)(uintptr_t)c->password);
	free((char *)(uintptr_t)c->root);
}

void sim_stop(struct sim *s)
{
	if (!s)
		return;
	mutex_lock(&s->lock);
	s->stopping = true;
	cond_broadcast(&s->wake);
	mutex_unlock(&s->lock);
	if (!httpd_stop(s->httpd, STOP_MS))
		return; /* a call hangs and uses what would be freed */
	if (s->opened)
		s->kind->close(s->array);
	if (s->options)
		opt_done(s->kind->options, s->options);
	free(s->options);
	json_decref(s->calls);
	free_config(&s->cfg);
	cond_done(&s->wake);
	mutex_done(&s->lock);
	mutex_done(&s->save_lock);
	free(s);
}

unsigned sim_port(const struct sim *s)
{
	return s->port;
}
