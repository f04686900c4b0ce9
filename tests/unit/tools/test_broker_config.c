/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration, the schemas made from it, and what they let pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/fake/fake_broker.h"
#include "tests/fake/fake_provider.h"
#include "tools/broker/bindopts.h"
#include "tools/broker/schema.h"

static struct fake_broker dir = { .dir = "/nonexistent" };

/* The usual configuration with one thing changed: path is "key", or "key/0/key". */
static int load_changed(const char *path, const char *text, struct err *err)
{
	json_t *all = fake_broker_config(&dir), *at = all;
	struct bconfig *c = bconfig_new();
	AUTO_FREE char *copy = strdup(path);
	char *save = NULL, *part = strtok_r(copy, "/", &save), *next;
	json_t *v = text ? json_loads(text, JSON_DECODE_ANY, NULL) : NULL;
	int rc;

	for (; (next = strtok_r(NULL, "/", &save)); part = next)
		at = json_is_array(at) ? json_array_get(at, strtoul(part, NULL, 10)) :
					 json_object_get(at, part);
	if (json_is_array(at))
		at = json_array_get(at, strtoul(part, NULL, 10));
	if (v)
		json_object_set_new(at, part, v);
	else
		json_object_del(at, part);
	c->open_provider = fake_provider_open;
	rc = bconfig_take(c, all, "test.json", err);
	if (!rc)
		rc = bconfig_check(c, err);
	json_decref(all);
	bconfig_put(c);
	return rc;
}

static const struct {
	const char *path, *value, *part;
} mistakes[] = {
	{ "frob", "1", "test.json: key \"frob\": is not known" },
	{ "tls.cert", "\"x\"", "key \"tls.cert\": is not known" },
	{ "listen", "[]", "key \"listen\"" },
	{ "listen", "[\"tcp:host:1\"]", "key \"listen\"" },
	{ "listen", "[7]", "key \"listen\"" },
	{ "admin", "\"nowhere\"", "key \"admin\"" },
	{ "lease", "\"1h2\"", "key \"lease\"" },
	{ "workers", "0", "key \"workers\"" },
	{ "store", "\"\"", "key \"store\"" },
	{ "store", "\"mysql://x\"", "key \"store\"" },
	{ "store", "\"sqlite:relative\"", "key \"store\"" },
	{ "key_file", NULL, "key \"key_file\": is required" },
	{ "driver", "\"a/b\"", "key \"driver\"" },
	{ "tls", "{\"cert\":\"/c\"}", "key \"tls.cert\": wants tls.key" },
	{ "tls", "{\"crt\":\"/c\"}", "key \"tls.crt\": is not known" },
	{ "tls", "7", "key \"tls\": want an object" },
	{ "dashboard", "{\"url\":\"ftp://x\"}", "key \"dashboard.url\"" },
	{ "dashboard", "{\"url\":\"https://x/?a\"}", "key \"dashboard.url\"" },
	{ "users", NULL, "key \"users\"" },
	{ "users", "{}", "key \"users\"" },
	{ "users/0/name", NULL, "key \"users[0].name\": is required" },
	{ "users/0/name", "\"a:b\"", "key \"users[0].name\"" },
	{ "users/0/password", NULL, "key \"users[0]\": want either" },
	{ "users/0/password_hash", "\"x\"", "key \"users[0]\": want either" },
	{ "users", "[{\"name\":\"u\",\"password_hash\":\"x\"}]", "users[0].password_hash" },
	{ "users", "[{\"name\":\"u\",\"password\":\"x\"},{\"name\":\"u\",\"password\":\"y\"}]",
	  "users[1].name" },
	{ "users", "[7]", "users[0]" },
	{ "providers", "[]", "key \"providers\"" },
	{ "providers/files", "7", "providers.files" },
	{ "providers/files/type", "\"nope\"", "providers.files" },
	{ "providers/disk/root", NULL, "providers.disk" },
	{ "providers/disk/rot", "1", "rot" },
	{ "services", NULL, "key \"services\"" },
	{ "services", "[7]", "services[0]" },
	{ "services/0/id", NULL, "services[0].id" },
	{ "services/0/name", "\"a b\"", "services[0].name" },
	{ "services/0/frob", "1", "services[0].frob" },
	{ "services/0/tags", "[1]", "services[0].tags" },
	{ "services/0/plans", "[]", "services[0].plans" },
	{ "services/1/id", "\"s-files\"", "services[1]" },
	{ "services/1/plans/0/id", "\"big\"", "services[1].plans[0].id\": another" },
	{ "services/0/plans/1/name", "\"small\"", "services[0].plans[1].name\": another" },
	{ "services/0/plans/1/provider", "\"x\"", "services[0].plans[1].provider" },
	{ "services/0/plans/1/provider", NULL, "services[0].plans[1].provider" },
	{ "services/0/plans/1/size", "\"x\"", "services[0].plans[1].size" },
	{ "services/0/plans/1/size", "\"11g\"", "more than max_size" },
	{ "services/0/plans/1/pool", "7", "pool: want a string" },
	{ "services/0/plans/1/kind", "\"image\"", "services[0].plans[1].kind" },
	{ "services/0/plans/1/mode", "\"rwx\"", "services[0].plans[1].mode" },
	{ "services/0/plans/1/container_dir", "\"/a/..\"", "container_dir" },
	{ "services/0/plans/1/bind_options", "[\"source\"]", "bind_options" },
	{ "services/0/plans/1/mount_defaults", "{\"mount\":\"/x\"}", "mount_defaults" },
	{ "services/0/plans/1/mount_defaults", "{\"uid\":[]}", "mount_defaults" },
	{ "services/0/plans/1/metadata", "[]", "services[0].plans[1].metadata" },
	{ "services/0/plans/1/maintenance_info", "{\"version\":\"1\"}",
	  "maintenance_info.version" },
	{ "services/2/plans/0/share", "\"a:/b\"", "services[2].plans[0]" },
	{ "services/2/plans/0/allow_share", "true", "wants share" },
	{ "services/3/plans/0/quota", "\"maybe\"", "quota: want" },
	{ "services/3/plans/0/kind", "\"tape\"", "kind: want" },
};

