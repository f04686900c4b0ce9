/* SPDX-License-Identifier: Apache-2.0 */
/* Replies are built with the library's marshalling and read with ours: two
 * independent views of the protocol. Each is then cut at every length, and each of
 * its bytes spoiled, in buffers of exact size, so that ASan sees one byte too far. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <nfsc/libnfs-zdr.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "backends/nfs/decode.h"
#include "backends/nfs/encode.h"
#include "common/cleanup.h"

#define BUF_MAX 4096

struct bytes {
	uint8_t data[BUF_MAX];
	size_t len;
};

static uint32_t pos(ZDR *z)
{
	return zdr_getpos(z);
}

/* Encodes value by the library's proc into b. */
#define ZDR_PUT(b, proc, value)                                                                 \
	do {                                                                                    \
		ZDR z;                                                                          \
		zdrmem_create(&z, (char *)(b)->data + (b)->len, (uint32_t)(BUF_MAX - (b)->len), \
			      ZDR_ENCODE);                                                      \
		assert_true(proc(&z, value));                                                   \
		(b)->len += pos(&z);                                                            \
		zdr_destroy(&z);                                                                \
	} while (0)

static fattr3 sample_fattr(void)
{
	fattr3 a;

	memset(&a, 0, sizeof a);
	a.type = NF3CHR;
	a.mode = 06755;
	a.nlink = 3;
	a.uid = 1001;
	a.gid = 4000000000u;
	a.size = 0x123456789abcULL;
	a.used = 1025;
	a.rdev.specdata1 = 5;
	a.rdev.specdata2 = 7;
	a.fsid = 99;
	a.fileid = 0xfedcba9876543210ULL;
	a.atime.seconds = 1;
	a.atime.nseconds = 999999999;
	a.mtime.seconds = 4294967295u;
	a.mtime.nseconds = 5;
	a.ctime.seconds = 1700000000;
	return a;
}

static void attributes_are_read_as_the_library_writes_them(void **state)
{
	struct bytes b = { .len = 0 };
	fattr3 in = sample_fattr();
	struct be_attr out;
	struct dec d;

	(void)state;
	ZDR_PUT(&b, zdr_fattr3, &in);
	assert_int_equal(b.len, 84);
	dec_init(&d, b.data, b.len);
	dec_attr(&d, &out);
	assert_false(d.bad);
	assert_int_equal(dec_left(&d), 0);
	assert_int_equal(out.mode, S_IFCHR | 06755);
	assert_int_equal(out.nlink, 3);
	assert_int_equal(out.uid, 1001);
	assert_int_equal(out.gid, 4000000000u);
	assert_int_equal(out.size, 0x123456789abcULL);
	assert_int_equal(out.blocks, 3);
	assert_int_equal(out.rdev, makedev(5, 7));
	assert_true(out.ino == 0xfedcba9876543210ULL);
	assert_int_equal(out.atime.tv_nsec, 999999999);
	assert_int_equal(out.mtime.tv_sec, 4294967295LL);
	assert_int_equal(out.ctime.tv_sec, 1700000000);
}

static void impossible_attributes_are_bad(void **state)
{
	/* offset of a word, and a value that it cannot have */
	static const struct {
		size_t at;
		uint32_t value;
	} spoil[] = { { 0, 0 }, { 0, 8 }, { 0, 0xffffffff }, { 20, 0x80000000 } };
	fattr3 in = sample_fattr();

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(spoil); i++) {
		struct bytes b = { .len = 0 };
		struct be_attr out;
		struct enc e;
		struct dec d;

		ZDR_PUT(&b, zdr_fattr3, &in);
		enc_init(&e, b.data + spoil[i].at, 4);
		enc_u32(&e, spoil[i].value);
		dec_init(&d, b.data, b.len);
		dec_attr(&d, &out);
		assert_true(d.bad);
	}
}

/* ganesha's memory file system does this. */
static void too_many_nanoseconds_are_cut(void **state)
{
	static const size_t places[] = { 64, 72, 80 };
	fattr3 in = sample_fattr();
	struct bytes b = { .len = 0 };
	struct be_attr out;
	struct enc e;
	struct dec d;

	(void)state;
	ZDR_PUT(&b, zdr_fattr3, &in);
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		enc_init(&e, b.data + places[i], 4);
		enc_u32(&e, 0x3fffffff + (uint32_t)i);
	}
	dec_init(&d, b.data, b.len);
	dec_attr(&d, &out);
	assert_false(d.bad);
	assert_int_equal(out.atime.tv_nsec, 999999999);
	assert_int_equal(out.mtime.tv_nsec, 999999999);
	assert_int_equal(out.ctime.tv_nsec, 999999999);
	assert_int_equal(out.mtime.tv_sec, 4294967295LL);
}

