/* SPDX-License-Identifier: Apache-2.0 */
/* selftest.c - see selftest.h */
#include "tests/crash/selftest.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/crash/judge.h"
#include "tests/crash/states.h"

enum { SECTOR = 512, ENTRIES = 16, SECTORS = 16 };
static int wrong;

#define CHECK(cond, ...)                                          \
	do {                                                      \
		if (!(cond)) {                                    \
			wrong++;                                  \
			printf("self-test, line %d: ", __LINE__); \
			printf(__VA_ARGS__);                      \
			printf("\n");                             \
		}                                                 \
	} while (0)

/* ---- overlays --------------------------------------------------------- */

static void overlays_keep_bytes_and_hash(void)
{
	static uint8_t base[4 * OVERLAY_UNIT], flat[4 * OVERLAY_UNIT], got[3000];
	struct overlay a, b, c;
	uint64_t first;

	overlay_base(&a, base, sizeof base);
	CHECK(!a.hash, "the base has a hash");
	overlay_write(&a, "across", 6, OVERLAY_UNIT - 3);
	first = a.hash;
	overlay_over(&b, &a);
	CHECK(b.hash == first, "an overlay begins with another hash");
	overlay_write(&b, "deep", 4, 3 * OVERLAY_UNIT);
	overlay_read(&b, got, 6, OVERLAY_UNIT - 3);
	CHECK(!memcmp(got, "across", 6), "bytes of the overlay below are lost");
	overlay_read(&a, got, 4, 3 * OVERLAY_UNIT);
	CHECK(!got[0], "a write reached the overlay below");
	overlay_over(&c, &a);
	overlay_write(&c, "x", 1, 3 * OVERLAY_UNIT);
	CHECK(c.hash != b.hash, "other bytes have the same hash");
	overlay_write(&c, "deep", 4, 3 * OVERLAY_UNIT);
	CHECK(c.hash == b.hash, "equal bytes have another hash");
	CHECK(overlay_copy(&b, flat, sizeof flat) == 3,
	      "a copy does not write the 3 units that differ");
	CHECK(overlay_copy(&b, flat, sizeof flat) == 0, "a second copy writes");
	overlay_write(&a, "\0\0\0\0\0\0", 6, OVERLAY_UNIT - 3);
	CHECK(!a.hash, "the base's bytes have a hash");
	overlay_done(&c);
	overlay_done(&b);
	overlay_done(&a);
}

static void overlay_device_reads_what_it_wrote(void)
{
	static uint8_t base[64 * OVERLAY_UNIT], got[8 * OVERLAY_UNIT];
	struct overlay o;
	struct bd *dev;
	struct err err = { "" };

	overlay_base(&o, base, sizeof base);
	if (overlay_open(&o, 7, &dev, &err)) {
		CHECK(false, "no device: %s", err.text);
		return;
	}
	memset(got, 'w', sizeof got);
	CHECK(!bd_write(dev, got, sizeof got, 5 * SECTOR, BD_FUA), "a write fails");
	CHECK(!bd_zero(dev, 6 * SECTOR, SECTOR, 0), "a zero fails");
	CHECK(!bd_flush(dev), "a flush fails");
	CHECK(!bd_read(dev, got, 4 * SECTOR, 4 * SECTOR), "a read fails");
	CHECK(!got[0] && got[SECTOR] == 'w' && !got[2 * SECTOR] && got[3 * SECTOR] == 'w',
	      "the device holds other bytes");
	bd_close(dev);
	overlay_done(&o);
}

/* ---- states ----------------------------------------------------------- */

/* A log written by hand: a row an entry, sectors of one letter. */
struct row {
	char letter; /* 0: no write */
	unsigned sector, sectors;
	uint64_t flags;
	const char *mark;
	unsigned overtakes; /* flushes */
};

