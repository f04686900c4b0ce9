/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/httpd.h"
#include "common/listen.h"

static struct {
	char dir[64], address[96];
	struct httpd *h;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	/* guarded by lock */
	bool hold;
	unsigned held, done, undelivered;
	bool saw_gone;
} fx;

/* --- the handler ----------------------------------------------------------- */

static bool may_wait(void *arg, const struct httpd_request *rq)
{
	(void)arg;
	return !strncmp(httpd_path(rq), "/slow", 5);
}

static void be_slow(const struct httpd_request *rq)
{
	pthread_mutex_lock(&fx.lock);
	fx.held++;
	pthread_cond_broadcast(&fx.changed);
	while (fx.hold && !fx.saw_gone) {
		struct timespec ts;

		clock_gettime(CLOCK_REALTIME, &ts);
		ts.tv_nsec += 2000000;
		ts.tv_sec += ts.tv_nsec / 1000000000;
		ts.tv_nsec %= 1000000000;
		pthread_cond_timedwait(&fx.changed, &fx.lock, &ts);
		fx.saw_gone = httpd_client_gone(rq);
	}
	pthread_mutex_unlock(&fx.lock);
}

static void answer(void *arg, struct httpd_request *rq)
{
	const char *x = httpd_header(rq, "X-Test");
	size_t len;
	const char *body = httpd_body(rq, &len);
	char *text;

	(void)arg;
	if (may_wait(NULL, rq))
		be_slow(rq);
	if (!strcmp(httpd_path(rq), "/silent"))
		return;
	if (asprintf(&text, "%s %s [%s] %zu %s", httpd_method(rq), httpd_path(rq), x ? x : "-", len,
		     body ? len < 64 ? body : "long" : "refused") < 0)
		text = NULL;
	httpd_reply_take(rq, 200, text, "text/plain");
	if (httpd_query(rq, "head"))
		httpd_add_header(rq, "X-Answer", httpd_query(rq, "head"));
	if (httpd_query(rq, "cut"))
		httpd_reply_cut(rq, strtoul(httpd_query(rq, "cut"), NULL, 10));
	if (httpd_query(rq, "drop"))
		httpd_reply_cut(rq, HTTPD_NO_ANSWER);
}

static void done(void *arg, struct httpd_request *rq, bool delivered)
{
	(void)arg;
	(void)rq;
	pthread_mutex_lock(&fx.lock);
	fx.done++;
	fx.undelivered += !delivered;
	pthread_cond_broadcast(&fx.changed);
	pthread_mutex_unlock(&fx.lock);
}

static const struct httpd_handler handler = { may_wait, answer, done };

static int start(void **state)
{
	struct httpd_listener l[2] = { { 0 } };
	struct httpd_config cfg = {
		.name = "test", .listeners = l, .nlisteners = 2, .handler = &handler
	};
	struct listen_addr a;
	struct err err;

	(void)state;
	memset(&fx, 0, sizeof fx);
	pthread_mutex_init(&fx.lock, NULL);
	pthread_cond_init(&fx.changed, NULL);
	strcpy(fx.dir, "/tmp/persifs-httpd.XXXXXX");
	if (!mkdtemp(fx.dir))
		return -1;
	snprintf(fx.address, sizeof fx.address, "unix:%s/s", fx.dir);
	assert_int_equal(listen_parse(fx.address, &a, &err), 0);
	l[0].fd = listen_open(&a, &err);
	assert_int_equal(listen_parse("tcp:127.0.0.1:0", &a, &err), 0);
	l[1].fd = listen_open(&a, &err);
	return l[0].fd < 0 || l[1].fd < 0 ? -1 : httpd_start(&cfg, &fx.h, &err);
}

static int stop(void **state)
{
	(void)state;
	assert_true(httpd_stop(fx.h, 10000));
	unlink(fx.address + 5);
	return rmdir(fx.dir);
}

/* --- a client -------------------------------------------------------------- */

static int dial(void)
{
	const struct timeval limit = { .tv_sec = 10 };
	struct listen_addr a;
	struct err err;
	int fd;

	assert_int_equal(listen_parse(fx.address, &a, &err), 0);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a.addr, a.len), 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
	return fd;
}

static void say(int fd, const char *text, size_t len)
{
	while (len) {
		ssize_t n = send(fd, text, len, MSG_NOSIGNAL);

		if (n <= 0)
			return; /* refused while we speak: the answer tells */
		text += n;
		len -= (size_t)n;
	}
}

