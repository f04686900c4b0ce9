/* SPDX-License-Identifier: Apache-2.0 */
/* What an NVMe/TCP device does when nothing goes wrong, and what it says when it cannot be opened. */
#include "tests/unit/backends/nvme_test.h"

#include "backends/block/nvme_discover.h"
#include "backends/block/nvme_impl.h"
#include "tests/unit/backends/nvme_load.h"

static struct nvme_fixture fx;

static int tear_down(void **state)
{
	(void)state;
	nvme_down(&fx);
	return 0;
}

/* ---- data ---------------------------------------------------------------- */

static void limits_are_what_the_controller_says(void **state)
{
	const struct nvme_target_config cfg = {
		.size = 8 << 20, .block_size = 4096, .mdts = 3, .volatile_cache = true
	};

	(void)state;
	nvme_both_up(&fx, &cfg, "&queues=2");
	assert_int_equal(fx.dev->limits.block, 4096);
	assert_int_equal(fx.dev->limits.max_transfer, 32768);
	assert_int_equal(fx.dev->size, 8 << 20);
	assert_true(fx.dev->limits.volatile_cache && fx.dev->limits.fua && fx.dev->limits.keeps);
	assert_true(fx.dev->limits.max_zero && fx.dev->limits.max_discard);
	assert_int_equal(fx.dev->limits.depth, 2 * 127);
	nvme_down(&fx);

	nvme_both_up(&fx, &(struct nvme_target_config){ .queue_size = 9, .queues = 1 },
		     "&queues=4");
	assert_int_equal(fx.dev->limits.block, 512);
	assert_false(fx.dev->limits.volatile_cache || fx.dev->limits.fua || fx.dev->limits.keeps);
	assert_int_equal(fx.dev->limits.depth, 8); /* one queue is all we got */
	there_and_back(&fx, 0, 1 << 20, 1);
}

/* Around each limit: capsule, R2T, H2CData, transfer. */
static void sizes(const struct nvme_target_config *cfg, const char *params)
{
	static const uint32_t at[] = { 4096, 8192, 16384, 32768, 65536, 131072, 262144 };
	uint32_t block = cfg->block_size ? cfg->block_size : 512;

	nvme_both_up(&fx, cfg, params);
	for (unsigned i = 0; i < ARRAY_LEN(at); i++) {
		there_and_back(&fx, (uint64_t)block * 3, at[i], i);
		there_and_back(&fx, (uint64_t)block * 5, at[i] + block, i + 50);
		if (at[i] > block)
			there_and_back(&fx, (uint64_t)block, at[i] - block, i + 100);
	}
	there_and_back(&fx, 0, block, 7);
	there_and_back(&fx, fx.dev->size - block, block, 8);
	assert_int_equal(nvme_counts(&fx).terms, 0);
	assert_int_equal(nvme_counts(&fx).host_terms, 0);
	assert_int_equal(nvme_counts(&fx).refused, 0);
	assert_int_equal(nvme_bd_counts(&fx).reconnects, 0);
}

static void sizes_around_each_limit(void **state)
{
	static const struct nvme_target_config cfgs[] = {
		{ .size = 4 << 20, .mdts = 5, .in_capsule = 8192, .maxh2cdata = 4096 },
		{ .size = 4 << 20, .block_size = 4096, .maxh2cdata = 12288, .r2t_bytes = 20480 },
		{ .size = 4 << 20, .no_in_capsule = true, .cpda = 15 },
		{ .size = 4 << 20, .mdts = 1, .in_capsule = 65536, .cpda = 31 },
	};
	static const char *const params[] = { "", "&hdgst=yes", "&ddgst=yes",
					      "&hdgst=yes&ddgst=yes&queues=1" };

	(void)state;
	for (unsigned i = 0; i < 8; i++) {
		sizes(&cfgs[i % 4], params[(i + i / 4) % 4]);
		nvme_down(&fx);
	}
	sizes(&cfgs[0], "");
}

