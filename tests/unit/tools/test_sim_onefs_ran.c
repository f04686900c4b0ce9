/* SPDX-License-Identifier: Apache-2.0 */
/* What clients of the namespace, of copies and of snapshots depend on. */
#include "tests/unit/tools/onefs_client.h"

/* --- directories --------------------------------------------------------- */

static void directories_come_and_go(void **state)
{
	(void)state;
	begin(NULL, NULL);
	assert_int_equal(make_dir("/namespace/ifs/a"), 200);
	assert_int_equal(make_dir("/namespace/ifs/a"), 200);
	assert_int_equal(make_dir("/namespace/ifs/x/y"), 404);
	assert_string_equal(code(), "AEC_NOT_FOUND");
	assert_int_equal(make_dir("/namespace/ifs/x/y?recursive=true"), 200);
	assert_int_equal(call("PUT", "/namespace/ifs/b", NULL), 400);
	assert_int_equal(call("HEAD", "/namespace/ifs/x/y", NULL), 200);
	assert_int_equal(call("HEAD", "/namespace/ifs/x/z", NULL), 404);
	assert_int_equal(call("DELETE", "/namespace/ifs/x", NULL), 409);
	assert_non_null(strstr(fx.body, "is not empty"));
	assert_int_equal(call("POST", QUOTAS,
			      "{\"path\":\"/ifs/x/y\",\"type\":\"directory\",\"enforced\":true,"
			      "\"include_snapshots\":false,\"thresholds_include_overhead\":false,"
			      "\"thresholds\":{\"hard\":1048576}}"),
			 201);
	assert_int_equal(call("DELETE", "/namespace/ifs/x?recursive=true", NULL), 409);
	assert_string_equal(code(), "AEC_CONFLICT");
	assert_int_equal(call("DELETE", QUOTAS "?path=/ifs/x/y&type=directory", NULL), 204);
	assert_int_equal(call("DELETE", "/namespace/ifs/x?recursive=true", NULL), 204);
	assert_int_equal(call("DELETE", "/namespace/ifs/x?recursive=true", NULL), 404);
	assert_int_equal(call("DELETE", "/namespace/ifs?recursive=true", NULL), 403);
	assert_int_equal(call("GET", "/namespace/other/x", NULL), 404);
}

