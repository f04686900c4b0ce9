/* SPDX-License-Identifier: Apache-2.0 */
/* Ways to an NBD server: addresses, the dialler, TLS with keys and certificates, and URIs that name none */
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/fake/fake_cert.h"
#include "tests/unit/backends/nbd_test.h"

static void refused(const char *text, int rc, const char *want)
{
	struct err err = { "" };
	struct bd *none = NULL;
	int got = open_uri(text, NULL, &none, &err);

	if (got != rc || !strstr(err.text, want))
		fail_msg("%s: %d, '%s'; want %d, '%s'", text, got, err.text, rc, want);
	assert_null(none);
}

static void tcp_reaches_the_server(void **state)
{
	char text[64];

	(void)state;
	need("nbdkit");
	for (unsigned v6 = 0; v6 < 2; v6++) {
		fake_nbd_command(&server, CMD("nbdkit", "-f", "memory", "1M"));
		fake_nbd_start_tcp(&server, v6);
		snprintf(text, sizeof text, "nbd://%s:%u/", v6 ? "[::1]" : "127.0.0.1",
			 server.port);
		assert_int_equal(open_uri(text, NULL, &dev, NULL), 0);
		assert_int_equal(bd_write(dev, buf, 65536, 0, 0), 0);
		bd_close(take_ptr(&dev));
		fake_nbd_kill(&server);
		close(take_fd(&server.listener));
	}
}

static _Atomic unsigned dials;

/* Connects to the unix socket, whatever is asked for. */
static int dial(void *arg, const struct be_dial *want, struct err *err)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_string_equal(want->host, "far.example");
	assert_int_equal(want->port, BDN_PORT);
	assert_ptr_equal(arg, &server);
	strcpy(sa.sun_path, server.socket);
	if (fd < 0 || connect(fd, (struct sockaddr *)&sa, sizeof sa)) {
		int rc = -errno;

		if (fd >= 0)
			close(fd);
		return err_set(err, rc, "the dialler cannot");
	}
	atomic_fetch_add(&dials, 1);
	return fd;
}

static void connections_are_made_by_the_dialler(void **state)
{
	const struct bd_env env = { .dial = dial, .dial_arg = &server };
	struct err err = { "" };

	(void)state;
	atomic_store(&dials, 0);
	assert_int_equal(open_uri("nbd://far.example/", &env, &dev, &err), -ENOENT);
	assert_non_null(strstr(err.text, "the dialler cannot"));
	start(NBDKIT("memory", "1M"));
	assert_int_equal(open_uri("nbd://far.example/?connections=2", &env, &dev, NULL), 0);
	assert_int_equal(atomic_load(&dials), 2);
	assert_int_equal(bd_write(dev, buf, 65536, 0, 0), 0);
	/* What the dialler cannot do is said. */
	assert_int_equal(try_open("", &env, &err), -ENOTSUP);
	assert_non_null(strstr(err.text, "socket="));
}

static const struct bd_env quick = { .settle_ms = 5 };

static int open_psk(const char *user, const char *file, struct err *err)
{
	char text[400];

	snprintf(text, sizeof text,
		 "nbds+unix:///?socket=%s&tls_psk=%s/%s&tls_username=%s&connections=1",
		 server.socket, server.dir, file, user);
	return open_uri(text, &quick, &dev, err);
}

static void tls_with_a_key(void **state)
{
	struct err err = { "" };
	struct job *jobs = calloc(64, sizeof *jobs);

	(void)state;
	assert_non_null(jobs);
	write_file("psk", "alice:0123456789abcdef0123456789abcdef\n");
	write_file("wrong", "alice:ffffffffffffffff0123456789abcdef\n");
	start(NBDKIT("--tls=require", "--tls-psk=%s/psk", "memory", "8M"));
	assert_int_not_equal(try_open("", NULL, &err), 0); /* without TLS */
	assert_int_not_equal(open_psk("alice", "wrong", &err), 0);
	assert_int_not_equal(open_psk("bob", "psk", &err), 0);
	assert_int_equal(open_psk("alice", "absent", &err), -ENOENT);
	assert_non_null(strstr(err.text, "tls_psk="));
	assert_int_equal(open_psk("alice", "psk", NULL), 0);
	fill(buf, MIB, 5);
	assert_int_equal(bd_write(dev, buf, MIB, 0, 0), 0);
	/* Answers that share a record must not wait for more to come. */
	for (unsigned i = 0; i < 64; i++) {
		jobs[i].iov[0] = (struct iovec){ buf + MIB + (size_t)i * 512, 512 };
		jobs[i].rq.niov = 1;
		assert_int_equal(job_start(&jobs[i], BD_READ, (uint64_t)i * 512, 512), 0);
	}
	for (unsigned i = 0; i < 64; i++)
		assert_int_equal(job_end(&jobs[i]), 0);
	assert_memory_equal(buf, buf + MIB, 64 * 512);
	fake_nbd_kill(&server);
	fake_nbd_start(&server);
	assert_int_equal(bd_write(dev, buf, MIB, MIB, BD_FUA), 0);
	free(jobs);
}

