/* SPDX-License-Identifier: Apache-2.0 */
/* A thread at the other end of a socket pair plays the daemon from a script. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/ctlsock.h"

struct fixture {
	int ours, theirs;
	pthread_t thread;
	const char *says; /* sent after the first line has come */
	size_t says_len;
	bool waits_for_more; /* for a second line, before the last line is sent */
	char heard[4096];
	json_t *reply;
	json_t *request;
	int seen; /* progress lines */
	struct err err;
};

static void hear_line(struct fixture *f)
{
	size_t n = strlen(f->heard);

	while (n + 1 < sizeof f->heard && read(f->theirs, f->heard + n, 1) == 1)
		if (f->heard[n++] == '\n')
			break;
	f->heard[n] = '\0';
}

static void say(struct fixture *f, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(f->theirs, text, len, MSG_NOSIGNAL);

		if (n <= 0)
			return;
		text += n;
		len -= (size_t)n;
	}
}

static void *daemon_main(void *arg)
{
	static const char done[] = "{\"ok\":true,\"dirty_bytes\":0}\n";
	struct fixture *f = arg;

	hear_line(f);
	say(f, f->says, f->says_len);
	if (f->waits_for_more) {
		hear_line(f);
		say(f, done, strlen(done));
	}
	shutdown(f->theirs, SHUT_WR);
	return NULL;
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof *f);
	int fds[2];

	if (!f || socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		return -1;
	f->ours = fds[0];
	f->theirs = fds[1];
	f->request = json_pack("{s:s}", "cmd", "stat");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	close(f->ours);
	close(f->theirs);
	json_decref(f->reply);
	json_decref(f->request);
	free(f);
	return 0;
}

static void count(void *arg, const json_t *p)
{
	struct fixture *f = arg;

	f->seen++;
	if (!strcmp(json_string_value(json_object_get(p, "state")) ?: "", "drained")) {
		json_t *line = json_pack("{s:s}", "cmd", "unmounted");

		assert_int_equal(ctlsock_send(f->ours, line, &f->err), 0);
		json_decref(line);
	}
}

static int call_n(struct fixture *f, const char *says, size_t len)
{
	int rc;

	f->says = says;
	f->says_len = len;
	assert_int_equal(pthread_create(&f->thread, NULL, daemon_main, f), 0);
	rc = ctlsock_call(f->ours, f->request, count, f, &f->reply, &f->err);
	pthread_join(f->thread, NULL);
	return rc;
}

static int call(struct fixture *f, const char *says)
{
	return call_n(f, says, strlen(says));
}

static void a_request_is_one_line(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(call(f, "{\"ok\":true,\"stat\":{\"uri\":\"memory:\"}}\n"), 0);
	assert_string_equal(f->heard, "{\"cmd\":\"stat\"}\n");
	assert_true(json_is_object(json_object_get(f->reply, "stat")));
	assert_int_equal(f->seen, 0);
}

static void progress_comes_before_the_answer(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(call(f, "{\"progress\":{\"dirty_bytes\":2}}\n"
				 "{\"progress\":{\"dirty_bytes\":1}}\n{\"ok\":true}\n"),
			 0);
	assert_int_equal(f->seen, 2);
}

static void a_refusal_carries_sentence_and_errno(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(call(f, "{\"ok\":false,\"error\":\"the disk is full\",\"errno\":28}\n"),
			 -ENOSPC);
	assert_string_equal(f->err.text, "the disk is full");
	assert_null(f->reply);
}

static void a_refusal_without_errno_is_an_io_error(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(call(f, "{\"ok\":false,\"errno\":-3}\n"), -EIO);
	assert_string_equal(f->err.text, strerror(EIO));
}

static void unmounting_answers_in_the_middle(void **state)
{
	struct fixture *f = *state;

	f->waits_for_more = true;
	assert_int_equal(call(f, "{\"progress\":{\"state\":\"drained\"}}\n"), 0);
	assert_string_equal(f->heard, "{\"cmd\":\"stat\"}\n{\"cmd\":\"unmounted\"}\n");
}

static void a_closed_connection_is_an_error(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(call(f, ""), -ECONNRESET);
	assert_int_equal(call(f, "{\"ok\":true}"), -ECONNRESET); /* cut before the newline */
}

static void nonsense_is_a_protocol_error(void **state)
{
	static const char *const bad[] = { "\n",
					   "[]\n",
					   "{\"ok\":1}\n",
					   "{}\n",
					   "{\"ok\":true\n",
					   "{\"ok\":true}x\n",
					   "{\"ok\":true,\"ok\":false}\n",
					   NULL };

	(void)state;
	for (const char *const *b = bad; *b; b++) {
		void *st = NULL;
		struct fixture *f;

		assert_int_equal(setup(&st), 0);
		f = st;
		assert_int_equal(call(f, *b), -EPROTO);
		assert_true(f->err.text[0] != '\0');
		teardown(&st);
	}
}

static void a_nul_inside_a_line_is_refused(void **state)
{
	static const char text[] = "{\"ok\":true}\0{\n";

	assert_int_equal(call_n(*state, text, sizeof text - 1), -EPROTO);
}

static void a_long_line_passes_and_a_longer_one_does_not(void **state)
{
	struct fixture *f = *state;
	size_t n = CTLSOCK_LINE_MAX;
	char *text = malloc(n + 1);

	assert_non_null(text);
	memset(text, ' ', n);
	memcpy(text, "{\"ok\":true}", 11);
	text[n - 1] = '\n';
	assert_int_equal(call_n(f, text, n), 0);
	free(text);
}

static void a_line_without_end_is_cut_off(void **state)
{
	struct fixture *f = *state;
	size_t n = CTLSOCK_LINE_MAX;
	char *text = malloc(n + 1);

	assert_non_null(text);
	memset(text, ' ', n + 1);
	assert_int_equal(call_n(f, text, n + 1), -EPROTO);
	free(text);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_request_is_one_line),
		CASE(progress_comes_before_the_answer),
		CASE(a_refusal_carries_sentence_and_errno),
		CASE(a_refusal_without_errno_is_an_io_error),
		CASE(unmounting_answers_in_the_middle),
		CASE(a_closed_connection_is_an_error),
		CASE(nonsense_is_a_protocol_error),
		CASE(a_nul_inside_a_line_is_refused),
		CASE(a_long_line_passes_and_a_longer_one_does_not),
		CASE(a_line_without_end_is_cut_off),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