static void paths_do_not_leave_the_store(void **state)
{
	char link[128], outside[128];
	struct stat st;

	(void)state;
	begin(NULL, NULL);
	snprintf(link, sizeof link, "%s/ifs/link", fx.dir);
	snprintf(outside, sizeof outside, "%s/outside", fx.dir);
	assert_int_equal(symlink("..", link), 0);
	assert_int_equal(make_dir("/namespace/ifs/link/outside"), 404);
	assert_int_equal(make_dir("/namespace/ifs/%2e%2e/outside"), 404);
	assert_int_equal(call("GET", "/namespace/ifs/link", NULL), 405);
	assert_int_equal(call("DELETE", "/namespace/ifs/link?recursive=true", NULL), 204);
	assert_int_not_equal(stat(outside, &st), 0);
	assert_int_equal(stat(fx.dir, &st), 0);
	assert_int_equal(
		make_dir("/namespace/ifs/"
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
			 "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
		404);
}

static void modes_and_owners_are_real(void **state)
{
	const char *const h[] = { CONTAINER, "x-isi-ifs-access-control: 0777", NULL };
	char real[128];
	struct stat st;

	(void)state;
	begin(NULL, NULL);
	snprintf(real, sizeof real, "%s/ifs/v", fx.dir);
	assert_int_equal(call_with("PUT", "/namespace/ifs/v", NULL, h), 200);
	assert_int_equal(stat(real, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0777);
	assert_int_equal(call("PUT", "/namespace/ifs/v?acl", "{\"mode\":\"0770\"}"), 400);
	assert_int_equal(call("PUT", "/namespace/ifs/v?acl",
			      "{\"authoritative\":\"mode\",\"mode\":\"0770\","
			      "\"owner\":{\"id\":\"UID:2000\",\"type\":\"user\"},"
			      "\"group\":{\"id\":\"GID:3000\",\"type\":\"group\"}}"),
			 200);
	assert_int_equal(stat(real, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0770);
	if (!geteuid()) {
		assert_int_equal(st.st_uid, 2000);
		assert_int_equal(st.st_gid, 3000);
	}
	assert_int_equal(call("GET", "/namespace/ifs/v?acl", NULL), 200);
	assert_string_equal(text_of(fx.json, "mode"), "0770");
	assert_string_equal(text_of(json_object_get(fx.json, "owner"), "id"), "UID:2000");
	assert_string_equal(text_of(json_object_get(fx.json, "group"), "id"), "GID:3000");
	assert_int_equal(
		call("PUT", "/namespace/ifs/v?acl",
		     "{\"authoritative\":\"acl\",\"action\":\"replace\",\"acl\":[{\"trustee\":"
		     "{\"id\":\"UID:2000\"},\"accesstype\":\"allow\",\"accessrights\":"
		     "[\"dir_gen_all\"]}]}"),
		200);
	assert_int_equal(call("GET", "/namespace/ifs/v?acl", NULL), 200);
	assert_string_equal(text_of(fx.json, "authoritative"), "acl");
	assert_int_equal(json_array_size(json_object_get(fx.json, "acl")), 1);
	assert_int_equal(call("PUT", "/namespace/ifs/v?acl",
			      "{\"authoritative\":\"mode\",\"mode\":\"9\"}"),
			 400);
	assert_int_equal(call("GET", "/namespace/ifs/v?metadata", NULL), 200);
	assert_string_equal(text_of(json_array_get(json_object_get(fx.json, "attrs"), 2), "value"),
			    "0770");
	assert_int_equal(call("GET", "/namespace/ifs/w?metadata", NULL), 404);
}

static void listings_come_in_pages(void **state)
{
	char path[512], token[64];

	(void)state;
	begin(NULL, NULL);
	for (int i = 0; i < 25; i++) {
		snprintf(path, sizeof path, "/namespace/ifs/d/v%02d?recursive=true", i);
		assert_int_equal(make_dir(path), 200);
	}
	assert_int_equal(
		call("GET", "/namespace/ifs/d?detail=default&limit=10&type=container", NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "children")), 10);
	assert_string_equal(text_of(first("children"), "name"), "v00");
	assert_string_equal(text_of(first("children"), "type"), "container");
	strcpy(token, text_of(fx.json, "resume"));
	snprintf(path, sizeof path, "/namespace/ifs/d?resume=%s", token);
	assert_int_equal(call("GET", path, NULL), 200);
	assert_string_equal(text_of(first("children"), "name"), "v10");
	snprintf(path, sizeof path, "/namespace/ifs/d?resume=%s", text_of(fx.json, "resume"));
	assert_int_equal(call("GET", path, NULL), 200);
	assert_int_equal(json_array_size(json_object_get(fx.json, "children")), 5);
	assert_true(json_is_null(json_object_get(fx.json, "resume")));
	snprintf(path, sizeof path, "/namespace/ifs?resume=%s", token);
	assert_int_equal(call("GET", path, NULL), 400); /* of another folder */
	assert_int_equal(call("GET", "/namespace/ifs/d?limit=5001", NULL), 400);
	assert_int_equal(call("GET", "/namespace/ifs/d?nonsense=1", NULL), 400);
	assert_int_equal(call("GET", "/namespace/ifs/d?sort=name&dir=DESC&limit=1", NULL), 200);
	assert_string_equal(text_of(first("children"), "name"), "v24");
}

static void directories_move(void **state)
{
	(void)state;
	begin(NULL, NULL);
	assert_int_equal(make_dir("/namespace/ifs/a/in?recursive=true"), 200);
	assert_int_equal(make_dir("/namespace/ifs/c"), 200);
	assert_int_equal(with_header("POST", "/namespace/ifs/a",
				     "x-isi-ifs-set-location: /namespace/ifs/b%20c"),
			 200);
	assert_int_equal(call("HEAD", "/namespace/ifs/b%20c/in", NULL), 200);
	assert_int_equal(call("HEAD", "/namespace/ifs/a", NULL), 404);
	assert_int_equal(with_header("POST", "/namespace/ifs/b%20c",
				     "x-isi-ifs-set-location: /namespace/ifs/c"),
			 409);
	assert_int_equal(
		with_header("POST", "/namespace/ifs/b%20c", "x-isi-ifs-set-location: /etc"), 400);
	assert_int_equal(with_header("POST", "/namespace/ifs/none",
				     "x-isi-ifs-set-location: /namespace/ifs/d"),
			 404);
}

/* --- copies and snapshots ------------------------------------------------ */

static void write_file(const char *below, const char *text)
{
	char path[192];
	FILE *f;

	snprintf(path, sizeof path, "%s/ifs/%s", fx.dir, below);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static bool holds(const char *below, const char *text)
{
	char path[192], buf[64] = "";
	FILE *f;

	snprintf(path, sizeof path, "%s/ifs/%s", fx.dir, below);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (!fgets(buf, sizeof buf, f))
		buf[0] = '\0';
	fclose(f);
	return !strcmp(buf, text);
}

static long copy_src(const char *to)
{
	return with_header("PUT", to, "x-isi-ifs-copy-source: /namespace/ifs/src");
}

static void copies_tell_what_failed(void **state)
{
	const json_t *e;

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/src/deep?recursive=true");
	write_file("src/one", "1");
	write_file("src/deep/two", "2");
	assert_int_equal(copy_src("/namespace/ifs/dst"), 200);
	assert_null(fx.body);
	assert_true(holds("dst/one", "1") && holds("dst/deep/two", "2"));
	assert_int_equal(copy_src("/namespace/ifs/dst"), 409);
	assert_int_equal(copy_src("/namespace/ifs/dst?merge=true"), 200);
	assert_int_equal(copy_src("/namespace/ifs/src/in"), 400);
	assert_int_equal(call("POST", "/_sim/onefs/copy_error", "{\"path\":\"/ifs/src/deep/two\"}"),
			 200);
	assert_int_equal(copy_src("/namespace/ifs/dst2?continue=true"), 200);
	assert_true(json_is_false(json_object_get(fx.json, "success")));
	e = first("copy_errors");
	assert_string_equal(text_of(e, "source"), "/namespace/ifs/src/deep/two");
	assert_string_equal(text_of(e, "target"), "/namespace/ifs/dst2/deep/two");
	assert_string_equal(text_of(e, "message"), "Permission denied");
	assert_true(holds("dst2/one", "1") && !holds("dst2/deep/two", "2"));
	assert_int_equal(call("DELETE", "/_sim/onefs/copy_error", NULL), 200);
	assert_int_equal(copy_src("/namespace/ifs/dst2?merge=true"), 200);
	assert_true(holds("dst2/deep/two", "2"));
}

static void snapshots_keep_what_was(void **state)
{
	char path[64];

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/data/v?recursive=true");
	write_file("data/v/f", "old");
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"s1\",\"path\":\"/ifs/data/v\"}"), 201);
	assert_string_equal(text_of(fx.json, "state"), "active");
	snprintf(path, sizeof path, SNAPS "/%lld",
		 (long long)json_integer_value(json_object_get(fx.json, "id")));
	write_file("data/v/f", "new");
	assert_true(holds(".snapshot/s1/data/v/f", "old"));
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"s1\",\"path\":\"/ifs/data\"}"), 409);
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"s2\",\"path\":\"/ifs/none\"}"), 404);
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"../s\",\"path\":\"/ifs/data\"}"), 400);
	assert_int_equal(call("GET", SNAPS "/s1", NULL), 200);
	assert_string_equal(text_of(first("snapshots"), "path"), "/ifs/data/v");
	assert_int_equal(with_header("PUT", "/namespace/ifs/data/w",
				     "x-isi-ifs-copy-source: /namespace/ifs/.snapshot/s1/data/v"),
			 200);
	assert_true(holds("data/w/f", "old"));
	assert_int_equal(call("DELETE", "/namespace/ifs/.snapshot/s1?recursive=true", NULL), 403);
	assert_int_equal(make_dir("/namespace/ifs/.snapshot/s3"), 403);
	assert_int_equal(call("GET", "/namespace/ifs", NULL), 200);
	assert_string_equal(text_of(first("children"), "name"), "data");
	assert_int_equal(call("DELETE", path, NULL), 204);
	assert_false(holds(".snapshot/s1/data/v/f", "old"));
	assert_int_equal(call("GET", path, NULL), 404);
	/* of everything: without itself */
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"all\",\"path\":\"/ifs\"}"), 201);
	assert_true(holds(".snapshot/all/data/v/f", "new"));
}

