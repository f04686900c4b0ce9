/* SPDX-License-Identifier: Apache-2.0 */
/* sim_scaleio.h - for the tests of the simulated gateway: its start, and the calls of its API as words */
#ifndef TESTS_UNIT_TOOLS_SIM_SCALEIO_H
#define TESTS_UNIT_TOOLS_SIM_SCALEIO_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "tests/unit/tools/sim_client.h"
#include "tools/sim/sim.h"

#define POOL1 "91ab03fc00000000"
#define NOZERO "91ab03fc00000001"
#define POOL2 "91ab03fc00000002"
#define FINE "91ab03fc00000003"
#define EC "91ab03fc00000004"
#define PD1 "b0c1d2e300000000"
#define PD2 "b0c1d2e300000001"
#define SYSTEM "5e8d0c3a7b91f20f"
#define GUID1 "2B7E1C90-4D55-4E0B-9A61-000000000001"
#define GUID2 "2B7E1C90-4D55-4E0B-9A61-000000000002"
#define CREATE "/api/types/Volume/instances"
#define NOBODY "ffffffffffffffff"
#define MANY 5000

typedef char id_text[20];

static struct {
	char dir[64], root[96], state[96];
	const char *settings[8];
	struct sim *sim;
	struct client c;
	char token[256];
} fx;

/* --- fixture --------------------------------------------------------------- */

static inline void login(void)
{
	struct client c = fx.c;
	struct reply r;

	c.bearer = NULL;
	c.user = "admin";
	c.password = "password";
	r = client_call(&c, "GET", "/api/login", NULL);
	assert_int_equal(r.status, 200);
	assert_true(json_is_string(r.json));
	snprintf(fx.token, sizeof fx.token, "%s", json_string_value(r.json));
	client_done(&r);
	fx.c.password = fx.token;
}

static inline void start(void)
{
	struct sim_config cfg = { .listen = "tcp:127.0.0.1:0",
				  .root = *fx.root ? fx.root : NULL,
				  .state = *fx.state ? fx.state : NULL,
				  .settings = fx.settings };
	struct err err = { "" };

	if (sim_start(&sim_scaleio, &cfg, &fx.sim, &err))
		fail_msg("%s", err.text);
	fx.c = (struct client){ .port = sim_port(fx.sim) };
	login();
}

static inline void stop(void)
{
	sim_stop(fx.sim);
	fx.sim = NULL;
}

/* Anew, with one setting or with two. */
static inline void restart(const char *one, const char *two)
{
	stop();
	fx.settings[0] = one;
	fx.settings[1] = two;
	start();
}

static inline int setup(void **state)
{
	(void)state;
	memset(&fx, 0, sizeof fx);
	strcpy(fx.dir, "/tmp/persifs-sim.XXXXXX");
	if (!mkdtemp(fx.dir))
		return -1;
	start();
	return 0;
}

static inline int setup_backed(void **state)
{
	(void)state;
	memset(&fx, 0, sizeof fx);
	strcpy(fx.dir, "/tmp/persifs-sim.XXXXXX");
	if (!mkdtemp(fx.dir))
		return -1;
	snprintf(fx.root, sizeof fx.root, "%s/root", fx.dir);
	snprintf(fx.state, sizeof fx.state, "%s/state", fx.dir);
	start();
	return 0;
}

static inline int remove_one(const char *path, const struct stat *st, int flag, struct FTW *at)
{
	(void)st;
	(void)flag;
	(void)at;
	return remove(path);
}

