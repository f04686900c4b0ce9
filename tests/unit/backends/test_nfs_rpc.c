/* SPDX-License-Identifier: Apache-2.0 */
/* Requests against golden bytes and the library's decoders; replies through the
 * record parser, in pieces of every size. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <nfsc/libnfs-zdr.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <stdlib.h>
#include <string.h>

#include "backends/nfs/rpc.h"

static struct ncall_pool pool;

static int pool_up(void **state)
{
	(void)state;
	return ncall_pool_init(&pool, 4);
}

static int pool_down(void **state)
{
	unsigned n = pool.nfree;

	(void)state;
	ncall_pool_done(&pool);
	return n == 4 ? 0 : -1; /* every call came back */
}

/* ---- requests -------------------------------------------------------- */

static void a_call_is_these_bytes(void **state)
{
	static const gid_t groups[] = { 7, 8 };
	static const uint8_t want[] = {
		0x80, 0,    0,    0x54, /* last fragment, 84 bytes */
		0x11, 0x22, 0x33, 0x44, 0,    0,   0,   0,   0,   0,   0,   2, /* XID, CALL, RPC 2 */
		0,    0x01, 0x86, 0xa3, 0,    0,   0,   3,   0,   0,   0,   1, /* NFS 3, GETATTR */
		0,    0,    0,    1,    0,    0,   0,   36, /* AUTH_SYS, 36 bytes */
		0,    0,    0,    0,    0,    0,   0,   5,   'h', 'o', 's', 't', 'x', 0, 0,
		0,    0,    0,    3,    0xe8, 0,   0,   0,   100, 0,   0,   0,   2,   0, 0,
		0,    7,    0,    0,    0,    8,   0,   0,   0,   0,   0,   0,   0,   0, /* no verifier */
		0,    0,    0,    4,    'f',  'h', '0', '1', /* arguments */
	};
	struct nfs_proc proc = { NFS_PROGRAM, NFS_V3, NFS3_GETATTR };
	struct nfs_handle fh = { .len = 4, .data = "fh01" };
	struct be_cred *cred = be_cred_new(1000, 100, 2, groups);
	uint8_t buf[256];
	struct enc e;

	(void)state;
	enc_init(&e, buf, sizeof buf);
	enc_call(&e, &proc, cred, "hostx");
	enc_handle(&e, &fh);
	enc_set_marker(&e, 0);
	enc_set_xid(buf, 0x11223344);
	assert_false(e.full);
	assert_int_equal(e.len, 4 + buf[3]);
	assert_int_equal(buf[0], 0x80);
	assert_int_equal(e.len, sizeof want);
	assert_memory_equal(buf, want, sizeof want);
	be_cred_put(cred);
}

static void no_more_than_sixteen_groups_are_sent(void **state)
{
	struct nfs_proc proc = { NFS_PROGRAM, NFS_V3, NFS3_NULL };
	gid_t groups[20] = { 0 };
	struct be_cred *cred = be_cred_new(1, 1, 20, groups);
	uint8_t buf[512];
	struct enc e;

	(void)state;
	enc_init(&e, buf, sizeof buf);
	enc_call(&e, &proc, cred, "");
	assert_int_equal(buf[4 + 24 + 7], 5 * 4 + 16 * 4);
	assert_int_equal(e.len, 4 + 24 + 8 + 5 * 4 + 16 * 4 + 8);
	be_cred_put(cred);
}

static void a_full_buffer_takes_nothing_more(void **state)
{
	uint8_t buf[9];
	struct enc e;

	(void)state;
	memset(buf, 0xee, sizeof buf);
	enc_init(&e, buf, 8);
	enc_u64(&e, 1);
	enc_raw(&e, "x", 1);
	assert_true(e.full);
	assert_int_equal(e.len, 8);
	assert_int_equal(buf[8], 0xee);
}