static void writes_take_the_way_that_they_should(void **state)
{
	const struct nvme_target_config cfg = { .in_capsule = 8192, .r2t_bytes = 65536 };
	struct nvme_target_counts c;
	uint64_t before, capsules;

	(void)state;
	nvme_both_up(&fx, &cfg, "");
	before = nvme_counts(&fx).in_capsule;
	there_and_back(&fx, 0, 8192, 1);
	c = nvme_counts(&fx);
	assert_int_equal(c.in_capsule, before + 1);
	capsules = c.in_capsule; /* Connect, too, has its data there */
	assert_int_equal(c.r2ts, 0);
	there_and_back(&fx, 0, 8192 + 512, 2);
	c = nvme_counts(&fx);
	assert_int_equal(c.in_capsule, capsules);
	assert_int_equal(c.r2ts, 1);
	there_and_back(&fx, 0, 262144, 3);
	c = nvme_counts(&fx);
	assert_int_equal(c.r2ts, 5);
	assert_int_equal(c.h2c, 5);
}

/* The kernel's target takes the digest of an H2CData for that of the whole transfer. */
static void with_data_digests_an_r2t_is_one_pdu(void **state)
{
	const struct nvme_target_config cfg = { .maxh2cdata = 4 << 20 };
	struct nvme_fixture *f = &fx;

	(void)state;
	nvme_both_up(f, &cfg, "&ddgst=yes");
	there_and_back(f, 0, 1 << 20, 1);
	assert_int_equal(nvme_counts(f).r2ts, 1);
	assert_int_equal(nvme_counts(f).h2c, 1);
}

static void many_pieces_of_memory_are_one_request(void **state)
{
	enum { PIECES = 200, LEN = PIECES * 512 };
	static uint8_t mem[PIECES][1024], in[LEN], want[LEN];
	struct iovec iov[PIECES];
	struct async a = { .done = 0 };

	(void)state;
	for (int round = 0; round < 2; round++) {
		nvme_both_up(&fx, &(struct nvme_target_config){ .maxh2cdata = 4608 },
			     round ? "&ddgst=yes&hdgst=yes" : "");
		pattern(want, LEN, 0, 9);
		for (unsigned i = 0; i < PIECES; i++) {
			iov[i] = (struct iovec){ mem[i] + i % 7, 512 };
			memcpy(iov[i].iov_base, want + i * 512, 512);
		}
		a.rq = (struct bd_req){ .op = BD_WRITE,
					.off = 512,
					.len = LEN,
					.iov = iov,
					.niov = PIECES,
					.done = async_done,
					.arg = &a };
		a.done = 0;
		assert_int_equal(bd_submit(fx.dev, &a.rq), 0);
		assert_int_equal(async_wait(&a), 0);
		assert_int_equal(nvme_target_peek(fx.target, 1, 512, in, LEN, false), 0);
		assert_memory_equal(in, want, LEN);
		memset(mem, 0, sizeof mem);
		a.rq.op = BD_READ;
		a.done = 0;
		assert_int_equal(bd_submit(fx.dev, &a.rq), 0);
		assert_int_equal(async_wait(&a), 0);
		for (unsigned i = 0; i < PIECES; i++)
			assert_memory_equal(iov[i].iov_base, want + i * 512, 512);
		nvme_down(&fx);
	}
	nvme_target_up(&fx, &(struct nvme_target_config){ 0 });
}