/* ---- every kind of reply, cut and spoiled ---------------------------- */

static void put_fattr(post_op_attr *p)
{
	memset(p, 0, sizeof *p);
	p->attributes_follow = 1;
	p->post_op_attr_u.attributes = sample_fattr();
}

static void put_wcc(wcc_data *w)
{
	memset(w, 0, sizeof *w);
	w->before.attributes_follow = 1;
	w->before.pre_op_attr_u.attributes.size = 77;
	w->before.pre_op_attr_u.attributes.mtime.seconds = 10;
	w->before.pre_op_attr_u.attributes.ctime.nseconds = 11;
	put_fattr(&w->after);
}

static void make_post_attr(struct bytes *b)
{
	post_op_attr p;

	put_fattr(&p);
	ZDR_PUT(b, zdr_post_op_attr, &p);
}

static void take_post_attr(struct dec *d)
{
	struct be_attr a;
	bool there = dec_post_attr(d, &a);

	assert_true(there || d->bad || dec_left(d) > 0 || d->p == d->end);
}

static char fh_bytes[NFS_FH_MAX] =
	"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcde";

static void make_handle(struct bytes *b)
{
	post_op_fh3 p;

	memset(&p, 0, sizeof p);
	p.handle_follows = 1;
	p.post_op_fh3_u.handle.data.data_len = 29;
	p.post_op_fh3_u.handle.data.data_val = fh_bytes;
	ZDR_PUT(b, zdr_post_op_fh3, &p);
}

static void take_handle(struct dec *d)
{
	struct nfs_handle fh;

	if (dec_post_handle(d, &fh)) {
		assert_in_range(fh.len, 1, NFS_FH_MAX);
	} else {
		assert_int_equal(fh.len, 0);
	}
}

static void make_wcc(struct bytes *b)
{
	wcc_data w;

	put_wcc(&w);
	ZDR_PUT(b, zdr_wcc_data, &w);
}

static void take_wcc(struct dec *d)
{
	struct nfs_wcc w;

	dec_wcc(d, &w);
}

static void make_list(struct bytes *b, bool plus)
{
	static char names[3][8] = { ".", "longer", "x" };
	entry3 e3[3];
	entryplus3 ep[3];

	memset(e3, 0, sizeof e3);
	memset(ep, 0, sizeof ep);
	for (int i = 0; i < 3; i++) {
		e3[i].fileid = ep[i].fileid = 100 + (unsigned)i;
		e3[i].name = ep[i].name = names[i];
		e3[i].cookie = ep[i].cookie = 0xffffffff00000001ULL + (unsigned)i;
		e3[i].nextentry = i < 2 ? &e3[i + 1] : NULL;
		ep[i].nextentry = i < 2 ? &ep[i + 1] : NULL;
		put_fattr(&ep[i].name_attributes);
		ep[i].name_handle.handle_follows = i != 0;
		ep[i].name_handle.post_op_fh3_u.handle.data.data_len = 16;
		ep[i].name_handle.post_op_fh3_u.handle.data.data_val = fh_bytes;
	}
	if (plus) {
		dirlistplus3 l = { .entries = ep, .eof = 1 };
		ZDR_PUT(b, zdr_dirlistplus3, &l);
	} else {
		dirlist3 l = { .entries = e3, .eof = 1 };
		ZDR_PUT(b, zdr_dirlist3, &l);
	}
}

static void make_readdir(struct bytes *b)
{
	make_list(b, false);
}

static void make_readdirplus(struct bytes *b)
{
	make_list(b, true);
}

static void take_list(struct dec *d, bool plus)
{
	struct nfs_dirent e;
	size_t n = 0;

	while (dec_dirent(d, plus, &e)) {
		assert_true(e.name >= d->base && e.name + e.name_len <= d->end);
		n++;
	}
	assert_true(n <= BUF_MAX / 24);
	dec_bool(d);
}

static void take_readdir(struct dec *d)
{
	take_list(d, false);
}

static void take_readdirplus(struct dec *d)
{
	take_list(d, true);
}

