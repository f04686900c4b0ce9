/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/tools/sim_scaleio.h"

/* --- images, devices, state ------------------------------------------------ */

static const char *image_of(const char *id)
{
	static char path[160];

	snprintf(path, sizeof path, "%s/volumes/%s.img", fx.root, id);
	return path;
}

static const char *device_of(const char *guid, const char *id)
{
	static char path[256];

	snprintf(path, sizeof path, "%s/sdc/%s/dev/disk/by-id/emc-vol-" SYSTEM "-%s", fx.root, guid,
		 id);
	return path;
}

static void write_at(const char *path, const char *text, off_t at)
{
	AUTO_FD int fd = open(path, O_WRONLY);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, text, strlen(text), at), strlen(text));
}

static void holds_at(const char *path, const char *text, off_t at)
{
	AUTO_FD int fd = open(path, O_RDONLY);
	char buf[64] = "";

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, buf, strlen(text), at), strlen(text));
	assert_string_equal(buf, text);
}

static void volume_is_an_image_and_a_device_while_mapped(void **state)
{
	struct stat st;
	id_text id;

	(void)state;
	make("a", id);
	assert_int_equal(stat(image_of(id), &st), 0);
	assert_int_equal(st.st_size, 8LL << 30);
	assert_true(st.st_blocks < 100);
	assert_int_equal(access(device_of(GUID1, id), F_OK), -1);
	succeeds(map_guid(id, GUID1, "FALSE"));
	write_at(device_of(GUID1, id), "by the device", 4LL << 30);
	holds_at(image_of(id), "by the device", 4LL << 30);
	succeeds(act(id, "setVolumeSize", "{\"sizeInGB\":\"16\"}"));
	assert_int_equal(stat(device_of(GUID1, id), &st), 0);
	assert_int_equal(st.st_size, 16LL << 30);
	succeeds(unmap_guid(id, GUID1));
	assert_int_equal(lstat(device_of(GUID1, id), &st), -1);
	succeeds(remove_volume(id, "ONLY_ME"));
	assert_int_equal(access(image_of(id), F_OK), -1);
}

static void snapshot_keeps_the_content(void **state)
{
	id_text a, s, group;
	char body[64];

	(void)state;
	make("a", a);
	write_at(image_of(a), "first", 0);
	write_at(image_of(a), "far away", 7LL << 30);
	take_snapshot(a, "s", s, group);
	write_at(image_of(a), "later", 0);
	holds_at(image_of(s), "first", 0);
	holds_at(image_of(s), "far away", 7LL << 30);
	refused(act(s, "overwriteVolumeContent", "{}"), 400, 0);
	snprintf(body, sizeof body, "{\"srcVolumeId\":\"%s\"}", s);
	refused(act(s, "overwriteVolumeContent", body), 500, 330);
	succeeds(act(a, "overwriteVolumeContent", body));
	holds_at(image_of(a), "first", 0);
}

static void device_comes_after_its_delay(void **state)
{
	uint64_t begin, deadline;
	id_text id;

	(void)state;
	restart("device_delay_ms=150", NULL);
	make("a", id);
	begin = clock_us();
	deadline = begin + 10000000;
	succeeds(map_guid(id, GUID1, "FALSE"));
	while (access(device_of(GUID1, id), F_OK)) {
		assert_true(clock_us() < deadline);
		usleep(5000);
	}
	assert_true(clock_us() - begin >= 100000);
	succeeds(unmap_guid(id, GUID1));
	assert_int_equal(access(device_of(GUID1, id), F_OK), -1);
	/* One that is unmapped before it has come does not come. */
	succeeds(map_guid(id, GUID1, "FALSE"));
	succeeds(unmap_guid(id, GUID1));
	usleep(300000);
	assert_int_equal(access(device_of(GUID1, id), F_OK), -1);
}

static void array_outlives_a_restart(void **state)
{
	id_text a, s, group, b;
	json_t *before_a, *before_s, *after;
	struct stat st;
	char link[256];

	(void)state;
	take_id(create_of("a", FINE, "16777216"), a);
	take_snapshot(a, "s", s, group);
	succeeds(map_guid(a, GUID1, "FALSE"));
	succeeds(act(a, "setMappedSdcLimits", "{\"guid\":\"" GUID1 "\",\"iopsLimit\":\"500\"}"));
	succeeds(post("/_sim/scaleio/sdc", "{\"guid\":\"AAAAAAAA-0000-0000-0000-00000000000A\"}"));
	before_a = get_json("Volume", a);
	before_s = get_json("Volume", s);
	/* A link that nobody has unmapped, as of a simulator that was killed. */
	snprintf(link, sizeof link, "%s", device_of(GUID1, s));
	assert_int_equal(symlink("/nowhere", link), 0);
	restart(NULL, NULL);
	after = get_json("Volume", a);
	assert_true(json_equal(before_a, after));
	json_decref(after);
	after = get_json("Volume", s);
	assert_true(json_equal(before_s, after));
	json_decref(after);
	assert_int_equal(access(device_of(GUID1, a), F_OK), 0);
	assert_int_equal(lstat(link, &st), -1);
	assert_int_equal(count("/api/types/Sdc/instances"), 3);
	make("b", b);
	assert_true(strcmp(b, s) > 0);
	json_decref(before_a);
	json_decref(before_s);
}

