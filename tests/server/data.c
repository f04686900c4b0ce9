/* SPDX-License-Identifier: Apache-2.0 */
/* data.c - content of files, page by page, each with what a crash would bring back
 *
 * 1. nodes == 0 means: now is stable, and old is NULL.
 * 2. Bytes beyond the file's size are zero in now, those beyond stable_size in old.
 * 3. stable_size <= size. A page may become stable earlier than asked, never later.
 * 4. inode.pages counts the pages with now; store.pages is their sum. */
#include "tests/server/store.h"

#include <stdlib.h>
#include <string.h>

#include "tests/server/xdr.h"

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static struct page *page_find(const struct inode *i, uint64_t n)
{
	uint64_t l = n / LEAF_PAGES;

	return l < i->nleaf && i->leaf[l] ? &i->leaf[l]->page[n % LEAF_PAGES] : NULL;
}

static struct page *page_slot(struct inode *i, uint64_t n)
{
	uint64_t l = n / LEAF_PAGES;

	if (l >= i->nleaf) {
		i->leaf = grow(i->leaf, (l + 1) * sizeof(struct leaf *));
		memset(i->leaf + i->nleaf, 0, (l + 1 - i->nleaf) * sizeof(struct leaf *));
		i->nleaf = l + 1;
	}
	if (!i->leaf[l])
		i->leaf[l] = memset(grow(NULL, sizeof(struct leaf)), 0, sizeof(struct leaf));
	return &i->leaf[l]->page[n % LEAF_PAGES];
}

static void page_drop(struct store *s, struct inode *i, struct page *p)
{
	if (p->now) {
		i->pages--;
		s->pages--;
	}
	free(p->now);
	free(p->old);
	*p = (struct page){ 0 };
}

static void page_settle(struct page *p)
{
	free(p->old);
	p->old = NULL;
	p->nodes = 0;
}

uint64_t data_quota_used(const struct store *s)
{
	uint64_t pages = 0;

	for (uint64_t n = 0; n < s->next_ino; n++)
		if (s->inode[n] && s->inode[n]->uid == s->quota_uid)
			pages += s->inode[n]->pages;
	return pages * PAGE_BYTES;
}

static uint32_t page_alloc(struct store *s, struct inode *i, struct page *p)
{
	if (p->now)
		return NFS3_OK;
	if (s->limit && (s->pages + 1) * PAGE_BYTES > s->limit)
		return NFS3ERR_NOSPC;
	if (s->quota && i->uid == s->quota_uid && data_quota_used(s) + PAGE_BYTES > s->quota)
		return NFS3ERR_DQUOT;
	p->now = memset(grow(NULL, PAGE_BYTES), 0, PAGE_BYTES);
	i->pages++;
	s->pages++;
	return NFS3_OK;
}

void data_read(const struct inode *i, uint64_t off, uint8_t *buf, size_t n, bool stable)
{
	while (n) {
		size_t at = off % PAGE_BYTES, part = min_u64(n, PAGE_BYTES - at);
		const struct page *p = page_find(i, off / PAGE_BYTES);
		const uint8_t *from = !p ? NULL : stable && p->nodes ? p->old : p->now;

		if (from)
			memcpy(buf, from + at, part);
		else
			memset(buf, 0, part);
		buf += part;
		off += part;
		n -= part;
	}
}

static uint32_t page_write(struct store *s, struct inode *i, uint64_t off, const uint8_t *buf,
			   size_t n, bool stable, unsigned node)
{
	struct page *p = page_slot(i, off / PAGE_BYTES);
	bool fresh = !p->now;
	uint32_t rc = page_alloc(s, i, p);

	if (rc)
		return rc;
	if (!stable && !p->nodes && !fresh)
		p->old = memcpy(grow(NULL, PAGE_BYTES), p->now, PAGE_BYTES);
	if (stable)
		page_settle(p);
	else
		p->nodes |= 1u << node;
	memcpy(p->now + off % PAGE_BYTES, buf, n);
	return NFS3_OK;
}

