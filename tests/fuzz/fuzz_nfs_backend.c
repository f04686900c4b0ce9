/* SPDX-License-Identifier: Apache-2.0 */
/* Any replies to the NFS backend, from the portmapper's to the last UMNT: the real
 * code asks, this target is the connection (in place of conn.c) and answers with
 * the input. Nothing returned is out of its bounds, nothing leaks, all of it ends.
 *
 * The input is one stream, read as it is needed: a byte of START_*; then an
 * operation (OP_*) a byte; each call that it makes takes a byte of HOW_*, two bytes
 * of length (big endian), and so many bytes: the results, or with HOW_RAW all that
 * follows the XID. At the input's end the transport fails. */
#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "backends/nfs/conn.h"
#include "backends/nfs/nfs_impl.h"
#include "common/clock.h"
#include "common/log.h"

enum { START_ASKED = 1, START_PORTMAP = 2, START_SOFT = 4 };
enum { HOW_RAW = 1, HOW_RESENT = 2, HOW_FAILS = 4, HOW_PIECES = 8, HOW_PLACE = 16 };
enum { OPS_MAX = 48, OP_LATER = 0x80, ROOM = 5000, GUARD = 0x5a, HEAD_BYTES = 24, TICK_MS = 4000 };

struct nconn {
	unsigned unused;
};

static struct {
	const uint8_t *p, *end;
	bool asked; /* the opening is answered from the input, too */
	unsigned opening;
	struct list later; /* asynchronous calls that wait for their replies */
	struct ncall *now; /* the call that is being answered */
	bool over;
} in;

static struct {
	struct backend *be;
	struct be_node *dir, *file; /* counted; file may be anything, or NULL */
	bool opened;
} m;

/* ---- the input ------------------------------------------------------- */

static uint8_t take_byte(void)
{
	return in.p < in.end ? *in.p++ : 0;
}

static size_t take_bytes(size_t n, const uint8_t **out)
{
	size_t left = (size_t)(in.end - in.p);

	*out = in.p;
	n = n < left ? n : left;
	in.p += n;
	return n;
}

/* ---- the connection --------------------------------------------------- */

static struct ncall *find(void *arg, uint32_t xid)
{
	(void)arg;
	return !in.over && in.now->xid == xid ? in.now : NULL;
}

static void complete(void *arg, struct ncall *call, int error)
{
	(void)arg;
	assert(call == in.now && !in.over);
	call->error = error;
	in.over = true;
}

static const struct nrec_ops ops = { find, complete };

static size_t in_place(struct nrec *r, const uint8_t *p, size_t n)
{
	struct iovec iov[4];
	size_t len, got = 0;
	unsigned parts = nrec_direct(r, iov, 4, &len);

	for (unsigned i = 0; i < parts && got < n; i++) {
		size_t part = iov[i].iov_len < n - got ? iov[i].iov_len : n - got;

		memcpy(iov[i].iov_base, p + got, part);
		got += part;
	}
	nrec_received(r, got);
	return got;
}

/* Feeds a record; the call's error says what became of it. */
static void feed(struct ncall *call, const uint8_t *p, size_t n, uint8_t how)
{
	size_t step = how & HOW_PIECES ? 7 : n;
	struct nrec r;

	in.now = call;
	in.over = false;
	nrec_init(&r, &ops, NULL);
	while (n && !in.over) {
		size_t now = n < step ? n : step;
		size_t got = how & HOW_PLACE ? in_place(&r, p, now) : 0;

		if (!got) {
			if (nrec_feed(&r, p, now))
				break;
			got = now;
		}
		p += got;
		n -= got;
	}
	if (!in.over)
		call->error = -ETIMEDOUT;
}

static void put_u32(uint8_t *p, uint32_t v)
{
	struct enc e;

	enc_init(&e, p, 4);
	enc_u32(&e, v);
}

