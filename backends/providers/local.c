/* SPDX-License-Identifier: Apache-2.0 */
/* local.c - volumes in a folder of this machine: folders, or sparse image files
 *
 * ROOT/NAME             the volume, there as a whole or not at all (made as .new-NAME and renamed)
 * ROOT/.note-NAME       its size and quota project, as text
 * ROOT/.fresh-NAME      image: it was never formatted
 * ROOT/.map-NAME        image: a symbolic link whose text is the host that uses it; made, it excludes all others
 * ROOT/.trash-NAME      being deleted
 * Nobody but the broker and the drivers may write to ROOT. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include "backends/providers/local_impl.h"
#include "backends/providers/provider.h"
#include "common/abortpoint.h"
#include "common/cleanup.h"
#include "common/jsonconf.h"
#include "common/paths.h"

#define OWNER_DEFAULT 2000 /* as whom Cloud Foundry runs apps */
#define PREFIX "cf-"
#define PREFIX_MAX 16
#define IMAGE_MIN (16ULL << 20) /* less is no file system */
#define SECTOR 512
#define LOCK_WAIT_MS 20000
#define LOCK_PAUSE_MS 2
#define ROOT_MAX 900 /* a name has to fit behind it in a URI */

struct local {
	struct provider p;
	char *root, *prefix; /* owned, the table's */
};

#define AT(member) offsetof(struct local, member)
static const struct opt_def table[] = {
	{ "root", OPT_STRING, NULL, AT(root), 0, 0, NULL, NULL, "folder of the volumes", false },
	{ "name_prefix", OPT_STRING, NULL, AT(prefix), 0, 0, PREFIX, NULL,
	  "first letters of their names", false },
	{ 0 },
};

static struct local *of(struct provider *p)
{
	return CONTAINER_OF(p, struct local, p);
}

/* --- open ------------------------------------------------------------------ */

static void local_close(struct provider *p)
{
	struct local *l = of(p);

	opt_done(table, l);
	free(l);
}