uint32_t data_write(struct store *s, struct inode *i, uint64_t off, const uint8_t *buf, size_t *n,
		    bool stable, unsigned node)
{
	size_t done = 0;
	uint32_t rc = NFS3_OK;

	if (off > FILE_BYTES_MAX || *n > FILE_BYTES_MAX - off)
		return NFS3ERR_FBIG;
	while (done < *n && !rc) {
		size_t part = min_u64(*n - done, PAGE_BYTES - (off + done) % PAGE_BYTES);

		rc = page_write(s, i, off + done, buf + done, part, stable, node);
		done += rc ? 0 : part;
	}
	if (done && off + done > i->size)
		i->size = off + done;
	if (stable && done && off + done > i->stable_size)
		i->stable_size = off + done;
	if (rc && !done)
		return rc;
	*n = done;
	return NFS3_OK;
}

/* Calls fn for the pages of a file that exist. */
typedef void page_fn(struct store *s, struct inode *i, struct page *p, uint64_t n, uint64_t arg);

static void each_page(struct store *s, struct inode *i, uint64_t first, uint64_t last, page_fn *fn,
		      uint64_t arg)
{
	for (uint64_t l = first / LEAF_PAGES; l < i->nleaf && l * LEAF_PAGES <= last; l++) {
		for (uint64_t k = 0; i->leaf[l] && k < LEAF_PAGES; k++) {
			uint64_t n = l * LEAF_PAGES + k;

			if (n >= first && n <= last)
				fn(s, i, &i->leaf[l]->page[k], n, arg);
		}
	}
}

static void commit_page(struct store *s, struct inode *i, struct page *p, uint64_t n, uint64_t node)
{
	uint64_t end = min_u64(i->size, (n + 1) * PAGE_BYTES);

	(void)s;
	if (!(p->nodes & 1u << node))
		return;
	page_settle(p);
	if (end > i->stable_size)
		i->stable_size = end;
}

void data_commit(struct inode *i, uint64_t off, uint64_t n, unsigned node)
{
	uint64_t last = n ? (off + n - 1) / PAGE_BYTES : UINT64_MAX;

	each_page(NULL, i, off / PAGE_BYTES, last, commit_page, node);
}

static void cut_page(struct store *s, struct inode *i, struct page *p, uint64_t n, uint64_t size)
{
	size_t keep = size > n * PAGE_BYTES ? size - n * PAGE_BYTES : 0;

	if (!keep) {
		page_drop(s, i, p);
		return;
	}
	if (keep >= PAGE_BYTES)
		return;
	if (p->now)
		memset(p->now + keep, 0, PAGE_BYTES - keep);
	if (p->old)
		memset(p->old + keep, 0, PAGE_BYTES - keep);
}

void data_resize(struct store *s, struct inode *i, uint64_t size)
{
	if (size < i->size)
		each_page(s, i, size / PAGE_BYTES, UINT64_MAX, cut_page, size);
	i->size = i->stable_size = size;
}

static void lose_page(struct store *s, struct inode *i, struct page *p, uint64_t n, uint64_t node)
{
	(void)n;
	if (!(p->nodes & 1u << node))
		return;
	s->lost++;
	if (!p->old) {
		page_drop(s, i, p);
		return;
	}
	free(p->now);
	p->now = p->old;
	p->old = NULL;
	p->nodes = 0;
}

/* The end that is left: of stable data, and of what other nodes still hold. */
static void size_page(struct store *s, struct inode *i, struct page *p, uint64_t n, uint64_t was)
{
	(void)s;
	if (p->nodes && i->size < min_u64(was, (n + 1) * PAGE_BYTES))
		i->size = min_u64(was, (n + 1) * PAGE_BYTES);
}

void data_lose(struct store *s, unsigned node)
{
	for (uint64_t n = 0; n < s->next_ino; n++) {
		struct inode *i = s->inode[n];
		uint64_t was;

		if (!i || i->type != NF3REG)
			continue;
		was = i->size;
		each_page(s, i, 0, UINT64_MAX, lose_page, node);
		i->size = i->stable_size;
		each_page(s, i, 0, UINT64_MAX, size_page, was);
	}
}

void data_free(struct store *s, struct inode *i)
{
	each_page(s, i, 0, UINT64_MAX, cut_page, 0);
	for (size_t l = 0; l < i->nleaf; l++)
		free(i->leaf[l]);
	free(i->leaf);
	i->leaf = NULL;
	i->nleaf = 0;
}

uint64_t data_unstable(const struct inode *i)
{
	uint64_t pages = 0;

	for (size_t l = 0; l < i->nleaf; l++)
		for (unsigned k = 0; i->leaf[l] && k < LEAF_PAGES; k++)
			pages += i->leaf[l]->page[k].nodes != 0;
	return pages;
}
