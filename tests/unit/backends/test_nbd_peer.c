/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD transport against a server that the test plays itself, and that speaks nonsense at a point of its choice:
 * an error in the end, never a hang */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "backends/block/nbd_impl.h"
#include "common/clock.h"

#define WAIT_MS 20000
#define SIZE (1u << 20)

#define OPTION_MAGIC 0x49484156454f5054ull /* "IHAVEOPT" */
#define OPTION_REPLY 0x0003e889045565a9ull
#define REQUEST_MAGIC 0x25609513u
#define REPLY_MAGIC 0x67446698u
enum { OPT_GO = 7, REP_ACK = 1, REP_INFO = 3, HAS_FLAGS = 1, SEND_FLUSH = 4 };
#define REP_UNSUP 0x80000001u

enum mode {
	GOOD,
	GREETING_NOISE, /* random bytes from the start */
	GREETING_END,
	GREETING_SILENT,
	OPTION_NOISE,
	EXPORT_EMPTY,
	EXPORT_HUGE,
	REPLY_NOISE,    /* random bytes in place of an answer */
	REPLY_STRANGER, /* an answer to nothing */
	REPLY_HALF,     /* half of an answer, then the end */
	REPLY_UNKNOWN,  /* an error that does not exist */
	REPLY_TWICE,
};

static struct {
	enum mode mode;       /* of the first connection, */
	_Atomic unsigned bad; /* and of so many */
	uint32_t seed;
	_Atomic unsigned dials;
	pthread_t threads[64];
	struct bd *dev;
	struct bd_env env;
} t;

/* ---- the server ----------------------------------------------------------- */

struct peer {
	int fd;
	enum mode mode;
	uint32_t luck;
};

static bool get(const struct peer *p, void *buf, size_t len)
{
	return len == 0 || recv(p->fd, buf, len, MSG_WAITALL) == (ssize_t)len;
}