static void mistakes_name_file_and_key(void **state)
{
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(mistakes); i++) {
		int rc = load_changed(mistakes[i].path, mistakes[i].value, &err);

		if (rc != -EINVAL || !strstr(err.text, mistakes[i].part))
			print_error("%s %s: %d %s\n", mistakes[i].path, mistakes[i].value, rc,
				    err.text);
		assert_int_equal(rc, -EINVAL);
		assert_non_null(strstr(err.text, mistakes[i].part));
		assert_non_null(strstr(err.text, "test.json"));
	}
}

static void what_is_right_is_taken(void **state)
{
	static const char *const rows[][2] = {
		{ "listen", "[\"tcp:127.0.0.1:0\",\"unix:/tmp/x\"]" },
		{ "admin", "\"127.0.0.1:0\"" },
		{ "tls", "{\"cert\":\"/c\",\"key\":\"/k\"}" },
		{ "dashboard", "{}" },
		{ "services/0/plans/1/free", "false" },
		{ "services/0/plans/1/metadata", "{\"bullets\":[\"a\"]}" },
		{ "services/2/plans/0/share", "\"srv/exports\"" },
		{ "services/3/plans/0/kind", "\"image\"" },
	};
	struct err err;

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		if (load_changed(rows[i][0], rows[i][1], &err))
			print_error("%s: %s\n", rows[i][0], err.text);
		assert_int_equal(load_changed(rows[i][0], rows[i][1], &err), 0);
	}
}

static void a_file_tells_its_line(void **state)
{
	char path[] = "/tmp/persifs-broker-config.XXXXXX";
	AUTO_FD int fd = mkstemp(path);
	struct bconfig *c = bconfig_new();
	struct err err;

	(void)state;
	assert_int_equal(write(fd, "{\n\"users\": [\n}", 14), 14);
	assert_int_equal(bconfig_load(c, path, &err), -EINVAL);
	assert_non_null(strstr(err.text, "line 3"));
	unlink(path);
	assert_int_equal(bconfig_load(c, path, &err), -EINVAL);
	bconfig_put(c);
}

/* --- schemas --------------------------------------------------------------- */

