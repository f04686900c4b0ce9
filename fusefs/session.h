/* SPDX-License-Identifier: Apache-2.0 */
/* session.h - the conversation with the kernel: receivers, decoding, the pool
 *
 * There is a receiver thread for each CPU the worker may use (receiver.h). It reads
 * a message into its request's slot, decodes it and runs the operation. Threads of
 * the pool, made at need, run what may wait. */
#ifndef FUSEFS_SESSION_H
#define FUSEFS_SESSION_H

#include "common/err.h"
#include "fusefs/request.h"
#include "fusefs/volume.h"

/* decode.c: libfuse as decoder of what op_raw() does not take. */
int decoder_init(struct volume *v, struct err *err);
void decoder_done(struct volume *v);
/* As an operation: 0, -errno, OP_PUNT, OP_PARKED. */
int decoder_run(struct request *rq);

/* offload.c */
int offload_init(struct volume *v);
/* Takes the request; some thread will run it with may_block set. */
void offload_submit(struct request *rq);
/* Waits for what is queued and running, ends the threads. */
void offload_done(struct volume *v);

/* session.c */
/* Starts the receivers. */
int session_start(struct volume *v, struct err *err);
/* Returns when the kernel has ended the connection (unmounted or aborted) and the receivers are gone. */
void session_join(struct volume *v);
/* Runs a request to its end or hands it on; true when rq is still the caller's. */
bool session_dispatch(struct request *rq);

#endif
