/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fake/fake_broker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backends/providers/local_impl.h"
#include "common/cleanup.h"
#include "common/log.h"
#include "tests/fake/fake_provider.h"

#define STOP_MS 10000
#define POLLS 1000
#define POLL_US 10000
#define AUTH "Basic dTpw" /* u:p */

static const char template[] =
	"{\"users\":[{\"name\":\"u\",\"password\":\"p\"}],"
	"\"lease\":\"1s\",\"sync_wait\":\"5s\",\"workers\":4,\"log_level\":\"error\","
	"\"dashboard\":{\"url\":\"https://broker.test\"},"
	"\"providers\":{\"files\":{\"type\":\"fake-files\"},\"blocks\":{\"type\":\"fake-block\"},"
	"\"nfs\":{\"type\":\"existing\"},\"disk\":{\"type\":\"local\",\"root\":\"%s/volumes\"}},"
	"\"key_file\":\"%s/key\",\"store\":\"sqlite:%s/store\",\"audit_log\":\"%s/audit\","
	"\"services\":["
	"{\"id\":\"s-files\",\"name\":\"files\",\"description\":\"Folders\",\"tags\":[\"nfs\"],"
	"\"plans\":["
	"{\"id\":\"small\",\"name\":\"small\",\"description\":\"1 GiB\",\"provider\":\"files\","
	"\"size\":\"1g\"},"
	"{\"id\":\"big\",\"name\":\"big\",\"description\":\"grows\",\"provider\":\"files\","
	"\"size\":\"1g\",\"max_size\":\"10g\",\"plan_updateable\":true,"
	"\"bind_options\":[\"uid\",\"gid\",\"username\",\"password\",\"mount\",\"readonly\","
	"\"persifs.cache_size\"],\"mount_defaults\":{\"persifs.policy\":\"lru\"},"
	"\"maintenance_info\":{\"version\":\"1.0.0\",\"description\":\"first\"}},"
	"{\"id\":\"bigger\",\"name\":\"bigger\",\"description\":\"grows more\","
	"\"provider\":\"files\",\"size\":\"2g\",\"max_size\":\"20g\"},"
	"{\"id\":\"elsewhere\",\"name\":\"elsewhere\",\"description\":\"another pool\","
	"\"provider\":\"files\",\"pool\":\"slow\",\"size\":\"2g\"}]},"
	"{\"id\":\"s-disks\",\"name\":\"disks\",\"description\":\"Disks\",\"plans\":["
	"{\"id\":\"disk\",\"name\":\"disk\",\"description\":\"one app\",\"provider\":\"blocks\","
	"\"size\":\"8g\",\"pool\":\"gold\",\"uid\":\"3000\"}]},"
	"{\"id\":\"s-nfs\",\"name\":\"nfs\",\"description\":\"Existing shares\",\"plans\":["
	"{\"id\":\"existing\",\"name\":\"Existing\",\"description\":\"a share\","
	"\"provider\":\"nfs\"}]},"
	"{\"id\":\"s-local\",\"name\":\"local\",\"description\":\"This machine\",\"plans\":["
	"{\"id\":\"folder\",\"name\":\"folder\",\"description\":\"a folder\","
	"\"provider\":\"disk\",\"size\":\"1g\",\"max_size\":\"2g\"}]}]}";

/* --- the broker ------------------------------------------------------------ */

json_t *fake_broker_config(const struct fake_broker *f)
{
	AUTO_FREE char *text = NULL;
	json_error_t e;
	json_t *j;

	if (asprintf(&text, template, f->dir, f->dir, f->dir, f->dir) < 0)
		return NULL;
	j = json_loads(text, JSON_REJECT_DUPLICATES, &e);
	if (!j)
		fprintf(stderr, "template: line %d column %d: %s\n", e.line, e.column, e.text);
	return j;
}

struct bconfig *fake_broker_load(json_t *all)
{
	struct bconfig *c = bconfig_new();
	struct err err = { "" };

	c->open_provider = fake_provider_open;
	if (bconfig_take(c, all, "test.json", &err) || bconfig_check(c, &err)) {
		fprintf(stderr, "configuration: %s\n", err.text);
		bconfig_put(c);
		c = NULL;
	}
	json_decref(all);
	return c;
}

