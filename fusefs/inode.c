/* SPDX-License-Identifier: Apache-2.0 */
/* inode.c - see inode.h. node->upper points back at the inode and is guarded,
 * like the table, by v->inode_lock. */
#include "fusefs/inode.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/log.h"
#include "fusefs/notify.h"
#include "fusefs/session.h"

#define DONE_WAIT_MS 10000 /* for completions that still have a file */

int inodes_init(struct volume *v)
{
	mutex_init(&v->inode_lock, LOCK_inode_table);
	list_init(&v->idle_inodes);
	v->idle_max = IDLE_INODES_MAX;
	v->inodes = calloc(ARENA_INODES, sizeof *v->inodes);
	v->inode_next = FUSE_ROOT_ID + 1;
	return v->inodes ? 0 : -ENOMEM;
}

/* The table's lock is held in all ..._locked. */

static void idle_remove_locked(struct inode *in)
{
	if (list_empty(&in->idle_link))
		return;
	list_del(&in->idle_link);
	in->v->nidle--;
}

static void idle_add_locked(struct inode *in)
{
	idle_remove_locked(in);
	list_push_back(&in->v->idle_inodes, &in->idle_link);
	in->v->nidle++;
}

/* The file, if any, was freed. */
static void inode_free_locked(struct volume *v, struct inode *in)
{
	idle_remove_locked(in);
	in->node->upper = NULL;
	v->inodes[in->nodeid] = NULL;
	v->ninodes--;
	if (v->ninode_free == v->inode_free_cap) {
		uint32_t cap = v->inode_free_cap ? v->inode_free_cap * 2 : 1024;
		uint32_t *p = realloc(v->inode_free, cap * sizeof *p);

		if (p) {
			v->inode_free = p;
			v->inode_free_cap = cap;
		}
	}
	/* Without memory the nodeid is not used again: the table is large. */
	if (v->ninode_free < v->inode_free_cap)
		v->inode_free[v->ninode_free++] = (uint32_t)in->nodeid;
	mutex_done(&in->lock);
}

static bool inode_try_free_locked(struct inode *in)
{
	if (in->lookups || in->opens || !cache_file_try_free(in->file))
		return false;
	inode_free_locked(in->v, in);
	return true;
}

/* The inode that has to go for one that nobody needs any more: itself, or, when
 * it is worth keeping, the oldest of too many that were kept. May be NULL. */
static struct inode *release_locked(struct volume *v, struct inode *in)
{
	if (in->lookups || in->opens)
		return NULL;
	if (in->gone || !cache_file_cached(in->file) || !v->idle_max)
		return in;
	idle_add_locked(in);
	if (v->nidle <= v->idle_max)
		return NULL;
	in = list_entry(v->idle_inodes.next, struct inode, idle_link);
	/* Not tried again before the cache says that it is clean. */
	idle_remove_locked(in);
	return in;
}

/* Frees the inode if nothing needs it. No locks held: putting the node may call the backend. */
static void inode_release(struct volume *v, uint64_t nodeid)
{
	struct inode *in;

	mutex_lock(&v->inode_lock);
	in = v->inodes[nodeid];
	if (in)
		in = release_locked(v, in);
	if (in && !inode_try_free_locked(in))
		in = NULL;
	mutex_unlock(&v->inode_lock);
	if (!in)
		return;
	be_node_put(in->node);
	free(in->more);
	free(in);
}

void inode_idle(void *arg, uint64_t nodeid)
{
	inode_release(arg, nodeid);
}

/* A completion that is about to let go of its file frees the inode, on its own thread. */
static bool all_freed(struct volume *v)
{
	uint64_t limit = clock_ms() + DONE_WAIT_MS;
	uint32_t left;

	do {
		mutex_lock(&v->inode_lock);
		left = v->ninodes;
		mutex_unlock(&v->inode_lock);
	} while (left && clock_ms() < limit && !usleep(1000));
	if (left)
		log_error("%u inodes are in use after the end", left);
	return !left;
}