static void answer_with(struct ncall *call, const uint8_t *p, size_t n, uint8_t how)
{
	size_t head = how & HOW_RAW ? 4 : HEAD_BYTES;
	uint8_t *rec = calloc(1, 4 + head + n); /* exact: ASan sees an overrun */

	if (!rec)
		abort();
	call->xid = 7;
	call->resent = how & HOW_RESENT;
	put_u32(rec, 0x80000000u | (uint32_t)(head + n));
	put_u32(rec + 4, call->xid);
	if (!(how & HOW_RAW))
		put_u32(rec + 8, 1); /* a reply, accepted, no verifier, success */
	memcpy(rec + 4 + head, p, n);
	feed(call, rec, 4 + head + n, how);
	free(rec);
}

/* What opening needs, as a server answers it: MNT, FSINFO, PATHCONF, the root's GETATTR. */
static void answer_opening(struct ncall *call)
{
	static const uint32_t mnt[] = { 0, 4, 1, 1, 1 };
	static const uint32_t fsinfo[] = { 0,     0, 65536,   65536, 1, 65536, 65536, 1,
					   65536, 0, 1 << 20, 0,     0, 1,     27 };
	static const uint32_t pathconf[] = { 0, 0, 32000, 255, 1, 1, 1, 1 };
	static const uint32_t getattr[22] = { 0, 2,    0755, 2, 0, 0, 0, 4096,
					      0, 4096, 0,    0, 0, 9, 0, 2 };
	static const struct {
		const uint32_t *words;
		unsigned n;
	} replies[] = { { mnt, ARRAY_LEN(mnt) },
			{ fsinfo, ARRAY_LEN(fsinfo) },
			{ pathconf, ARRAY_LEN(pathconf) },
			{ getattr, ARRAY_LEN(getattr) } };
	uint8_t buf[sizeof getattr];
	unsigned step = in.opening++;

	for (unsigned i = 0; i < replies[step].n; i++)
		put_u32(buf + 4 * (size_t)i, replies[step].words[i]);
	answer_with(call, buf, 4 * (size_t)replies[step].n, 0);
	if (in.opening == ARRAY_LEN(replies))
		in.asked = true;
}

static void answer(struct ncall *call)
{
	const uint8_t *p;
	size_t n;
	uint8_t how;

	assert(call->args_len <= call->args_cap);
	if (!in.asked) {
		answer_opening(call);
	} else if (in.p == in.end) {
		call->error = -ETIMEDOUT;
	} else {
		how = take_byte();
		n = take_byte();
		n = n << 8 | take_byte();
		n = take_bytes(n, &p);
		if (how & HOW_FAILS)
			call->error = -EIO;
		else
			answer_with(call, p, n, how);
	}
	call->done(call);
}

static void answer_later(void)
{
	struct list *l;

	while ((l = list_pop(&in.later)))
		answer(list_entry(l, struct ncall, all_link));
}

int nconn_new(const struct nconn_conf *conf, int fd_take, struct nconn **out)
{
	assert(strlen(conf->name) <= 10);
	if (fd_take >= 0)
		close(fd_take);
	*out = calloc(1, sizeof **out);
	return *out ? 0 : -ENOMEM;
}

void nconn_free(struct nconn *c)
{
	free(c);
}

void nconn_submit(struct nconn *c, struct ncall *call, uint64_t delay_ms)
{
	(void)c;
	(void)delay_ms;
	if (call->done == ncall_finish)
		answer(call);
	else
		list_push_back(&in.later, &call->all_link);
}

void nconn_abandon(struct nconn *c, struct ncall *call)
{
	(void)c;
	(void)call;
}

/* The backend's pauses: time passes without waiting. */
int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	(void)fds;
	(void)n;
	atomic_fetch_add(&clock_skew_ms, (uint64_t)(timeout > 0 ? timeout : 1));
	return 0;
}

void nconn_fail_reads(struct nconn *c)
{
	(void)c;
}

bool nconn_owes_abandoned(struct nconn *c)
{
	(void)c;
	return false;
}

static int dial(void *arg, const struct be_dial *want, struct err *err)
{
	(void)arg;
	(void)want;
	(void)err;
	return eventfd(0, EFD_CLOEXEC);
}