static void zeroes_and_discards_reach_the_target(void **state)
{
	static uint8_t zeros[65536], in[65536];

	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ 0 }, "");
	there_and_back(&fx, 0, 262144, 1);
	assert_int_equal(bd_zero(fx.dev, 65536, 65536, 0), 0);
	assert_int_equal(bd_read(fx.dev, in, 65536, 65536), 0);
	assert_memory_equal(in, zeros, 65536);
	assert_int_equal(bd_zero(fx.dev, 131072, 65536, BD_UNMAP), 0);
	assert_int_equal(bd_read(fx.dev, in, 65536, 131072), 0);
	assert_memory_equal(in, zeros, 65536);
	assert_int_equal(bd_discard(fx.dev, 196608, 65536), 0);
	assert_int_equal(bd_zero(fx.dev, 0, fx.dev->size, 0), 0); /* many commands */
	assert_int_equal(bd_discard(fx.dev, 0, fx.dev->size), 0);
	assert_true(nvme_counts(&fx).zeroes >= 2 + fx.dev->size / (8 << 20));
	assert_int_equal(nvme_counts(&fx).discards, 2);
	assert_int_equal(nvme_counts(&fx).refused, 0);
}

static void a_flush_and_fua_make_durable(void **state)
{
	uint8_t out[4096], in[4096];

	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ .volatile_cache = true }, "");
	pattern(out, sizeof out, 0, 1);
	assert_int_equal(bd_write(fx.dev, out, 4096, 0, 0), 0);
	nvme_target_peek(fx.target, 1, 0, in, 4096, true);
	assert_memory_not_equal(in, out, 4096);
	assert_int_equal(bd_flush(fx.dev), 0);
	nvme_target_peek(fx.target, 1, 0, in, 4096, true);
	assert_memory_equal(in, out, 4096);
	assert_int_equal(bd_write(fx.dev, out, 4096, 8192, BD_FUA), 0);
	nvme_target_peek(fx.target, 1, 8192, in, 4096, true);
	assert_memory_equal(in, out, 4096);
	assert_int_equal(nvme_counts(&fx).fua, 1);
	assert_int_equal(nvme_counts(&fx).flushes, 1);
}

/* ---- a lot at once --------------------------------------------------------- */

static void many_requests_on_several_queues(void **state)
{
	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ .in_capsule = 4096 }, "&queues=4");
	load_run(&fx, LOAD_ROUNDS);
	nvme_down(&fx);
	nvme_both_up(&fx, &(struct nvme_target_config){ .queue_size = 4, .queues = 1 },
		     "&hdgst=yes&ddgst=yes");
	load_run(&fx, LOAD_ROUNDS / 4);
	assert_int_equal(nvme_counts(&fx).terms, 0);
	assert_int_equal(nvme_counts(&fx).conflicts, 0);
}

/* A storm of what a target may do: late, in pieces, out of order, split; nothing is lost by it. */
static void a_storm_loses_nothing(void **state)
{
	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ .in_capsule = 4096, .seed = 7 },
		     "&hdgst=yes&ddgst=yes&queues=2");
	nvme_fault(&fx, "storm permille=100");
	load_run(&fx, 4);
}

/* ---- size, close ------------------------------------------------------------ */

static void a_namespace_grows(void **state)
{
	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ .size = 1 << 20 }, "");
	assert_int_equal(bd_resize(fx.dev), 0);
	assert_int_equal(fx.dev->size, 1 << 20);
	nvme_fault(&fx, "size blocks=4096");
	assert_int_equal(bd_resize(fx.dev), 0);
	assert_int_equal(fx.dev->size, 2 << 20);
	there_and_back(&fx, (2 << 20) - 4096, 4096, 1);
}

static void a_close_shuts_the_controller_down(void **state)
{
	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ 0 }, "");
	there_and_back(&fx, 0, 4096, 1);
	bd_close(fx.dev);
	fx.dev = NULL;
	assert_int_equal(nvme_counts(&fx).shutdowns, 1);
	wait_for(nvme_counts(&fx).connections == 0);
}

static void a_close_does_not_wait_for_a_dead_target(void **state)
{
	uint8_t buf[512] = { 0 };
	struct async a;
	uint64_t start;

	(void)state;
	nvme_both_up(&fx, &(struct nvme_target_config){ 0 }, "");
	nvme_fault(&fx, "hang op=io times=0");
	async_start(&fx, &a, BD_WRITE, buf, 512, 0);
	start = clock_ms();
	bd_cancel(fx.dev);
	assert_int_equal(async_wait(&a), -ECANCELED);
	bd_close(fx.dev);
	fx.dev = NULL;
	assert_true(clock_ms() - start < 10000);
}

