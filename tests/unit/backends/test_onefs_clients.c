/* SPDX-License-Identifier: Apache-2.0 */
/* Lists of clients, which writers replace as a whole and lose each other's entries by. Here are the turns of a race
 * one by one, and real ones against the simulated cluster. */
#include "tests/unit/backends/onefs_test.h"

#include <ftw.h>
#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/sim/sim.h"

#define EXPORT "/platform/2/protocols/nfs/exports/812"
#define EXPORTS "/platform/2/protocols/nfs/exports"
#define BASE "/ifs/data/persifs"
#define ADDRESS "10.30.1.21"
#define DRIVERS 6
#define ROUNDS 3

static char name[PROVIDER_NAME_MAX];
static json_t *handle;

static const struct provider_host host = { .address = ADDRESS };

static void begin(const char *more)
{
	open_more(more);
	fx.p->ops->name_of(fx.p, OWNER, name);
	handle = json_pack("{s:s, s:i}", "name", name, "export", 812);
	on("GET /platform/latest", 200, "{\"latest\":\"12\"}");
}

static int end(void **state)
{
	json_decref(handle);
	handle = NULL;
	return stop(state);
}

/* What a read of the export shows from now on, once. */
static void reads(const char *clients, const char *writable)
{
	static char text[16][1024];
	static unsigned i;
	char *body = text[i++ % 16];

	snprintf(body, sizeof text[0],
		 "{\"exports\":[{\"id\":812,\"paths\":[\"" BASE
		 "/%s\"],\"description\":\"persifs volume %s of x\",\"clients\":[%s],"
		 "\"read_write_clients\":[%s]}]}",
		 name, name, clients, writable);
	on("GET " EXPORT, 200, body);
}

static int map(bool *was)
{
	const struct provider_ref r = { .owner = OWNER, .handle = handle };
	struct provider_mapping m;
	int rc = fx.p->ops->map(fx.p, &r, &host, &m, &fx.err);

	if (was)
		*was = m.was_mapped;
	return rc;
}

static int unmap(void)
{
	const struct provider_ref r = { .owner = OWNER, .handle = handle };

	return fx.p->ops->unmap(fx.p, &r, &host, &fx.err);
}

static const char *put_body(unsigned n)
{
	for (unsigned i = 0; i < fake_http_count(fx.a); i++)
		if (!strcmp(fake_http_seen(fx.a, i)->method, "PUT") && !n--)
			return fake_http_seen(fx.a, i)->body;
	return "none";
}

#define L "\"localhost\""
#define OURS L ",\"" ADDRESS "\""

/* --- the turns of a race ------------------------------------------------------------ */

static void entry_is_added_and_seen_twice(void **state)
{
	bool was = true;

	(void)state;
	begin(MANAGED BASIC);
	reads(L, ""); /* to find the export */
	reads(L, "");
	on("PUT " EXPORT, 204, NULL);
	reads(OURS, "");
	reads(OURS, "");
	assert_int_equal(map(&was), 0);
	assert_false(was);
	assert_string_equal(put_body(0), "{\"clients\":[" OURS "]}");
	script_is_done();
	reads(OURS, "");
	reads(OURS, "");
	assert_int_equal(map(&was), 0); /* again: nothing is written */
	assert_true(was);
	script_is_done();
}

static void entry_that_another_overwrote_is_put_back(void **state)
{
	(void)state;
	begin(MANAGED BASIC);
	reads(L, "");
	reads(L, "");
	on("PUT " EXPORT, 204, NULL);
	reads(L ",\"10.30.1.99\"", ""); /* theirs, from a list without ours */
	on("PUT " EXPORT, 204, NULL);
	reads(L ",\"10.30.1.99\",\"" ADDRESS "\"", "");
	reads(L ",\"10.30.1.99\"", ""); /* a stale list that came late */
	on("PUT " EXPORT, 204, NULL);
	reads(L ",\"10.30.1.99\",\"" ADDRESS "\"", "");
	reads(L ",\"10.30.1.99\",\"" ADDRESS "\"", "");
	assert_int_equal(map(NULL), 0);
	script_is_done();
	for (unsigned i = 1; i < 3; i++) /* theirs is kept each time */
		assert_string_equal(put_body(i),
				    "{\"clients\":[" L ",\"10.30.1.99\",\"" ADDRESS "\"]}");
}

