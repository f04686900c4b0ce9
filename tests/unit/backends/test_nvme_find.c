/* SPDX-License-Identifier: Apache-2.0 */
/* Which namespace, which path, which subsystem: many of each, of both families, and some that are not there. */
#include "tests/unit/backends/nvme_test.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include "backends/block/nvme_discover.h"
#include "backends/block/nvme_impl.h"

static struct nvme_fixture fx;

static int tear_down(void **state)
{
	(void)state;
	nvme_down(&fx);
	return 0;
}

static int try_uri(const char *uri, struct err *err)
{
	const struct bd_env env = { .settle_ms = SETTLE_MS };

	return bd_open(uri, NULL, &env, &fx.dev, err);
}

static void close_dev(void)
{
	bd_close(fx.dev);
	fx.dev = NULL;
}

/* ---- namespaces ---------------------------------------------------------- */

enum { MANY = 1026, LAST = MANY, SMALL = 16 << 10 }; /* a list has 1024 */

static void id_of(unsigned nsid, struct nvme_ns_ids *out)
{
	char param[32];

	snprintf(param, sizeof param, "&nsid=%u", nsid);
	nvme_open_dev(&fx, param);
	*out = nvd_of(fx.dev)->ns.ids;
	close_dev();
}

static void opens_last(const char *param)
{
	uint8_t buf[512];

	nvme_open_dev(&fx, param);
	assert_int_equal(nvd_of(fx.dev)->ns.nsid, LAST);
	memset(buf, 0x5a, sizeof buf);
	assert_int_equal(bd_write(fx.dev, buf, sizeof buf, 0, 0), 0);
	close_dev();
	memset(buf, 0, sizeof buf);
	assert_int_equal(nvme_target_peek(fx.target, LAST, 0, buf, sizeof buf, false), 0);
	assert_int_equal(buf[0], 0x5a);
}

static void a_name_beyond_the_first_list_is_found(void **state)
{
	const struct nvme_target_config cfg = { .namespaces = MANY, .size = SMALL };
	struct nvme_ns_ids ids;
	char param[64], id[NVME_ID_TEXT];
	struct err err = { "" };

	(void)state;
	nvme_target_up(&fx, &cfg);
	id_of(LAST, &ids);
	nvme_id_format(ids.nguid, false, id);
	snprintf(param, sizeof param, "&nguid=%s", id);
	opens_last(param);
	nvme_id_format(ids.uuid, true, id);
	snprintf(param, sizeof param, "&uuid=%s", id);
	opens_last(param);
	assert_int_equal(nvme_try_open(&fx, 1, "", NULL, &err), -EINVAL);
	assert_non_null(strstr(err.text, "at least 1024 namespaces (1, 2, ...)"));
	nvme_fault(&fx, "size ns=1026 blocks=0");
	assert_int_equal(nvme_try_open(&fx, 1, param, NULL, &err), -ENOENT);
	assert_non_null(strstr(err.text, "none of the 1025 namespaces"));
}

static void who_finds_no_name_is_told_what_there_is(void **state)
{
	const struct nvme_target_config cfg = { .namespaces = 2, .size = SMALL };
	struct nvme_ns_ids ids[2];
	char want[128], a[NVME_ID_TEXT], b[NVME_ID_TEXT];
	struct err err = { "" };

	(void)state;
	nvme_target_up(&fx, &cfg);
	id_of(1, &ids[0]);
	id_of(2, &ids[1]);
	for (int uuid = 0; uuid < 2; uuid++) {
		nvme_id_format(uuid ? ids[0].uuid : ids[0].nguid, uuid, a);
		nvme_id_format(uuid ? ids[1].uuid : ids[1].nguid, uuid, b);
		snprintf(want, sizeof want, "has this %s; there are 1: %s, 2: %s",
			 uuid ? "uuid" : "nguid", a, b);
		assert_int_equal(nvme_try_open(&fx, 1,
					       uuid ? "&uuid=00010203-0405-0607-0809-0a0b0c0d0e0f" :
						      "&nguid=000102030405060708090a0b0c0d0e0f",
					       NULL, &err),
				 -ENOENT);
		if (!strstr(err.text, want))
			fail_msg("'%s' is not in '%s'", want, err.text);
	}
}

