/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox_ids.c - user id, groups and capabilities */
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/capability.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "fusefs/sandbox_impl.h"

#define MAP_LINES_MAX 340 /* as the kernel has it */
#define CAP(name) (UINT64_C(1) << CAP_##name)
/* What acting for callers needs, see backends/dir/who.c. */
#define FOLDER_CAPS                                                                          \
	(CAP(CHOWN) | CAP(DAC_OVERRIDE) | CAP(DAC_READ_SEARCH) | CAP(FOWNER) | CAP(FSETID) | \
	 CAP(MKNOD) | CAP(SETUID) | CAP(SETGID))

/* ---- which ids there are --------------------------------------------- */

struct id_range {
	uint32_t first, count;
};

struct id_map {
	struct id_range range[MAP_LINES_MAX];
	unsigned n;
	uint64_t total;
};

static int map_read(const char *path, struct id_map *out)
{
	FILE *f = fopen(path, "re");
	struct id_range r;

	out->n = 0;
	out->total = 0;
	if (!f)
		return -errno;
	while (out->n < MAP_LINES_MAX &&
	       fscanf(f, "%" SCNu32 " %*u %" SCNu32, &r.first, &r.count) == 2) {
		out->range[out->n++] = r;
		out->total += r.count;
	}
	fclose(f);
	return 0;
}

static bool map_has(const struct id_map *m, uint32_t id)
{
	for (unsigned i = 0; i < m->n; i++)
		if (id >= m->range[i].first && id - m->range[i].first < m->range[i].count)
			return true;
	return false;
}

/* The usual one, else the highest that is neither root nor who we are. 0: none. */
static uint32_t spare_id(const struct id_map *uids, const struct id_map *gids)
{
	uint32_t best = 0;

	if (map_has(uids, SANDBOX_UID) && map_has(gids, SANDBOX_UID))
		return SANDBOX_UID;
	for (unsigned i = 0; i < uids->n; i++) {
		uint32_t id = uids->range[i].first + uids->range[i].count - 1;

		if (id > best && id != geteuid() && id != UINT32_MAX && map_has(gids, id))
			best = id;
	}
	return best;
}

/* ---- capabilities ---------------------------------------------------- */

static int caps_get(uint64_t *permitted)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &head, d))
		return -errno;
	*permitted = d[0].permitted | (uint64_t)d[1].permitted << 32;
	return 0;
}

static int caps_set(uint64_t caps)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = {
		{ .effective = (uint32_t)caps, .permitted = (uint32_t)caps },
		{ .effective = (uint32_t)(caps >> 32), .permitted = (uint32_t)(caps >> 32) }
	};

	return syscall(SYS_capset, &head, d) ? -errno : 0;
}

/* Without CAP_SETPCAP it stays, and means nothing: no_new_privs keeps anybody from drawing on it. */
static void bounding_set(uint64_t keep)
{
	for (unsigned long cap = 0; cap < 64; cap++)
		if (!(keep >> cap & 1) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) && errno == EINVAL)
			break;
	prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
}

static int capabilities(struct sandbox *s, uint64_t keep)
{
	int rc = caps_set(keep);

	if (rc)
		return rc;
	sandbox_said(s, SANDBOX_PART_CAPABILITIES, "%s",
		     keep ? "those that acting for callers needs" : "none");
	return 0;
}

/* ---- ids ------------------------------------------------------------- */

static int become(uint32_t id)
{
	if (setgroups(0, NULL) || setresgid(id, id, id) || setresuid(id, id, id))
		return -errno;
	return 0;
}

/* The id to become; 0: none, which has been said. */
static int choose(struct sandbox *s, uint64_t caps, uint64_t keep, const struct id_map *uids,
		  const struct id_map *gids, uint32_t *out, struct err *err)
{
	const uint64_t need = CAP(SETUID) | CAP(SETGID);

	*out = 0;
	if (s->uid >= 0 && ((caps & need) != need || s->uid == 0 ||
			    !map_has(uids, (uint32_t)s->uid) || !map_has(gids, (uint32_t)s->uid)))
		return err_set(err, -EINVAL,
			       "option sandbox_uid=%" PRId64
			       ": not an id that the caller can give to a process here",
			       s->uid);
	if (keep)
		sandbox_said(s, SANDBOX_PART_UID, "%u, acts for callers", geteuid());
	else if ((caps & need) != need)
		sandbox_said(s, SANDBOX_PART_UID, "%u, the caller has no other", geteuid());
	else if (s->uid > 0)
		*out = (uint32_t)s->uid;
	else if (s->folder || !(*out = spare_id(uids, gids)))
		sandbox_said(s, SANDBOX_PART_UID, "%u, the namespace has no other", geteuid());
	return 0;
}

int sandbox_ids_choose(struct sandbox *s, struct sandbox_ids *out, struct err *err)
{
	AUTO_FREE struct id_map *uids = calloc(2, sizeof *uids);
	int rc;

	*out = (struct sandbox_ids){ .id = 0 };
	if (!uids)
		return err_set(err, -ENOMEM, "out of memory");
	rc = caps_get(&out->caps);
	if (rc || map_read("/proc/self/uid_map", uids) || map_read("/proc/self/gid_map", uids + 1))
		return err_set(err, rc ? rc : -ENOENT, "sandbox: /proc does not tell of ids");
	/* With one id there is no caller but ourselves to act for. */
	if (s->folder && uids->total > 1)
		out->keep = out->caps & FOLDER_CAPS;
	return choose(s, out->caps, out->keep, uids, uids + 1, &out->id, err);
}

int sandbox_ids_enter(struct sandbox *s, const struct sandbox_ids *ids, struct err *err)
{
	int rc = 0;

	bounding_set(ids->keep);
	if (ids->id)
		rc = become(ids->id);
	else if (ids->caps & CAP(SETGID))
		(void)setgroups(0, NULL); /* a namespace may forbid it */
	if (ids->id && !rc)
		sandbox_said(s, SANDBOX_PART_UID, "%u", ids->id);
	if (!rc)
		rc = capabilities(s, ids->keep);
	return rc ? err_set(err, rc, "sandbox: cannot drop privileges: %s", strerror(-rc)) : 0;
}
