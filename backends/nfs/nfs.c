/* SPDX-License-Identifier: Apache-2.0 */
/* nfs.c - the NFSv3 backend: opening and closing a mount, the table
 *
 * nfs://host[:port]/export/path?nfsport=N&mountport=N&nlmport=N&version=3. With all
 * ports given that are needed no portmapper is asked. See nfs_impl.h for who does what. */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/random.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "backends/nfs/nfs_impl.h"
#include "common/clock.h"
#include "common/hash.h"
#include "common/log.h"
#include "common/uri.h"

enum {
	OPEN_LIMIT_MS = 10000,   /* each question while opening */
	FOLDER_LIMIT_MS = 10000, /* for a folder that another mount names */
	SOFT_DEFAULT_MS = 60000,
	INFLIGHT_PER_CONN = 32,
	CALLS_EXTRA = 16, /* kept beside those of the data path */
	DIR_BYTES_MIN = 64 << 10,
	DIR_BYTES_MAX = 128 << 10,
	GRAIN_FINE_NS = 1000000,   /* ticks of less than it are not told from none */
	GRAIN_MAX_NS = 2000000000, /* of a clock that somebody would call one: FAT's */
	CLOSE_WAIT_MS = 1000,      /* for calls that nobody waits for */
	IO_GRAIN = 4096,
};

/* Everything a saved node needs to be found again. */
struct saved_node {
	uint8_t version;
	uint8_t fh_len;
	uint8_t fh[NFS_FH_MAX];
	uint32_t type;
	uint64_t ino;
};

enum { SAVED_VERSION = 1 };

static_assert(sizeof(struct saved_node) <= BE_NODE_SAVE_MAX, "fits into the arena");

extern const struct backend_type backend_nfs;

/* ---- nodes by handle ------------------------------------------------- */

/* The node of a handle that was kept: asks the server, in order to see it live. limit_ms: to
 * give up after; 0: as the mount's operations do. */
static int node_by_handle(struct nfs_backend *b, const struct nfs_handle *fh, uint64_t limit_ms,
			  struct be_entry *out, uint64_t *fsid)
{
	struct nfs_node *node;
	struct nrpc r;
	int rc;

	*fsid = 0;
	nrpc_begin_fh(&r, b, NULL, NFS3_GETATTR, fh);
	if (limit_ms)
		r.deadline_ms = clock_ms() + limit_ms;
	enc_handle(&r.enc, fh);
	if (!nrpc_run(&r) && r.status == NFS3_OK)
		dec_attr_fsid(&r.dec, &out->attr, fsid);
	rc = nrpc_result(&r);
	nrpc_end(&r);
	if (!rc)
		rc = nnode_get(b, fh, &out->attr, &node);
	if (rc)
		return rc;
	nattr_update(node, &out->attr, r.stamp);
	out->node = &node->base;
	return 0;
}

static int be_nfs_root(struct backend *be, struct be_entry *out)
{
	struct nfs_backend *b = be_nfs(be);
	struct nfs_node *root = atomic_load(&b->root_node);
	struct nfs_handle fh = b->root;
	uint64_t fsid;
	int rc;

	if (root)
		nnode_handle(root, &fh);
	rc = node_by_handle(b, &fh, 0, out, &fsid);
	if (!rc)
		nroot_set(b, be_nfs_node(out->node));
	return rc;
}

static ssize_t be_nfs_node_save(struct backend *be, struct be_node *base, void *buf, size_t cap)
{
	const struct nfs_node *node = be_nfs_node(base);
	struct saved_node s = { .version = SAVED_VERSION,
				.type = node->base.type,
				.ino = node->base.ino };
	struct nfs_handle fh;

	(void)be;
	if (cap < sizeof s)
		return -ERANGE;
	nnode_handle(node, &fh);
	s.fh_len = (uint8_t)fh.len;
	memcpy(s.fh, fh.data, fh.len);
	memcpy(buf, &s, sizeof s);
	return sizeof s;
}

static int be_nfs_node_restore(struct backend *be, const void *buf, size_t len,
			       struct be_entry *out)
{
	struct nfs_handle fh;
	struct saved_node s;
	uint64_t fsid;
	int rc;

	if (len != sizeof s)
		return -EINVAL;
	memcpy(&s, buf, sizeof s);
	if (s.version != SAVED_VERSION || !s.fh_len || s.fh_len > NFS_FH_MAX)
		return -EINVAL;
	fh.len = s.fh_len;
	memcpy(fh.data, s.fh, s.fh_len);
	rc = node_by_handle(be_nfs(be), &fh, 0, out, &fsid);
	if (rc)
		return rc;
	if (out->node->type == s.type && out->node->ino == s.ino)
		return 0;
	be_node_put(out->node);
	return -ESTALE;
}

