/* SPDX-License-Identifier: Apache-2.0 */
/* dir.c - READDIR and READDIRPLUS
 *
 * A reply is kept whole, as it came, in a struct chunk that many small readdir
 * calls of one struct nfs_dir are answered from. Entries are decoded when they are
 * emitted. Chunks are counted and never change, so emit() runs without a lock.
 *
 * READDIRPLUS costs the server an inode for each name, so it is sent when attributes
 * are wanted. The kernel knows best: it wants them with the start of a listing, and
 * afterwards as long as names of it are looked up. It does not see that without types
 * a walker looks at each name by itself (find, rm -r), after it has read all of them: a
 * directory to which that happened is listed with attributes from then on. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/nfs/nfs_impl.h"

enum { REPLY_EXTRA = 2048, PLAIN_MISSES_MAX = 64, RESTARTS_MAX = 16 };

struct chunk {
	_Atomic unsigned refs;
	bool plus;       /* how the list is encoded */
	bool plus_asked; /* how it was wanted; one with attributes is good for all */
	bool eof;
	uint64_t start;    /* the cookie it was asked for */
	uint64_t verifier; /* of the cookies */
	struct nstamp stamp;
	uint32_t gen; /* the directory's names_gen when asked */
	size_t list_len;
	uint8_t list[]; /* the entries, encoded */
};

struct nfs_dir {
	struct nfs_node *node; /* counted */
	struct mutex lock;
	/* guarded by lock */
	struct chunk *chunk; /* counted, or NULL */
	uint64_t verifier;
	uint64_t hint_cookie;             /* the entry after it starts ... */
	size_t hint_at;                   /* ... here in chunk */
	uint64_t end_cookie;              /* the server said: nothing after it; 0: not yet */
	uint64_t last_cookie;             /* of the last entry emitted, and its name: where to */
	char last_name[NFS_NAME_MAX + 1]; /* go on when the server forgot its cookies */
};

static struct nfs_dir *nfs_dir(struct be_dir *d)
{
	return (struct nfs_dir *)d;
}

static void chunk_put(struct chunk *c)
{
	if (c && atomic_fetch_sub(&c->refs, 1) == 1)
		free(c);
}

int be_nfs_opendir(struct backend *be, const struct be_call *call, struct be_node *dir,
		   struct be_dir **out)
{
	struct nfs_dir *d;
	int rc = naccess_check(be_nfs_node(dir), call, ACCESS3_READ);

	(void)be;
	if (rc)
		return rc;
	d = calloc(1, sizeof *d);
	if (!d)
		return -ENOMEM;
	mutex_init(&d->lock, LOCK_be_queue);
	be_node_get(dir);
	d->node = be_nfs_node(dir);
	*out = (struct be_dir *)d;
	return 0;
}

void be_nfs_closedir(struct backend *be, struct be_dir *base)
{
	struct nfs_dir *d = nfs_dir(base);

	(void)be;
	chunk_put(d->chunk);
	nnode_put(d->node);
	mutex_done(&d->lock);
	free(d);
}

/* ---- with attributes, or without ------------------------------------ */

void be_nfs_listing_missed(struct nfs_node *dir)
{
	struct nfs_backend *b = nnode_backend(dir);

	if (!atomic_load_explicit(&dir->listed_plain, memory_order_relaxed) ||
	    atomic_fetch_add(&dir->plain_misses, 1) + 1 != PLAIN_MISSES_MAX)
		return;
	/* What the kernel keeps of the listing has no types either. */
	if (b->env.changed)
		b->env.changed(b->env.changed_arg, &dir->base, BE_CHANGED_NAMES);
}

static bool wants_plus(const struct nfs_dir *d, bool plus)
{
	return plus || atomic_load(&d->node->plain_misses) >= PLAIN_MISSES_MAX;
}

/* ---- fetching -------------------------------------------------------- */

/* The rest of the reply becomes a chunk. */
static int take_list(struct nrpc *r, struct chunk **out)
{
	uint64_t verifier = dec_u64(&r->dec);
	size_t len = dec_left(&r->dec);
	struct chunk *c;

	if (r->dec.bad)
		return -EIO;
	c = malloc(sizeof *c + len);
	if (!c)
		return -ENOMEM;
	*c = (struct chunk){ .refs = 1, .verifier = verifier, .stamp = r->stamp, .list_len = len };
	memcpy(c->list, dec_bytes(&r->dec, len), len);
	*out = c;
	return 0;
}

