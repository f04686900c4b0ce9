/* SPDX-License-Identifier: Apache-2.0 */
/* What drv_cfg and the SDC's node answer, as text and as bytes, and URIs of volumes. What is taken from them is as it
 * should be. */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "backends/block/sdc.h"

#define VOLUMES 32

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_guid(const char *guid)
{
	assert(strlen(guid) == SDC_GUID_LEN);
	assert(strspn(guid, "0123456789abcdefABCDEF-") == SDC_GUID_LEN);
	assert(guid[8] == '-' && guid[23] == '-' && guid[0] != '-' && guid[35] != '-');
}

static void check_id(const char *id)
{
	assert(strlen(id) == SDC_ID_LEN && strspn(id, "0123456789abcdef") == SDC_ID_LEN);
}

static void check_volumes(const char *text, size_t len)
{
	struct sdc_volume v[VOLUMES], few[1];
	size_t n = sdc_volumes_of_text(text, v, VOLUMES);
	char path[256];

	/* Each takes more bytes than its two ids. */
	assert(n <= VOLUMES && n * (2 * SDC_ID_LEN) <= len);
	assert(sdc_volumes_of_text(text, few, 1) == (n ? 1 : 0));
	for (size_t i = 0; i < n; i++) {
		check_id(v[i].system);
		check_id(v[i].volume);
		assert(!sdc_link("/d", &v[i], path, sizeof path));
		assert(strlen(path) == strlen("/d/emc-vol--") + 2 * SDC_ID_LEN &&
		       !strchr(path + 3, '/'));
	}
}

static void check_uri(const char *text)
{
	static struct uri u;
	struct err err = { "" };
	struct bd_sdc v;

	if (strncmp(text, "scaleio:", 8) != 0 || uri_parse(text, &u, &err))
		return;
	if (bd_sdc_parse(&u, &v, &err)) {
		assert(err.text[0]);
		return;
	}
	check_id(v.id.system);
	check_id(v.id.volume);
	assert(v.size <= BD_SIZE_MAX && v.wait_ms <= BD_SDC_WAIT_MAX_S * 1000);
	assert(!v.dir || v.dir[0] == '/');
	assert(!v.host.drv_cfg || v.host.drv_cfg[0] == '/');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char guid[SDC_GUID_LEN + 1], *text = malloc(size + 1), path[64];

	if (!text)
		abort();
	memcpy(text, data, size);
	text[size] = '\0';
	if (sdc_guid_of_text(text, guid)) {
		check_guid(guid);
		assert(strstr(text, guid));
	}
	if (sdc_guid_of_bytes(data, size, guid)) {
		check_guid(guid);
		assert(sdc_done_of_bytes(data, size));
	}
	check_volumes(text, strlen(text));
	check_uri(text);
	if (!sdc_path("/dev/x", text, path, sizeof path))
		assert(path[0] == '/' && strlen(path) < sizeof path);
	free(text);
	return 0;
}
