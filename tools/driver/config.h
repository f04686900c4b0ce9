/* SPDX-License-Identifier: Apache-2.0 */
/* config.h - how the driver is set up: one JSON file, and options for the common keys
 *
 * Read once, before anything is started; then read only. Scalars are one option table
 * (common/opt.h), a row for each key of the file, those of an inner object as "tls.cert". */
#ifndef TOOLS_DRIVER_CONFIG_H
#define TOOLS_DRIVER_CONFIG_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/err.h"
#include "common/listen.h"
#include "common/opt.h"

#define CONFIG_LISTEN_MAX 8
#define CONFIG_PROVIDER_NAME_MAX 63
#define CONFIG_LIST_MAX 256 /* entries of sources or allowed_options */

struct config {
	/* the table's */
	char *admin, *mount_root, *discovery, *state, *persifs, *mount_defaults;
	char *tls_cert, *tls_key, *tls_client_ca;
	char *tls_discovery_ca, *tls_discovery_cert, *tls_discovery_key;
	char *ldap_uri, *ldap_base, *ldap_user_attr, *ldap_bind_dn, *ldap_bind_password_file,
		*ldap_ca;
	bool ldap_start_tls;
	uint64_t mount_timeout, unmount_wait, evacuate_timeout; /* ms */
	uint64_t budget;                                        /* bytes; 0: a quarter of memory */
	/* of volumes of arrays */
	char *device_dir, *mkfs, *fence;
	char *cell_sdc_guid, *cell_drv_cfg, *cell_nqn, *cell_address;
	uint64_t block_wait, device_wait; /* ms */
	json_t *providers;                /* object with secrets, owned; NULL: none */
	unsigned scope, log_level;
	char *file; /* that it was read from, for what is wrong with its keys; owned */
	/* lists; owned */
	char *listen[CONFIG_LISTEN_MAX];
	size_t nlisten;
	char **sources, **allowed_options;
	size_t nsources, nallowed_options;
};

extern const struct opt_def config_table[];
extern const char *const config_scopes[];

int config_defaults(struct config *c);
/* -EINVAL with file, line (of bad syntax) and key. */
int config_load(struct config *c, const char *path, struct err *err);
/* After file and command line: fills in what depends on other keys, and checks the whole. */
int config_check(struct config *c, struct err *err);
/* Of the files that the keys name: each can be read. */
int config_check_files(const struct config *c, struct err *err);
int config_add_listen(struct config *c, const char *text, struct err *err);
void config_clear_listen(struct config *c);
void config_done(struct config *c);

/* "addr:port" of the admin key as an address. */
int config_admin_addr(const struct config *c, struct listen_addr *out, struct err *err);

#endif
