/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox_landlock.c - which files, connections and processes the worker can reach at all
 *
 * The kernel's headers may be older than the kernel: what is used is written here, and used as
 * far as the ABI goes that the kernel tells. */
#include <errno.h>
#include <linux/landlock.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "fusefs/sandbox_impl.h"

#define LL_FS_EXECUTE (1ULL << 0)
#define LL_FS_ABI1 ((1ULL << 13) - 1)
#define LL_FS_REFER (1ULL << 13)     /* ABI 2: renames between folders */
#define LL_FS_TRUNCATE (1ULL << 14)  /* ABI 3 */
#define LL_FS_IOCTL_DEV (1ULL << 15) /* ABI 5 */
#define LL_NET_TCP 3ULL              /* ABI 4: bind, connect */
#define LL_SCOPE 3ULL                /* ABI 6: abstract unix sockets, signals */
#define LL_ABI 6                     /* nothing above it is used */
#define LL_ERRATA_FLAG 2u
/* Files that are found again by handle have no way up to the folder in memory. Kernels without this
 * correction refuse them; with it they count as what the mount's root is. */
#define LL_ERRATUM_DISCONNECTED (1 << 2)

struct ll_ruleset {
	uint64_t fs, net, scoped;
};

static int ll_create(const struct ll_ruleset *r, size_t size, unsigned flags)
{
	return (int)syscall(SYS_landlock_create_ruleset, r, size, flags);
}

static struct ll_ruleset rights_of(int abi)
{
	struct ll_ruleset r = { .fs = LL_FS_ABI1 };

	if (abi >= 2)
		r.fs |= LL_FS_REFER;
	if (abi >= 3)
		r.fs |= LL_FS_TRUNCATE;
	if (abi >= 4)
		r.net = LL_NET_TCP;
	if (abi >= 5)
		r.fs |= LL_FS_IOCTL_DEV;
	if (abi >= 6)
		r.scoped = LL_SCOPE;
	return r;
}

static size_t size_for(int abi)
{
	if (abi >= 6)
		return sizeof(struct ll_ruleset);
	return abi >= 4 ? offsetof(struct ll_ruleset, scoped) : offsetof(struct ll_ruleset, net);
}

static bool can_open_by_handle(void)
{
	int errata = ll_create(NULL, 0, LL_ERRATA_FLAG);

	return errata > 0 && errata & LL_ERRATUM_DISCONNECTED;
}

/* What dir would lose. True: leave it out, or, when all is wanted, the handles. */
static bool folder_suffers(struct sandbox *s, struct be_prepared *p, int abi, bool handles)
{
	if (abi < 2) {
		sandbox_lacks(s, SANDBOX_PART_LANDLOCK,
			      "this kernel's refuses renames between folders");
		return true;
	}
	if (!handles || can_open_by_handle())
		return false;
	if (s->mode == SANDBOX_FULL || s->part[SANDBOX_PART_MOUNTS].missing) {
		p->no_handles = true;
		return false;
	}
	sandbox_lacks(s, SANDBOX_PART_LANDLOCK,
		      "this kernel's refuses files that are found again by handle");
	return true;
}

static int enforce(const struct sandbox *s, const struct be_prepared *p, int abi)
{
	struct ll_ruleset r = rights_of(abi);
	AUTO_FD int fd = ll_create(&r, size_for(abi), 0);
	struct landlock_path_beneath_attr folder = { .allowed_access = r.fs & ~LL_FS_EXECUTE,
						     .parent_fd = p->folder_fd };

	if (fd < 0)
		return -errno;
	if (s->folder && syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &folder, 0))
		return -errno;
	return syscall(SYS_landlock_restrict_self, fd, 0) ? -errno : 0;
}

void sandbox_landlock(struct sandbox *s, struct be_prepared *p, bool handles)
{
	int abi = ll_create(NULL, 0, LANDLOCK_CREATE_RULESET_VERSION), rc;

	if (abi <= 0) {
		sandbox_lacks(s, SANDBOX_PART_LANDLOCK, "this kernel has none");
		return;
	}
	if (s->folder && folder_suffers(s, p, abi, handles))
		return;
	rc = enforce(s, p, abi);
	if (rc)
		sandbox_lacks(s, SANDBOX_PART_LANDLOCK, "%s", strerror(-rc));
	else
		sandbox_said(s, SANDBOX_PART_LANDLOCK, "files%s%s, ABI %d", abi >= 4 ? ", TCP" : "",
			     abi >= LL_ABI ? ", signals" : "", abi);
}