static int be_nfs_fsyncdir(struct backend *be, const struct be_call *call, struct be_node *dir)
{
	(void)be;
	(void)call;
	(void)dir;
	return 0; /* a server answers a change of names when it is stable */
}

/* ---- what the server can --------------------------------------------- */

static int ask_fsinfo(struct nfs_backend *b, struct nfs_fsinfo *out)
{
	struct be_attr attr;
	struct nrpc r;
	int rc;

	nrpc_begin_fh(&r, b, NULL, NFS3_FSINFO, &b->root);
	enc_handle(&r.enc, &b->root);
	if (!nrpc_run(&r)) {
		dec_post_attr(&r.dec, &attr);
		if (r.status == NFS3_OK)
			dec_fsinfo(&r.dec, out);
	}
	rc = nrpc_result(&r);
	nrpc_end(&r);
	return rc;
}

/* Without an answer names of the usual length are sent, and the server decides. */
static uint32_t ask_name_max(struct nfs_backend *b)
{
	uint32_t name_max = NFS_NAME_MAX;
	struct be_attr attr;
	struct nrpc r;

	nrpc_begin_fh(&r, b, NULL, NFS3_PATHCONF, &b->root);
	enc_handle(&r.enc, &b->root);
	if (!nrpc_run(&r)) {
		dec_post_attr(&r.dec, &attr);
		if (r.status == NFS3_OK) {
			dec_u32(&r.dec); /* linkmax */
			name_max = dec_u32(&r.dec);
		}
	}
	if (nrpc_result(&r) || !name_max || name_max > NFS_NAME_MAX)
		name_max = NFS_NAME_MAX;
	nrpc_end(&r);
	return name_max;
}

static uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* The largest request: what the server takes, what the mount allows, what we can. */
static uint32_t io_max(uint32_t server, uint32_t wanted)
{
	uint32_t max = min_u32(server ? server : IO_GRAIN, NFS_IO_MAX);

	if (wanted)
		max = min_u32(max, wanted);
	return max > IO_GRAIN ? max - max % IO_GRAIN : max;
}

static uint64_t time_grain(const struct timespec *delta)
{
	uint64_t ns = (uint64_t)delta->tv_sec * 1000000000 + (uint64_t)delta->tv_nsec;

	return ns < GRAIN_FINE_NS ? 0 : ns < GRAIN_MAX_NS ? ns : GRAIN_MAX_NS;
}

static void set_limits(struct nfs_backend *b, const struct nfs_fsinfo *info)
{
	struct be_limits *l = &b->base.limits;

	l->read_max = io_max(info->rtmax, b->env.rsize);
	l->write_max = io_max(info->wtmax, b->env.wsize);
	l->read_pref = io_max(info->rtpref, l->read_max);
	l->write_pref = io_max(info->wtpref, l->write_max);
	l->inflight_max = INFLIGHT_PER_CONN * b->nconns;
	l->file_max = !info->file_max || info->file_max > INT64_MAX ? INT64_MAX : info->file_max;
	l->time_grain_ns = time_grain(&info->time_delta);
	l->caps = BE_CAP_BLOCKING | BE_CAP_GONE_IS_LOST | BE_CAP_SLOW_COMMIT | BE_CAP_CRED |
		  BE_CAP_SHARED | BE_CAP_READDIRPLUS;
	b->dir_bytes = info->dtpref > DIR_BYTES_MAX ? DIR_BYTES_MAX :
		       info->dtpref < DIR_BYTES_MIN ? DIR_BYTES_MIN :
						      info->dtpref;
}

static int ask_server(struct nfs_backend *b, struct err *err)
{
	struct nfs_fsinfo info = { .rtmax = 0 };
	int rc = ask_fsinfo(b, &info);

	if (rc == -EPROTONOSUPPORT)
		return err_set(err, rc, "%s does not serve NFS version 3", b->target.host);
	if (rc)
		return err_set(err, rc, "cannot use export '%s' of %s: %s", b->export,
			       b->target.host, strerror(-rc));
	set_limits(b, &info);
	b->base.limits.name_max = ask_name_max(b);
	return 0;
}

/* ---- open ------------------------------------------------------------ */

struct where {
	uint16_t nfs_port, mount_port, nlm_port;
};