static void the_library_reads_our_create(void **state)
{
	struct nfs_handle fh = { .len = 8, .data = "12345678" };
	struct be_setattr set = { .valid = BE_SET_MODE | BE_SET_GID | BE_SET_SIZE |
					   BE_SET_ATIME_NOW | BE_SET_MTIME,
				  .mode = 0100644,
				  .gid = 12,
				  .size = 1ULL << 33,
				  .mtime = { .tv_sec = -5, .tv_nsec = 6 } };
	CREATE3args args;
	uint8_t buf[256];
	struct enc e;
	sattr3 *s = &args.how.createhow3_u.g_obj_attributes;
	ZDR z;

	(void)state;
	enc_init(&e, buf, sizeof buf);
	enc_handle(&e, &fh);
	enc_str(&e, "name");
	enc_u32(&e, GUARDED);
	enc_sattr(&e, &set);
	memset(&args, 0, sizeof args);
	zdrmem_create(&z, (char *)buf, (uint32_t)e.len, ZDR_DECODE);
	assert_true(zdr_CREATE3args(&z, &args));
	assert_int_equal(zdr_getpos(&z), e.len);
	assert_string_equal(args.where.name, "name");
	assert_int_equal(args.how.mode, GUARDED);
	assert_true(s->mode.set_it && !s->uid.set_it && s->gid.set_it && s->size.set_it);
	assert_int_equal(s->mode.set_mode3_u.mode, 0644);
	assert_int_equal(s->gid.set_gid3_u.gid, 12);
	assert_true(s->size.set_size3_u.size == 1ULL << 33);
	assert_int_equal(s->atime.set_it, SET_TO_SERVER_TIME);
	assert_int_equal(s->mtime.set_it, SET_TO_CLIENT_TIME);
	assert_int_equal(s->mtime.set_mtime_u.mtime.seconds, 0); /* before 1970 cannot be said */
	assert_int_equal(s->mtime.set_mtime_u.mtime.nseconds, 6);
	zdr_destroy(&z);
}

static void payload_is_cut_out_of_the_middle(void **state)
{
	char a[10], b[20], c[30];
	struct iovec iov[] = { { a, 10 }, { b, 20 }, { c, 30 } }, out[4];
	struct ncall *call = ncall_new(&pool);
	size_t len;

	(void)state;
	call->iov = iov;
	call->niov = 3;
	call->iov_off = 5;
	assert_int_equal(ncall_payload(call, 0, 55, out, 4, &len), 3);
	assert_int_equal(len, 55);
	assert_ptr_equal(out[0].iov_base, a + 5);
	assert_int_equal(ncall_payload(call, 5, 7, out, 4, &len), 1);
	assert_ptr_equal(out[0].iov_base, b);
	assert_int_equal(out[0].iov_len, 7);
	assert_int_equal(ncall_payload(call, 4, 100, out, 2, &len), 2);
	assert_int_equal(len, 21);
	assert_int_equal(ncall_payload(call, 55, 1, out, 4, &len), 0);
	assert_int_equal(len, 0);
	ncall_put(call);
}

/* ---- replies --------------------------------------------------------- */

static struct {
	struct ncall *call; /* the only one in flight */
	uint32_t xid;
	int completed, error;
} flight;

static struct ncall *find(void *arg, uint32_t xid)
{
	(void)arg;
	return flight.call && xid == flight.xid && !flight.completed ? flight.call : NULL;
}

static void complete(void *arg, struct ncall *call, int error)
{
	(void)arg;
	assert_ptr_equal(call, flight.call);
	flight.completed++;
	flight.error = error;
}

static const struct nrec_ops ops = { find, complete };

static void fly(struct nrec *r, struct ncall *call)
{
	memset(&flight, 0, sizeof flight);
	flight.call = call;
	flight.xid = 0x01020304;
	nrec_init(r, &ops, NULL);
}

static void put_mark(struct enc *e, uint32_t len, bool last)
{
	enc_u32(e, len | (last ? 0x80000000u : 0));
}

static void put_head(struct enc *e, uint32_t xid)
{
	enc_u32(e, xid);
	enc_u32(e, 1);
	enc_u32(e, 0);
	enc_u32(e, 0);
	enc_u32(e, 0);
	enc_u32(e, 0);
}

/* A READ reply without attributes: 24 + 20 bytes before n bytes of data. */
static void put_read(struct enc *e, uint32_t xid, const void *data, uint32_t n)
{
	put_mark(e, 44 + ((n + 3) & ~3u), true);
	put_head(e, xid);
	enc_u32(e, NFS3_OK);
	enc_u32(e, 0);
	enc_u32(e, n);
	enc_u32(e, 1);
	enc_opaque(e, data, n);
}

static void feed_in_steps(struct nrec *r, const uint8_t *p, size_t n, size_t step)
{
	for (size_t i = 0; i < n; i += step)
		assert_int_equal(nrec_feed(r, p + i, n - i < step ? n - i : step), 0);
}