/* ---- what cannot be opened ------------------------------------------------- */

static void refused(const char *params, const char *word, int code)
{
	struct err err = { "" };
	int rc = nvme_try_open(&fx, 1, params, NULL, &err);

	if (rc != code || !strstr(err.text, word))
		fail_msg("%s: %d, '%s' instead of %d, '%s'", params, rc, err.text, code, word);
}

static void bad_parameters_are_named(void **state)
{
	(void)state;
	nvme_target_up(&fx, &(struct nvme_target_config){ .namespaces = 3 });
	refused("&colour=red", "colour", -EINVAL);
	refused("&queues=0", "queues=0", -EINVAL);
	refused("&queues=17", "queues=17", -EINVAL);
	refused("&hdgst=on", "hdgst=on", -EINVAL);
	refused("&nsid=1&uuid=x", "nsid, nguid and uuid", -EINVAL);
	refused("&nguid=12", "nguid=12", -EINVAL);
	refused("&uuid=12345678", "uuid=12345678", -EINVAL);
	refused("&hostnqn=me", "hostnqn 'me'", -EINVAL);
	refused("&hostid=me", "hostid=me", -EINVAL);
	refused("&path=a/b", "path='a/b'", -EINVAL);
	refused("&nsid=9", "no namespace 9", -ENOENT);
	refused("&nguid=000102030405060708090a0b0c0d0e0f", "nguid", -ENOENT);
	refused("", "has 3 namespaces (1, 2, ...)", -EINVAL);
}

static void bad_uris_are_named(void **state)
{
	static const struct {
		const char *uri, *word;
	} bad[] = {
		{ "nvme-tcp:///nqn.2014-08.a:b", "no host" },
		{ "nvme-tcp://h/not-an-nqn", "not-an-nqn" },
		{ "nvme-tcp://h/nqn.2014-08.a:b?kato=0", "kato=0" },
		{ "nvme-tcp://h/nqn.2014-08.a:b?kato=1h", "kato=1h" },
		{ "nvme-tcp://h/nqn.2014-08.a:b?kato=999s", "kato=999s" },
		{ "nvme-tcp://127.0.0.1:1/nqn.2014-08.a:b", "cannot connect to 127.0.0.1 port 1" },
	};

	(void)state;
	memset(&fx, 0, sizeof fx);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		struct err err = { "" };
		struct bd *dev;

		assert_true(bd_open(bad[i].uri, NULL, NULL, &dev, &err) < 0);
		if (!strstr(err.text, bad[i].word))
			fail_msg("%s: %s", bad[i].uri, err.text);
	}
}

static void a_target_that_refuses_is_quoted(void **state)
{
	static const struct {
		const char *fault, *word;
		int code;
	} no[] = {
		{ "status op=connect code=0x191", "authentication", -EACCES },
		{ "status op=connect code=0x182", "has no subsystem", -ENOENT },
		{ "status op=connect code=0x181", "no controller free", -EBUSY },
		{ "status op=property code=0x006", "status 0x6", -EIO },
		{ "status op=identify code=0x002", "status 0x2", -EIO },
		{ "drop op=identify", "queue 0", -ECONNRESET },
		{ "cut pdu=icresp", "queue 0", -ECONNRESET },
		{ "garbage pdu=icresp", "malformed", -ECONNRESET },
		{ "term pdu=icresp", "ended queue 0", -ECONNRESET },
	};

	(void)state;
	nvme_target_up(&fx, &(struct nvme_target_config){ .host_nqn = "nqn.2014-08.a:good" });
	refused("&hostnqn=nqn.2014-08.a:bad", "does not allow host NQN 'nqn.2014-08.a:bad'",
		-EACCES);
	for (unsigned i = 0; i < ARRAY_LEN(no); i++) {
		char fault[96];

		/* For ever: a second attempt may come before the first one's failure is seen. */
		snprintf(fault, sizeof fault, "%s times=0", no[i].fault);
		nvme_fault(&fx, fault);
		refused("&hostnqn=nqn.2014-08.a:good", no[i].word, no[i].code);
		nvme_fault(&fx, "clear");
	}
	nvme_open_dev(&fx, "&hostnqn=nqn.2014-08.a:good");
	there_and_back(&fx, 0, 4096, 1);
}