static int check_config(const struct local *l, const char *who, struct err *err)
{
	static const char chars[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "/-_.";

	if (!l->root || *l->root != '/' || strlen(l->root) > ROOT_MAX ||
	    strspn(l->root, chars) != strlen(l->root) || strstr(l->root, "/.."))
		return jsonconf_bad(err, who, "root",
				    "want an absolute path of letters, digits, \"-_.\"");
	if (!l->prefix || strlen(l->prefix) > PREFIX_MAX || strchr(l->prefix, '/') ||
	    *l->prefix == '.')
		return jsonconf_bad(err, who, "name_prefix",
				    "want at most 16 letters, digits and \"-\"");
	return 0;
}

static int local_open(const char *name, const json_t *config, struct provider **out,
		      struct err *err)
{
	struct local *l = calloc(1, sizeof *l);
	const char *key;
	char who[80];
	json_t *v;
	int rc;

	if (!l || opt_defaults(table, l)) {
		free(l);
		return err_set(err, -ENOMEM, "out of memory");
	}
	l->p.ops = &provider_local;
	snprintf(l->p.name, sizeof l->p.name, "%s", name);
	snprintf(who, sizeof who, "provider %.64s", name);
	rc = 0;
	json_object_foreach((json_t *)config, key, v) {
		if (!rc && strcmp(key, "type"))
			rc = jsonconf_scalar(table, l, key, v, who, key, err);
	}
	if (!rc)
		rc = check_config(l, who, err);
	if (rc)
		local_close(&l->p);
	else
		*out = &l->p;
	return rc;
}

/* A descriptor of the root, for one call; made when it is missing. */
static int open_root(const struct local *l, struct err *err)
{
	int fd;

	if (paths_make_folder(l->root, err))
		return -EACCES;
	fd = open(l->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return fd < 0 ? local_failed(err, "open", l->root) : fd;
}

/* Copies of a call, in this process or another, work one after another. Held until root is closed, and for short: not
 * while a tree is deleted. */
static int lock_root(int root, struct err *err)
{
	struct timespec pause = { .tv_nsec = LOCK_PAUSE_MS * 1000000L };

	for (unsigned waited = 0; flock(root, LOCK_EX | LOCK_NB); waited += LOCK_PAUSE_MS) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return err_set(err, -EIO, "cannot lock the folder: %s", strerror(errno));
		if (waited >= LOCK_WAIT_MS)
			return err_set(err, -EAGAIN, "another call works in the folder");
		nanosleep(&pause, NULL);
	}
	return 0;
}

/* --- plans ----------------------------------------------------------------- */

static const char *const plan_keys[] = { "kind", "quota", NULL };

static bool is_image(const json_t *plan)
{
	const char *kind = json_string_value(json_object_get(plan, "kind"));

	return kind && !strcmp(kind, "image");
}

static bool quota_required(const json_t *plan)
{
	const char *quota = json_string_value(json_object_get(plan, "quota"));

	return quota && !strcmp(quota, "required");
}

static int one_of(const json_t *plan, const char *key, const char *a, const char *b,
		  struct err *err)
{
	const json_t *v = json_object_get(plan, key);
	const char *s = json_string_value(v);

	if (!v || (s && (!strcmp(s, a) || !strcmp(s, b))))
		return 0;
	return err_set(err, -EINVAL, "%s: want \"%s\" or \"%s\"", key, a, b);
}

static int local_check_plan(struct provider *p, const json_t *plan, struct err *err)
{
	(void)p;
	if (one_of(plan, "kind", "folder", "image", err) ||
	    one_of(plan, "quota", "required", "try", err))
		return -EINVAL;
	if (is_image(plan) && !json_object_get(plan, "size"))
		return err_set(err, -EINVAL, "size: is required for images");
	return 0;
}

static int64_t plan_id(const json_t *plan, const char *key)
{
	const json_t *v = json_object_get(plan, key);
	const char *s = json_string_value(v);

	if (json_is_integer(v))
		return json_integer_value(v);
	return s ? strtoll(s, NULL, 10) : -1;
}

static mode_t plan_mode(const json_t *plan)
{
	const char *s = json_string_value(json_object_get(plan, "mode"));

	return s ? (mode_t)strtoul(s, NULL, 8) & 07777 : 0770;
}

/* --- names and notes ------------------------------------------------------- */

static void local_name_of(struct provider *p, const char *owner, char buf[PROVIDER_NAME_MAX])
{
	provider_make_name(of(p)->prefix, owner, buf);
}

/* --- create ---------------------------------------------------------------- */

/* Whose a folder is: the plan's owner, else as whom apps run, or ourselves where we may not give it
 * away. The cell acts as the same. */
static void owner_of(const json_t *plan, int64_t *uid, int64_t *gid)
{
	*uid = plan_id(plan, "uid");
	*gid = plan_id(plan, "gid");
	if (*uid >= 0 || *gid >= 0)
		return;
	*uid = geteuid() ? geteuid() : OWNER_DEFAULT;
	*gid = geteuid() ? getegid() : OWNER_DEFAULT;
}

static int make_folder(int root, const char *temp, const char *name, const json_t *plan,
		       struct local_note *n, struct err *err)
{
	AUTO_FD int fd = -1;
	int64_t uid, gid;
	int rc;

	owner_of(plan, &uid, &gid);
	if (mkdirat(root, temp, 0700) && errno != EEXIST)
		return local_failed(err, "make", name);
	fd = openat(root, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return errno == ENOENT ?
			       0 :
			       local_failed(err, "open", name); /* a copy of us renamed it */
	if ((uid >= 0 || gid >= 0) && fchown(fd, (uid_t)uid, (gid_t)gid))
		return local_failed(err, "give away", name);
	if (fchmod(fd, plan_mode(plan)))
		return local_failed(err, "set the mode of", name);
	if (n->size || quota_required(plan)) {
		rc = local_set_quota(fd, n->size, &n->project, name, err);
		if (rc && (rc != -EOPNOTSUPP || quota_required(plan)))
			return rc == -EOPNOTSUPP ? err_set(err, -EINVAL,
							   "plan key quota: required, but the "
							   "file system of the volumes has no "
							   "project quotas, or they are off") :
						   rc;
	}
	return fsync(fd) ? local_failed(err, "write", name) : 0;
}

static int make_image(int root, const char *temp, const char *name, const struct local_note *n,
		      struct err *err)
{
	char fresh[LOCAL_SIDE_MAX];
	AUTO_FD int mark = -1;
	AUTO_FD int fd = -1;

	if (n->size < IMAGE_MIN)
		return err_set(err, -EINVAL, "size: an image has at least 16 MiB");
	local_side_name("fresh", name, fresh);
	mark = openat(root, fresh, O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0644);
	if (mark < 0 || fsync(mark))
		return local_failed(err, "make", fresh);
	fd = openat(root, temp, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)n->size) || fsync(fd))
		return local_failed(err, "make", name);
	return 0;
}