static inline int teardown(void **state)
{
	(void)state;
	sim_stop(fx.sim);
	return nftw(fx.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* --- words ----------------------------------------------------------------- */

static inline struct reply call(const char *method, const char *path, const char *body)
{
	return client_call(&fx.c, method, path, body);
}

static inline struct reply post(const char *path, const char *body)
{
	return call("POST", path, body);
}

static inline json_int_t int_of(const json_t *o, const char *key)
{
	return json_integer_value(json_object_get(o, key));
}

static inline const char *text_of(const json_t *o, const char *key)
{
	const char *t = json_string_value(json_object_get(o, key));

	return t ? t : "";
}

/* The call is refused with that status and code. */
static inline void refused(struct reply r, long status, json_int_t code)
{
	if (r.rc || r.status != status || int_of(r.json, "errorCode") != code)
		fail_msg("not %ld/%lld but: %ld %s", status, (long long)code, r.status, r.body);
	assert_true(json_is_integer(json_object_get(r.json, "errorCode")));
	assert_int_equal(int_of(r.json, "httpStatusCode"), status);
	assert_int_not_equal(*text_of(r.json, "message"), '\0');
	client_done(&r);
}

static inline void succeeds(struct reply r)
{
	if (r.rc || r.status != 200)
		fail_msg("%d %ld %s", r.rc, r.status, r.body);
	client_done(&r);
}

static inline void page(struct reply r, long status)
{
	assert_int_equal(r.status, status);
	assert_non_null(strstr(r.type, "text/html"));
	assert_non_null(strstr(r.body, "<html>"));
	assert_null(r.json);
	client_done(&r);
}

static inline const char *action(const char *id, const char *what)
{
	static char path[160];

	snprintf(path, sizeof path, "/api/instances/Volume::%s/action/%s", id, what);
	return path;
}

static inline struct reply act(const char *id, const char *what, const char *body)
{
	return post(action(id, what), body);
}

static inline struct reply create_of(const char *name, const char *pool, const char *kib)
{
	char body[256];

	snprintf(body, sizeof body,
		 "{\"name\":\"%s\",\"storagePoolId\":\"%s\",\"volumeSizeInKb\":\"%s\","
		 "\"volumeType\":\"ThinProvisioned\"}",
		 name, pool, kib);
	return post(CREATE, body);
}

/* An answer {"id": ...}, or a bare id. */
static inline void take_id(struct reply r, id_text out)
{
	const char *text = json_is_string(r.json) ? json_string_value(r.json) :
						    text_of(r.json, "id");

	if (r.status != 200 || strlen(text) != 16)
		fail_msg("%ld %s", r.status, r.body);
	snprintf(out, sizeof(id_text), "%s", text);
	client_done(&r);
}

static inline void make(const char *name, id_text out)
{
	take_id(create_of(name, POOL1, "8388608"), out);
}

static inline struct reply get(const char *type, const char *id)
{
	char path[96];

	snprintf(path, sizeof path, "/api/instances/%s::%s", type, id);
	return call("GET", path, NULL);
}

static inline json_t *get_json(const char *type, const char *id)
{
	struct reply r = get(type, id);
	json_t *o = json_incref(r.json);

	assert_int_equal(r.status, 200);
	client_done(&r);
	return o;
}

static inline struct reply query_name(const char *name)
{
	char body[128];

	snprintf(body, sizeof body, "{\"name\":\"%s\"}", name);
	return post("/api/types/Volume/instances/action/queryIdByKey", body);
}

static inline struct reply map_guid(const char *id, const char *guid, const char *several)
{
	char body[160];

	snprintf(body, sizeof body, "{\"guid\":\"%s\",\"allowMultipleMappings\":\"%s\"}", guid,
		 several);
	return act(id, "addMappedSdc", body);
}

static inline struct reply unmap_guid(const char *id, const char *guid)
{
	char body[96];

	snprintf(body, sizeof body, "{\"guid\":\"%s\"}", guid);
	return act(id, "removeMappedSdc", body);
}

static inline struct reply remove_volume(const char *id, const char *mode)
{
	char body[64];

	snprintf(body, sizeof body, "{\"removeMode\":\"%s\"}", mode);
	return act(id, "removeVolume", body);
}

static inline void advance(unsigned seconds)
{
	char body[64];

	snprintf(body, sizeof body, "{\"advance\":%u}", seconds);
	succeeds(post("/_sim/clock", body));
}

static inline size_t count(const char *path)
{
	struct reply r = call("GET", path, NULL);
	size_t n = json_array_size(r.json);

	assert_int_equal(r.status, 200);
	assert_true(json_is_array(r.json));
	client_done(&r);
	return n;
}

static inline struct reply snapshot(const char *id, const char *name)
{
	char body[160];

	snprintf(body, sizeof body,
		 "{\"snapshotDefs\":[{\"volumeId\":\"%s\",\"snapshotName\":\"%s\"}]}", id, name);
	return post("/api/instances/System::" SYSTEM "/action/snapshotVolumes", body);
}

static inline void take_snapshot(const char *id, const char *name, id_text out, id_text group)
{
	struct reply r = snapshot(id, name);
	const char *text =
		json_string_value(json_array_get(json_object_get(r.json, "volumeIdList"), 0));

	if (!text)
		fail_msg("%s", r.body);
	snprintf(out, sizeof(id_text), "%s", text);
	snprintf(group, sizeof(id_text), "%s", text_of(r.json, "snapshotGroupId"));
	client_done(&r);
}

#endif