static void array_is_told_without_a_login(void **state)
{
	struct reply r;
	id_text id;

	(void)state;
	make("a", id);
	fx.c.password = NULL;
	r = call("GET", "/_sim/scaleio/array", NULL);
	assert_int_equal(r.status, 200);
	assert_int_equal(json_array_size(json_object_get(r.json, "volumes")), 1);
	client_done(&r);
}

/* Every value of a good state, replaced by nonsense: refused or harmless, and no crash. */
static void hostile_state_is_refused(void **state)
{
	static const char *const values[] = { "null", "-1",    "99999999999999999",    "\"x\"",
					      "[]",   "{}",    "\"ffffffffffffffff\"", "true",
					      "1.5",  "[null]" };
	id_text a, s, group;
	json_t *good, *array, *volume, *v;
	unsigned refusals = 0;
	const char *key;
	struct err err;

	(void)state;
	make("a", a);
	take_snapshot(a, "s", s, group);
	succeeds(map_guid(s, GUID1, "FALSE"));
	stop();
	good = json_load_file(fx.state, 0, NULL);
	array = json_object_get(good, "state");
	volume = json_array_get(json_object_get(array, "volumes"), 1);
	json_object_foreach(volume, key, v) {
		for (size_t i = 0; i < ARRAY_LEN(values); i++) {
			struct sim_config cfg = { .listen = "tcp:127.0.0.1:0", .state = fx.state };
			json_t *copy = json_deep_copy(good);
			json_t *victim = json_array_get(
				json_object_get(json_object_get(copy, "state"), "volumes"), 1);

			json_object_set_new(victim, key,
					    json_loads(values[i], JSON_DECODE_ANY, NULL));
			assert_int_equal(json_dump_file(copy, fx.state, 0), 0);
			json_decref(copy);
			if (sim_start(&sim_scaleio, &cfg, &fx.sim, &err))
				refusals++;
			else
				stop();
		}
	}
	json_decref(good);
	assert_true(refusals > 80);
}

static void *churn(void *arg)
{
	unsigned n = *(unsigned *)arg;
	char name[32];

	for (int i = 0; i < 20; i++) {
		struct reply r;
		char path[128], id[20] = "";

		snprintf(name, sizeof name, "t%u-%d", n, i);
		r = create_of(name, POOL1, "8388608");
		snprintf(id, sizeof id, "%s", text_of(r.json, "id"));
		client_done(&r);
		snprintf(path, sizeof path, "/api/instances/Volume::%s/action/addMappedSdc", id);
		r = post(path, "{\"guid\":\"" GUID1 "\"}");
		if (r.status != 200)
			return (void *)1;
		client_done(&r);
		r = call("GET", CREATE, NULL);
		if (!json_is_array(r.json))
			return (void *)1;
		client_done(&r);
		snprintf(path, sizeof path, "/api/instances/Volume::%s/action/removeMappedSdc", id);
		r = post(path, "{\"guid\":\"" GUID1 "\"}");
		client_done(&r);
		snprintf(path, sizeof path, "/api/instances/Volume::%s/action/removeVolume", id);
		r = post(path, "{\"removeMode\":\"ONLY_ME\"}");
		if (r.status != 200)
			return (void *)1;
		client_done(&r);
	}
	return NULL;
}

static void many_clients_disturb_nobody(void **state)
{
	pthread_t threads[4];
	unsigned numbers[4];
	void *bad;

	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		numbers[i] = i;
		pthread_create(&threads[i], NULL, churn, &numbers[i]);
	}
	for (unsigned i = 0; i < 4; i++) {
		pthread_join(threads[i], &bad);
		assert_null(bad);
	}
	assert_int_equal(count(CREATE), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define BACKED(name) cmocka_unit_test_setup_teardown(name, setup_backed, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(many_clients_disturb_nobody),
		BACKED(volume_is_an_image_and_a_device_while_mapped),
		BACKED(snapshot_keeps_the_content),
		BACKED(device_comes_after_its_delay),
		BACKED(array_outlives_a_restart),
		BACKED(array_is_told_without_a_login),
		BACKED(hostile_state_is_refused),
	};
	int rc;

	curl_global_init(CURL_GLOBAL_DEFAULT);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	curl_global_cleanup();
	return rc;
}
