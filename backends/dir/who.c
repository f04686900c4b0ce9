/* SPDX-License-Identifier: Apache-2.0 */
/* who.c - a thread acts as the caller, or as the daemon
 *
 * Linux keeps identities for each thread; the raw system calls change one
 * thread alone. The file system user id takes the capabilities that override
 * permissions along, but no others: a caller who is not root would keep the
 * daemon's right to set file capabilities, to use trusted attributes or to
 * exceed quotas. So all effective capabilities go but the two that lead back.
 *
 * Each thread remembers what it is, since switching costs several system
 * calls. A new thread knows nothing: it may have inherited anything. */
#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backends/dir/dir_impl.h"

#define WHO_UNKNOWN 0u
#define WHO_DAEMON UINT32_MAX /* identities of callers count up from 1 */

enum caps { CAPS_UNKNOWN, CAPS_ALL, CAPS_LOW };

static __thread uint32_t who_now = WHO_UNKNOWN;
static __thread enum caps caps_now = CAPS_UNKNOWN;

/* Set by who_init(), then read only. */
static struct {
	bool can_switch;
	uid_t uid;
	gid_t gid;
	int ngroups;
	gid_t *groups; /* owned, for ever */
	struct __user_cap_data_struct caps[2], low[2];
} daemon_id;

void who_init(void)
{
	const uint32_t needed = 1u << CAP_SETUID | 1u << CAP_SETGID;
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	if (daemon_id.groups || syscall(SYS_capget, &head, daemon_id.caps))
		return;
	memcpy(daemon_id.low, daemon_id.caps, sizeof daemon_id.low);
	daemon_id.low[0].effective &= needed;
	daemon_id.low[1].effective = 0;
	daemon_id.uid = geteuid();
	daemon_id.gid = getegid();
	daemon_id.ngroups = getgroups(0, NULL);
	if (daemon_id.ngroups < 0)
		return;
	daemon_id.groups = calloc((size_t)daemon_id.ngroups + 1, sizeof(gid_t));
	if (!daemon_id.groups || getgroups(daemon_id.ngroups, daemon_id.groups) < 0)
		return;
	daemon_id.can_switch = daemon_id.low[0].effective == needed;
}

bool who_can_switch(void)
{
	return daemon_id.can_switch;
}

/* setfsuid() does not tell whether it worked; asking again does. */
static bool ids_set(uid_t uid, gid_t gid, size_t ngroups, const gid_t *groups)
{
	if (syscall(SYS_setgroups, ngroups, groups))
		return false;
	setfsgid(gid);
	setfsuid(uid);
	return (gid_t)setfsgid((gid_t)-1) == gid && (uid_t)setfsuid((uid_t)-1) == uid;
}

/* After ids_set(), which may have moved some of them between root and others. */
static bool caps_set(enum caps want)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	if (caps_now == CAPS_LOW && want == CAPS_LOW)
		return true;
	caps_now = CAPS_UNKNOWN;
	if (syscall(SYS_capset, &head, want == CAPS_LOW ? daemon_id.low : daemon_id.caps))
		return false;
	caps_now = want;
	return true;
}

void who_become_daemon(void)
{
	bool ok;

	if (!daemon_id.can_switch || who_now == WHO_DAEMON)
		return;
	ok = ids_set(daemon_id.uid, daemon_id.gid, (size_t)daemon_id.ngroups, daemon_id.groups) &&
	     caps_set(CAPS_ALL);
	assert(ok); /* going on as somebody else would be worse than an end */
	who_now = WHO_DAEMON;
}

int who_become(const struct be_cred *cred)
{
	if (!daemon_id.can_switch || who_now == cred->id)
		return 0;
	who_now = WHO_UNKNOWN;
	if (ids_set(cred->uid, cred->gid, cred->ngroups, cred->groups) &&
	    caps_set(cred->uid == 0 ? CAPS_ALL : CAPS_LOW)) {
		who_now = cred->id;
		return 0;
	}
	who_become_daemon();
	return -EPERM;
}
