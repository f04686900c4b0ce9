/* SPDX-License-Identifier: Apache-2.0 */
/* The record layer writes what happened, in the order that layer_record.c promises (R1 to R5), and record_load() reads it. The
 * tests take the log apart by themselves, as text: W sector+sectors=byte, a FUA write with !, D discard, F flush,
 * M(mark), ~n may have overtaken n flushes, - an entry that says nothing. */
#include "tests/unit/backends/device_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "backends/block/layers.h"
#include "backends/block/record.h"

static struct {
	struct bd *dev; /* the record layer */
	struct fake_device *f;
	int log; /* a second descriptor of the log */
	char text[4096];
} t;

/* ---- the log as text ------------------------------------------------------- */

static uint64_t le64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

static void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void say(const char *fmt, ...)
{
	size_t at = strlen(t.text);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(t.text + at, sizeof t.text - at, fmt, ap);
	va_end(ap);
}

static void say_entry(uint64_t sector, uint64_t n, uint64_t flags, uint64_t data_len,
		      const uint8_t *data)
{
	say("%s", t.text[0] ? " " : "");
	if (flags & 8)
		say("M(%.*s)", (int)data_len, (const char *)data);
	else if (flags & 1)
		say("F");
	else if (flags & 4)
		say("D%d+%d", (int)sector, (int)n);
	else if (n)
		say("W%d+%d=%02x%s", (int)sector, (int)n, data[0], flags & 2 ? "!" : "");
	else
		say("-");
	if (data_len && !(flags & 8))
		say("~%d", (int)data_len);
	if (data && !(flags & 8))
		assert_true(all_are(data, n * 512, data[0]));
}

/* Reads the bytes of the log, and nothing of ours. */
static const char *log_text(void)
{
	struct stat st;
	uint64_t sector, entries, at;
	uint8_t *p;

	t.text[0] = '\0';
	assert_int_equal(fstat(t.log, &st), 0);
	p = malloc((size_t)st.st_size);
	assert_int_equal(pread(t.log, p, (size_t)st.st_size, 0), st.st_size);
	assert_int_equal(le64(p), 0x6a736677736872ULL);
	assert_int_equal(le64(p + 8), 1);
	entries = le64(p + 16);
	sector = le64(p + 24) & 0xffffffff;
	assert_int_equal(sector, t.dev->limits.block);
	at = sector;
	for (uint64_t i = 0; i < entries; i++) {
		const uint8_t *e = p + at;
		uint64_t n = le64(e + 8), flags = le64(e + 16);
		bool has_data = n && !(flags & 4);

		assert_in_range(at + sector, 0, (uint64_t)st.st_size);
		say_entry(le64(e), n, flags, le64(e + 24),
			  flags & 8 ? e + 32 :
			  has_data  ? e + sector :
				      NULL);
		at += sector + (has_data ? (n * 512 + sector - 1) / sector * sector : 0);
	}
	assert_int_equal(at, st.st_size);
	free(p);
	return t.text;
}

/* The same by record_load(), which leaves out what says nothing. */
static const char *loaded_text(void)
{
	struct record_log log;
	struct err err = { "" };
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", t.log);
	if (record_load(path, &log, &err))
		fail_msg("%s", err.text);
	t.text[0] = '\0';
	for (unsigned i = 0; i < log.n; i++)
		say_entry(log.items[i].e.sector, log.items[i].e.nr_sectors, log.items[i].e.flags,
			  log.items[i].e.data_len, log.items[i].data);
	record_unload(&log);
	return t.text;
}

/* ---- devices ---------------------------------------------------------------- */

