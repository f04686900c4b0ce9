/* SPDX-License-Identifier: Apache-2.0 */
/* who.c - a thread acts as the caller, or as the daemon
 *
 * Linux keeps identities for each thread; the raw system calls change one
 * thread alone. The file system user id takes the capabilities that override
 * permissions along, but no others: a caller who is not root would keep the
 * daemon's right to set file capabilities, to use trusted attributes or to
 * exceed quotas. So all effective capabilities go but the two that lead back.
 *
 * Every switch costs about two microseconds a call, so each thread remembers
 * what it is and changes only what differs. As the daemon it keeps the groups
 * of the caller before: nothing is made as the daemon, and its privileges
 * override the rest. A new thread knows nothing: it may have inherited
 * anything. */
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

#define GROUPS_KNOWN_MAX 32 /* longer lists are set anew each time */

enum caps { CAPS_UNKNOWN, CAPS_ALL, CAPS_LOW };

/* What the thread is. Fields are right when their flag says so. */
static __thread struct {
	bool uid_known, gid_known, groups_known;
	uid_t uid;
	gid_t gid;
	unsigned ngroups;
	gid_t groups[GROUPS_KNOWN_MAX];
	enum caps caps;
	uint32_t cred_id; /* of the credential it acts as; 0: none (they count up from 1) */
} self;

/* Set by who_init(), then read only. */
static struct {
	bool can_switch, ready;
	uid_t uid;
	gid_t gid;
	int ngroups; /* of groups; -1: more */
	gid_t groups[GROUPS_KNOWN_MAX];
	struct __user_cap_data_struct caps[2], low[2];
} daemon_id;

/* A user namespace with one id has the capability, and forbids the call for ever. */
static bool may_set_groups(void)
{
	return daemon_id.ngroups < 0 ||
	       !syscall(SYS_setgroups, (size_t)daemon_id.ngroups, daemon_id.groups) ||
	       errno != EPERM;
}

void who_init(void)
{
	const uint32_t needed = 1u << CAP_SETUID | 1u << CAP_SETGID;
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	if (daemon_id.ready || syscall(SYS_capget, &head, daemon_id.caps))
		return;
	memcpy(daemon_id.low, daemon_id.caps, sizeof daemon_id.low);
	daemon_id.low[0].effective &= needed;
	daemon_id.low[1].effective = 0;
	daemon_id.uid = geteuid();
	daemon_id.gid = getegid();
	daemon_id.ngroups = getgroups(GROUPS_KNOWN_MAX, daemon_id.groups);
	daemon_id.can_switch = daemon_id.low[0].effective == needed && may_set_groups();
	daemon_id.ready = true;
}

bool who_can_switch(void)
{
	return daemon_id.can_switch;
}

static bool groups_set(unsigned n, const gid_t *groups)
{
	if (self.groups_known && self.ngroups == n &&
	    !memcmp(self.groups, groups, n * sizeof *groups))
		return true;
	self.groups_known = false;
	if (syscall(SYS_setgroups, (size_t)n, groups))
		return false;
	if (n <= GROUPS_KNOWN_MAX) {
		memcpy(self.groups, groups, n * sizeof *groups);
		self.ngroups = n;
		self.groups_known = true;
	}
	return true;
}

/* setfsuid() and setfsgid() do not tell whether they worked; asking again does. */
static bool gid_set(gid_t gid)
{
	if (self.gid_known && self.gid == gid)
		return true;
	setfsgid(gid);
	self.gid_known = (gid_t)setfsgid((gid_t)-1) == gid;
	self.gid = gid;
	return self.gid_known;
}

static bool uid_set(uid_t uid)
{
	if (self.uid_known && self.uid == uid)
		return true;
	if (!self.uid_known || self.uid == 0 || uid == 0)
		self.caps = CAPS_UNKNOWN; /* the system moves some of them */
	setfsuid(uid);
	self.uid_known = (uid_t)setfsuid((uid_t)-1) == uid;
	self.uid = uid;
	return self.uid_known;
}

static bool caps_set(enum caps want)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	if (self.caps == want)
		return true;
	self.caps = CAPS_UNKNOWN;
	if (syscall(SYS_capset, &head, want == CAPS_LOW ? daemon_id.low : daemon_id.caps))
		return false;
	self.caps = want;
	return true;
}

void who_become_daemon(void)
{
	bool ok;

	if (!daemon_id.can_switch)
		return;
	self.cred_id = 0;
	ok = uid_set(daemon_id.uid) && caps_set(CAPS_ALL);
	assert(ok); /* going on as somebody else would be worse than an end */
}

void who_restore(void)
{
	if (!daemon_id.can_switch)
		return;
	who_become_daemon();
	if (daemon_id.ngroups >= 0)
		groups_set((unsigned)daemon_id.ngroups, daemon_id.groups);
	gid_set(daemon_id.gid);
}

int who_become(const struct be_cred *cred)
{
	if (!daemon_id.can_switch || self.cred_id == cred->id)
		return 0;
	if (groups_set(cred->ngroups, cred->groups) && gid_set(cred->gid) && uid_set(cred->uid) &&
	    caps_set(cred->uid == 0 ? CAPS_ALL : CAPS_LOW)) {
		self.cred_id = cred->id;
		return 0;
	}
	who_become_daemon();
	return -EPERM;
}
