/* SPDX-License-Identifier: Apache-2.0 */
/* sandbox.c - see sandbox.h. The order matters: mounts want capabilities, ids want those that
 * change ids, Landlock wants no_new_privs, and after the filter nothing of this can be done. */
#include "fusefs/sandbox.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/log.h"
#include "fusefs/sandbox_impl.h"

static void say(struct sandbox *s, enum sandbox_part part, const char *fmt, va_list ap)
	__attribute__((format(printf, 3, 0)));
static void say(struct sandbox *s, enum sandbox_part part, const char *fmt, va_list ap)
{
	vsnprintf(s->part[part].said, sizeof s->part[part].said, fmt, ap);
}

void sandbox_said(struct sandbox *s, enum sandbox_part part, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(s, part, fmt, ap);
	va_end(ap);
}

void sandbox_lacks(struct sandbox *s, enum sandbox_part part, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(s, part, fmt, ap);
	va_end(ap);
	s->part[part].missing = true;
}

const char *sandbox_part_name(enum sandbox_part part)
{
	static const char *const name[] = { "uid",      "capabilities", "mounts",
					    "landlock", "limits",       "seccomp" };

	return name[part];
}

const char *sandbox_state(const struct sandbox *s)
{
	if (s->mode == SANDBOX_OFF)
		return "off";
	for (int i = 0; i < SANDBOX_PARTS; i++)
		if (s->part[i].missing)
			return "partial";
	return "full";
}

static int limit(int what, rlim_t max)
{
	struct rlimit lim;

	if (getrlimit((__rlimit_resource_t)what, &lim))
		return -errno;
	if (lim.rlim_max > max)
		lim.rlim_max = max;
	if (lim.rlim_cur > lim.rlim_max)
		lim.rlim_cur = lim.rlim_max;
	return setrlimit((__rlimit_resource_t)what, &lim) ? -errno : 0;
}

static void limits(struct sandbox *s, uid_t before)
{
	int rc = limit(RLIMIT_CORE, 0);

	if (!rc && !s->folder)
		rc = limit(RLIMIT_NOFILE, SANDBOX_NOFILE);
	/* The number counts all processes of an id: it means something for an id of our own. */
	if (!rc && geteuid() != before)
		rc = limit(RLIMIT_NPROC, SANDBOX_NPROC);
	if (rc)
		sandbox_lacks(s, SANDBOX_PART_LIMITS, "%s", strerror(-rc));
	else if (s->folder)
		sandbox_said(s, SANDBOX_PART_LIMITS, "core 0");
	else
		sandbox_said(s, SANDBOX_PART_LIMITS, "core 0, at most %d descriptors",
			     SANDBOX_NOFILE);
}

static bool may_use_handles(void)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct caps[2];

	return !syscall(SYS_capget, &head, caps) && caps[0].effective & 1u << CAP_DAC_READ_SEARCH;
}

static int judge(const struct sandbox *s, struct err *err)
{
	for (int i = 0; i < SANDBOX_PARTS; i++) {
		const char *name = sandbox_part_name((enum sandbox_part)i);

		if (!s->part[i].missing)
			continue;
		if (s->mode == SANDBOX_FULL)
			return err_set(err, -EPERM, "option sandbox=full: %s: %s", name,
				       s->part[i].said);
		log_warn("sandbox: %s: %s", name, s->part[i].said);
	}
	return 0;
}

int sandbox_enter(struct sandbox *s, struct be_prepared *p, struct err *err)
{
	bool handles = s->folder && may_use_handles();
	uid_t before = geteuid();
	struct sandbox_ids ids;
	int rc;

#ifdef PERSIFS_NO_SANDBOX
	/* What watches this build opens files and makes processes of its own. */
	if (s->mode == SANDBOX_AUTO)
		s->mode = SANDBOX_OFF;
#endif
	if (s->mode == SANDBOX_OFF)
		return 0;
	rc = sandbox_ids_choose(s, &ids, err);
	if (rc)
		return rc;
	sandbox_mounts(s, p);
	rc = sandbox_ids_enter(s, &ids, err);
	if (rc)
		return rc;
	limits(s, before);
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		return err_set(err, -errno, "sandbox: no_new_privs: %s", strerror(errno));
	/* FUSE asks nothing of the daemon's memory. Changing ids has done it already as a rule. */
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	sandbox_landlock(s, p, handles);
	sandbox_filter(s);
	return judge(s, err);
}