static void open_above(struct bd *below)
{
	struct err err = { "" };
	int fd = memfd_create("log", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	t.log = dup(fd);
	assert_true(t.log >= 0);
	if (bd_record_open(below, fd, &t.dev, &err))
		fail_msg("%s", err.text);
}

static void open_with(const struct fake_device_conf *conf)
{
	open_above(fake_device_open(conf, NULL, &t.f));
}

static int up(void **state)
{
	static const struct fake_device_conf conf = {
		.limits = { .fua = true, .max_discard = 1u << 20, .max_zero = 8u << 20 },
		.size = 16u << 20,
	};

	(void)state;
	open_with(&conf);
	return 0;
}

static int down(void **state)
{
	(void)state;
	bd_close(t.dev);
	close(t.log);
	return 0;
}

static struct treq *write_at(uint64_t sector, int fill)
{
	return treq_submit(t.dev, BD_WRITE, 0, sector * 512, 512, fill);
}

static struct treq *flush(void)
{
	return treq_submit(t.dev, BD_FLUSH, 0, 0, 0, 0);
}

/* The device answers its i-th request, which is rq's. */
static void answer(unsigned i, struct treq *rq)
{
	fake_device_release(t.f, i);
	assert_int_equal(treq_end(rq), 0);
}

static int write_now(uint64_t sector, int fill)
{
	return treq_end(write_at(sector, fill));
}

/* ---- what is written ----------------------------------------------------------- */

static void each_request_has_its_entry(void **state)
{
	uint8_t buf[1024];

	(void)state;
	memset(buf, 0xaa, sizeof buf);
	assert_int_equal(bd_write(t.dev, buf, 1024, 512, 0), 0);
	assert_int_equal(bd_write(t.dev, buf, 512, 0, BD_FUA), 0);
	assert_int_equal(bd_read(t.dev, buf, 512, 0), 0);
	assert_int_equal(bd_discard(t.dev, 8192, 4096), 0);
	assert_int_equal(bd_zero(t.dev, 4096, 4096, 0), 0);
	assert_int_equal(bd_flush(t.dev), 0);
	assert_int_equal(bd_record_mark(t.dev, "all is well"), 0);
	assert_int_equal(bd_record_mark(t.dev, ""), 0);
	assert_int_equal(write_now(3, 0xbb), 0);
	assert_string_equal(log_text(),
			    "W1+2=aa W0+1=aa! D16+8 W8+8=00 F M(all is well) M() W3+1=bb");
	assert_string_equal(loaded_text(),
			    "W1+2=aa W0+1=aa! D16+8 W8+8=00 F M(all is well) M() W3+1=bb");
}

static void pieces_of_memory_are_one_entry(void **state)
{
	struct treq *r = treq_new(BD_WRITE, 0, 0, 1536, 0x11);
	struct iovec iov[] = { { r->buf, 1 }, { r->buf + 1, 1000 }, { r->buf + 1001, 535 } };

	(void)state;
	r->rq.iov = iov;
	r->rq.niov = 3;
	assert_int_equal(bd_submit(t.dev, &r->rq), 0);
	assert_int_equal(treq_end(r), 0);
	assert_string_equal(log_text(), "W0+3=11");
}

static void a_large_zero_is_a_row_of_holes(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(bd_zero(t.dev, 512, (2u << 20) + 4096, BD_UNMAP), 0);
	assert_int_equal(write_now(9000, 0x33), 0);
	assert_string_equal(log_text(), "W1+2048=00 W2049+2048=00 W4097+8=00 W9000+1=33");
	assert_int_equal(fstat(t.log, &st), 0);
	assert_in_range(st.st_blocks, 0, 64);
}

static void blocks_of_4096_have_entries_of_4096(void **state)
{
	const struct fake_device_conf conf = { .limits = { .block = 4096 } };

	(void)state;
	down(NULL);
	open_with(&conf);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, 0, 4096, 8192, 0x44)), 0);
	assert_int_equal(bd_record_mark(t.dev, "m"), 0);
	assert_int_equal(bd_flush(t.dev), 0);
	assert_string_equal(log_text(), "W8+16=44 M(m) F");
	assert_string_equal(loaded_text(), "W8+16=44 M(m) F");
}