static int read_params(const struct uri *uri, struct where *out, struct err *err)
{
	static const char *const known[] = { "nfsport", "mountport", "nlmport", "version", NULL };
	const char *version = uri_param(uri, "version");
	uint64_t nfs, mnt, nlm;
	int rc = uri_only_params(uri, known, err);

	if (!rc && version && strcmp(version, "3"))
		rc = err_set(err, -EINVAL, "NFS version '%.20s' is not supported, only 3", version);
	if (!rc)
		rc = uri_param_u64(uri, "nfsport", 1, UINT16_MAX, uri->port, &nfs, err);
	if (!rc)
		rc = uri_param_u64(uri, "mountport", 1, UINT16_MAX, 0, &mnt, err);
	if (!rc)
		rc = uri_param_u64(uri, "nlmport", 1, UINT16_MAX, 0, &nlm, err);
	if (rc)
		return rc;
	*out = (struct where){ (uint16_t)nfs, (uint16_t)mnt, (uint16_t)nlm };
	return 0;
}

/* The URI's words into b; nothing is asked of anybody. */
static int read_uri(struct nfs_backend *b, const char *text, struct where *out, struct err *err)
{
	AUTO_FREE struct uri *uri = malloc(sizeof *uri);
	int rc;

	if (!uri)
		return err_set(err, -ENOMEM, "no memory");
	rc = uri_parse(text, uri, err);
	if (!rc)
		rc = read_params(uri, out, err);
	if (rc)
		return rc;
	if (!*uri->host || strlen(uri->host) >= sizeof b->target.host)
		return err_set(err, -EINVAL, "no host, or too long a one, in '%.200s'", text);
	if (uri->path[0] != '/' || strlen(uri->path) > NFS_PATH_MAX)
		return err_set(err, -EINVAL, "no export path, or too long a one, in '%.200s'",
			       text);
	strcpy(b->target.host, uri->host);
	strcpy(b->export, uri->path);
	return 0;
}

static int init_parts(struct nfs_backend *b)
{
	struct utsname uts;
	uint32_t seed[2];
	int rc;

	uname(&uts);
	snprintf(b->machine, sizeof b->machine, "%.*s", AUTH_MACHINE_MAX, uts.nodename);
	if (getrandom(seed, sizeof seed, GRND_NONBLOCK) != sizeof seed)
		seed[0] = seed[1] = (uint32_t)clock_wall().tv_nsec ^ (uint32_t)getpid();
	b->xids = seed[0];
	b->silly_count = seed[1];
	mutex_init(&b->removal_lock, LOCK_be_tree);
	cond_init(&b->removal_over);
	nroot_init(b);
	rc = nsweep_open(b);
	b->self = b->env.self ? be_cred_get(b->env.self) :
				be_cred_new(geteuid(), getegid(), 0, NULL);
	b->env.self = NULL;
	if (!rc)
		rc = ncall_pool_init(&b->pool, INFLIGHT_PER_CONN * b->nconns + CALLS_EXTRA);
	if (!rc)
		rc = nnode_table_init(b);
	if (!rc)
		rc = nname_init(b);
	return rc || !b->self ? -ENOMEM : 0;
}

/* The first connection is made here, so that a refusal is told; the others when needed. */
static int connect_all(struct nfs_backend *b, struct err *err)
{
	char name[16];
	struct nconn_conf conf = {
		.target = &b->target, .name = name, .xids = &b->xids, .reply_ms = b->env.reply_ms
	};
	int fd = nsock_connect(&b->target, 0, clock_ms() + OPEN_LIMIT_MS, NULL, err);
	unsigned wanted = b->nconns;

	if (fd < 0)
		return fd;
	for (b->nconns = 0; b->nconns < wanted; b->nconns++) {
		int rc;

		snprintf(name, sizeof name, "conn%u", b->nconns);
		rc = nconn_new(&conf, take_fd(&fd), &b->conns[b->nconns]);
		if (rc)
			return err_set(err, rc, "cannot start a connection: %s", strerror(-rc));
	}
	return 0;
}

static void set_env(struct nfs_backend *b, const struct be_env *env)
{
	b->env = *env;
	b->nconns = env->nconnect ? min_u32(env->nconnect, NFS_CONNS_MAX) : 1;
	if (!b->env.timeout_ms)
		b->env.timeout_ms = SOFT_DEFAULT_MS;
	b->target.resvport = env->resvport;
	b->target.dial = env->dial;
	b->target.dialled = env->dialled;
	b->target.dial_arg = env->dial_arg;
}

