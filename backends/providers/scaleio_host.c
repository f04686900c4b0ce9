/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_host.c - machines as the array knows them: SDCs by GUID, NVMe hosts by NQN */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "backends/providers/scaleio_impl.h"

#define NVME_HOST "NVMeHost"
#define VERSION_NVME 4

static void copy_text(char *out, size_t cap, const json_t *object, const char *key)
{
	const char *text = rest_text(object, key);

	out[0] = '\0';
	if (strlen(text) < cap)
		snprintf(out, cap, "%s", text);
}

static bool take_host(const json_t *object, struct sgw_host *out)
{
	const char *id = rest_text(object, "id");

	if (!sgw_is_id(id))
		return false;
	memset(out, 0, sizeof *out);
	snprintf(out->id, sizeof out->id, "%s", id);
	copy_text(out->name, sizeof out->name, object, "name");
	copy_text(out->guid, sizeof out->guid, object, "sdcGuid");
	copy_text(out->address, sizeof out->address, object, "sdcIp");
	copy_text(out->nqn, sizeof out->nqn, object, "nqn");
	out->nvme = !strcasecmp(rest_text(object, "hostType"), NVME_HOST) || *out->nqn;
	out->approved = !json_is_false(json_object_get(object, "sdcApproved"));
	/* A state that is not told is no reason to take a volume from anybody. */
	out->connected = !*rest_text(object, "mdmConnectionState") ||
			 !strcasecmp(rest_text(object, "mdmConnectionState"), "Connected");
	return true;
}

static bool is_wanted(const struct sgw_host *h, const struct provider_host *want, const char *id)
{
	if (id || !want)
		return id && !strcasecmp(h->id, id);
	if (want->sdc_guid)
		return *h->guid && !strcasecmp(h->guid, want->sdc_guid);
	return *h->nqn && !strcmp(h->nqn, want->nqn);
}

/* In a list of hosts; -ENOENT. */
static int search(struct scaleio *s, const char *type, const struct provider_host *want,
		  const char *id, struct sgw_host *out, enum sgw_fault *fault, struct err *err)
{
	json_t *list = NULL;
	int rc = sgw_get(s, "list hosts", &list, fault, err, "/api/types/%s/instances", type);

	if (rc)
		return rc;
	rc = -ENOENT;
	for (size_t i = 0; rc && i < json_array_size(list); i++)
		if (take_host(json_array_get(list, i), out) && is_wanted(out, want, id))
			rc = 0;
	json_decref(list);
	return rc;
}

static int find_nvme(struct scaleio *s, const struct provider_host *want, struct sgw_host *out,
		     struct err *err)
{
	struct sgw_version version;
	enum sgw_fault fault = SGW_OK;
	int rc = sgw_version_of(s, &version, err);

	if (rc)
		return rc;
	if (version.major < VERSION_NVME)
		return err_set(err, -EOPNOTSUPP, "%s: version %u.%u of the array has no NVMe hosts",
			       s->base.name, version.major, version.minor);
	rc = search(s, "Host", want, NULL, out, &fault, err);
	if (rc == -ENOENT || fault == SGW_NO_ROUTE)
		rc = search(s, "Sdc", want, NULL, out, &fault, err);
	out->nvme = true;
	return rc;
}

int sgw_host_find(struct scaleio *s, const struct provider_host *want, struct sgw_host *out,
		  struct err *err)
{
	int rc;

	if (!want->sdc_guid && !want->nqn)
		return err_set(err, -EINVAL, "%s: want the host's SDC GUID or NQN", s->base.name);
	rc = want->sdc_guid ? search(s, "Sdc", want, NULL, out, NULL, err) :
			      find_nvme(s, want, out, err);
	if (rc == -ENOENT)
		err_set(err, rc, "%s: the array knows no host with %s %.120s", s->base.name,
			want->sdc_guid ? "SDC GUID" : "NQN",
			want->sdc_guid ? want->sdc_guid : want->nqn);
	return rc;
}

int sgw_host_by_id(struct scaleio *s, const char *id, struct sgw_host *out, struct err *err)
{
	return search(s, "Sdc", NULL, id, out, NULL, err);
}

const json_t *sgw_mapping_of(const struct sgw_volume *v, const struct sgw_host *h)
{
	for (size_t i = 0; i < json_array_size(v->mapped); i++) {
		const json_t *m = json_array_get(v->mapped, i);

		if (!strcasecmp(rest_text(m, "sdcId"), h->id) ||
		    !strcasecmp(rest_text(m, "hostId"), h->id) ||
		    (*h->nqn && !strcmp(rest_text(m, "nqn"), h->nqn)))
			return m;
	}
	return NULL;
}

const char *sgw_mapping_name(const json_t *mapping)
{
	static const char *const keys[] = { "sdcName", "sdcIp", "nqn", "sdcId", NULL };

	for (size_t i = 0; keys[i]; i++)
		if (*rest_text(mapping, keys[i]))
			return rest_text(mapping, keys[i]);
	return "a host without a name";
}
