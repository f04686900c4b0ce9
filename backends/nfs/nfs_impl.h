/* SPDX-License-Identifier: Apache-2.0 */
/* nfs_impl.h - what the files of the NFS backend share
 *
 *   nfs.c      open, close, the table        node.c   nodes by file handle
 *   mount.c    portmap, MNT, UMNT            names.c  which node a name leads to
 *   nrpc.c     one synchronous call          attr.c   attributes and what they prove
 *   errmap.c   status codes to errno         access.c permissions by credential
 *   data.c     READ, WRITE, COMMIT           dir.c    READDIR, READDIRPLUS
 *   ops_attr.c ops_make.c ops_remove.c       the other procedures
 *   nlm.h      locks at the server (option nlm)
 * Below them: conn.h, rpc.h, sock.h, encode.h, decode.h. */
#ifndef BACKENDS_NFS_NFS_IMPL_H
#define BACKENDS_NFS_NFS_IMPL_H

#include <nfsc/libnfs-zdr.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>

#include "backends/backend.h"
#include "backends/nfs/conn.h"
#include "backends/nfs/nlm.h"

#define NFS_PATH_MAX 1024 /* of an export, by protocol */
#define NFS_IO_MAX (1u << 20)
#define NFS_ACCESS_SLOTS 4
#define NFS_CONNS_MAX 16
#define NFS_DEAD_MAX 256 /* dead backends of this machine that are remembered */
#define NFS_SWEEP_MAX 16 /* silly names of a folder that are removed at once */

/* When a request was sent: what its reply may overrule. */
struct nstamp {
	uint64_t clock; /* of nfs_backend.clock */
	uint64_t ms;
};

struct nfs_access_slot {
	uint32_t cred_id;        /* 0: free */
	uint32_t known, allowed; /* ACCESS3_* */
	struct timespec ctime;   /* of the node when asked */
};

/* A file whose last name was taken while open: it lives on under another. */
struct nfs_silly {
	struct list link;     /* on nfs_backend.sillies, guarded by its silly_lock */
	struct nfs_node *dir; /* counted */
	struct be_cred *cred; /* counted: who unlinked it */
	char name[48];
};

struct nfs_node {
	struct be_node base;
	struct nfs_handle fh; /* the root's may be another by now: nnode_handle() */
	/* guarded by nfs_backend.table_lock */
	struct list hash_link;
	/* guarded by nfs_backend.names_lock */
	struct list children;   /* names in this directory */
	struct list names;      /* names of this node */
	uint64_t removed_clock; /* when we last took a name out of this directory */
	/* guarded by nfs_backend.removal_lock */
	bool removing;               /* a name of it is being taken; opens wait for the outcome */
	_Atomic uint64_t removed_at; /* clock of when its last name went; 0: has names, or is open */
	_Atomic uint64_t wanted_until_ms; /* an open is expected: till then its name is not taken */

	_Atomic uint32_t names_gen;     /* directory: grows when others changed it */
	_Atomic bool listed_plain;      /* directory: READDIR told names without types */
	_Atomic unsigned plain_misses;  /* and so many of them were looked up one by one */
	_Atomic unsigned silly_held;    /* directory: silly names of open files */
	_Atomic unsigned silly_swept;   /* directory: silly names found that nobody holds */
	_Atomic unsigned silly_pending; /* directory: silly names being removed */
	struct mutex lock;
	/* guarded by lock */
	bool attr_known;
	bool own_ctime; /* we did what changes ctime, without seeing the result */
	struct be_attr attr;
	uint64_t fresh_until_ms;
	uint64_t fresh_ms;      /* how long attributes are believed at present */
	uint64_t applied_clock; /* when attr was last set */
	uint64_t seen_ms;       /* when its ctime was first seen */
	uint64_t names_ms;      /* directory: names were known since */
	unsigned modifying;     /* own modifying calls in flight */
	unsigned opens;
	struct nfs_silly *silly; /* owned; set once the name is gone */
	struct nfs_access_slot access[NFS_ACCESS_SLOTS];
	unsigned access_next;
	uint64_t rofs_until_ms; /* rofs is believed until then */
	bool rofs;              /* writing is refused because its store is read-only */
};