static void a_reply_arrives_in_pieces_of_any_size(void **state)
{
	(void)state;
	for (size_t step = 1; step < 60; step++) {
		struct ncall *call = ncall_new(&pool);
		uint8_t buf[256];
		struct nrec r;
		struct enc e;

		fly(&r, call);
		enc_init(&e, buf, sizeof buf);
		put_mark(&e, 28, true); /* of somebody unknown */
		put_head(&e, 99);
		enc_u32(&e, 0);
		put_mark(&e, 10, false); /* ours, in three fragments, one of them empty */
		enc_u32(&e, flight.xid);
		enc_u32(&e, 1);
		e.len += 2;
		memset(buf + e.len - 2, 0, 2);
		put_mark(&e, 0, false);
		put_mark(&e, 18, true);
		memset(buf + e.len, 0, 18);
		buf[e.len + 17] = 5;
		e.len += 18;
		feed_in_steps(&r, buf, e.len, step);
		assert_int_equal(flight.completed, 1);
		assert_int_equal(flight.error, 0);
		assert_int_equal(call->reply_len, 28);
		assert_int_equal(call->reply[27], 5);
		ncall_put(call);
	}
}

static void read_data_lands_in_the_callers_memory(void **state)
{
	static const char data[] = "abcdefghijklmnopqrstuvwxyz";

	(void)state;
	for (size_t step = 1; step < 90; step++) {
		char part1[10], part2[40];
		struct iovec iov[] = { { part1, 10 }, { part2, 40 } };
		struct ncall *call = ncall_new(&pool);
		uint8_t buf[256];
		struct nrec r;
		struct enc e;

		memset(part2, 'Z', sizeof part2);
		fly(&r, call);
		call->kind = NCALL_READ;
		call->iov = iov;
		call->niov = 2;
		call->payload_len = 50;
		enc_init(&e, buf, sizeof buf);
		put_read(&e, flight.xid, data, 26);
		put_read(&e, 5, data, 26); /* and one that nobody waits for */
		feed_in_steps(&r, buf, e.len, step);
		assert_int_equal(flight.completed, 1);
		assert_int_equal(flight.error, 0);
		assert_int_equal(call->head.data_len, 26);
		assert_memory_equal(part1, data, 10);
		assert_memory_equal(part2, data + 10, 16);
		assert_int_equal(part2[16], 'Z');
		ncall_put(call);
	}
}

static void read_data_can_be_received_in_place(void **state)
{
	char part1[10], part2[40];
	struct iovec iov[] = { { part1, 10 }, { part2, 40 } }, where[4];
	struct ncall *call = ncall_new(&pool);
	uint8_t buf[256];
	struct nrec r;
	struct enc e;
	size_t len;

	(void)state;
	fly(&r, call);
	call->kind = NCALL_READ;
	call->iov = iov;
	call->niov = 2;
	call->payload_len = 50;
	enc_init(&e, buf, sizeof buf);
	put_read(&e, flight.xid, "0123456789abcdefghi", 19);
	assert_int_equal(nrec_direct(&r, where, 4, &len), 0);
	assert_int_equal(nrec_feed(&r, buf, 48), 0);
	assert_int_equal(nrec_direct(&r, where, 4, &len), 2);
	assert_int_equal(len, 19);
	assert_ptr_equal(where[0].iov_base, part1);
	nrec_received(&r, 12);
	assert_int_equal(nrec_direct(&r, where, 4, &len), 1);
	assert_int_equal(len, 7);
	assert_ptr_equal(where[0].iov_base, part2 + 2);
	nrec_received(&r, 7);
	assert_int_equal(flight.completed, 0); /* the padding */
	assert_int_equal(nrec_direct(&r, where, 4, &len), 0);
	assert_int_equal(nrec_feed(&r, buf + 48 + 19, 1), 0);
	assert_int_equal(flight.completed, 1);
	ncall_put(call);
}

/* Feeds e to a READ of 16 bytes; returns what it completed with. */
static int read16(struct enc *e)
{
	char room[17] = { [16] = 'G' };
	struct iovec iov = { room, 16 };
	struct ncall *call = ncall_new(&pool);
	struct nrec r;

	fly(&r, call);
	call->kind = NCALL_READ;
	call->iov = &iov;
	call->niov = 1;
	call->payload_len = 16;
	assert_int_equal(nrec_feed(&r, e->base, e->len), 0);
	assert_int_equal(room[16], 'G');
	assert_int_equal(flight.completed, 1);
	ncall_put(call);
	return flight.error;
}

