/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/config.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "common/cleanup.h"
#include "common/jsonconf.h"
#include "common/sdc.h"
#include "tools/driver/attach.h"
#include "tools/driver/device.h"
#include "tools/driver/source.h"

#define MIB (1024ULL * 1024)
#define HOUR_MS (3600ULL * 1000)
#define BUDGET_MEMORY_SHARE 4 /* a quarter of memory, when nothing is said */
#define ROOT_PATH_MAX 3800    /* a name and a slash have to fit behind it */
#define STATE_NAME "driver-state.json"

const char *const config_scopes[] = { "local", "global", NULL };
static const char *const levels[] = { "error", "warn", "info", "debug", NULL };

static const char *const default_listen[] = { "unix:/run/docker/plugins/persifs.sock",
					      "tcp:127.0.0.1:7589" };
static const char *const default_sources[] = { "nfs://" };
static const char *const default_options[] = {
	"cache_size",    "page_size", "dirty_background", "dirty_limit",   "dirty_age",
	"readahead_max", "policy",    "attr_timeout",     "entry_timeout", "negative_timeout"
};

#define AT(member) offsetof(struct config, member)
#define TEXT(name, member, dflt, help)                                            \
	{                                                                         \
		name, OPT_STRING, NULL, AT(member), 0, 0, dflt, NULL, help, false \
	}

const struct opt_def config_table[] = {
	TEXT("admin", admin, "127.0.0.1:7590",
	     "address and port of /ping, /health, /metrics, /evacuate"),
	TEXT("mount_root", mount_root, "/var/lib/persifs/volumes", "folder of the mountpoints"),
	TEXT("discovery", discovery, NULL,
	     "folder for persifs.json or persifs.spec; none: not written"),
	TEXT("state", state, NULL, "state file; default driver-state.json in mount_root"),
	TEXT("persifs", persifs, NULL, "the program; default beside the driver's, else in PATH"),
	TEXT("mount_defaults", mount_defaults, NULL,
	     "options of every mount, as persifs mount -o takes them"),
	{ "mount_timeout", OPT_TIME, "seconds", AT(mount_timeout), 1000, HOUR_MS, "60", NULL,
	  "after this a mount has failed", false },
	{ "unmount_wait", OPT_TIME, "seconds", AT(unmount_wait), 0, HOUR_MS, "10", NULL,
	  "how long an unmount waits for data to be written; the daemon goes on afterwards",
	  false },
	{ "evacuate_timeout", OPT_TIME, "seconds", AT(evacuate_timeout), 1000, 24 * HOUR_MS, "600",
	  NULL, "limit of /evacuate", false },
	{ "budget", OPT_SIZE, "bytes", AT(budget), 0, 0, "0", NULL,
	  "memory for all caches together; 0: a quarter of the machine's", false },
	{ "block_wait", OPT_TIME, "seconds", AT(block_wait), 0, HOUR_MS, "60", NULL,
	  "how long a mount waits for another cell to let go of a block volume, within mount_timeout",
	  false },
	{ "device_wait", OPT_TIME, "seconds", AT(device_wait), 100, HOUR_MS, "30", NULL,
	  "how long the device of a mapped volume may take to appear or go", false },
	TEXT("device_dir", device_dir, SDC_BY_ID, "folder of the links by which devices are found"),
	TEXT("mkfs", mkfs, "mkfs.ext4", "program that makes the file system of a new volume"),
	TEXT("fence", fence, "never",
	     "never, or disconnected:SECONDS: when a volume is taken from a dead cell"),
	TEXT("cell.sdc_guid", cell_sdc_guid, NULL, "this machine to ScaleIO; default asks drv_cfg"),
	TEXT("cell.drv_cfg", cell_drv_cfg, SDC_DRV_CFG, "program that knows the SDC's GUID"),
	TEXT("cell.nqn", cell_nqn, NULL, "this machine as an NVMe host; default " CELL_HOSTNQN),
	TEXT("cell.address", cell_address, NULL,
	     "this machine to a file server; default the address used towards it"),
	{ "scope", OPT_ENUM, NULL, AT(scope), 0, 0, "local", config_scopes,
	  "what Docker is told: global when a volume made on one node exists on all", false },
	{ "log_level", OPT_ENUM, NULL, AT(log_level), 0, 0, "info", levels,
	  "least important message logged", false },
	TEXT("tls.cert", tls_cert, NULL,
	     "server certificate (PEM); with it all tcp listeners speak TLS"),
	TEXT("tls.key", tls_key, NULL, "its key"),
	TEXT("tls.client_ca", tls_client_ca, NULL, "clients must show a certificate signed by it"),
	TEXT("tls.discovery_ca", tls_discovery_ca, NULL,
	     "named in the discovery file: checks the driver"),
	TEXT("tls.discovery_cert", tls_discovery_cert, NULL,
	     "named there: the client's certificate"),
	TEXT("tls.discovery_key", tls_discovery_key, NULL, "named there: the client's key"),
	TEXT("ldap.uri", ldap_uri, NULL, "directory that username and password are looked up in"),
	TEXT("ldap.base", ldap_base, NULL, "where users are searched"),
	TEXT("ldap.user_attr", ldap_user_attr, "uid", "attribute that holds the user name"),
	TEXT("ldap.bind_dn", ldap_bind_dn, NULL, "who searches; none: anonymous"),
	TEXT("ldap.bind_password_file", ldap_bind_password_file, NULL,
	     "file with the password of bind_dn"),
	TEXT("ldap.ca", ldap_ca, NULL, "certificates (PEM) that the directory's is checked with"),
	{ "ldap.start_tls", OPT_BOOL, NULL, AT(ldap_start_tls), 0, 0, "no", NULL,
	  "begin TLS on a connection to ldap://", false },
	{ 0 },
};