static void log_of(const struct row *rows, unsigned n, struct record_log *log)
{
	*log = (struct record_log){ .n = n };
	log->items = xalloc(n, sizeof *log->items);
	for (unsigned i = 0; i < n; i++) {
		struct record_item *it = &log->items[i];

		it->e.flags = rows[i].flags;
		it->e.sector = rows[i].sector;
		it->e.nr_sectors = rows[i].sectors;
		it->e.data_len = rows[i].overtakes;
		if (rows[i].mark) {
			it->e.data_len = strlen(rows[i].mark);
			it->data = (const uint8_t *)rows[i].mark;
		} else if (rows[i].letter) {
			uint8_t *data = xalloc(rows[i].sectors, SECTOR);

			memset(data, rows[i].letter, (size_t)rows[i].sectors * SECTOR);
			it->data = data;
		}
	}
}

static void log_free(struct record_log *log)
{
	for (unsigned i = 0; i < log->n; i++)
		if (!(log->items[i].e.flags & RECORD_MARK))
			free((void *)log->items[i].data);
	free(log->items);
}

/* A letter a sector: of a write, '.' the base's, '0' zeros, '?' anything else. */
static void show(const struct overlay *o, char out[SECTORS + 1])
{
	for (unsigned i = 0; i < SECTORS; i++) {
		uint8_t s[SECTOR];
		bool same = true;

		overlay_read(o, s, sizeof s, (uint64_t)i * SECTOR);
		for (unsigned k = 1; k < SECTOR; k++)
			same = same && s[k] == s[0];
		out[i] = same ? (char)(s[0] ? s[0] : '0') : '?';
	}
	out[SECTORS] = '\0';
}

/* All cuts of a log as text: "CUT IMAGE\n"; the image of those that hang on random numbers is left out. */
static char *cuts_of(const struct row *rows, unsigned n, bool images)
{
	static uint8_t base[SECTORS * SECTOR];
	struct record_log log;
	struct overlay start, o;
	struct states s;
	struct err err = { "" };
	char *out = xalloc(1, 1 << 20), image[SECTORS + 1], text[CUT_TEXT_MAX];
	size_t len = 0;
	struct cut c;

	memset(base, '.', sizeof base);
	log_of(rows, n, &log);
	overlay_base(&start, base, sizeof base);
	CHECK(!states_init(&s, &(struct states_conf){ &log, &start, 42 }, &err), "states_init: %s",
	      err.text);
	while (states_next(&s, &c)) {
		states_image(&s, &c, &o);
		show(&o, image);
		overlay_done(&o);
		cut_text(&c, text);
		/* Two sectors have one edge, two last halves, and random masks from t3 on. */
		if (!images &&
		    (c.kind == 'u' || c.kind == 'v' || c.kind == 'r' || (c.kind == 't' && c.index)))
			image[0] = '\0';
		len += (size_t)snprintf(out + len, (1 << 20) - len, "%s %s\n", text, image);
	}
	states_done(&s);
	overlay_done(&start);
	log_free(&log);
	return out;
}