/* The temporary one becomes the volume, unless a copy of this call was quicker. */
static int publish(int root, const char *temp, const char *name, struct err *err)
{
	struct stat st;

	if (!renameat2(root, temp, root, name, RENAME_NOREPLACE))
		return fsync(root) ? local_failed(err, "write", name) : 0;
	if ((errno == EEXIST || errno == ENOENT) && !fstatat(root, name, &st, AT_SYMLINK_NOFOLLOW))
		return 0;
	return local_failed(err, "rename", name);
}

static bool right_kind(const struct stat *st, const json_t *plan)
{
	return is_image(plan) ? S_ISREG(st->st_mode) : S_ISDIR(st->st_mode);
}

/* -ENOENT: not there. */
static int look(int root, const char *name, const json_t *plan, struct stat *st, struct err *err)
{
	if (fstatat(root, name, st, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? err_set(err, -ENOENT, "volume %s is not there", name) :
					 local_failed(err, "look at", name);
	if (plan && !right_kind(st, plan))
		return err_set(err, -EEXIST, "%s is there, but no %s", name,
			       is_image(plan) ? "image" : "folder");
	return 0;
}

static int make(int root, const char *name, const json_t *plan, struct local_note *n,
		struct err *err)
{
	char temp[LOCAL_SIDE_MAX];
	int rc;

	local_side_name("new", name, temp);
	rc = is_image(plan) ? make_image(root, temp, name, n, err) :
			      make_folder(root, temp, name, plan, n, err);
	abort_point("local: made, not published");
	if (!rc)
		rc = local_write_note(root, name, n, err);
	abort_point("local: note written");
	return rc ? rc : publish(root, temp, name, err);
}

static int local_create(struct provider *p, const struct provider_ref *ref,
			const struct provider_spec *spec, json_t **handle, uint64_t *size,
			struct err *err)
{
	struct local_note n = { .size = (spec->size + SECTOR - 1) / SECTOR * SECTOR };
	char name[PROVIDER_NAME_MAX];
	AUTO_FD int root = open_root(of(p), err);
	struct stat st;
	int rc;

	if (root < 0)
		return root;
	local_name_of(p, ref->owner, name);
	rc = lock_root(root, err);
	if (!rc)
		rc = look(root, name, ref->plan, &st, err);
	if (rc == -ENOENT)
		rc = make(root, name, ref->plan, &n, err);
	else if (!rc)
		local_read_note(root, name, &n);
	if (rc)
		return rc;
	*handle = json_pack("{s:s}", "name", name);
	if (!*handle)
		return err_set(err, -ENOMEM, "out of memory");
	*size = n.size;
	return 0;
}

/* --- remove ---------------------------------------------------------------- */

/* The volume is no volume any more; what it held lies in the trash. */
static int put_away(int root, const char *name, const char *trash, struct err *err)
{
	static const char *const sides[] = { "note", "fresh", "temp" };
	struct stat st;
	int rc = lock_root(root, err);

	if (rc)
		return rc;
	if (local_has_side(root, "map", name, &st))
		rc = err_set(err, -EBUSY, "volume %s is used by a machine", name);
	else if (renameat(root, name, root, trash) && errno != ENOENT)
		rc = errno == ENOTEMPTY || errno == EEXIST ?
			     err_set(err, -EAGAIN, "volume %s is being deleted", name) :
			     local_failed(err, "rename", name);
	abort_point("local: renamed into the trash");
	for (size_t i = 0; i < ARRAY_LEN(sides) && !rc; i++)
		local_drop_side(root, sides[i], name);
	if (!rc && fsync(root))
		rc = local_failed(err, "write", name);
	flock(root, LOCK_UN);
	return rc;
}

static int remove_named(struct local *l, const char *name, struct err *err)
{
	char trash[LOCAL_SIDE_MAX], temp[LOCAL_SIDE_MAX];
	AUTO_FD int root = open_root(l, err);
	unsigned budget = LOCAL_STEP;
	int rc;

	if (root < 0)
		return root;
	local_side_name("trash", name, trash);
	local_side_name("new", name, temp);
	rc = local_delete_tree(root, temp, &budget, err);
	if (!rc) /* an earlier call's, before this one's takes its place */
		rc = local_delete_tree(root, trash, &budget, err);
	if (!rc)
		rc = put_away(root, name, trash, err);
	abort_point("local: put away");
	return rc ? rc : local_delete_tree(root, trash, &budget, err);
}

static int local_remove(struct provider *p, const struct provider_ref *ref, struct err *err)
{
	char name[PROVIDER_NAME_MAX];

	local_name_of(p, ref->owner, name);
	return remove_named(of(p), name, err);
}

static int local_remove_name(struct provider *p, const char *name, struct err *err)
{
	if (!provider_is_made_name(of(p)->prefix, name))
		return err_set(err, -EINVAL, "'%.60s' is no name of ours", name);
	return remove_named(of(p), name, err);
}

/* --- look ------------------------------------------------------------------ */

static void describe(int root, const char *name, const struct stat *st, struct provider_volume *out)
{
	struct stat side;
	struct local_note n;

	memset(out, 0, sizeof *out);
	snprintf(out->name, sizeof out->name, "%s", name);
	local_read_note(root, name, &n);
	out->used = PROVIDER_UNKNOWN;
	out->size = n.size;
	out->created = (uint64_t)st->st_ctim.tv_sec;
	if (local_has_side(root, "note", name, &side))
		out->created = (uint64_t)side.st_mtim.tv_sec;
	if (S_ISREG(st->st_mode)) {
		out->size = (uint64_t)st->st_size;
		out->used = (uint64_t)st->st_blocks * SECTOR;
		out->fresh = local_has_side(root, "fresh", name, &side);
		out->nhosts = local_has_side(root, "map", name, &side);
	} else if (n.project) {
		AUTO_FD int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

		if (fd >= 0)
			local_quota_used(fd, n.project, &out->used);
	}
}

static int local_get(struct provider *p, const struct provider_ref *ref,
		     struct provider_volume *out, struct err *err)
{
	char name[PROVIDER_NAME_MAX];
	AUTO_FD int root = open_root(of(p), err);
	struct stat st;
	int rc;

	if (root < 0)
		return root;
	local_name_of(p, ref->owner, name);
	rc = look(root, name, ref->plan, &st, err);
	if (!rc)
		describe(root, name, &st, out);
	return rc;
}

static int local_list(struct provider *p, provider_found *found, void *arg, struct err *err)
{
	struct local *l = of(p);
	AUTO_FD int root = open_root(l, err);
	struct provider_volume v;
	struct dirent *e;
	struct stat st;
	bool goes_on = true;
	DIR *d;

	if (root < 0)
		return root;
	d = opendir(l->root);
	if (!d)
		return local_failed(err, "list", l->root);
	while (goes_on && (e = readdir(d))) {
		if (!provider_is_made_name(l->prefix, e->d_name) ||
		    fstatat(root, e->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		describe(root, e->d_name, &st, &v);
		goes_on = found(arg, &v);
	}
	closedir(d);
	return 0;
}

static int grow_folder(int root, const char *name, const json_t *plan, struct local_note *n,
		       struct err *err)
{
	AUTO_FD int fd = openat(root, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	int rc;

	if (fd < 0)
		return local_failed(err, "open", name);
	rc = local_set_quota(fd, n->size, &n->project, name, err);
	return rc == -EOPNOTSUPP && !quota_required(plan) ? 0 : rc;
}

static int local_grow(struct provider *p, const struct provider_ref *ref, uint64_t want,
		      uint64_t *size, struct err *err)
{
	char name[PROVIDER_NAME_MAX];
	AUTO_FD int root = open_root(of(p), err);
	struct stat st;
	struct local_note n;
	int rc;

	if (root < 0)
		return root;
	local_name_of(p, ref->owner, name);
	rc = lock_root(root, err);
	if (!rc)
		rc = look(root, name, ref->plan, &st, err);
	if (rc)
		return rc;
	local_read_note(root, name, &n);
	if (is_image(ref->plan))
		n.size = (uint64_t)st.st_size;
	if (want < n.size)
		return err_set(err, -ERANGE, "a volume cannot be made smaller than it is");
	n.size = (want + SECTOR - 1) / SECTOR * SECTOR;
	if (is_image(ref->plan)) {
		AUTO_FD int fd = openat(root, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);

		if (fd < 0 || ftruncate(fd, (off_t)n.size) || fsync(fd))
			rc = local_failed(err, "grow", name);
	} else {
		rc = grow_folder(root, name, ref->plan, &n, err);
	}
	abort_point("local: grown, note not written");
	if (!rc)
		rc = local_write_note(root, name, &n, err);
	if (!rc)
		*size = n.size;
	return rc;
}

/* --- use ------------------------------------------------------------------- */

static void source_of(const struct local *l, const char *name, const json_t *plan, char *buf,
		      size_t cap)
{
	snprintf(buf, cap, "%s:%s/%s", is_image(plan) ? "image" : "dir", l->root, name);
}

static int local_mount_config(struct provider *p, const struct provider_ref *ref, json_t *config,
			      struct err *err)
{
	char name[PROVIDER_NAME_MAX], source[ROOT_MAX + PROVIDER_NAME_MAX + 16];
	int64_t uid, gid;
	int bad;

	local_name_of(p, ref->owner, name);
	source_of(of(p), name, ref->plan, source, sizeof source);
	bad = json_object_set_new(config, "source", json_string(source));
	owner_of(ref->plan, &uid, &gid);
	if (!is_image(ref->plan) && uid > 0 && gid > 0) {
		bad |= json_object_set_new(config, "uid", json_integer(uid));
		bad |= json_object_set_new(config, "gid", json_integer(gid));
	}
	return bad ? err_set(err, -ENOMEM, "out of memory") : 0;
}

static int local_map(struct provider *p, const struct provider_ref *ref,
		     const struct provider_host *host, struct provider_mapping *out,
		     struct err *err)
{
	char name[PROVIDER_NAME_MAX];
	AUTO_FD int root = open_root(of(p), err);
	struct stat st;
	int rc;

	memset(out, 0, sizeof *out);
	if (root < 0)
		return root;
	local_name_of(p, ref->owner, name);
	rc = look(root, name, ref->plan, &st, err);
	if (!rc && S_ISREG(st.st_mode)) {
		out->size = (uint64_t)st.st_size;
		rc = local_map_image(root, name, host, out, err);
	}
	if (!rc)
		source_of(of(p), name, ref->plan, out->source, sizeof out->source);
	return rc;
}

static int local_unmap(struct provider *p, const struct provider_ref *ref,
		       const struct provider_host *host, struct err *err)
{
	char name[PROVIDER_NAME_MAX];
	AUTO_FD int root = open_root(of(p), err);

	if (root < 0)
		return root;
	local_name_of(p, ref->owner, name);
	local_unmap_image(root, name, host);
	return 0;
}

static int local_set_used(struct provider *p, const struct provider_ref *ref, struct err *err)
{
	char name[PROVIDER_NAME_MAX], side[LOCAL_SIDE_MAX];
	AUTO_FD int root = open_root(of(p), err);

	if (root < 0)
		return root;
	local_name_of(p, ref->owner, name);
	local_side_name("fresh", name, side);
	if ((unlinkat(root, side, 0) && errno != ENOENT) || fsync(root))
		return local_failed(err, "remove", side);
	return 0;
}

/* --- copies ---------------------------------------------------------------- */

static int copy_image(int root, int in, const char *name, struct local_note *n, struct err *err)
{
	char temp[LOCAL_SIDE_MAX];
	AUTO_FD int out = -1;
	struct stat st;
	int rc;

	local_side_name("new", name, temp);
	if (fstat(in, &st))
		return local_failed(err, "look at", name);
	out = openat(root, temp, O_RDWR | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (out < 0)
		return local_failed(err, "make", name);
	rc = local_copy_data(in, out, (uint64_t)st.st_size);
	if (n->size < (uint64_t)st.st_size)
		n->size = (uint64_t)st.st_size;
	if (rc || ftruncate(out, (off_t)n->size) || fsync(out)) {
		errno = rc ? -rc : errno;
		return local_failed(err, "copy to", name);
	}
	rc = local_write_note(root, name, n, err);
	return rc ? rc : publish(root, temp, name, err);
}

/* What an earlier, killed copy left is begun anew. */
static int copy_folder(int root, int in, const char *name, const json_t *plan, struct local_note *n,
		       struct err *err)
{
	char temp[LOCAL_SIDE_MAX];
	AUTO_FD int out = -1;
	unsigned budget = LOCAL_STEP;
	int rc;

	local_side_name("new", name, temp);
	rc = local_delete_tree(root, temp, &budget, err);
	if (!rc)
		rc = make_folder(root, temp, name, plan, n, err);
	if (rc)
		return rc;
	out = openat(root, temp, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	rc = out < 0 ? -errno : local_copy_tree(in, out);
	if (rc) {
		errno = -rc;
		return local_failed(err, "copy to", name);
	}
	rc = local_write_note(root, name, n, err);
	return rc ? rc : publish(root, temp, name, err);
}

/* Of two copies of one volume at a time, one has to come again; the folder's lock is not held so long. */
static int copy_volume(int root, const char *from, const char *name, const json_t *plan,
		       struct local_note *n, struct err *err)
{
	AUTO_FD int in = openat(root, from, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct local_note old;
	struct stat st;
	int rc = look(root, from, plan, &st, err);

	if (rc)
		return rc;
	if (in < 0)
		return local_failed(err, "open", from);
	if (flock(in, LOCK_EX | LOCK_NB))
		return err_set(err, -EAGAIN, "volume %s is being copied", from);
	local_read_note(root, from, &old);
	if (n->size < old.size)
		n->size = old.size;
	return is_image(plan) ? copy_image(root, in, name, n, err) :
				copy_folder(root, in, name, plan, n, err);
}

/* A copy is never fresh: it holds what the other holds. */
static int local_restore(struct provider *p, const struct provider_ref *from,
			 const struct provider_ref *ref, const struct provider_spec *spec,
			 json_t **handle, uint64_t *size, struct err *err)
{
	char source[PROVIDER_NAME_MAX], name[PROVIDER_NAME_MAX];
	struct local_note n = { .size = spec ? spec->size : 0 };
	AUTO_FD int root = open_root(of(p), err);
	struct stat st;
	int rc;

	if (root < 0)
		return root;
	local_name_of(p, from->owner, source);
	local_name_of(p, ref->owner, name);
	rc = look(root, name, ref->plan, &st, err);
	if (rc == -ENOENT)
		rc = copy_volume(root, source, name, ref->plan, &n, err);
	else if (!rc)
		local_read_note(root, name, &n);
	if (rc)
		return rc;
	*handle = json_pack("{s:s}", "name", name);
	*size = n.size;
	return *handle ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int local_snapshot(struct provider *p, const struct provider_ref *from,
			  const struct provider_ref *ref, json_t **handle, struct err *err)
{
	uint64_t size;

	return local_restore(p, from, ref, NULL, handle, &size, err);
}

/* --- the whole ------------------------------------------------------------- */

static int local_capacity(struct provider *p, const json_t *plan, struct provider_capacity *out,
			  struct err *err)
{
	AUTO_FD int root = open_root(of(p), err);
	struct statvfs s;

	(void)plan;
	if (root < 0)
		return root;
	if (fstatvfs(root, &s))
		return local_failed(err, "look at", of(p)->root);
	out->total = (uint64_t)s.f_blocks * s.f_frsize;
	out->free = (uint64_t)s.f_bavail * s.f_frsize;
	return 0;
}

static int local_health(struct provider *p, struct err *err)
{
	AUTO_FD int root = open_root(of(p), err);

	if (root < 0)
		return root;
	return faccessat(root, ".", R_OK | W_OK | X_OK, AT_EACCESS) ?
		       local_failed(err, "write to", of(p)->root) :
		       0;
}

const struct provider_ops provider_local = {
	.type = "local",
	.kind = PROVIDER_FILES,
	.open = local_open,
	.close = local_close,
	.check_plan = local_check_plan,
	.plan_keys = plan_keys,
	.create = local_create,
	.remove = local_remove,
	.get = local_get,
	.list = local_list,
	.name_of = local_name_of,
	.remove_name = local_remove_name,
	.grow = local_grow,
	.mount_config = local_mount_config,
	.map = local_map,
	.unmap = local_unmap,
	.set_used = local_set_used,
	.snapshot = local_snapshot,
	.restore = local_restore,
	.capacity = local_capacity,
	.health = local_health,
};