struct nfs_names;

struct nfs_backend {
	struct backend base;
	/* set by open, then read only */
	struct be_env env;
	struct nsock_target target;
	uint16_t mount_port;
	uint64_t fsid;             /* of the root; set by key() */
	uint16_t mount_port_given; /* by the URI; 0: the portmapper is asked */
	char export[NFS_PATH_MAX + 1];
	char machine[AUTH_MACHINE_MAX + 1];
	struct be_cred *self; /* counted: who we are when nobody asks */
	uint32_t dir_bytes;   /* of one READDIR */
	unsigned nconns;
	struct nconn *conns[NFS_CONNS_MAX];
	struct nlm *nlm;        /* owned; NULL without the option */
	uint64_t sync_limit_ms; /* a waiting call gives up after it; 0: never */

	struct ncall_pool pool;
	_Atomic uint32_t xids;
	_Atomic uint64_t clock; /* grows with each change of cached attributes */
	_Atomic uint32_t silly_count;
	uint64_t id;    /* of this open backend, in its silly names */
	int alive_fd;   /* the lock that shows others that we live; or -1 */
	int run_fd;     /* env.run_dir when we may remove the lock by ourselves, or -1 */
	unsigned ndead; /* set by open, then read only, as are dead[] and id */
	uint64_t dead[NFS_DEAD_MAX];
	_Atomic bool silly_left; /* a removal failed */
	struct mutex silly_lock;
	struct list sillies;         /* guarded by silly_lock: all silly names that exist */
	_Atomic unsigned background; /* calls that nobody waits for */
	struct mutex table_lock;
	/* guarded by table_lock */
	struct list *table;
	size_t table_size, nnodes;
	struct mutex removal_lock;
	struct cond removal_over;      /* some node's removing became false, or it was opened */
	_Atomic uint64_t open_lost_ms; /* when a removal of ours overtook an open; 0: never */
	_Atomic(struct nfs_node *) root_node; /* counted; NULL: not asked for yet */
	_Atomic uint32_t root_gen;            /* grows with each renewal of the root's handle */
	_Atomic bool root_lost;               /* the last renewal could not */
	struct mutex root_lock;
	struct cond root_renewed; /* root_asking became false */
	/* guarded by root_lock; root is written before root_node is set, too */
	struct nfs_handle root;
	bool root_asking;      /* a thread is about to renew it */
	uint64_t root_next_ms; /* not tried again before */
	struct mutex names_lock;
	/* guarded by names_lock */
	struct list *names;
	size_t names_size, nnames;
};

static inline struct nfs_backend *be_nfs(struct backend *be)
{
	return CONTAINER_OF(be, struct nfs_backend, base);
}

static inline struct nfs_node *be_nfs_node(struct be_node *node)
{
	return CONTAINER_OF(node, struct nfs_node, base);
}

static inline struct nfs_backend *nnode_backend(const struct nfs_node *node)
{
	return be_nfs(node->base.be);
}

/* ---- errmap.c: -errno of a status; 0 for OK -------------------------- */

int be_nfs_errno(uint32_t status);
int be_nfs_mount_errno(uint32_t status);

/* ---- nrpc.c ---------------------------------------------------------- */

/* One synchronous call: begin, append arguments to enc, run, read results from
 * dec, end. Failures stick: run and result report the first. */
struct nrpc {
	struct nfs_backend *b;
	struct nconn *conn;
	struct nfs_node *node; /* what the call is about; NULL: nothing that is known */
	const atomic_bool *interrupted;
	struct ncall *call; /* counted */
	struct enc enc;
	struct dec dec;  /* after run: behind the status */
	uint32_t status; /* the first word of the results */
	struct nstamp stamp;
	bool resent;          /* the server may have done it twice */
	uint64_t deadline_ms; /* 0: none */
	/* where the root's handle stands in the arguments, and its generation */
	unsigned nroots;
	size_t root_at[2];
	uint32_t root_gen;
	int rc;
};