static void cuts_are_those_written_by_hand(void)
{
	static const struct row rows[] = {
		{ 'a', 0, 2, 0, NULL, 0 },
		{ 'b', 2, 2, 0, NULL, 0 },
		{ 0, 0, 0, RECORD_FLUSH, NULL, 0 },
		{ 'c', 4, 2, 0, NULL, 0 },
		{ 0, 0, 0, RECORD_MARK, "done", 0 },
		{ 'd', 6, 2, RECORD_FUA, NULL, 0 },
		{ 0, 2, 2, RECORD_DISCARD, NULL, 0 },
	};
	static const char want[] =
		"0.p0 ................\n"
		"0.t0 a...............\n0.t1 \n0.t2 \n0.t3 \n0.t4 \n"
		"1.p0 aa..............\n"
		"1.t0 aab.............\n1.t1 \n1.t2 \n1.t3 \n1.t4 \n"
		"2.p0 aabb............\n"
		"2.m0 ................\n2.m1 aa..............\n2.m2 ..bb............\n"
		"2.u0 \n2.u1 \n2.u2 \n2.u3 \n2.u4 \n2.u5 \n2.u6 \n2.u7 \n"
		"3.p0 aabb............\n"
		"3.t0 aabbc...........\n3.t1 \n3.t2 \n3.t3 \n3.t4 \n"
		/* Nothing at 4, a mark. A write with FUA ends an epoch: what it finds volatile may be missing. */
		"5.p0 aabbcc..........\n"
		"5.m0 aabb............\n"
		"5.u0 \n5.u1 \n5.u2 \n5.u3 \n5.u4 \n5.u5 \n5.u6 \n5.u7 \n"
		"5.t0 aabbccd.........\n5.t1 \n5.t2 \n5.t3 \n5.t4 \n"
		"6.p0 aabbccdd........\n"
		"6.d0 aa??ccdd........\n6.d1 aa00ccdd........\n"
		"6.d2 aa?bccdd........\n6.d3 aab?ccdd........\n"
		"7.p0 aa??ccdd........\n"
		/* The write with FUA is there, whatever of the others is. */
		"7.m0 aabb..dd........\n7.m1 aabbccdd........\n7.m2 aa??..dd........\n"
		"7.u0 \n7.u1 \n7.u2 \n7.u3 \n7.u4 \n7.u5 \n7.u6 \n7.u7 \n";
	AUTO_FREE char *got = cuts_of(rows, ARRAY_LEN(rows), false);

	CHECK(!strcmp(got, want), "cuts are\n%s, and should be\n%s", got, want);
}

/* The cuts of kind o alone. */
static char *overtaken_of(const struct row *rows, unsigned n)
{
	char *all = cuts_of(rows, n, true), *to = all, *next;

	for (char *p = all; *p; p = next) {
		next = strchr(p, '\n') + 1;
		if (strchr(p, '.')[1] != 'o')
			continue;
		memmove(to, p, (size_t)(next - p));
		to += next - p;
	}
	*to = '\0';
	return all;
}

static void overtakers_are(const struct row *rows, unsigned n, const char *want)
{
	AUTO_FREE char *got = overtaken_of(rows, n);

	CHECK(!strcmp(got, want), "cuts with overtakers are\n%s, and should be\n%s", got, want);
}

/* A commit block that was sent before the flush was answered may be there without the log: 1.o0. */
static void writes_overtake_flushes(void)
{
	static const struct row commit[] = {
		{ 'a', 0, 2, 0, NULL, 0 },           { 0, 0, 0, RECORD_FLUSH, NULL, 0 },
		{ 0, 0, 0, RECORD_MARK, "done", 0 }, { 'b', 2, 1, RECORD_FUA, NULL, 1 },
		{ 'c', 3, 1, 0, NULL, 0 },           { 0, 0, 0, RECORD_FLUSH, NULL, 0 },
	};
	/* c goes before both flushes, and is volatile until the third; not before w0, which may have been waited for. */
	static const struct row two[] = {
		{ 'a', 0, 1, 0, NULL, 0 }, { 0, 0, 0, RECORD_FLUSH, NULL, 0 },
		{ 'b', 1, 1, 0, NULL, 0 }, { 0, 0, 0, RECORD_FLUSH, NULL, 0 },
		{ 'c', 2, 1, 0, NULL, 2 }, { 0, 0, 0, RECORD_FLUSH, NULL, 0 },
	};
	/* Who counts more flushes than there are overtook all of them. */
	static const struct row many[] = {
		{ 0, 0, 0, RECORD_FLUSH, NULL, 0 },
		{ 0, 0, 2, RECORD_DISCARD, NULL, 77 },
	};

	/* At 3 the flush is done, and b is in flight. */
	overtakers_are(commit, ARRAY_LEN(commit),
		       "1.o0 ..b.............\n1.o1 aab.............\n"
		       "3.o0 aab.............\n");
	overtakers_are(two, ARRAY_LEN(two),
		       "1.o0 ..c.............\n1.o1 a.c.............\n"
		       "3.o0 a.c.............\n3.o1 abc.............\n");
	overtakers_are(many, ARRAY_LEN(many), "0.o0 ??..............\n");
}

