/* SPDX-License-Identifier: Apache-2.0 */
/* silly.c - files whose last name goes while they are open
 *
 * An NFS server forgets an open file with its last name. So that name is not
 * removed but changed to a silly one, which readdir hides, and the last release()
 * removes it in the background; what is left behind is sweep.c's.
 *
 * Whether a file is open is asked while the removal of a name is decided, and must
 * not change before it was carried out. So removals of one node take turns, and an
 * open that comes meanwhile waits; when the file is gone then, it gets -ESTALE, and
 * the kernel looks the name up again, once. That the next open is not lost too, to a
 * program that keeps replacing the name, removals wait a moment for it then. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backends/nfs/silly_impl.h"
#include "common/clock.h"
#include "common/log.h"

enum { SILLY_LEN = 4 + 16 + 8, JUKEBOX_MS = 5000, POLL_MS = 250 };
enum { LOST_MS = 200 /* from a lost open to the next lookup */, WANTED_MS = 200 /* to its open */ };

static void silly_release(struct nfs_node *node, struct nfs_silly *s_take);

/* .nfs FILEID as other clients have it, with a number of 8 digits; ours: FILEID, p, the
 * backend's number, and those 8 digits. */
enum { FILEID_AT = 4, GIVER_MARK_AT = 20, GIVER_AT = 21, OUR_LEN = 45 };

static bool all_hex(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!isxdigit((unsigned char)p[i]))
			return false;
	return true;
}

bool be_nfs_is_silly(const char *name, size_t len)
{
	if ((len != SILLY_LEN && len != OUR_LEN) || memcmp(name, ".nfs", FILEID_AT))
		return false;
	if (len == SILLY_LEN)
		return all_hex(name + FILEID_AT, len - FILEID_AT);
	return name[GIVER_MARK_AT] == 'p' && all_hex(name + FILEID_AT, GIVER_MARK_AT - FILEID_AT) &&
	       all_hex(name + GIVER_AT, len - GIVER_AT);
}

bool silly_giver(const char *name, uint64_t *id)
{
	char digits[17] = "";

	if (strlen(name) != OUR_LEN || !be_nfs_is_silly(name, OUR_LEN))
		return false;
	memcpy(digits, name + GIVER_AT, sizeof digits - 1);
	*id = strtoull(digits, NULL, 16);
	return true;
}

struct nfs_silly *silly_found(struct nfs_node *dir, const char *name, const struct be_cred *cred)
{
	struct nfs_silly *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	be_node_get(&dir->base);
	s->dir = dir;
	s->cred = be_cred_get(cred);
	snprintf(s->name, sizeof s->name, "%s", name);
	nsweep_add(nnode_backend(dir), s);
	return s;
}

struct nfs_silly *silly_new(struct nfs_node *dir, const struct nfs_node *node,
			    const struct be_cred *cred)
{
	struct nfs_backend *b = nnode_backend(dir);
	char name[sizeof((struct nfs_silly *)0)->name];

	snprintf(name, sizeof name, ".nfs%016llxp%016llx%08x", (unsigned long long)node->base.ino,
		 (unsigned long long)b->id, (unsigned)atomic_fetch_add(&b->silly_count, 1));
	return silly_found(dir, name, cred);
}

void silly_keep(struct nfs_silly *s, const struct nfs_node *node)
{
	struct nfs_backend *b = nnode_backend(node);

	mutex_lock(&b->silly_lock);
	snprintf(s->name, sizeof s->name, ".nfs%016llx%08x", (unsigned long long)node->base.ino,
		 (unsigned)atomic_fetch_add(&b->silly_count, 1));
	mutex_unlock(&b->silly_lock);
}

void silly_free(struct nfs_silly *s)
{
	if (!s)
		return;
	nsweep_del(nnode_backend(s->dir), s);
	nnode_put(s->dir);
	be_cred_put(s->cred);
	free(s);
}

