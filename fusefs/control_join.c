/* SPDX-License-Identifier: Apache-2.0 */
/* control_join.c - other mounts of this volume join it, see join.h */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "fusefs/control.h"
#include "fusefs/inode.h"
#include "fusefs/session.h"

/* Of /dev/fuse; Linux gives out the numbers for good. */
#define MISC_MAJOR 10
#define FUSE_MINOR 229

/* What the joiner said, with its options resolved as if it had mounted alone. */
struct wish {
	const char *uri; /* the request's */
	struct mount_options opt;
	struct session_options session;
};

static int read_wish(const struct volume *v, const json_t *request, struct wish *w, struct err *err)
{
	const char *text = json_string_value(json_object_get(request, "options"));
	int rc;

	w->uri = json_string_value(json_object_get(request, "uri"));
	rc = options_defaults(&w->opt);
	if (rc)
		return err_set(err, rc, "out of memory");
	if (!w->uri || !text)
		return err_set(err, -EINVAL, "wanted: uri and options");
	rc = options_parse(&w->opt, text, err);
	if (!rc)
		rc = options_check(&w->opt, err);
	if (rc)
		return rc;
	options_resolve(&w->opt, &v->be->limits);
	session_options_of(&w->opt, &w->session);
	return 0;
}

static int differ(const char *name, const struct mount_options *ours,
		  const struct mount_options *theirs, struct err *err)
{
	const struct opt_def *def = opt_find(mount_option_table, name);
	char a[OPT_VALUE_MAX] = "", b[OPT_VALUE_MAX] = "";

	if (opt_format(def, ours, a, sizeof a) || opt_format(def, theirs, b, sizeof b) ||
	    !strcmp(a, b))
		return 0;
	return err_set(err, -EINVAL,
		       "option %s=%.100s: the volume is mounted already, with %s=%.100s", name, b,
		       name, a);
}

/* What says how the volume behaves has to be the same for all. */
static int agree(const struct mount_options *ours, const struct mount_options *theirs,
		 struct err *err)
{
	static const char *const names[] = {
		"consistency", "locks", "soft", "hard", "nlm", "layers"
	};
	int rc = 0;

	for (size_t i = 0; i < ARRAY_LEN(names) && !rc; i++)
		rc = differ(names[i], ours, theirs, err);
	return rc;
}

/* Who wants the whole sandbox does not get his files from a daemon outside. */
static int sandbox_suffices(const struct volume *v, const struct mount_options *theirs,
			    struct err *err)
{
	const char *state = sandbox_state(&v->sandbox);

	if (theirs->sandbox != SANDBOX_FULL || !strcmp(state, "full"))
		return 0;
	return err_set(err, -EINVAL,
		       "option sandbox=full: the volume is mounted already, and its sandbox is %s",
		       state);
}

/* What is the volume's, and harmless. */
static json_t *notes(const struct mount_options *ours, const struct mount_options *theirs)
{
	static const char *const names[] = { "cache_size", "page_size", "policy", "nconnect" };
	json_t *all = json_array();
	struct err err;

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (differ(names[i], ours, theirs, &err))
			json_array_append_new(all, json_string(err.text));
	return all;
}

static json_t *refuse(int rc, const char *sentence)
{
	return json_pack("{s:b,s:s,s:i}", "ok", 0, "error", sentence, "errno", -rc);
}

static int options_of_volume(struct volume *v, const struct mount_options *theirs,
			     json_t **notes_out, struct err *err)
{
	int rc;

	mutex_lock(&v->opt_lock);
	rc = agree(&v->opt, theirs, err);
	if (!rc)
		rc = sandbox_suffices(v, theirs, err);
	*notes_out = rc ? NULL : notes(&v->opt, theirs);
	mutex_unlock(&v->opt_lock);
	return rc;
}

/* A session of another root is another session: only the same folder's is joined. */
static bool find_same(struct volume *v, const struct be_entry *root, const struct wish *w, int *fd)
{
	struct inode *in = inode_hold(v, root->node);
	bool found = in && session_find(v, in, &w->session, fd);

	if (in)
		inode_unhold(in);
	return found;
}

/* Where the kernel keeps locks, two sessions would not see each other's. */
static int takes_sessions(struct volume *v, struct err *err)
{
	if (v->opt.locks != LOCKS_KERNEL)
		return 0;
	if (!sessions_serve(v))
		return err_set(err, -ESHUTDOWN, "the volume is ending");
	return err_set(err, -EBUSY,
		       "the volume's locks are kept by the kernel (locks=kernel): it takes "
		       "no other session");
}

/* What is read from another file would be taken for the kernel's words. */
static bool is_fuse_device(int fd)
{
	struct stat st;

	return fd >= 0 && !fstat(fd, &st) && S_ISCHR(st.st_mode) &&
	       st.st_rdev == makedev(MISC_MAJOR, FUSE_MINOR);
}

json_t *control_join(struct volume *v, const json_t *request, int *fd_out)
{
	struct wish w = { .uri = NULL };
	struct be_entry root;
	struct err err = { "" };
	json_t *said = NULL, *answer;
	int rc = read_wish(v, request, &w, &err);

	if (!rc)
		rc = options_of_volume(v, &w.opt, &said, &err);
	if (!rc)
		rc = backend_folder(v->be, w.uri, &root, &err);
	if (rc) {
		options_done(&w.opt);
		json_decref(said);
		return refuse(rc, err.text);
	}
	answer = json_pack("{s:b,s:i,s:o}", "ok", 1, "root_type", (int)(root.attr.mode & S_IFMT),
			   "notes", said);
	if (!find_same(v, &root, &w, fd_out))
		rc = takes_sessions(v, &err);
	if (rc) {
		json_decref(answer);
		answer = refuse(rc, err.text);
	}
	be_node_put(root.node);
	options_done(&w.opt);
	return answer;
}

json_t *control_mounted(struct volume *v, const json_t *request, int fd_take)
{
	json_int_t maj = json_integer_value(json_object_get(request, "major"));
	json_int_t min = json_integer_value(json_object_get(request, "minor"));
	struct wish w = { .uri = NULL };
	struct session *s;
	struct be_entry root;
	struct err err = { "" };
	json_t *said = NULL;
	AUTO_FD int fd = fd_take;
	int rc = read_wish(v, request, &w, &err);

	if (!rc &&
	    (!is_fuse_device(fd) || maj < 0 || min <= 0 || maj > UINT16_MAX || min > UINT32_MAX))
		rc = err_set(&err, -EINVAL, "wanted: major, minor and a descriptor of /dev/fuse");
	if (!rc)
		rc = takes_sessions(v, &err);
	if (!rc)
		rc = options_of_volume(v, &w.opt, &said, &err);
	if (!rc)
		rc = backend_folder(v->be, w.uri, &root, &err);
	if (!rc)
		rc = session_new(v, take_fd(&fd), &w.session, &root, &s, &err);
	if (!rc) {
		s->maj = (unsigned)maj;
		s->min = (unsigned)min;
		rc = session_start(s, &err);
	}
	json_decref(said);
	options_done(&w.opt);
	return rc ? refuse(rc, err.text) : json_pack("{s:b}", "ok", 1);
}
