/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_conf.c - what a URI says about a subsystem, and who this host is
 *
 * A subsystem knows its hosts by NQN and id, and refuses others. Those of the URI count; then those that this host
 * has for the kernel's initiator (/etc/nvme); then a pair made from the machine's id, so that it is the same
 * after a restart and another one elsewhere. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "backends/block/nvme_impl.h"
#include "common/cleanup.h"
#include "common/clock.h"
#include "common/siphash.h"

enum { KATO_MIN_MS = 1000, KATO_MAX_MS = 120000, UUID_TEXT = 36, LINE_MAX_BYTES = 256 };

#define HOST_NQN_PREFIX "nqn.2014-08.org.nvmexpress:uuid:"

/* ---- texts ------------------------------------------------------------- */

static int hex(char c)
{
	if (isdigit((unsigned char)c))
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* n bytes in hex digits; '-' may stand between two bytes. */
static int parse_hex(const char *text, uint8_t *out, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		int hi, lo;

		if (*text == '-' && i)
			text++;
		hi = hex(text[0]);
		lo = hi < 0 ? -1 : hex(text[1]);
		if (lo < 0)
			return -EINVAL;
		out[i] = (uint8_t)(hi * 16 + lo);
		text += 2;
	}
	return *text ? -EINVAL : 0;
}

int nvme_uuid_parse(const char *text, uint8_t out[16])
{
	static const unsigned dashes[] = { 8, 13, 18, 23 };

	if (strlen(text) != UUID_TEXT)
		return -EINVAL;
	for (size_t i = 0; i < ARRAY_LEN(dashes); i++)
		if (text[dashes[i]] != '-')
			return -EINVAL;
	return parse_hex(text, out, 16);
}

void nvme_id_format(const uint8_t id[16], bool dashes, char out[NVME_ID_TEXT])
{
	for (unsigned i = 0; i < 16; i++)
		out += sprintf(out, "%s%02x",
			       dashes && (i == 4 || i == 6 || i == 8 || i == 10) ? "-" : "", id[i]);
}

static int copy_nqn(const char *what, const char *text, char *out, struct err *err)
{
	size_t len = strlen(text);

	if (len < 5 || len >= NVME_NQN_SIZE || strncmp(text, "nqn.", 4) != 0)
		return err_set(err, -EINVAL,
			       "nvme-tcp: %s '%.100s' is not an NQN (nqn.YYYY-MM.DOMAIN:NAME, at "
			       "most %u bytes)",
			       what, text, NVME_NQN_SIZE - 1);
	memcpy(out, text, len + 1);
	return 0;
}

int nvme_address_parse(const char *text, uint16_t port, struct nsock_target *out, struct err *err)
{
	char uri[NSOCK_HOST_MAX + 32];
	AUTO_FREE struct uri *u = malloc(sizeof *u);

	if (!u)
		return err_set(err, -ENOMEM, "nvme-tcp: no memory");
	if (strlen(text) >= NSOCK_HOST_MAX || strpbrk(text, "/?") ||
	    snprintf(uri, sizeof uri, "x://%s/", text) < 0 || uri_parse(uri, u, NULL) ||
	    !u->host[0])
		return err_set(err, -EINVAL,
			       "nvme-tcp: path='%.200s' is not HOST, HOST:PORT or [ADDRESS]:PORT",
			       text);
	snprintf(out->host, sizeof out->host, "%s", u->host);
	out->port = u->port ? u->port : port;
	return 0;
}

/* ---- who we are -------------------------------------------------------- */

/* The first line of a file, without its end; false: there is none. */
static bool read_line(const char *path, char *out, size_t size)
{
	AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	ssize_t n = fd < 0 ? -1 : read(fd, out, size - 1);

	if (n <= 0)
		return false;
	out[n] = '\0';
	out[strcspn(out, "\r\n \t")] = '\0';
	return out[0];
}

/* An id that follows from the text, marked as random (version 4). */
static void id_from(const char *text, uint8_t out[16])
{
	static const uint64_t keys[2][2] = { { 0x70657273696673ull, 1 },
					     { 0x70657273696673ull, 2 } };

	for (unsigned i = 0; i < 2; i++) {
		uint64_t h = siphash(keys[i], text, strlen(text));

		memcpy(out + (size_t)i * 8, &h, 8);
	}
	out[6] = (uint8_t)((out[6] & 0x0f) | 0x40);
	out[8] = (uint8_t)((out[8] & 0x3f) | 0x80);
}

static void machine_text(char *out, size_t size)
{
	uint64_t random = clock_us();

	if (read_line("/etc/machine-id", out, size) ||
	    read_line("/var/lib/dbus/machine-id", out, size))
		return;
	(void)!getrandom(&random, sizeof random, GRND_NONBLOCK);
	snprintf(out, size, "%016llx", (unsigned long long)random);
}

