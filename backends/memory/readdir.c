/* SPDX-License-Identifier: Apache-2.0 */
/* readdir.c - listing a directory
 *
 * emit() runs without locks, so entries are copied out in batches first. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "backends/memory/memory_impl.h"

#define COOKIE_DOT 1
#define COOKIE_DOTDOT 2
#define BATCH 32

struct be_dir {
	struct mem_node *dir; /* counted */
};

struct item {
	struct mem_node *node; /* counted; NULL: attributes are not wanted */
	uint64_t ino, cookie;
	mode_t type;
	uint8_t len;
	char name[MEM_NAME_MAX];
};

int mem_opendir(struct backend *be, const struct be_call *call, struct be_node *dir,
		struct be_dir **out)
{
	struct be_dir *d = malloc(sizeof *d);

	(void)be;
	(void)call;
	if (!d)
		return -ENOMEM;
	be_node_get(dir);
	d->dir = mem_node_of(dir);
	*out = d;
	return 0;
}

void mem_closedir(struct backend *be, struct be_dir *d)
{
	(void)be;
	be_node_put(&d->dir->node);
	free(d);
}

static bool emit_dots(struct be_dir *d, uint64_t cookie, be_emit *emit, void *arg)
{
	uint64_t parent;

	mutex_lock(&d->dir->lock);
	parent = d->dir->dir.parent_ino;
	mutex_unlock(&d->dir->lock);
	if (cookie < COOKIE_DOT && !emit(arg, &(struct be_dirent){ .name = ".",
								   .name_len = 1,
								   .ino = d->dir->node.ino,
								   .type = S_IFDIR,
								   .cookie = COOKIE_DOT }))
		return false;
	return emit(arg, &(struct be_dirent){ .name = "..",
					      .name_len = 2,
					      .ino = parent,
					      .type = S_IFDIR,
					      .cookie = COOKIE_DOTDOT });
}

/* Copies out up to BATCH entries behind cookie. */
static unsigned batch_fill(struct mem_node *dir, uint64_t cookie, bool plus, struct item *items)
{
	struct mem_names *d = &dir->dir;
	unsigned n = 0;

	mutex_lock(&dir->lock);
	for (size_t i = mem_names_seek(d, cookie); i < d->norder && n < BATCH; i++) {
		const struct mem_dent *e = d->order[i].dent;
		struct item *it = &items[n];

		if (!e)
			continue;
		it->node = plus ? e->node : NULL;
		if (plus)
			be_node_get(&e->node->node);
		it->ino = e->ino;
		it->cookie = e->cookie;
		it->type = e->type;
		it->len = e->len;
		memcpy(it->name, e->name, e->len);
		n++;
	}
	mutex_unlock(&dir->lock);
	return n;
}

static bool item_emit(const struct item *it, be_emit *emit, void *arg)
{
	struct be_dirent ent = { .name = it->name,
				 .name_len = it->len,
				 .ino = it->ino,
				 .type = it->type,
				 .cookie = it->cookie };
	struct be_attr attr;

	if (it->node) {
		mutex_lock(&it->node->lock);
		attr = it->node->attr;
		mutex_unlock(&it->node->lock);
		ent.node = &it->node->node;
		ent.attr = &attr;
	}
	return emit(arg, &ent);
}

int mem_readdir(struct backend *be, const struct be_call *call, struct be_dir *d, uint64_t cookie,
		bool plus, be_emit *emit, void *arg)
{
	struct item items[BATCH];
	bool room = true;
	unsigned n;

	(void)be;
	(void)call;
	if (cookie < COOKIE_DOTDOT) {
		if (!emit_dots(d, cookie, emit, arg))
			return 0;
		cookie = COOKIE_DOTDOT;
	}
	while (room && (n = batch_fill(d->dir, cookie, plus, items)) > 0) {
		for (unsigned i = 0; i < n; i++) {
			room = room && item_emit(&items[i], emit, arg);
			if (items[i].node)
				be_node_put(&items[i].node->node);
		}
		cookie = items[n - 1].cookie;
	}
	return 0;
}