static bool put(const struct peer *p, const void *buf, size_t len)
{
	return send(p->fd, buf, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void noise(struct peer *p)
{
	uint8_t bytes[256];
	size_t n;

	for (size_t i = 0; i < sizeof bytes; i++) {
		p->luck = p->luck * 1664525u + 1013904223u;
		bytes[i] = (uint8_t)(p->luck >> 20);
	}
	n = 1 + bytes[0];
	/* Sometimes the right beginning. */
	if (bytes[1] & 1)
		memcpy(bytes, "NBDMAGICIHAVEOPT", n < 16 ? n : 16);
	put(p, bytes, n < sizeof bytes ? n : sizeof bytes);
}

struct option {
	uint64_t magic;
	uint32_t opt, len;
} __attribute__((packed));

struct option_reply {
	uint64_t magic;
	uint32_t opt, type, len;
} __attribute__((packed));

static bool answer_option(const struct peer *p, uint32_t opt, uint32_t type, uint32_t len)
{
	struct option_reply r = { htobe64(OPTION_REPLY), htobe32(opt), htobe32(type),
				  htobe32(len) };

	return put(p, &r, sizeof r);
}

static bool answer_go(const struct peer *p)
{
	struct {
		uint16_t type;
		uint64_t size;
		uint16_t flags;
	} __attribute__((packed)) info = { 0, htobe64(SIZE), htobe16(HAS_FLAGS | SEND_FLUSH) };

	if (p->mode == EXPORT_EMPTY)
		info.size = 0;
	if (p->mode == EXPORT_HUGE)
		info.size = htobe64(1ull << 62);
	return answer_option(p, OPT_GO, REP_INFO, sizeof info) && put(p, &info, sizeof info) &&
	       answer_option(p, OPT_GO, REP_ACK, 0);
}

/* True: requests come. */
static bool greet(struct peer *p)
{
	static const char hello[] = "NBDMAGICIHAVEOPT\0\3";
	struct option o;
	uint8_t data[8192];
	uint32_t flags;

	if (p->mode == GREETING_NOISE)
		noise(p);
	if (p->mode == GREETING_NOISE || p->mode == GREETING_END)
		return false;
	if (p->mode == GREETING_SILENT)
		return get(p, &flags, sizeof flags) && false;
	if (!put(p, hello, sizeof hello - 1) || !get(p, &flags, sizeof flags))
		return false;
	while (get(p, &o, sizeof o) && be64toh(o.magic) == OPTION_MAGIC &&
	       be32toh(o.len) <= sizeof data && get(p, data, be32toh(o.len))) {
		if (p->mode == OPTION_NOISE) {
			noise(p);
			return false;
		}
		if (be32toh(o.opt) == OPT_GO)
			return answer_go(p);
		if (!answer_option(p, be32toh(o.opt), REP_UNSUP, 0))
			return false;
	}
	return false;
}

struct request {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie, off;
	uint32_t len;
} __attribute__((packed));

struct reply {
	uint32_t magic, error;
	uint64_t cookie;
} __attribute__((packed));

/* A READ's answer has the low byte of its block's number everywhere. */
static bool answer(struct peer *p, const struct request *rq)
{
	struct reply r = { htobe32(REPLY_MAGIC), 0, rq->cookie };
	uint8_t data[4096];
	bool whole = be16toh(rq->type) == 0;

	if (be32toh(rq->len) > sizeof data)
		return false;
	memset(data, (int)(be64toh(rq->off) / 512), sizeof data);
	if (p->mode == REPLY_NOISE) {
		noise(p);
		return true;
	}
	if (p->mode == REPLY_STRANGER)
		r.cookie ^= 0x5555;
	if (p->mode == REPLY_UNKNOWN) {
		r.error = htobe32(9999);
		whole = false;
	}
	if (p->mode == REPLY_HALF)
		return put(p, &r, sizeof r / 2) && false;
	if (!put(p, &r, sizeof r) || (whole && !put(p, data, be32toh(rq->len))))
		return false;
	return p->mode != REPLY_TWICE || put(p, &r, sizeof r);
}

static void *peer_thread(void *arg)
{
	struct peer *p = arg;
	struct request rq;

	if (greet(p))
		while (get(p, &rq, sizeof rq) && be32toh(rq.magic) == REQUEST_MAGIC &&
		       be16toh(rq.type) != 2 && answer(p, &rq))
			;
	close(p->fd);
	free(p);
	return NULL;
}

static int dial(void *arg, const struct be_dial *want, struct err *err)
{
	struct peer *p = malloc(sizeof *p);
	unsigned n = atomic_load(&t.dials);
	int pair[2];

	(void)arg;
	(void)want;
	assert_non_null(p);
	if (n == ARRAY_LEN(t.threads)) {
		free(p);
		return err_set(err, -EMFILE, "too many connections for this test");
	}
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	*p = (struct peer){ .fd = pair[1],
			    .mode = n < atomic_load(&t.bad) ? t.mode : GOOD,
			    .luck = t.seed + n };
	assert_int_equal(pthread_create(&t.threads[n], NULL, peer_thread, p), 0);
	atomic_store(&t.dials, n + 1);
	return pair[0];
}

static int up(void **state)
{
	(void)state;
	memset(&t, 0, sizeof t);
	t.env = (struct bd_env){ .dial = dial, .settle_ms = 1 };
	return 0;
}

static int down(void **state)
{
	(void)state;
	bd_close(t.dev);
	for (unsigned i = 0; i < atomic_load(&t.dials); i++)
		pthread_join(t.threads[i], NULL);
	atomic_store(&clock_skew_ms, 0);
	return 0;
}

static int open_peer(enum mode mode, unsigned bad, struct err *err)
{
	static struct uri uri;

	t.mode = mode;
	atomic_store(&t.bad, bad);
	assert_int_equal(uri_parse("nbd://peer/disk", &uri, NULL), 0);
	return bd_nbd.open(&uri, &t.env, &t.dev, err);
}

/* ---- handshakes ------------------------------------------------------------ */

static void good_server_is_understood(void **state)
{
	uint8_t block[512];

	(void)state;
	assert_int_equal(open_peer(GOOD, 0, NULL), 0);
	assert_int_equal(bd_read(t.dev, block, 512, 7 * 512), 0);
	assert_int_equal(block[511], 7);
	assert_int_equal(bd_flush(t.dev), 0);
}

static void bad_handshakes_are_errors(void **state)
{
	static const enum mode modes[] = { GREETING_END, OPTION_NOISE, EXPORT_EMPTY, EXPORT_HUGE };

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
		struct err err = { "" };

		assert_int_not_equal(open_peer(modes[i], UINT32_MAX, &err), 0);
		assert_non_null(strstr(err.text, "peer"));
		assert_null(t.dev);
	}
}

static void noise_is_an_error(void **state)
{
	(void)state;
	for (t.seed = 1; t.seed <= ARRAY_LEN(t.threads); t.seed++)
		assert_int_not_equal(open_peer(GREETING_NOISE, UINT32_MAX, NULL), 0);
}

static void *impatient(void *arg)
{
	(void)arg;
	for (int ms = 0; ms < WAIT_MS && !atomic_load(&t.dials); ms++)
		poll(NULL, 0, 1);
	atomic_store(&clock_skew_ms, 2 * BDN_CONNECT_MS);
	return NULL;
}

static void silence_is_an_error(void **state)
{
	struct err err = { "" };
	pthread_t thread;

	(void)state;
	assert_int_equal(pthread_create(&thread, NULL, impatient, NULL), 0);
	assert_int_equal(open_peer(GREETING_SILENT, UINT32_MAX, &err), -ETIMEDOUT);
	assert_non_null(strstr(err.text, "no handshake in time"));
	pthread_join(thread, NULL);
}

/* ---- answers --------------------------------------------------------------- */

static void nonsense_again_and_again_fails_the_device(void **state)
{
	static const enum mode modes[] = { REPLY_NOISE, REPLY_STRANGER, REPLY_TWICE };
	uint8_t block[512];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
		assert_int_equal(open_peer(modes[i], UINT32_MAX, NULL), 0);
		/* With REPLY_TWICE it is right the first time. */
		for (unsigned n = 0; n < 100 && !bd_failed(t.dev); n++)
			bd_read(t.dev, block, 512, 0);
		assert_int_equal(bd_failed(t.dev), -EIO);
		assert_int_equal(bd_read(t.dev, block, 512, 0), -EIO);
		bd_close(take_ptr(&t.dev));
	}
}