static void snapshots_expire(void **state)
{
	char body[128];

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v");
	write_file("v/f", "old");
	snprintf(body, sizeof body, "{\"name\":\"s1\",\"path\":\"/ifs/v\",\"expires\":%lld}",
		 (long long)time(NULL) + 1000);
	assert_int_equal(call("POST", SNAPS, body), 201);
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"s2\",\"path\":\"/ifs/v\",\"expires\":1}"),
			 400);
	advance(500);
	assert_int_equal(call("GET", SNAPS "/s1", NULL), 200);
	advance(500);
	assert_int_equal(call("GET", SNAPS "/s1", NULL), 404);
	assert_false(holds(".snapshot/s1/v/f", "old"));
	assert_int_equal(call("POST", SNAPS, "{\"name\":\"s1\",\"path\":\"/ifs/v\"}"), 201);
}

/* Of a tree of which a part belongs to an application. */
static void a_removal_ends_at_closed_folders(void **state)
{
	(void)state;
	begin("deny=ISI_PRIV_IFS_RESTORE", NULL);
	if (geteuid())
		skip();
	assert_int_equal(make_dir("/namespace/ifs/v/app?recursive=true"), 200);
	write_file("v/app/f", "x");
	assert_int_equal(call("PUT", "/namespace/ifs/v/app?acl",
			      "{\"authoritative\":\"mode\",\"mode\":\"0700\","
			      "\"owner\":{\"id\":\"UID:2000\"}}"),
			 200);
	assert_int_equal(call("DELETE", "/namespace/ifs/v?recursive=true", NULL), 403);
	assert_true(holds("v/app/f", "x"));
	assert_int_equal(call("PUT", "/namespace/ifs/v/app?acl",
			      "{\"authoritative\":\"mode\",\"owner\":{\"id\":\"USER:root\"}}"),
			 200);
	assert_int_equal(call("DELETE", "/namespace/ifs/v?recursive=true", NULL), 204);
}

