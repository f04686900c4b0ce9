/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/driver/cell.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/log.h"
#include "common/sdc.h"
#include "common/uri.h"

/* No SDC is no news: a cell may have arrays without one. */
static void ask_sdc(const char *drv_cfg, char *out)
{
	const struct sdc_host host = { .drv_cfg = drv_cfg };
	struct err err;
	int rc = sdc_guid(&host, NULL, out, &err);

	if (rc && rc != -ENOENT)
		log_warn("driver: GUID of the SDC: %s", err.text);
}

static void read_line(const char *path, char *out, size_t cap)
{
	FILE *in = fopen(path, "re");

	if (in && !fgets(out, (int)cap, in))
		*out = '\0';
	if (in)
		fclose(in);
	for (size_t n = strlen(out); n && isspace((unsigned char)out[n - 1]); n--)
		out[n - 1] = '\0';
}

static const char *first_url(const json_t *array)
{
	const json_t *url = json_object_get(array, "url");

	if (!url)
		url = json_object_get(array, "urls");
	return json_string_value(json_is_array(url) ? json_array_get(url, 0) : url);
}

/* The address that the kernel would send from: a datagram socket connects without a word on the wire. */
static void address_towards(const char *url, char *out, size_t cap)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_DGRAM };
	AUTO_FREE struct uri *u = malloc(sizeof *u);
	struct addrinfo *found = NULL;
	struct sockaddr_storage own;
	socklen_t len = sizeof own;
	AUTO_FD int fd = -1;

	if (!u || uri_parse(url, u, NULL) || getaddrinfo(u->host, "443", &hints, &found) || !found)
		return;
	fd = socket(found->ai_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) ||
	    getsockname(fd, (struct sockaddr *)&own, &len) ||
	    getnameinfo((struct sockaddr *)&own, len, out, (socklen_t)cap, NULL, 0, NI_NUMERICHOST))
		*out = '\0';
	freeaddrinfo(found);
}

void cell_find(const struct cell_config *c, const json_t *array, struct cell *out)
{
	const char *url = first_url(array);

	memset(out, 0, sizeof *out);
	if (c->sdc_guid)
		snprintf(out->sdc_guid, sizeof out->sdc_guid, "%s", c->sdc_guid);
	else
		ask_sdc(c->drv_cfg, out->sdc_guid);
	if (c->nqn)
		snprintf(out->nqn, sizeof out->nqn, "%s", c->nqn);
	else
		read_line(c->hostnqn ? c->hostnqn : CELL_HOSTNQN, out->nqn, sizeof out->nqn);
	if (c->address)
		snprintf(out->address, sizeof out->address, "%s", c->address);
	else if (url)
		address_towards(url, out->address, sizeof out->address);
}

struct provider_host cell_host(const struct cell *cell)
{
	return (struct provider_host){ .sdc_guid = *cell->sdc_guid ? cell->sdc_guid : NULL,
				       .nqn = *cell->nqn ? cell->nqn : NULL,
				       .address = *cell->address ? cell->address : NULL };
}
