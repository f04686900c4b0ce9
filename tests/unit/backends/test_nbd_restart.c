/* SPDX-License-Identifier: Apache-2.0 */
/* NBD servers that die, come back, come back as something else, or not at all. The server's cache is lost with it
 * (tests/nbd/powercut.c), so what was answered and not flushed has to come again. */
#include <pthread.h>

#include "tests/unit/backends/nbd_test.h"

enum {
	BLOCK = 4096,
	GAP = 512, /* between the buffers of two blocks: they do not touch */
	SLOTS = 24,
	SYNC_THREADS = 2, /* submitters that are no thread of the device */
	REGION = 32,      /* blocks of a slot, which nobody else touches */
	RUN = 8,          /* blocks of one request at most */
	SIZE = (SLOTS + SYNC_THREADS) * REGION * BLOCK,
	RESTARTS = 20,
	PROGRESS = 300, /* requests between two restarts */
};

static const struct bd_env quick = { .settle_ms = 5 };

static void start_powercut(const char *seed)
{
	const char *plugin = fake_nbd_powercut();
	char size[32];

	if (!plugin) {
		print_message("skipped: no power-cut plugin (make test-tools)\n");
		skip();
	}
	snprintf(size, sizeof size, "size=%d", SIZE);
	start(NBDKIT(plugin, "file=%s/image", size, seed));
}

static struct bd_counts counts(void)
{
	struct bd_counts c;

	bd_counts(dev, &c);
	return c;
}

#define WAIT_FOR(cond)                                  \
	do {                                            \
		uint64_t until_ = clock_ms() + WAIT_MS; \
		while (!(cond) && clock_ms() < until_)  \
			poll(NULL, 0, 1);               \
		assert_true(cond);                      \
	} while (0)

/* ---- a load that knows what every block holds ---------------------------- */

struct slot {
	struct bd_req rq;
	struct iovec iov[RUN];
	uint8_t *mem;
	uint32_t gen[REGION]; /* 0: zeros */
	unsigned base, at, n; /* blocks: of the region; of the request, within */
	uint32_t luck, last_gen;
	_Atomic bool idle;
};

static struct slot slots[SLOTS + SYNC_THREADS];
static _Atomic bool stop;
static _Atomic unsigned answers, errors, wrong;

static unsigned roll(struct slot *s, unsigned n)
{
	s->luck = s->luck * 1664525u + 1013904223u;
	return (s->luck >> 8) % n;
}

static void pattern(uint64_t *to, unsigned block, uint32_t gen)
{
	uint64_t v = ((uint64_t)block << 32 | gen) * 0x9e3779b97f4a7c15ull;

	for (unsigned i = 0; i < BLOCK / sizeof *to; i++)
		to[i] = gen ? v + i : 0;
}

static bool holds(const void *mem, unsigned block, uint32_t gen)
{
	uint64_t want[BLOCK / sizeof(uint64_t)];

	pattern(want, block, gen);
	return !memcmp(mem, want, BLOCK);
}

static void *block_mem(const struct slot *s, unsigned i)
{
	return s->mem + (size_t)i * (BLOCK + GAP);
}

static void choose(struct slot *s, unsigned run)
{
	unsigned what = roll(s, 100);

	s->at = roll(s, REGION);
	s->n = 1 + roll(s, run < REGION - s->at ? run : REGION - s->at);
	s->rq.op = what < 45 ? BD_WRITE : what < 85 ? BD_READ : what < 94 ? BD_ZERO : BD_FLUSH;
	s->rq.flags = s->rq.op == BD_WRITE && !roll(s, 8) ? BD_FUA : 0;
	if (s->rq.op == BD_ZERO)
		s->rq.flags = roll(s, 2) ? BD_UNMAP : 0;
	s->rq.off = (uint64_t)(s->base + s->at) * BLOCK;
	s->rq.len = (uint64_t)s->n * BLOCK;
	s->rq.iov = s->iov;
	s->rq.niov = s->rq.op == BD_READ || s->rq.op == BD_WRITE ? s->n : 0;
	if (s->rq.op == BD_FLUSH)
		s->rq.off = s->rq.len = 0;
	for (unsigned i = 0; i < s->n; i++) {
		s->iov[i] = (struct iovec){ block_mem(s, i), BLOCK };
		if (s->rq.op == BD_WRITE) {
			s->gen[s->at + i] = ++s->last_gen;
			pattern(block_mem(s, i), s->base + s->at + i, s->last_gen);
		} else if (s->rq.op == BD_ZERO) {
			s->gen[s->at + i] = 0;
		}
	}
}