/* Groups have several namespaces: the state is that of the right one. */
static void a_namespace_of_a_shared_group_has_its_state(void **state)
{
	const struct nvme_target_config cfg = { .namespaces = 20, .size = SMALL };
	struct err err = { "" };

	(void)state;
	nvme_target_up(&fx, &cfg);
	nvme_fault(&fx, "ana state=lost group=2");
	nvme_open_dev(&fx, "&nsid=17"); /* of group 1 */
	close_dev();
	assert_int_equal(nvme_try_open(&fx, 1, "&nsid=18", NULL, &err), -EHOSTUNREACH);
	assert_non_null(strstr(err.text, "asymmetric access"));
}

/* ---- paths --------------------------------------------------------------- */

static void need_ipv6(void)
{
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = fd < 0 ? -1 : bind(fd, (const struct sockaddr *)&in6, sizeof in6);

	if (fd >= 0)
		close(fd);
	if (!rc)
		return;
	print_message("skipped: no address ::1\n");
	skip();
}

static void addresses_of_both_families_are_paths(void **state)
{
	const struct nvme_target_config cfg = { .listen = { "[::1]:0", "127.0.0.1:0", "[::1]:0" },
						.size = 1 << 20 };
	unsigned port[3];
	struct err err = { "" };
	char uri[256], want[64];

	(void)state;
	need_ipv6();
	nvme_target_up(&fx, &cfg);
	for (unsigned i = 0; i < 3; i++)
		port[i] = nvme_target_port(fx.target, i);
	snprintf(uri, sizeof uri, "nvme-tcp://[::1]:%u/%s?path=[::1]:%u", port[0], NVME_TARGET_NQN,
		 port[2]);
	if (try_uri(uri, &err))
		fail_msg("%s", err.text);
	there_and_back(&fx, 0, 65536, 1);
	/* The other one takes over. */
	nvme_fault(&fx, "down path=0");
	there_and_back(&fx, 0, 65536, 2);
	assert_int_equal(nvme_bd_counts(&fx).reconnects, 1);
	close_dev();
	nvme_fault(&fx, "up path=0");
	snprintf(uri, sizeof uri, "nvme-tcp://127.0.0.1:%u/%s?path=[::1]:%u", port[1],
		 NVME_TARGET_NQN, port[0]);
	if (try_uri(uri, &err))
		fail_msg("%s", err.text);
	close_dev();
	snprintf(uri, sizeof uri, "nvme-tcp://[::1]:%u/", port[0]);
	assert_int_equal(try_uri(uri, &err), -EINVAL);
	snprintf(want, sizeof want, "%s at [::1]:%u, ", NVME_TARGET_NQN, port[0]);
	if (strncmp(err.text, "nvme-tcp://[::1]/NQN", 20) != 0 || !strstr(err.text, want))
		fail_msg("%s", err.text);
}

static void each_path_that_fails_is_named(void **state)
{
	const struct nvme_target_config cfg = { .listen = { "127.0.0.1:0", "127.0.0.1:0" },
						.size = 1 << 20 };
	struct err err = { "" };
	char want[2][64];

	(void)state;
	nvme_target_up(&fx, &cfg);
	nvme_fault(&fx, "down path=0");
	nvme_fault(&fx, "status op=connect path=1 code=0x182 times=0");
	assert_int_equal(nvme_try_open(&fx, 2, "", NULL, &err), -ECONNREFUSED);
	snprintf(want[0], sizeof want[0], "port %u", nvme_target_port(fx.target, 0));
	snprintf(want[1], sizeof want[1], "127.0.0.1:%u has no subsystem",
		 nvme_target_port(fx.target, 1));
	if (!strstr(err.text, want[0]) || !strstr(err.text, want[1]))
		fail_msg("'%s' or '%s' is not in '%s'", want[0], want[1], err.text);
}