/* M7: d was sent when the tail, c, was durable, perhaps. b is just another write. */
static void what_overtakers_waited_for_is_there(void)
{
	static const struct row rows[] = {
		{ 'a', 0, 1, 0, NULL, 0 },          { 0, 0, 0, RECORD_FLUSH, NULL, 0 },
		{ 'b', 1, 1, 0, NULL, 1 },          { 'c', 2, 1, RECORD_FUA, NULL, 1 },
		{ 'e', 4, 1, RECORD_FUA, NULL, 0 }, { 'd', 3, 1, 0, NULL, 1 },
	};

	overtakers_are(rows, ARRAY_LEN(rows),
		       "1.o0 .b..............\n1.o1 ab..............\n"
		       "1.o2 ..c.............\n1.o3 a.c.............\n"
		       "1.o4 .bc.............\n1.o5 abc.............\n"
		       "1.o6 ..cd............\n1.o7 a.cd............\n"
		       "1.o8 .bcd............\n1.o9 abcd............\n"
		       "1.o10 ..cd............\n1.o11 a.cd............\n"
		       "1.o12 .bcd............\n1.o13 abcd............\n"
		       /* b is done, and volatile. */
		       "3.o0 a.c.............\n3.o1 abc.............\n"
		       "3.o2 a.cd............\n3.o3 abcd............\n"
		       "3.o4 a.cd............\n3.o5 abcd............\n"
		       /* e was sent later than d, which does not wait for it. */
		       "4.o0 a.cd............\n4.o1 abcd............\n");
}

static unsigned lines_with(const char *text, const char *word)
{
	unsigned n = 0;

	for (const char *p = text; (p = strstr(p, word)); p++)
		n++;
	return n;
}

static void long_epochs_are_sampled(void)
{
	struct row rows[7];
	AUTO_FREE char *got = NULL;

	for (unsigned i = 0; i < 7; i++)
		rows[i] = (struct row){ (char)('a' + i), 2 * i, 2, 0, NULL, 0 };
	got = cuts_of(rows, 7, true);
	CHECK(strstr(got, "7.n0 ................\n"), "none of the 7");
	CHECK(strstr(got, "7.a2 ....cc..........\n"), "the third alone");
	CHECK(strstr(got, "7.x2 aabb..ddeeffgg..\n"), "all but the third");
	CHECK(lines_with(got, "7.a") == 7 && lines_with(got, "7.x") == 7, "each alone and missing");
	CHECK(lines_with(got, "7.r") == STATES_RANDOM, "seeded subsets");
	CHECK(lines_with(got, "7.u") == STATES_TORN_SUBSETS, "torn subsets");
	CHECK(!lines_with(got, "7.m"), "a long epoch has all subsets");
}

/* Six volatile ones and two overtakers. */
static void many_overtakers_are_sampled(void)
{
	struct row rows[9];
	AUTO_FREE char *got = NULL;

	for (unsigned i = 0; i < 9; i++)
		rows[i] = (struct row){ (char)('a' + i), i, 1, 0, NULL, i > 6 };
	rows[6] = (struct row){ 0, 0, 0, RECORD_FLUSH, NULL, 0 };
	got = cuts_of(rows, 9, true);
	CHECK(strstr(got, "6.o0 .......h........\n"), "the first overtaker alone");
	CHECK(strstr(got, "6.o1 ........i.......\n"), "the second overtaker alone");
	CHECK(strstr(got, "6.o3 abcdef..i.......\n"), "the second one and all volatile ones");
	CHECK(strstr(got, "6.o5 a.cdef.hi.......\n"), "all but the second");
	CHECK(lines_with(got, "6.o") == 2 + 2 + 6 + STATES_RANDOM, "each, and seeded subsets");
	CHECK(lines_with(got, "6.v") == STATES_TORN_SUBSETS, "torn subsets");
	CHECK(!lines_with(got, "9.o") && !lines_with(got, "9.v"), "they overtake at the end");
	for (const char *p = got; (p = strstr(p, "\n6.")); p++)
		CHECK((p[3] != 'o' && p[3] != 'v') || strchr(p, ' ')[8] == 'h' ||
			      strchr(p, ' ')[9] == 'i',
		      "no overtaker: %.28s", p);
}

