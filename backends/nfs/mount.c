/* SPDX-License-Identifier: Apache-2.0 */
/* mount.c - from a host and an export to the root's file handle
 *
 * Ports that the URI does not give are asked of the portmapper. Each question gets
 * a connection of its own, closed behind it. All of it ends in bounded time. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/nfs/nfs_impl.h"
#include "common/clock.h"

enum { PMAP_TCP_PORT = 111, PMAP_PROG = 100000, PMAP_VERS = 2, PMAP_GETPORT = 3 };
enum { IPPROTO_TCP_NUMBER = 6, ANSWER_MS = 10000, UMOUNT_MS = 1000 };

/* A connection for a question or two. */
static int side_conn(struct nfs_backend *b, const char *name, uint16_t port, uint64_t limit_ms,
		     struct nconn **out, struct err *err)
{
	struct nsock_target target = b->target;
	struct nconn_conf conf = {
		.target = &target, .name = name, .xids = &b->xids, .reply_ms = b->env.reply_ms
	};
	int fd;

	nsock_set_port(&target, port);
	fd = nsock_connect(&target, 0, clock_ms() + limit_ms, NULL, err);
	if (fd < 0)
		return fd;
	return nconn_new(&conf, fd, out);
}

static int refused(int rc, const char *who, const char *host, struct err *err)
{
	if (rc == -ETIMEDOUT)
		return err_set(err, rc, "%s on %s does not answer", who, host);
	return err_set(err, rc, "%s on %s failed: %s", who, host, strerror(-rc));
}

/* ---- portmap --------------------------------------------------------- */

static int getport(struct nfs_backend *b, struct nconn *conn, uint32_t prog, uint32_t vers,
		   uint16_t *out)
{
	struct nfs_proc proc = { PMAP_PROG, PMAP_VERS, PMAP_GETPORT };
	struct nrpc r;
	int rc;

	nrpc_begin_on(&r, b, conn, &proc);
	r.deadline_ms = clock_ms() + ANSWER_MS;
	enc_u32(&r.enc, prog);
	enc_u32(&r.enc, vers);
	enc_u32(&r.enc, IPPROTO_TCP_NUMBER);
	enc_u32(&r.enc, 0);
	rc = nrpc_run(&r);
	nrpc_end(&r);
	if (rc)
		return rc;
	if (r.status > UINT16_MAX)
		return -EIO;
	*out = (uint16_t)r.status; /* the first word of the answer is all of it */
	return 0;
}

/* Fills in what of the two ports is 0. */
static int find_ports(struct nfs_backend *b, uint16_t *nfs, uint16_t *mnt, struct err *err)
{
	const char *host = b->target.host;
	struct nconn *conn;
	int rc;

	if (*nfs && *mnt)
		return 0;
	rc = side_conn(b, "pmap", PMAP_TCP_PORT, ANSWER_MS, &conn, err);
	if (rc)
		return rc;
	if (!*nfs)
		rc = getport(b, conn, NFS_PROGRAM, NFS_V3, nfs);
	if (!rc && !*mnt)
		rc = getport(b, conn, MOUNT_PROGRAM, MOUNT_V3, mnt);
	nconn_free(conn);
	if (rc)
		return refused(rc, "the portmapper", host, err);
	if (!*nfs)
		return err_set(err, -EPROTONOSUPPORT, "%s does not serve NFS version 3", host);
	if (!*mnt)
		return err_set(err, -EPROTONOSUPPORT, "%s does not serve MOUNT version 3", host);
	return 0;
}

/* ---- MNT ------------------------------------------------------------- */

static int mount_refused(const struct nfs_backend *b, const char *path, uint32_t status,
			 struct err *err)
{
	static const struct {
		uint32_t status;
		const char *why;
	} words[] = {
		{ MNT3ERR_PERM, "not permitted" },
		{ MNT3ERR_NOENT, "no such export or folder" },
		{ MNT3ERR_IO, "I/O error on the server" },
		{ MNT3ERR_ACCES, "this host has no access to it" },
		{ MNT3ERR_NOTDIR, "not a folder" },
		{ MNT3ERR_INVAL, "invalid path" },
		{ MNT3ERR_NAMETOOLONG, "path too long" },
		{ MNT3ERR_NOTSUPP, "not supported by the server" },
		{ MNT3ERR_SERVERFAULT, "the server failed" },
	};
	const char *why = "unknown reason";

