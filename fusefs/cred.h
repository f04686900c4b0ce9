/* SPDX-License-Identifier: Apache-2.0 */
/* cred.h - who asks: the credential of a request
 *
 * The kernel sends uid and gid; supplementary groups have to be read from the
 * caller's /proc entry, which the supervisor opens for us (errand.h) and which is slow, so the answer is kept for CRED_TTL_MS by
 * (uid, gid, pid). Root and backends that do not check permissions need none. */
#ifndef FUSEFS_CRED_H
#define FUSEFS_CRED_H

#include <sys/types.h>

#include "backends/backend.h"

#define CRED_SLOTS 1024 /* credentials remembered */
#define CRED_TTL_MS 1000

struct cred_cache;
struct errand_client;

/* errands: borrowed; NULL: /proc is read by ourselves. NULL without memory. */
struct cred_cache *cred_cache_new(const struct errand_client *errands);
void cred_cache_free(struct cred_cache *cc);
/* A counted credential, or NULL without memory. */
const struct be_cred *cred_for(struct cred_cache *cc, uid_t uid, gid_t gid, pid_t pid, bool groups);

#endif
