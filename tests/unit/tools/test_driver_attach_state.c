/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of attach.h on the way back, over restarts and deaths of the driver, and which sources are whose. */
#include "tests/unit/tools/attach_fixture.h"

#include <sys/socket.h>
#include <sys/un.h>

#include "tools/driver/attach_impl.h"

/* --- A2: back ---------------------------------------------------------------- */

static void device_in_use_is_kept_until_it_is_free(void **state)
{
	char link[PATH_MAX];
	int fd;

	(void)state;
	snprintf(link, sizeof link, "%s/LINK", fx.array->dir);
	assert_int_equal(mount_at(0), 0);
	fd = open(link, O_RDONLY | O_CLOEXEC); /* as a daemon that still writes */
	assert_true(fd >= 0);
	assert_int_equal(unmount_at(0), 0);
	held_by("cell-a");
	assert_true(file_is_there(fx.state));
	close(fd);
	comes_to_be_held_by("");
	state_goes();
}

static void next_mount_takes_over_what_is_leaving(void **state)
{
	(void)state;
	assert_int_equal(mount_at(0), 0);
	fx.array->unmap_fails = -EAGAIN;
	assert_int_equal(unmount_at(0), 0);
	held_by("cell-a");
	assert_int_equal(mount_at(1), 0);
	assert_true(fx.world->data_was_there);
	fx.array->unmap_fails = 0;
	usleep(50000);
	held_by("cell-a");
	assert_int_equal(unmount_at(1), 0);
	held_by("");
}

static void unmap_is_tried_again(void **state)
{
	(void)state;
	assert_int_equal(mount_at(0), 0);
	fx.array->unmap_fails = -EAGAIN;
	assert_int_equal(unmount_at(0), 0);
	fx.array->unmap_fails = 0;
	comes_to_be_held_by("");
	state_goes();
}

static void settle_gives_back_or_names_what_is_left(void **state)
{
	json_t *left = json_array();

	(void)state;
	assert_int_equal(mount_at(0), 0);
	fx.array->unmap_fails = -EAGAIN;
	assert_int_equal(unmount_at(0), 0);
	attach_settle(fx.attach, clock_ms() + 100, left);
	assert_int_equal(json_array_size(left), 1);
	assert_string_equal(json_string_value(json_array_get(left, 0)), "scaleio://gold/one");
	json_array_clear(left);
	fx.array->unmap_fails = 0;
	attach_settle(fx.attach, clock_ms() + PATIENCE_MS, left);
	assert_int_equal(json_array_size(left), 0);
	held_by("");
	json_decref(left);
}

/* --- restarts ---------------------------------------------------------------- */

static void restart_keeps_what_is_mounted(void **state)
{
	(void)state;
	assert_int_equal(mount_at(0), 0);
	stop_driver();
	start_driver();
	usleep(50000);
	held_by("cell-a");
	assert_int_equal(mount_at(1), 0); /* by what the file says: the array is not asked */
	calls_are("map get set_used mount mount ");
	assert_int_equal(unmount_at(0), 0);
	assert_int_equal(unmount_at(1), 0);
	held_by("");
}

static void restart_gives_back_what_is_not_mounted(void **state)
{
	(void)state;
	assert_int_equal(mount_at(0), 0);
	stop_driver();
	fx.world->mounted[0] = false;        /* the machine was started anew */
	fx.config.cell.sdc_guid = "another"; /* and is somebody else since */
	start_driver();
	comes_to_be_held_by("");
	state_goes();
}