/* An NFS call about node; call NULL: by ourselves, not to be interrupted. */
void nrpc_begin(struct nrpc *r, struct nfs_backend *b, const struct be_call *call, uint32_t proc,
		struct nfs_node *node);
/* The same about a handle that need not have a node. */
void nrpc_begin_fh(struct nrpc *r, struct nfs_backend *b, const struct be_call *call, uint32_t proc,
		   const struct nfs_handle *fh);
/* A call of any program on any connection. */
void nrpc_begin_on(struct nrpc *r, struct nfs_backend *b, struct nconn *conn,
		   const struct nfs_proc *proc);
/* Larger buffers than usual; directly after begin. */
void nrpc_reserve(struct nrpc *r, size_t args_cap, size_t reply_cap);
/* Arguments: the handle of node; name in dir. For the root the call is made anew by
 * itself when the server has another handle for it. */
void nrpc_handle(struct nrpc *r, const struct nfs_node *node);
void nrpc_dirop(struct nrpc *r, const struct nfs_node *dir, const char *name);
/* Sends and waits. 0: a status came (perhaps a refusal); or -errno. */
int nrpc_run(struct nrpc *r);
/* After decoding: -errno of what failed first, transport, decoding, or status. */
int nrpc_result(const struct nrpc *r);
void nrpc_end(struct nrpc *r);
bool nrpc_ok(const struct nrpc *r); /* ran and status is NFS3_OK */

uint64_t be_nfs_hash(const struct nfs_handle *fh);
/* The connection of all calls about fh, READs apart. */
struct nconn *be_nfs_conn(struct nfs_backend *b, const struct nfs_handle *fh);
/* Encodes the head of an asynchronous call; the caller appends arguments. */
void be_nfs_begin_async(struct nfs_backend *b, struct ncall *call, uint32_t proc,
			const struct be_cred *cred, struct enc *enc);

/* ---- mount.c --------------------------------------------------------- */

/* Finds the ports, asks for the root handle and leaves the NFS server's
 * addresses in b->target. */
int be_nfs_mount(struct nfs_backend *b, uint16_t nfs_port, uint16_t mount_port, struct err *err);
/* The handle of a folder of the same server, in bounded time. */
int be_nfs_mount_folder(struct nfs_backend *b, const char *path, struct nfs_handle *out,
			struct err *err);
void be_nfs_umount(struct nfs_backend *b); /* best effort, at most a second */

/* ---- root.c ---------------------------------------------------------- */

void nroot_init(struct nfs_backend *b);
void nroot_done(struct nfs_backend *b);
/* node is the root; counted until the backend closes. */
void nroot_set(struct nfs_backend *b, struct nfs_node *node);
bool nroot_is(const struct nfs_node *node);
/* The handle that the server knows node by at present, and its generation. */
uint32_t nnode_handle(const struct nfs_node *node, struct nfs_handle *out);
/* The root when fh became its handle by a renewal, counted; else NULL. */
struct nfs_node *nroot_find(struct nfs_backend *b, const struct nfs_handle *fh);
/* A call about the root succeeded. */
void nroot_seen_alive(struct nfs_backend *b);
/* The server called the root's handle of generation gen stale. 0: ask it again, with
 * the present handle; -ESTALE: the export is gone; -EINTR. */
int nroot_renew(struct nfs_backend *b, uint32_t gen, const atomic_bool *interrupted);

/* ---- node.c ---------------------------------------------------------- */

int nnode_table_init(struct nfs_backend *b);
void nnode_table_done(struct nfs_backend *b); /* frees nodes that are still counted, too */
/* The node of fh, counted, made if new. -ENOMEM; -ESTALE when attr says that the
 * handle is another object now. */
int nnode_get(struct nfs_backend *b, const struct nfs_handle *fh, const struct be_attr *attr,
	      struct nfs_node **out);
