/* SPDX-License-Identifier: Apache-2.0 */
/* arena.c - see arena.h for the layout. All offsets are computed in one place
 * (layout()), by the maker, and compared with a fresh computation by everyone
 * who attaches. */
#include "cache/arena.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/hash.h"

#define HUGE_BYTES (2u << 20)

static uint64_t align_up(uint64_t v, uint64_t a)
{
	return (v + a - 1) / a * a;
}

static uint64_t section(uint64_t *at, uint64_t bytes)
{
	uint64_t off = *at;

	*at = align_up(off + bytes, 4096);
	return off;
}

static uint64_t header_sum(const struct arena_header *h)
{
	return hash_bytes(h, offsetof(struct arena_header, checksum), ARENA_VERSION);
}

static void layout(struct arena_header *h, uint32_t page_size, uint32_t nframes)
{
	uint64_t at = 4096;

	memset(h, 0, sizeof *h);
	h->magic = ARENA_MAGIC;
	h->version = ARENA_VERSION;
	h->header_bytes = sizeof *h;
	h->page_size = page_size;
	h->nframes = nframes;
	h->small_off = section(&at, (uint64_t)ARENA_SLOTS_SMALL * ARENA_SLOT_SMALL);
	h->large_off = section(&at, (uint64_t)ARENA_SLOTS_LARGE * ARENA_SLOT_LARGE);
	h->slot_off = section(&at, (uint64_t)ARENA_SLOTS * sizeof(struct arena_slot));
	h->intent_off = section(&at, (uint64_t)ARENA_INTENTS * sizeof(struct arena_intent));
	h->inode_off = section(&at, (uint64_t)ARENA_INODES * sizeof(struct arena_inode));
	h->handle_off = section(&at, (uint64_t)ARENA_HANDLES * sizeof(struct arena_handle));
	h->ledger_bytes = ARENA_LEDGER_BYTES;
	h->ledger_off = section(&at, h->ledger_bytes);
	h->page_off = section(&at, (uint64_t)nframes * sizeof(struct arena_page));
	at = align_up(at, HUGE_BYTES);
	h->frame_off = section(&at, (uint64_t)nframes * page_size);
	h->total_bytes = at;
	h->checksum = header_sum(h);
}

/* A file without a name in a tmpfs without a place: as a memfd, but its memory comes in
 * huge pages, which the system's settings rarely give to a memfd. -errno where the
 * kernel is too old, or the caller may not mount. */
static int open_huge(void)
{
	AUTO_FD int fs = fsopen("tmpfs", FSOPEN_CLOEXEC);
	AUTO_FD int mnt = -1;
	int fd;

	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "huge", "always", 0) ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "size", "0", 0) ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0))
		return -errno;
	mnt = fsmount(fs, FSMOUNT_CLOEXEC,
		      MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
	if (mnt < 0)
		return -errno;
	fd = openat(mnt, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	return fd < 0 ? -errno : fd;
}

int arena_create(uint32_t page_size, uint32_t nframes, int *out_fd)
{
	struct arena_header h;
	AUTO_FD int fd = -1;

	if (page_size < 4096 || page_size > ARENA_PAYLOAD_MAX || (page_size & (page_size - 1)) ||
	    !nframes)
		return -EINVAL;
	layout(&h, page_size, nframes);
	fd = open_huge();
	if (fd < 0)
		fd = memfd_create("persifs-arena", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (fd < 0 || ftruncate(fd, (off_t)h.total_bytes) < 0)
		return -errno;
	if (pwrite(fd, &h, sizeof h, 0) != (ssize_t)sizeof h)
		return -ENOMEM;
	/* A file of a tmpfs takes no seals: there, who attaches looks at the size. */
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 && errno != EPERM)
		return -errno;
	*out_fd = take_fd(&fd);
	return 0;
}

static int check_header(int fd, const struct stat *st, struct arena_header *h, struct err *err)
{
	struct arena_header want;

	if (pread(fd, h, sizeof *h, 0) != (ssize_t)sizeof *h)
		return err_set(err, -EINVAL, "arena: cannot be read");
	if (h->magic != ARENA_MAGIC || h->version != ARENA_VERSION)
		return err_set(err, -EINVAL, "arena: not one of version %d", ARENA_VERSION);
	if (h->checksum != header_sum(h) || h->page_size < 4096 || !h->nframes ||
	    h->page_size > ARENA_PAYLOAD_MAX || (h->page_size & (h->page_size - 1)))
		return err_set(err, -EINVAL, "arena: header is damaged");
	layout(&want, h->page_size, h->nframes);
	if (memcmp(&want, h, offsetof(struct arena_header, init_len)) ||
	    (uint64_t)st->st_size != want.total_bytes || h->init_len > sizeof h->init_msg ||
	    h->init_reply_len > sizeof h->init_reply)
		return err_set(err, -EINVAL, "arena: layout differs from this program's");
	return 0;
}

int arena_attach(int fd, struct arena **out, struct err *err)
{
	struct arena_header h;
	struct arena *a;
	struct stat st;
	uint8_t *base;
	int rc;

	if (fstat(fd, &st) < 0)
		return err_set(err, -EINVAL, "arena: cannot be read");
	rc = check_header(fd, &st, &h, err);
	if (rc)
		return rc;
	a = calloc(1, sizeof *a);
	base = a ? mmap(NULL, h.total_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) :
		   MAP_FAILED;
	if (base == MAP_FAILED) {
		free(a);
		return err_set(err, -ENOMEM, "arena: cannot map %llu bytes",
			       (unsigned long long)h.total_bytes);
	}
	a->hdr = (struct arena_header *)(void *)base;
	a->fd = fd;
	a->huge = st.st_blksize >= HUGE_BYTES; /* so the file says in what steps memory comes */
	a->slots = (void *)(base + h.slot_off);
	a->intents = (void *)(base + h.intent_off);
	a->inodes = (void *)(base + h.inode_off);
	a->handles = (void *)(base + h.handle_off);
	a->pages = (void *)(base + h.page_off);
	a->frames = base + h.frame_off;
	/* Fewer faults where the system allows huge pages for shared memory. */
	madvise(a->frames, (size_t)h.nframes * h.page_size, MADV_HUGEPAGE);
	madvise(base, h.total_bytes, MADV_DONTDUMP);
	*out = a;
	return 0;
}

void arena_free(struct arena *a)
{
	if (!a)
		return;
	close(a->fd);
	munmap(a->hdr, a->hdr->total_bytes);
	free(a);
}

uint8_t *arena_slot_buf(const struct arena *a, unsigned slot)
{
	uint8_t *base = (uint8_t *)a->hdr;

	if (slot < ARENA_SLOTS_SMALL)
		return base + a->hdr->small_off + (uint64_t)slot * ARENA_SLOT_SMALL;
	return base + a->hdr->large_off + (uint64_t)(slot - ARENA_SLOTS_SMALL) * ARENA_SLOT_LARGE;
}

void arena_store(struct arena *a, uint32_t frame, size_t off, const void *src, size_t len)
{
	off_t at = (off_t)(a->hdr->frame_off + (uint64_t)frame * a->hdr->page_size + off);

	/* A huge page is cleared faster than a system call copies. */
	if (a->huge || pwrite(a->fd, src, len, at) != (ssize_t)len)
		memcpy(arena_frame(a, frame) + off, src, len);
}

void arena_release_frames(struct arena *a, uint32_t frame, uint32_t count)
{
	madvise(arena_frame(a, frame), (size_t)count * a->hdr->page_size, MADV_REMOVE);
}