static void removal_stays_and_spares_the_others(void **state)
{
	(void)state;
	begin(MANAGED BASIC);
	reads(OURS ",\"10.30.1.99\"", "\"" ADDRESS "\",\"10.30.1.98\"");
	reads(OURS ",\"10.30.1.99\"", "\"" ADDRESS "\",\"10.30.1.98\"");
	on("PUT " EXPORT, 204, NULL);
	reads(OURS, ""); /* a stale list has brought it back */
	on("PUT " EXPORT, 204, NULL);
	reads(L, "");
	reads(L, "");
	assert_int_equal(unmap(), 0);
	assert_string_equal(put_body(0), "{\"clients\":[" L ",\"10.30.1.99\"],"
					 "\"read_write_clients\":[\"10.30.1.98\"]}");
	assert_string_equal(put_body(1), "{\"clients\":[" L "]}");
	script_is_done();
}

static void list_never_becomes_empty(void **state)
{
	(void)state;
	begin(MANAGED BASIC);
	reads("\"" ADDRESS "\"", ""); /* somebody took the dummy away */
	reads("\"" ADDRESS "\"", "");
	on("PUT " EXPORT, 204, NULL);
	reads(L, "");
	reads(L, "");
	assert_int_equal(unmap(), 0);
	assert_string_equal(put_body(0), "{\"clients\":[" L "]}");
	script_is_done();
}

static void list_is_never_sent_twice(void **state)
{
	const struct fake_http_step lost = { .match = "PUT " EXPORT, .fault = FAKE_HTTP_DROP };

	(void)state;
	begin(MANAGED BASIC);
	reads(L, "");
	reads(L, "");
	fake_http_add(fx.a, &lost);
	reads(OURS, "");
	reads(OURS, "");
	/* calls go to the other node after that */
	for (unsigned i = 0; i < 4; i++)
		fake_http_on(fx.b, "GET " EXPORT, 200,
			     "{\"exports\":[{\"id\":812,\"clients\":[" OURS "]}]}");
	assert_int_equal(map(NULL), 0);
	assert_int_equal(fake_http_calls(fx.a, "PUT /") + fake_http_calls(fx.b, "PUT /"), 1);
}

static void old_release_is_forced(void **state)
{
	const struct fake_http_step
		fine = { .match = "PUT " EXPORT,
			 .query = "ignore_unresolvable_hosts=true",
			 .status = 400,
			 .body = "{\"errors\":[{\"code\":\"AEC_BAD_REQUEST\"}]}" },
		forced = {
			.match = "PUT " EXPORT, .query = "force=true", .times = 2, .status = 204
		};

	(void)state;
	begin(MANAGED BASIC);
	fake_http_add(fx.a, &fine);
	fake_http_add(fx.a, &forced);
	reads(L, "");
	reads(L, "");
	reads(OURS, "");
	reads(OURS, "");
	assert_int_equal(map(NULL), 0);
	reads(OURS, "");
	reads(OURS, "");
	reads(L, "");
	reads(L, "");
	assert_int_equal(unmap(), 0); /* known by now */
	script_is_done();
}

static void endless_race_ends(void **state)
{
	(void)state;
	begin(MANAGED BASIC);
	on_always("PUT " EXPORT, 204, NULL);
	for (unsigned i = 0; i <= ONEFS_CLIENT_TRIES; i++)
		reads(L, "");
	assert_int_equal(map(NULL), -EAGAIN);
	assert_non_null(strstr(fx.err.text, "others change them"));
	assert_int_equal(fake_http_calls(fx.a, "PUT /"), ONEFS_CLIENT_TRIES);
}

static void cells_without_a_good_address_are_refused(void **state)
{
	static const char *const bad[] = { NULL,         "",        "localhost",  "LocalHost",
					   "*",          "0.0.0.0", "10.0.0.0/8", "@group",
					   "10.0.0.1,*", "a b",     "::" };
	const struct provider_ref r = { .owner = OWNER };
	struct provider_mapping m;

	(void)state;
	open_more(MANAGED BASIC);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		const struct provider_host h = { .address = bad[i] };

		assert_int_equal(fx.p->ops->map(fx.p, &r, &h, &m, &fx.err), -EINVAL);
		assert_int_equal(fx.p->ops->unmap(fx.p, &r, &h, &fx.err), -EINVAL);
	}
	assert_int_equal(fake_http_count(fx.a), 0);
}