/* --- lists ----------------------------------------------------------------- */

static void list_free(char **list, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(list[i]);
	free(list);
}

static int list_copy(const char *const *from, size_t n, char ***list, size_t *count)
{
	char **copy = calloc(n + 1, sizeof *copy);

	if (!copy)
		return -ENOMEM;
	for (size_t i = 0; i < n; i++) {
		copy[i] = strdup(from[i]);
		if (!copy[i]) {
			list_free(copy, i);
			return -ENOMEM;
		}
	}
	list_free(*list, *count);
	*list = copy;
	*count = n;
	return 0;
}

int config_add_listen(struct config *c, const char *text, struct err *err)
{
	struct listen_addr addr;

	if (listen_parse(text, &addr, err))
		return -EINVAL;
	if (c->nlisten == CONFIG_LISTEN_MAX)
		return err_set(err, -EINVAL, "listen: at most %d addresses", CONFIG_LISTEN_MAX);
	c->listen[c->nlisten] = strdup(text);
	if (!c->listen[c->nlisten])
		return err_set(err, -ENOMEM, "out of memory");
	c->nlisten++;
	return 0;
}

void config_clear_listen(struct config *c)
{
	while (c->nlisten)
		free(c->listen[--c->nlisten]);
}

/* --- the file -------------------------------------------------------------- */

static int load_list(const char *path, const char *key, const json_t *value, char ***list,
		     size_t *count, struct err *err)
{
	const char *items[CONFIG_LIST_MAX];
	size_t n = json_array_size(value);

	if (!json_is_array(value) || n > CONFIG_LIST_MAX)
		return jsonconf_bad(err, path, key, "want a list of at most 256 strings");
	for (size_t i = 0; i < n; i++) {
		items[i] = json_string_value(json_array_get(value, i));
		if (!items[i])
			return jsonconf_bad(err, path, key, "want a list of strings");
	}
	if (list_copy(items, n, list, count))
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

static int load_listen(struct config *c, const char *path, const json_t *value, struct err *err)
{
	struct err why;
	size_t i;
	const json_t *item;

	if (!json_array_size(value))
		return jsonconf_bad(err, path, "listen", "want a list of one string or more");
	config_clear_listen(c);
	json_array_foreach((json_t *)value, i, item) {
		if (!json_is_string(item))
			return jsonconf_bad(err, path, "listen", "want a list of strings");
		if (config_add_listen(c, json_string_value(item), &why))
			return jsonconf_bad(err, path, "listen", why.text);
	}
	return 0;
}

/* What is in them, the providers check when they are opened. */
static int load_providers(struct config *c, const char *path, json_t *value, struct err *err)
{
	const char *name;
	json_t *one;

	if (!json_is_object(value))
		return jsonconf_bad(err, path, "providers", "want an object");
	json_object_foreach(value, name, one) {
		if (!*name || strlen(name) > CONFIG_PROVIDER_NAME_MAX ||
		    strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				 "0123456789_.-") != strlen(name))
			return jsonconf_bad(err, path, "providers",
					    "a name is 1 to 63 letters, digits, '_', '.' or '-'");
		if (!json_is_object(one))
			return jsonconf_bad(err, path, "providers", "want an object for each name");
	}
	json_decref(c->providers);
	c->providers = json_incref(value);
	return 0;
}

