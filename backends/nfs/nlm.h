/* SPDX-License-Identifier: Apache-2.0 */
/* nlm.h - file locks at the NFS server, by NLM version 4 (mount option nlm)
 *
 * The operations keep backend.h's contract for locks. With them two cells exclude
 * each other, whatever mount or machine they are on, as do other NFS clients.
 *
 * The server is not asked to block (it would have to call us back), and it does not
 * watch us: no NSM, in a container the host's would be in the way. So a lost
 * connection is taken for a restart: all locks held are taken again, and a daemon
 * that dies leaves its locks at the server until that restarts.
 *
 * Threads: any, without locks held; open and close alone. */
#ifndef BACKENDS_NFS_NLM_H
#define BACKENDS_NFS_NLM_H

#include "backends/backend.h"

struct nlm;
struct nfs_backend;

/* Finds and connects to the lock service (port 0: the portmapper knows) and makes
 * b->nlm. -EPROTONOSUPPORT and others with a sentence. */
int be_nfs_nlm_open(struct nfs_backend *b, uint16_t port, struct err *err);
/* Gives back what is held, as far as that goes in NLM_CLOSE_MS. NULL is fine. */
void be_nfs_nlm_close(struct nlm *n);
#define NLM_CLOSE_MS 2000

/* True while somebody believes to have a lock on node that the server gave away. */
bool be_nfs_nlm_lost(struct nlm *n, const struct be_node *node);

int be_nfs_lock(struct backend *be, const struct be_call *call, struct be_node *node,
		const struct be_lock *lk);
int be_nfs_unlock(struct backend *be, const struct be_call *call, struct be_node *node,
		  const struct be_lock *lk);
int be_nfs_lock_test(struct backend *be, const struct be_call *call, struct be_node *node,
		     const struct be_lock *lk, struct be_lock *out);

#endif