/* A disk without a volatile cache has nothing to flush, but whoever reads the log wants to see that it was asked. */
static void flushes_of_a_disk_that_needs_none_are_seen(void **state)
{
	const struct fake_device_conf conf = { .write_through = true };

	(void)state;
	down(NULL);
	open_with(&conf);
	assert_int_equal(treq_end(treq_submit(t.dev, BD_WRITE, BD_FUA, 0, 512, 1)), 0);
	assert_int_equal(bd_flush(t.dev), 0);
	assert_string_equal(log_text(), "W0+1=01! F");
	assert_int_equal(fake_device_count_op(t.f, BD_FLUSH), 0);
}

/* ---- order ------------------------------------------------------------------------ */

static void entries_stand_in_the_order_of_ends(void **state)
{
	struct treq *a, *b, *c;

	(void)state;
	fake_device_hold(t.f, true);
	a = write_at(1, 0xa);
	b = write_at(2, 0xb);
	c = write_at(3, 0xc);
	fake_device_wait(t.f, 3);
	answer(2, c);
	answer(0, a);
	answer(0, b);
	assert_string_equal(log_text(), "W3+1=0c W1+1=0a W2+1=0b");
}

/* R1, R2, R5: b is in flight together with the flush, so the flush does not cover it, whichever ends first. */
static void a_flush_stands_where_it_was_submitted(void **state)
{
	struct treq *a, *b, *c, *fl;

	(void)state;
	fake_device_hold(t.f, true);
	a = write_at(1, 0xa);
	b = write_at(2, 0xb);
	fake_device_wait(t.f, 2);
	answer(0, a);
	fl = flush();
	fake_device_wait(t.f, 2);
	answer(0, b); /* b, before the flush is done */
	assert_string_equal(log_text(), "W1+1=0a - W2+1=0b~1");
	c = write_at(3, 0xc); /* sent while the flush is not done */
	fake_device_wait(t.f, 2);
	answer(0, fl);
	assert_int_equal(bd_record_mark(t.dev, "flushed"), 0);
	answer(0, c);
	fake_device_hold(t.f, false);
	assert_int_equal(write_now(4, 0xd), 0);
	assert_string_equal(log_text(), "W1+1=0a F W2+1=0b~1 M(flushed) W3+1=0c~1 W4+1=0d");
}

/* R5 with a flush that waits for another one in the core. */
static void a_write_counts_the_flushes_it_may_have_overtaken(void **state)
{
	struct treq *f1, *f2, *w, *x, *late;

	(void)state;
	fake_device_hold(t.f, true);
	late = write_at(7, 7);
	fake_device_wait(t.f, 1);
	f1 = flush();
	fake_device_wait(t.f, 2);
	f2 = flush();
	w = write_at(1, 1); /* f1 is not done */
	fake_device_wait(t.f, 3);
	answer(1, f1);
	fake_device_wait(t.f, 3);
	assert_int_equal(fake_device_at(t.f, 2).op, BD_FLUSH); /* f2, sent after w */
	x = write_at(2, 2);
	fake_device_wait(t.f, 4);
	answer(2, f2);
	answer(1, w);
	answer(1, x);
	fake_device_hold(t.f, false);
	assert_int_equal(treq_end(late), 0);
	assert_string_equal(log_text(), "F F W1+1=01~2 W2+1=02~1 W7+1=07~2");
}

/* A disk that ends a write just while a flush is being sent to it. */
struct racer {
	struct bd bd;
	struct bd_req *held; /* the write */
	struct bd_req *flush;
	sem_t there;
};

static void *end_held(void *arg)
{
	struct racer *r = arg;

	bd_complete(r->held, 0);
	return NULL;
}

static void racer_submit(struct bd *dev, struct bd_req *rq)
{
	struct racer *r = (struct racer *)dev;
	pthread_t thread;

	if (rq->op == BD_FLUSH) {
		assert_int_equal(pthread_create(&thread, NULL, end_held, r), 0);
		pthread_join(thread, NULL);
		r->flush = rq;
	} else {
		r->held = rq;
	}
	sem_post(&r->there);
}

static int racer_size(struct bd *dev, uint64_t *out)
{
	*out = atomic_load(&dev->size);
	return 0;
}

static void racer_close(struct bd *dev)
{
	bd_core_free(dev);
	sem_destroy(&((struct racer *)dev)->there);
}