/* --- faults -------------------------------------------------------------- */

static void half_executed_calls_leave_a_part(void **state)
{
	char path[128];
	struct dirent *e;
	unsigned left = 0;
	DIR *d;

	(void)state;
	begin(NULL, NULL);
	make_dir("/namespace/ifs/v/a?recursive=true");
	make_dir("/namespace/ifs/v/b");
	make_dir("/namespace/ifs/v/c");
	assert_int_equal(call("POST", "/_sim/faults",
			      "{\"match\":\"DELETE /namespace\",\"fault\":\"half\",\"times\":1}"),
			 200);
	assert_int_equal(call("DELETE", "/namespace/ifs/v?recursive=true", NULL), 500);
	snprintf(path, sizeof path, "%s/ifs/v", fx.dir);
	d = opendir(path);
	assert_non_null(d);
	while ((e = readdir(d)))
		left += e->d_name[0] != '.';
	closedir(d);
	assert_int_equal(left, 2);
	assert_int_equal(call("POST", "/_sim/faults",
			      "{\"match\":\"POST /platform\",\"fault\":\"half\",\"times\":1}"),
			 200);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"]}"), 500);
	assert_int_equal(make_export("", "{\"paths\":[\"/ifs/v\"]}"), 409); /* it was made */
	assert_int_equal(call("DELETE", "/namespace/ifs/v?recursive=true", NULL), 204);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(directories_come_and_go),
		T(paths_do_not_leave_the_store),
		T(modes_and_owners_are_real),
		T(listings_come_in_pages),
		T(directories_move),
		T(copies_tell_what_failed),
		T(snapshots_keep_what_was),
		T(snapshots_expire),
		T(a_removal_ends_at_closed_folders),
		T(half_executed_calls_leave_a_part),
	};

	curl_global_init(CURL_GLOBAL_DEFAULT);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