static void state_file_of_a_stranger(void **state)
{
	static const char twice[] =
		"{\"Version\":1,\"Volumes\":[{\"Provider\":\"gold\",\"Source\":\"x\"},"
		"{\"Provider\":\"gold\",\"Source\":\"x\"}]}";
	static const char *const texts[] = {
		"{",
		"[]",
		"{\"Version\":2,\"Volumes\":[]}",
		"{\"Version\":1,\"Volumes\":[1]}",
		"{\"Version\":1,\"Volumes\":[{\"Provider\":\"gold\",\"Source\":\"\"}]}",
		twice,
	};
	static const char odd[] =
		"{\"Version\":1,\"Volumes\":[{\"Provider\":\"gone\",\"Source\":\"x\"},"
		"{\"Provider\":\"gold\",\"Source\":\"y\",\"Owner\":9,\"Points\":7,\"Ended\":{},\"Cell\":[],"
		"\"Handle\":3,\"Device\":[],\"Uri\":{}}]}";
	char bad[128];

	(void)state;
	snprintf(bad, sizeof bad, "%s.bad", fx.state);
	for (size_t i = 0; i <= ARRAY_LEN(texts); i++) {
		FILE *out;

		stop_driver();
		unlink(bad);
		out = fopen(fx.state, "we");
		fputs(i < ARRAY_LEN(texts) ? texts[i] : odd, out);
		fclose(out);
		start_driver();
		assert_true(file_is_there(bad) == (i < ARRAY_LEN(texts)));
	}
	state_goes();
}