static void bad_addresses_are_named(void **state)
{
	static const char *const bad[] = { "::1:4420", "[::1", "[::1]x", "h:0", "h:65536", "" };
	char uri[512], host[300];
	struct err err = { "" };

	(void)state;
	memset(&fx, 0, sizeof fx);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		char want[64];

		snprintf(uri, sizeof uri, "nvme-tcp://h/nqn.2014-08.a:b?path=%s", bad[i]);
		snprintf(want, sizeof want, "path='%s'", bad[i]);
		assert_int_equal(try_uri(uri, &err), -EINVAL);
		if (!strstr(err.text, want))
			fail_msg("%s: %s", uri, err.text);
	}
	memset(host, 'h', sizeof host);
	host[sizeof host - 1] = '\0';
	snprintf(uri, sizeof uri, "nvme-tcp://%s/nqn.2014-08.a:b", host);
	assert_int_equal(try_uri(uri, &err), -EINVAL);
	assert_non_null(strstr(err.text, "longer than 255 bytes"));
}

/* ---- discovery ------------------------------------------------------------ */

static int discover(struct nvme_found **out, struct err *err)
{
	char text[64];
	struct uri uri;

	*out = NULL;
	snprintf(text, sizeof text, "nvme-tcp://127.0.0.1:%u/", nvme_target_port(fx.target, 0));
	assert_int_equal(uri_parse(text, &uri, err), 0);
	return nvme_discover(&uri, &(struct bd_env){ 0 }, out, err);
}

static void discovery_tells_what_is_up(void **state)
{
	const struct nvme_target_config cfg = {
		.listen = { "127.0.0.1:0", "127.0.0.1:0", "127.0.0.1:0" }, .size = 1 << 20
	};
	struct nvme_found *found;
	struct err err = { "" };

	(void)state;
	nvme_target_up(&fx, &cfg);
	nvme_fault(&fx, "down path=1");
	if (discover(&found, &err))
		fail_msg("%s", err.text);
	assert_int_equal(found->total, 2);
	assert_int_equal(found->n, 2);
	assert_int_equal(atoi(found->entries[0].trsvcid), nvme_target_port(fx.target, 0));
	assert_int_equal(atoi(found->entries[1].trsvcid), nvme_target_port(fx.target, 2));
	free(found);
	/* One that is listed need not be there: the others are. */
	nvme_fault(&fx, "up path=1");
	nvme_fault(&fx, "down path=2");
	nvme_open_env(&fx, 3, "", &(struct bd_env){ .settle_ms = SETTLE_MS });
	there_and_back(&fx, 0, 4096, 1);
	close_dev();
	nvme_fault(&fx, "down path=0");
	assert_int_equal(discover(&found, &err), -ECONNREFUSED);
	assert_non_null(strstr(err.text, "127.0.0.1"));
}

static void a_log_that_changes_is_read_again(void **state)
{
	const struct nvme_target_config cfg = { .listen = { "127.0.0.1:0", "127.0.0.1:0" },
						.size = 1 << 20 };
	struct nvme_found *found;
	struct err err = { "" };
	uint64_t faults;

	(void)state;
	nvme_target_up(&fx, &cfg);
	/* Head, entries, head: that is once. */
	nvme_fault(&fx, "log-changes times=3");
	if (discover(&found, &err))
		fail_msg("%s", err.text);
	assert_int_equal(found->n, 2);
	free(found);
	assert_int_equal(nvme_counts(&fx).faults, 3);
	nvme_fault(&fx, "clear");
	nvme_fault(&fx, "log-changes times=0");
	assert_int_equal(discover(&found, &err), -EAGAIN);
	assert_non_null(strstr(err.text, "changes all the time"));
	faults = nvme_counts(&fx).faults;
	assert_true(faults > 3 + 6 && faults < 3 + 30); /* again and again, but not for ever */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_teardown(a_name_beyond_the_first_list_is_found, tear_down),
		cmocka_unit_test_teardown(who_finds_no_name_is_told_what_there_is, tear_down),
		cmocka_unit_test_teardown(a_namespace_of_a_shared_group_has_its_state, tear_down),
		cmocka_unit_test_teardown(addresses_of_both_families_are_paths, tear_down),
		cmocka_unit_test_teardown(each_path_that_fails_is_named, tear_down),
		cmocka_unit_test_teardown(bad_addresses_are_named, tear_down),
		cmocka_unit_test_teardown(discovery_tells_what_is_up, tear_down),
		cmocka_unit_test_teardown(a_log_that_changes_is_read_again, tear_down),
	};

	log_level = LOG_LEVEL_ERROR;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