static int check(const char *schema, const char *value, struct err *err)
{
	json_t *s = json_loads(schema, 0, NULL), *v = json_loads(value, JSON_DECODE_ANY, NULL);
	int rc;

	assert_non_null(s);
	assert_non_null(v);
	rc = schema_check(s, v, err);
	json_decref(s);
	json_decref(v);
	return rc;
}

/* Whatever stands behind them, and wherever. */
static void keys_that_begin_with_slashes_are_comments(void **state)
{
	static const char text[] =
		"{\"//\":1,\"// x\":{\"users\":7},\"listen\":[\"tcp:127.0.0.1:1\"],"
		"\"users\":[{\"// u\":[{}],\"name\":\"u\",\"password\":\"p\"}],"
		"\"tls\":{\"// cert\":\"/c\"}%s}";
	static const char *const more[] = { "", ",\"//\":2", ",\"/ x\":1" };
	char path[] = "/tmp/persifs-config.XXXXXX";
	struct err err;

	(void)state;
	close(mkstemp(path));
	for (size_t i = 0; i < ARRAY_LEN(more); i++) {
		struct bconfig *c = bconfig_new();
		FILE *f = fopen(path, "w");
		int rc;

		fprintf(f, text, more[i]);
		fclose(f);
		rc = bconfig_load(c, path, &err);
		assert_int_equal(rc, i ? -EINVAL : 0); /* twice the same key; no comment */
		if (!rc)
			assert_string_equal(c->users[0].name, "u");
		if (!rc)
			assert_null(c->tls_cert);
		bconfig_put(c);
	}
	unlink(path);
}

