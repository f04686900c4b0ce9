/* SPDX-License-Identifier: Apache-2.0 */
/* store.h - what the broker remembers: instances, bindings, and what is being done to them
 *
 * "sqlite:/path" (embedded) or "postgresql://..." (several copies of the broker at once, without a
 * leader). Everything is on disk when a call returns 0.
 *
 * Invariants.
 *  I1 A provider is never asked to change a volume unless a row says so on disk: an instance in state
 *     CREATING, UPDATING or DELETING, with its operation.
 *  I2 A row is gone, or a tombstone, only after remove() of its volume has succeeded.
 *  I3 An operation that is not over has one worker at a time: who holds its lease. A worker that lost
 *     its lease writes no outcome (store_op_finish() refuses), and another begins anew. An operation that
 *     replaces one in progress waits for the lease of that: its worker may be calling the storage.
 *  I4 A binding exists only with an instance that is READY or UPDATING: a rule that takes an
 *     instance to another state makes tombstones of its bindings, and one that would bind it there is
 *     refused (-EINVAL).
 *  I5 What may be secret (parameters, context, mount options) is stored sealed (seal.h).
 *
 * Threads: any. A call waits for the disk or the server, never for a provider. Rules are functions
 * run inside a transaction on the locked row: they may run several times and must not have effects
 * of their own. A change whose answer was lost is looked for before it is tried again.
 *
 * Errors: -EAGAIN (server away, lock not had in time; where the change may be done all the same, the
 * sentence says so), -EIO (with the sentence of the library), -EPROTO (a row that makes no sense),
 * -EINVAL (an id, text or number that no row can hold), -ENOMEM; what a rule returned.
 *
 * Times that the store keeps (begun_ms of a new operation and created_ms where a rule leaves them, changed_ms at
 * each write, leases) are by the clock of the database's machine. */
#ifndef TOOLS_BROKER_STORE_H
#define TOOLS_BROKER_STORE_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define STORE_ID_MAX 256   /* bytes of an id, with the NUL */
#define STORE_TEXT_MAX 512 /* of a description */

struct store;
struct seal;

enum instance_state {
	INSTANCE_CREATING,
	INSTANCE_READY,
	INSTANCE_UPDATING,
	INSTANCE_DELETING,
	INSTANCE_FAILED,  /* creation or deletion failed for good; DELETE begins anew */
	INSTANCE_DELETED, /* tombstone, for last_operation */
};

enum op_kind { OP_NONE, OP_CREATE, OP_UPDATE, OP_DELETE };
enum op_state { OP_IN_PROGRESS, OP_SUCCEEDED, OP_FAILED };

/* The operation that runs, or ran last. */
struct operation {
	enum op_kind kind;
	enum op_state state;
	char id[40]; /* "operation" of the answers; new for each */
	char description[STORE_TEXT_MAX];
	uint64_t begun_ms, changed_ms; /* since 1970 */
	unsigned tries;
	uint64_t next_try_ms;
	bool usable, repeatable; /* after a failed update or deletion */
};

struct instance {
	char id[STORE_ID_MAX], service[STORE_ID_MAX], plan[STORE_ID_MAX];
	char provider[64];
	enum instance_state state;
	json_t *params;  /* as given, or NULL; owned */
	json_t *context; /* owned */
	json_t *handle;  /* of the provider; owned */
	uint64_t size;   /* bytes that it has */
	/* of an update that runs */
	char new_plan[STORE_ID_MAX];
	json_t *new_params; /* owned; the whole, merged */
	uint64_t new_size;
	struct operation op;
	uint64_t created_ms;
	uint64_t version; /* grows with each write */
};

struct binding {
	char instance[STORE_ID_MAX], id[STORE_ID_MAX];
	char app[STORE_ID_MAX];
	char service[STORE_ID_MAX], plan[STORE_ID_MAX];
	json_t *params;  /* owned */
	json_t *context; /* owned */
	json_t *answer;  /* of the bind, whole; owned */
	uint64_t created_ms;
	bool deleted; /* tombstone, for last_operation */
};

