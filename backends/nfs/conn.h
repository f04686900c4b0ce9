/* SPDX-License-Identifier: Apache-2.0 */
/* conn.h - one TCP connection to a server, kept alive, with its own thread
 *
 * Calls given to nconn_submit() are sent, and sent again under the same XID after
 * the connection was lost and made anew, until a reply arrives, their deadline
 * passes (-ETIMEDOUT) or the connection is freed (-EIO). Without calls in
 * flight a lost connection is not made anew.
 *
 * Threads: any thread submits, and often sends on its own; replies are received
 * and done() runs on the connection's thread "nfs-<name>", which nconn_free() joins. */
#ifndef BACKENDS_NFS_CONN_H
#define BACKENDS_NFS_CONN_H

#include "backends/nfs/rpc.h"
#include "backends/sock.h"

struct nconn;

struct nconn_conf {
	const struct nsock_target *target; /* copied */
	const char *name;                  /* at most 10 bytes */
	_Atomic uint32_t *xids; /* borrowed: the next XID; may be shared by connections */
	uint64_t reply_ms; /* without a reply for so long, the connection is made anew; 0: 60 s */
};

/* fd_take: a connected socket, owned from here on also on failure; -1: connect when needed. */
int nconn_new(const struct nconn_conf *conf, int fd_take, struct nconn **out);
void nconn_free(struct nconn *c); /* NULL is fine; no submit may run or follow */
/* Hands call over until done(); delay_ms > 0: it is sent that much later. */
void nconn_submit(struct nconn *c, struct ncall *call, uint64_t delay_ms);
/* The waiting thread gives call up: its buffers stay the connection's, and done()
 * still runs once, with any result, now or later. */
void nconn_abandon(struct nconn *c, struct ncall *call);
/* READs fail from now on, with -ETIMEDOUT: those in flight soon, others when they come. */
void nconn_fail_reads(struct nconn *c);
/* True while a call that was given up may still be answered on this connection. */
bool nconn_owes_abandoned(struct nconn *c);

#endif