/* R1: the write ends before the flush begins at the disk, but after it was sent; it may not stand before it. */
static void a_write_that_ends_while_a_flush_is_sent_is_not_covered(void **state)
{
	static const struct bd_ops ops = {
		.name = "racer", .submit = racer_submit, .size = racer_size, .close = racer_close
	};
	static struct racer r; /* closed after the test */
	const struct racer fresh = { .bd = { .ops = &ops,
					     .limits = { .block = 512,
							 .align = 1,
							 .max_transfer = 4096,
							 .depth = 8,
							 .volatile_cache = true },
					     .size = 1u << 20 } };
	struct err err = { "" };
	struct treq *w, *fl;

	(void)state;
	down(NULL);
	memcpy(&r, &fresh, sizeof r);
	sem_init(&r.there, 0, 0);
	assert_int_equal(bd_core_new(&r.bd, NULL, &err), 0);
	open_above(&r.bd);
	w = write_at(1, 1);
	sem_wait(&r.there);
	fl = flush();
	sem_wait(&r.there);
	bd_complete(r.flush, 0);
	assert_int_equal(treq_end(w), 0);
	assert_int_equal(treq_end(fl), 0);
	assert_string_equal(log_text(), "F W1+1=01~1");
}

struct told {
	struct bd_req rq;
	struct iovec iov;
	uint8_t buf[512];
	char seen[64];
	sem_t ready;
};

static void told_done(struct bd_req *rq)
{
	struct told *told = rq->arg;

	snprintf(told->seen, sizeof told->seen, "%s", log_text());
	assert_int_equal(bd_record_mark(t.dev, "told"), 0);
	sem_post(&told->ready);
}

/* R3 */
static void nobody_hears_before_the_log_has_it(void **state)
{
	struct told told = { .rq = { .op = BD_WRITE, .len = 512, .niov = 1, .done = told_done } };

	(void)state;
	sem_init(&told.ready, 0, 0);
	told.iov = (struct iovec){ told.buf, 512 };
	told.rq.iov = &told.iov;
	told.rq.arg = &told;
	assert_int_equal(bd_submit(t.dev, &told.rq), 0);
	sem_wait(&told.ready);
	sem_destroy(&told.ready);
	assert_string_equal(told.seen, "W0+1=00");
	assert_int_equal(write_now(1, 1), 0);
	assert_string_equal(log_text(), "W0+1=00 M(told) W1+1=01");
}

/* R4 */
static void a_failed_flush_leaves_its_place_empty(void **state)
{
	int log;

	(void)state;
	assert_int_equal(write_now(1, 1), 0);
	fake_device_fail(t.f, BD_FLUSH, 1, 1, -EIO);
	assert_int_equal(treq_end(flush()), -EIO);
	assert_int_equal(bd_failed(t.dev), -EIO);
	assert_int_equal(bd_record_mark(t.dev, "after"), 0);
	log = dup(t.log);
	down(NULL);
	up(NULL);
	dup2(log, t.log);
	close(log);
	assert_string_equal(log_text(), "W1+1=01 - M(after)");
	assert_string_equal(loaded_text(), "W1+1=01 M(after)");
}

static void a_write_that_failed_is_not_in_the_log(void **state)
{
	(void)state;
	fake_device_fail(t.f, BD_WRITE, 2, 1, -ENOSPC);
	assert_int_equal(write_now(1, 1), 0);
	assert_int_equal(write_now(2, 2), -ENOSPC);
	assert_int_equal(write_now(3, 3), 0);
	assert_string_equal(log_text(), "W1+1=01 W3+1=03");
}

/* ---- failures ------------------------------------------------------------------------ */