static void bad_read_replies_fail_the_call_only(void **state)
{
	uint8_t buf[256];
	struct enc e;

	(void)state;
	enc_init(&e, buf, sizeof buf);
	put_read(&e, 0x01020304, "more than was asked for", 23);
	assert_int_equal(read16(&e), -EIO);
	/* every shorter record: cut in the head or in the data */
	for (uint32_t n = 4; n < 60; n++) {
		enc_init(&e, buf, sizeof buf);
		put_read(&e, 0x01020304, "0123456789abcdef", 16);
		e.len = 0;
		put_mark(&e, n, true);
		e.len = 4 + n;
		assert_int_equal(read16(&e), -EIO);
	}
	enc_init(&e, buf, sizeof buf);
	put_mark(&e, 32, true);
	put_head(&e, 0x01020304);
	enc_u32(&e, NFS3ERR_STALE);
	enc_u32(&e, 0);
	assert_int_equal(read16(&e), 0); /* refused in good form: the status tells */
}

static void a_reply_larger_than_its_buffer_fails_the_call_only(void **state)
{
	struct ncall *call = ncall_new(&pool);
	uint8_t buf[2000] = { 0 };
	struct nrec r;
	struct enc e;

	(void)state;
	fly(&r, call);
	enc_init(&e, buf, sizeof buf);
	put_mark(&e, 1500, true);
	put_head(&e, flight.xid);
	assert_int_equal(nrec_feed(&r, buf, 1504), 0);
	assert_int_equal(flight.completed, 1);
	assert_int_equal(flight.error, -EIO);
	assert_true(call->reply_len <= call->reply_cap);
	ncall_put(call);
}

static void an_endless_record_ends_the_stream(void **state)
{
	struct ncall *call = ncall_new(&pool);
	uint8_t buf[64];
	struct nrec r;
	struct enc e;

	(void)state;
	fly(&r, call);
	enc_init(&e, buf, sizeof buf);
	put_mark(&e, 0x7fffffff, false);
	assert_int_equal(nrec_feed(&r, buf, e.len), -EIO);
	assert_int_equal(flight.completed, 0);

	fly(&r, call); /* known by its first fragment, too long by its second */
	enc_init(&e, buf, sizeof buf);
	put_mark(&e, 8, false);
	enc_u32(&e, flight.xid);
	enc_u32(&e, 1);
	put_mark(&e, NREC_MAX - 7, true);
	assert_int_equal(nrec_feed(&r, buf, e.len), -EIO);
	assert_int_equal(flight.completed, 1);
	assert_int_equal(flight.error, -EIO);

	fly(&r, call);
	enc_init(&e, buf, sizeof buf);
	put_mark(&e, 0, false);
	for (int i = 0; i < NREC_FRAGMENTS_MAX; i++)
		assert_int_equal(nrec_feed(&r, buf, 4), 0);
	assert_int_equal(nrec_feed(&r, buf, 4), -EIO);
	ncall_put(call);
}

static void a_forgotten_call_is_not_touched(void **state)
{
	char room[32] = { 0 };
	struct iovec iov = { room, 32 };
	struct ncall *call = ncall_new(&pool);
	uint8_t buf[256];
	struct nrec r;
	struct enc e;

	(void)state;
	fly(&r, call);
	call->kind = NCALL_READ;
	call->iov = &iov;
	call->niov = 1;
	call->payload_len = 32;
	enc_init(&e, buf, sizeof buf);
	put_read(&e, flight.xid, "0123456789abcdef", 16);
	assert_int_equal(nrec_feed(&r, buf, 50), 0);
	nrec_forget(&r, call);
	assert_int_equal(nrec_feed(&r, buf + 50, e.len - 50), 0);
	assert_int_equal(flight.completed, 0);
	assert_int_equal(room[2], 0);
	ncall_put(call);
}

int main(void)
{
#define POOL_TEST(t) cmocka_unit_test_setup_teardown(t, pool_up, pool_down)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_call_is_these_bytes),
		cmocka_unit_test(no_more_than_sixteen_groups_are_sent),
		cmocka_unit_test(a_full_buffer_takes_nothing_more),
		cmocka_unit_test(the_library_reads_our_create),
		POOL_TEST(payload_is_cut_out_of_the_middle),
		POOL_TEST(a_reply_arrives_in_pieces_of_any_size),
		POOL_TEST(read_data_lands_in_the_callers_memory),
		POOL_TEST(read_data_can_be_received_in_place),
		POOL_TEST(bad_read_replies_fail_the_call_only),
		POOL_TEST(a_reply_larger_than_its_buffer_fails_the_call_only),
		POOL_TEST(an_endless_record_ends_the_stream),
		POOL_TEST(a_forgotten_call_is_not_touched),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