static void schemas_name_parameter_and_wish(void **state)
{
	static const char schema[] =
		"{\"type\":\"object\",\"additionalProperties\":false,\"required\":[\"need\"],"
		"\"properties\":{\"need\":{},\"n\":{\"type\":\"integer\",\"minimum\":2,"
		"\"maximum\":5},\"s\":{\"type\":[\"string\",\"boolean\"],\"minLength\":2,"
		"\"maxLength\":3},\"e\":{\"enum\":[1,\"one\",null]},\"o\":{\"type\":\"object\"},"
		"\"a\":{\"type\":\"array\"},\"r\":{\"type\":\"number\"}}}";
	static const struct {
		const char *value, *part; /* NULL: good */
	} rows[] = {
		{ "{\"need\":1}", NULL },
		{ "{}", "need is required" },
		{ "[]", "want an object" },
		{ "{\"need\":1,\"n\":2}", NULL },
		{ "{\"need\":1,\"n\":5}", NULL },
		{ "{\"need\":1,\"n\":1}", "n: want 2 or more" },
		{ "{\"need\":1,\"n\":6}", "n: want 5 or less" },
		{ "{\"need\":1,\"n\":2.5}", "n: want integer" },
		{ "{\"need\":1,\"s\":\"ab\"}", NULL },
		{ "{\"need\":1,\"s\":true}", NULL },
		{ "{\"need\":1,\"s\":\"a\"}", "s: want 2 characters or more" },
		{ "{\"need\":1,\"s\":\"abcd\"}", "s: want 3 characters or fewer" },
		{ "{\"need\":1,\"s\":7}", "s: want string or boolean" },
		{ "{\"need\":1,\"s\":null}", "s: want string or boolean" },
		{ "{\"need\":1,\"e\":\"one\"}", NULL },
		{ "{\"need\":1,\"e\":null}", NULL },
		{ "{\"need\":1,\"e\":2}", "e: want one of 1, \"one\", null" },
		{ "{\"need\":1,\"o\":{}}", NULL },
		{ "{\"need\":1,\"o\":[]}", "o: want object" },
		{ "{\"need\":1,\"a\":[1]}", NULL },
		{ "{\"need\":1,\"r\":1}", NULL },
		{ "{\"need\":1,\"r\":1.5}", NULL },
		{ "{\"need\":1,\"zz\":1}", "zz is not allowed; this plan takes need, n, s" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct err err = { "" };
		int rc = check(schema, rows[i].value, &err);

		if (!rc != !rows[i].part || (rc && !strstr(err.text, rows[i].part)))
			print_error("%s: %d %s\n", rows[i].value, rc, err.text);
		assert_int_equal(rc, rows[i].part ? -EINVAL : 0);
		assert_true(!rc || strstr(err.text, rows[i].part));
	}
}

static void what_is_published_is_what_is_enforced(void **state)
{
	struct bconfig *c = fake_broker_load(fake_broker_config(&dir));
	const struct bplan *p = bconfig_plan(c, "big");
	json_t *catalog = json_loads(c->catalog, 0, NULL);
	json_t *plan = json_array_get(
		json_object_get(json_array_get(json_object_get(catalog, "services"), 0), "plans"),
		1);
	json_t *schemas = json_object_get(plan, "schemas");

	(void)state;
	schemas = json_object_get(schemas, "service_instance");
	assert_true(json_equal(json_object_get(json_object_get(schemas, "create"), "parameters"),
			       p->create_schema));
	assert_true(json_equal(json_object_get(json_object_get(schemas, "update"), "parameters"),
			       p->update_schema));
	assert_non_null(json_object_get(json_object_get(p->create_schema, "properties"), "size"));
	json_decref(catalog);
	bconfig_put(c);
}

/* --- options --------------------------------------------------------------- */

static void owners_are_said_as_a_whole(void **state)
{
	static const struct {
		const char *instance, *bind, *want; /* NULL: refused */
	} rows[] = {
		{ "{}", "{}", "{\"persifs.policy\":\"lru\"}" },
		{ "{\"uid\":1,\"gid\":2}", "{}",
		  "{\"persifs.policy\":\"lru\",\"uid\":1,\"gid\":2}" },
		{ "{\"uid\":1,\"gid\":2}", "{\"uid\":5}",
		  "{\"persifs.policy\":\"lru\",\"uid\":5,\"gid\":2}" },
		{ "{\"uid\":1,\"gid\":2}", "{\"username\":\"a\",\"password\":\"b\"}",
		  "{\"persifs.policy\":\"lru\",\"username\":\"a\",\"password\":\"b\"}" },
		{ "{\"username\":\"a\",\"password\":\"b\"}", "{\"uid\":1,\"gid\":2}",
		  "{\"persifs.policy\":\"lru\",\"uid\":1,\"gid\":2}" },
		{ "{\"size\":\"1g\",\"mount\":\"/x\",\"share\":\"s\"}", "{\"mount\":\"/y\"}",
		  "{\"persifs.policy\":\"lru\"}" },
		{ "{}", "{\"uid\":1}", NULL },
		{ "{}", "{\"gid\":1}", NULL },
		{ "{}", "{\"username\":\"a\"}", NULL },
		{ "{}", "{\"username\":\"a\",\"password\":\"b\",\"uid\":1,\"gid\":1}", NULL },
	};
	struct bconfig *c = fake_broker_load(fake_broker_config(&dir));
	const struct bplan *p = bconfig_plan(c, "big");

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *a = json_loads(rows[i].instance, 0, NULL);
		json_t *b = json_loads(rows[i].bind, 0, NULL), *out = NULL;
		json_t *want = rows[i].want ? json_loads(rows[i].want, 0, NULL) : NULL;
		struct err err;

		assert_int_equal(bindopts_merge(p, a, b, &out, &err), want ? 0 : -EINVAL);
		assert_true(!want || json_equal(out, want));
		json_decref(a);
		json_decref(b);
		json_decref(out);
		json_decref(want);
	}
	bconfig_put(c);
}

static void values_are_checked(void **state)
{
	static const struct {
		const char *params;
		bool good;
	} rows[] = {
		{ "{\"uid\":\"12\"}", true },           { "{\"uid\":\"0\"}", false },
		{ "{\"uid\":\"-1\"}", false },          { "{\"uid\":\"12x\"}", false },
		{ "{\"gid\":\"99999999999\"}", false }, { "{\"mount\":\"/a\"}", true },
		{ "{\"mount\":\"/\"}", false },         { "{\"mount\":\"a\"}", false },
		{ "{\"mount\":\"/a/..\"}", false },     { "{\"mount\":\"/../a\"}", false },
		{ "{\"mount\":\"/a//b\"}", false },     { "{\"mount\":\"/a/./b\"}", false },
		{ "{\"mount\":\"/a:b\"}", false },      { "{\"mount\":\"/a\\nb\"}", false },
		{ "{\"mount\":\"/a..b\"}", true },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		json_t *p = json_loads(rows[i].params, 0, NULL);
		struct err err;

		assert_non_null(p);
		if (!bindopts_check(p, &err) != rows[i].good)
			print_error("%s\n", rows[i].params);
		assert_int_equal(!bindopts_check(p, &err), rows[i].good);
		json_decref(p);
	}
}