/* Walks over the whole list once: all of it must make sense, and come to its end. */
static int check_list(struct chunk *c, uint64_t *entries, bool *silly)
{
	struct nfs_dirent e;
	struct dec d;

	*entries = 0;
	*silly = false;
	dec_init(&d, c->list, c->list_len);
	while (dec_dirent(&d, c->plus, &e)) {
		if (!e.cookie || e.cookie == c->start)
			return -EIO; /* it would lead back here, for ever */
		++*entries;
		*silly |= be_nfs_is_silly((const char *)e.name, e.name_len);
	}
	c->eof = dec_bool(&d);
	return d.bad ? -EIO : 0;
}

static void sweep_list(struct nfs_dir *dir, const struct be_call *call, const struct chunk *c)
{
	struct nfs_dirent e;
	struct dec d;

	dec_init(&d, c->list, c->list_len);
	while (dec_dirent(&d, c->plus, &e))
		if (be_nfs_is_silly((const char *)e.name, e.name_len))
			nsweep_name(dir->node, call->cred, e.name, e.name_len);
}

static int fetch_once(struct nfs_dir *d, const struct be_call *call, uint64_t cookie,
		      uint64_t verifier, bool plus, uint32_t bytes, struct chunk **out)
{
	struct nfs_backend *b = nnode_backend(d->node);
	uint32_t gen = atomic_load(&d->node->names_gen);
	bool attr_valid = false;
	struct be_attr attr;
	struct nrpc r;
	int rc;

	nrpc_begin(&r, b, call, plus ? NFS3_READDIRPLUS : NFS3_READDIR, d->node);
	nrpc_reserve(&r, 0, bytes + REPLY_EXTRA);
	nrpc_handle(&r, d->node);
	enc_u64(&r.enc, cookie);
	enc_u64(&r.enc, cookie ? verifier : 0);
	enc_u32(&r.enc, bytes);
	if (plus)
		enc_u32(&r.enc, bytes);
	if (!nrpc_run(&r))
		attr_valid = dec_post_attr(&r.dec, &attr);
	if (!r.rc && r.status == NFS3ERR_BAD_COOKIE)
		rc = -EKEYEXPIRED;
	else if (!r.rc && r.status == NFS3ERR_TOOSMALL)
		rc = -E2BIG;
	else
		rc = nrpc_result(&r);
	if (!rc)
		rc = take_list(&r, out);
	nrpc_end(&r);
	if (attr_valid && !r.dec.bad)
		nattr_update(d->node, &attr, r.stamp);
	if (rc)
		return rc;
	if (!plus)
		atomic_store(&d->node->listed_plain, true);
	(*out)->plus = (*out)->plus_asked = plus;
	(*out)->gen = gen;
	(*out)->start = cookie;
	return 0;
}

/* -EKEYEXPIRED: the server does not know the cookie any more. */
static int fetch_as(struct nfs_dir *d, const struct be_call *call, uint64_t cookie,
		    uint64_t verifier, bool plus, struct chunk **out)
{
	uint32_t bytes = nnode_backend(d->node)->dir_bytes;

	for (;;) {
		uint64_t entries;
		bool silly;
		int rc = fetch_once(d, call, cookie, verifier, plus, bytes, out);

		if (!rc) {
			rc = check_list(*out, &entries, &silly);
			if (!rc && silly)
				sweep_list(d, call, *out);
			if (!rc && (entries || (*out)->eof))
				return 0;
			chunk_put(*out);
			/* Nothing, and not the end: no entry fits. */
			rc = rc ? rc : -E2BIG;
		}
		if (rc != -E2BIG)
			return rc;
		bytes *= 2;
		if (bytes > NFS_IO_MAX)
			return -EIO;
	}
}

/* Some servers fail READDIRPLUS as a whole when an entry goes away under them:
 * the names alone are had then. */
static int fetch(struct nfs_dir *d, const struct be_call *call, uint64_t cookie, uint64_t verifier,
		 bool plus, struct chunk **out)
{
	int rc = fetch_as(d, call, cookie, verifier, plus, out);

	if (!plus || (rc != -ESTALE && rc != -ENOENT && rc != -EOPNOTSUPP))
		return rc;
	rc = fetch_as(d, call, cookie, verifier, false, out);
	if (!rc)
		(*out)->plus_asked = true;
	return rc;
}

/* ---- finding a place ------------------------------------------------- */

/* Where in c the entry after cookie starts; false: not in c. */
static bool chunk_seek(const struct chunk *c, uint64_t cookie, size_t *at)
{
	struct nfs_dirent e;
	struct dec d;

	*at = 0;
	if (c->start == cookie)
		return true;
	dec_init(&d, c->list, c->list_len);
	while (dec_dirent(&d, c->plus, &e)) {
		*at = (size_t)(d.p - d.base);
		if (e.cookie == cookie)
			return true;
	}
	return false;
}