void inodes_done(struct volume *v)
{
	v->idle_max = 0;
	for (uint32_t i = FUSE_ROOT_ID + 1; v->inodes && i < v->inode_next; i++) {
		struct inode *in = v->inodes[i];

		if (!in)
			continue;
		in->lookups = 0;
		in->opens = 0;
		if (in->file)
			cache_file_discard(in->file);
		inode_release(v, i);
	}
	if (!all_freed(v))
		return; /* the process ends; nobody meets freed memory until then */
	free(v->inodes);
	free(v->inode_free);
	mutex_done(&v->inode_lock);
}

struct inode *inode_of(const struct session *s, uint64_t nodeid)
{
	if (nodeid == FUSE_ROOT_ID)
		return s->root;
	return nodeid < ARENA_INODES ? s->v->inodes[nodeid] : NULL;
}

/* ---- what each session has of it ---- */

/* NULL: the session knows nothing of it. */
static struct inode_use *use_of_locked(struct inode *in, unsigned slot)
{
	if (slot == in->use.slot)
		return &in->use;
	for (unsigned i = 0; i < in->nmore; i++)
		if (in->more[i].slot == slot)
			return &in->more[i];
	return NULL;
}

static bool is_used(const struct inode_use *use)
{
	return use->lookups || use->opens;
}

/* The same, made when needed. NULL without memory. */
static struct inode_use *use_locked(struct inode *in, unsigned slot)
{
	struct inode_use *use = use_of_locked(in, slot), *more;

	for (unsigned i = 0; i < in->nmore && !use; i++)
		if (!is_used(&in->more[i]))
			use = &in->more[i];
	if (!use && !is_used(&in->use))
		use = &in->use;
	if (!use) {
		more = realloc(in->more, (in->nmore + 1) * sizeof *more);
		if (!more)
			return NULL;
		in->more = more;
		use = &more[in->nmore++];
		*use = (struct inode_use){ .slot = slot };
	}
	if (use->slot != slot)
		*use = (struct inode_use){ .slot = slot };
	return use;
}

static struct inode *inode_new_locked(struct volume *v, struct be_node *node)
{
	struct inode *in;

	if (!v->ninode_free && v->inode_next == ARENA_INODES)
		return NULL;
	in = calloc(1, sizeof *in);
	if (!in)
		return NULL;
	in->v = v;
	in->nodeid = v->ninode_free ? v->inode_free[--v->ninode_free] : v->inode_next++;
	in->generation = ++v->generation;
	in->node = node;
	in->type = node->type;
	mutex_init(&in->lock, LOCK_inode);
	list_init(&in->posix_locks);
	list_init(&in->flock_locks);
	list_init(&in->lock_waiters);
	list_init(&in->idle_link);
	node->upper = in;
	v->inodes[in->nodeid] = in;
	v->ninodes++;
	return in;
}

struct inode *inode_enter(struct session *s, struct be_entry *entry)
{
	struct be_node *node = entry->node;
	struct volume *v = s->v;
	struct inode_use *use;
	struct inode *in;
	bool known;

	mutex_lock(&v->inode_lock);
	in = node->upper;
	known = in != NULL;
	if (!known)
		in = inode_new_locked(v, node);
	use = in ? use_locked(in, s->slot) : NULL;
	if (use) {
		use->lookups++;
		if (!in->lookups++ && known) {
			idle_remove_locked(in);
			if (in->file)
				cache_file_revive(in->file);
		}
	}
	mutex_unlock(&v->inode_lock);
	if (known || !in)
		be_node_put(node); /* the inode has its own count */
	entry->node = NULL;
	return use ? in : NULL; /* a new inode has its first use within itself */
}

/* Nobody will ask for the unwritten data of a file without names that is not open and cannot be opened:
 * who has looked it up still can, where the store keeps such a file. An open that comes later must not
 * find the file without its data. */
static bool forsake_locked(struct inode *in)
{
	if (!in->gone || in->opens || !in->file || in->forsaken ||
	    (in->lookups && !(in->v->be->limits.caps & BE_CAP_GONE_IS_LOST)) ||
	    (!cache_file_dirty(in->file) && !cache_file_owes(in->file)))
		return false;
	in->forsaken = true;
	return true;
}

