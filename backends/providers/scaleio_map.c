/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_map.c - a volume and the one host that may use it
 *
 * A mapping is asked for with allowMultipleMappings FALSE, so the array itself decides who of two
 * hosts is first. The field allSdcs means every host of the system and is never sent. What the volume says
 * afterwards counts, not what the array answered to the call. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "backends/providers/scaleio_impl.h"

#define KIB 1024
#define MIB (1024 * 1024)
#define NGUID_VENDOR "64b94e"
#define NGUID_SYSTEM_DIGITS 10

/* --- who has it ------------------------------------------------------------ */

static void tell_holder(struct scaleio *s, const json_t *mapping, struct provider_mapping *out)
{
	struct sgw_host h;

	snprintf(out->holder, sizeof out->holder, "%s", sgw_mapping_name(mapping));
	snprintf(out->holder_nqn, sizeof out->holder_nqn, "%s", rest_text(mapping, "nqn"));
	out->holder_connected = true; /* until the array says otherwise */
	if (sgw_host_by_id(s, rest_text(mapping, "sdcId"), &h, NULL))
		return;
	snprintf(out->holder_guid, sizeof out->holder_guid, "%s", h.guid);
	if (*h.nqn)
		snprintf(out->holder_nqn, sizeof out->holder_nqn, "%s", h.nqn);
	out->holder_connected = h.connected;
}

/* The first mapping that is not the host's own; NULL. */
static const json_t *other_mapping(const struct sgw_volume *v, const struct sgw_host *h)
{
	const json_t *own = sgw_mapping_of(v, h);

	for (size_t i = 0; i < json_array_size(v->mapped); i++)
		if (json_array_get(v->mapped, i) != own)
			return json_array_get(v->mapped, i);
	return NULL;
}

/* 0: nobody but the host has it. */
static int check_alone(struct scaleio *s, const struct sgw_volume *v, const struct sgw_host *h,
		       struct provider_mapping *out, struct err *err)
{
	const json_t *other = other_mapping(v, h);

	if (v->to_all) {
		snprintf(out->holder, sizeof out->holder, "all hosts");
		out->holder_connected = true;
		return err_set(err, -EBUSY, "%s: the volume is mapped to all hosts", s->base.name);
	}
	if (!other)
		return 0;
	tell_holder(s, other, out);
	return err_set(err, -EBUSY, "%s: the volume is in use by %.100s", s->base.name,
		       out->holder);
}

/* --- single calls ---------------------------------------------------------- */

static int post_map(struct scaleio *s, const struct sgw_volume *v, const struct sgw_host *h,
		    enum sgw_fault *fault, struct err *err)
{
	return sgw_post(s, "map volume", true,
			json_pack("{s:s, s:s}", h->nvme ? "hostId" : "sdcId", h->id,
				  "allowMultipleMappings", "FALSE"),
			NULL, fault, err, "/api/instances/Volume::%s/action/%s", v->id,
			h->nvme ? "addMappedHost" : "addMappedSdc");
}

static int post_unmap(struct scaleio *s, const char *volume, const struct sgw_host *h,
		      struct err *err)
{
	enum sgw_fault fault;
	int rc = sgw_post(s, "unmap volume", true,
			  json_pack("{s:s}", h->nvme ? "hostId" : "sdcId", h->id), NULL, &fault,
			  err, "/api/instances/Volume::%s/action/%s", volume,
			  h->nvme ? "removeMappedHost" : "removeMappedSdc");

	if (fault == SGW_NOT_MAPPED || fault == SGW_ABSENT || fault == SGW_HOST_ABSENT)
		return 0;
	return rc;
}

/* Reads v again until the host has it, or has it no longer. */
static int confirm(struct scaleio *s, struct sgw_volume *v, const struct sgw_host *h, bool mapped,
		   struct err *err)
{
	for (unsigned n = 0; n < SGW_VISIBLE_TRIES; n++) {
		struct sgw_volume now = { .mapped = NULL };
		int rc;

		if (n)
			sgw_pause(n);
		rc = sgw_volume_by_id(s, v->id, &now, err);
		if (rc)
			return rc;
		sgw_volume_done(v);
		*v = now;
		if (!sgw_mapping_of(v, h) != mapped)
			return 0;
	}
	return err_set(err, -EAGAIN, "%s: the array does not confirm that the volume is %smapped",
		       s->base.name, mapped ? "" : "un");
}

/* --- limits ---------------------------------------------------------------- */

static bool limits_hold(const json_t *mapping, const struct sgw_plan *plan)
{
	uint64_t iops, mib;

	return rest_u64(json_object_get(mapping, "limitIops"), &iops) && iops == plan->iops &&
	       rest_u64(json_object_get(mapping, "limitBwInMbps"), &mib) &&
	       mib == plan->bandwidth / MIB;
}

static int set_limits(struct scaleio *s, const struct sgw_volume *v, const struct sgw_host *h,
		      const struct sgw_plan *plan, struct err *err)
{
	char iops[24], kib[24];

	if (h->nvme || (!plan->iops && !plan->bandwidth) || limits_hold(sgw_mapping_of(v, h), plan))
		return 0;
	snprintf(iops, sizeof iops, "%" PRIu64, plan->iops);
	snprintf(kib, sizeof kib, "%" PRIu64, plan->bandwidth / KIB);
	return sgw_post(s, "set limits", true,
			json_pack("{s:s, s:s, s:s}", "sdcId", h->id, "iopsLimit", iops,
				  "bandwidthLimitInKbps", kib),
			NULL, NULL, err, "/api/instances/Volume::%s/action/setMappedSdcLimits",
			v->id);
}