static void logs_beyond_the_image_are_refused(void)
{
	static const struct row rows[] = { { 'a', SECTORS - 1, 2, 0, NULL, 0 } };
	static uint8_t base[SECTORS * SECTOR];
	struct record_log log;
	struct overlay start;
	struct states s;
	struct err err = { "" };

	log_of(rows, 1, &log);
	overlay_base(&start, base, sizeof base);
	CHECK(states_init(&s, &(struct states_conf){ &log, &start, 1 }, &err) == -EINVAL,
	      "an entry beyond the image is taken");
	overlay_done(&start);
	log_free(&log);
}

/* ---- oracle ----------------------------------------------------------- */

enum { BLOCK = 1024, NBLOCKS = 4 };

/* Letters of NBLOCKS blocks; "ab": first and second sector. */
static void blocks_of(const char *const *letters, uint8_t *out)
{
	for (unsigned i = 0; i < NBLOCKS; i++) {
		memset(out + i * BLOCK, letters[i][0], SECTOR);
		memset(out + i * BLOCK + SECTOR, letters[i][letters[i][1] ? 1 : 0], SECTOR);
	}
}

static void happens(struct history *h, unsigned block, enum event_kind kind, uint32_t ord,
		    uint32_t batch, char letter)
{
	const struct event e = { .kind = kind, .ord = ord, .batch = batch };
	uint8_t bytes[BLOCK];

	memset(bytes, letter, sizeof bytes);
	history_add(h, block, &e, kind == EVENT_FREE ? NULL : bytes);
}

/* Transactions 101 (ordinal 1) to 103; block 2 is freed in 102 and written directly, block 3 is promised by 103. */
static void history_by_hand(struct history *h)
{
	history_init(h, NBLOCKS, BLOCK);
	history_mount(h);
	CHECK(history_ord(h, 101) == 1 && history_ord(h, 103) == 3, "ordinals");
	happens(h, 0, EVENT_META, 1, 0, 'a');
	happens(h, 1, EVENT_META, 1, 0, 'b');
	happens(h, 2, EVENT_META, 1, 0, 'c');
	happens(h, 0, EVENT_META, 2, 0, 'A');
	happens(h, 1, EVENT_META, 2, 0, 'B');
	happens(h, 2, EVENT_FREE, 2, 0, 0);
	happens(h, 2, EVENT_DATA, 0, 1, 'd');
	happens(h, 2, EVENT_DATA, 0, 2, 'e');
	happens(h, 3, EVENT_DATA, 3, 3, 'f');
	happens(h, 0, EVENT_META, 3, 0, 'Z');
}

static const struct row acks[] = {
	{ 0, 0, 0, RECORD_MARK, "mount 1", 0 },   /* 1 */
	{ 0, 0, 0, RECORD_MARK, "ack 1 101", 0 }, /* 2 */
	{ 0, 0, 0, RECORD_MARK, "ack 1 102", 0 }, /* 3 */
	{ 0, 0, 0, RECORD_MARK, "data 1", 0 },    /* 4 */
	{ 0, 0, 0, RECORD_MARK, "ack 1 103", 0 }, /* 5 */
};