static void same_address_is_one_entry(void **state)
{
	json_t *list = json_pack("[s, s, i]", "FD00:0::1", "Cell-7.example", 7);

	(void)state;
	assert_true(isi_clients_has(list, "fd00::1"));
	assert_true(isi_clients_has(list, "cell-7.EXAMPLE"));
	assert_false(isi_clients_has(list, "fd00::2"));
	assert_false(isi_clients_has(NULL, "x"));
	json_decref(list);
}

static void fixed_lists_are_left_alone(void **state)
{
	bool was = false;

	(void)state;
	begin(FIXED BASIC);
	assert_int_equal(map(&was), 0);
	assert_true(was);
	assert_int_equal(unmap(), 0);
	assert_int_equal(fake_http_count(fx.a), 0);
}

static void gone_export_has_nothing_to_unmap(void **state)
{
	(void)state;
	begin(MANAGED BASIC);
	on("GET " EXPORT, 404, NULL);
	on("GET " EXPORTS, 200, "{\"exports\":[]}");
	assert_int_equal(unmap(), 0);
	on("GET " EXPORT, 200,
	   "{\"exports\":[{\"id\":812,\"paths\":[\"/ifs/else\"],\"description\":\"\"}]}");
	on("GET " EXPORTS, 200, "{\"exports\":[]}");
	assert_int_equal(map(NULL), -ENOENT); /* the number is somebody else's now */
	script_is_done();
}

/* --- against the simulated cluster ------------------------------------------------------------ */

static struct {
	char dir[64], url[64];
	struct sim *sim;
	struct provider *p[DRIVERS];
} sim_fx;

static int remove_one(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
	(void)st;
	(void)flag;
	(void)ftw;
	return remove(path);
}

static int start_sim(void **state)
{
	struct sim_config cfg = { .listen = "tcp:127.0.0.1:0", .root = sim_fx.dir };
	struct err err;

	(void)state;
	memset(&sim_fx, 0, sizeof sim_fx);
	strcpy(sim_fx.dir, "/tmp/persifs-isi.XXXXXX");
	if (!mkdtemp(sim_fx.dir) || sim_start(&sim_onefs, &cfg, &sim_fx.sim, &err))
		return -1;
	snprintf(sim_fx.url, sizeof sim_fx.url, "http://127.0.0.1:%u", sim_port(sim_fx.sim));
	for (unsigned i = 0; i < DRIVERS; i++) {
		json_t *config = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "type", "onefs", "url",
					   sim_fx.url, "user", "admin", "password", "password",
					   "nfs_host", "h", "clients", "managed");

		if (provider_open("isi", config, &sim_fx.p[i], &err))
			return -1;
		json_decref(config);
	}
	return 0;
}