static void make_fsinfo(struct bytes *b)
{
	FSINFO3resok ok;

	memset(&ok, 0, sizeof ok);
	put_fattr(&ok.obj_attributes);
	ok.rtmax = 1 << 20;
	ok.rtpref = 1 << 17;
	ok.wtmax = 1 << 19;
	ok.wtpref = 1 << 18;
	ok.dtpref = 1 << 16;
	ok.maxfilesize = 1ULL << 50;
	ZDR_PUT(b, zdr_FSINFO3resok, &ok);
}

static void take_fsinfo(struct dec *d)
{
	struct nfs_fsinfo info;
	struct be_attr attr;

	dec_post_attr(d, &attr);
	dec_fsinfo(d, &info);
}

static void make_fsstat(struct bytes *b)
{
	FSSTAT3resok ok;

	memset(&ok, 0, sizeof ok);
	put_fattr(&ok.obj_attributes);
	ok.tbytes = 3;
	ok.afiles = 1ULL << 40;
	ZDR_PUT(b, zdr_FSSTAT3resok, &ok);
}

static void take_fsstat(struct dec *d)
{
	struct nfs_fsstat st;
	struct be_attr attr;

	dec_post_attr(d, &attr);
	dec_fsstat(d, &st);
}

static void make_mount(struct bytes *b)
{
	static u_int flavors[] = { 390003, 1 };
	mountres3_ok ok;

	memset(&ok, 0, sizeof ok);
	ok.fhandle.fhandle3_len = 32;
	ok.fhandle.fhandle3_val = fh_bytes;
	ok.auth_flavors.auth_flavors_len = 2;
	ok.auth_flavors.auth_flavors_val = (int *)flavors;
	ZDR_PUT(b, zdr_mountres3_ok, &ok);
}

static void take_mount(struct dec *d)
{
	struct nfs_handle fh;
	bool sys;

	dec_mount_ok(d, &fh, &sys);
}

static const struct kind {
	const char *name;
	void (*make)(struct bytes *b);
	void (*take)(struct dec *d);
} kinds[] = {
	{ "attributes", make_post_attr, take_post_attr },
	{ "handle", make_handle, take_handle },
	{ "wcc", make_wcc, take_wcc },
	{ "readdir", make_readdir, take_readdir },
	{ "readdirplus", make_readdirplus, take_readdirplus },
	{ "fsinfo", make_fsinfo, take_fsinfo },
	{ "fsstat", make_fsstat, take_fsstat },
	{ "mount", make_mount, take_mount },
};

/* Decodes a copy of exact size; returns whether it was bad. */
static bool take_exact(const struct kind *k, const uint8_t *data, size_t len)
{
	uint8_t *copy = malloc(len ? len : 1);
	struct dec d;

	assert_non_null(copy);
	memcpy(copy, data, len);
	dec_init(&d, copy, len);
	k->take(&d);
	free(copy);
	return d.bad;
}

static void every_truncation_is_bad(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct bytes b = { .len = 0 };

		kinds[i].make(&b);
		if (take_exact(&kinds[i], b.data, b.len))
			fail_msg("%s: the whole is bad", kinds[i].name);
		for (size_t n = 0; n < b.len; n++)
			if (!take_exact(&kinds[i], b.data, n))
				fail_msg("%s: %zu of %zu bytes are good", kinds[i].name, n, b.len);
	}
}

static void every_spoiled_byte_is_survived(void **state)
{
	static const uint8_t values[] = { 0x00, 0x01, 0x02, 0x7f, 0x80, 0xff };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
		struct bytes b = { .len = 0 };

		kinds[i].make(&b);
		for (size_t n = 0; n < b.len; n++)
			for (size_t v = 0; v < ARRAY_LEN(values); v++) {
				uint8_t old = b.data[n];

				b.data[n] = values[v];
				take_exact(&kinds[i], b.data, b.len);
				b.data[n] = old;
			}
	}
}

/* ---- values ---------------------------------------------------------- */

static void wcc_carries_before_and_after(void **state)
{
	struct bytes b = { .len = 0 };
	struct nfs_wcc w;
	struct dec d;

	(void)state;
	make_wcc(&b);
	dec_init(&d, b.data, b.len);
	dec_wcc(&d, &w);
	assert_true(w.pre_valid && w.post_valid && !d.bad);
	assert_int_equal(w.pre_size, 77);
	assert_int_equal(w.pre_mtime.tv_sec, 10);
	assert_int_equal(w.pre_ctime.tv_nsec, 11);
	assert_int_equal(w.post.size, 0x123456789abcULL);
}

