/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c - a store of files in RAM, gone when it is closed
 *
 * memory:?size=512m&inodes=100000 - the reference for semantics, the unit
 * tests' store, and the bench's measure of what everything above it costs.
 * Permission is the kernel's affair here: nothing checks any. Every operation
 * completes inside its call; none waits but for short locks. */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "backends/memory/memory_impl.h"
#include "common/uri.h"

#define MEM_SIZE_MIN (64u * 1024)
#define MEM_INODES_MAX (1ULL << 32)

/* ---- open files, the whole store ------------------------------------ */

static int mem_root(struct backend *be, struct be_entry *out)
{
	mem_entry_fill(mem_of(be)->root, out);
	return 0;
}

static int mem_open(struct backend *be, const struct be_call *call, struct be_node *node,
		    int oflags)
{
	(void)be;
	(void)call;
	(void)oflags;
	be_node_get(node);
	return 0;
}

static void mem_release(struct backend *be, struct be_node *node, int oflags)
{
	(void)be;
	(void)oflags;
	be_node_put(node);
}

static int mem_fsyncdir(struct backend *be, const struct be_call *call, struct be_node *dir)
{
	(void)be;
	(void)call;
	(void)dir;
	return 0;
}

static int mem_statfs(struct backend *be, const struct be_call *call, struct be_node *node,
		      struct statvfs *out)
{
	struct mem *mem = mem_of(be);
	uint64_t used = atomic_load(&mem->space.bytes_used),
		 inodes = atomic_load(&mem->inodes_used);

	(void)call;
	(void)node;
	memset(out, 0, sizeof *out);
	out->f_bsize = out->f_frsize = MEM_PAGE;
	out->f_blocks = mem->space.bytes_max / MEM_PAGE;
	if (used < mem->space.bytes_max)
		out->f_bfree = out->f_bavail = (mem->space.bytes_max - used) / MEM_PAGE;
	out->f_files = mem->inodes_max;
	if (inodes < mem->inodes_max)
		out->f_ffree = out->f_favail = mem->inodes_max - inodes;
	out->f_namemax = MEM_NAME_MAX;
	return 0;
}

/* The entry that was made last, or NULL. */
static struct mem_dent *last_entry(const struct mem_node *dir)
{
	for (size_t i = dir->dir.norder; i > 0; i--)
		if (dir->dir.order[i - 1].dent)
			return dir->dir.order[i - 1].dent;
	return NULL;
}

/* Frees the whole tree from its leaves, without recursion: it may be deep. */
static void tree_free(struct mem_node *root)
{
	struct mem_node *dir = root;
	struct mem_dent *e;

	while (dir != root || last_entry(dir)) {
		struct mem_node *n;

		e = last_entry(dir);
		if (!e) {
			dir = dir->dir.parent;
			continue;
		}
		n = e->node;
		if (S_ISDIR(n->node.type) && n->dir.count) {
			dir = n;
			continue;
		}
		mem_names_remove(&dir->dir, e);
		if (S_ISDIR(n->node.type) || --n->attr.nlink == 0)
			be_node_put(&n->node);
	}
	be_node_put(&root->node);
}

static void mem_close(struct backend *be)
{
	struct mem *mem = mem_of(be);

	if (mem->root)
		tree_free(mem->root);
	mutex_done(&mem->tree);
	mem_space_done(&mem->space);
	free(mem);
}

static const struct backend_ops mem_ops = {
	.scheme = "memory",
	.close = mem_close,
	.node_free = mem_node_free,
	.root = mem_root,
	.submit_read = mem_submit_read,
	.submit_write = mem_submit_write,
	.submit_commit = mem_submit_commit,
	.lookup = mem_lookup,
	.getattr = mem_getattr,
	.setattr = mem_setattr,
	.readlink = mem_readlink,
	.mknod = mem_mknod,
	.mkdir = mem_mkdir,
	.symlink = mem_symlink,
	.link = mem_link,
	.unlink = mem_unlink,
	.rmdir = mem_rmdir,
	.rename = mem_rename,
	.create = mem_create,
	.tmpfile = mem_tmpfile,
	.open = mem_open,
	.release = mem_release,
	.opendir = mem_opendir,
	.readdir = mem_readdir,
	.closedir = mem_closedir,
	.fsyncdir = mem_fsyncdir,
	.statfs = mem_statfs,
	.getxattr = mem_getxattr,
	.setxattr = mem_setxattr,
	.listxattr = mem_listxattr,
	.removexattr = mem_removexattr,
	.fallocate = mem_fallocate,
	.seek = mem_seek,
	.copy_range = mem_copy_range,
};

