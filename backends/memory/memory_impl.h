/* SPDX-License-Identifier: Apache-2.0 */
/* memory_impl.h - the parts of the memory backend
 *
 *   memory.c  opening, closing, the table      node.c    nodes, attributes
 *   names.c   lookup, create, remove, rename   dirent.c  one directory's entries
 *   data.c    read, write, truncate            chunk.c   a file's chunks
 *   range.c   fallocate, seek, copy_range      space.c   memory for file data
 *   xattr.c   extended attributes
 *
 * Locks, outermost first:
 *   mem->tree (rank be_tree)  held by rename and rmdir, which alone move or
 *       remove directories: under it parents do not change;
 *   a directory's lock (rank be_table)  its entries and attributes; two at once
 *       only in rename;
 *   any other node's lock (rank be_node)  attributes, chunks, extended attributes;
 *   space->lock (rank be_queue)  free blocks.
 *
 * References: a node with names is held once by the tree (not once a name); the
 * reference goes when nlink falls to 0. A name always has its share in nlink:
 * nlink grows before a name appears and falls after it is gone. */
#ifndef BACKENDS_MEMORY_MEMORY_IMPL_H
#define BACKENDS_MEMORY_MEMORY_IMPL_H

#include "backends/backend.h"
#include "common/list.h"
#include "common/lock.h"

#define MEM_NAME_MAX 255
#define MEM_LINKS_MAX 65000u /* names of one file; then -EMLINK */
#define MEM_FILE_MAX ((uint64_t)INT64_MAX)
#define MEM_IO_MAX (1u << 20)        /* announced; larger ones work */
#define MEM_XATTRS_MAX (128u * 1024) /* bytes of one node's names and values; then -ENOSPC */
#define MEM_DIRENT_BYTES 32          /* what an entry adds to a directory's size */

/* ---- space.c: memory for file data ---------------------------------- */

#define MEM_PAGE_SHIFT 12
#define MEM_PAGE (1u << MEM_PAGE_SHIFT)
#define MEM_CHUNK_SHIFT 16
#define MEM_CHUNK (1u << MEM_CHUNK_SHIFT)
#define MEM_CLASSES 3 /* blocks of 4, 16 and 64 KiB */
#define MEM_CHUNK_CLASS (MEM_CLASSES - 1)
#define MEM_SIZE_MAX (1ULL << 44) /* size= */

struct mem_slab;

struct mem_space {
	/* set at start, then read only */
	uint64_t bytes_max;
	char *base; /* reserved addresses, slabs_max slabs; owned */
	size_t slabs_max;
	struct mem_slab *slabs; /* owned; one for each slab's worth of addresses */
	/* any thread */
	_Atomic uint64_t bytes_used;
	struct mutex lock;
	/* guarded by lock */
	size_t slabs_made;                /* how many have ever been used: addresses from base on */
	struct list partial[MEM_CLASSES]; /* slabs with free blocks */
	struct list warm, cold;           /* wholly free ones: with memory, without */
	unsigned nwarm;
};

int mem_space_init(struct mem_space *sp, uint64_t bytes_max);
void mem_space_done(struct mem_space *sp);
static inline size_t mem_class_bytes(unsigned cls)
{
	return (size_t)MEM_PAGE << (2 * cls);
}
/* A block of the class, aligned to its size, with anything in it; NULL when the
 * limit is reached or memory is short. */
void *mem_block_new(struct mem_space *sp, unsigned cls);
void mem_block_free(struct mem_space *sp, void *block, unsigned cls);

/* ---- chunk.c: a file's chunks --------------------------------------- */

/* Chunks by number: a tree of tables with 512 slots each. A slot is 0 (a hole)
 * or block address | class << 62 | mask, where bit i of mask tells that page i
 * holds data; other pages read as zeros whatever the block has in them.
 * Invariant: in a page with data, bytes at and beyond the file's size are 0. */
struct mem_chunks {
	uint64_t root;   /* height 0: the slot of chunk 0; else a table's address */
	unsigned height; /* tables between root and a slot */
};

static inline char *mem_slot_mem(uint64_t slot)
{
	return (char *)(uintptr_t)((slot & ~(3ULL << 62)) & ~(mem_class_bytes(slot >> 62) - 1));
}

static inline unsigned mem_slot_mask(uint64_t slot)
{
	return (unsigned)(slot & (mem_class_bytes(slot >> 62) - 1));
}