/* No entry starts at at, and there are more elsewhere. */
static bool chunk_used_up(const struct chunk *c, size_t at)
{
	struct dec d;

	dec_init(&d, c->list, c->list_len);
	dec_bytes(&d, at);
	return !c->eof && !dec_bool(&d);
}

/* A kept chunk that holds what follows cookie, counted; or NULL. */
static struct chunk *chunk_kept(struct nfs_dir *d, uint64_t cookie, bool plus, size_t *at)
{
	struct chunk *c = NULL;

	mutex_lock(&d->lock);
	if (cookie && d->chunk && (d->chunk->plus_asked || !plus)) {
		if (cookie == d->hint_cookie) {
			c = d->chunk;
			*at = d->hint_at;
		} else if (chunk_seek(d->chunk, cookie, at)) {
			c = d->chunk;
		}
	}
	if (c && chunk_used_up(c, *at))
		c = NULL;
	if (c)
		atomic_fetch_add(&c->refs, 1);
	mutex_unlock(&d->lock);
	return c;
}

static void chunk_keep(struct nfs_dir *d, struct chunk *c)
{
	struct chunk *old;

	atomic_fetch_add(&c->refs, 1);
	mutex_lock(&d->lock);
	old = d->chunk;
	d->chunk = c;
	d->verifier = c->verifier;
	d->hint_cookie = 0;
	mutex_unlock(&d->lock);
	chunk_put(old);
}

/* True when an entry of c carries cookie, or name: *at is behind it, *last its
 * cookie now. False: *last is the cookie of c's last entry. */
static bool chunk_has(const struct chunk *c, uint64_t cookie, const char *name, size_t *at,
		      uint64_t *last)
{
	struct nfs_dirent e;
	struct dec d;

	dec_init(&d, c->list, c->list_len);
	while (dec_dirent(&d, c->plus, &e)) {
		*at = (size_t)(d.p - d.base);
		*last = e.cookie;
		if (e.cookie == cookie ||
		    (*name && strlen(name) == e.name_len && !memcmp(e.name, name, e.name_len)))
			return true;
	}
	return false;
}

/* The server forgot its cookies: reads from the start until the entry that was
 * emitted last, known by cookie or name, has gone by. Out of luck: the end. It may
 * forget them again meanwhile, RESTARTS_MAX times. */
static int restart(struct nfs_dir *d, const struct be_call *call, uint64_t *cookie, bool plus,
		   struct chunk **out, size_t *at)
{
	char name[NFS_NAME_MAX + 1] = "";
	uint64_t from = 0, verifier = 0;
	unsigned restarts = 0;

	mutex_lock(&d->lock);
	if (d->last_cookie == *cookie)
		memcpy(name, d->last_name, sizeof name);
	mutex_unlock(&d->lock);
	for (;;) {
		int rc = fetch(d, call, from, verifier, plus, out);

		if (rc == -EKEYEXPIRED && from && ++restarts < RESTARTS_MAX) {
			from = verifier = 0;
			continue;
		}
		if (rc)
			return rc == -EKEYEXPIRED ? -EIO : rc;
		if (chunk_has(*out, *cookie, name, at, &from)) {
			*cookie = from;
			return 0;
		}
		if ((*out)->eof) {
			*at = (*out)->list_len;
			return 0;
		}
		verifier = (*out)->verifier;
		chunk_put(*out);
	}
}

/* The chunk in which the entry after *cookie starts, counted, and where. *cookie
 * follows when the server gave its entry another one. */
static int chunk_at(struct nfs_dir *d, const struct be_call *call, uint64_t *cookie, bool plus,
		    struct chunk **out, size_t *at)
{
	uint64_t verifier;
	int rc;

	*out = chunk_kept(d, *cookie, plus, at);
	if (*out)
		return 0;
	if (call->flags & BE_NOWAIT)
		return -EAGAIN;
	mutex_lock(&d->lock);
	verifier = d->verifier;
	mutex_unlock(&d->lock);
	*at = 0;
	rc = fetch(d, call, *cookie, verifier, plus, out);
	if (rc == -EKEYEXPIRED)
		rc = restart(d, call, cookie, plus, out, at);
	if (!rc)
		chunk_keep(d, *out);
	return rc;
}

/* ---- emitting -------------------------------------------------------- */

static bool is_dots(const struct nfs_dirent *e)
{
	return (e->name_len == 1 && e->name[0] == '.') ||
	       (e->name_len == 2 && e->name[0] == '.' && e->name[1] == '.');
}