/* Gives n of all lookups back; to be called without locks. */
static void give_back(struct inode *in, uint64_t n)
{
	struct volume *v = in->v;
	uint64_t nodeid = in->nodeid;
	bool last, discard;

	mutex_lock(&v->inode_lock);
	in->lookups -= n;
	discard = !in->lookups && forsake_locked(in);
	in->lookups += discard; /* lives until its data is dropped */
	last = !in->lookups;
	mutex_unlock(&v->inode_lock);
	if (discard) {
		cache_file_discard(in->file);
		mutex_lock(&v->inode_lock);
		last = !--in->lookups;
		mutex_unlock(&v->inode_lock);
	}
	if (last)
		inode_release(v, nodeid);
}

/* The session's count goes down by n at most; how much it was. */
static uint64_t use_less_locked(struct inode *in, unsigned slot, uint64_t n)
{
	struct inode_use *use = in ? use_of_locked(in, slot) : NULL;

	if (!use)
		return 0;
	n = n < use->lookups ? n : use->lookups;
	use->lookups -= n;
	return n;
}

void inode_forget(struct session *s, uint64_t nodeid, uint64_t nlookup)
{
	struct volume *v = s->v;
	struct inode *in;
	uint64_t n;

	if (nodeid == FUSE_ROOT_ID)
		return; /* it goes with the session */
	mutex_lock(&v->inode_lock);
	in = inode_of(s, nodeid);
	n = use_less_locked(in, s->slot, nlookup);
	mutex_unlock(&v->inode_lock);
	if (n)
		give_back(in, n);
}

struct inode *inode_hold(struct volume *v, struct be_node *node)
{
	struct inode *in;

	mutex_lock(&v->inode_lock);
	in = node->upper;
	if (in)
		in->lookups++;
	mutex_unlock(&v->inode_lock);
	return in;
}

void inode_unhold(struct inode *in)
{
	give_back(in, 1);
}

void inodes_leave(struct session *s)
{
	struct volume *v = s->v;
	uint64_t end;

	mutex_lock(&v->inode_lock);
	end = v->inode_next; /* the session looks nothing up any more: what comes later is the others' */
	mutex_unlock(&v->inode_lock);
	for (uint64_t i = FUSE_ROOT_ID + 1; i < end; i++) {
		struct inode_use *use = NULL;
		struct inode *in;
		uint64_t n;

		mutex_lock(&v->inode_lock);
		in = v->inodes[i];
		n = use_less_locked(in, s->slot, UINT64_MAX);
		if (in)
			use = use_of_locked(in, s->slot);
		if (use) /* the slot will be another session's */
			*use = (struct inode_use){ .slot = s->slot };
		mutex_unlock(&v->inode_lock);
		if (n)
			give_back(in, n);
	}
}

/* ---- telling the other sessions ---- */

static void tell_locked(struct session *s, struct inode *in, struct inode_use *use, unsigned what)
{
	if (what & (BE_CHANGED_DATA | BE_CHANGED_NAMES))
		use->stale = true;
	if (what & ~use->told && notify_inode(s->notify, in->nodeid))
		use->told |= what;
}

/* The i-th session that knows the inode; NULL: not this one, or it is over. */
static struct session *knows_locked(struct inode *in, unsigned i, struct inode_use **use)
{
	*use = i ? &in->more[i - 1] : &in->use;
	return (*use)->lookups ? in->v->sessions[(*use)->slot] : NULL;
}

void inode_changed(struct inode *in, const struct session *by, unsigned what)
{
	struct volume *v = in->v;
	struct inode_use *use;

	if (by && v->nsessions < 2)
		return;
	mutex_lock(&v->inode_lock);
	for (unsigned i = 0; i <= in->nmore; i++) {
		struct session *s = knows_locked(in, i, &use);

		if (s && s != by)
			tell_locked(s, in, use, what);
	}
	mutex_unlock(&v->inode_lock);
}