static void directory_entries_keep_order_cookies_and_handles(void **state)
{
	static const char *const names[] = { ".", "longer", "x" };
	struct bytes b = { .len = 0 };
	struct nfs_dirent e;
	struct dec d;

	(void)state;
	make_readdirplus(&b);
	dec_init(&d, b.data, b.len);
	for (unsigned i = 0; i < 3; i++) {
		assert_true(dec_dirent(&d, true, &e));
		assert_int_equal(e.name_len, strlen(names[i]));
		assert_memory_equal(e.name, names[i], e.name_len);
		assert_int_equal(e.fileid, 100 + i);
		assert_true(e.cookie == 0xffffffff00000001ULL + i);
		assert_true(e.attr_valid);
		assert_int_equal(e.fh.len, i ? 16 : 0);
	}
	assert_false(dec_dirent(&d, true, &e));
	assert_true(dec_bool(&d));
	assert_false(d.bad);
}

static void mount_reply_tells_whether_sys_is_welcome(void **state)
{
	struct bytes b = { .len = 0 };
	struct nfs_handle fh;
	struct dec d;
	bool sys;

	(void)state;
	make_mount(&b);
	dec_init(&d, b.data, b.len);
	dec_mount_ok(&d, &fh, &sys);
	assert_true(sys && !d.bad);
	assert_int_equal(fh.len, 32);
	/* only Kerberos */
	b.data[b.len - 1] = 9;
	dec_init(&d, b.data, b.len);
	dec_mount_ok(&d, &fh, &sys);
	assert_false(sys);
}

static void oversized_counts_are_bad(void **state)
{
	static const uint32_t counts[] = { 65, 0x7fffffff, 0x80000000, 0xfffffffc, 0xffffffff };

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
		uint8_t buf[80] = { 0 };
		struct nfs_handle fh;
		struct enc e;
		struct dec d;

		enc_init(&e, buf, sizeof buf);
		enc_u32(&e, counts[i]);
		dec_init(&d, buf, sizeof buf);
		dec_handle(&d, &fh);
		assert_true(d.bad);
		assert_int_equal(fh.len, 0);
	}
}

/* ---- heads of replies ------------------------------------------------ */

/* words, then what they must mean */
static void refusals_become_errors(void **state)
{
	static const struct {
		uint32_t words[8];
		unsigned n;
		int rc;
	} heads[] = {
		{ { 9, 1, 0, 0, 0, 0 }, 6, 0 },
		{ { 9, 1, 0, 0, 0, 1 }, 6, -EPROTONOSUPPORT },       /* no such program */
		{ { 9, 1, 0, 0, 0, 2, 2, 4 }, 8, -EPROTONOSUPPORT }, /* nor version */
		{ { 9, 1, 0, 0, 0, 3 }, 6, -ENOTSUP },               /* nor procedure */
		{ { 9, 1, 0, 0, 0, 4 }, 6, -EIO },                   /* garbage arguments */
		{ { 9, 1, 0, 0, 0, 77 }, 6, -EIO },
		{ { 9, 1, 1, 1, 1 }, 5, -EACCES },             /* authentication */
		{ { 9, 1, 1, 0, 2, 2 }, 6, -EPROTONOSUPPORT }, /* RPC version */
		{ { 9, 1, 1, 2 }, 4, -EIO },
		{ { 9, 0, 0, 0, 0, 0 }, 6, -EIO }, /* a call */
		{ { 9, 1, 2, 0, 0, 0 }, 6, -EIO },
		{ { 9, 1, 0, 0, 404, 0 }, 6, -EIO }, /* a verifier too long */
		{ { 9, 1 }, 2, -EIO },
	};

	(void)state;
	for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
		uint8_t buf[64];
		uint32_t xid;
		struct enc e;
		struct dec d;

		enc_init(&e, buf, sizeof buf);
		for (unsigned w = 0; w < heads[i].n; w++)
			enc_u32(&e, heads[i].words[w]);
		dec_init(&d, buf, e.len);
		assert_int_equal(dec_reply_head(&d, &xid), heads[i].rc);
		assert_int_equal(xid, 9);
	}
}

static void put_read_reply(struct enc *e, size_t verf_len, bool attrs, uint32_t count,
			   uint32_t data_len)
{
	static const uint8_t zeros[RPC_VERF_MAX];
	struct bytes b = { .len = 0 };
	fattr3 a = sample_fattr();

	a.type = NF3REG;
	enc_u32(e, 1);
	enc_u32(e, 1);
	enc_u32(e, 0);
	enc_u32(e, 6);
	enc_opaque(e, zeros, verf_len);
	enc_u32(e, 0);
	enc_u32(e, NFS3_OK);
	enc_u32(e, attrs);
	ZDR_PUT(&b, zdr_fattr3, &a);
	if (attrs)
		enc_raw(e, b.data, b.len);
	enc_u32(e, count);
	enc_u32(e, 1);
	enc_u32(e, data_len);
}