/* One answer with its head, static; as long as Content-Length says. */
static const char *hear(int fd)
{
	static char buf[8192];
	size_t len = 0;

	for (;;) {
		ssize_t n = recv(fd, buf + len, sizeof buf - 1 - len, 0);
		const char *head, *length;

		if (n <= 0)
			break;
		len += (size_t)n;
		buf[len] = '\0';
		head = strstr(buf, "\r\n\r\n");
		length = strcasestr(buf, "Content-Length: ");
		if (head && length &&
		    (size_t)(buf + len - head - 4) >= strtoul(length + 16, NULL, 10))
			break;
	}
	buf[len] = '\0';
	return buf;
}

static const char *body_of(const char *text)
{
	const char *head = strstr(text, "\r\n\r\n");

	return head ? head + 4 : "";
}

static const char *ask(int fd, const char *request)
{
	say(fd, request, strlen(request));
	return body_of(hear(fd));
}

#define HOST "HTTP/1.1\r\nHost: x\r\n"

/* --- tests ----------------------------------------------------------------- */

static void connection_is_kept_and_no_header_is_required(void **state)
{
	AUTO_FD int fd = dial();

	(void)state;
	assert_string_equal(ask(fd, "POST /a " HOST "\r\n"), "POST /a [-] 0 ");
	assert_string_equal(ask(fd, "POST /b?q=1 " HOST "X-Test: y\r\nContent-Length: 2\r\n\r\n{}"),
			    "POST /b [y] 2 {}");
	assert_string_equal(ask(fd, "POST /slow " HOST "X-Test: z\r\nContent-Length: 2\r\n\r\n{}"),
			    "POST /slow [z] 2 {}");
	assert_string_equal(ask(fd, "POST /c " HOST "Transfer-Encoding: chunked\r\n\r\n"
				    "1\r\n{\r\n2\r\n}\n\r\n0\r\n\r\n"),
			    "POST /c [-] 3 {}\n");
	assert_string_equal(ask(fd, "GET /silent " HOST "\r\n"), "{\"Err\":\"internal error\"}");
}

static void query_is_decoded_and_headers_are_sent(void **state)
{
	static const char request[] = "PUT /a?head=x%20y%26z&other " HOST "\r\n";
	AUTO_FD int fd = dial();
	const char *all;

	(void)state;
	say(fd, request, strlen(request));
	all = hear(fd);
	assert_non_null(strstr(all, "\r\nX-Answer: x y&z\r\n"));
	assert_string_equal(body_of(all), "PUT /a [-] 0 ");
	assert_string_equal(ask(fd, "DELETE /slow?head " HOST "\r\n"), "DELETE /slow [-] 0 ");
}

static void answer_can_be_cut_or_left_out(void **state)
{
	static const char *const requests[] = { "GET /a?cut=5 " HOST "\r\n",
						"GET /slow?cut=5 " HOST "\r\n" };
	static const char *const dropped[] = { "GET /a?drop " HOST "\r\n",
					       "GET /slow?drop " HOST "\r\n" };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		AUTO_FD int fd = dial(), other = dial();
		const char *all;

		say(fd, requests[i], strlen(requests[i]));
		all = hear(fd); /* ends with the connection: Content-Length is longer */
		assert_string_equal(body_of(all), "GET /");
		say(other, dropped[i], strlen(dropped[i]));
		assert_string_equal(hear(other), "");
	}
}

static void body_above_the_limit_is_refused_and_not_kept(void **state)
{
	size_t n = HTTPD_BODY_MAX;
	AUTO_FREE char *text = malloc(n + 200);
	AUTO_FD int fd = dial();
	int head;

	(void)state;
	head = sprintf(text, "POST /a " HOST "Content-Length: %zu\r\n\r\n", n);
	memset(text + head, 'x', n);
	say(fd, text, (size_t)head + n);
	assert_string_equal(body_of(hear(fd)), "POST /a [-] 1048576 long");
	head = sprintf(text, "POST /a " HOST "Content-Length: %zu\r\n\r\n", n + 1);
	memset(text + head, 'x', n + 1);
	say(fd, text, (size_t)head + n + 1);
	assert_non_null(strstr(body_of(hear(fd)), "refused"));
	assert_string_equal(ask(fd, "POST /b " HOST "\r\n"), "POST /b [-] 0 ");
}

