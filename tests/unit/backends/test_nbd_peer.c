/* SPDX-License-Identifier: Apache-2.0 */
/* The NBD transport against a server that the test plays itself, and that speaks nonsense at a point of its choice:
 * an error in the end, never a hang */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <arpa/inet.h>
#include <dlfcn.h>
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
	REPLY_PAIR, /* the first two answers at once */
	REPLY_ONE,  /* and the end */
	HOLD,       /* no answer; the end when t.cut is set */
};

static struct {
	enum mode mode;       /* of the first connection, */
	_Atomic unsigned bad; /* and of so many */
	uint32_t seed;
	_Atomic unsigned dials;
	_Atomic uint64_t cut_ms,
		dial_ms; /* the end by HOLD, and the last dial; on the clock of clock_us() */
	_Atomic unsigned held, resets; /* requests of HOLD; ends that were no peaceful ones */
	_Atomic unsigned ends;         /* connections that the server has closed */
	_Atomic bool cut;
	_Atomic uint64_t order[8]; /* offsets of the first writes to a GOOD server */
	_Atomic unsigned writes;
	bool tcp;
	pthread_t threads[64];
	struct bd *dev;
	struct bd_env env;
} t;

/* ---- the server ----------------------------------------------------------- */

struct peer {
	int fd;
	enum mode mode;
	uint32_t luck;
	uint64_t first; /* request of REPLY_PAIR, not answered */
	bool paired;
};

static uint64_t real_ms(void)
{
	return clock_us() / 1000;
}

