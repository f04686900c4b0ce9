/* SPDX-License-Identifier: Apache-2.0 */
/* nlm_table.c - see nlm_table.h. One list: a container holds few locks at a time. */
#include "backends/nfs/nlm_table.h"

#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"

#define SVID_MASK 0x7fffffffu /* signed on the wire */

void nlm_table_init(struct nlm_table *t, uint32_t svid_first)
{
	list_init(&t->held);
	list_init(&t->owners);
	t->nheld = 0;
	t->nlost = 0;
	t->svid_next = svid_first;
}

int nlm_spares_get(struct nlm_spares *s)
{
	s->piece[0] = malloc(sizeof *s->piece[0]);
	s->piece[1] = malloc(sizeof *s->piece[1]);
	if (s->piece[0] && s->piece[1])
		return 0;
	nlm_spares_put(s);
	return -ENOMEM;
}

void nlm_spares_put(struct nlm_spares *s)
{
	free(s->piece[0]);
	free(s->piece[1]);
	*s = (struct nlm_spares){ { NULL, NULL } };
}

/* ---- owners ---------------------------------------------------------- */

struct nlm_owner *nlm_owner_get(struct nlm_table *t, const struct be_lock *lk)
{
	struct nlm_owner *o;

	list_for_each(it, &t->owners) {
		o = list_entry(it, struct nlm_owner, link);
		if (o->id == lk->owner && o->flock == lk->flock) {
			o->refs++;
			return o;
		}
	}
	o = malloc(sizeof *o);
	if (!o)
		return NULL;
	*o = (struct nlm_owner){ .id = lk->owner, .flock = lk->flock, .refs = 1 };
	o->svid = (int32_t)(t->svid_next++ & SVID_MASK);
	list_push_back(&t->owners, &o->link);
	return o;
}

void nlm_owner_put(struct nlm_table *t, struct nlm_owner *owner)
{
	(void)t;
	if (--owner->refs)
		return;
	list_del(&owner->link);
	free(owner);
}

/* ---- pieces ---------------------------------------------------------- */

static bool is_of(const struct nlm_held *h, const struct be_node *node,
		  const struct nlm_owner *owner)
{
	return h->node == node && h->owner == owner;
}

static void drop(struct nlm_table *t, struct nlm_held *h, struct list *freed)
{
	list_del(&h->link);
	t->nheld--;
	if (h->lost)
		t->nlost--;
	nlm_owner_put(t, h->owner);
	h->owner = NULL;
	list_push_back(freed, &h->link);
}

static void add(struct nlm_table *t, struct nlm_held *h)
{
	h->owner->refs++;
	be_node_get(h->node);
	h->cred = be_cred_get(h->cred);
	list_push_back(&t->held, &h->link);
	t->nheld++;
	if (h->lost)
		t->nlost++;
}

/* Takes [start, end] out of h. */
static void cut(struct nlm_table *t, struct nlm_held *h, uint64_t start, uint64_t end,
		struct nlm_spares *s, struct list *freed)
{
	if (h->start < start && h->end > end) {
		struct nlm_held *tail = take_ptr(&s->piece[0]);

		*tail = *h;
		tail->start = end + 1;
		h->end = start - 1;
		add(t, tail);
	} else if (h->start < start) {
		h->end = start - 1;
	} else if (h->end > end) {
		h->start = end + 1;
	} else {
		drop(t, h, freed);
	}
}

/* Neighbours of the same kind become part of h. */
static void merge(struct nlm_table *t, struct nlm_held *h, struct list *freed)
{
	list_for_each_safe(it, tmp, &t->held) {
		struct nlm_held *o = list_entry(it, struct nlm_held, link);

		if (o == h || !is_of(o, h->node, h->owner) || o->exclusive != h->exclusive ||
		    o->lost)
			continue;
		if (o->end + 1 == h->start)
			h->start = o->start;
		else if (h->end + 1 == o->start)
			h->end = o->end;
		else
			continue;
		drop(t, o, freed);
	}
}

void nlm_table_set(struct nlm_table *t, struct be_node *node, const struct be_cred *cred,
		   struct nlm_owner *owner, uint64_t start, uint64_t end, enum nlm_kind kind,
		   struct nlm_spares *s, struct list *freed)
{
	struct nlm_held *h;

	list_for_each_safe(it, tmp, &t->held) {
		h = list_entry(it, struct nlm_held, link);
		if (is_of(h, node, owner) && h->start <= end && start <= h->end)
			cut(t, h, start, end, s, freed);
	}
	if (kind == NLM_NOTHING)
		return;
	h = take_ptr(&s->piece[1]);
	*h = (struct nlm_held){ .owner = owner,
				.node = node,
				.cred = cred,
				.start = start,
				.end = end,
				.exclusive = kind == NLM_EXCLUSIVE };
	add(t, h);
	merge(t, h, freed);
}

struct nlm_held *nlm_table_next(struct nlm_table *t, const struct be_node *node,
				const struct nlm_owner *owner, uint64_t pos)
{
	struct nlm_held *first = NULL;

	list_for_each(it, &t->held) {
		struct nlm_held *h = list_entry(it, struct nlm_held, link);

		if (is_of(h, node, owner) && h->end >= pos && (!first || h->start < first->start))
			first = h;
	}
	return first;
}

void nlm_table_lose(struct nlm_table *t, struct nlm_held *held)
{
	if (!held->lost)
		t->nlost++;
	held->lost = true;
}

bool nlm_table_lost(const struct nlm_table *t, const struct be_node *node)
{
	list_for_each(it, &t->held) {
		const struct nlm_held *h = list_entry(it, struct nlm_held, link);

		if (h->node == node && h->lost)
			return true;
	}
	return false;
}

void nlm_table_done(struct nlm_table *t, struct list *freed)
{
	list_for_each_safe(it, tmp, &t->held)
		drop(t, list_entry(it, struct nlm_held, link), freed);
}

void nlm_held_free(struct list *freed)
{
	struct list *it;

	while ((it = list_pop(freed))) {
		struct nlm_held *h = list_entry(it, struct nlm_held, link);

		be_node_put(h->node);
		be_cred_put(h->cred);
		free(h);
	}
}
