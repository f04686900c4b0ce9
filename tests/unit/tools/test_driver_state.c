/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/driver/discovery.h"
#include "tools/driver/state.h"

static char dir[64], path[128];
static struct err err;

static int fresh(void **state)
{
	(void)state;
	strcpy(dir, "/tmp/persifs-state.XXXXXX");
	if (!mkdtemp(dir))
		return -1;
	snprintf(path, sizeof path, "%s/state.json", dir);
	return 0;
}

static int finish(void **state)
{
	(void)state;
	unlink(path);
	return rmdir(dir);
}

static void what_is_written_is_read(void **state)
{
	struct stat st;
	json_t *j;

	(void)state;
	assert_int_equal(state_write(path, "{\"a\":1}", 0600), 0);
	assert_int_equal(state_write(path, "{\"a\":2}", 0600), 0);
	assert_int_equal(state_read(path, &j, &err), 0);
	assert_int_equal(json_integer_value(json_object_get(j, "a")), 2);
	json_decref(j);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void no_file_is_no_state(void **state)
{
	json_t *j = (json_t *)1;

	(void)state;
	assert_int_equal(state_read(path, &j, &err), 0);
	assert_null(j);
}

static void half_a_file_is_an_error_with_a_line(void **state)
{
	json_t *j;

	(void)state;
	assert_int_equal(state_write(path, "{\n\"a\":", 0600), 0);
	assert_int_equal(state_read(path, &j, &err), -EINVAL);
	assert_non_null(strstr(err.text, "line 2"));
}

static void failed_write_keeps_the_old_file(void **state)
{
	char tail[160];
	json_t *j;

	(void)state;
	assert_int_equal(state_write(path, "{}", 0600), 0);
	snprintf(tail, sizeof tail, "%s" STATE_TAIL, path);
	assert_int_equal(symlink("/nonexistent", tail), 0);
	assert_int_not_equal(state_write(path, "[]", 0600), 0); /* no link is followed */
	assert_int_equal(state_read(path, &j, &err), 0);
	assert_true(json_is_object(j));
	json_decref(j);
	unlink(tail);
	assert_int_equal(state_write("/nonexistent/x", "{}", 0600), -ENOENT);
}

static json_t *discovered(const char *file)
{
	json_t *j = json_load_file(file, 0, NULL);

	assert_non_null(j);
	return j;
}

static void r6_and_r9_discovery_file_comes_and_goes(void **state)
{
	struct config c;
	struct stat st;
	char *file = NULL;
	json_t *j;

	(void)state;
	assert_int_equal(config_defaults(&c), 0);
	c.discovery = strdup(dir);
	assert_int_equal(config_check(&c, &err), 0);
	assert_int_equal(discovery_write(&c, 7589, &file, &err), 0);
	assert_non_null(strstr(file, "/persifs.json"));
	j = discovered(file);
	assert_string_equal(json_string_value(json_object_get(j, "Addr")), "http://127.0.0.1:7589");
	assert_string_equal(json_string_value(json_object_get(j, "Name")), "persifs");
	assert_true(json_is_true(json_object_get(j, "UniqueVolumeIds")));
	json_decref(j);
	assert_int_equal(stat(file, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0644);
	discovery_remove(file);
	assert_int_not_equal(stat(file, &st), 0);
	free(file);
	config_done(&c);
}

static void r6_address_in_the_discovery_file_is_a_url(void **state)
{
	static const char *const given[] = { "tcp:[::1]:7589", "tcp:::1:7589" };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(given); i++) {
		struct config c;
		char *file = NULL;
		json_t *j;

		assert_int_equal(config_defaults(&c), 0);
		c.discovery = strdup(dir);
		assert_int_equal(config_add_listen(&c, given[i], &err), 0);
		assert_int_equal(config_check(&c, &err), 0);
		assert_int_equal(discovery_write(&c, 7589, &file, &err), 0);
		j = discovered(file);
		assert_string_equal(json_string_value(json_object_get(j, "Addr")),
				    "http://[::1]:7589");
		json_decref(j);
		discovery_remove(file);
		free(file);
		config_done(&c);
	}
}

static void r6_discovery_file_names_the_clients_certificates(void **state)
{
	struct config c;
	char *file = NULL;
	json_t *j, *tls;

	(void)state;
	assert_int_equal(config_defaults(&c), 0);
	c.discovery = strdup(dir);
	c.tls_cert = strdup("/c");
	c.tls_key = strdup("/k");
	c.tls_discovery_ca = strdup("/ca.pem");
	c.tls_discovery_cert = strdup("/client.pem");
	assert_int_equal(config_check(&c, &err), 0);
	assert_int_equal(discovery_write(&c, 1, &file, &err), 0);
	j = discovered(file);
	tls = json_object_get(j, "TLSConfig");
	assert_string_equal(json_string_value(json_object_get(j, "Addr")), "https://127.0.0.1:1");
	assert_true(json_is_false(json_object_get(tls, "InsecureSkipVerify")));
	assert_string_equal(json_string_value(json_object_get(tls, "CAFile")), "/ca.pem");
	assert_string_equal(json_string_value(json_object_get(tls, "CertFile")), "/client.pem");
	assert_null(json_object_get(tls, "KeyFile"));
	json_decref(j);
	discovery_remove(file);
	free(file);
	config_done(&c);
}

static void unix_socket_alone_is_a_spec(void **state)
{
	struct config c;
	char *file = NULL, text[64] = "";
	FILE *in;

	(void)state;
	assert_int_equal(config_defaults(&c), 0);
	c.discovery = strdup(dir);
	assert_int_equal(config_add_listen(&c, "unix:/run/p.sock", &err), 0);
	assert_int_equal(config_check(&c, &err), 0);
	assert_int_equal(discovery_write(&c, 0, &file, &err), 0);
	assert_non_null(strstr(file, "/persifs.spec"));
	in = fopen(file, "re");
	assert_non_null(in);
	assert_non_null(fgets(text, sizeof text, in));
	fclose(in);
	assert_string_equal(text, "unix:///run/p.sock\n");
	discovery_remove(file);
	free(file);
	config_done(&c);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, fresh, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_written_is_read),
		TEST(no_file_is_no_state),
		TEST(half_a_file_is_an_error_with_a_line),
		TEST(failed_write_keeps_the_old_file),
		TEST(r6_and_r9_discovery_file_comes_and_goes),
		TEST(r6_address_in_the_discovery_file_is_a_url),
		TEST(r6_discovery_file_names_the_clients_certificates),
		TEST(unix_socket_alone_is_a_spec),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
