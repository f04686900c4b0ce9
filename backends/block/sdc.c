/* SPDX-License-Identifier: Apache-2.0 */
/* sdc.c - see sdc.h */
#include "backends/block/sdc.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "backends/block/exclusive.h"
#include "common/cleanup.h"

static const char *const own_params[] = { "size", "dir", "wait", "drv_cfg", NULL };

/* ---- the name ---------------------------------------------------------- */

static int parse_ids(const struct uri *uri, struct sdc_volume *out, struct err *err)
{
	const char *slash = strchr(uri->path, '/');
	char system[SDC_ID_LEN + 1];

	if (*uri->host || !slash || slash - uri->path != SDC_ID_LEN)
		slash = NULL;
	if (slash) {
		memcpy(system, uri->path, SDC_ID_LEN);
		system[SDC_ID_LEN] = '\0';
	}
	if (!slash || !sdc_volume_make(system, slash + 1, out))
		return err_set(err, -EINVAL,
			       "URI 'scaleio:%.80s%s%.80s': want scaleio:SYSTEM/VOLUME, the ids "
			       "of both as %d hexadecimal digits",
			       uri->host, *uri->host ? " " : "", uri->path, SDC_ID_LEN);
	return 0;
}

static int parse_path(const struct uri *uri, const char *key, const char **out, struct err *err)
{
	const char *value = uri_param(uri, key);

	if (value && *value != '/')
		return err_set(err, -EINVAL, "URI parameter %s=%.100s: want an absolute path", key,
			       value);
	*out = value;
	return 0;
}

int bd_sdc_parse(const struct uri *uri, struct bd_sdc *out, struct err *err)
{
	struct bd_sdc v = { .dir = NULL };
	uint64_t wait_s = 0;
	int rc = parse_ids(uri, &v.id, err);

	if (!rc)
		rc = uri_param_u64(uri, "size", 0, BD_SIZE_MAX, 0, &v.size, err);
	if (!rc)
		rc = uri_param_u64(uri, "wait", 0, BD_SDC_WAIT_MAX_S, BD_SDC_WAIT_S, &wait_s, err);
	if (!rc)
		rc = parse_path(uri, "dir", &v.dir, err);
	if (!rc)
		rc = parse_path(uri, "drv_cfg", &v.host.drv_cfg, err);
	if (rc)
		return rc;
	v.wait_ms = (uint32_t)wait_s * 1000;
	*out = v;
	return 0;
}

/* ---- the device -------------------------------------------------------- */

/* Why it is not there, as far as this machine knows. */
static int missing(const struct bd_sdc *v, const char *link, const struct cancel *cancel,
		   struct err *err)
{
	const char *why = "";
	struct stat st;

	if (!lstat(link, &st)) {
		why = ": the link is there, and leads to nothing (is the device passed into this "
		      "container?)";
	} else {
		switch (sdc_has_volume(&v->host, &v->id, cancel, NULL)) {
		case 1:
			why = ": the SDC has the volume, only the link is not made (by udev, or "
			      "not passed into this container)";
			break;
		case 0:
			why = ": the SDC does not have the volume (is it mapped to this host?)";
			break;
		default:
			break;
		}
	}
	return err_set(err, -ETIMEDOUT, "device '%.200s' did not appear within %u seconds%s", link,
		       v->wait_ms / 1000, why);
}

int bd_sdc_find(const struct bd_sdc *v, const struct cancel *cancel, char *link, size_t cap,
		struct err *err)
{
	int rc = sdc_link(v->dir, &v->id, link, cap);

	if (rc)
		return err_set(err, rc, "URI parameter dir=%.100s...: too long", v->dir);
	rc = sdc_wait(&v->host, link, v->wait_ms, cancel);
	if (rc == -ETIMEDOUT)
		return missing(v, link, cancel, err);
	return rc ? err_set(err, rc, "device '%.200s': nobody waits for it any more", link) : 0;
}

struct opening {
	const struct bd_sdc *v;
	bool readonly;
};

/* In the place of a mount's opener. */
static int open_volume(void *arg, unsigned n, uint32_t limit_ms, struct err *err)
{
	const struct opening *o = arg;
	char link[PATH_MAX];
	int rc = bd_sdc_find(o->v, NULL, link, sizeof link, err);

	(void)n;
	return rc ? rc : bd_exclusive_open(link, o->readonly ? BD_OPEN_READONLY : 0, limit_ms, err);
}

static bool is_own(const char *key)
{
	for (unsigned i = 0; own_params[i]; i++)
		if (!strcmp(own_params[i], key))
			return true;
	return false;
}

/* What the file transport is asked for; strings stay those of uri and link. */
static void file_uri(const struct uri *uri, char *link, struct uri *out)
{
	static char scheme[] = "file", none[] = "";

	memset(out, 0, sizeof *out);
	out->scheme = scheme;
	out->host = none;
	out->path = link;
	for (unsigned i = 0; i < uri->nparams; i++)
		if (!is_own(uri->params[i].key))
			out->params[out->nparams++] = uri->params[i];
}

static int sdc_prepare(const struct uri *uri, const struct bd_env *env, struct bd **out,
		       struct err *err)
{
	AUTO_FREE struct uri *file = malloc(sizeof *file);
	struct bd_env inner = *env;
	struct opening o = { .readonly = env->readonly };
	struct bd_sdc v = { .dir = NULL };
	char link[PATH_MAX];
	struct bd *dev = NULL;
	uint64_t size;
	int rc;

	if (!file)
		return err_set(err, -ENOMEM, "out of memory");
	rc = bd_sdc_parse(uri, &v, err);
	if (rc)
		return rc;
	if (sdc_link(v.dir, &v.id, link, sizeof link))
		return err_set(err, -ENAMETOOLONG, "URI parameter dir=%.100s...: too long", v.dir);
	o.v = &v;
	if (!inner.open_device) {
		inner.open_device = open_volume;
		inner.open_arg = &o;
	}
	file_uri(uri, link, file);
	rc = bd_file.prepare(file, &inner, &dev, err);
	if (rc)
		return rc;
	size = atomic_load(&dev->size);
	if (size < v.size) {
		bd_close(dev);
		return err_set(err, -EIO,
			       "device '%.200s' has %" PRIu64 " bytes, and the storage system says "
			       "that the volume has %" PRIu64,
			       link, size, v.size);
	}
	*out = dev;
	return 0;
}

static int sdc_open(const struct uri *uri, const struct bd_env *env, struct bd **out,
		    struct err *err)
{
	return bd_file.open(uri, env, out, err);
}

static const char *const schemes[] = { "scaleio", NULL };

const struct bd_transport bd_scaleio = {
	.schemes = schemes,
	.uri_help = "scaleio:SYSTEM/VOLUME[?size=BYTES&wait=SECONDS&dir=PATH&drv_cfg=PATH]",
	.prepare = sdc_prepare,
	.open = sdc_open,
};