/* Writes through the device that has this name, and looks where it arrived. */
static void is_second(const char *param, uint8_t with)
{
	uint8_t out[512];

	nvme_open_dev(&fx, param);
	memset(out, with, sizeof out);
	assert_int_equal(bd_write(fx.dev, out, sizeof out, 0, 0), 0);
	bd_close(fx.dev);
	fx.dev = NULL;
	memset(out, 0, sizeof out);
	assert_int_equal(nvme_target_peek(fx.target, 2, 0, out, sizeof out, false), 0);
	assert_int_equal(out[0], with);
}

static void name_param(const char *key, const uint8_t id[16], const char *dash, char *out)
{
	out += sprintf(out, "&%s=", key);
	for (unsigned i = 0; i < 16; i++)
		out += sprintf(out, "%s%02x", i >= 4 && i <= 10 && i % 2 == 0 ? dash : "", id[i]);
}

static void a_namespace_is_found_by_its_names(void **state)
{
	struct nvme_ns_ids ids;
	char nguid[64], uuid[64];

	(void)state;
	nvme_target_up(&fx, &(struct nvme_target_config){ .namespaces = 3, .size = 1 << 20 });
	nvme_open_dev(&fx, "&nsid=2");
	ids = nvd_of(fx.dev)->ns.ids;
	bd_close(fx.dev);
	fx.dev = NULL;
	assert_true(ids.has_nguid && ids.has_uuid);
	name_param("nguid", ids.nguid, "", nguid);
	name_param("uuid", ids.uuid, "-", uuid);
	is_second("&nsid=2", 0x5a);
	is_second(nguid, 0x5b);
	is_second(uuid, 0x5c);
	nvme_fault(&fx, "identity ns=2");
	refused(nguid, "none of the 3 namespaces", -ENOENT);
	refused(uuid, "has this uuid", -ENOENT);
}

static void files_are_read_before_the_open(void **state)
{
	struct bd_env env = { .settle_ms = SETTLE_MS };
	struct err err = { "" };
	uint8_t hostid[16];
	uint64_t accepted;
	char uri[256];

	(void)state;
	nvme_target_up(&fx, &(struct nvme_target_config){ 0 });
	nvme_uri(&fx, 1, "", uri, sizeof uri);
	assert_int_equal(bd_prepare(uri, &env, &env.prepared, &err), 0);
	assert_int_equal(nvme_counts(&fx).accepted, 0);
	bd_close(env.prepared); /* without an open */
	assert_int_equal(bd_prepare(uri, &env, &env.prepared, &err), 0);
	/* What the open has is what was prepared, wherever that came from. */
	memset(nvd_of(env.prepared)->conf.hostid, 0x77, sizeof hostid);
	assert_int_equal(bd_open(uri, NULL, &env, &fx.dev, &err), 0);
	memset(hostid, 0x77, sizeof hostid);
	assert_memory_equal(nvd_of(fx.dev)->conf.hostid, hostid, sizeof hostid);
	there_and_back(&fx, 0, 4096, 1);
	bd_close(fx.dev);
	fx.dev = NULL;
	/* Nobody is there. */
	assert_int_equal(
		bd_prepare("nvme-tcp://127.0.0.1:1/nqn.2014-08.a:b", &env, &env.prepared, &err), 0);
	assert_int_equal(bd_open("nvme-tcp://127.0.0.1:1/nqn.2014-08.a:b", NULL, &env, &fx.dev,
				 &err),
			 -ECONNREFUSED);
	/* Nor is a server asked for its subsystems. */
	accepted = nvme_counts(&fx).accepted;
	snprintf(uri, sizeof uri, "nvme-tcp://127.0.0.1:%u/", nvme_target_port(fx.target, 0));
	assert_int_equal(bd_prepare(uri, &env, &env.prepared, &err), 0);
	assert_int_equal(nvme_counts(&fx).accepted, accepted);
	assert_int_equal(bd_open(uri, NULL, &env, &fx.dev, &err), -EINVAL);
	assert_non_null(strstr(err.text, NVME_TARGET_NQN));
}