static int complain(const struct err *err)
{
	fprintf(stderr, "%s\n", err->text);
	return -1;
}

int fake_broker_start_workers(struct fake_broker *f)
{
	struct err err = { "" };

	if (workers_start(&f->b, &f->b.workers, &err))
		return complain(&err);
	f->has_workers = true;
	return 0;
}

bool fake_broker_stop_workers(struct fake_broker *f, unsigned limit_ms)
{
	struct workers *w = f->b.workers;

	if (!workers_stop(w, limit_ms))
		return false;
	f->b.workers = NULL;
	return true;
}

int fake_broker_start(struct fake_broker *f, json_t *more)
{
	struct err err = { "" };
	struct bconfig *c;
	json_t *all;

	memset(f, 0, sizeof *f);
	log_level = LOG_LEVEL_ERROR;
	fake_provider_reset();
	strcpy(f->dir, "/tmp/persifs-broker.XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	all = fake_broker_config(f);
	if (more)
		json_object_update(all, more);
	json_decref(more);
	c = fake_broker_load(all);
	if (!c || seal_make_key(c->key_file, &err) || seal_open(c->key_file, &f->b.seal, &err) ||
	    broker_init(&f->b, c, &err) || store_open(c->store, f->b.seal, &f->b.store, &err))
		return complain(&err);
	return fake_broker_start_workers(f);
}

void fake_broker_stop(struct fake_broker *f)
{
	unsigned budget = 100000;

	fake_provider_reset();
	fake_broker_stop_workers(f, STOP_MS);
	store_close(f->b.store);
	seal_close(f->b.seal);
	if (f->b.config)
		broker_done(&f->b);
	local_delete_tree(AT_FDCWD, f->dir, &budget, NULL);
}

/* --- calls ----------------------------------------------------------------- */

/* One argument of a query, in its place; no escapes. */
static void take_argument(struct osb_call *q, char *pair)
{
	char *value = strchr(pair, '=');

	if (!value)
		return;
	*value++ = '\0';
	if (!strcmp(pair, "service_id"))
		q->service_id = value;
	else if (!strcmp(pair, "plan_id"))
		q->plan_id = value;
	else if (!strcmp(pair, "accepts_incomplete"))
		q->accepts_incomplete = value;
	else if (!strcmp(pair, "operation"))
		q->operation = value;
	else if (!strcmp(pair, "t"))
		q->token = value;
}

struct fake_answer fake_call(struct fake_broker *f, const char *method, const char *path,
			     const char *body)
{
	AUTO_FREE char *copy = strdup(path);
	struct osb_call q = { .method = method,
			      .path = copy,
			      .body = body ? body : "",
			      .len = body ? strlen(body) : 0,
			      .authorization = AUTH,
			      .version = "2.17",
			      .content_type = "application/json" };
	char *at = strchr(copy, '?'), *save = NULL;
	struct fake_answer a = { 0 };
	struct osb_reply r;

	if (at) {
		*at++ = '\0';
		for (char *p = strtok_r(at, "&", &save); p; p = strtok_r(NULL, "&", &save))
			take_argument(&q, p);
	}
	osb_answer(&f->b, &q, &r);
	a.status = r.status;
	a.retry_after = r.retry_after;
	a.text = r.text;
	a.json = json_loads(r.text, 0, NULL);
	return a;
}

void fake_answer_done(struct fake_answer *a)
{
	json_decref(a->json);
	free(a->text);
	memset(a, 0, sizeof *a);
}

const char *fake_text(const struct fake_answer *a, const char *key)
{
	const char *s = json_string_value(json_object_get(a->json, key));

	return s ? s : "";
}

const char *fake_wait(struct fake_broker *f, const char *instance)
{
	static _Thread_local char state[32];
	char path[512];

	snprintf(path, sizeof path, "/v2/service_instances/%s/last_operation", instance);
	for (int i = 0; i < POLLS; i++) {
		struct fake_answer a = fake_call(f, "GET", path, NULL);

		snprintf(state, sizeof state, "%s", fake_text(&a, "state"));
		if (a.status != 200)
			snprintf(state, sizeof state, "%u", a.status);
		fake_answer_done(&a);
		if (strcmp(state, "in progress"))
			return state;
		usleep(POLL_US);
	}
	return "";
}
