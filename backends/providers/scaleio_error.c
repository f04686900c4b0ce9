/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_error.c - what a refusal means
 *
 * Almost every refusal has status 500, so the status decides nothing but what has no code. Codes up to
 * SIO_CODE_STABLE mean the same in all releases; above, the same thing has different numbers in
 * different releases, and symbol or text decide. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/providers/scaleio_impl.h"
#include "common/cleanup.h"

#define SIO_CODE_STABLE 230

static const struct {
	unsigned code;
	enum sio_fault fault;
} codes[] = {
	{ 3, SIO_ABSENT },
	{ 7, SIO_TAKEN },
	{ 28, SIO_BUSY },
	{ 32, SIO_BUSY },
	{ 62, SIO_ARGUMENT },
	{ 64, SIO_ARGUMENT },
	{ 67, SIO_NO_ROOM },
	{ 68, SIO_LOST },
	{ 69, SIO_LOST },
	{ 79, SIO_ABSENT },
	{ 80, SIO_HOST_ABSENT },
	{ 81, SIO_MAPPED_HERE },
	{ 82, SIO_MAPPED_ALL },
	{ 84, SIO_NOT_MAPPED },
	{ 86, SIO_MAPPED_ALL },
	{ 87, SIO_NO_ROOM },
	{ 88, SIO_ABSENT },
	{ 90, SIO_HOST_ABSENT },
	{ 91, SIO_HOST_ABSENT },
	{ 96, SIO_NO_ROOM },
	{ 97, SIO_NO_ROOM },
	{ 99, SIO_TAKEN },
	{ 101, SIO_ARGUMENT },
	{ 104, SIO_MAPPED },
	{ 121, SIO_BUSY },
	{ 124, SIO_BUSY },
	{ 132, SIO_NO_ROOM },
	{ 133, SIO_SHRINK },
	{ 142, SIO_CONFIG },
	{ 164, SIO_BUSY },
	{ 166, SIO_REFUSED },
	{ 168, SIO_DENIED },
	{ 171, SIO_CONFIG },
	{ 174, SIO_CONFIG },
	{ 181, SIO_NO_ROOM },
	{ 182, SIO_NO_ROOM },
	{ 183, SIO_ABSENT },
	{ 185, SIO_ABSENT },
	{ 188, SIO_CONFIG },
	{ 190, SIO_ARGUMENT },
	{ 191, SIO_NO_ROOM },
	{ 197, SIO_CONFIG },
	{ 198, SIO_ARGUMENT },
	{ 212, SIO_REMOVING },
	{ 225, SIO_ARGUMENT },
	{ 226, SIO_ARGUMENT },
	{ 227, SIO_ARGUMENT },
	/* above SIO_CODE_STABLE: only when symbol and text say nothing */
	{ 231, SIO_ABSENT },
	{ 247, SIO_DENIED },
	{ 252, SIO_BUSY },
	{ 286, SIO_NO_ROOM },
	{ 294, SIO_NO_ROOM },
	{ 297, SIO_MAPPED_OTHER },
	{ 300, SIO_NO_ROOM },
	{ 306, SIO_MAPPED_OTHER },
	{ 315, SIO_MAPPED_OTHER },
	{ 322, SIO_NOT_APPROVED },
	{ 717, SIO_BUSY },
	{ 4037, SIO_MAPPED_HERE },
	{ 4039, SIO_NOT_MAPPED },
};

/* Parts of symbols and of messages, without case; the first that is found decides. */
static const struct {
	const char *part;
	enum sio_fault fault;
} parts[] = {
	{ "already mapped to this", SIO_MAPPED_HERE },
	{ "VOL_ALREADY_MAPPED_TO_THIS", SIO_MAPPED_HERE },
	{ "already mapped to the host", SIO_MAPPED_HERE },
	{ "may not be mapped to additional", SIO_MAPPED_OTHER },
	{ "Only a single SDC may be mapped", SIO_MAPPED_OTHER },
	{ "Only a single host may be mapped", SIO_MAPPED_OTHER },
	{ "mapped to all SDCs", SIO_MAPPED_ALL },
	{ "TO_ALL_INIS", SIO_MAPPED_ALL },
	{ "not mapped to", SIO_NOT_MAPPED },
	{ "VOL_NOT_MAPPED_TO", SIO_NOT_MAPPED },
	{ "too many mappings", SIO_NO_ROOM },
	{ "TOO_MANY_", SIO_NO_ROOM },
	{ "too many volumes", SIO_NO_ROOM },
	{ "too many snapshots", SIO_NO_ROOM },
	{ "maximum number of sessions", SIO_BUSY },
	{ "maximum number of volumes", SIO_NO_ROOM },
	{ "exceeds the volume allocation limit", SIO_NO_ROOM },
	{ "Insufficient resources", SIO_NO_ROOM },
	{ "NO_RESOURCES", SIO_NO_ROOM },
	{ "license capacity has been exceeded", SIO_NO_ROOM },
	{ "Storage Pool is too small", SIO_NO_ROOM },
	{ "name already in use", SIO_TAKEN },
	{ "VOL_NAME_IN_USE", SIO_TAKEN },
	{ "not approved", SIO_NOT_APPROVED },
	{ "removal operation is currently in progress", SIO_REMOVING },
	{ "VOL_REMOVE_IN_PROGRESS", SIO_REMOVING },
	{ "can only be increased", SIO_SHRINK },
	{ "Could not find the volume", SIO_ABSENT },
	{ "VOL_NOT_FOUND", SIO_ABSENT },
	{ "Invalid volume ID", SIO_ABSENT },
	{ "must be a hexadecimal number", SIO_ABSENT },
	{ "Could not find the SDC", SIO_HOST_ABSENT },
	{ "Could not find the host", SIO_HOST_ABSENT },
	{ "Invalid SDC ID", SIO_HOST_ABSENT },
	{ "Could not find Storage Pool", SIO_CONFIG },
	{ "Could not find the Storage Pool", SIO_CONFIG },
	{ "Could not find Protection Domain", SIO_CONFIG },
	{ "Could not find the Protection Domain", SIO_CONFIG },
	{ "no default Storage Pool", SIO_CONFIG },
	{ "is not in the specified Protection Domain", SIO_CONFIG },
	{ "Volume is mapped", SIO_MAPPED },
	{ "VOL_MAPPED", SIO_MAPPED },
	{ "do not have permission", SIO_DENIED },
	{ "NO_PERMISSIONS", SIO_DENIED },
	{ "The system is busy", SIO_BUSY },
	{ "cluster is degraded", SIO_BUSY },
	{ "A timeout occurred", SIO_LOST },
	{ "Communication error", SIO_LOST },
	{ "volume size is illegal", SIO_ARGUMENT },
	{ "allowed length of 31", SIO_ARGUMENT },
	{ "invalid characters", SIO_ARGUMENT },
	{ "Wrong command parameters", SIO_ARGUMENT },
	{ "Parameter out of range", SIO_ARGUMENT },
	{ "volume size too large", SIO_ARGUMENT },
	{ "no route handled", SIO_NO_ROUTE },
};

