/* SPDX-License-Identifier: Apache-2.0 */
/* tls.h - a self-signed certificate for a simulator, as arrays have one out of the box */
#ifndef TOOLS_SIM_TLS_H
#define TOOLS_SIM_TLS_H

#include "common/err.h"

#define TLS_DAYS 3650

/* Key and certificate (for address, 127.0.0.1, ::1 and localhost), as PEM, the caller's. address may be NULL.
 * The certificate is its own authority: clients give it as their CA. */
int tls_make(const char *address, char **cert, char **key, struct err *err);
/* The same as files; both that are there already stay, so that a restart keeps what clients trust.
 * The key is readable by its owner only. */
int tls_make_files(const char *address, const char *cert_path, const char *key_path,
		   struct err *err);

#endif