unsigned inode_tell_begin(struct session *s, uint64_t nodeid)
{
	struct inode_use *use = NULL;
	struct inode *in;
	unsigned what;

	mutex_lock(&s->v->inode_lock);
	in = s->v->inodes[nodeid];
	if (in)
		use = use_of_locked(in, s->slot);
	what = use ? use->told : 0;
	if (use)
		use->told = 0;
	mutex_unlock(&s->v->inode_lock);
	return what;
}

bool inode_is_stale(struct inode *in, const struct session *s)
{
	const struct inode_use *use;
	bool stale;

	/* Also of a session that is alone now: what the others wrote may not be told yet. */
	mutex_lock(&s->v->inode_lock);
	use = use_of_locked(in, s->slot);
	stale = use && use->stale;
	mutex_unlock(&s->v->inode_lock);
	return stale;
}

bool inode_take_stale(struct inode *in, const struct session *s)
{
	struct inode_use *use;
	bool stale = false;

	mutex_lock(&s->v->inode_lock);
	use = use_of_locked(in, s->slot);
	if (use) {
		stale = use->stale;
		use->stale = false;
	}
	mutex_unlock(&s->v->inode_lock);
	return stale;
}

struct cache_file *inode_file(struct inode *in, uint64_t size)
{
	struct cache_file *f = in->file;

	if (f || !S_ISREG(in->type))
		return f;
	mutex_lock(&in->lock);
	f = in->file;
	if (!f && !cache_file_new(in->v->cache, in->node, size, in->nodeid, &f))
		in->file = f;
	mutex_unlock(&in->lock);
	return f;
}

static bool is_writer(int flags)
{
	return (flags & O_ACCMODE) != O_RDONLY;
}

bool inode_opened(struct inode *in, struct session *s, int flags)
{
	struct inode_use *use;
	bool ok;

	mutex_lock(&s->v->inode_lock);
	ok = !in->forsaken;
	use = ok ? use_of_locked(in, s->slot) : NULL; /* made by the lookup */
	if (use) {
		use->opens++;
		use->writers += is_writer(flags);
	}
	in->opens += ok;
	mutex_unlock(&s->v->inode_lock);
	return ok;
}

void inode_closed(struct inode *in, struct session *s, int flags)
{
	struct volume *v = in->v;
	uint64_t nodeid = in->nodeid;
	struct inode_use *use;
	bool discard;

	mutex_lock(&v->inode_lock);
	use = use_of_locked(in, s->slot);
	if (use) {
		use->opens--;
		use->writers -= is_writer(flags);
	}
	in->opens--;
	discard = forsake_locked(in);
	in->opens += discard; /* lives until its data is dropped */
	mutex_unlock(&v->inode_lock);
	if (discard) {
		cache_file_discard(in->file);
		mutex_lock(&v->inode_lock);
		in->opens--;
		mutex_unlock(&v->inode_lock);
	}
	inode_release(v, nodeid);
}

bool inode_write_shared(struct inode *in)
{
	struct volume *v = in->v;
	unsigned open_in = 0, writers = 0;

	if (v->nsessions < 2)
		return false;
	mutex_lock(&v->inode_lock);
	for (unsigned i = 0; i <= in->nmore; i++) {
		const struct inode_use *use = i ? &in->more[i - 1] : &in->use;

		open_in += use->opens != 0;
		writers += use->writers;
	}
	mutex_unlock(&v->inode_lock);
	return open_in > 1 && writers;
}

void inode_unlinked(struct session *s, struct be_removed *removed)
{
	struct inode *in;
	bool discard = false;

	if (!removed->node)
		return;
	in = inode_hold(s->v, removed->node);
	if (in && removed->gone) {
		mutex_lock(&s->v->inode_lock);
		in->gone = true;
		discard = forsake_locked(in);
		mutex_unlock(&s->v->inode_lock);
	}
	if (discard)
		cache_file_discard(in->file);
	if (in) {
		inode_changed(in, s, BE_CHANGED_ATTR);
		inode_unhold(in);
	}
	be_node_put(removed->node);
	removed->node = NULL;
}
