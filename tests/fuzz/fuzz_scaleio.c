/* SPDX-License-Identifier: Apache-2.0 */
/* A gateway that answers anything. Two bytes choose operation and release; each line after them is an answer: what
 * becomes of the call, and the body. Calls go to a stand-in for rest.c, so there is no socket, and no pause.
 * Whatever comes, the operation ends with success or a sentence, no secret is in it, nobody is mapped to all
 * hosts, and only volumes whose name is ours are removed. */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backends/providers/provider.h"
#include "backends/providers/rest.h"
#include "common/cleanup.h"
#include "common/log.h"

#define PASSWORD "p4ss-of-the-user"
#define TOKEN "t0ken-of-the-session"
#define OWNER "owner"
#define GIB ((uint64_t)1 << 30)
#define IDS_MAX 64
#define CALLS_MAX 5000

struct rest {
	int unused;
};

static struct {
	const char *at, *end; /* the answers that are left */
	char version[8];
	bool fuzz_login;
	unsigned calls;
	struct {
		char id[64];
		bool ours;
	} seen[IDS_MAX];
	unsigned nseen;
} gw;

_Atomic unsigned rest_pause_ms = 0;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* --- the stand-in ---------------------------------------------------------- */

int rest_new(const struct rest_config *cfg, struct rest **out, struct err *err)
{
	(void)cfg;
	(void)err;
	*out = calloc(1, sizeof **out);
	return *out ? 0 : -ENOMEM;
}

void rest_free(struct rest *r)
{
	free(r);
}

const struct rest_stats *rest_stats(const struct rest *r)
{
	(void)r;
	return NULL;
}

/* For other kinds of arrays, which come along with the registry: all of rest.c has its stand-in here. */
void rest_base(struct rest *r, char *buf, size_t cap)
{
	(void)r;
	if (cap)
		buf[0] = '\0';
}

static void answer(struct rest_reply *out, long status, const char *body, size_t len)
{
	char *copy = malloc(len + 1);

	if (!copy)
		abort();
	memcpy(copy, body, len);
	copy[len] = '\0';
	rest_reply_make(out, status, copy, len, NULL);
}

static long status_of(char c)
{
	static const struct {
		char c;
		long status;
	} of[] = { { '5', 500 }, { '4', 404 }, { '1', 401 }, { '3', 403 },
		   { '0', 400 }, { 'b', 502 }, { 'a', 204 }, { 'i', 302 } };

	for (size_t i = 0; i < ARRAY_LEN(of); i++)
		if (of[i].c == c)
			return of[i].status;
	return 200;
}

static void check_call(const struct rest_request *q)
{
	const char *id = strstr(q->path, "/Volume::");
	const char *action = strstr(q->path, "/action/removeVolume");
	bool ours = false;

	assert(q->path[0] == '/' && strlen(q->path) < 1024);
	for (const char *p = q->path; *p; p++)
		assert(*p > 0x20 && *p < 0x7f);
	assert(!strstr(q->path, "/../"));
	for (size_t i = 0; q->headers && q->headers[i]; i++)
		assert(!strpbrk(q->headers[i], "\r\n"));
	assert(!q->body || !strcasestr(q->body, "allSdcs"));
	if (!id || !action)
		return;
	assert(strstr(q->body, "ONLY_ME"));
	id += strlen("/Volume::");
	for (unsigned i = 0; i < gw.nseen; i++)
		if (strlen(gw.seen[i].id) == (size_t)(action - id) &&
		    !strncasecmp(gw.seen[i].id, id, (size_t)(action - id)))
			ours = gw.seen[i].ours; /* as it was read last */
	assert(ours);
}

/* What the array said of a volume's name. */
static void note_volume(const struct rest_request *q, const struct rest_reply *a)
{
	const char *name = rest_text(a->json, "name");

	if (a->status != 200 || strncmp(q->path, "/api/instances/Volume::", 23) != 0 ||
	    strchr(q->path + 23, '/'))
		return;
	if (gw.nseen == IDS_MAX) {
		memmove(gw.seen, gw.seen + 1, sizeof gw.seen - sizeof gw.seen[0]);
		gw.nseen--;
	}
	snprintf(gw.seen[gw.nseen].id, sizeof gw.seen[0].id, "%s", q->path + 23);
	gw.seen[gw.nseen++].ours = provider_is_made_name("cf-", name) ||
				   provider_is_made_name("cf-n", name);
}

int rest_call(struct rest *r, const struct rest_request *q, struct rest_reply *out, struct err *err)
{
	const char *line = gw.at, *eol;

	(void)r;
	assert(++gw.calls < CALLS_MAX);
	check_call(q);
	if (!gw.fuzz_login && !strcmp(q->path, "/api/login")) {
		answer(out, 200, "\"" TOKEN "\"", strlen(TOKEN) + 2);
		return 0;
	}
	if (!gw.fuzz_login && !strcmp(q->path, "/api/version")) {
		answer(out, 200, gw.version, strlen(gw.version));
		return 0;
	}
	if (gw.at == gw.end)
		return err_set(err, -EAGAIN, "nobody answers");
	eol = memchr(line, '\n', (size_t)(gw.end - line));
	gw.at = eol ? eol + 1 : gw.end;
	if (*line == 'l')
		return err_set(err, -EAGAIN, "lost");
	if (*line == 'm')
		return err_set(err, -EMSGSIZE, "too long");
	eol = eol ? eol : gw.end;
	answer(out, status_of(*line), eol > line ? line + 1 : line,
	       eol > line ? (size_t)(eol - line - 1) : 0);
	out->resent = *line == 'r';
	note_volume(q, out);
	return 0;
}

