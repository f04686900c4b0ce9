/* SPDX-License-Identifier: Apache-2.0 */
/* arena.h - the shared memory of a mount: what must outlive a worker
 *
 * One memory file, made by the supervisor and mapped by the worker. It holds no
 * pointer: everything is a record in a section, found by index. A successor
 * reads it with arena_attach(), which trusts nothing it finds.
 *
 *   offset     section        record
 *   0          header         struct arena_header (one page)
 *   +          small slots    ARENA_SLOT_SMALL bytes: a request kept until its reply
 *   +          large slots    ARENA_SLOT_LARGE bytes: the same, with room for a WRITE
 *   +          slot states    struct arena_slot, one a slot, small ones first
 *   +          intents        struct arena_intent: a non-idempotent operation under way
 *   +          inodes         struct arena_inode: index = nodeid
 *   +          handles        struct arena_handle: index = file handle
 *   +          ledger         ARENA_LEDGER_BYTES of a block backend's: which writes may still land
 *   +          pages          struct arena_page: descriptor of a frame
 *   +          frames         page_size bytes each, 2 MiB aligned
 *
 * The file is sparse: its size is that of the largest cache allowed, memory is
 * used by what was touched. Threads: records belong to the modules that use
 * them; new, attach and free run alone. */
#ifndef CACHE_ARENA_H
#define CACHE_ARENA_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define ARENA_MAGIC 0x3173666973726570ULL /* "persifs1", little endian */
#define ARENA_VERSION 2
#define ARENA_PAYLOAD_MAX (1u << 20) /* bytes of one WRITE or READ */
/* A WRITE's 80 bytes of headers end where the slot's second page starts, so
 * that payloads are page aligned; one page more for names behind headers. */
#define ARENA_SLOT_LARGE (4096u + ARENA_PAYLOAD_MAX + 4096u)
#define ARENA_SLOT_SMALL 512u
#define ARENA_SLOTS_LARGE 512u
#define ARENA_SLOTS_SMALL 8192u
#define ARENA_SLOTS (ARENA_SLOTS_SMALL + ARENA_SLOTS_LARGE)
#define ARENA_INTENTS 1024u
#define ARENA_INODES (8u << 20)
#define ARENA_HANDLES (1u << 20)
#define ARENA_NODE_SAVE 128u
#define ARENA_LEDGER_BYTES (516u << 10)

struct arena_header {
	uint64_t magic;
	uint32_t version, header_bytes;
	uint64_t total_bytes;
	uint32_t page_size; /* bytes of a frame */
	uint32_t nframes;
	uint64_t small_off, large_off, slot_off, intent_off, inode_off, handle_off, ledger_off,
		ledger_bytes, page_off, frame_off;
	uint64_t checksum; /* of all above */
	/* The kernel's INIT and the answer given to it: a successor replays them. */
	uint32_t init_len, init_reply_len;
	uint8_t init_msg[256], init_reply[256];
};

enum arena_slot_state {
	ARENA_SLOT_FREE,
	ARENA_SLOT_TAKEN, /* holds a request that was not answered */
};

struct arena_slot {
	uint32_t state, len;
	uint64_t unique;
};

struct arena_intent {
	uint64_t unique; /* of the request, without bit 63; 0: free */
	uint64_t op_id;
	uint32_t opcode, state;
	int32_t result;
	uint32_t pad;
	uint8_t data[224];
};

struct arena_inode {
	uint64_t generation; /* 0: free */
	uint64_t lookups;
	uint64_t size; /* with data not yet written back */
	int64_t mtime_sec;
	uint32_t mtime_nsec;
	uint32_t flags;
	uint32_t type; /* S_IFMT bits */
	uint32_t node_len;
	uint8_t node[ARENA_NODE_SAVE];
	uint8_t pad[80];
};

struct arena_handle {
	uint32_t inode; /* 0: free */
	uint32_t flags; /* of open(2) */
	uint32_t uid, gid;
	uint64_t cookie;
	uint8_t pad[40];
};

/* What a frame holds. Masks have a bit for each unit of the frame; page.h
 * gives their meaning. */
struct arena_page {
	uint32_t inode; /* 0: free */
	uint32_t cred;
	uint64_t fno; /* page number in the file */
	uint64_t valid, dirty, unstable;
	uint64_t verifier;
	uint64_t pad[2];
};

static_assert(sizeof(struct arena_header) <= 4096, "header page");
static_assert(sizeof(struct arena_slot) == 16, "layout");
static_assert(sizeof(struct arena_intent) == 256, "layout");
static_assert(sizeof(struct arena_inode) == 256, "layout");
static_assert(sizeof(struct arena_handle) == 64, "layout");
static_assert(sizeof(struct arena_page) == 64, "layout");

struct arena {
	struct arena_header *hdr; /* start of the mapping */
	int fd;                   /* owned */
	bool huge;                /* its memory comes in huge pages */
	struct arena_slot *slots;
	struct arena_intent *intents;
	struct arena_inode *inodes;
	struct arena_handle *handles;
	struct arena_page *pages;
	uint8_t *frames;
};

/* Makes the file for nframes frames of page_size bytes (a power of two, 4 KiB to
 * 1 MiB) and yields its descriptor: of huge pages where the caller may mount a
 * tmpfs, else a memfd, sealed against shrinking and growing. -EINVAL, -ENOMEM or
 * memfd_create's error. */
int arena_create(uint32_t page_size, uint32_t nframes, int *out_fd);
/* Maps the arena behind fd, which it takes on success. Checks magic, version,
 * checksum and that all sections lie inside. -EINVAL with a sentence. */
int arena_attach(int fd, struct arena **out, struct err *err);
/* Unmaps and closes; the memory lives while another holds the descriptor. */
void arena_free(struct arena *a);

uint8_t *arena_slot_buf(const struct arena *a, unsigned slot);
/* Copies to off of the frame. Cheaper than through the mapping where there is no memory
 * yet: it is not cleared first, and there is no fault for each page. */
void arena_store(struct arena *a, uint32_t frame, size_t off, const void *src, size_t len);
/* Gives the memory of [frame, frame+count) back to the system; their content becomes zero. */
void arena_release_frames(struct arena *a, uint32_t frame, uint32_t count);

/* ARENA_LEDGER_BYTES that were zero at first, page aligned. What is in them the cache does not know. */
static inline void *arena_ledger(const struct arena *a)
{
	return (uint8_t *)a->hdr + a->hdr->ledger_off;
}

static inline uint8_t *arena_frame(const struct arena *a, uint32_t frame)
{
	return a->frames + (uint64_t)frame * a->hdr->page_size;
}

#endif
