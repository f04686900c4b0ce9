/* SPDX-License-Identifier: Apache-2.0 */
/* Any bytes as the results of any procedure: the first byte chooses which. Nothing
 * is read outside of the input, nothing found points outside of it. */
#include <assert.h>
#include <errno.h>

#include "backends/nfs/nlm_wire.h"

enum { KINDS = 10, NLM_COOKIE = 7 };

static void inside(const struct dec *d, const uint8_t *p, size_t n)
{
	assert(p >= d->base && p + n <= d->end);
}

static void take_lookup(struct dec *d)
{
	struct nfs_handle fh;
	struct be_attr attr;

	dec_handle(d, &fh);
	assert(fh.len <= NFS_FH_MAX);
	dec_post_attr(d, &attr);
	dec_post_attr(d, &attr);
}

static void take_made(struct dec *d)
{
	struct nfs_handle fh;
	struct nfs_wcc wcc;
	struct be_attr attr;

	if (dec_post_handle(d, &fh))
		assert(fh.len && fh.len <= NFS_FH_MAX);
	if (dec_post_attr(d, &attr))
		assert(attr.mode & S_IFMT);
	dec_wcc(d, &wcc);
}

static void take_list(struct dec *d, bool plus)
{
	size_t max = dec_left(d) / 24 + 1, n = 0;
	struct nfs_dirent e;

	while (dec_dirent(d, plus, &e)) {
		inside(d, e.name, e.name_len);
		n++;
		assert(n <= max);
	}
	dec_bool(d);
}

static void take_link(struct dec *d)
{
	struct be_attr attr;
	const uint8_t *p;
	uint32_t len;

	dec_post_attr(d, &attr);
	p = dec_opaque(d, 4096, &len);
	if (p)
		inside(d, p, len);
	else
		assert(!len);
}

static void take_fs(struct dec *d)
{
	struct nfs_fsstat st;
	struct nfs_fsinfo info;
	struct nfs_handle fh;
	struct dec copy = *d;
	bool sys;

	dec_fsstat(&copy, &st);
	copy = *d;
	dec_fsinfo(&copy, &info);
	dec_mount_ok(d, &fh, &sys);
	assert(!d->bad || !fh.len || fh.len <= NFS_FH_MAX);
}

static void take_read(const uint8_t *data, size_t size)
{
	struct nfs_read_head h;
	size_t have = size < 4 ? size : 4, need = 0;
	int rc;

	while ((rc = dec_read_head(data, have, &h, &need)) == -EAGAIN) {
		assert(need > have && need <= READ_HEAD_MAX);
		if (need > size)
			return;
		have = need;
	}
	assert(rc || h.head_len <= have);
}

/* A reply of the lock service, behind the RPC head. */
static void take_lock(struct dec *d, enum nlm_proc proc)
{
	uint32_t cookie_len = dec_u32(d);
	struct nlm_reply r;

	dec_nlm(d, proc, cookie_len, NLM_COOKIE, &r);
	assert(d->bad || r.status <= NLM_FAILED);
	assert(nlm_errno(r.status) <= 0);
	if (!d->bad && proc == NLM_TEST && r.status == NLM_DENIED)
		assert(r.start <= r.end && r.end <= BE_LOCK_END);
}

/* WRITE and COMMIT: what was before and after, then counts and a verifier. */
static void take_wcc(struct dec *d)
{
	struct nfs_wcc wcc;

	dec_wcc(d, &wcc);
	if (wcc.post_valid && !d->bad)
		assert(wcc.post.mode & S_IFMT);
	dec_u32(d);
	dec_u32(d);
	dec_u64(d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint32_t xid;
	struct dec d;

	if (!size)
		return 0;
	dec_init(&d, data + 1, size - 1);
	switch (data[0] % KINDS) {
	case 0:
		take_lookup(&d);
		break;
	case 1:
		take_made(&d);
		break;
	case 2:
		take_list(&d, false);
		break;
	case 3:
		take_list(&d, true);
		break;
	case 4:
		take_link(&d);
		break;
	case 5:
		take_fs(&d);
		break;
	case 7:
		take_lock(&d, NLM_TEST);
		break;
	case 8:
		take_lock(&d, NLM_LOCK);
		break;
	case 9:
		take_wcc(&d);
		break;
	default:
		dec_reply_head(&d, &xid);
		take_read(data + 1, size - 1);
	}
	assert(d.p >= d.base && d.p <= d.end);
	return 0;
}