/* --- the operations -------------------------------------------------------- */

static bool each(void *arg, const struct provider_volume *v)
{
	(void)arg;
	assert(provider_is_made_name("cf-", v->name));
	return true;
}

static void check_handle(int rc, json_t *handle)
{
	if (!rc)
		assert(*rest_text(handle, "id") && *rest_text(handle, "system"));
	json_decref(handle);
}

static int make(struct provider *p, unsigned op, const struct provider_ref *r, struct err *err)
{
	const struct provider_spec spec = { .size = 16 * GIB };
	struct provider_ref copy = { .owner = "copy", .plan = r->plan };
	json_t *handle = NULL;
	uint64_t size = 0;
	int rc = op == 0 ? p->ops->create(p, r, &spec, &handle, &size, err) :
		 op == 1 ? p->ops->snapshot(p, r, &copy, &handle, err) :
			   p->ops->restore(p, r, &copy, &spec, &handle, &size, err);

	assert(rc || op == 1 || size >= spec.size);
	check_handle(rc, handle);
	return rc;
}

static int ask(struct provider *p, unsigned op, const struct provider_ref *r, struct err *err)
{
	struct provider_capacity c;
	struct provider_volume v;
	json_t *config;
	uint64_t size = 0;
	int rc;

	switch (op) {
	case 3:
		return p->ops->remove(p, r, err);
	case 4:
		return p->ops->get(p, r, &v, err);
	case 5:
		return p->ops->list(p, each, NULL, err);
	case 6:
		rc = p->ops->grow(p, r, 24 * GIB, &size, err);
		assert(rc || size >= 24 * GIB);
		return rc;
	case 7:
		return p->ops->set_used(p, r, err);
	case 8:
		return p->ops->capacity(p, r->plan, &c, err);
	case 9:
		config = json_object();
		rc = p->ops->mount_config(p, r, config, err);
		json_decref(config);
		return rc;
	default:
		return p->ops->health(p, err);
	}
}

static int map(struct provider *p, unsigned op, const struct provider_ref *r, struct err *err)
{
	const struct provider_host host = {
		.sdc_guid = op & 1 ? "2B7E1C90-4D55-4E0B-9A61-0F3C8D1172AA" : NULL, .nqn = "nqn.x"
	};
	struct provider_mapping m;
	int rc;

	if (op >= 13)
		return p->ops->unmap(p, r, &host, err);
	rc = p->ops->map(p, r, &host, &m, err);
	assert(rc || (*m.device && m.size));
	assert(rc != -EBUSY || *m.holder);
	return rc;
}

static void check_error(int rc, const struct err *err)
{
	static const int known[] = { 0,       -ENOENT, -EEXIST, -EBUSY,      -ENOSPC, -EINVAL,
				     -ERANGE, -EACCES, -EAGAIN, -EOPNOTSUPP, -EPROTO, -ENOMEM };
	bool is_known = false;

	for (size_t i = 0; i < ARRAY_LEN(known); i++)
		is_known = is_known || known[i] == rc;
	assert(is_known);
	assert(!rc || *err->text);
	assert(!strstr(err->text, PASSWORD) && !strstr(err->text, TOKEN));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	json_t *config = json_pack("{s:s, s:s, s:s, s:s}", "type", "scaleio", "url", "https://gw",
				   "user", "svc", "password", PASSWORD);
	json_t *plan = json_pack("{s:s, s:s, s:i}", "protection_domain", "pd1", "pool", "pool1",
				 "iops_limit", 500);
	json_t *handle = json_pack("{s:s, s:s}", "id", "4f1c20a900000003", "system", "5e8d0c3a");
	struct provider_ref r = { .owner = OWNER, .plan = plan };
	struct provider *p = NULL;
	struct err err = { "" };
	unsigned op = size ? data[0] % 16 : 0;
	int rc;

	memset(&gw, 0, sizeof gw);
	log_level = LOG_LEVEL_ERROR;
	if (size > 1) {
		snprintf(gw.version, sizeof gw.version, "\"%d.%d\"", data[1] % 8, data[1] / 8 % 8);
		gw.fuzz_login = data[1] & 0x40;
		r.handle = data[1] & 0x80 ? handle : NULL;
		gw.at = (const char *)data + 2;
		gw.end = (const char *)data + size;
	}
	if (op == 12) /* limits are not for NVMe hosts */
		json_object_del(plan, "iops_limit");
	if (!config || !plan || !handle || provider_open("array1", config, &p, &err))
		abort();
	if (op < 3)
		rc = make(p, op, &r, &err);
	else
		rc = op < 11 ? ask(p, op, &r, &err) : map(p, op, &r, &err);
	check_error(rc, &err);
	provider_close(p);
	json_decref(config);
	json_decref(plan);
	json_decref(handle);
	return 0;
}