static int load_key(struct config *c, const char *path, const char *key, json_t *value,
		    struct err *err)
{
	if (!strcmp(key, "listen"))
		return load_listen(c, path, value, err);
	if (!strcmp(key, "sources"))
		return load_list(path, key, value, &c->sources, &c->nsources, err);
	if (!strcmp(key, "allowed_options"))
		return load_list(path, key, value, &c->allowed_options, &c->nallowed_options, err);
	if (!strcmp(key, "providers"))
		return load_providers(c, path, value, err);
	if (!strcmp(key, "tls") || !strcmp(key, "ldap") || !strcmp(key, "cell"))
		return jsonconf_inner(config_table, c, key, value, path, err);
	if (strchr(key, '.'))
		return jsonconf_bad(err, path, key, "is not known");
	return jsonconf_scalar(config_table, c, key, value, path, key, err);
}

int config_load(struct config *c, const char *path, struct err *err)
{
	json_t *all, *value;
	const char *key;
	int rc = jsonconf_read(path, &all, err);

	if (rc)
		return rc;
	free(c->file);
	c->file = strdup(path);
	json_object_foreach(all, key, value) {
		rc = load_key(c, path, key, value, err);
		if (rc)
			break;
	}
	json_decref(all);
	return rc;
}

/* --- the whole ------------------------------------------------------------- */

int config_defaults(struct config *c)
{
	int rc = opt_defaults(config_table, c);

	c->file = NULL;
	c->providers = NULL;
	c->nlisten = c->nsources = c->nallowed_options = 0;
	c->sources = c->allowed_options = NULL;
	if (!rc)
		rc = list_copy(default_sources, ARRAY_LEN(default_sources), &c->sources,
			       &c->nsources);
	if (!rc)
		rc = list_copy(default_options, ARRAY_LEN(default_options), &c->allowed_options,
			       &c->nallowed_options);
	return rc;
}

void config_done(struct config *c)
{
	opt_done(config_table, c);
	config_clear_listen(c);
	free(c->file);
	c->file = NULL;
	json_decref(c->providers);
	c->providers = NULL;
	list_free(c->sources, c->nsources);
	list_free(c->allowed_options, c->nallowed_options);
	c->sources = c->allowed_options = NULL;
	c->nsources = c->nallowed_options = 0;
}

static uint64_t quarter_of_memory(void)
{
	struct sysinfo si;

	if (sysinfo(&si))
		return 512 * MIB;
	return (uint64_t)si.totalram * si.mem_unit / BUDGET_MEMORY_SHARE;
}

static int fill_in(struct config *c, struct err *err)
{
	bool listens = c->nlisten > 0;
	char *state;

	for (size_t i = 0; !listens && i < ARRAY_LEN(default_listen); i++)
		if (config_add_listen(c, default_listen[i], err))
			return -EINVAL;
	if (!c->budget)
		c->budget = quarter_of_memory();
	if (c->state)
		return 0;
	if (asprintf(&state, "%s/" STATE_NAME, c->mount_root) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	c->state = state;
	return 0;
}

int config_admin_addr(const struct config *c, struct listen_addr *out, struct err *err)
{
	char text[128];

	snprintf(text, sizeof text, "tcp:%s", c->admin);
	return listen_parse(text, out, err);
}

static int check_addresses(const struct config *c, struct err *err)
{
	struct listen_addr a;

	for (size_t i = 0; i < c->nlisten; i++) {
		if (listen_parse(c->listen[i], &a, err))
			return -EINVAL;
		/* Whoever reaches the driver mounts as root. */
		if (!a.is_loopback && !c->tls_client_ca)
			return err_set(
				err, -EINVAL,
				"listen %s: an address beyond this machine wants tls.client_ca",
				c->listen[i]);
	}
	if (config_admin_addr(c, &a, err))
		return -EINVAL;
	if (!a.is_loopback && !c->tls_client_ca)
		return err_set(err, -EINVAL,
			       "admin %s: an address beyond this machine wants tls.client_ca",
			       c->admin);
	return 0;
}

static int check_paths(const struct config *c, struct err *err)
{
	const char *const paths[][2] = { { "mount_root", c->mount_root },
					 { "device_dir", c->device_dir },
					 { "state", c->state },
					 { "discovery", c->discovery } };

	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		const char *p = paths[i][1];

		if (p && (p[0] != '/' || !p[1] || strlen(p) > ROOT_PATH_MAX))
			return err_set(err, -EINVAL,
				       "%s '%.200s': want an absolute path of at most %d bytes",
				       paths[i][0], p, ROOT_PATH_MAX);
	}
	return 0;
}