void silly_adopt(struct nfs_node *node, struct nfs_silly *s_take)
{
	bool open;

	mutex_lock(&node->lock);
	atomic_fetch_add(&s_take->dir->silly_held, 1);
	open = node->opens > 0 && !node->silly;
	if (open)
		node->silly = s_take;
	mutex_unlock(&node->lock);
	nattr_expire(node);
	if (!open)
		silly_release(node, s_take);
}

bool silly_owns_name(struct nfs_node *node, const struct nfs_node *dir, const char *name)
{
	bool owns;

	mutex_lock(&node->lock);
	owns = node->silly && node->silly->dir == dir && !strcmp(node->silly->name, name);
	mutex_unlock(&node->lock);
	return owns;
}

/* ---- opens and removals take turns ------------------------------------- */

static bool is_interrupted(const struct be_call *call)
{
	return call->interrupted && atomic_load(call->interrupted);
}

/* removal_lock is held. 0 or -EINTR. */
static int wait_removal_locked(struct nfs_node *node, const struct be_call *call)
{
	struct nfs_backend *b = nnode_backend(node);

	while (node->removing) {
		if (is_interrupted(call))
			return -EINTR;
		cond_wait_until(&b->removal_over, &b->removal_lock, clock_ms() + POLL_MS);
	}
	return 0;
}

/* The same, and nobody is expected to open it any more. */
static int wait_opens_locked(struct nfs_node *node, const struct be_call *call)
{
	struct nfs_backend *b = nnode_backend(node);
	int rc = wait_removal_locked(node, call);
	uint64_t until;

	while (!rc && (until = atomic_load(&node->wanted_until_ms)) > clock_ms()) {
		cond_wait_until(&b->removal_over, &b->removal_lock, until);
		rc = is_interrupted(call) ? -EINTR : wait_removal_locked(node, call);
	}
	return rc;
}

int removal_begin(struct nfs_node *node, const struct be_call *call, bool *open)
{
	struct nfs_backend *b = nnode_backend(node);
	int rc;

	mutex_lock(&b->removal_lock);
	rc = wait_opens_locked(node, call);
	if (!rc) {
		node->removing = true;
		mutex_lock(&node->lock);
		*open = node->opens > 0 && !node->silly;
		mutex_unlock(&node->lock);
	}
	mutex_unlock(&b->removal_lock);
	return rc;
}

static void set_removed(struct nfs_node *node)
{
	atomic_store(&node->removed_at, atomic_fetch_add(&nnode_backend(node)->clock, 1) + 1);
}

void removal_end(struct nfs_node *node, bool gone)
{
	struct nfs_backend *b = nnode_backend(node);

	mutex_lock(&b->removal_lock);
	node->removing = false;
	/* With a silly name it was open; it is gone when that one goes. */
	mutex_lock(&node->lock);
	if (gone && !node->opens)
		set_removed(node);
	mutex_unlock(&node->lock);
	cond_broadcast(&b->removal_over);
	mutex_unlock(&b->removal_lock);
}

int be_nfs_open_count(struct nfs_node *node, const struct be_call *call)
{
	struct nfs_backend *b = nnode_backend(node);
	int rc;

	mutex_lock(&b->removal_lock);
	rc = wait_removal_locked(node, call);
	mutex_lock(&node->lock);
	if (!rc && atomic_load(&node->removed_at))
		rc = -ESTALE;
	if (!rc)
		node->opens++;
	mutex_unlock(&node->lock);
	if (rc == -ESTALE)
		atomic_store(&b->open_lost_ms, clock_ms());
	else if (atomic_exchange(&node->wanted_until_ms, 0))
		cond_broadcast(&b->removal_over);
	mutex_unlock(&b->removal_lock);
	return rc;
}

void be_nfs_open_expect(struct nfs_node *node)
{
	uint64_t lost_ms = atomic_load(&nnode_backend(node)->open_lost_ms), now;

	if (!lost_ms || node->base.type != S_IFREG)
		return;
	now = clock_ms();
	if (now < lost_ms + LOST_MS)
		atomic_store(&node->wanted_until_ms, now + WANTED_MS);
}

