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
#include <unistd.h>

#include "common/cleanup.h"
#include "tools/driver/config.h"

static struct config c;
static struct err err;

static int fresh(void **state)
{
	(void)state;
	return config_defaults(&c);
}

static int finish(void **state)
{
	(void)state;
	config_done(&c);
	return 0;
}

static int load(const char *text)
{
	char path[] = "/tmp/persifs-config.XXXXXX";
	AUTO_FD int fd = mkstemp(path);
	int rc;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	rc = config_load(&c, path, &err);
	unlink(path);
	return rc ? rc : config_check(&c, &err);
}

static void refuse(const char *text, const char *part)
{
	config_done(&c);
	assert_int_equal(config_defaults(&c), 0);
	assert_int_not_equal(load(text), 0);
	if (!strstr(err.text, part))
		print_error("%s\n", err.text);
	assert_non_null(strstr(err.text, part));
}

static void mistakes_in_the_file_name_it(void **state)
{
	(void)state;
	refuse("{\"sources\":[\"x\"]}", "/tmp/persifs-config.");
	refuse("{\"allowed_options\":[\"A\"]}", "/tmp/persifs-config.");
	refuse("{\"tls\":{\"cert\":\"/c\"}}", "/tmp/persifs-config.");
	refuse("{\"ldap\":{\"uri\":\"http://x\",\"base\":\"b\"}}", "ldap.uri 'http://x'");
	refuse("{\"listen\":[]}", "listen");
	assert_int_equal(load("{\"tls\":{\"cert\":\"/nonexistent\",\"key\":\"/dev/null\"}}"), 0);
	assert_int_not_equal(config_check_files(&c, &err), 0);
	assert_non_null(strstr(err.text, "/tmp/persifs-config."));
	assert_non_null(strstr(err.text, "tls.cert '/nonexistent': No such file"));
}

static void arrays_and_cell(void **state)
{
	(void)state;
	assert_int_equal(
		load("{\"providers\":{\"gold\":{\"type\":\"scaleio\"}},\"fence\":"
		     "\"disconnected:300\",\"cell\":{\"sdc_guid\":\"G\"},\"block_wait\":5}"),
		0);
	assert_int_equal(json_object_size(c.providers), 1);
	assert_string_equal(c.cell_sdc_guid, "G");
	assert_int_equal(c.block_wait, 5000);
	assert_string_equal(c.device_dir, "/dev/disk/by-id");
	refuse("{\"providers\":[]}", "key \"providers\": want an object");
	refuse("{\"providers\":{\"a/b\":{}}}", "a name is 1 to 63");
	refuse("{\"providers\":{\"\":{}}}", "a name is 1 to 63");
	refuse("{\"providers\":{\"gold\":\"x\"}}", "want an object for each name");
	refuse("{\"cell\":{\"colour\":1}}", "key \"cell.colour\": is not known");
	refuse("{\"fence\":\"always\"}", "fence 'always'");
	refuse("{\"device_dir\":\"x\"}", "device_dir 'x'");
	refuse("{\"mkfs\":\"\"}", "mkfs: may not be empty");
}

static void everything_has_a_default(void **state)
{
	(void)state;
	assert_int_equal(load("{}"), 0);
	assert_int_equal(c.nlisten, 2);
	assert_string_equal(c.listen[0], "unix:/run/docker/plugins/persifs.sock");
	assert_string_equal(c.listen[1], "tcp:127.0.0.1:7589");
	assert_string_equal(c.admin, "127.0.0.1:7590");
	assert_string_equal(c.mount_root, "/var/lib/persifs/volumes");
	assert_string_equal(c.state, "/var/lib/persifs/volumes/driver-state.json");
	assert_int_equal(c.mount_timeout, 60000);
	assert_int_equal(c.unmount_wait, 10000);
	assert_int_equal(c.evacuate_timeout, 600000);
	assert_true(c.budget > 0);
	assert_int_equal(c.nsources, 1);
	assert_string_equal(c.sources[0], "nfs://");
	assert_string_equal(config_scopes[c.scope], "local");
}