static int host_names(const struct uri *uri, struct nvme_conf *out, struct err *err)
{
	const char *nqn = uri_param(uri, "hostnqn"), *id = uri_param(uri, "hostid"), *uuid;
	char line[LINE_MAX_BYTES], made[NVME_NQN_SIZE];
	uint8_t machine[16];
	int rc;

	if (!nqn && read_line("/etc/nvme/hostnqn", line, sizeof line))
		nqn = line;
	if (!nqn) {
		machine_text(line, sizeof line);
		id_from(line, machine);
		memcpy(made, HOST_NQN_PREFIX, sizeof HOST_NQN_PREFIX);
		nvme_id_format(machine, true, made + strlen(made));
		nqn = made;
	}
	rc = copy_nqn("hostnqn", nqn, out->hostnqn, err);
	if (rc)
		return rc;
	if (id)
		return nvme_uuid_parse(id, out->hostid) ?
			       err_set(err, -EINVAL, "nvme-tcp: hostid=%.100s is not a UUID", id) :
			       0;
	/* A host has one id for one NQN. */
	uuid = strstr(out->hostnqn, "uuid:");
	if (!uri_param(uri, "hostnqn") && read_line("/etc/nvme/hostid", line, sizeof line) &&
	    !nvme_uuid_parse(line, out->hostid))
		return 0;
	if (!uuid || nvme_uuid_parse(uuid + strlen("uuid:"), out->hostid))
		id_from(out->hostnqn, out->hostid);
	return 0;
}

/* ---- parameters -------------------------------------------------------- */

static int parse_yes(const struct uri *uri, const char *key, bool *out, struct err *err)
{
	const char *text = uri_param(uri, key);

	*out = text && !strcmp(text, "yes");
	if (!text || *out || !strcmp(text, "no"))
		return 0;
	return err_set(err, -EINVAL, "nvme-tcp: %s=%.100s: want yes or no", key, text);
}

/* "5s", "1500ms", or seconds. */
static int parse_kato(const struct uri *uri, uint32_t *out, struct err *err)
{
	const char *text = uri_param(uri, "kato");
	unsigned long v = NVME_KATO_MS;
	char *end = NULL;

	if (text) {
		errno = 0;
		v = isdigit((unsigned char)*text) ? strtoul(text, &end, 10) : 0;
		if (errno || v > KATO_MAX_MS || !end)
			v = 0;
		else if (!strcmp(end, "s") || !*end)
			v *= 1000;
		else if (strcmp(end, "ms") != 0)
			v = 0;
	}
	*out = (uint32_t)v;
	if (v >= KATO_MIN_MS && v <= KATO_MAX_MS)
		return 0;
	return err_set(err, -EINVAL, "nvme-tcp: kato=%.100s: want a time from %us to %us", text,
		       KATO_MIN_MS / 1000, KATO_MAX_MS / 1000);
}

static int parse_namespace(const struct uri *uri, struct nvme_conf *out, struct err *err)
{
	const char *nsid = uri_param(uri, "nsid"), *nguid = uri_param(uri, "nguid");
	const char *uuid = uri_param(uri, "uuid");
	uint64_t v;
	int rc = uri_param_u64(uri, "nsid", 1, UINT32_MAX - 1, 1, &v, err);

	if (rc)
		return rc;
	if (!!nsid + !!nguid + !!uuid > 1)
		return err_set(err, -EINVAL, "nvme-tcp: one of nsid, nguid and uuid is enough");
	out->nsid = (uint32_t)v;
	out->by = nsid ? NVME_NS_NSID : nguid ? NVME_NS_NGUID : uuid ? NVME_NS_UUID : NVME_NS_ONLY;
	if (nguid && parse_hex(nguid, out->id, sizeof out->id))
		return err_set(err, -EINVAL, "nvme-tcp: nguid=%.100s: want 32 hex digits", nguid);
	if (uuid && nvme_uuid_parse(uuid, out->id))
		return err_set(err, -EINVAL, "nvme-tcp: uuid=%.100s is not a UUID", uuid);
	return 0;
}

int nvme_conf_parse(const struct uri *uri, struct nvme_conf *out, struct err *err)
{
	static const char *const known[] = { "nsid",   "nguid",  "uuid",  "hostnqn",
					     "hostid", "queues", "hdgst", "ddgst",
					     "path",   "kato",   NULL };
	const char *nqn = uri->path[0] == '/' ? uri->path + 1 : uri->path;
	uint64_t queues = 0;
	int rc = uri_only_params(uri, known, err);

	memset(out, 0, sizeof *out);
	if (!rc && nqn[0])
		rc = copy_nqn("subsystem", nqn, out->subnqn, err);
	if (!rc)
		rc = uri_param_u64(uri, "queues", 1, NVME_IO_QUEUES_MAX, NVME_IO_QUEUES_DEFAULT,
				   &queues, err);
	if (!rc)
		rc = parse_yes(uri, "hdgst", &out->hdgst, err);
	if (!rc)
		rc = parse_yes(uri, "ddgst", &out->ddgst, err);
	if (!rc)
		rc = parse_kato(uri, &out->kato_ms, err);
	if (!rc)
		rc = parse_namespace(uri, out, err);
	if (!rc)
		rc = host_names(uri, out, err);
	out->queues = (unsigned)queues;
	return rc;
}
