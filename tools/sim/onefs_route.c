/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_route.c - what the platform API has, and from which version on */
#include <string.h>

#include "common/cleanup.h"
#include "tools/sim/onefs_impl.h"

#define EXPORTS "protocols/nfs/exports"
#define ALIASES "protocols/nfs/aliases"
#define QUOTAS "quota/quotas"
#define SNAPS "snapshot/snapshots"
#define FORCE \
	" zone force ignore_unresolvable_hosts ignore_bad_paths ignore_bad_auth ignore_conflicts "
#define PAGED " limit resume sort dir zone "

static const struct onefs_route routes[] = {
	{ "GET", "cluster/config", 1, " ", NULL, onefs_config, NULL },
	{ "GET", "cluster/version", 12, " ", NULL, onefs_version, NULL },
	{ "GET", "zones", 1, PAGED, "ISI_PRIV_AUTH_ZONES", onefs_zone_list, NULL },
	{ "GET", "zones/*", 1, " ", "ISI_PRIV_AUTH_ZONES", onefs_zone_list, NULL },
	{ "GET", "network/pools", 3, " access_zone groupnet subnet alloc_method" PAGED,
	  "ISI_PRIV_NETWORK", onefs_pool_list, NULL },
	{ "GET", "license/licenses", 1, " ", "ISI_PRIV_LICENSE", onefs_licence_list, NULL },
	{ "GET", "license/licenses/*", 1, " ", "ISI_PRIV_LICENSE", onefs_licence, NULL },
	{ "GET", "statistics/current", 1, " key keys devid degraded timeout raw substr nodes ",
	  "ISI_PRIV_STATISTICS", onefs_stats, NULL },

	{ "GET", EXPORTS, 1, " path check scope offset" PAGED, "ISI_PRIV_NFS", onefs_exports_get,
	  NULL },
	{ "POST", EXPORTS, 1, FORCE, "ISI_PRIV_NFS", onefs_exports_post, NULL },
	{ "GET", EXPORTS "/*", 1, " scope zone ", "ISI_PRIV_NFS", onefs_export_get, NULL },
	{ "PUT", EXPORTS "/*", 1, FORCE, "ISI_PRIV_NFS", onefs_export_put, NULL },
	{ "DELETE", EXPORTS "/*", 1, " zone ", "ISI_PRIV_NFS", onefs_export_delete, NULL },
	{ "GET", "protocols/nfs/exports-summary", 2, " zone ", "ISI_PRIV_NFS",
	  onefs_exports_summary, NULL },
	{ "GET", "protocols/nfs/settings/export", 1, " zone scope ", "ISI_PRIV_NFS",
	  onefs_export_defaults, NULL },
	{ "GET", ALIASES, 2, " check" PAGED, "ISI_PRIV_NFS", onefs_aliases_get, NULL },
	{ "POST", ALIASES, 2, " zone force ", "ISI_PRIV_NFS", onefs_aliases_post, NULL },
	{ "GET", ALIASES "/*", 2, " zone check scope ", "ISI_PRIV_NFS", onefs_alias_get, NULL },
	{ "PUT", ALIASES "/*", 2, " zone force ", "ISI_PRIV_NFS", onefs_alias_put, NULL },
	{ "DELETE", ALIASES "/*", 2, " zone ", "ISI_PRIV_NFS", onefs_alias_delete, NULL },
	{ "GET", "protocols/nfs/settings/global", 2, " ", "ISI_PRIV_NFS", onefs_global_get, NULL },
	{ "PUT", "protocols/nfs/settings/global", 2, " ", "ISI_PRIV_NFS", onefs_global_put, NULL },
	{ "GET", "protocols/nfs/settings/zone", 2, " zone ", "ISI_PRIV_NFS", onefs_zoneset_get,
	  NULL },
	{ "PUT", "protocols/nfs/settings/zone", 2, " zone ", "ISI_PRIV_NFS", onefs_zoneset_put,
	  NULL },

	{ "GET", QUOTAS, 1,
	  " path type recurse_path_children recurse_path_parents enforced exceeded persona "
	  "include_snapshots report_id" PAGED,
	  "ISI_PRIV_QUOTA", onefs_quotas_get, onefs_quota_usage },
	{ "POST", QUOTAS, 1, " zone ", "ISI_PRIV_QUOTA", onefs_quotas_post, NULL },
	{ "DELETE", QUOTAS, 1,
	  " path type recurse_path_children recurse_path_parents enforced persona "
	  "include_snapshots zone ",
	  "ISI_PRIV_QUOTA", onefs_quotas_delete, NULL },
	{ "GET", QUOTAS "/*", 1, " resolve_names zone ", "ISI_PRIV_QUOTA", onefs_quota_get,
	  onefs_quota_usage },
	{ "PUT", QUOTAS "/*", 1, " zone ", "ISI_PRIV_QUOTA", onefs_quota_put, NULL },
	{ "DELETE", QUOTAS "/*", 1, " zone ", "ISI_PRIV_QUOTA", onefs_quota_delete, NULL },

	{ "GET", SNAPS, 1, " state schedule type" PAGED, "ISI_PRIV_SNAPSHOT", onefs_snaps_get,
	  NULL },
	{ "POST", SNAPS, 1, " zone ", "ISI_PRIV_SNAPSHOT", onefs_snaps_post, onefs_snap_copy },
	{ "GET", SNAPS "/*", 1, " ", "ISI_PRIV_SNAPSHOT", onefs_snap_get, NULL },
	{ "PUT", SNAPS "/*", 1, " ", "ISI_PRIV_SNAPSHOT", onefs_snap_put, NULL },
	{ "DELETE", SNAPS "/*", 1, " ", "ISI_PRIV_SNAPSHOT", onefs_snap_delete, onefs_snap_drop },
};

static bool matches(const char *pattern, const char *rest, char key[128])
{
	size_t n = strlen(pattern);

	key[0] = '\0';
	if (pattern[n - 1] != '*')
		return !strcmp(pattern, rest);
	n--;
	if (strncmp(pattern, rest, n) != 0 || !rest[n] || strlen(rest + n) > 127)
		return false;
	/* The name of an alias begins with a slash, and comes decoded. */
	if (strchr(rest + n + 1, '/') && strncmp(pattern, ALIASES, strlen(ALIASES)) != 0)
		return false;
	strcpy(key, rest + n);
	return true;
}

const struct onefs_route *onefs_find_route(const char *method, const char *rest, char key[128],
					   bool *known)
{
	const struct onefs_route *found = NULL;
	char k[128];

	*known = false;
	for (size_t i = 0; i < ARRAY_LEN(routes) && !found; i++) {
		if (!matches(routes[i].pattern, rest, k))
			continue;
		*known = true;
		if (strcmp(routes[i].method, method) != 0)
			continue;
		strcpy(key, k);
		found = &routes[i];
	}
	return found;
}