static void judge(const struct slot *s, int result)
{
	if (result)
		atomic_fetch_add(&errors, 1);
	for (unsigned i = 0; !result && s->rq.op == BD_READ && i < s->n; i++)
		if (!holds(block_mem(s, i), s->base + s->at + i, s->gen[s->at + i]))
			atomic_fetch_add(&wrong, 1);
	atomic_fetch_add(&answers, 1);
}

static void slot_next(struct slot *s);

static void slot_done(struct bd_req *rq)
{
	struct slot *s = rq->arg;

	judge(s, rq->result);
	if (atomic_load(&stop) || rq->result)
		atomic_store(&s->idle, true);
	else
		slot_next(s);
}

static void slot_next(struct slot *s)
{
	choose(s, RUN);
	s->rq.done = slot_done;
	s->rq.arg = s;
	if (bd_submit(dev, &s->rq)) {
		atomic_fetch_add(&errors, 1);
		atomic_store(&s->idle, true);
	}
}

static int slot_sync(struct slot *s)
{
	choose(s, 1);
	switch (s->rq.op) {
	case BD_READ:
		return bd_read(dev, block_mem(s, 0), BLOCK, s->rq.off);
	case BD_WRITE:
		return bd_write(dev, block_mem(s, 0), BLOCK, s->rq.off, s->rq.flags);
	case BD_ZERO:
		return bd_zero(dev, s->rq.off, BLOCK, s->rq.flags);
	default:
		return bd_flush(dev);
	}
}

static void *sync_thread(void *arg)
{
	struct slot *s = arg;
	int rc = 0;

	while (!atomic_load(&stop) && !rc) {
		rc = slot_sync(s);
		judge(s, rc);
	}
	return NULL;
}

static pthread_t threads[SYNC_THREADS];

static void load_start(uint32_t seed)
{
	atomic_store(&stop, false);
	atomic_store(&answers, 0);
	atomic_store(&errors, 0);
	atomic_store(&wrong, 0);
	for (unsigned i = 0; i < SLOTS + SYNC_THREADS; i++) {
		struct slot *s = &slots[i];

		memset(s, 0, sizeof *s);
		s->base = i * REGION;
		s->luck = seed + i;
		s->mem = calloc(RUN, BLOCK + GAP);
		assert_non_null(s->mem);
	}
	for (unsigned i = 0; i < SLOTS; i++)
		slot_next(&slots[i]);
	for (unsigned i = 0; i < SYNC_THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, sync_thread, &slots[SLOTS + i]),
				 0);
}

static void load_stop(void)
{
	atomic_store(&stop, true);
	for (unsigned i = 0; i < SLOTS; i++)
		WAIT_FOR(atomic_load(&slots[i].idle));
	for (unsigned i = 0; i < SYNC_THREADS; i++)
		pthread_join(threads[i], NULL);
}

/* More requests are answered, or something is wrong already. */
static void progress(unsigned n)
{
	unsigned from = atomic_load(&answers);

	WAIT_FOR(atomic_load(&answers) - from >= n || atomic_load(&errors) || atomic_load(&wrong));
	assert_int_equal(atomic_load(&errors), 0);
	assert_int_equal(atomic_load(&wrong), 0);
}