/* The slot of a chunk, or NULL when no table has it. */
uint64_t *mem_chunks_slot(const struct mem_chunks *c, uint64_t chunk);
/* The same, making tables as needed; NULL without memory. */
uint64_t *mem_chunks_slot_make(struct mem_chunks *c, uint64_t chunk);
/* Finds the first chunk at or behind *chunk that is no hole. */
bool mem_chunks_next(const struct mem_chunks *c, uint64_t *chunk, uint64_t **slot);
/* Frees the blocks of all chunks from first on, and tables that became empty.
 * Returns how many bytes of blocks were freed. */
uint64_t mem_chunks_cut(struct mem_chunks *c, struct mem_space *sp, uint64_t first);

/* ---- nodes ---------------------------------------------------------- */

struct mem_node;

struct mem_dent {
	struct mem_dent *next; /* of the same bucket */
	struct mem_node *node; /* has its share of nlink */
	uint64_t ino;          /* the node's; spares a cache miss in readdir */
	uint64_t cookie;       /* readdir from here starts behind this entry */
	size_t pos;            /* where order[] has it */
	uint32_t hash;
	mode_t type;
	uint8_t len;
	char name[];
};

struct mem_pos {
	uint64_t cookie;
	struct mem_dent *dent; /* NULL: removed */
};

/* All guarded by the directory's lock, but parent. */
struct mem_names {
	struct mem_dent **buckets; /* owned; a power of two, NULL while empty */
	size_t nbuckets, count;
	struct mem_pos *order; /* owned; by cookie */
	size_t norder, order_cap;
	uint64_t last_cookie;
	uint64_t parent_ino;
	struct mem_node *parent; /* guarded by mem->tree; the root's is itself */
	bool dead;               /* removed: takes no more entries */
};

struct mem_xattr {
	struct mem_xattr *next;
	uint32_t value_len;
	uint8_t name_len;
	char data[]; /* name, value */
};

struct mem_node {
	struct be_node node;
	struct mutex lock;
	/* guarded by lock */
	struct be_attr attr;
	struct mem_xattr *xattrs; /* owned */
	uint32_t xattr_bytes;
	bool linkable; /* made by tmpfile: may get its first name */
	union {
		struct { /* regular file */
			struct mem_chunks chunks;
			unsigned users;   /* reads and writes that copy without the lock */
			unsigned waiting; /* threads that need users to be 0 */
			struct cond idle; /* users or waiting became 0 */
		} file;
		struct mem_names dir;
		char *target; /* symlink; owned */
	};
};

struct mem {
	struct backend be;
	struct mem_space space;
	uint64_t inodes_max;
	_Atomic uint64_t inodes_used, last_ino;
	struct mutex tree;
	struct mem_node *root; /* counted */
};

static inline struct mem *mem_of(struct backend *be)
{
	return (struct mem *)be;
}

static inline struct mem_node *mem_node_of(struct be_node *node)
{
	return (struct mem_node *)node;
}

/* ---- dirent.c: one directory's entries; its lock is held ------------ */

struct mem_dent *mem_names_find(const struct mem_names *d, const char *name);
/* 0 or -ENOMEM. name must not be there. */
int mem_names_insert(struct mem_names *d, const char *name, struct mem_node *node);
void mem_names_remove(struct mem_names *d, struct mem_dent *ent);
/* Index into order[] of the first entry behind cookie. */
size_t mem_names_seek(const struct mem_names *d, uint64_t cookie);
void mem_names_done(struct mem_names *d);

/* ---- node.c ---------------------------------------------------------- */

/* A node without a name, held once by the caller: nlink 0 (directories: 2),
 * owned by cred, all times now. -ENOSPC beyond inodes=, -ENOMEM. */
int mem_node_new(struct mem *mem, const struct be_cred *cred, mode_t mode, struct mem_node **out);
void mem_node_free(struct be_node *node);
/* Copies attributes and takes a reference for out. */
void mem_entry_fill(struct mem_node *n, struct be_entry *out);
int mem_getattr(struct backend *be, const struct be_call *call, struct be_node *node,
		struct be_attr *out);
int mem_setattr(struct backend *be, const struct be_call *call, struct be_node *node,
		const struct be_setattr *set, struct be_attr *out);
ssize_t mem_readlink(struct backend *be, const struct be_call *call, struct be_node *node,
		     char *buf, size_t cap);