/* ---- discovery -------------------------------------------------------------- */

static void discovery_lists_the_paths(void **state)
{
	const struct nvme_target_config cfg = { .listen = { "127.0.0.1:0", "127.0.0.1:0" } };
	struct nvme_found *found;
	struct err err = { "" };
	struct bd *dev;
	struct uri uri;
	char text[128], port[16];
	unsigned n = 0;

	(void)state;
	nvme_target_up(&fx, &cfg);
	snprintf(text, sizeof text, "nvme-tcp://127.0.0.1:%u/", nvme_target_port(fx.target, 0));
	snprintf(port, sizeof port, "%u", nvme_target_port(fx.target, 1));
	assert_int_equal(uri_parse(text, &uri, &err), 0);
	if (nvme_discover(&uri, &(struct bd_env){ 0 }, &found, &err))
		fail_msg("%s", err.text);
	for (unsigned i = 0; i < found->n; i++) {
		n += found->entries[i].subtype == NVME_SUBTYPE_NVME;
		assert_int_equal(found->entries[i].trtype, NVME_TRTYPE_TCP);
	}
	assert_int_equal(n, 2);
	free(found);
	assert_int_equal(bd_open(text, NULL, NULL, &dev, &err), -EINVAL);
	assert_non_null(strstr(err.text, "NQN is missing; found: " NVME_TARGET_NQN));
	assert_non_null(strstr(err.text, port));
	nvme_fault(&fx, "status op=log code=0x109");
	assert_int_equal(bd_open(text, NULL, NULL, &dev, &err), -EINVAL);
	assert_non_null(strstr(err.text, "discovery failed"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(limits_are_what_the_controller_says, tear_down),
		cmocka_unit_test_teardown(sizes_around_each_limit, tear_down),
		cmocka_unit_test_teardown(writes_take_the_way_that_they_should, tear_down),
		cmocka_unit_test_teardown(with_data_digests_an_r2t_is_one_pdu, tear_down),
		cmocka_unit_test_teardown(many_pieces_of_memory_are_one_request, tear_down),
		cmocka_unit_test_teardown(zeroes_and_discards_reach_the_target, tear_down),
		cmocka_unit_test_teardown(a_flush_and_fua_make_durable, tear_down),
		cmocka_unit_test_teardown(many_requests_on_several_queues, tear_down),
		cmocka_unit_test_teardown(a_storm_loses_nothing, tear_down),
		cmocka_unit_test_teardown(a_namespace_grows, tear_down),
		cmocka_unit_test_teardown(a_close_shuts_the_controller_down, tear_down),
		cmocka_unit_test_teardown(a_close_does_not_wait_for_a_dead_target, tear_down),
		cmocka_unit_test_teardown(bad_parameters_are_named, tear_down),
		cmocka_unit_test_teardown(bad_uris_are_named, tear_down),
		cmocka_unit_test_teardown(a_target_that_refuses_is_quoted, tear_down),
		cmocka_unit_test_teardown(a_namespace_is_found_by_its_names, tear_down),
		cmocka_unit_test_teardown(files_are_read_before_the_open, tear_down),
		cmocka_unit_test_teardown(discovery_lists_the_paths, tear_down),
	};

	if (getenv("NVME_TEST"))
		cmocka_set_test_filter(getenv("NVME_TEST"));
	log_level = getenv("NVME_TEST_LOG") ? LOG_LEVEL_DEBUG : LOG_LEVEL_ERROR;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