/* ---- opening -------------------------------------------------------- */

/* A number with an optional k, m, g or t. */
static int parse_size(const struct uri *uri, uint64_t dflt, uint64_t *out, struct err *err)
{
	static const char units[] = "kmgt";
	const char *text = uri_param(uri, "size"), *unit;
	unsigned shift = 0;
	uint64_t v;
	char *end;

	if (!text) {
		*out = dflt;
		return 0;
	}
	errno = 0;
	v = strtoull(text, &end, 10);
	unit = *end ? strchr(units, tolower((unsigned char)*end)) : NULL;
	if (unit) {
		shift = 10 * (unsigned)(unit - units + 1);
		end++;
	}
	if (!isdigit((unsigned char)*text) || *end || errno || v > MEM_SIZE_MAX >> shift ||
	    v << shift < MEM_SIZE_MIN)
		return err_set(err, -EINVAL,
			       "memory: size=%.100s: want 64k to 16t, as in 512m or 2g", text);
	*out = v << shift;
	return 0;
}

static int parse_uri(const char *text, uint64_t *size, uint64_t *inodes, struct err *err)
{
	static const char *const known[] = { "size", "inodes", NULL };
	struct sysinfo si = { .totalram = 0 };
	struct uri uri;
	uint64_t half;
	int rc = uri_parse(text, &uri, err);

	if (rc)
		return rc;
	if (*uri.host || (*uri.path && strcmp(uri.path, "/") != 0))
		return err_set(err, -EINVAL, "memory: takes no host and no path: '%.100s'", text);
	rc = uri_only_params(&uri, known, err);
	if (rc)
		return rc;
	sysinfo(&si);
	half = (uint64_t)si.totalram * si.mem_unit / 2;
	if (half < MEM_SIZE_MIN)
		half = MEM_SIZE_MIN;
	rc = parse_size(&uri, half < MEM_SIZE_MAX ? half : MEM_SIZE_MAX, size, err);
	if (rc)
		return rc;
	/* As many files as would fit with a page each, but some for a small store. */
	half = *size / MEM_PAGE > 1024 ? *size / MEM_PAGE : 1024;
	return uri_param_u64(&uri, "inodes", 1, MEM_INODES_MAX, half, inodes, err);
}

static void limits_init(struct be_limits *l)
{
	l->read_max = l->read_pref = MEM_IO_MAX;
	l->write_max = l->write_pref = MEM_IO_MAX;
	l->inflight_max = 8;
	l->name_max = MEM_NAME_MAX;
	l->file_max = MEM_FILE_MAX;
	l->caps = BE_CAP_XATTR | BE_CAP_WRITE_MTIME | BE_CAP_READDIRPLUS;
}

static int root_make(struct mem *mem, const struct be_cred *self)
{
	struct be_cred *cred = self ? be_cred_get(self) :
				      be_cred_new(geteuid(), getegid(), 0, NULL);
	int rc;

	if (!cred)
		return -ENOMEM;
	rc = mem_node_new(mem, cred, S_IFDIR | 0755, &mem->root);
	be_cred_put(cred);
	if (rc)
		return rc;
	mem->root->dir.parent = mem->root;
	mem->root->dir.parent_ino = mem->root->node.ino;
	return 0;
}

static int memory_open(const char *text, const struct be_env *env, struct backend **out,
		       struct err *err)
{
	uint64_t size = 0, inodes = 0;
	struct mem *mem;
	int rc = parse_uri(text, &size, &inodes, err);

	if (rc)
		return rc;
	mem = calloc(1, sizeof *mem);
	if (!mem)
		return err_set(err, -ENOMEM, "memory: out of memory");
	mem->be.ops = &mem_ops;
	limits_init(&mem->be.limits);
	mem->inodes_max = inodes;
	mutex_init(&mem->tree, LOCK_be_tree);
	rc = mem_space_init(&mem->space, size);
	if (!rc)
		rc = root_make(mem, env->self);
	if (rc) {
		mem_close(&mem->be);
		return err_set(err, rc, "memory: no memory for a store of %llu bytes",
			       (unsigned long long)size);
	}
	*out = &mem->be;
	return 0;
}

const struct backend_type backend_memory = {
	.scheme = "memory",
	.uri_help = "memory:?size=512m&inodes=100000",
	.open = memory_open,
};