static void oracle_knows_right_from_wrong(void)
{
	static const struct {
		const char *what;
		unsigned point;
		const char *blocks[NBLOCKS];
		int ord; /* -1: refused */
	} cases[] = {
		{ "nothing was acknowledged", 1, { "x", "x", "x", "x" }, 0 },
		{ "the end of the first", 2, { "a", "b", "c", "x" }, 1 },
		{ "not acknowledged, but there", 2, { "A", "B", "x", "x" }, 2 },
		{ "an image from the past", 3, { "a", "b", "c", "x" }, -1 },
		{ "before everything", 2, { "x", "x", "x", "x" }, -1 },
		{ "a mix of two transactions", 2, { "A", "b", "c", "x" }, -1 },
		{ "another mix", 2, { "a", "B", "c", "x" }, -1 },
		{ "a torn block of the journal", 2, { "aA", "b", "c", "x" }, -1 },
		{ "a direct write not acknowledged", 3, { "A", "B", "c", "x" }, 2 },
		{ "a direct write", 4, { "A", "B", "d", "x" }, 2 },
		{ "the one after it", 4, { "A", "B", "e", "x" }, 2 },
		{ "torn between them", 4, { "A", "B", "de", "x" }, 2 },
		{ "an old image over a direct write", 4, { "A", "B", "c", "x" }, -1 },
		{ "half of an old image over it", 4, { "A", "B", "dc", "x" }, -1 },
		{ "what the transaction promises", 4, { "Z", "B", "d", "f" }, 3 },
		{ "the promise is broken", 4, { "Z", "B", "d", "x" }, -1 },
		{ "halves swapped", 5, { "Z", "B", "d", "xf" }, -1 },
		{ "all is there", 5, { "Z", "B", "e", "f" }, 3 },
		{ "the last one is missing", 5, { "A", "B", "e", "f" }, -1 },
	};
	uint8_t bytes[NBLOCKS * BLOCK];
	struct record_log log;
	struct history h;
	struct oracle o;
	struct err err = { "" };

	history_by_hand(&h);
	log_of(acks, ARRAY_LEN(acks), &log);
	CHECK(!oracle_init(&o, &h, &log, &err), "oracle_init: %s", err.text);
	for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
		char why[WHY_MAX] = "";
		uint32_t mount, ord = 0;
		bool good;

		blocks_of(cases[i].blocks, bytes);
		good = oracle_judge(&o, cases[i].point, bytes, &mount, &ord, why);
		CHECK(good == (cases[i].ord >= 0) && (!good || (int)ord == cases[i].ord),
		      "%s: %s, transaction %u %s", cases[i].what, good ? "taken" : "refused", ord,
		      why);
	}
	CHECK(oracle_key(&o, 2) != oracle_key(&o, 3), "other demands, the same key");
	oracle_done(&o);
	log_free(&log);
	history_done(&h);
}

/* A mount that crashed had kept transaction 1 of 3: what came after never was. */
static void oracle_forgets_what_a_crash_lost(void)
{
	static const struct row marks[] = { { 0, 0, 0, RECORD_MARK, "mount 1", 0 },
					    { 0, 0, 0, RECORD_MARK, "ack 1 101", 0 },
					    { 0, 0, 0, RECORD_MARK, "mount 2", 0 },
					    { 0, 0, 0, RECORD_MARK, "ack 2 102", 0 } };
	static const char *const base[] = { "a", "b", "c", "x" },
				 *const lost[] = { "A", "B", "x", "x" },
				 *const next[] = { "a", "n", "c", "x" };
	uint8_t bytes[NBLOCKS * BLOCK];
	struct record_log log;
	struct history h;
	struct oracle o;
	struct err err = { "" };
	char why[WHY_MAX];
	uint32_t mount, ord;

	history_by_hand(&h);
	history_kept(&h, 1);
	history_mount(&h);
	CHECK(history_ord(&h, 102) == 1, "the ordinals of a mount begin with 1");
	happens(&h, 1, EVENT_META, 1, 0, 'n');
	log_of(marks, ARRAY_LEN(marks), &log);
	CHECK(!oracle_init(&o, &h, &log, &err), "oracle_init: %s", err.text);
	blocks_of(base, bytes);
	CHECK(oracle_judge(&o, 3, bytes, &mount, &ord, why) && mount == 2 && !ord,
	      "the second mount does not begin with what the first kept");
	CHECK(!oracle_judge(&o, 4, bytes, &mount, &ord, why), "its first transaction is missing");
	blocks_of(lost, bytes);
	CHECK(oracle_judge(&o, 2, bytes, &mount, &ord, why) && ord == 2, "not yet lost");
	CHECK(!oracle_judge(&o, 3, bytes, &mount, &ord, why), "what was lost is back");
	blocks_of(next, bytes);
	CHECK(oracle_judge(&o, 4, bytes, &mount, &ord, why) && ord == 1, "the next transaction");
	oracle_done(&o);
	log_free(&log);
	history_done(&h);
}

