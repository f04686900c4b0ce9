/* SPDX-License-Identifier: Apache-2.0 */
/* confine.c - see confine.h */
#include "fusefs/confine.h"

#include <errno.h>
#include <jansson.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "fusefs/volume.h"

static void run_file_done(void *arg)
{
	(void)errand_plain(arg, ERRAND_UNLINK_RUN_FILE);
}

static int handle_get(void *arg, int fd, struct be_handle *out)
{
	struct errand req = { .kind = ERRAND_HANDLE_GET };

	return errand_run(arg, &req, fd, out, NULL);
}

static int handle_open(void *arg, const struct be_handle *h)
{
	struct errand req = { .kind = ERRAND_HANDLE_OPEN, .handle = *h };
	int fd = -1, rc = errand_run(arg, &req, -1, NULL, &fd);

	if (rc)
		return rc;
	return fd < 0 ? -EPROTO : fd;
}

static int log_open(void *arg)
{
	return errand_plain(arg, ERRAND_LOG);
}

static int tell_run_file(const struct errand_client *c, const struct be_prepared *p)
{
	struct errand req = { .kind = ERRAND_RUN_FILE };

	memcpy(req.name, p->run_file, sizeof req.name);
	return *p->run_file ? errand_run(c, &req, -1, NULL, NULL) : 0;
}

static int tell_folder(const struct errand_client *c, const struct be_prepared *p)
{
	struct errand req = { .kind = ERRAND_FOLDER };

	return p->folder_fd >= 0 ? errand_run(c, &req, p->folder_fd, NULL, NULL) : 0;
}

/* What libraries would open at their first use. */
static void warm_up(void)
{
	json_object_seed(0);
}

int confine(struct volume *v, const struct errand_client *c, struct be_env *env,
	    struct be_prepared *p, struct err *err)
{
	int rc = backend_prepare(v->uri, env, p, err);

	if (rc)
		return rc;
	env->self = be_cred_new(geteuid(), getegid(), 0, NULL);
	if (!env->self)
		return err_set(err, -ENOMEM, "out of memory");
	v->owner = geteuid();
	v->sandbox = (struct sandbox){ .mode = (enum sandbox_mode)v->opt.sandbox,
				       .folder = p->folder_fd >= 0,
				       .uid = v->opt.sandbox_uid };
	warm_up();
	log_reopen_by(log_open, (void *)(uintptr_t)c);
	rc = tell_run_file(c, p);
	if (rc)
		return err_set(err, rc, "the supervisor does not help: %s", strerror(-rc));
	rc = sandbox_enter(&v->sandbox, p, err);
	if (rc)
		return rc;
	rc = tell_folder(c, p);
	if (!rc)
		rc = errand_plain(c, ERRAND_SEAL);
	if (rc)
		return err_set(err, rc, "the supervisor does not help: %s", strerror(-rc));
	env->prepared = p;
	env->run_file_done = run_file_done;
	if (v->sandbox.mode != SANDBOX_OFF) {
		env->handle_get = handle_get;
		env->handle_open = handle_open;
	}
	env->helper_arg = (void *)(uintptr_t)c;
	log_info("sandbox: %s", sandbox_state(&v->sandbox));
	return 0;
}