static void be_nfs_destroy(struct nfs_backend *b)
{
	be_nfs_nlm_close(b->nlm);
	for (unsigned i = 0; i < NFS_CONNS_MAX; i++)
		nconn_free(b->conns[i]);
	nnode_put(atomic_load(&b->root_node));
	if (b->table)
		nnode_table_done(b);
	nname_done(b);
	nroot_done(b);
	nsweep_close(b);
	cond_done(&b->removal_over);
	mutex_done(&b->removal_lock);
	ncall_pool_done(&b->pool);
	be_cred_put(b->self);
	free(b);
}

static int open_steps(struct nfs_backend *b, const struct where *where, struct err *err)
{
	int rc = b->target.dial ? 0 : nsock_resolve(&b->target, err);

	if (!rc)
		rc = be_nfs_mount(b, where->nfs_port, where->mount_port, err);
	if (!rc)
		rc = connect_all(b, err);
	if (!rc)
		rc = ask_server(b, err);
	if (rc || !b->env.nlm)
		return rc;
	b->base.limits.caps |= BE_CAP_LOCKS;
	return be_nfs_nlm_open(b, where->nlm_port, err);
}

extern const struct backend_ops be_nfs_ops;

static int be_nfs_open_uri(const char *uri, const struct be_env *env, struct backend **out,
			   struct err *err)
{
	struct nfs_backend *b = calloc(1, sizeof *b);
	struct where where = { 0, 0, 0 };
	int rc;

	if (!b)
		return err_set(err, -ENOMEM, "no memory");
	b->base.ops = &be_nfs_ops;
	set_env(b, env);
	rc = init_parts(b) ? err_set(err, -ENOMEM, "no memory") : 0;
	b->sync_limit_ms = OPEN_LIMIT_MS;
	if (!rc)
		rc = read_uri(b, uri, &where, err);
	if (!rc)
		rc = open_steps(b, &where, err);
	if (rc) {
		be_nfs_destroy(b);
		return rc;
	}
	b->sync_limit_ms = b->env.soft ? b->env.timeout_ms : 0;
	log_info("nfs: %s:%s, %u connections, read %u, write %u bytes", b->target.host, b->export,
		 b->nconns, b->base.limits.read_max, b->base.limits.write_max);
	*out = &b->base;
	return 0;
}

/* ---- which volume it is ------------------------------------------------ */

/* The server as it was named, and its file system. Two names of one server are two volumes:
 * numbers of file systems are not unique in the world, and to take two servers for one would
 * mix up their files. */
static void key_of(const char *name, unsigned port, uint64_t fsid, char *out)
{
	char host[sizeof(((struct nfs_backend *)0)->target.host)] = "";
	size_t n = 0;

	for (; n < sizeof host && name[n]; n++)
		host[n] = (char)tolower((unsigned char)name[n]);
	snprintf(out, BE_KEY_BYTES, "nfs-%016llx-%u-%llx",
		 (unsigned long long)hash_bytes(host, n, 0), port, (unsigned long long)fsid);
}

static int be_nfs_key(struct backend *be, char *out)
{
	struct nfs_backend *b = be_nfs(be);
	struct be_entry root = { .node = NULL };
	struct nfs_handle fh = b->root; /* nothing else runs yet */
	int rc = node_by_handle(b, &fh, 0, &root, &b->fsid);

	be_node_put(root.node);
	if (!rc)
		key_of(b->target.host, b->target.port, b->fsid, out);
	return rc;
}

/* Port and file system are the server's to tell, unless the URI names the port. */
static bool be_nfs_key_fits(const struct uri *uri, const char *key)
{
	unsigned long long fsid;
	char want[BE_KEY_BYTES];
	struct where where;
	unsigned port;

	if (read_params(uri, &where, NULL) ||
	    sscanf(key, "nfs-%*16[0-9a-f]-%5u-%16llx", &port, &fsid) != 2)
		return false;
	key_of(uri->host, where.nfs_port ? where.nfs_port : port, fsid, want);
	return !strcmp(key, want);
}

static int folder_of(struct nfs_backend *b, const struct nfs_backend *named, struct be_entry *out,
		     struct err *err)
{
	struct nfs_handle fh;
	uint64_t fsid;
	int rc = be_nfs_mount_folder(b, named->export, &fh, err);

