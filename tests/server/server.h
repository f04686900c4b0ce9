/* SPDX-License-Identifier: Apache-2.0 */
/* server.h - the parts of nfsfault: nodes, connections, calls
 *
 *   main.c   options, the loop, signals            ctl.c    the control socket
 *   node.c   listening, restarts, refusing         conn.c   streams: records in, replies out
 *   rpc.c    the call's head, rejections, DRC      proc_*.c the procedures
 *   store.h  the export                            fault.h  what goes wrong
 *
 * One thread, one epoll set. Nothing is freed inside an event but at its end:
 * a connection that is to go is marked, and conns_reap() takes it. */
#ifndef TESTS_SERVER_SERVER_H
#define TESTS_SERVER_SERVER_H

#include <netinet/in.h>

#include "tests/server/fault.h"
#include "tests/server/store.h"
#include "tests/server/xdr.h"

#define NODES_MAX 2
#define RECORD_BYTES_MAX ((1u << 20) + (64u << 10))
#define IO_BYTES_MAX (1u << 20)
#define LIST_BYTES_MAX (128u << 10)
#define DRC_ENTRIES 1024
#define CONNS_MAX 256

/* What an epoll event belongs to; first member of its struct. */
struct source {
	void (*event)(struct source *src, uint32_t events);
};

struct server;

struct node {
	struct source src;
	struct server *srv;
	unsigned index;
	const char *address;
	uint16_t port; /* 0 at first: any */
	int fd;        /* listening, or -1 */
	uint64_t verf; /* of writes; another after each restart */
	bool down;
	uint64_t refuse_until_ms; /* 0: does not refuse */
};

struct drc_entry {
	uint64_t key; /* 0: empty */
	uint8_t *reply;
	size_t len;
};

struct conn;

struct server {
	struct store store;
	struct faults faults;
	struct node node[NODES_MAX];
	unsigned nnodes;
	int ep;
	bool stop;
	bool drc_on;
	uint64_t cookie_bits; /* set in every cookie on the wire */
	bool unexported;      /* no handle is known, and MNT is refused */
	char export[256];     /* the folder that MNT /export leads to */
	uint32_t handle_gen;  /* of all handles; others are stale */
	uint32_t root_gen;    /* of the root's, beside that */
	struct drc_entry drc[DRC_ENTRIES];
	unsigned drc_next;
	struct conn *conns; /* a list */
	unsigned nconns;
	uint64_t calls[24]; /* by bit of fault.h */
	uint64_t accepted, drc_hits, replies;
	FILE *log; /* or NULL */
};

uint64_t now_ms(void);
void server_log(struct server *srv, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void server_watch(struct server *srv, int fd, struct source *src, uint32_t events, bool add);

/* node.c: 0 or -errno */
int node_up(struct node *n);
void node_down(struct node *n);
void node_restart(struct node *n, bool keep_drc); /* data lost, verifier new, stays up */
void node_refuse(struct node *n, uint64_t ms);
/* Milliseconds until one of them has to do something, or -1. */
int nodes_timers(struct server *srv);

/* conn.c */
void conn_accept(struct node *n, int fd_take);
void conns_close(struct server *srv, const struct node *n); /* NULL: of all nodes */
void conns_unstall(struct server *srv);                     /* closes what stalls */
int conns_timers(struct server *srv);
void conns_reap(struct server *srv);

/* ctl.c */
int ctl_listen(struct server *srv, const char *path);
int ctl_say(const char *path, const char *command); /* exit status */

/* rpc.c: answers one record. The reply starts with the XID; none when out is empty. */
struct request {
	struct server *srv;
	struct node *node;
	const uint8_t *p; /* the record */
	size_t len;
	/* found by rpc_parse() */
	uint32_t xid, prog, vers, proc;
	uint32_t bit; /* of the procedure, see fault.h; 0: no fault fits */
	struct cred cred;
	struct xr args;
	uint64_t key; /* in the duplicate request cache */
};

bool rpc_parse(struct request *rq); /* false: not a call */
void rpc_answer(struct request *rq, struct xw *out);
void drc_clear(struct server *srv);

/* proc_*.c: one call being answered */
struct call {
	struct server *srv;
	struct store *store;
	struct node *node;
	const struct cred *cred;
	uint32_t bit;
	struct xr *in;
	struct xw *out;
	bool no_attr, no_handle;
};

/* Reads arguments from in, appends the result to out. in->bad: nothing was done. */
typedef void proc_fn(struct call *c);

extern proc_fn *const nfs_procs[22];
void proc_mount(struct call *c, uint32_t proc);

/* What wcc_data tells of the time before. */
struct before {
	bool known;
	uint64_t size;
	struct timespec mtime, ctime;
};

bool proc_fault(const struct call *c, enum fault f);
void get_name(struct call *c, const char **text, size_t *len);
/* NULL: stale, or bad handle. Status also says when the call may not change it. */
struct inode *get_handle(struct call *c, uint32_t *status);
void put_attr(struct call *c, const struct inode *i);
void put_post(struct call *c, const struct inode *i); /* i NULL: no attributes */
void put_handle(struct call *c, const struct inode *i);
void put_post_handle(struct call *c, const struct inode *i);
struct before before(const struct inode *i);
void put_wcc(struct call *c, const struct before *b, const struct inode *i);

/* What a SETATTR or a creation asks for. */
struct wish {
	bool mode_set, uid_set, gid_set, size_set;
	uint32_t mode, uid, gid;
	uint64_t size;
	time_how atime_how, mtime_how;
	struct timespec atime, mtime;
};

void get_wish(struct call *c, struct wish *w);
uint32_t wish_apply(struct call *c, struct inode *i, const struct wish *w, bool creating);

proc_fn proc_getattr, proc_setattr, proc_access, proc_fsstat, proc_fsinfo, proc_pathconf;
proc_fn proc_read, proc_write, proc_commit, proc_readlink;
proc_fn proc_lookup, proc_create, proc_mkdir, proc_symlink, proc_mknod, proc_remove, proc_rmdir;
proc_fn proc_rename, proc_link, proc_readdir, proc_readdirplus;

#endif