/* The server said twice that fh is what attr says: a node that says otherwise came from
 * a wrong reply, and is not found any more. */
void nnode_retire(struct nfs_backend *b, const struct nfs_handle *fh, const struct be_attr *attr);
void be_nfs_node_free(struct be_node *node);
static inline void nnode_put(struct nfs_node *node)
{
	if (node)
		be_node_put(&node->base);
}

/* ---- sweep.c --------------------------------------------------------- */

/* backend_type.prepare */
int nsweep_prepare(const char *uri, const struct be_env *env, struct be_prepared *out,
		   struct err *err);
/* Prepares by itself where nobody has. -ENOMEM. */
int nsweep_open(struct nfs_backend *b);
void nsweep_close(struct nfs_backend *b);
void nsweep_add(struct nfs_backend *b, struct nfs_silly *s);
void nsweep_del(struct nfs_backend *b, struct nfs_silly *s);
/* A listing asked for by cred showed this silly name in dir: starts to remove it when
 * nobody holds it. No locks. */
void nsweep_name(struct nfs_node *dir, const struct be_cred *cred, const uint8_t *text, size_t len);
/* Does that with the names in dir, which is not empty. True: there were some. */
bool nsweep_dir(struct nfs_node *dir, const struct be_call *call);

/* ---- names.c --------------------------------------------------------- */

int nname_init(struct nfs_backend *b);
void nname_done(struct nfs_backend *b);
/* Remembers that name in dir is node, as a reply to a request of stamp said; gen
 * is dir->names_gen of that time. */
void nname_put(struct nfs_node *dir, const char *name, size_t len, struct nfs_node *node,
	       struct nstamp stamp, uint32_t gen);
/* The node, counted; NULL: not known. */
struct nfs_node *nname_find(struct nfs_node *dir, const char *name);
void nname_drop(struct nfs_node *dir, const char *name);
void nname_forget(struct nfs_node *node); /* all names of and in it */
/* The server does not know node's handle any more: its names are looked up anew,
 * which the kernel does by itself when it is told ESTALE. */
void nname_stale(struct nfs_node *node);

/* ---- attr.c ---------------------------------------------------------- */

struct nstamp nattr_stamp(struct nfs_backend *b);
/* A reply to a request of stamp carried node's attributes. May call env.changed: no locks. */
void nattr_update(struct nfs_node *node, const struct be_attr *attr, struct nstamp stamp);
/* Around each call of ours that modifies node. */
void nattr_begin(struct nfs_node *node);
void nattr_wcc(struct nfs_node *node, const struct nfs_wcc *wcc, struct nstamp stamp);
void nattr_end(struct nfs_node *node);
/* We changed node in a way whose result the reply does not tell (nlink, ctime). */
void nattr_expire(struct nfs_node *node);
/* Attributes that are still believed. */
bool nattr_fresh(struct nfs_node *node, struct be_attr *out);
/* Attributes as a reply had them, but for what a silly rename hides. */
void nattr_own_view(struct nfs_node *node, struct be_attr *attr);
/* The last known ones, believed or not. */
bool nattr_last(struct nfs_node *node, struct be_attr *out);
/* Fresh ones, by GETATTR when needed (always with BE_REVALIDATE, never with BE_NOWAIT). */
int nattr_get(struct nfs_node *node, const struct be_call *call, struct be_attr *out);

/* ---- access.c -------------------------------------------------------- */

/* The ACCESS3 bits that a mask of R_OK, W_OK, X_OK needs on node. */
uint32_t naccess_bits(const struct nfs_node *node, int mask);
void naccess_learn(struct nfs_node *node, const struct be_cred *cred, uint32_t known,
		   uint32_t allowed);
/* 0, -EACCES, or -EAGAIN: not known. */
int naccess_cached(struct nfs_node *node, const struct be_cred *cred, uint32_t bits);
/* 0, -EACCES, or -EROFS for writing to a read-only export, asking the server when needed. */
int naccess_check(struct nfs_node *node, const struct be_call *call, uint32_t bits);

/* ---- operations ------------------------------------------------------ */