/* What the file behind the server has, without the server. */
static void file_holds_all(void)
{
	uint8_t block[BLOCK];
	char path[96];
	int fd;

	snprintf(path, sizeof path, "%s/image", server.dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	for (unsigned i = 0; i < SLOTS + SYNC_THREADS; i++)
		for (unsigned b = 0; b < REGION; b++) {
			unsigned at = slots[i].base + b;

			assert_int_equal(pread(fd, block, BLOCK, (off_t)at * BLOCK), BLOCK);
			if (!holds(block, at, slots[i].gen[b]))
				fail_msg("block %u is not of generation %u", at, slots[i].gen[b]);
		}
	close(fd);
}

static void load_free(void)
{
	for (unsigned i = 0; i < SLOTS + SYNC_THREADS; i++) {
		free(slots[i].mem);
		slots[i].mem = NULL;
	}
}

/* Every death of the server loses what it had not flushed; nobody above notices. */
static void restarts_lose_nothing(const char *seed, const char *more)
{
	start_powercut(seed);
	opened(more, &quick);
	load_start(1);
	for (unsigned i = 0; i < RESTARTS; i++) {
		progress(PROGRESS);
		fake_nbd_kill(&server);
		/* Sometimes it is away for a while: until a connection was refused. */
		if (i % 4 == 0)
			WAIT_FOR(counts().paused);
		fake_nbd_start(&server);
	}
	progress(PROGRESS);
	load_stop();
	assert_int_equal(atomic_load(&errors), 0);
	assert_int_equal(atomic_load(&wrong), 0);
	assert_int_equal(bd_flush(dev), 0);
	assert_int_equal(bd_failed(dev), 0);
	assert_true(counts().reconnects >= RESTARTS);
	assert_true(counts().resent > 0);
	fake_nbd_kill(&server);
	file_holds_all();
	load_free();
}

static void restarts_lose_nothing_all_dropped(void **state)
{
	(void)state;
	restarts_lose_nothing("seed=0", "");
}

static void restarts_lose_nothing_some_torn(void **state)
{
	(void)state;
	restarts_lose_nothing("seed=42", "&connections=1");
}

/* Nobody asks for anything, and still what was answered comes again. */
static void idle_device_sends_again_what_was_not_flushed(void **state)
{
	uint8_t block[BLOCK], got[BLOCK];
	char path[96];
	int fd;

	(void)state;
	start_powercut("seed=0");
	opened("", &quick);
	pattern((uint64_t *)(void *)block, 5, 7);
	assert_int_equal(bd_write(dev, block, BLOCK, 5 * BLOCK, 0), 0);
	fake_nbd_kill(&server);
	fake_nbd_start(&server);
	WAIT_FOR(counts().reconnects == 1 && counts().in_flight == 0);
	assert_int_equal(counts().resent, 1);
	assert_int_equal(bd_flush(dev), 0);
	fake_nbd_kill(&server);
	snprintf(path, sizeof path, "%s/image", server.dir);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, got, BLOCK, 5 * BLOCK), BLOCK);
	close(fd);
	assert_memory_equal(block, got, BLOCK);
}

/* ---- it does not come back, or as another --------------------------------- */

static void server_that_stays_away_fails_the_device(void **state)
{
	const struct bd_env env = { .settle_ms = 5, .timeout_ms = 300 };
	uint8_t block[BLOCK] = { 1 };
	uint64_t from;

	(void)state;
	start(NBDKIT("memory", "1M"));
	opened("", &env);
	assert_int_equal(bd_write(dev, block, BLOCK, 0, 0), 0);
	fake_nbd_kill(&server);
	from = clock_ms();
	assert_int_equal(bd_write(dev, block, BLOCK, 0, 0), -ETIMEDOUT);
	assert_in_range(clock_ms() - from, 250, 10000);
	assert_int_equal(bd_failed(dev), -ETIMEDOUT);
	assert_int_equal(bd_write(dev, block, BLOCK, 0, 0), -ETIMEDOUT);
	assert_int_equal(bd_flush(dev), -ETIMEDOUT);
	/* Reads may go on. */
	fake_nbd_start(&server);
	WAIT_FOR(bd_read(dev, block, BLOCK, 0) == 0);
}

static void server_back_in_time_is_not_noticed(void **state)
{
	const struct bd_env env = { .settle_ms = 5, .timeout_ms = 20000 };
	uint8_t block[BLOCK] = { 1 };

	(void)state;
	start(NBDKIT("memory", "1M"));
	opened("", &env);
	fake_nbd_kill(&server);
	WAIT_FOR(counts().paused);
	fake_nbd_start(&server);
	assert_int_equal(bd_write(dev, block, BLOCK, 0, 0), 0);
	assert_int_equal(bd_flush(dev), 0);
	assert_int_equal(bd_failed(dev), 0);
}

static void comes_back_as(const char *const *argv, int rc)
{
	uint8_t block[BLOCK] = { 1 };

	opened("", &quick);
	assert_int_equal(bd_write(dev, block, BLOCK, 0, 0), 0);
	fake_nbd_kill(&server);
	start(argv);
	WAIT_FOR(bd_failed(dev));
	assert_int_equal(bd_failed(dev), rc);
	assert_int_equal(bd_write(dev, block, BLOCK, 0, 0), rc);
	assert_int_equal(bd_read(dev, block, BLOCK, 0), rc);
	bd_close(take_ptr(&dev));
	fake_nbd_kill(&server);
}