void instance_done(struct instance *i);
void binding_done(struct binding *b);

/* Migrates the schema (numbered steps). -EOPNOTSUPP: a newer program has used it; -EACCES: no key of the
 * seal is this store's; -EINVAL: the URI. seal is borrowed. */
int store_open(const char *uri, struct seal *seal, struct store **out, struct err *err);
void store_close(struct store *s);
/* 0: it answers. */
int store_health(struct store *s, struct err *err);

/* --- instances --------------------------------------------------------------- */

/* Runs rule on the instance id (zeroed but for its id, and *exists false, when there is none) and, when
 * it returns 0 and changed *i, writes it in the same transaction. Returning STORE_REMOVE removes
 * the row. bindings: how many the instance has. */
#define STORE_REMOVE 1
typedef int store_rule(void *arg, struct instance *i, bool exists, unsigned bindings);
int store_change(struct store *s, const char *id, store_rule *rule, void *arg, struct err *err);
/* -ENOENT. */
int store_get(struct store *s, const char *id, struct instance *out, struct err *err);
/* Pages, by id: those after *after* ("" for the first), limit at most; *n of out are filled. */
int store_list(struct store *s, const char *after, unsigned limit, struct instance *out,
	       unsigned *n, struct err *err);

/* --- operations -------------------------------------------------------------- */

/* Those that the last one came after, newest first; one that was replaced before it ended is OP_IN_PROGRESS for ever. A
 * creation begins a new life: what was before it is forgotten. Of *out, tries, next_try_ms, usable and
 * repeatable are not known. */
#define STORE_PAST_MAX 8
int store_past(struct store *s, const char *instance, struct operation out[STORE_PAST_MAX],
	       unsigned *n, struct err *err);

/* Takes an operation in progress that is due and that nobody holds, for lease_ms. -ENOENT: none;
 * *wait_ms (UINT64_MAX: none at all) says when the next may be due. worker: a name that no
 * other thread of any broker has. -EPROTO: a row that makes no sense was put off for lease_ms; call again. */
int store_claim(struct store *s, const char *worker, uint64_t lease_ms, struct instance *out,
		uint64_t *wait_ms, struct err *err);
/* -ESTALE: the lease is lost: another has claimed the operation, or it is over. One that ran out and that
 * nobody took can be renewed; so can that of an operation which another one has replaced and waits for. */
int store_renew(struct store *s, const char *worker, const char *id, uint64_t lease_ms,
		struct err *err);
/* Writes the outcome by rule, as store_change(), if worker still holds op's lease; gives it up.
 * Otherwise -ESTALE; or -ECANCELED: another operation has replaced op and had to wait for worker, who has given
 * the lease up by this call. Whatever it did, the other will find. */
int store_op_finish(struct store *s, const char *worker, const char *id, const char *op,
		    store_rule *rule, void *arg, struct err *err);
/* Removes tombstones (of bindings too) written before that; *n: how many. */
int store_bury(struct store *s, uint64_t before_ms, unsigned *n, struct err *err);

/* --- bindings ---------------------------------------------------------------- */

/* As store_change(), with the instance locked too: *b as it is, or zeroed. others: apps, of living
 * bindings of the instance that are not this one, NULL-ended. */
typedef int store_bind_rule(void *arg, const struct instance *i, bool has_instance,
			    struct binding *b, bool exists, const char *const *others);
int store_bind(struct store *s, const char *instance, const char *id, store_bind_rule *rule,
	       void *arg, struct err *err);
int store_binding(struct store *s, const char *instance, const char *id, struct binding *out,
		  struct err *err);
int store_bindings(struct store *s, const char *instance, const char *after, unsigned limit,
		   struct binding *out, unsigned *n, struct err *err);

/* Seals all rows anew with the first key of the seal; *n rows were changed. Resumes where it ended. -EPROTO: all
 * but one at least that no key opens. */
int store_reseal(struct store *s, uint64_t *n, struct err *err);

#endif
