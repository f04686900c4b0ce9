/* SPDX-License-Identifier: Apache-2.0 */
/* sdc.c - see sdc.h
 *
 * Of an ioctl's answer, the same buffer for all of them:
 *
 *   offset  bytes
 *   0       8      result; its first byte is 65 when it was done
 *   8       16     GUID, in the order in which it is written
 *   24      8      two numbers of the network, of no use here */
#include "common/sdc.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/spawn.h"

#define HEX "0123456789abcdefABCDEF"

#define NODE_RESCAN _IO('a', 10)
#define NODE_GUID _IO('a', 14)
#define NODE_DONE 65
#define NODE_GUID_AT 8
#define NODE_GUID_BYTES 16

/* ---- answers ----------------------------------------------------------- */

static bool is_guid(const char *text)
{
	for (unsigned i = 0; i < SDC_GUID_LEN; i++)
		if ((text[i] == '-') != (i == 8 || i == 13 || i == 18 || i == 23))
			return false;
	return true;
}

bool sdc_guid_of_text(const char *text, char *out)
{
	while (*text) {
		size_t n = strspn(text, HEX "-");

		if (n == SDC_GUID_LEN && is_guid(text)) {
			memcpy(out, text, n);
			out[n] = '\0';
			return true;
		}
		text += n ? n : 1;
	}
	return false;
}

bool sdc_done_of_bytes(const void *bytes, size_t len)
{
	return len && *(const uint8_t *)bytes == NODE_DONE;
}