static bool get(const struct peer *p, void *buf, size_t len)
{
	ssize_t n = len ? recv(p->fd, buf, len, MSG_WAITALL) : 0;

	if (n < 0 && errno == ECONNRESET)
		atomic_fetch_add(&t.resets, 1);
	return n == (ssize_t)len;
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

/* Says nothing until the test wants the end. */
static bool hold(void)
{
	atomic_fetch_add(&t.held, 1);
	for (int ms = 0; ms < WAIT_MS && !atomic_load(&t.cut); ms++)
		poll(NULL, 0, 1);
	atomic_store(&t.cut_ms, real_ms());
	return false;
}

static void note_write(uint64_t off)
{
	unsigned n = atomic_fetch_add(&t.writes, 1);

	if (n < ARRAY_LEN(t.order))
		atomic_store(&t.order[n], off);
}

/* The bytes of a WRITE are of no interest. */
static bool get_payload(const struct peer *p, const struct request *rq)
{
	uint8_t data[4096];
	uint32_t len = be16toh(rq->type) == 1 ? be32toh(rq->len) : 0;

	return len <= sizeof data && get(p, data, len);
}

/* Two answers in one piece, in the order of the requests. */
static bool answer_pair(struct peer *p, const struct request *rq)
{
	struct reply r[2] = { { htobe32(REPLY_MAGIC), 0, p->first },
			      { htobe32(REPLY_MAGIC), 0, rq->cookie } };
	bool is_second = p->paired;

	p->first = rq->cookie;
	p->paired = true;
	if (!is_second)
		return true;
	p->mode = GOOD;
	return put(p, r, sizeof r);
}

/* A READ's answer has the low byte of its block's number everywhere. */
static bool answer(struct peer *p, const struct request *rq)
{
	struct reply r = { htobe32(REPLY_MAGIC), 0, rq->cookie };
	uint8_t data[4096];
	bool whole = be16toh(rq->type) == 0;

	if (be32toh(rq->len) > sizeof data || !get_payload(p, rq))
		return false;
	if (p->mode == HOLD)
		return hold();
	if (p->mode == REPLY_PAIR)
		return answer_pair(p, rq);
	if (p->mode == GOOD && be16toh(rq->type) == 1)
		note_write(be64toh(rq->off));
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
	if (p->mode == REPLY_ONE)
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
	atomic_fetch_add(&t.ends, 1);
	free(p);
	return NULL;
}

/* As socketpair(), of TCP. */
static void tcp_pair(int pair[2])
{
	struct sockaddr_in at = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof at;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
	pair[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(connect(pair[0], (struct sockaddr *)&at, sizeof at), 0);
	pair[1] = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	assert_true(pair[1] >= 0);
	close(fd);
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
	if (t.tcp)
		tcp_pair(pair);
	else
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	atomic_store(&t.dial_ms, real_ms());
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
	atomic_store(&t.cut, true);
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

/* ---- the end of a connection ------------------------------------------------- */

enum { SETTLE_MS = 200, COARSE_MS = 20 };

struct job {
	struct bd_req rq;
	struct iovec iov[2];
	_Atomic bool over;
};

static void job_done(struct bd_req *rq)
{
	atomic_store(&((struct job *)rq->arg)->over, true);
}

/* In pieces that do not touch, when there are two. */
static void job_write(struct job *j, uint64_t off, unsigned pieces, void (*done)(struct bd_req *rq))
{
	static uint8_t bytes[3][1024];

	*j = (struct job){ .iov = { { bytes[0], 1024 }, { bytes[2], 1024 } } };
	j->rq = (struct bd_req){ .op = BD_WRITE,
				 .off = off,
				 .len = pieces * 1024ull,
				 .iov = j->iov,
				 .niov = pieces,
				 .done = done,
				 .arg = j };
	assert_int_equal(bd_submit(t.dev, &j->rq), 0);
}

#define WAIT_FOR(cond)                                             \
	do {                                                       \
		for (int ms_ = 0; ms_ < WAIT_MS && !(cond); ms_++) \
			poll(NULL, 0, 1);                          \
		assert_true(cond);                                 \
	} while (0)

static int job_end(struct job *j)
{
	WAIT_FOR(atomic_load(&j->over));
	return j->rq.result;
}

static struct bdn_dev *device(void)
{
	return CONTAINER_OF(t.dev, struct bdn_dev, bd);
}

static bool is_paused(void)
{
	struct bd_counts c;

	bd_counts(t.dev, &c);
	return c.paused;
}

static void *resize(void *arg)
{
	*(int *)arg = bd_resize(t.dev);
	return NULL;
}

/* The device waits for what is in flight before it looks at the size; what then has no answer may still be on its
 * way to the disk. */
static void loss_while_looking_at_the_size_is_settled(void **state)
{
	struct job j;
	pthread_t thread;
	int rc = -1;

	(void)state;
	t.env.settle_ms = SETTLE_MS;
	assert_int_equal(open_peer(HOLD, 1, NULL), 0);
	job_write(&j, 0, 1, job_done);
	WAIT_FOR(atomic_load(&t.held));
	assert_int_equal(pthread_create(&thread, NULL, resize, &rc), 0);
	WAIT_FOR(is_paused());
	atomic_store(&t.cut, true);
	pthread_join(thread, NULL);
	assert_int_equal(rc, 0);
	assert_int_equal(job_end(&j), 0);
	assert_int_equal(atomic_load(&t.dials), 2);
	assert_true(atomic_load(&t.dial_ms) + COARSE_MS >= atomic_load(&t.cut_ms) + SETTLE_MS);
}

/* libnbd has closed its socket by itself then. */
static void dead_connection_is_reset(void **state)
{
	(void)state;
	t.tcp = true;
	assert_int_equal(open_peer(REPLY_STRANGER, 1, NULL), 0);
	assert_int_equal(bd_flush(t.dev), 0);
	assert_int_equal(atomic_load(&t.dials), 2);
	WAIT_FOR(atomic_load(&t.resets) == 1);
}

static _Atomic bool held_up, go;

static void hold_up(struct bd_req *rq)
{
	atomic_store(&held_up, true);
	for (int ms = 0; ms < WAIT_MS && !atomic_load(&go); ms++)
		poll(NULL, 0, 1);
	job_done(rq);
}

/* The server is back before the device's thread has noticed anything: what comes in between goes nowhere, and then
 * behind what is kept. */
static void kept_writes_come_before_new_ones(void **state)
{
	struct job kept, later;

	(void)state;
	assert_int_equal(open_peer(REPLY_ONE, 1, NULL), 0);
	job_write(&kept, 0, 1, hold_up);
	WAIT_FOR(atomic_load(&held_up) && atomic_load(&t.ends) == 1);
	job_write(&later, 4096, 1, job_done);
	assert_int_equal(atomic_load(&t.dials), 1);
	assert_false(atomic_load(&later.over));
	atomic_store(&go, true);
	assert_int_equal(job_end(&kept), 0);
	assert_int_equal(job_end(&later), 0);
	assert_int_equal(atomic_load(&t.dials), 2);
	assert_int_equal(atomic_load(&t.writes), 2);
	assert_int_equal(atomic_load(&t.order[0]), 0);
	assert_int_equal(atomic_load(&t.order[1]), 4096);
}

/* ---- room for copies --------------------------------------------------------- */

static struct job late;

static void submit_late(struct bd_req *rq)
{
	job_write(&late, 8192, 2, job_done);
	job_done(rq);
}

/* It comes between two answers of one batch, and the second makes the room that it waits for. */
static void late_request_for_room_is_started(void **state)
{
	struct job a, b;
	struct bdn_dev *d;

	(void)state;
	assert_int_equal(open_peer(REPLY_PAIR, 1, NULL), 0);
	d = device();
	/* Room for one. */
	mutex_lock(&d->lock);
	d->bounce_bytes += BDN_BOUNCE_MAX - 2048;
	mutex_unlock(&d->lock);
	job_write(&a, 0, 1, submit_late);
	job_write(&b, 4096, 2, job_done);
	assert_int_equal(job_end(&a), 0);
	assert_int_equal(job_end(&b), 0);
	assert_int_equal(job_end(&late), 0);
	mutex_lock(&d->lock);
	d->bounce_bytes -= BDN_BOUNCE_MAX - 2048;
	assert_int_equal(d->bounce_bytes, 0);
	mutex_unlock(&d->lock);
}

/* ---- refused by libnbd itself ------------------------------------------------ */

/* The next write of this thread is refused when the device is DOWN. */
static _Thread_local bool refuse, refused;
static _Atomic bool refusing;

int64_t nbd_aio_pwrite(struct nbd_handle *h, const void *buf, size_t len, uint64_t off,
		       nbd_completion_callback cb, uint32_t flags)
{
	__typeof__(nbd_aio_pwrite) *real =
		(__typeof__(nbd_aio_pwrite) *)dlsym(RTLD_NEXT, "nbd_aio_pwrite");
	struct bdn_dev *d;
	bool down = false;

	if (!refuse)
		return real(h, buf, len, off, cb, flags);
	refuse = false;
	refused = true;
	d = device();
	atomic_store(&refusing, true);
	for (int ms = 0; ms < WAIT_MS && !down; ms++) {
		mutex_lock(&d->lock);
		down = d->state == BDN_DOWN;
		mutex_unlock(&d->lock);
		poll(NULL, 0, 1);
	}
	assert_true(down);
	return -1;
}

int nbd_get_errno(void)
{
	int (*real)(void) = (int (*)(void))dlsym(RTLD_NEXT, "nbd_get_errno");

	return refused ? ENOMEM : real();
}

static void *refused_write(void *arg)
{
	uint8_t block[512] = { 0 };

	refuse = true;
	*(int *)arg = bd_write(t.dev, block, sizeof block, 8192, 0);
	return NULL;
}

/* The device goes down for a silence while a request is on its way in; it is refused, and ends so. */
static void refusal_while_connecting_again_is_an_answer(void **state)
{
	struct job j;
	pthread_t thread;
	int rc = 0;

	(void)state;
	assert_int_equal(open_peer(HOLD, 1, NULL), 0);
	job_write(&j, 0, 1, job_done);
	WAIT_FOR(atomic_load(&t.held));
	assert_int_equal(pthread_create(&thread, NULL, refused_write, &rc), 0);
	WAIT_FOR(atomic_load(&refusing));
	atomic_store(&clock_skew_ms, 3 * BDN_REPLY_S * 1000ull);
	bdn_wake(device());
	pthread_join(thread, NULL);
	assert_int_equal(rc, -ENOMEM);
	assert_int_equal(job_end(&j), 0);
	assert_int_equal(bd_failed(t.dev), 0);
	assert_int_equal(bd_flush(t.dev), 0);
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
		T(loss_while_looking_at_the_size_is_settled),
		T(dead_connection_is_reset),
		T(kept_writes_come_before_new_ones),
		T(late_request_for_room_is_started),
		T(refusal_while_connecting_again_is_an_answer),
	};

	if (argc > 1) /* one of them, by name */
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