static int check_lists(const struct config *c, struct err *err)
{
	struct err why;

	for (size_t i = 0; i < c->nsources; i++)
		if (source_check_prefix(c->sources[i], &why))
			return err_set(err, -EINVAL, "sources: %.400s", why.text);
	for (size_t i = 0; i < c->nallowed_options; i++) {
		const char *name = c->allowed_options[i];

		if (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyz_") != strlen(name))
			return err_set(err, -EINVAL,
				       "allowed_options: '%.100s' is no name of an option", name);
	}
	return 0;
}

static int check_pairs(const struct config *c, struct err *err)
{
	if (!c->tls_cert != !c->tls_key)
		return err_set(err, -EINVAL, "tls.%s: wants tls.%s beside it",
			       c->tls_cert ? "cert" : "key", c->tls_cert ? "key" : "cert");
	if (c->tls_client_ca && !c->tls_cert)
		return err_set(err, -EINVAL, "tls.client_ca: wants tls.cert and tls.key beside it");
	if (c->ldap_uri && strncmp(c->ldap_uri, "ldap://", 7) &&
	    strncmp(c->ldap_uri, "ldaps://", 8))
		return err_set(err, -EINVAL, "ldap.uri '%.200s': want ldap:// or ldaps://",
			       c->ldap_uri);
	if (c->ldap_uri && !c->ldap_base)
		return err_set(err, -EINVAL, "ldap.uri: wants ldap.base beside it");
	if (c->ldap_bind_dn && !c->ldap_bind_password_file)
		return err_set(err, -EINVAL,
			       "ldap.bind_dn: wants ldap.bind_password_file beside it");
	return 0;
}

/* What is wrong with a key that no option of the command line sets: it stands in the file. */
static int blame_file(const struct config *c, const struct err *why, struct err *err)
{
	return err_set(err, -EINVAL, "%.150s%s%.340s", c->file ? c->file : "", c->file ? ": " : "",
		       why->text);
}

int config_check_files(const struct config *c, struct err *err)
{
	const char *const files[][2] = { { "tls.cert", c->tls_cert },
					 { "tls.key", c->tls_key },
					 { "tls.client_ca", c->tls_client_ca },
					 { "ldap.ca", c->ldap_ca },
					 { "ldap.bind_password_file",
					   c->ldap_bind_password_file } };
	struct err why;

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		if (!files[i][1] || !access(files[i][1], R_OK))
			continue;
		err_set(&why, -EINVAL, "%s '%.200s': %s", files[i][0], files[i][1],
			strerror(errno));
		return blame_file(c, &why, err);
	}
	return 0;
}

int config_check(struct config *c, struct err *err)
{
	struct err why;
	unsigned fence_s;
	bool fence;

	if (!c->mount_root || !c->admin)
		return err_set(err, -EINVAL, "%s: may not be empty",
			       c->mount_root ? "admin" : "mount_root");
	if (!c->device_dir || !c->mkfs || !c->fence)
		return err_set(err, -EINVAL, "%s: may not be empty",
			       !c->device_dir ? "device_dir" :
			       !c->mkfs       ? "mkfs" :
						"fence");
	if (attach_parse_fence(c->fence, &fence, &fence_s, &why))
		return blame_file(c, &why, err);
	if (check_lists(c, &why) || check_pairs(c, &why))
		return blame_file(c, &why, err);
	return fill_in(c, err) || check_paths(c, err) || check_addresses(c, err) ? -EINVAL : 0;
}