static void senseless_marks_are_refused(void)
{
	static const char *const bad[] = { "mount 2", "ack 2 101", "data 9", "hello", "" };
	struct history h;

	history_by_hand(&h);
	for (unsigned i = 0; i < ARRAY_LEN(bad); i++) {
		const struct row rows[] = { { 0, 0, 0, RECORD_MARK, bad[i], 0 } };
		struct record_log log;
		struct oracle o;
		struct err err = { "" };

		log_of(rows, 1, &log);
		CHECK(oracle_init(&o, &h, &log, &err) == -EINVAL, "the mark '%s' is taken", bad[i]);
		oracle_done(&o);
		log_free(&log);
	}
	history_done(&h);
}

/* ---- judges ----------------------------------------------------------- */

/* The file system as it was made is good; with a wrong bit, or a log that says nothing, it is not. */
static void judge_sees_broken_file_systems(const char *dir)
{
	struct base base;
	struct judge j;
	struct overlay o, broken;
	struct verdict v;
	struct err err = { "" };
	uint8_t byte = 0xff;
	uint32_t table;

	if (base_make(&base_kinds[0], dir, &base, &err)) {
		CHECK(false, "base_make: %s", err.text);
		return;
	}
	CHECK(!judge_init(&j, JUDGE_OWN | JUDGE_E2FSCK, dir, &err) && !judge_base(&j, &base, &err),
	      "no judge: %s", err.text);
	overlay_base(&o, base.bytes, base.size);
	judge_state(&j, &o, NULL, 0, &v);
	CHECK(v.good, "a new file system is refused: %s", v.why);
	/* The links of the root folder, in the inode table that the first group descriptor names. */
	overlay_read(&o, &table, sizeof table, 2 * BLOCK + 8);
	overlay_over(&broken, &o);
	overlay_write(&broken, &byte, 1, (uint64_t)le32toh(table) * BLOCK + 256 + 26);
	judge_state(&j, &broken, NULL, 0, &v);
	CHECK(!v.good && strstr(v.why, "own recovery: e2fsck -fn"), "a wrong inode: %s", v.why);
	j.which = JUDGE_E2FSCK;
	judge_state(&j, &broken, NULL, 0, &v);
	CHECK(!v.good && strstr(v.why, "e2fsck: e2fsck -fn"), "a wrong inode: %s", v.why);
	overlay_reset(&broken);
	/* The descriptor itself. */
	overlay_write(&broken, &byte, 1, 2 * BLOCK + 12);
	j.which = JUDGE_OWN;
	judge_state(&j, &broken, NULL, 0, &v);
	CHECK(!v.good && strstr(v.why, "own recovery: "), "a wrong descriptor: %s", v.why);
	overlay_done(&broken);
	overlay_done(&o);
	judge_done(&j);
	base_done(&base);
}

int selftest(const char *dir)
{
	overlays_keep_bytes_and_hash();
	overlay_device_reads_what_it_wrote();
	cuts_are_those_written_by_hand();
	writes_overtake_flushes();
	what_overtakers_waited_for_is_there();
	long_epochs_are_sampled();
	many_overtakers_are_sampled();
	logs_beyond_the_image_are_refused();
	oracle_knows_right_from_wrong();
	oracle_forgets_what_a_crash_lost();
	senseless_marks_are_refused();
	judge_sees_broken_file_systems(dir);
	printf("self-test: %s\n", wrong ? "FAILED" : "good");
	return wrong;
}