static int stop_sim(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DRIVERS; i++)
		provider_close(sim_fx.p[i]);
	sim_stop(sim_fx.sim);
	return nftw(sim_fx.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

struct racer {
	struct provider *p;
	char address[32];
	bool keep;
	int rc;
	struct err err;
};

static void *race(void *arg)
{
	struct racer *r = arg;
	const struct provider_ref ref = { .owner = OWNER };
	const struct provider_host h = { .address = r->address };
	struct provider_mapping m;

	for (unsigned i = 0; !r->rc && i < ROUNDS; i++) {
		r->rc = r->p->ops->map(r->p, &ref, &h, &m, &r->err);
		if (!r->rc && (i + 1 < ROUNDS || !r->keep))
			r->rc = r->p->ops->unmap(r->p, &ref, &h, &r->err);
	}
	return NULL;
}

static json_t *clients_now(struct provider *p)
{
	struct onefs *o = CONTAINER_OF(p, struct onefs, base);
	const struct provider_ref ref = { .owner = OWNER };
	struct isi_volume v;
	json_t *object = NULL, *list;
	struct err err;

	assert_int_equal(isi_locate(o, &ref, &v, &err), 0);
	assert_int_equal(isi_export_get(o, &v, &object, &err), 0);
	list = json_incref(json_object_get(object, "clients"));
	json_decref(object);
	return list;
}

static void make(struct provider *p)
{
	const struct provider_spec spec = { .size = 1 << 20 };
	const struct provider_ref ref = { .owner = OWNER };
	json_t *made = NULL;
	uint64_t size;
	struct err err;

	if (p->ops->create(p, &ref, &spec, &made, &size, &err))
		fail_msg("%s", err.text);
	json_decref(made);
}

/* Each racer with a provider of its own, as the drivers of as many cells; or all with one. */
static void racing_drivers(bool shared)
{
	struct racer racers[DRIVERS] = { { 0 } };
	pthread_t threads[DRIVERS];
	json_t *list;

	make(sim_fx.p[0]);
	for (unsigned i = 0; i < DRIVERS; i++) {
		racers[i].p = sim_fx.p[shared ? 0 : i];
		racers[i].keep = i % 2 == 0;
		snprintf(racers[i].address, sizeof racers[i].address, "10.30.1.%u", 20 + i);
		assert_int_equal(pthread_create(&threads[i], NULL, race, &racers[i]), 0);
	}
	for (unsigned i = 0; i < DRIVERS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < DRIVERS; i++)
		if (racers[i].rc)
			fail_msg("%s: %s", racers[i].address, racers[i].err.text);
	list = clients_now(sim_fx.p[0]);
	assert_int_equal(json_array_size(list), 1 + DRIVERS / 2);
	assert_true(isi_clients_has(list, "localhost"));
	for (unsigned i = 0; i < DRIVERS; i++)
		assert_int_equal(isi_clients_has(list, racers[i].address), racers[i].keep);
	json_decref(list);
}

static void drivers_of_several_cells_lose_nobodys_entry(void **state)
{
	(void)state;
	racing_drivers(false);
}

static void threads_of_one_process_take_turns(void **state)
{
	(void)state;
	for (unsigned i = 0; i < DRIVERS; i++)
		CONTAINER_OF(sim_fx.p[i], struct onefs, base)->settle_ms = 2;
	racing_drivers(true);
}

struct creator {
	struct provider *p;
	json_t *handle;
	int rc;
	struct err err;
};

static void *create_one(void *arg)
{
	struct creator *c = arg;
	const struct provider_spec spec = { .size = 1 << 20 };
	const struct provider_ref ref = { .owner = OWNER };
	uint64_t size;

	c->rc = c->p->ops->create(c->p, &ref, &spec, &c->handle, &size, &c->err);
	return NULL;
}

static void copies_of_a_creation_end_in_one_volume(void **state)
{
	struct creator creators[DRIVERS] = { { 0 } };
	pthread_t threads[DRIVERS];
	const struct provider_ref ref = { .owner = OWNER };
	struct onefs *o = CONTAINER_OF(sim_fx.p[0], struct onefs, base);
	struct isi_volume v;
	json_t *found = NULL;
	struct err err;

	(void)state;
	for (unsigned i = 0; i < DRIVERS; i++) {
		creators[i].p = sim_fx.p[i];
		assert_int_equal(pthread_create(&threads[i], NULL, create_one, &creators[i]), 0);
	}
	for (unsigned i = 0; i < DRIVERS; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 0; i < DRIVERS; i++) {
		if (creators[i].rc)
			fail_msg("%s", creators[i].err.text);
		assert_true(json_equal(creators[i].handle, creators[0].handle));
	}
	for (unsigned i = 0; i < DRIVERS; i++)
		json_decref(creators[i].handle);
	assert_int_equal(isi_locate(o, &ref, &v, &err), 0);
	assert_int_equal(isi_export_find(o, &v, &found, &err), 0);
	assert_int_equal(json_array_size(found), 1);
	json_decref(found);
	assert_int_equal(o->base.ops->remove(&o->base, &ref, &err), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, start, end)
#define S(f) cmocka_unit_test_setup_teardown(f, start_sim, stop_sim)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(entry_is_added_and_seen_twice),
		T(entry_that_another_overwrote_is_put_back),
		T(removal_stays_and_spares_the_others),
		T(list_never_becomes_empty),
		T(list_is_never_sent_twice),
		T(old_release_is_forced),
		T(endless_race_ends),
		T(cells_without_a_good_address_are_refused),
		T(same_address_is_one_entry),
		T(fixed_lists_are_left_alone),
		T(gone_export_has_nothing_to_unmap),
		S(drivers_of_several_cells_lose_nobodys_entry),
		S(threads_of_one_process_take_turns),
		S(copies_of_a_creation_end_in_one_volume),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