/* --- authentication -------------------------------------------------------- */

static const char *try_auth(struct auth *a, const struct bconfig *c, const char *pair)
{
	char b64[256], header[300];

	sodium_bin2base64(b64, sizeof b64, (const unsigned char *)pair, strlen(pair),
			  sodium_base64_VARIANT_ORIGINAL);
	snprintf(header, sizeof header, "Basic %s", b64);
	return auth_check(a, c, header);
}

static struct bconfig *with_users(const char *hash)
{
	json_t *all = fake_broker_config(&dir);

	json_object_set_new(all, "users",
			    json_pack("[{s:s,s:s},{s:s,s:s}]", "name", "clear", "password", "pw1",
				      "name", "hashed", "password_hash", hash));
	return fake_broker_load(all);
}

static void pairs_are_checked_and_remembered(void **state)
{
	char hash[crypto_pwhash_STRBYTES], other[crypto_pwhash_STRBYTES];
	struct bconfig *c, *d;
	struct auth a;

	(void)state;
	assert_int_equal(auth_init(&a), 0);
	assert_true(auth_hash("pw2", hash));
	assert_true(auth_hash("pw3", other));
	c = with_users(hash);
	d = with_users(other);
	assert_string_equal(try_auth(&a, c, "clear:pw1"), "clear");
	assert_int_equal(a.hashes, 0);
	assert_null(try_auth(&a, c, "clear:pw2"));
	assert_null(try_auth(&a, c, "clear:"));
	assert_null(try_auth(&a, c, "clear"));
	assert_null(try_auth(&a, c, ""));
	assert_int_equal(a.hashes, 0);
	assert_string_equal(try_auth(&a, c, "hashed:pw2"), "hashed");
	assert_int_equal(a.hashes, 1);
	assert_string_equal(try_auth(&a, c, "hashed:pw2"), "hashed");
	assert_int_equal(a.hashes, 1); /* remembered */
	assert_null(try_auth(&a, c, "hashed:pw1"));
	assert_null(try_auth(&a, c, "nobody:pw2")); /* costs as much as a known one */
	assert_int_equal(a.hashes, 3);
	assert_null(try_auth(&a, d, "hashed:pw2")); /* another hash: forgotten */
	assert_string_equal(try_auth(&a, d, "hashed:pw3"), "hashed");
	bconfig_put(c);
	bconfig_put(d);
	auth_done(&a);
}

static void identities_are_decoded(void **state)
{
	json_t *who = audit_who("cloudfoundry eyJ1c2VyX2lkIjoiam9lIn0=");

	(void)state;
	assert_string_equal(json_string_value(json_object_get(who, "platform")), "cloudfoundry");
	assert_string_equal(
		json_string_value(json_object_get(json_object_get(who, "identity"), "user_id")),
		"joe");
	json_decref(who);
	assert_true(json_is_null(audit_who(NULL)));
	assert_true(json_is_null(audit_who("cloudfoundry")));
	assert_true(json_is_null(audit_who("cloudfoundry !!!")));
	assert_true(json_is_null(audit_who("cloudfoundry W10=")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(mistakes_name_file_and_key),
		cmocka_unit_test(what_is_right_is_taken),
		cmocka_unit_test(a_file_tells_its_line),
		cmocka_unit_test(keys_that_begin_with_slashes_are_comments),
		cmocka_unit_test(schemas_name_parameter_and_wish),
		cmocka_unit_test(what_is_published_is_what_is_enforced),
		cmocka_unit_test(owners_are_said_as_a_whole),
		cmocka_unit_test(values_are_checked),
		cmocka_unit_test(pairs_are_checked_and_remembered),
		cmocka_unit_test(identities_are_decoded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