/* Names that may not leave this directory, or are ours to hide. */
static bool is_hidden(const struct nfs_dirent *e)
{
	return !e->name_len || e->name_len > NFS_NAME_MAX || memchr(e->name, '/', e->name_len) ||
	       memchr(e->name, 0, e->name_len) ||
	       be_nfs_is_silly((const char *)e->name, e->name_len);
}

/* Where entries go, and what with. */
struct sink {
	be_emit *emit;
	void *arg;
	bool plus; /* nodes are wanted */
};

/* The node of an entry, counted; or NULL. */
static struct nfs_node *entry_node(struct nfs_dir *d, const struct chunk *c,
				   const struct nfs_dirent *e)
{
	char name[NFS_NAME_MAX + 1];
	struct nfs_node *node;
	int rc = nnode_get(nnode_backend(d->node), &e->fh, &e->attr, &node);

	if (!rc) {
		nattr_update(node, &e->attr, c->stamp);
		nname_put(d->node, (const char *)e->name, e->name_len, node, c->stamp, c->gen);
		return node;
	}
	/* One of the two is a lie: LOOKUP will settle it. */
	if (rc == -ESTALE) {
		memcpy(name, e->name, e->name_len);
		name[e->name_len] = '\0';
		nname_drop(d->node, name);
	}
	return NULL;
}

static bool emit_one(struct nfs_dir *d, const struct chunk *c, const struct nfs_dirent *e,
		     const struct sink *to)
{
	struct be_dirent ent = { .name = (const char *)e->name,
				 .name_len = e->name_len,
				 .ino = e->fileid,
				 .cookie = e->cookie };
	struct nfs_node *node = NULL;
	struct be_attr attr;
	bool taken;

	if (is_dots(e))
		ent.type = S_IFDIR;
	else if (to->plus && e->attr_valid && e->fh.len)
		node = entry_node(d, c, e);
	if (node) {
		if (!nattr_last(node, &attr))
			attr = e->attr;
		ent.node = &node->base;
		ent.attr = &attr;
	}
	if (e->attr_valid)
		ent.type = e->attr.mode & S_IFMT;
	taken = to->emit(to->arg, &ent);
	nnode_put(node);
	return taken;
}

static void remember(struct nfs_dir *d, struct chunk *c, size_t at, uint64_t cookie,
		     const struct nfs_dirent *last, bool end)
{
	mutex_lock(&d->lock);
	if (end)
		d->end_cookie = cookie;
	if (d->chunk == c && cookie) {
		d->hint_cookie = cookie;
		d->hint_at = at;
	}
	if (last->name && last->name_len <= NFS_NAME_MAX) {
		d->last_cookie = last->cookie;
		memcpy(d->last_name, last->name, last->name_len);
		d->last_name[last->name_len] = '\0';
	}
	mutex_unlock(&d->lock);
}

/* Emits from at on; 1: go on with the next chunk, *cookie is where; 0: done. */
static int emit_chunk(struct nfs_dir *d, struct chunk *c, size_t at, uint64_t *cookie,
		      const struct sink *to)
{
	struct nfs_dirent e, last = { .name = NULL };
	bool refused = false;
	struct dec dec;

	dec_init(&dec, c->list, c->list_len);
	dec_bytes(&dec, at);
	while (!refused && dec_dirent(&dec, c->plus, &e)) {
		if (!is_hidden(&e) && !emit_one(d, c, &e, to)) {
			refused = true;
			break;
		}
		at = (size_t)(dec.p - dec.base);
		*cookie = e.cookie;
		last = e;
	}
	remember(d, c, at, *cookie, &last, !refused && c->eof);
	return !refused && !c->eof;
}

/* A server need not be asked twice where the end is, and some never answer a
 * request from behind the last entry. From the start on all is open again. */
static bool is_end(struct nfs_dir *d, uint64_t cookie)
{
	bool end;

	mutex_lock(&d->lock);
	if (!cookie)
		d->end_cookie = 0;
	end = cookie && cookie == d->end_cookie;
	mutex_unlock(&d->lock);
	return end;
}

int be_nfs_readdir(struct backend *be, const struct be_call *call, struct be_dir *base,
		   uint64_t cookie, bool plus, be_emit *emit, void *arg)
{
	const struct sink to = { emit, arg, plus };
	struct nfs_dir *d = nfs_dir(base);
	int more = !is_end(d, cookie);

	(void)be;
	while (more) {
		struct chunk *c;
		size_t at;
		int rc = chunk_at(d, call, &cookie, wants_plus(d, plus), &c, &at);

		if (rc)
			return rc;
		more = emit_chunk(d, c, at, &cookie, &to);
		chunk_put(c);
	}
	return 0;
}
