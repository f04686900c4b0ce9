/* SPDX-License-Identifier: Apache-2.0 */
/* nlm_table.h - which locks we hold at the server, so that they can be taken again
 *
 * Invariants: the ranges of one owner on one file never overlap; neighbours of
 * the same kind are one. Not locked by itself: the user's lock guards it, but for
 * nlm_held_free() and nlm_spares_*(), which want no lock. */
#ifndef BACKENDS_NFS_NLM_TABLE_H
#define BACKENDS_NFS_NLM_TABLE_H

#include "backends/backend.h"
#include "common/list.h"

/* One who locks, as the server knows it. Lives while it holds locks or asks. */
struct nlm_owner {
	struct list link;
	uint64_t id;
	bool flock;
	int32_t svid;  /* of no other owner alive */
	unsigned refs; /* guarded by the table's lock */
};

struct nlm_held {
	struct list link;
	struct nlm_owner *owner;    /* counted */
	struct be_node *node;       /* counted */
	const struct be_cred *cred; /* counted: who locked */
	uint64_t start, end;
	bool exclusive;
	bool lost; /* the server gave it to another */
};

enum nlm_kind { NLM_NOTHING, NLM_SHARED, NLM_EXCLUSIVE };

struct nlm_table {
	struct list held, owners;
	unsigned nheld;
	_Atomic unsigned nlost; /* of them; a quick look needs no lock */
	uint32_t svid_next;
};

/* Memory for one change of the table, which then cannot fail. */
struct nlm_spares {
	struct nlm_held *piece[2];
};

/* svid_first: should not be another client's, for some servers look at nothing else. */
void nlm_table_init(struct nlm_table *t, uint32_t svid_first);
/* What is held goes to *freed. */
void nlm_table_done(struct nlm_table *t, struct list *freed);

int nlm_spares_get(struct nlm_spares *s); /* 0 or -ENOMEM */
void nlm_spares_put(struct nlm_spares *s);

/* The owner of lk, counted, made if new; NULL without memory. */
struct nlm_owner *nlm_owner_get(struct nlm_table *t, const struct be_lock *lk);
void nlm_owner_put(struct nlm_table *t, struct nlm_owner *owner);

/* In [start, end] owner has kind from now on. What is over goes to *freed. */
void nlm_table_set(struct nlm_table *t, struct be_node *node, const struct be_cred *cred,
		   struct nlm_owner *owner, uint64_t start, uint64_t end, enum nlm_kind kind,
		   struct nlm_spares *s, struct list *freed);
/* The first piece of owner on node that ends at or behind pos; NULL: none. */
struct nlm_held *nlm_table_next(struct nlm_table *t, const struct be_node *node,
				const struct nlm_owner *owner, uint64_t pos);
void nlm_table_lose(struct nlm_table *t, struct nlm_held *held);
/* Does anybody's lost lock lie on node? */
bool nlm_table_lost(const struct nlm_table *t, const struct be_node *node);
/* Releases what pieces on the list counted; no lock may be held. */
void nlm_held_free(struct list *freed);

#endif