static void a_log_that_cannot_be_written_fails_the_device(void **state)
{
	uint8_t buf[512];

	(void)state;
	assert_int_equal(write_now(1, 1), 0);
	assert_int_equal(fcntl(t.log, F_ADD_SEALS, F_SEAL_GROW), 0);
	assert_int_equal(write_now(2, 2), -EIO);
	assert_int_equal(bd_failed(t.dev), -EIO);
	assert_int_equal(refusal(t.dev, BD_WRITE, 0, 512, 512), -EIO);
	assert_int_equal(bd_record_mark(t.dev, "no"), -EIO);
	assert_int_equal(bd_read(t.dev, buf, 512, 512), 0);
	assert_string_equal(log_text(), "W1+1=01");
}

static void a_device_that_failed_below_fails_above(void **state)
{
	(void)state;
	assert_int_equal(write_now(1, 1), 0);
	fake_device_fail(t.f, BD_FLUSH, 1, 1, -ENXIO);
	assert_int_equal(treq_end(flush()), -ENXIO);
	assert_int_equal(refusal(t.dev, BD_WRITE, 0, 512, 512), -ENXIO);
	assert_int_equal(refusal(t.dev, BD_FLUSH, 0, 0, 0), -ENXIO);
}

static void marks_have_limits(void **state)
{
	char text[BD_MARK_MAX + 2];
	struct fake_device *f;
	struct bd *plain = fake_device_open(&(struct fake_device_conf){ .size = 0 }, NULL, &f);

	(void)state;
	memset(text, 'x', sizeof text);
	text[BD_MARK_MAX + 1] = '\0';
	assert_int_equal(bd_record_mark(t.dev, text), -EINVAL);
	assert_int_equal(bd_record_mark(plain, "no layer"), -EINVAL);
	bd_close(plain);
	text[BD_MARK_MAX] = '\0';
	assert_int_equal(bd_record_mark(t.dev, text), 0);
	for (int i = 0; i < 20000; i++) /* more than may wait */
		assert_int_equal(bd_record_mark(t.dev, "m"), 0);
	assert_int_equal(bd_flush(t.dev), 0);
}

static void marks_at_the_end_are_written(void **state)
{
	int log = dup(t.log);

	(void)state;
	assert_int_equal(bd_record_mark(t.dev, "one"), 0);
	assert_int_equal(bd_record_mark(t.dev, "two"), 0);
	down(NULL);
	up(NULL);
	dup2(log, t.log);
	close(log);
	assert_string_equal(log_text(), "M(one) M(two)");
}

/* ---- many threads ------------------------------------------------------------------- */

#define WRITERS 4
#define WRITES 200

static void *writer(void *arg)
{
	unsigned me = *(unsigned *)arg;

	for (unsigned i = 0; i < WRITES; i++) {
		char text[32];

		assert_int_equal(write_now(me * 1000 + i, (int)i), 0);
		if (i % 8 == 0)
			assert_int_equal(bd_flush(t.dev), 0);
		snprintf(text, sizeof text, "%u %u", me, i);
		assert_int_equal(bd_record_mark(t.dev, text), 0);
	}
	return NULL;
}