/* ---- operations ------------------------------------------------------- */

static const struct be_call *me(void)
{
	static struct be_call call = { .flags = BE_REVALIDATE };

	if (!call.cred) /* one for all runs */
		call.cred = be_cred_new(1000, 1000, 0, NULL);
	return &call;
}

static void forget_file(void)
{
	if (m.opened)
		backend_release(m.be, m.file, O_RDWR);
	m.opened = false;
	be_node_put(m.file);
	m.file = NULL;
}

static void take_entry(int rc, struct be_entry *e, bool opened)
{
	if (rc)
		return;
	assert(e->node && e->node->type == (e->attr.mode & S_IFMT));
	if (e->node->type == S_IFDIR && !opened) {
		be_node_put(m.dir);
		m.dir = e->node;
		return;
	}
	forget_file();
	m.file = e->node;
	m.opened = opened;
}

static bool emit(void *arg, const struct be_dirent *e)
{
	unsigned *left = arg;

	assert(e->name_len && e->name_len <= NFS_NAME_MAX && e->cookie);
	assert(!memchr(e->name, '/', e->name_len) && !memchr(e->name, 0, e->name_len));
	assert(!e->node || e->attr);
	if (e->node && e->node->type != S_IFDIR && !m.file)
		m.file = be_node_get(e->node);
	return (*left)--;
}

static void list_folder(bool plus)
{
	unsigned left = 60;
	struct be_dir *d;

	if (backend_opendir(m.be, me(), m.dir, &d))
		return;
	backend_readdir(m.be, me(), d, 0, plus, emit, &left);
	left = 60;
	backend_readdir(m.be, me(), d, take_byte(), plus, emit, &left);
	backend_closedir(m.be, d);
}

/* ---- data: in flight together, answered in turn ------------------------ */

struct transfer {
	struct be_io io;
	struct iovec iov[2];
	uint8_t room[ROOM + 2];
};

static void transfer_done(struct be_io *io)
{
	struct transfer *t = io->priv;

	assert(io->result <= (ssize_t)io->len);
	assert(t->room[0] == GUARD && t->room[ROOM + 1] == GUARD);
	if (io->post_valid)
		assert(io->post.mode & S_IFMT);
	be_node_put(io->node);
	free(t);
}

static void transfer(enum be_submit (*submit)(struct backend *, struct be_io *))
{
	struct transfer *t;

	if (!m.file || m.file->type != S_IFREG)
		return;
	t = calloc(1, sizeof *t);
	if (!t)
		abort();
	t->room[0] = t->room[ROOM + 1] = GUARD;
	t->iov[0] = (struct iovec){ t->room + 1, 100 };
	t->iov[1] = (struct iovec){ t->room + 101, ROOM - 100 };
	t->io = (struct be_io){ .node = be_node_get(m.file),
				.cred = me()->cred,
				.iov = t->iov,
				.niov = 2,
				.off = take_byte(),
				.len = ROOM,
				.done = transfer_done,
				.priv = t };
	if (submit(m.be, &t->io) == BE_DONE)
		transfer_done(&t->io);
}

/* ---- names -------------------------------------------------------------- */

static void take_removed(int rc, struct be_removed *r)
{
	if (!rc)
		be_node_put(r->node);
}

static void op_name(uint8_t op)
{
	struct be_entry e = { .node = NULL };
	struct be_removed r = { .node = NULL };

	switch (op) {
	case 0:
		return take_entry(backend_lookup(m.be, me(), m.dir, "a", &e), &e, false);
	case 1:
		return take_entry(backend_mknod(m.be, me(), m.dir, "p", S_IFIFO | 0600, 0, &e), &e,
				  false);
	case 2:
		return take_entry(backend_mkdir(m.be, me(), m.dir, "d", 0700, &e), &e, false);
	case 3:
		return take_entry(backend_symlink(m.be, me(), m.dir, "l", "to", &e), &e, false);
	case 4:
		return take_entry(backend_create(m.be, me(), m.dir, "a", 0600, O_RDWR | O_EXCL, &e),
				  &e, true);
	case 5:
		return take_entry(backend_create(m.be, me(), m.dir, "a", 0600, O_RDWR, &e), &e,
				  true);
	case 6:
		if (m.file)
			take_entry(backend_link(m.be, me(), m.file, m.dir, "b", &e), &e, false);
		return;
	case 7:
		return take_removed(backend_unlink(m.be, me(), m.dir, "a", &r), &r);
	case 8:
		return take_removed(backend_rmdir(m.be, me(), m.dir, "d", &r), &r);
	default:
		take_removed(backend_rename(m.be, me(), m.dir, "a", m.dir, "b", 0, &r), &r);
	}
}