/* --- mapping --------------------------------------------------------------- */

static int check_host(struct scaleio *s, const struct sgw_host *h, const struct sgw_system *system,
		      const struct sgw_plan *plan, struct err *err)
{
	if (h->nvme) {
		if (plan->iops || plan->bandwidth)
			return err_set(err, -EINVAL,
				       "%s: the plan's limits are not to be had by NVMe hosts",
				       s->base.name);
		return 0;
	}
	if (system->restricted && !h->approved)
		return err_set(err, -EACCES, "%s: this host (SDC %s) is not approved at the array",
			       s->base.name, h->guid);
	if (!h->connected)
		return err_set(err, -EAGAIN,
			       "%s: this host (SDC %s) has no connection to the array",
			       s->base.name, h->guid);
	return 0;
}

/* Adds the host; v is what the volume says then. */
static int add_host(struct scaleio *s, struct sgw_volume *v, const struct sgw_host *h,
		    struct provider_mapping *out, struct err *err)
{
	enum sgw_fault fault;
	int rc = post_map(s, v, h, &fault, err);
	bool other = fault == SGW_MAPPED_OTHER || fault == SGW_MAPPED_ALL;
	struct sgw_volume now = { .mapped = NULL };

	if (rc && !other && fault != SGW_MAPPED_HERE)
		return rc;
	if (!other)
		rc = confirm(s, v, h, true, err);
	else if (!sgw_volume_by_id(s, v->id, &now, NULL)) {
		sgw_volume_done(v);
		*v = now;
	}
	if (rc && !other)
		return rc;
	if (check_alone(s, v, h, out, err)) {
		if (sgw_mapping_of(v, h)) /* both of two are in: this one gives way */
			post_unmap(s, v->id, h, NULL);
		return -EBUSY;
	}
	if (!other)
		return 0;
	/* The other has gone meanwhile. */
	return err_set(err, -EAGAIN, "%s: the volume was in use by another host", s->base.name);
}

static void tell_device(const struct sgw_system *system, const struct sgw_volume *v,
			const struct sgw_host *h, struct provider_mapping *out)
{
	size_t n = strlen(system->id);

	out->size = v->size;
	if (h->nvme)
		snprintf(out->device, sizeof out->device,
			 "/dev/disk/by-id/nvme-eui.%s" NGUID_VENDOR "%s", v->id,
			 n > NGUID_SYSTEM_DIGITS ? system->id + n - NGUID_SYSTEM_DIGITS :
						   system->id);
	else
		snprintf(out->device, sizeof out->device, "/dev/disk/by-id/emc-vol-%s-%s",
			 system->id, v->id);
}

static int map_to(struct scaleio *s, struct sgw_volume *v, const struct sgw_host *h,
		  const struct sgw_plan *plan, struct provider_mapping *out, struct err *err)
{
	struct sgw_system system;
	int rc = sgw_system_get(s, false, &system, err);

	rc = rc ? rc : check_alone(s, v, h, out, err);
	if (rc)
		return rc;
	out->was_mapped = sgw_mapping_of(v, h);
	if (!out->was_mapped) {
		rc = check_host(s, h, &system, plan, err);
		rc = rc ? rc : add_host(s, v, h, out, err);
	}
	if (rc)
		return rc;
	rc = set_limits(s, v, h, plan, err);
	if (rc && !out->was_mapped)
		post_unmap(s, v->id, h, NULL);
	if (!rc)
		tell_device(&system, v, h, out);
	return rc;
}

int scaleio_map(struct provider *p, const struct provider_ref *ref,
		const struct provider_host *host, struct provider_mapping *out, struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	struct sgw_volume v = { .mapped = NULL };
	struct sgw_plan plan;
	struct sgw_host h;
	int rc = sgw_plan_read(ref->plan, &plan, err);

	memset(out, 0, sizeof *out);
	if (rc)
		return rc;
	rc = sgw_host_find(s, host, &h, err);
	if (rc == -ENOENT)
		rc = -EINVAL; /* -ENOENT is the volume's */
	if (!rc)
		rc = sgw_volume_find(s, ref, &v, err);
	if (!rc) {
		rc = map_to(s, &v, &h, &plan, out, err);
		sgw_volume_done(&v);
	}
	sgw_plan_done(&plan);
	if (rc == -EBUSY && !*out->holder) { /* the array says so, but not of whom */
		snprintf(out->holder, sizeof out->holder, "another host");
		out->holder_connected = true;
	}
	return rc;
}

int scaleio_unmap(struct provider *p, const struct provider_ref *ref,
		  const struct provider_host *host, struct err *err)
{
	struct scaleio *s = scaleio_of(p);
	struct sgw_volume v = { .mapped = NULL };
	struct sgw_host h;
	int rc = sgw_volume_find(s, ref, &v, err);

	if (rc)
		return rc == -ENOENT ? 0 : rc;
	if (json_array_size(v.mapped)) {
		rc = sgw_host_find(s, host, &h, err);
		if (!rc && sgw_mapping_of(&v, &h)) {
			rc = post_unmap(s, v.id, &h, err);
			rc = rc ? rc : confirm(s, &v, &h, false, err);
		}
		if (rc == -ENOENT) /* the host, or the volume, has gone, and the mapping with it */
			rc = 0;
	}
	sgw_volume_done(&v);
	return rc;
}