int sio_errno(enum sio_fault fault)
{
	static const int of[] = {
		[SIO_OK] = 0,
		[SIO_ABSENT] = -ENOENT,
		[SIO_TAKEN] = -EEXIST,
		[SIO_HOST_ABSENT] = -EINVAL,
		[SIO_MAPPED_HERE] = -EBUSY,
		[SIO_MAPPED_ALL] = -EBUSY,
		[SIO_MAPPED_OTHER] = -EBUSY,
		[SIO_MAPPED] = -EBUSY,
		[SIO_NOT_MAPPED] = -EINVAL,
		[SIO_NOT_APPROVED] = -EACCES,
		[SIO_REMOVING] = -EAGAIN,
		[SIO_SHRINK] = -ERANGE,
		[SIO_NO_ROOM] = -ENOSPC,
		[SIO_CONFIG] = -EINVAL,
		[SIO_ARGUMENT] = -EINVAL,
		[SIO_DENIED] = -EACCES,
		[SIO_BUSY] = -EAGAIN,
		[SIO_LOST] = -EAGAIN,
		[SIO_NO_ROUTE] = -EPROTO,
		[SIO_REFUSED] = -EINVAL,
	};

	return of[fault];
}

static enum sio_fault by_code(unsigned code)
{
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (codes[i].code == code)
			return codes[i].fault;
	return SIO_OK;
}

static enum sio_fault by_text(const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (strcasestr(text, parts[i].part))
			return parts[i].fault;
	return SIO_OK;
}

/* Without anything that the MDM said: it may never have heard of the call. */
static enum sio_fault by_status(long status, bool said)
{
	switch (status) {
	case 400:
		return SIO_ARGUMENT;
	case 401:
	case 403:
		return SIO_DENIED;
	case 404:
	case 405:
	case 501:
		return SIO_NO_ROUTE;
	case 429:
		return SIO_BUSY;
	default:
		break;
	}
	if (status < 500)
		return SIO_REFUSED;
	return said ? SIO_REFUSED : SIO_LOST;
}

static void copy_text(char *text, size_t cap, const char *from)
{
	size_t n = 0;

	for (; from[n] && n + 1 < cap; n++)
		text[n] = (unsigned char)from[n] < 0x20 || from[n] == 0x7f ? ' ' : from[n];
	text[n] = '\0';
}

/* The part of the answer that tells the reason. */
static void reason(const json_t *answer, const char **symbol, const char **message, uint64_t *code)
{
	const json_t *detail = json_array_get(json_object_get(answer, "details"), 0);

	*symbol = rest_text(detail, "error");
	*message = rest_text(detail, "errorMessage");
	if (!**message)
		*message = rest_text(answer, "message");
	if (!json_is_object(detail) || !rest_u64(json_object_get(detail, "rc"), code) || !*code)
		if (!rest_u64(json_object_get(answer, "errorCode"), code))
			*code = 0;
}

enum sio_fault sio_judge(long status, const json_t *answer, char *text, size_t cap, unsigned *code)
{
	enum sio_fault fault = SIO_OK;
	const char *symbol, *message;
	uint64_t number;

	reason(answer, &symbol, &message, &number);
	*code = number <= UINT32_MAX ? (unsigned)number : 0;
	copy_text(text, cap, message);
	if (*code && *code <= SIO_CODE_STABLE)
		fault = by_code(*code);
	if (!fault && status != 401)
		fault = by_text(symbol);
	if (!fault && status != 401)
		fault = by_text(message);
	if (!fault && *code)
		fault = by_code(*code);
	if (!fault)
		fault = by_status(status, *code || *symbol);
	return fault;
}