static void read_head_asks_for_what_it_needs(void **state)
{
	(void)state;
	for (size_t verf = 0; verf <= RPC_VERF_MAX; verf += 100)
		for (int attrs = 0; attrs < 2; attrs++) {
			uint8_t buf[READ_HEAD_MAX];
			struct nfs_read_head h;
			size_t have = 4, need = 0;
			struct enc e;
			int rc;

			enc_init(&e, buf, sizeof buf);
			put_read_reply(&e, verf, attrs, 4096, 4096);
			assert_false(e.full);
			while ((rc = dec_read_head(buf, have, &h, &need)) == -EAGAIN) {
				assert_true(need > have && need <= e.len);
				have = need;
			}
			assert_int_equal(rc, 0);
			assert_int_equal(have, e.len);
			assert_int_equal(h.head_len, e.len);
			assert_int_equal(h.data_len, 4096);
			assert_int_equal(h.attr_valid, attrs);
			assert_true(h.eof);
		}
}

static void read_head_refuses_nonsense(void **state)
{
	uint8_t buf[READ_HEAD_MAX];
	struct nfs_read_head h;
	size_t need;
	struct enc e;

	(void)state;
	enc_init(&e, buf, sizeof buf);
	put_read_reply(&e, 0, true, 100, 101); /* count and length differ */
	assert_int_equal(dec_read_head(buf, e.len, &h, &need), -EIO);
	enc_init(&e, buf, sizeof buf);
	put_read_reply(&e, 0, true, 100, 100);
	buf[31] = 3; /* neither attributes nor none */
	assert_int_equal(dec_read_head(buf, e.len, &h, &need), -EIO);
	buf[16] = 1; /* a verifier of 16 MiB */
	assert_int_equal(dec_read_head(buf, e.len, &h, &need), -EIO);
}

/* As in a RENAME within the root: the handle twice, a name behind each. */
static size_t put_renaming(struct enc *e, const struct nfs_handle *fh)
{
	size_t second;

	enc_handle(e, fh);
	enc_str(e, "a name");
	second = e->len;
	enc_handle(e, fh);
	enc_str(e, "other");
	return second;
}

static void handles_can_be_replaced_by_longer_and_shorter_ones(void **state)
{
	static const uint32_t lens[] = { 20, 64, 1, 3, 33, 20 };
	struct nfs_handle fh = { .len = 20 };
	uint8_t buf[256], want[256];
	struct enc e, w;
	size_t second;

	(void)state;
	memset(buf, 0xee, sizeof buf);
	enc_init(&e, buf, sizeof buf);
	second = put_renaming(&e, &fh);
	for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
		fh.len = lens[i];
		memset(fh.data, (int)i + 1, fh.len);
		second += enc_replace_handle(&e, 0, &fh);
		enc_replace_handle(&e, second, &fh);
		enc_init(&w, want, sizeof want);
		assert_int_equal(put_renaming(&w, &fh), second);
		assert_int_equal(e.len, w.len);
		assert_memory_equal(buf, want, w.len);
	}
	e.cap = e.len;
	fh.len = 64;
	assert_int_equal(enc_replace_handle(&e, 0, &fh), 0);
	assert_true(e.full);
	assert_memory_equal(buf, want, w.len);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(attributes_are_read_as_the_library_writes_them),
		cmocka_unit_test(impossible_attributes_are_bad),
		cmocka_unit_test(too_many_nanoseconds_are_cut),
		cmocka_unit_test(every_truncation_is_bad),
		cmocka_unit_test(every_spoiled_byte_is_survived),
		cmocka_unit_test(wcc_carries_before_and_after),
		cmocka_unit_test(directory_entries_keep_order_cookies_and_handles),
		cmocka_unit_test(mount_reply_tells_whether_sys_is_welcome),
		cmocka_unit_test(oversized_counts_are_bad),
		cmocka_unit_test(refusals_become_errors),
		cmocka_unit_test(read_head_asks_for_what_it_needs),
		cmocka_unit_test(read_head_refuses_nonsense),
		cmocka_unit_test(handles_can_be_replaced_by_longer_and_shorter_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