bool sdc_guid_of_bytes(const void *bytes, size_t len, char *out)
{
	static const uint8_t none[NODE_GUID_BYTES];
	const uint8_t *b = (const uint8_t *)bytes + NODE_GUID_AT;
	char *at = out;

	if (len < NODE_GUID_AT + NODE_GUID_BYTES || !sdc_done_of_bytes(bytes, len) ||
	    !memcmp(b, none, sizeof none))
		return false;
	for (unsigned i = 0; i < NODE_GUID_BYTES; i++)
		at += sprintf(at, "%s%02X", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", b[i]);
	return true;
}

/* The next word of *text, which moves behind it; its length, 0 at the end. */
static size_t next_word(const char **text, const char **word)
{
	size_t n;

	*text += strspn(*text, " \t\r\n");
	*word = *text;
	n = strcspn(*text, " \t\r\n");
	*text += n;
	return n;
}

static bool is_word(const char *word, size_t n, const char *want)
{
	return n == strlen(want) && !memcmp(word, want, n);
}

static bool take_id(const char *word, size_t n, char *out)
{
	if (n != SDC_ID_LEN || strspn(word, HEX) < n)
		return false;
	for (size_t i = 0; i < n; i++)
		out[i] = (char)tolower((unsigned char)word[i]);
	out[n] = '\0';
	return true;
}

size_t sdc_volumes_of_text(const char *text, struct sdc_volume *out, size_t cap)
{
	size_t count = 0;

	while (count < cap) {
		struct sdc_volume v;
		const char *word, *again;
		size_t n = next_word(&text, &word);

		if (!n)
			break;
		if (!is_word(word, n, "VOL-ID"))
			continue;
		again = text;
		n = next_word(&again, &word);
		if (!take_id(word, n, v.volume))
			continue;
		n = next_word(&again, &word);
		if (!is_word(word, n, "MDM-ID"))
			continue;
		n = next_word(&again, &word);
		if (!take_id(word, n, v.system))
			continue;
		text = again;
		out[count++] = v;
	}
	return count;
}

bool sdc_volume_make(const char *system, const char *volume, struct sdc_volume *out)
{
	return take_id(system, strlen(system), out->system) &&
	       take_id(volume, strlen(volume), out->volume);
}

/* ---- links ------------------------------------------------------------- */

int sdc_path(const char *dir, const char *name, char *buf, size_t cap)
{
	size_t n = strlen(SDC_BY_ID "/");

	if (!strncmp(name, SDC_BY_ID "/", n))
		name += n;
	n = (size_t)snprintf(buf, cap, "%s%s%s", *name == '/' ? "" : dir, *name == '/' ? "" : "/",
			     name);
	return n < cap ? 0 : -ENAMETOOLONG;
}

int sdc_link(const char *dir, const struct sdc_volume *v, char *buf, size_t cap)
{
	char name[64];

	snprintf(name, sizeof name, "emc-vol-%s-%s", v->system, v->volume);
	return sdc_path(dir ? dir : SDC_BY_ID, name, buf, cap);
}

/* ---- asking ------------------------------------------------------------ */

static const char *program_of(const struct sdc_host *h)
{
	return h->drv_cfg ? h->drv_cfg : SDC_DRV_CFG;
}

static const char *node_of(const struct sdc_host *h)
{
	return h->node ? h->node : SDC_NODE;
}

/* Its answer, on one line, the caller's; NULL: *rc tells. */
static char *ask_program(const struct sdc_host *h, const char *option, const struct cancel *cancel,
			 int *rc, struct err *err)
{
	const char *program = program_of(h);
	/* It stands on standard output, of which spawn_wait() hears nothing. */
	const char *const argv[] = { "/bin/sh", "-c",   "exec \"$0\" \"$1\" >&2",
				     program,   option, NULL };
	AUTO_FREE char *text = malloc(SDC_ANSWER_MAX);
	int status;

	*rc = text ? -ENOENT : -ENOMEM;
	if (!text || access(program, X_OK)) {
		err_set(err, *rc, text ? "there is no program '%.200s'" : "no memory for '%.200s'",
			program);
		return NULL;
	}
	status = spawn_wait(argv, SDC_PROGRAM_MS, cancel, text, SDC_ANSWER_MAX);
	*rc = status > 0 ? -EIO : status;
	if (!status)
		return take_ptr(&text);
	if (status < 0)
		err_set(err, *rc, "'%.150s %s': %s", program, option, strerror(-status));
	else
		err_set(err, *rc, "'%.150s %s': status %d: %.200s", program, option, status, text);
	return NULL;
}

static int ask_node(const struct sdc_host *h, unsigned long what, uint8_t *answer, struct err *err)
{
	const char *node = node_of(h);
	AUTO_FD int fd = open(node, O_RDWR | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return err_set(err, -errno, "'%.200s': %s", node, strerror(errno));
	if (ioctl(fd, what, answer))
		return err_set(err, -errno, "'%.200s' answers to no question: %s", node,
			       strerror(errno));
	if (!sdc_done_of_bytes(answer, SDC_IOCTL_BYTES))
		return err_set(err, -EPROTO, "'%.200s' answers with result %u", node, answer[0]);
	return 0;
}

/* Of two that were asked: the error of the first, unless only the other is there. */
static bool ask_the_other(int rc)
{
	return rc && rc != -ECANCELED;
}

static int guid_of_node(const struct sdc_host *h, char *out, struct err *err)
{
	uint8_t answer[SDC_IOCTL_BYTES] = { 0 };
	int rc = ask_node(h, NODE_GUID, answer, err);

	if (rc)
		return rc;
	return sdc_guid_of_bytes(answer, sizeof answer, out) ?
		       0 :
		       err_set(err, -EPROTO, "'%.200s' has no GUID", node_of(h));
}

int sdc_guid(const struct sdc_host *h, const struct cancel *cancel, char *out, struct err *err)
{
	int rc, other;
	AUTO_FREE char *text = ask_program(h, "--query_guid", cancel, &rc, err);

	if (text && !sdc_guid_of_text(text, out))
		rc = err_set(err, -EPROTO, "'%.150s --query_guid' names none: %.200s",
			     program_of(h), text);
	if (!ask_the_other(rc))
		return rc;
	other = guid_of_node(h, out, rc == -ENOENT ? err : NULL);
	return !other || rc == -ENOENT ? other : rc;
}

int sdc_rescan(const struct sdc_host *h, const struct cancel *cancel, struct err *err)
{
	uint8_t answer[SDC_IOCTL_BYTES] = { 0 };
	int rc, other;

	free(ask_program(h, "--rescan", cancel, &rc, err));
	if (!ask_the_other(rc))
		return rc;
	other = ask_node(h, NODE_RESCAN, answer, rc == -ENOENT ? err : NULL);
	return !other || rc == -ENOENT ? other : rc;
}

int sdc_has_volume(const struct sdc_host *h, const struct sdc_volume *v,
		   const struct cancel *cancel, struct err *err)
{
	int rc;
	AUTO_FREE char *text = ask_program(h, "--query_vols", cancel, &rc, err);
	AUTO_FREE struct sdc_volume *all = calloc(SDC_VOLUMES_MAX, sizeof *all);
	size_t n;

	if (!text)
		return rc;
	if (!all)
		return err_set(err, -ENOMEM, "out of memory");
	n = sdc_volumes_of_text(text, all, SDC_VOLUMES_MAX);
	for (size_t i = 0; i < n; i++)
		if (!strcmp(all[i].system, v->system) && !strcmp(all[i].volume, v->volume))
			return 1;
	return 0;
}

/* ---- waiting ----------------------------------------------------------- */

static int rescan_and_tell(const struct sdc_host *h, const char *link, uint64_t waited_ms,
			   const struct cancel *cancel)
{
	struct err err = { "" };
	int rc = sdc_rescan(h, cancel, &err);

	log_info("sdc: device '%s' is not there after %u s, %s%s", link,
		 (unsigned)(waited_ms / 1000),
		 rc ? "and the SDC cannot be asked to look: " : "the SDC was asked to look",
		 rc ? err.text : "");
	return rc == -ECANCELED ? rc : 0;
}

int sdc_wait(const struct sdc_host *h, const char *link, unsigned limit_ms,
	     const struct cancel *cancel)
{
	uint64_t first = h->rescan_ms ? h->rescan_ms : SDC_RESCAN_FIRST_MS;
	uint64_t start = clock_us() / 1000, slice = first;

	for (;;) {
		uint64_t waited = clock_us() / 1000 - start;
		uint64_t left = waited < limit_ms ? limit_ms - waited : 0;
		int rc = paths_wait(link, true, (unsigned)(left < slice ? left : slice), cancel);

		waited = clock_us() / 1000 - start;
		if (!rc && waited >= first)
			log_info("sdc: device '%s' came after %u s", link,
				 (unsigned)(waited / 1000));
		if (rc != -ETIMEDOUT || waited >= limit_ms)
			return rc;
		if (rescan_and_tell(h, link, waited, cancel))
			return -ECANCELED;
		slice = SDC_RESCAN_EVERY_MS;
	}
}
