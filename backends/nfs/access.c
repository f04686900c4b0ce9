/* SPDX-License-Identifier: Apache-2.0 */
/* access.c - what the server lets a credential do with a node
 *
 * Answers are kept in a few slots of the node, by credential. They hold while the
 * node's attributes are fresh and its ctime is the one of the answer.
 *
 * ACCESS does not tell a read-only export from a lack of permission. So where
 * writing is refused, a SETATTR asks, which could not change anything: it sets
 * nothing, and only if the ctime is one that no file has. The answer is kept for
 * that node alone: snapshots are read-only folders in exports that are not. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "backends/nfs/nfs_impl.h"
#include "common/clock.h"

#define ACCESS_ALL                                                                          \
	(ACCESS3_READ | ACCESS3_LOOKUP | ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE | \
	 ACCESS3_EXECUTE)

#define ACCESS_WRITE (ACCESS3_MODIFY | ACCESS3_EXTEND | ACCESS3_DELETE)
#define ROFS_KEEP_MS 5000

uint32_t naccess_bits(const struct nfs_node *node, int mask)
{
	bool dir = node->base.type == S_IFDIR;
	uint32_t bits = 0;

	if (mask & R_OK)
		bits |= ACCESS3_READ;
	if (mask & W_OK)
		bits |= ACCESS3_MODIFY | ACCESS3_EXTEND | (dir ? ACCESS3_DELETE : 0);
	if (mask & X_OK)
		bits |= dir ? ACCESS3_LOOKUP : ACCESS3_EXECUTE;
	return bits;
}

static struct nfs_access_slot *find_locked(struct nfs_node *node, const struct be_cred *cred)
{
	for (unsigned i = 0; i < NFS_ACCESS_SLOTS; i++)
		if (node->access[i].cred_id == cred->id)
			return &node->access[i];
	return NULL;
}

void naccess_learn(struct nfs_node *node, const struct be_cred *cred, uint32_t known,
		   uint32_t allowed)
{
	struct nfs_access_slot *s;

	mutex_lock(&node->lock);
	s = find_locked(node, cred);
	if (!s || timespec_cmp(&s->ctime, &node->attr.ctime)) {
		if (!s)
			s = &node->access[node->access_next++ % NFS_ACCESS_SLOTS];
		*s = (struct nfs_access_slot){ .cred_id = cred->id, .ctime = node->attr.ctime };
	}
	s->known |= known;
	s->allowed = (s->allowed & ~known) | (allowed & known);
	mutex_unlock(&node->lock);
}

int naccess_cached(struct nfs_node *node, const struct be_cred *cred, uint32_t bits)
{
	const struct nfs_access_slot *s;
	int rc = -EAGAIN;

	mutex_lock(&node->lock);
	s = find_locked(node, cred);
	if (s && node->attr_known && clock_ms() < node->fresh_until_ms &&
	    !timespec_cmp(&s->ctime, &node->attr.ctime) && (s->known & bits) == bits)
		rc = (s->allowed & bits) == bits ? 0 : -EACCES;
	mutex_unlock(&node->lock);
	return rc;
}

static int ask(struct nfs_node *node, const struct be_call *call, uint32_t *allowed)
{
	struct nfs_backend *b = nnode_backend(node);
	bool attr_valid = false;
	struct be_attr attr;
	struct nrpc r;
	int rc;

	nrpc_begin(&r, b, call, NFS3_ACCESS, node);
	nrpc_handle(&r, node);
	enc_u32(&r.enc, ACCESS_ALL);
	if (!nrpc_run(&r)) {
		attr_valid = dec_post_attr(&r.dec, &attr);
		*allowed = r.status == NFS3_OK ? dec_u32(&r.dec) : 0;
	}
	rc = nrpc_result(&r);
	nrpc_end(&r);
	if (attr_valid && !r.dec.bad)
		nattr_update(node, &attr, r.stamp);
	return rc;
}

static int ask_read_only(struct nfs_node *node, const struct be_call *call, bool *rofs)
{
	struct be_setattr nothing = { .valid = 0 };
	struct nrpc r;
	int rc;

	nrpc_begin(&r, nnode_backend(node), call, NFS3_SETATTR, node);
	nrpc_handle(&r, node);
	enc_sattr(&r.enc, &nothing);
	enc_u32(&r.enc, 1); /* guarded by the ctime that follows */
	enc_u32(&r.enc, 0);
	enc_u32(&r.enc, 0);
	rc = nrpc_run(&r);
	*rofs = !rc && r.status == NFS3ERR_ROFS;
	nrpc_end(&r);
	return rc;
}

/* Why writing is refused: -EROFS or -EACCES; -EAGAIN with BE_NOWAIT when not known. */
static int write_refused(struct nfs_node *node, const struct be_call *call)
{
	bool rofs, known;
	int rc;

	mutex_lock(&node->lock);
	rofs = node->rofs;
	known = clock_ms() < node->rofs_until_ms;
	mutex_unlock(&node->lock);
	if (!known && (call->flags & BE_NOWAIT))
		return -EAGAIN;
	rc = known ? 0 : ask_read_only(node, call, &rofs);
	if (rc)
		return rc;
	if (!known) {
		mutex_lock(&node->lock);
		node->rofs = rofs;
		node->rofs_until_ms = clock_ms() + ROFS_KEEP_MS;
		mutex_unlock(&node->lock);
	}
	return rofs ? -EROFS : -EACCES;
}

static int refused(struct nfs_node *node, const struct be_call *call, uint32_t bits)
{
	return bits & ACCESS_WRITE ? write_refused(node, call) : -EACCES;
}

int naccess_check(struct nfs_node *node, const struct be_call *call, uint32_t bits)
{
	uint32_t allowed = 0;
	int rc = -EAGAIN;

	if (!(call->flags & BE_REVALIDATE))
		rc = naccess_cached(node, call->cred, bits);
	if (rc == -EACCES)
		return refused(node, call, bits);
	if (rc != -EAGAIN || (call->flags & BE_NOWAIT))
		return rc;
	rc = ask(node, call, &allowed);
	if (rc)
		return rc;
	naccess_learn(node, call->cred, ACCESS_ALL, allowed);
	return (allowed & bits) == bits ? 0 : refused(node, call, bits);
}