int be_nfs_check_name(const struct nfs_backend *b, const char *name);
/* Turns a handle and attributes in a reply into an entry of dir. */
int be_nfs_entry(struct nfs_node *dir, const struct be_call *call, const char *name,
		 const struct nfs_handle *fh, const struct be_attr *attr, struct nstamp stamp,
		 uint32_t gen, struct be_entry *out);
/* LOOKUP over the wire. */
int be_nfs_lookup_wire(struct nfs_backend *b, const struct be_call *call, struct nfs_node *dir,
		       const char *name, struct be_entry *out);
/* A name to hide a file under, and whether a name is one. */
bool be_nfs_is_silly(const char *name, size_t len);
/* Counts an open of node, waiting for a removal in flight. -ESTALE: its last name
 * is gone, whoever came by a name looks it up anew. -EINTR. */
int be_nfs_open_count(struct nfs_node *node, const struct be_call *call);
/* A lookup found node: when opens were lost lately, the next removal gives an open time to come. */
void be_nfs_open_expect(struct nfs_node *node);
/* Counts one open less; the last one removes the silly name. */
void be_nfs_open_uncount(struct nfs_node *node);
/* A reply to a request of stamp showed a name of node. */
void be_nfs_seen_alive(struct nfs_node *node, struct nstamp stamp);

enum be_submit be_nfs_submit_read(struct backend *be, struct be_io *io);
enum be_submit be_nfs_submit_write(struct backend *be, struct be_io *io);
enum be_submit be_nfs_submit_commit(struct backend *be, struct be_io *io);

int be_nfs_lookup(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, struct be_entry *out);
int be_nfs_getattr(struct backend *be, const struct be_call *call, struct be_node *node,
		   struct be_attr *out);
int be_nfs_setattr(struct backend *be, const struct be_call *call, struct be_node *node,
		   const struct be_setattr *set, struct be_attr *out);
int be_nfs_access(struct backend *be, const struct be_call *call, struct be_node *node, int mask);
ssize_t be_nfs_readlink(struct backend *be, const struct be_call *call, struct be_node *node,
			char *buf, size_t cap);
int be_nfs_statfs(struct backend *be, const struct be_call *call, struct be_node *node,
		  struct statvfs *out);
int be_nfs_open(struct backend *be, const struct be_call *call, struct be_node *node, int oflags);
void be_nfs_release(struct backend *be, struct be_node *node, int oflags);
int be_nfs_mknod(struct backend *be, const struct be_call *call, struct be_node *dir,
		 const char *name, mode_t mode, dev_t rdev, struct be_entry *out);
int be_nfs_mkdir(struct backend *be, const struct be_call *call, struct be_node *dir,
		 const char *name, mode_t mode, struct be_entry *out);
int be_nfs_symlink(struct backend *be, const struct be_call *call, struct be_node *dir,
		   const char *name, const char *target, struct be_entry *out);
int be_nfs_link(struct backend *be, const struct be_call *call, struct be_node *node,
		struct be_node *dir, const char *name, struct be_entry *out);
int be_nfs_create(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, mode_t mode, int oflags, struct be_entry *out);
int be_nfs_unlink(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, struct be_removed *out);
int be_nfs_rmdir(struct backend *be, const struct be_call *call, struct be_node *dir,
		 const char *name, struct be_removed *out);
int be_nfs_rename(struct backend *be, const struct be_call *call, struct be_node *dir,
		  const char *name, struct be_node *newdir, const char *newname, unsigned flags,
		  struct be_removed *out);
/* A name in dir was looked up over the wire. */
void be_nfs_listing_missed(struct nfs_node *dir);
int be_nfs_opendir(struct backend *be, const struct be_call *call, struct be_node *dir,
		   struct be_dir **out);
int be_nfs_readdir(struct backend *be, const struct be_call *call, struct be_dir *d,
		   uint64_t cookie, bool plus, be_emit *emit, void *arg);
void be_nfs_closedir(struct backend *be, struct be_dir *d);

#endif
