/* SPDX-License-Identifier: Apache-2.0 */
/* store.h - the export of nfsfault: inodes in memory, with what a crash would leave
 *
 * Results are NFSv3 status codes. One thread. An inode lives as long as it has a
 * name; its number is never used again, so an old handle is stale for ever.
 *
 * Data written UNSTABLE through a node is kept apart from stable content until a
 * COMMIT through the same node: data_lose() takes it back, as a crash does. All
 * other changes are stable at once. */
#ifndef TESTS_SERVER_STORE_H
#define TESTS_SERVER_STORE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include <nfsc/libnfs-zdr.h>
#include <nfsc/libnfs-raw-nfs.h>

#define PAGE_BYTES 4096u
#define LEAF_PAGES 256u
#define FILE_BYTES_MAX (1ULL << 40)
#define NAME_BYTES_MAX 255u
#define LINKS_MAX 32000u
#define GROUPS_MAX 16u
#define SNAPSHOT_NAME ".snapshot"

struct cred {
	uint32_t uid, gid, groups[GROUPS_MAX];
	unsigned ngroups;
};

/* One page: old is what a crash brings back (NULL: zeros), while nodes is not 0. */
struct page {
	uint8_t *now, *old;
	unsigned nodes; /* a bit for each node that wrote it and did not commit */
};

struct leaf {
	struct page page[LEAF_PAGES];
};

struct name {
	char *text; /* owned */
	uint32_t hash, len;
	uint64_t cookie; /* grows with the place in the array */
	struct inode *inode;
};

struct inode {
	uint64_t ino;
	ftype3 type;
	uint32_t mode, nlink, uid, gid, rdev[2];
	struct timespec atime, mtime, ctime;
	uint64_t size, stable_size;
	uint64_t verf; /* of the exclusive CREATE that made it; 0: none */
	char *target;  /* of a symbolic link, owned */
	/* a directory */
	struct inode *parent;
	struct name *names; /* by cookie */
	size_t nnames, names_cap;
	uint64_t next_cookie;
	/* a file */
	struct leaf **leaf;
	size_t nleaf;
	uint64_t pages;
	unsigned seen; /* names found by store_check() */
	bool frozen;   /* of the snapshot: nothing of it changes */
};

struct store {
	struct inode **inode; /* by number; NULL: gone */
	uint64_t next_ino, cap;
	struct inode *root;
	struct inode *snapshot; /* found in root by SNAPSHOT_NAME, never listed; or NULL */
	uint64_t pages, files;
	uint64_t limit; /* bytes; 0: none */
	uint64_t quota; /* bytes for quota_uid; 0: none */
	uint32_t quota_uid;
	uint64_t grain_ns;
	uint64_t lost; /* pages that data_lose() took back */
};

enum { MAY_X = 1, MAY_W = 2, MAY_R = 4 };

void store_init(struct store *s);
void store_done(struct store *s);
struct inode *store_find(const struct store *s, uint64_t ino); /* NULL: stale */
struct timespec store_now(const struct store *s);
struct inode *store_walk(struct store *s, const char *path); /* NULL: no such path */
/* Writes what is wrong into msg; true when nothing is. */
bool store_check(struct store *s, char *msg, size_t size);

/* Without a name, which name_create() gives it; mode 0. */
struct inode *inode_new(struct store *s, ftype3 type, const struct cred *c);
bool cred_in_group(const struct cred *c, uint32_t gid);
bool inode_may(const struct inode *i, const struct cred *c, unsigned want);
void inode_free_if_unnamed(struct store *s, struct inode *i);
void inode_changed(struct store *s, struct inode *i, bool content);
/* As a mount with relatime does. */
void inode_accessed(struct store *s, struct inode *i);

/* names.c: text is not terminated. */
struct inode *name_find(struct inode *dir, const char *text, size_t len);
size_t name_after(const struct inode *dir, uint64_t cookie); /* index of the first beyond */
uint32_t name_create(struct store *s, struct inode *dir, const char *text, size_t len, ftype3 type,
		     const struct cred *c, struct inode **out);
uint32_t name_link(struct store *s, struct inode *i, struct inode *dir, const char *text,
		   size_t len, const struct cred *c);
uint32_t name_remove(struct store *s, struct inode *dir, const char *text, size_t len, bool isdir,
		     const struct cred *c);
/* dir, a folder in root, loses its name and is the snapshot; false: it is neither. */
bool name_freeze(struct store *s, struct inode *dir);
uint32_t name_rename(struct store *s, struct inode *from, const char *a, size_t alen,
		     struct inode *to, const char *b, size_t blen, const struct cred *c);

/* data.c */
void data_read(const struct inode *i, uint64_t off, uint8_t *buf, size_t n, bool stable);
/* Writes *n bytes, or less when room ends, and then says how many. */
uint32_t data_write(struct store *s, struct inode *i, uint64_t off, const uint8_t *buf, size_t *n,
		    bool stable, unsigned node);
void data_commit(struct inode *i, uint64_t off, uint64_t n, unsigned node);
void data_resize(struct store *s, struct inode *i, uint64_t size);
void data_lose(struct store *s, unsigned node); /* of all files */
void data_free(struct store *s, struct inode *i);
/* Bytes of the quota's owner, all files. Slow, and only asked with a quota. */
uint64_t data_quota_used(const struct store *s);
uint64_t data_unstable(const struct inode *i); /* pages */

#endif