/* ---- one object ---------------------------------------------------------- */

static void save_and_restore(struct be_node *node)
{
	uint8_t buf[BE_NODE_SAVE_MAX];
	ssize_t n = backend_node_save(m.be, node, buf, sizeof buf);
	struct be_entry e;

	assert(n > 0);
	take_entry(backend_node_restore(m.be, buf, (size_t)n, &e), &e, false);
}

static void open_file(void)
{
	if (m.file && m.file->type == S_IFREG && !m.opened)
		m.opened = !backend_open_node(m.be, me(), m.file, O_RDWR);
}

static void op_object(uint8_t op)
{
	struct be_node *node = m.file ? m.file : m.dir;
	struct be_setattr set = { .valid = BE_SET_MODE | BE_SET_MTIME_NOW, .mode = 0640 };
	struct be_attr attr;
	struct statvfs fs;
	char link[100];

	switch (op) {
	case 10:
		if (!backend_getattr(m.be, me(), node, &attr))
			assert((attr.mode & S_IFMT) == node->type);
		return;
	case 11:
		if (node->type == S_IFREG)
			set.valid |= BE_SET_SIZE;
		backend_setattr(m.be, me(), node, &set, &attr);
		return;
	case 12:
		backend_access(m.be, me(), node, R_OK | W_OK);
		return;
	case 13:
		if (node->type == S_IFLNK)
			assert(backend_readlink(m.be, me(), node, link, sizeof link) <=
			       (ssize_t)sizeof link);
		return;
	case 14:
		return open_file();
	case 15:
		backend_statfs(m.be, me(), m.dir, &fs);
		return;
	default:
		save_and_restore(node);
	}
}

static void op_run(uint8_t op)
{
	switch (op) {
	case 17:
		return list_folder(false);
	case 18:
		return list_folder(true);
	case 19:
		return transfer(backend_read);
	case 20:
		return transfer(backend_write);
	case 21:
		return transfer(backend_commit);
	case 22:
		atomic_fetch_add(&clock_skew_ms, TICK_MS); /* attributes age */
		return;
	case 23:
		return forget_file();
	default:
		return op < 10 ? op_name(op) : op_object(op);
	}
}

/* ---- one run ------------------------------------------------------------- */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct be_env env = { .dial = dial };
	struct be_entry root;
	struct err err;
	uint8_t start;

	memset(&in, 0, sizeof in);
	memset(&m, 0, sizeof m);
	in.p = data;
	in.end = data + size;
	list_init(&in.later);
	log_level = LOG_LEVEL_ERROR;
	start = take_byte();
	in.asked = start & (START_ASKED | START_PORTMAP);
	env.soft = start & START_SOFT;
	if (backend_open(start & START_PORTMAP ? "nfs://h/export" :
						 "nfs://h/export?nfsport=1&mountport=1",
			 NULL, &env, &m.be, &err))
		return 0;
	if (!backend_root(m.be, &root)) {
		m.dir = root.node;
		for (unsigned i = 0; i < OPS_MAX && in.p < in.end; i++) {
			uint8_t op = take_byte();

			op_run((op & ~OP_LATER) % 24);
			if (!(op & OP_LATER))
				answer_later();
		}
		answer_later();
		forget_file();
		answer_later();
		be_node_put(m.dir);
	}
	answer_later();
	backend_close(m.be);
	assert(list_empty(&in.later));
	return 0;
}