static int open_certificates(const char *host, const char *dir, struct err *err)
{
	char text[400];

	snprintf(text, sizeof text, "nbds://%s:%u/?tls_certificates=%s&connections=1", host,
		 server.port, dir);
	return open_uri(text, NULL, &dev, err);
}

static void certificates_are_verified(void **state)
{
	struct fake_cert cert, other;
	struct err err = { "" };
	char empty[128];

	(void)state;
	need("nbdkit");
	fake_cert_make(&cert);
	fake_cert_make(&other);
	write_file("ca-cert.pem", cert.ca);
	write_file("server-cert.pem", cert.cert);
	write_file("server-key.pem", cert.key);
	fake_nbd_command(&server, CMD("nbdkit", "-f", "--tls=require", "--tls-certificates=%s",
				      "memory", "8M"));
	fake_nbd_start_tcp(&server, false);
	assert_int_equal(open_certificates("127.0.0.1", server.dir, &err), 0);
	assert_int_equal(bd_write(dev, buf, 65536, 0, 0), 0);
	bd_close(take_ptr(&dev));
	/* The certificate is of 127.0.0.1. */
	assert_int_not_equal(open_certificates("localhost", server.dir, &err), 0);
	/* Without an authority libnbd would believe anybody. */
	snprintf(empty, sizeof empty, "%s/none", server.dir);
	assert_int_equal(open_certificates("127.0.0.1", empty, &err), -ENOENT);
	assert_non_null(strstr(err.text, "tls_certificates="));
	write_file("ca-cert.pem", other.ca);
	assert_int_not_equal(open_certificates("127.0.0.1", server.dir, &err), 0);
	fake_cert_done(&cert);
	fake_cert_done(&other);
}

static void bad_uris_are_refused(void **state)
{
	static const struct {
		const char *uri;
		int rc;
		const char *text;
	} cases[] = {
		{ "nbd:///disk", -EINVAL, "no host" },
		{ "nbd+unix:///disk", -EINVAL, "socket=/PATH is missing" },
		{ "nbd+unix://host/disk?socket=/x", -EINVAL, "'host'" },
		{ "nbd+unix:///?socket=", -EINVAL, "socket is empty" },
		{ "nbd+unix:///?socket=/"
		  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
		  "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		  -EINVAL, "longer than 107" },
		{ "nbd://host/?socket=/x", -EINVAL, "socket=/x" },
		{ "nbd://host/?connections=0", -EINVAL, "connections=0" },
		{ "nbd://host/?connections=9", -EINVAL, "connections=9" },
		{ "nbd://host/?reply_timeout=x", -EINVAL, "reply_timeout=x" },
		{ "nbd://host/?speed=9", -EINVAL, "'speed'" },
		{ "nbd://host/?tls_psk=/x", -EINVAL, "tls_psk=/x" },
		{ "nbd://host/?tls_username=me", -EINVAL, "tls_username=me" },
		{ "nbds://host/", -EINVAL, "tls_certificates=DIR or tls_psk=FILE" },
		{ "nbds://host/?tls_psk=/x&tls_certificates=/y", -EINVAL, "either" },
		{ "nbds+unix:///?socket=/x&tls_certificates=/y", -ENOTSUP, "tls_psk" },
		{ "nbd+unix:///?socket=/nowhere/at/all", -ENOENT, "/nowhere/at/all" },
	};

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++)
		refused(cases[i].uri, cases[i].rc, cases[i].text);
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(tcp_reaches_the_server), T(connections_are_made_by_the_dialler),
		T(tls_with_a_key),         T(certificates_are_verified),
		T(bad_uris_are_refused),
	};

	if (argc > 1) /* one of them, by name */
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