	if (rc)
		return rc;
	rc = node_by_handle(b, &fh, FOLDER_LIMIT_MS, out, &fsid);
	if (rc)
		return err_set(err, rc, "folder '%s' of %s: %s", named->export, b->target.host,
			       strerror(-rc));
	if (fsid != b->fsid || out->node->type != S_IFDIR) {
		be_node_put(take_ptr(&out->node));
		return err_set(err, -EXDEV, "'%s' of %s is no folder of this volume", named->export,
			       b->target.host);
	}
	return 0;
}

static int be_nfs_folder(struct backend *be, const char *uri, struct be_entry *out, struct err *err)
{
	AUTO_FREE struct nfs_backend *named = calloc(1, sizeof *named); /* for its words */
	struct nfs_backend *b = be_nfs(be);
	struct where where = { 0, 0, 0 };
	struct nfs_node *root;
	int rc;

	if (!named)
		return err_set(err, -ENOMEM, "no memory");
	rc = read_uri(named, uri, &where, err);
	if (rc)
		return rc;
	if (strcasecmp(named->target.host, b->target.host) ||
	    (where.nfs_port && where.nfs_port != b->target.port))
		return err_set(err, -EXDEV, "'%.200s' is on another server", uri);
	if (strcmp(named->export, b->export))
		return folder_of(b, named, out, err);
	/* What is known will do: who joins must not wait for a server that is away. */
	root = atomic_load(&b->root_node);
	if (root && nattr_last(root, &out->attr)) {
		out->node = be_node_get(&root->base);
		return 0;
	}
	rc = be_nfs_root(be, out);
	return rc ? err_set(err, rc, "'%.200s': %s", uri, strerror(-rc)) : 0;
}

static void be_nfs_close(struct backend *be)
{
	struct nfs_backend *b = be_nfs(be);
	uint64_t end = clock_ms() + CLOSE_WAIT_MS;

	be_nfs_nlm_close(take_ptr(&b->nlm));
	while (atomic_load(&b->background) && clock_ms() < end)
		poll(NULL, 0, 5);
	be_nfs_umount(b);
	be_nfs_destroy(b);
}

static void be_nfs_fail_reads(struct backend *be)
{
	for (unsigned i = 0; i < be_nfs(be)->nconns; i++)
		nconn_fail_reads(be_nfs(be)->conns[i]);
}

/* A program that believes to be alone with the file must learn that it is not. */
static bool refuse_lost(struct backend *be, struct be_io *io)
{
	if (!be_nfs_nlm_lost(be_nfs(be)->nlm, io->node))
		return false;
	io->result = -EIO;
	return true;
}

static enum be_submit guarded_read(struct backend *be, struct be_io *io)
{
	return refuse_lost(be, io) ? BE_DONE : be_nfs_submit_read(be, io);
}

static enum be_submit guarded_write(struct backend *be, struct be_io *io)
{
	return refuse_lost(be, io) ? BE_DONE : be_nfs_submit_write(be, io);
}

const struct backend_ops be_nfs_ops = {
	.scheme = "nfs",
	.close = be_nfs_close,
	.fail_reads = be_nfs_fail_reads,
	.node_free = be_nfs_node_free,
	.root = be_nfs_root,
	.key = be_nfs_key,
	.folder = be_nfs_folder,
	.submit_read = guarded_read,
	.submit_write = guarded_write,
	.submit_commit = be_nfs_submit_commit,
	.lookup = be_nfs_lookup,
	.getattr = be_nfs_getattr,
	.setattr = be_nfs_setattr,
	.access = be_nfs_access,
	.readlink = be_nfs_readlink,
	.mknod = be_nfs_mknod,
	.mkdir = be_nfs_mkdir,
	.symlink = be_nfs_symlink,
	.link = be_nfs_link,
	.unlink = be_nfs_unlink,
	.rmdir = be_nfs_rmdir,
	.rename = be_nfs_rename,
	.create = be_nfs_create,
	.open = be_nfs_open,
	.release = be_nfs_release,
	.opendir = be_nfs_opendir,
	.readdir = be_nfs_readdir,
	.closedir = be_nfs_closedir,
	.fsyncdir = be_nfs_fsyncdir,
	.lock = be_nfs_lock,
	.unlock = be_nfs_unlock,
	.lock_test = be_nfs_lock_test,
	.statfs = be_nfs_statfs,
	.node_save = be_nfs_node_save,
	.node_restore = be_nfs_node_restore,
};

const struct backend_type backend_nfs = {
	.scheme = "nfs",
	.uri_help = "nfs://host[:port]/export/path?nfsport=N&mountport=N&nlmport=N&version=3",
	.open = be_nfs_open_uri,
	.prepare = nsweep_prepare,
	.key_fits = be_nfs_key_fits,
};