static void every_key_is_read(void **state)
{
	(void)state;
	assert_int_equal(
		load("{\"listen\":[\"unix:/x\",\"tcp:[::1]:0\"],\"admin\":\"127.0.0.1:1\","
		     "\"mount_root\":\"/r\",\"discovery\":\"/d\",\"state\":\"/s\",\"persifs\":\"/p\","
		     "\"mount_timeout\":5,\"unmount_wait\":\"1.5\",\"evacuate_timeout\":\"2m\","
		     "\"budget\":\"1g\",\"sources\":[\"nfs://a/\",\"dir:/srv\"],"
		     "\"mount_defaults\":\"soft\",\"allowed_options\":[\"policy\"],"
		     "\"scope\":\"global\",\"log_level\":\"debug\","
		     "\"tls\":{\"cert\":\"/c\",\"key\":\"/k\",\"client_ca\":\"/a\","
		     "\"discovery_ca\":\"/da\",\"discovery_cert\":\"/dc\",\"discovery_key\":\"/dk\"},"
		     "\"ldap\":{\"uri\":\"ldap://l\",\"base\":\"dc=x\",\"user_attr\":\"cn\","
		     "\"bind_dn\":\"cn=a\",\"bind_password_file\":\"/pw\",\"ca\":\"/lca\","
		     "\"start_tls\":true}}"),
		0);
	assert_int_equal(c.nlisten, 2);
	assert_int_equal(c.unmount_wait, 1500);
	assert_int_equal(c.evacuate_timeout, 120000);
	assert_int_equal(c.budget, 1 << 30);
	assert_string_equal(c.sources[1], "dir:/srv");
	assert_int_equal(c.nallowed_options, 1);
	assert_string_equal(config_scopes[c.scope], "global");
	assert_string_equal(c.tls_discovery_key, "/dk");
	assert_true(c.ldap_start_tls);
}

static void errors_say_file_line_and_key(void **state)
{
	(void)state;
	refuse("{\n\n \"admin\": x}", "line 3");
	refuse("{\"admin\":1,\"admin\":2}", "line 1");
	refuse("[]", "want an object");
	refuse("{\"bogus\":1}", "key \"bogus\": is not known");
	refuse("{\"tls.cert\":\"x\"}", "key \"tls.cert\": is not known");
	refuse("{\"tls\":{\"bogus\":1}}", "key \"tls.bogus\": is not known");
	refuse("{\"tls\":1}", "key \"tls\": want an object");
	refuse("{\"budget\":\"many\"}", "key \"budget\"");
	refuse("{\"mount_timeout\":\"10h\"}", "key \"mount_timeout\"");
	refuse("{\"scope\":\"galaxy\"}", "key \"scope\"");
	refuse("{\"mount_root\":[]}", "key \"mount_root\": want a string");
	refuse("{\"listen\":\"tcp:127.0.0.1:1\"}", "key \"listen\": want a list");
	refuse("{\"listen\":[\"udp:1\"]}", "key \"listen\"");
	refuse("{\"listen\":[\"tcp:localhost:1\"]}", "key \"listen\"");
	refuse("{\"sources\":[1]}", "key \"sources\"");
}

static void whole_is_checked(void **state)
{
	(void)state;
	refuse("{\"mount_root\":\"rel\"}", "mount_root 'rel'");
	refuse("{\"mount_root\":\"/\"}", "mount_root '/'");
	refuse("{\"listen\":[\"tcp:0.0.0.0:7589\"]}", "tcp:0.0.0.0:7589");
	refuse("{\"admin\":\"192.0.2.1:7590\"}", "admin 192.0.2.1:7590");
	refuse("{\"admin\":\"nowhere\"}", "nowhere");
	refuse("{\"tls\":{\"cert\":\"/c\"}}", "tls.cert: wants tls.key");
	refuse("{\"tls\":{\"client_ca\":\"/c\"}}", "tls.client_ca: wants");
	refuse("{\"ldap\":{\"uri\":\"ldap://x\"}}", "ldap.uri: wants ldap.base");
	refuse("{\"ldap\":{\"bind_dn\":\"x\"}}", "ldap.bind_dn: wants");
	refuse("{\"sources\":[\"/srv\"]}", "sources");
	refuse("{\"allowed_options\":[\"a,b\"]}", "allowed_options");
}

static void missing_file_is_named(void **state)
{
	(void)state;
	assert_int_not_equal(config_load(&c, "/nonexistent/x.json", &err), 0);
	assert_non_null(strstr(err.text, "/nonexistent/x.json"));
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, fresh, finish)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(arrays_and_cell),
		TEST(everything_has_a_default),
		TEST(every_key_is_read),
		TEST(errors_say_file_line_and_key),
		TEST(whole_is_checked),
		TEST(missing_file_is_named),
		TEST(mistakes_in_the_file_name_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