static void another_export_is_refused(void **state)
{
	(void)state;
	start(NBDKIT("memory", "1M"));
	comes_back_as(NBDKIT("memory", "512K"), -ENODEV);
	start(NBDKIT("memory", "1M"));
	comes_back_as(NBDKIT("-r", "memory", "1M"), -EROFS);
	start(NBDKIT("memory", "1M"));
	comes_back_as(NBDKIT("--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=4096",
			     "blocksize-preferred=4096", "blocksize-maximum=1M"),
		      -ENODEV);
	start(NBDKIT("memory", "1M"));
	comes_back_as(NBDKIT("--filter=blocksize-policy", "memory", "1M", "blocksize-minimum=512",
			     "blocksize-preferred=4096", "blocksize-maximum=65536"),
		      -ENODEV);
	start(NBDKIT("memory", "1M"));
	comes_back_as(NBDKIT("--filter=fua", "memory", "1M"), -ENODEV);
	start(NBDKIT("memory", "1M"));
	comes_back_as(NBDKIT("eval", "get_size=echo 1M", "pread=exit 1", "can_write=exit 0",
			     "can_flush=exit 3", "can_fua=echo none", "pwrite=exit 0"),
		      -ENODEV);
}

static void larger_export_is_the_same(void **state)
{
	uint8_t block[BLOCK] = { 1 };

	(void)state;
	start(NBDKIT("memory", "1M"));
	opened("", &quick);
	fake_nbd_kill(&server);
	start(NBDKIT("memory", "2M"));
	assert_int_equal(bd_write(dev, block, BLOCK, 0, 0), 0);
	assert_int_equal(bd_resize(dev), 0);
	assert_int_equal(atomic_load(&dev->size), 2 * MIB);
}

static void close_does_not_wait_for_a_server_that_is_away(void **state)
{
	uint8_t block[BLOCK] = { 1 };
	uint64_t from;

	(void)state;
	start(NBDKIT("memory", "1M"));
	opened("", &quick);
	assert_int_equal(bd_write(dev, block, BLOCK, 0, 0), 0);
	fake_nbd_kill(&server);
	WAIT_FOR(counts().paused);
	from = clock_ms();
	bd_close(take_ptr(&dev));
	assert_true(clock_ms() - from < 5000);
}

/* A server that says that it is about to end has not answered. */
static void shutting_down_is_no_answer(void **state)
{
	uint8_t block[BLOCK] = { 1 };
	char trigger[96];
	int fd;

	(void)state;
	snprintf(trigger, sizeof trigger, "%s/trigger", server.dir);
	start(NBDKIT("--filter=error", "memory", "1M", "error=ESHUTDOWN", "error-rate=0%",
		     "error-pwrite-rate=100%", "error-pwrite-file=%s/trigger"));
	opened("", &quick);
	fd = open(trigger, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	{
		struct iovec iov = { block, BLOCK };
		struct slot s = { .rq = { .op = BD_WRITE,
					  .len = BLOCK,
					  .iov = &iov,
					  .niov = 1,
					  .done = slot_done,
					  .arg = &s } };

		atomic_store(&stop, true);
		atomic_store(&errors, 0);
		assert_int_equal(bd_submit(dev, &s.rq), 0);
		WAIT_FOR(counts().reconnects >= 2);
		assert_false(atomic_load(&s.idle));
		assert_int_equal(unlink(trigger), 0);
		WAIT_FOR(atomic_load(&s.idle));
		assert_int_equal(s.rq.result, 0);
	}
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		T(restarts_lose_nothing_all_dropped),
		T(restarts_lose_nothing_some_torn),
		T(idle_device_sends_again_what_was_not_flushed),
		T(server_that_stays_away_fails_the_device),
		T(server_back_in_time_is_not_noticed),
		T(another_export_is_refused),
		T(larger_export_is_the_same),
		T(close_does_not_wait_for_a_server_that_is_away),
		T(shutting_down_is_no_answer),
	};

	if (argc > 1) /* one of them, by name */
		cmocka_set_test_filter(argv[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
