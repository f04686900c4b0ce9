/* SPDX-License-Identifier: Apache-2.0 */
/* who.c - a thread acts as the caller, or as the daemon
 *
 * Linux keeps identities for each thread; the raw system calls change one
 * thread alone. With the file system user id the capabilities that override
 * permissions go and come by themselves, provided that the daemon is root;
 * another daemon that was given capabilities has them put down explicitly.
 *
 * Each thread remembers what it is, since switching costs up to five system
 * calls. A new thread knows nothing: it may have inherited anything. */
#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <stdlib.h>
#include <sys/fsuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "backends/dir/dir_impl.h"

#define WHO_UNKNOWN 0u
#define WHO_DAEMON UINT32_MAX /* identities of callers count up from 1 */

static __thread uint32_t who_now = WHO_UNKNOWN;

/* Set by who_init(), then read only. */
static struct {
	bool can_switch, caps_by_hand;
	uid_t uid;
	gid_t gid;
	int ngroups;
	gid_t *groups; /* owned, for ever */
	uint64_t effective;
} daemon_id;

static const uint64_t fs_caps = 1ULL << CAP_CHOWN | 1ULL << CAP_DAC_OVERRIDE |
				1ULL << CAP_DAC_READ_SEARCH | 1ULL << CAP_FOWNER |
				1ULL << CAP_FSETID | 1ULL << CAP_MKNOD |
				1ULL << CAP_LINUX_IMMUTABLE | 1ULL << CAP_MAC_OVERRIDE;

static int caps_get(struct __user_cap_data_struct data[2])
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };

	return (int)syscall(SYS_capget, &head, data);
}

static int caps_set_effective(uint64_t effective)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2];

	if (caps_get(data))
		return -1;
	data[0].effective = (uint32_t)effective;
	data[1].effective = (uint32_t)(effective >> 32);
	return (int)syscall(SYS_capset, &head, data);
}

void who_init(void)
{
	const uint64_t needed = 1ULL << CAP_SETUID | 1ULL << CAP_SETGID;
	struct __user_cap_data_struct data[2];

	if (daemon_id.groups || caps_get(data))
		return;
	daemon_id.effective = data[0].effective | (uint64_t)data[1].effective << 32;
	daemon_id.uid = geteuid();
	daemon_id.gid = getegid();
	daemon_id.ngroups = getgroups(0, NULL);
	if (daemon_id.ngroups < 0)
		return;
	daemon_id.groups = calloc((size_t)daemon_id.ngroups + 1, sizeof(gid_t));
	if (!daemon_id.groups || getgroups(daemon_id.ngroups, daemon_id.groups) < 0)
		return;
	daemon_id.caps_by_hand = daemon_id.uid != 0;
	daemon_id.can_switch = (daemon_id.effective & needed) == needed;
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

void who_become_daemon(void)
{
	bool ok;

	if (!daemon_id.can_switch || who_now == WHO_DAEMON)
		return;
	ok = ids_set(daemon_id.uid, daemon_id.gid, (size_t)daemon_id.ngroups, daemon_id.groups) &&
	     (!daemon_id.caps_by_hand || caps_set_effective(daemon_id.effective) == 0);
	assert(ok); /* going on as somebody else would be worse than an end */
	who_now = WHO_DAEMON;
}

int who_become(const struct be_cred *cred)
{
	uint64_t caps = daemon_id.effective & ~fs_caps;

	if (!daemon_id.can_switch || who_now == cred->id)
		return 0;
	who_now = WHO_UNKNOWN;
	if (ids_set(cred->uid, cred->gid, cred->ngroups, cred->groups) &&
	    (!daemon_id.caps_by_hand || cred->uid == 0 || caps_set_effective(caps) == 0)) {
		who_now = cred->id;
		return 0;
	}
	who_become_daemon();
	return -EPERM;
}