static void nonsense_once_is_survived(void **state)
{
	static const enum mode modes[] = { REPLY_NOISE, REPLY_STRANGER, REPLY_HALF };
	uint8_t block[512];

	(void)state;
	for (unsigned i = 0; i < ARRAY_LEN(modes); i++) {
		assert_int_equal(open_peer(modes[i], atomic_load(&t.dials) + 2, NULL), 0);
		assert_int_equal(bd_read(t.dev, block, 512, 9 * 512), 0);
		assert_int_equal(block[0], 9);
		assert_int_equal(block[511], 9);
		bd_close(take_ptr(&t.dev));
	}
}

static void unknown_error_is_an_error(void **state)
{
	uint8_t block[512];

	(void)state;
	assert_int_equal(open_peer(REPLY_UNKNOWN, UINT32_MAX, NULL), 0);
	assert_int_equal(bd_read(t.dev, block, 512, 0), -EINVAL);
	assert_int_equal(bd_failed(t.dev), 0);
}

#define T(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(good_server_is_understood),
		T(bad_handshakes_are_errors),
		T(noise_is_an_error),
		T(silence_is_an_error),
		T(nonsense_again_and_again_fails_the_device),
		T(nonsense_once_is_survived),
		T(unknown_error_is_an_error),
	};

	if (argc > 1) /* one of them, by name */
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