/* ---- names.c --------------------------------------------------------- */

int mem_lookup(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, struct be_entry *out);
int mem_mknod(struct backend *be, const struct be_call *call, struct be_node *dir, const char *name,
	      mode_t mode, dev_t rdev, struct be_entry *out);
int mem_mkdir(struct backend *be, const struct be_call *call, struct be_node *dir, const char *name,
	      mode_t mode, struct be_entry *out);
int mem_symlink(struct backend *be, const struct be_call *call, struct be_node *dir,
		const char *name, const char *target, struct be_entry *out);
int mem_link(struct backend *be, const struct be_call *call, struct be_node *node,
	     struct be_node *dir, const char *name, struct be_entry *out);
int mem_unlink(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, struct be_removed *out);
int mem_rmdir(struct backend *be, const struct be_call *call, struct be_node *dir, const char *name,
	      struct be_removed *out);
int mem_create(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, mode_t mode, int oflags, struct be_entry *out);
int mem_tmpfile(struct backend *be, const struct be_call *call, struct be_node *dir, mode_t mode,
		int oflags, struct be_entry *out);
/* Both with mem->tree and the directory's lock, respectively. */
int mem_dir_kill(struct mem_node *dir);
void mem_dir_touch_locked(struct mem_node *dir);

/* rename.c */
int mem_rename(struct backend *be, const struct be_call *call, struct be_node *dir,
	       const char *name, struct be_node *newdir, const char *newname, unsigned flags,
	       struct be_removed *out);
/* After a name of node is gone: nlink falls. Consumes the caller's reference into out. */
void mem_unlinked_take(struct mem_node *node, struct be_removed *out);

/* readdir.c */
int mem_opendir(struct backend *be, const struct be_call *call, struct be_node *dir,
		struct be_dir **out);
int mem_readdir(struct backend *be, const struct be_call *call, struct be_dir *d, uint64_t cookie,
		bool plus, be_emit *emit, void *arg);
void mem_closedir(struct backend *be, struct be_dir *d);

/* ---- data.c ---------------------------------------------------------- */

enum be_submit mem_submit_read(struct backend *be, struct be_io *io);
enum be_submit mem_submit_write(struct backend *be, struct be_io *io);
enum be_submit mem_submit_commit(struct backend *be, struct be_io *io);

/* The same on a buffer. Reads return bytes; writes 0 or -ENOSPC, and leave size and times alone. */
size_t mem_data_read(struct mem_node *n, const struct iovec *iov, uint64_t off, size_t len);
int mem_data_write(struct mem *mem, struct mem_node *n, const struct iovec *iov, uint64_t off,
		   size_t len);
/* With the node's lock: returns when no read or write is copying; none starts before the lock
 * is released. */
void mem_data_idle_locked(struct mem_node *n);
/* With the lock, idle: makes [from, to) read as zeros, freeing what it can. */
void mem_data_zero_locked(struct mem *mem, struct mem_node *n, uint64_t from, uint64_t to);
void mem_data_truncate_locked(struct mem *mem, struct mem_node *n, uint64_t size);
/* With the lock, idle: a block for the chunk that covers its first end bytes. 0, -ENOSPC, -ENOMEM. */
int mem_chunk_fit_locked(struct mem *mem, struct mem_node *n, uint64_t chunk, size_t end);

/* ---- range.c --------------------------------------------------------- */

int mem_fallocate(struct backend *be, const struct be_call *call, struct be_node *node, int mode,
		  uint64_t off, uint64_t len);
int mem_seek(struct backend *be, const struct be_call *call, struct be_node *node, uint64_t off,
	     int whence, uint64_t *out);
ssize_t mem_copy_range(struct backend *be, const struct be_call *call, struct be_node *src,
		       uint64_t src_off, struct be_node *dst, uint64_t dst_off, size_t len);

/* ---- xattr.c --------------------------------------------------------- */

ssize_t mem_getxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		     const char *name, void *buf, size_t cap);
int mem_setxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		 const char *name, const void *value, size_t len, int flags);
ssize_t mem_listxattr(struct backend *be, const struct be_call *call, struct be_node *node,
		      char *buf, size_t cap);
int mem_removexattr(struct backend *be, const struct be_call *call, struct be_node *node,
		    const char *name);
void mem_xattrs_free(struct mem_node *n);

#endif
