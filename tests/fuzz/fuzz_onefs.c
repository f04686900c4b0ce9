/* SPDX-License-Identifier: Apache-2.0 */
/* The OneFS provider on any sequence of answers. The first line says how it is configured (one character) and what it is asked
 * (one each); each further line is an answer: a character for its status, then its body, which is a cookie, too. Without
 * lines left, the array is gone. Whatever is answered: an error class of provider.h with a sentence that
 * shows no password, a bounded number of calls, and never an export without clients, which everybody could mount. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/providers/onefs_impl.h"
#include "common/cleanup.h"
#include "common/log.h"

#define SECRET "pa55word-of-the-array"
#define OPS_MAX 8
#define CALLS_MAX 6000 /* beyond the lines of the input */

static const struct variant {
	const char *config, *plan;
} variants[] = {
	{ "\"networks\": [\"10.0.0.0/8\"]", "{}" },
	{ "\"clients\": \"managed\"", "{\"quota\": \"ignore\"}" },
	{ "\"clients\": \"managed\", \"auth\": \"basic\"",
	  "{\"zone\": \"cf\", \"base_path\": \"/ifs/cf\"}" },
};
static const long statuses[] = { 200, 201, 204, 304, 400, 401, 403, 404, 409, 500, 503, 507 };

static struct {
	const uint8_t *at;
	size_t left;
	unsigned calls;
} script;

/* The next line; NULL at the end. */
static char *next_line(size_t *len)
{
	const uint8_t *nl = script.left ? memchr(script.at, '\n', script.left) : NULL;
	char *text;

	if (!script.left)
		return NULL;
	*len = nl ? (size_t)(nl - script.at) : script.left;
	text = malloc(*len + 1);
	assert(text);
	memcpy(text, script.at, *len);
	text[*len] = '\0';
	script.at += *len + (nl != NULL);
	script.left -= *len + (nl != NULL);
	return text;
}

static void check_request(const struct rest_request *q)
{
	json_t *body;
	const json_t *clients;

	assert(q->call && q->method && q->path && q->path[0] == '/');
	assert(!strpbrk(q->path, " \r\n"));
	if (!q->body || !strstr(q->path, "/exports"))
		return;
	body = json_loads(q->body, 0, NULL);
	assert(json_is_object(body));
	clients = json_object_get(body, "clients");
	assert(!clients || isi_clients_has(clients, ONEFS_DUMMY));
	assert(clients || strcmp(q->method, "POST") != 0);
	json_decref(body);
}

static char **cookie_headers(const char *text)
{
	char **headers = calloc(3, sizeof *headers);

	assert(headers);
	if (asprintf(&headers[0], "set-cookie: %.600s", text) < 0 ||
	    asprintf(&headers[1], "x-other: 1") < 0)
		abort();
	return headers;
}

static int answer(struct rest *r, const struct rest_request *q, struct rest_reply *out,
		  struct err *err)
{
	size_t len = 0;
	char *line = next_line(&len), *body;

	(void)r;
	script.calls++;
	check_request(q);
	memset(out, 0, sizeof *out);
	if (!line || !len || line[0] == '-') {
		free(line);
		return err_set(err, -EAGAIN, "%s: the array is gone", q->call);
	}
	body = strdup(line + 1);
	assert(body);
	rest_reply_make(out, statuses[(unsigned char)line[0] % ARRAY_LEN(statuses)], body,
			strlen(body), cookie_headers(body));
	out->url = line[0] == '~';
	free(line);
	return 0;
}

static struct provider *provider_of(size_t i)
{
	static struct provider *all[ARRAY_LEN(variants)];
	struct onefs *o;
	struct err err;
	char text[512];
	json_t *config;

	if (!all[i]) {
		snprintf(text, sizeof text,
			 "{\"type\": \"onefs\", \"url\": \"http://127.0.0.1:1\", \"user\": \"u\", "
			 "\"password\": \"" SECRET "\", \"nfs_host\": \"h\", %s}",
			 variants[i].config);
		config = json_loads(text, 0, NULL);
		if (provider_open("isi", config, &all[i], &err))
			abort();
		json_decref(config);
	}
	o = CONTAINER_OF(all[i], struct onefs, base);
	o->send = answer;
	o->pause_ms = o->settle_ms = 0;
	memset(&o->session, 0, sizeof o->session);
	atomic_store(&o->version, 0);
	atomic_store(&o->old_switches, false);
	return all[i];
}

static bool found(void *arg, const struct provider_volume *v)
{
	(void)arg;
	assert(provider_is_made_name("cf-", v->name));
	return true;
}

static int run_volume(struct provider *p, char op, const struct provider_ref *ref, struct err *err)
{
	const struct provider_host host = { .address = "10.1.2.3" };
	struct provider_mapping m;
	struct provider_volume v;
	json_t *handle = NULL;
	uint64_t size;
	int rc;

	switch (op) {
	case 'r':
		return p->ops->remove(p, ref, err);
	case 'g':
		return p->ops->get(p, ref, &v, err);
	case 'w':
		return p->ops->grow(p, ref, 1 << 30, &size, err);
	case 'm':
		return p->ops->map(p, ref, &host, &m, err);
	case 'u':
		return p->ops->unmap(p, ref, &host, err);
	case 's':
		rc = p->ops->snapshot(p, ref, ref, &handle, err);
		assert(rc || json_is_object(handle));
		json_decref(handle);
		return rc;
	default:
		return p->ops->health(p, err);
	}
}

static int run(struct provider *p, char op, const struct provider_ref *ref, struct err *err)
{
	const struct provider_spec spec = { .size = 1 << 30 };
	struct provider_capacity c;
	json_t *handle = NULL;
	uint64_t size;
	int rc;

	switch (op) {
	case 'c':
	case 'o':
		rc = op == 'c' ? p->ops->create(p, ref, &spec, &handle, &size, err) :
				 p->ops->restore(p, ref, ref, &spec, &handle, &size, err);
		assert(rc || json_is_object(handle));
		json_decref(handle);
		return rc;
	case 'l':
		return p->ops->list(p, found, NULL, err);
	case 'n':
		return p->ops->remove_name(p, "cf-00000000000000000000000000", err);
	case 't':
		return p->ops->capacity(p, NULL, &c, err);
	default:
		return run_volume(p, op, ref, err);
	}
}

static void check_outcome(int rc, const struct err *err)
{
	static const int known[] = { 0,       -ENOENT, -EEXIST,     -EBUSY,  -ENOSPC, -EINVAL,
				     -ERANGE, -EACCES, -EOPNOTSUPP, -EAGAIN, -EPROTO };
	bool good = false;

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		good |= rc == known[i];
	assert(good);
	assert(!rc || *err->text);
	assert(!rc || !strstr(err->text, SECRET));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	AUTO_FREE char *ops = NULL;
	struct provider_ref ref = { .owner = "owner-1" };
	struct provider *p;
	size_t len = 0, which;
	json_t *plan;

	log_level = LOG_LEVEL_ERROR;
	script.at = data;
	script.left = size;
	script.calls = 0;
	ops = next_line(&len);
	if (!ops || len < 2)
		return 0;
	which = (unsigned char)ops[0] % ARRAY_LEN(variants);
	p = provider_of(which);
	plan = json_loads(variants[which].plan, 0, NULL);
	ref.plan = plan;
	for (size_t i = 1; i < len && i <= OPS_MAX; i++) {
		struct err err = { "" };
		int rc = run(p, ops[i], &ref, &err);

		check_outcome(rc, &err);
		assert(script.calls < CALLS_MAX + size);
	}
	json_decref(plan);
	return 0;
}