static void r15_state_holds_no_secret(void **state)
{
	char text[4096] = "";
	FILE *in;
	struct stat st;

	(void)state;
	assert_int_equal(mount_at(0), 0);
	in = fopen(fx.state, "re");
	assert_non_null(in);
	assert_true(fread(text, 1, sizeof text - 1, in) > 0);
	fclose(in);
	assert_null(strstr(text, "hunter2"));
	assert_non_null(strstr(text, "\"Source\": \"scaleio://gold/one\""));
	assert_int_equal(stat(fx.state, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void state_that_cannot_be_written_fails_the_mount(void **state)
{
	(void)state;
	assert_int_equal(mkdir(fx.state, 0700), 0);
	assert_int_not_equal(mount_at(0), 0);
	assert_int_equal(fx.array->maps, 0);
	rmdir(fx.state);
	assert_int_equal(mount_at(0), 0);
}

/* --- A1: killed at every step ------------------------------------------------ */

/* A driver in a child, that mounts and unmounts, and dies at that step. True when it lived to the end. */
static bool driver_that_dies_at(unsigned step)
{
	pid_t pid;
	int status;

	fx.array->steps = 0;
	fx.array->kill_at = step;
	pid = fork();
	if (!pid) {
		start_driver();
		if (mount_at(0) || unmount_at(0))
			_exit(1);
		attach_stop(fx.attach, PATIENCE_MS);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	fx.array->kill_at = 0;
	assert_true(WIFSIGNALED(status) || WEXITSTATUS(status) == 0);
	return WIFEXITED(status);
}

static bool image_has_data(void)
{
	char path[PATH_MAX], data[sizeof DATA] = "";
	AUTO_FD int fd = -1;

	snprintf(path, sizeof path, "%s/IMAGE", fx.array->dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0 && pread(fd, data, sizeof data, DATA_AT) == sizeof data);
	return !strcmp(data, DATA);
}

static void killed_at_any_step_the_next_driver_puts_it_right(void **state)
{
	unsigned step = 1;
	bool ended, had_data;

	(void)state;
	stop_driver();
	for (;; step++) {
		fake_array_reset(fx.array);
		memset(fx.world->mounted, 0, sizeof fx.world->mounted);
		ended = driver_that_dies_at(step);
		had_data = image_has_data();
		start_driver();
		/* As the table of volumes: what was begun is undone, what is mounted ends some time. */
		if (!ended)
			unmount_at(0);
		comes_to_be_held_by("");
		state_goes();
		assert_int_equal(mount_at(1), 0);
		assert_true(fx.world->data_was_there == had_data);
		assert_int_equal(unmount_at(1), 0);
		held_by("");
		stop_driver();
		if (ended)
			break;
	}
	assert_int_equal(step, 12); /* eleven steps, and a run that ends */
}

/* --- OneFS --------------------------------------------------------------------- */

static void share_is_opened_for_the_cell_and_closed_after_its_last_name(void **state)
{
	(void)state;
	assert_int_equal(mount_with("onefs://isi/files", NULL, 0, NULL), 0);
	assert_string_equal(fx.world->uri, "nfs://nas/export");
	assert_int_equal(mount_with("onefs://isi/files", NULL, 1, NULL), 0);
	held_by("10.0.0.1");
	calls_are("map mount mount ");
	assert_int_equal(unmount_at(1), 0);
	held_by("10.0.0.1");
	assert_int_equal(unmount_at(0), 0);
	held_by("");
	calls_are("unmount unmount unmap:10.0.0.1 ");
}

static void ask_slowly(struct attach_config *c)
{
	c->poll_ms = 50;
}

static void new_entry_that_is_not_seen_yet_is_waited_for(void **state)
{
	(void)state;
	restart_with(ask_slowly);
	fx.world->denied = 3;
	assert_int_equal(mount_with("onefs://isi/files", NULL, 0, NULL), 0);
	calls_are("map mount mount mount mount ");
	fx.world->denied = 1000;
	assert_int_equal(mount_with("onefs://isi/files", NULL, 1, NULL), -EACCES);
	assert_true(fx.world->denied >= 1000 - ATTACH_ACCESS_TRIES);
	held_by("10.0.0.1"); /* the other name is used */
}

/* --- sources --------------------------------------------------------------------- */

static void claims(void **state)
{
	static const struct {
		const char *uri, *volume, *sentence; /* NULL: works */
	} cases[] = {
		{ "scaleio://gold/one", NULL, NULL },
		{ "scaleio://gold/4f1c", "{\"owner\":\"one\",\"handle\":{\"id\":\"4f1c\"}}", NULL },
		{ "scaleio://gold/one", "{\"provider\":\"gold\"}", NULL },
		{ "scaleio://silver/one", NULL, "does not know" },
		{ "scaleio://isi/one", NULL, "does not know" },
		{ "onefs://gold/one", NULL, "does not know" },
		{ "scaleio://gold", NULL, "names no volume" },
		{ "scaleio://gold/", NULL, "names no volume" },
		{ "scaleio://gold/one", "{\"provider\":\"isi\"}", "different arrays" },
		{ "image:/x/y", NULL, "wants owner and plan" },
		{ "image:/x/y", "{\"owner\":\"one\"}", "wants owner and plan" },
		{ "image:/x/y", "{\"owner\":\"one\",\"plan\":{},\"provider\":\"gold\"}",
		  "does not know" },
		{ "scaleio://", NULL, "names no volume" },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		json_t *volume = cases[i].volume ? json_loads(cases[i].volume, 0, NULL) : NULL;
		int rc = mount_with(cases[i].uri, volume, 0, NULL);

		json_decref(volume);
		assert_int_equal(rc, cases[i].sentence ? -EINVAL : 0);
		if (rc)
			assert_non_null(strstr(fx.f.err.text, cases[i].sentence));
		assert_true(!rc == !fake_array_is_held_by(fx.array, ""));
		if (!rc)
			assert_int_equal(unmount_at(0), 0);
	}
}

static void source_alone_or_what_the_broker_knows_names_the_volume(void **state)
{
	json_t *volume = json_pack("{s:s, s:{s:s}}", "owner", "inst", "handle", "id", "77");

	(void)state;
	assert_int_equal(mount_with("scaleio://gold/4f1c", NULL, 0, NULL), 0);
	assert_string_equal(fx.array->owner, "");
	assert_string_equal(fx.array->handle, "{\"id\": \"4f1c\"}");
	assert_int_equal(mount_with("scaleio://gold/4f1c", volume, 1, NULL), 0);
	assert_int_equal(fx.array->maps, 1); /* it is the same one */
	assert_int_equal(unmount_at(0), 0);
	assert_int_equal(unmount_at(1), 0);
	assert_int_equal(mount_with("scaleio://gold/4f1c", volume, 0, NULL), 0);
	assert_string_equal(fx.array->owner, "inst");
	assert_string_equal(fx.array->handle, "{\"id\": \"77\"}");
	assert_int_equal(unmount_at(0), 0);
	assert_int_equal(mount_with("onefs://isi/cf-x?path=/ifs/a/cf-x&zone=z", NULL, 0, NULL), 0);
	assert_string_equal(fx.array->handle,
			    "{\"name\": \"cf-x\", \"path\": \"/ifs/a/cf-x\", \"zone\": \"z\"}");
	json_decref(volume);
}

static void image_is_used_where_it_lies(void **state)
{
	json_t *volume = json_pack("{s:s, s:{s:s}, s:s}", "owner", "inst", "plan", "kind", "image",
				   "provider", "here");
	char image[PATH_MAX], want[PATH_MAX + 16];

	(void)state;
	snprintf(image, sizeof image, "%s/IMAGE", fx.array->dir);
	snprintf(want, sizeof want, "ext4:%s", image);
	assert_int_equal(mount_with("image:/srv/cf-x", volume, 0, NULL), 0);
	assert_string_equal(fx.world->uri, want);
	assert_int_equal(formats(), 1);
	assert_int_equal(unmount_at(0), 0);
	held_by("");
	assert_true(file_is_there(image));
	json_decref(volume);
}

static void sources_are_those_of_the_configuration(void **state)
{
	const char *const *sources = attach_sources(fx.attach);

	(void)state;
	assert_string_equal(sources[0], "scaleio://gold");
	assert_string_equal(sources[1], "onefs://isi");
	assert_string_equal(sources[2], "image:");
	assert_null(sources[3]);
}

static void bad_provider_stops_the_start(void **state)
{
	json_t *providers = json_pack("{s:{s:s}, s:{s:s}}", "gold", "type", "scaleio", "lead",
				      "type", "alchemy");
	struct attach_config c = fx.config;
	struct attach *a = NULL;
	struct err err = { "" };

	(void)state;
	c.providers = providers;
	assert_int_equal(attach_new(&c, &a, &err), -EINVAL);
	assert_non_null(strstr(err.text, "lead"));
	json_decref(providers);
}

/* --- sessions that outlive their mounts -------------------------------------------- */

static int listen_at(const char *path)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof addr.sun_path, "%.100s", path);
	assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	assert_int_equal(listen(fd, 8), 0);
	return fd;
}

static void session_is_over_when_its_socket_is_gone_or_dead(void **state)
{
	char path[128];
	int fd;

	(void)state;
	chmod(fx.dir, 0700);
	setenv("PERSIFS_RUNTIME_DIR", fx.dir, 1);
	snprintf(path, sizeof path, "%s/4094-77.sock", fx.dir);
	assert_true(attach_session_over("4094-77"));
	assert_true(attach_session_over("nonsense"));
	fd = listen_at(path);
	assert_false(attach_session_over("4094-77")); /* it says nothing: nobody knows */
	close(fd);
	assert_true(attach_session_over("4094-77")); /* killed */
	unlink(path);
	unsetenv("PERSIFS_RUNTIME_DIR");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(device_in_use_is_kept_until_it_is_free),
		T(next_mount_takes_over_what_is_leaving),
		T(unmap_is_tried_again),
		T(settle_gives_back_or_names_what_is_left),
		T(restart_keeps_what_is_mounted),
		T(restart_gives_back_what_is_not_mounted),
		T(state_file_of_a_stranger),
		T(r15_state_holds_no_secret),
		T(state_that_cannot_be_written_fails_the_mount),
		T(killed_at_any_step_the_next_driver_puts_it_right),
		T(share_is_opened_for_the_cell_and_closed_after_its_last_name),
		T(new_entry_that_is_not_seen_yet_is_waited_for),
		T(claims),
		T(source_alone_or_what_the_broker_knows_names_the_volume),
		T(image_is_used_where_it_lies),
		T(sources_are_those_of_the_configuration),
		T(bad_provider_stops_the_start),
		T(session_is_over_when_its_socket_is_gone_or_dead),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
