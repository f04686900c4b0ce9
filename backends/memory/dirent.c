/* SPDX-License-Identifier: Apache-2.0 */
/* dirent.c - the entries of one directory
 *
 * Found by name through a hash table, listed in the order of their making
 * through order[], an array sorted by cookie. A removed entry leaves a hole in
 * order[]; when half of it is holes it is packed. Cookies only grow and never
 * change, so a listing goes on at the right place whatever came and went. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/memory/memory_impl.h"
#include "common/hash.h"

#define COOKIE_FIRST 3 /* 1 and 2 are "." and ".." */
#define BUCKETS_MIN 16
#define ORDER_MIN 16

static uint32_t name_hash(const char *name, size_t len)
{
	return (uint32_t)hash_bytes(name, len, 0);
}

struct mem_dent *mem_names_find(const struct mem_names *d, const char *name)
{
	size_t len = strlen(name);
	uint32_t hash;

	if (!d->count)
		return NULL;
	hash = name_hash(name, len);
	for (struct mem_dent *e = d->buckets[hash & (d->nbuckets - 1)]; e; e = e->next)
		if (e->hash == hash && e->len == len && !memcmp(e->name, name, len))
			return e;
	return NULL;
}

static int buckets_grow(struct mem_names *d)
{
	size_t n = d->nbuckets ? d->nbuckets * 2 : BUCKETS_MIN;
	struct mem_dent **to = calloc(n, sizeof(struct mem_dent *));

	if (!to)
		return -ENOMEM;
	for (size_t i = 0; i < d->nbuckets; i++) {
		for (struct mem_dent *e = d->buckets[i], *next; e; e = next) {
			next = e->next;
			e->next = to[e->hash & (n - 1)];
			to[e->hash & (n - 1)] = e;
		}
	}
	free(d->buckets);
	d->buckets = to;
	d->nbuckets = n;
	return 0;
}

static void order_pack(struct mem_names *d)
{
	size_t n = 0;

	for (size_t i = 0; i < d->norder; i++) {
		struct mem_dent *e = d->order[i].dent;

		if (!e)
			continue;
		d->order[n] = d->order[i];
		e->pos = n++;
	}
	d->norder = n;
}

static int order_room(struct mem_names *d)
{
	size_t cap;
	struct mem_pos *p;

	if (d->norder < d->order_cap)
		return 0;
	if (d->norder && d->count <= d->norder / 2) {
		order_pack(d);
		return 0;
	}
	cap = d->order_cap ? d->order_cap * 2 : ORDER_MIN;
	p = realloc(d->order, cap * sizeof *p);
	if (!p)
		return -ENOMEM;
	d->order = p;
	d->order_cap = cap;
	return 0;
}

int mem_names_insert(struct mem_names *d, const char *name, struct mem_node *node)
{
	size_t len = strlen(name);
	struct mem_dent *e, **bucket;

	if (order_room(d) || (d->count >= d->nbuckets && buckets_grow(d)))
		return -ENOMEM;
	e = malloc(sizeof *e + len);
	if (!e)
		return -ENOMEM;
	if (d->last_cookie < COOKIE_FIRST - 1)
		d->last_cookie = COOKIE_FIRST - 1;
	e->node = node;
	e->ino = node->node.ino;
	e->type = node->node.type;
	e->cookie = ++d->last_cookie;
	e->hash = name_hash(name, len);
	e->len = (uint8_t)len;
	memcpy(e->name, name, len);
	bucket = &d->buckets[e->hash & (d->nbuckets - 1)];
	e->next = *bucket;
	*bucket = e;
	e->pos = d->norder++;
	d->order[e->pos] = (struct mem_pos){ .cookie = e->cookie, .dent = e };
	d->count++;
	return 0;
}

void mem_names_remove(struct mem_names *d, struct mem_dent *ent)
{
	struct mem_dent **at = &d->buckets[ent->hash & (d->nbuckets - 1)];

	while (*at != ent)
		at = &(*at)->next;
	*at = ent->next;
	d->order[ent->pos].dent = NULL;
	/* Holes at the end go at once: a directory being emptied from behind stays packed. */
	while (d->norder && !d->order[d->norder - 1].dent)
		d->norder--;
	d->count--;
	free(ent);
}

size_t mem_names_seek(const struct mem_names *d, uint64_t cookie)
{
	size_t lo = 0, hi = d->norder;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (d->order[mid].cookie > cookie)
			hi = mid;
		else
			lo = mid + 1;
	}
	return lo;
}

void mem_names_done(struct mem_names *d)
{
	assert(d->count == 0);
	free(d->buckets);
	free(d->order);
}