	for (unsigned i = 0; i < ARRAY_LEN(words); i++)
		if (words[i].status == status)
			why = words[i].why;
	return err_set(err, be_nfs_mount_errno(status), "%s refuses export '%s': %s (%u)",
		       b->target.host, path, why, (unsigned)status);
}

static int ask_root(struct nfs_backend *b, struct nconn *conn, const char *path,
		    struct nfs_handle *out, struct err *err)
{
	struct nfs_proc proc = { MOUNT_PROGRAM, MOUNT_V3, MOUNT3_MNT };
	bool sys = false;
	struct nrpc r;
	int rc;

	nrpc_begin_on(&r, b, conn, &proc);
	r.deadline_ms = clock_ms() + ANSWER_MS;
	nrpc_reserve(&r, NCALL_ARGS_INLINE + NFS_PATH_MAX, 0);
	enc_str(&r.enc, path);
	rc = nrpc_run(&r);
	if (!rc && r.status == MNT3_OK)
		dec_mount_ok(&r.dec, out, &sys);
	nrpc_end(&r);
	if (rc == -EPROTONOSUPPORT)
		return err_set(err, rc, "%s does not serve MOUNT version 3", b->target.host);
	if (rc)
		return refused(rc, "the mount service", b->target.host, err);
	if (r.status != MNT3_OK)
		return mount_refused(b, path, r.status, err);
	if (r.dec.bad)
		return err_set(err, -EIO, "%s answers a mount request with nonsense",
			       b->target.host);
	if (!sys)
		return err_set(err, -EACCES, "%s does not accept AUTH_SYS for export '%s'",
			       b->target.host, path);
	return 0;
}

static int mount_by(struct nfs_backend *b, uint16_t port, const char *path, struct nfs_handle *out,
		    struct err *err)
{
	struct nconn *conn;
	int rc = side_conn(b, "mount", port, ANSWER_MS, &conn, err);

	if (rc)
		return rc;
	rc = ask_root(b, conn, path, out, err);
	nconn_free(conn);
	return rc;
}

int be_nfs_mount(struct nfs_backend *b, uint16_t nfs_port, uint16_t mount_port, struct err *err)
{
	int rc;

	b->mount_port_given = mount_port;
	rc = find_ports(b, &nfs_port, &mount_port, err);
	if (!rc)
		rc = mount_by(b, mount_port, b->export, &b->root, err);
	if (rc)
		return rc;
	b->mount_port = mount_port;
	nsock_set_port(&b->target, nfs_port);
	return 0;
}

int be_nfs_mount_folder(struct nfs_backend *b, const char *path, struct nfs_handle *out,
			struct err *err)
{
	uint16_t nfs_port = b->target.port, mount_port = b->mount_port_given;
	int rc = find_ports(b, &nfs_port, &mount_port, err);

	return rc ? rc : mount_by(b, mount_port, path, out, err);
}

void be_nfs_umount(struct nfs_backend *b)
{
	struct nfs_proc proc = { MOUNT_PROGRAM, MOUNT_V3, MOUNT3_UMNT };
	uint64_t end = clock_ms() + UMOUNT_MS;
	struct nconn *conn;
	struct nrpc r;

	if (side_conn(b, "umount", b->mount_port, UMOUNT_MS, &conn, NULL))
		return;
	nrpc_begin_on(&r, b, conn, &proc);
	r.deadline_ms = end;
	nrpc_reserve(&r, NCALL_ARGS_INLINE + NFS_PATH_MAX, 0);
	enc_str(&r.enc, b->export);
	nrpc_run(&r); /* courtesy: the server forgets us anyway */
	nrpc_end(&r);
	nconn_free(conn);
}