void be_nfs_open_uncount(struct nfs_node *node)
{
	struct nfs_silly *silly = NULL;

	mutex_lock(&node->lock);
	if (--node->opens == 0)
		silly = take_ptr(&node->silly);
	if (silly)
		set_removed(node);
	mutex_unlock(&node->lock);
	if (silly)
		silly_release(node, silly);
}

/* Others may have linked it by another name before we removed ours. */
void be_nfs_seen_alive(struct nfs_node *node, struct nstamp stamp)
{
	uint64_t removed_at = atomic_load(&node->removed_at);

	if (removed_at && stamp.clock >= removed_at)
		atomic_compare_exchange_strong(&node->removed_at, &removed_at, 0);
}

/* ---- the removal, in the background ---------------------------------- */

static void silly_finish(struct ncall *call)
{
	struct nfs_silly *s = call->priv;
	struct nfs_backend *b = nnode_backend(s->dir);

	ncall_put(call);
	nattr_end(s->dir);
	atomic_fetch_sub(&s->dir->silly_pending, 1);
	silly_free(s);
	atomic_fetch_sub(&b->background, 1);
}

/* Until a listing shows it to sweep.c. */
static void silly_stays(const struct nfs_silly *s, const char *why)
{
	atomic_store(&nnode_backend(s->dir)->silly_left, true);
	log_warn("nfs: '%s' stays on the server: %s", s->name, why);
}

static void silly_removed(struct ncall *call)
{
	struct nfs_silly *s = call->priv;
	struct nstamp stamp = { call->scratch[0], call->scratch[1] };
	struct nfs_wcc wcc;
	uint32_t status, xid;
	struct dec d;

	dec_init(&d, call->reply, call->reply_len);
	if (call->error || dec_reply_head(&d, &xid)) {
		silly_stays(s, "its removal failed");
		nattr_expire(s->dir);
		return silly_finish(call);
	}
	status = dec_u32(&d);
	if (status == NFS3ERR_JUKEBOX) {
		ncall_rearm(call);
		return nconn_submit(be_nfs_conn(nnode_backend(s->dir), &s->dir->fh), call,
				    JUKEBOX_MS);
	}
	dec_wcc(&d, &wcc);
	if (!d.bad)
		nattr_wcc(s->dir, &wcc, stamp);
	if (status != NFS3_OK && status != NFS3ERR_NOENT && status != NFS3ERR_STALE)
		silly_stays(s, strerror(-be_nfs_errno(status)));
	silly_finish(call);
}

void silly_remove(struct nfs_silly *s)
{
	struct nfs_backend *b = nnode_backend(s->dir);
	struct ncall *call = ncall_new(&b->pool);
	struct nstamp stamp = nattr_stamp(b);
	struct nfs_handle fh;
	struct enc e;

	if (!call) {
		silly_stays(s, "no memory");
		return silly_free(s);
	}
	atomic_fetch_add(&b->background, 1);
	atomic_fetch_add(&s->dir->silly_pending, 1);
	nattr_begin(s->dir);
	be_nfs_begin_async(b, call, NFS3_REMOVE, s->cred, &e);
	nnode_handle(s->dir, &fh);
	enc_handle(&e, &fh);
	enc_str(&e, s->name);
	enc_set_marker(&e, 0);
	call->args_len = e.len;
	call->done = silly_removed;
	call->priv = s;
	call->scratch[0] = stamp.clock;
	call->scratch[1] = stamp.ms;
	nconn_submit(be_nfs_conn(b, &s->dir->fh), call, 0);
}

static void silly_release(struct nfs_node *node, struct nfs_silly *s)
{
	struct nfs_node *dir = s->dir;

	nattr_expire(node);
	be_node_get(&dir->base);
	silly_remove(s);
	atomic_fetch_sub(&dir->silly_held, 1);
	nnode_put(dir);
}