static void body_without_end_ends_the_connection(void **state)
{
	AUTO_FREE char *block = calloc(1, 1 << 20);
	AUTO_FD int fd = dial();
	char text[128];

	(void)state;
	sprintf(text, "POST /a " HOST "Content-Length: %lld\r\n\r\n", 1LL << 30);
	say(fd, text, strlen(text));
	for (size_t sent = 0; sent <= HTTPD_DISCARD_MAX + HTTPD_BODY_MAX; sent += 1 << 20)
		say(fd, block, 1 << 20);
	assert_string_equal(hear(fd), "");
}

static void nonsense_disturbs_nobody(void **state)
{
	static const char *const nonsense[] = {
		"\r\n\r\n",         "x\r\n\r\n",
		"POST\r\n\r\n",     "POST /a HTTP/9.9\r\n\r\n",
		"\x16\x03\x01\x02", "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"
	};
	char header[HTTPD_CONNECTION_BYTES + 64];

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(nonsense); i++) {
		AUTO_FD int fd = dial();

		say(fd, nonsense[i], strlen(nonsense[i]));
	}
	{
		AUTO_FD int fd = dial();

		memset(header, 'h', sizeof header);
		memcpy(header, "POST /a " HOST, 26);
		memcpy(header + sizeof header - 4, "\r\n\r\n", 4);
		say(fd, header, sizeof header);
		assert_null(strstr(hear(fd), "POST /a"));
	}
	{
		AUTO_FD int fd = dial();

		assert_string_equal(ask(fd, "POST /a " HOST "\r\n"), "POST /a [-] 0 ");
	}
}

static void wait_held(unsigned n)
{
	pthread_mutex_lock(&fx.lock);
	while (fx.held < n)
		pthread_cond_wait(&fx.changed, &fx.lock);
	pthread_mutex_unlock(&fx.lock);
}

static void let_go(void)
{
	pthread_mutex_lock(&fx.lock);
	fx.hold = false;
	pthread_cond_broadcast(&fx.changed);
	pthread_mutex_unlock(&fx.lock);
}

static void r8_quick_requests_pass_slow_ones(void **state)
{
	int slow[40];
	AUTO_FD int fd = dial();
	static const char request[] = "POST /slow " HOST "\r\n";

	(void)state;
	fx.hold = true;
	for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
		slow[i] = dial();
		say(slow[i], request, strlen(request));
	}
	wait_held(ARRAY_LEN(slow));
	assert_string_equal(ask(fd, "POST /quick " HOST "\r\n"), "POST /quick [-] 0 ");
	let_go();
	for (size_t i = 0; i < ARRAY_LEN(slow); i++) {
		assert_string_equal(body_of(hear(slow[i])), "POST /slow [-] 0 ");
		close(slow[i]);
	}
}

static void r12_client_that_hangs_up_is_noticed(void **state)
{
	static const char request[] = "POST /slow " HOST "\r\n";
	int fd = dial();

	(void)state;
	fx.hold = true;
	say(fd, request, strlen(request));
	wait_held(1);
	close(fd);
	pthread_mutex_lock(&fx.lock);
	while (!fx.done)
		pthread_cond_wait(&fx.changed, &fx.lock);
	assert_true(fx.saw_gone);
	assert_int_equal(fx.undelivered, 1);
	pthread_mutex_unlock(&fx.lock);
}

static void thousand_idle_connections_hold_up_nobody(void **state)
{
	static int idle[1000];
	size_t n = 0;

	(void)state;
	while (n < ARRAY_LEN(idle)) {
		idle[n] = dial();
		if (idle[n] < 0)
			break;
		if (n % 2)
			say(idle[n], "POST /a HTT", 11); /* half of them dribble */
		n++;
	}
	{
		AUTO_FD int fd = dial();

		assert_string_equal(ask(fd, "POST /a " HOST "\r\n"), "POST /a [-] 0 ");
	}
	while (n)
		close(idle[--n]);
}

#define TEST(t) cmocka_unit_test_setup_teardown(t, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(connection_is_kept_and_no_header_is_required),
		TEST(query_is_decoded_and_headers_are_sent),
		TEST(answer_can_be_cut_or_left_out),
		TEST(body_above_the_limit_is_refused_and_not_kept),
		TEST(body_without_end_ends_the_connection),
		TEST(nonsense_disturbs_nobody),
		TEST(r8_quick_requests_pass_slow_ones),
		TEST(r12_client_that_hangs_up_is_noticed),
		TEST(thousand_idle_connections_hold_up_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