/* Each mark stands behind its thread's write, and each eighth has a flush between them. */
static void threads_find_their_own_order(void **state)
{
	pthread_t threads[WRITERS];
	unsigned ids[WRITERS], wrote[WRITERS] = { 0 }, flush_at = 0, wrote_at[WRITERS] = { 0 };
	struct record_log log;
	struct err err = { "" };
	char path[64];

	(void)state;
	for (unsigned i = 0; i < WRITERS; i++) {
		ids[i] = i;
		assert_int_equal(pthread_create(&threads[i], NULL, writer, &ids[i]), 0);
	}
	for (unsigned i = 0; i < WRITERS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(bd_flush(t.dev), 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", t.log);
	assert_int_equal(record_load(path, &log, &err), 0);
	for (unsigned i = 0; i < log.n; i++) {
		const struct record_item *item = &log.items[i];
		unsigned me, n;

		if (item->e.flags & RECORD_FLUSH) {
			flush_at = i;
		} else if (item->e.flags & RECORD_MARK) {
			char text[32] = "";

			memcpy(text, item->data, item->e.data_len);
			assert_int_equal(sscanf(text, "%u %u", &me, &n), 2);
			assert_int_equal(wrote[me], n + 1);
			if (n % 8 == 0)
				assert_true(flush_at > wrote_at[me]);
		} else {
			me = (unsigned)(item->e.sector / 1000);
			assert_int_equal(item->e.sector % 1000, wrote[me]++);
			wrote_at[me] = i;
		}
	}
	for (unsigned i = 0; i < WRITERS; i++)
		assert_int_equal(wrote[i], WRITES);
	record_unload(&log);
}

/* ---- reading ------------------------------------------------------------------------------ */

static uint8_t file[64 * 1024];

static void put64(size_t at, uint64_t v)
{
	for (int i = 0; i < 8; i++, v >>= 8)
		file[at + (size_t)i] = (uint8_t)v;
}

static void head(uint64_t entries, uint32_t sector)
{
	memset(file, 0, sizeof file);
	put64(0, RECORD_MAGIC);
	put64(8, 1);
	put64(16, entries);
	put64(24, sector);
}

static size_t entry(size_t at, uint64_t sector, uint64_t n, uint64_t flags, uint64_t len)
{
	put64(at, sector);
	put64(at + 8, n);
	put64(at + 16, flags);
	put64(at + 24, len);
	return at + 512 + (flags & RECORD_DISCARD ? 0 : n * 512);
}

/* What record_load() says to the first bytes of file. */
static int load_log(size_t bytes, struct record_log *out, struct err *err)
{
	int fd = memfd_create("log", MFD_CLOEXEC), rc;
	char path[64];

	err->text[0] = '\0';
	assert_int_equal(write(fd, file, bytes), (ssize_t)bytes);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	rc = record_load(path, out, err);
	close(fd);
	return rc;
}

/* The number of items, or the error with a sentence. */
static int load(size_t bytes, struct err *err)
{
	struct record_log log;
	int rc = load_log(bytes, &log, err);

	if (!rc) {
		rc = (int)log.n;
		record_unload(&log);
	}
	return rc;
}

static void what_is_complete_counts(void **state)
{
	size_t end, last;
	struct err err;

	(void)state;
	head(1, 512);
	end = entry(512, 0, 2, 0, 0);
	end = entry(end, 4, 0, RECORD_FLUSH, 0);
	last = end;
	end = entry(end, 8, 1, RECORD_FUA, 0);
	assert_int_equal(load(end, &err), 3); /* the head knows of one */
	assert_int_equal(load(end - 1, &err), 2);
	assert_int_equal(load(last + 100, &err), 2);
	assert_int_equal(load(last, &err), 2);
	entry(last, 8, 1, 1u << 20, 0); /* no sense, and behind what the head counts */
	assert_int_equal(load(end, &err), 2);
	head(0, 512);
	assert_int_equal(load(512, &err), 0);
}

/* A flush that failed, or that the log ended before: a write that overtook it and nothing else overtook nothing. */
static void flushes_that_were_not_done_are_not_overtaken(void **state)
{
	static const unsigned want[] = { 0, 1, 1, 0, 1, 2 };
	struct record_log log;
	struct err err;
	size_t end = 512;

	(void)state;
	head(0, 512);
	end = entry(end, 0, 0, RECORD_FLUSH, 0);
	end = entry(end, 0, 0, 0, 0);
	end = entry(end, 8, 8, RECORD_DISCARD, 1); /* the empty place */
	end = entry(end, 8, 8, RECORD_DISCARD, 2);
	end = entry(end, 8, 8, RECORD_DISCARD, 1ull << 40);
	end = entry(end, 0, 0, 0, 0);
	end = entry(end, 0, 0, 0, 0);
	end = entry(end, 8, 8, RECORD_DISCARD, 2);
	end = entry(end, 0, 0, RECORD_FLUSH, 0);
	end = entry(end, 8, 8, RECORD_DISCARD, 4);
	end = entry(end, 8, 8, RECORD_DISCARD, 5);
	assert_int_equal(load_log(end, &log, &err), 0);
	for (unsigned i = 0, k = 0; i < log.n; i++)
		if (log.items[i].e.flags & RECORD_DISCARD)
			assert_int_equal(log.items[i].e.data_len, want[k++]);
	assert_int_equal(log.n, 2 + ARRAY_LEN(want));
	record_unload(&log);
}

static void refused(const char *why, size_t bytes)
{
	struct err err;

	assert_int_equal(load(bytes, &err), -EINVAL);
	if (!strstr(err.text, why))
		fail_msg("'%s' does not say '%s'", err.text, why);
}

static void what_makes_no_sense_is_refused(void **state)
{
	(void)state;
	head(1, 512);
	refused("too short", 511);
	refused("the head says 1 entries, but the file ends after 0", 512);
	entry(512, 0, 8, 0, 0);
	refused("ends after 0", 1024);
	entry(512, 0, 1, 32, 0);
	refused("entry 0 of 1: flags", 2048);
	entry(512, UINT64_MAX, 1, 0, 0);
	refused("entry 0 of 1: sector", 2048);
	entry(512, 5, UINT64_MAX - 4, RECORD_DISCARD, 0);
	refused("nr_sectors", 2048);
	entry(512, 5, RECORD_DATA_MAX / 512 + 1, 0, 0);
	refused("nr_sectors", 2048);
	entry(512, 0, 1, RECORD_MARK, 4);
	refused("nr_sectors", 2048);
	entry(512, 0, 0, RECORD_MARK, 481);
	refused("data_len", 2048);
	head(1, 100);
	refused("sector_size 100", 2048);
	head(1, 1536);
	refused("sector_size 1536", 2048);
	head(1, 8192);
	refused("sector_size 8192", 2048);
	head(1, 512);
	put64(8, 2);
	refused("version 2", 2048);
	put64(0, 7);
	refused("not a log of writes", 2048);
}

static void files_that_are_none_are_refused(void **state)
{
	struct record_log log;
	struct err err = { "" };

	(void)state;
	assert_int_equal(record_load("/nowhere/log", &log, &err), -ENOENT);
	assert_non_null(strstr(err.text, "/nowhere/log"));
	assert_int_equal(record_load("/proc/self", &log, &err), -EINVAL);
	assert_int_equal(record_load("/dev/null", &log, &err), -EINVAL);
	assert_non_null(strstr(err.text, "/dev/null"));
}

static void any_bytes_are_read_without_harm(void **state)
{
	uint64_t x = 88172645463325252ULL;
	struct err err;

	(void)state;
	for (unsigned round = 0; round < 300; round++) {
		head(round % 7, 512u << (round % 4));
		for (unsigned i = 0; i < 40; i++) {
			x ^= x << 13;
			x ^= x >> 7;
			x ^= x << 17;
			file[(round % 2 ? 512 : 0) + x % 4096] = (uint8_t)(x >> 32);
		}
		assert_in_range(load(4096 + round, &err) + 4096, 0, 4096 + 64);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(each_request_has_its_entry),
		T(pieces_of_memory_are_one_entry),
		T(a_large_zero_is_a_row_of_holes),
		T(blocks_of_4096_have_entries_of_4096),
		T(flushes_of_a_disk_that_needs_none_are_seen),
		T(entries_stand_in_the_order_of_ends),
		T(a_flush_stands_where_it_was_submitted),
		T(a_write_counts_the_flushes_it_may_have_overtaken),
		T(a_write_that_ends_while_a_flush_is_sent_is_not_covered),
		T(nobody_hears_before_the_log_has_it),
		T(a_failed_flush_leaves_its_place_empty),
		T(a_write_that_failed_is_not_in_the_log),
		T(a_log_that_cannot_be_written_fails_the_device),
		T(a_device_that_failed_below_fails_above),
		T(marks_have_limits),
		T(marks_at_the_end_are_written),
		T(threads_find_their_own_order),
		cmocka_unit_test(what_is_complete_counts),
		cmocka_unit_test(flushes_that_were_not_done_are_not_overtaken),
		cmocka_unit_test(what_makes_no_sense_is_refused),
		cmocka_unit_test(files_that_are_none_are_refused),
		cmocka_unit_test(any_bytes_are_read_without_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
