/* SPDX-License-Identifier: Apache-2.0 */
/* scaleio_error.c - what a refusal means
 *
 * Almost every refusal has status 500, so the status decides nothing but what has no code. Codes up to
 * SGW_CODE_STABLE mean the same in all releases; above, the same thing has different numbers in
 * different releases, and symbol or text decide. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "backends/providers/scaleio_impl.h"
#include "common/cleanup.h"

#define SGW_CODE_STABLE 230

static const struct {
	unsigned code;
	enum sgw_fault fault;
} codes[] = {
	{ 3, SGW_ABSENT },
	{ 7, SGW_TAKEN },
	{ 28, SGW_BUSY },
	{ 32, SGW_BUSY },
	{ 62, SGW_ARGUMENT },
	{ 64, SGW_ARGUMENT },
	{ 67, SGW_NO_ROOM },
	{ 68, SGW_LOST },
	{ 69, SGW_LOST },
	{ 79, SGW_ABSENT },
	{ 80, SGW_HOST_ABSENT },
	{ 81, SGW_MAPPED_HERE },
	{ 82, SGW_MAPPED_ALL },
	{ 84, SGW_NOT_MAPPED },
	{ 86, SGW_MAPPED_ALL },
	{ 87, SGW_NO_ROOM },
	{ 88, SGW_ABSENT },
	{ 90, SGW_HOST_ABSENT },
	{ 91, SGW_HOST_ABSENT },
	{ 96, SGW_NO_ROOM },
	{ 97, SGW_NO_ROOM },
	{ 99, SGW_TAKEN },
	{ 101, SGW_ARGUMENT },
	{ 104, SGW_MAPPED },
	{ 121, SGW_BUSY },
	{ 124, SGW_BUSY },
	{ 132, SGW_NO_ROOM },
	{ 133, SGW_SHRINK },
	{ 142, SGW_CONFIG },
	{ 164, SGW_BUSY },
	{ 166, SGW_REFUSED },
	{ 168, SGW_DENIED },
	{ 171, SGW_CONFIG },
	{ 174, SGW_CONFIG },
	{ 181, SGW_NO_ROOM },
	{ 182, SGW_NO_ROOM },
	{ 183, SGW_ABSENT },
	{ 185, SGW_ABSENT },
	{ 188, SGW_CONFIG },
	{ 190, SGW_ARGUMENT },
	{ 191, SGW_NO_ROOM },
	{ 197, SGW_CONFIG },
	{ 198, SGW_ARGUMENT },
	{ 212, SGW_REMOVING },
	{ 225, SGW_ARGUMENT },
	{ 226, SGW_ARGUMENT },
	{ 227, SGW_ARGUMENT },
	/* above SGW_CODE_STABLE: only when symbol and text say nothing */
	{ 231, SGW_ABSENT },
	{ 247, SGW_DENIED },
	{ 252, SGW_BUSY },
	{ 286, SGW_NO_ROOM },
	{ 294, SGW_NO_ROOM },
	{ 297, SGW_MAPPED_OTHER },
	{ 300, SGW_NO_ROOM },
	{ 306, SGW_MAPPED_OTHER },
	{ 315, SGW_MAPPED_OTHER },
	{ 322, SGW_NOT_APPROVED },
	{ 717, SGW_BUSY },
	{ 4037, SGW_MAPPED_HERE },
	{ 4039, SGW_NOT_MAPPED },
};

/* Parts of symbols and of messages, without case; the first that is found decides. */
static const struct {
	const char *part;
	enum sgw_fault fault;
} parts[] = {
	{ "already mapped to this", SGW_MAPPED_HERE },
	{ "VOL_ALREADY_MAPPED_TO_THIS", SGW_MAPPED_HERE },
	{ "already mapped to the host", SGW_MAPPED_HERE },
	{ "may not be mapped to additional", SGW_MAPPED_OTHER },
	{ "Only a single SDC may be mapped", SGW_MAPPED_OTHER },
	{ "Only a single host may be mapped", SGW_MAPPED_OTHER },
	{ "mapped to all SDCs", SGW_MAPPED_ALL },
	{ "TO_ALL_INIS", SGW_MAPPED_ALL },
	{ "not mapped to", SGW_NOT_MAPPED },
	{ "VOL_NOT_MAPPED_TO", SGW_NOT_MAPPED },
	{ "too many mappings", SGW_NO_ROOM },
	{ "TOO_MANY_", SGW_NO_ROOM },
	{ "too many volumes", SGW_NO_ROOM },
	{ "too many snapshots", SGW_NO_ROOM },
	{ "maximum number of sessions", SGW_BUSY },
	{ "maximum number of volumes", SGW_NO_ROOM },
	{ "exceeds the volume allocation limit", SGW_NO_ROOM },
	{ "Insufficient resources", SGW_NO_ROOM },
	{ "NO_RESOURCES", SGW_NO_ROOM },
	{ "license capacity has been exceeded", SGW_NO_ROOM },
	{ "Storage Pool is too small", SGW_NO_ROOM },
	{ "name already in use", SGW_TAKEN },
	{ "VOL_NAME_IN_USE", SGW_TAKEN },
	{ "not approved", SGW_NOT_APPROVED },
	{ "removal operation is currently in progress", SGW_REMOVING },
	{ "VOL_REMOVE_IN_PROGRESS", SGW_REMOVING },
	{ "can only be increased", SGW_SHRINK },
	{ "Could not find the volume", SGW_ABSENT },
	{ "VOL_NOT_FOUND", SGW_ABSENT },
	{ "Invalid volume ID", SGW_ABSENT },
	{ "must be a hexadecimal number", SGW_ABSENT },
	{ "Could not find the SDC", SGW_HOST_ABSENT },
	{ "Could not find the host", SGW_HOST_ABSENT },
	{ "Invalid SDC ID", SGW_HOST_ABSENT },
	{ "Could not find Storage Pool", SGW_CONFIG },
	{ "Could not find the Storage Pool", SGW_CONFIG },
	{ "Could not find Protection Domain", SGW_CONFIG },
	{ "Could not find the Protection Domain", SGW_CONFIG },
	{ "no default Storage Pool", SGW_CONFIG },
	{ "is not in the specified Protection Domain", SGW_CONFIG },
	{ "Volume is mapped", SGW_MAPPED },
	{ "VOL_MAPPED", SGW_MAPPED },
	{ "do not have permission", SGW_DENIED },
	{ "NO_PERMISSIONS", SGW_DENIED },
	{ "The system is busy", SGW_BUSY },
	{ "cluster is degraded", SGW_BUSY },
	{ "A timeout occurred", SGW_LOST },
	{ "Communication error", SGW_LOST },
	{ "volume size is illegal", SGW_ARGUMENT },
	{ "allowed length of 31", SGW_ARGUMENT },
	{ "invalid characters", SGW_ARGUMENT },
	{ "Wrong command parameters", SGW_ARGUMENT },
	{ "Parameter out of range", SGW_ARGUMENT },
	{ "volume size too large", SGW_ARGUMENT },
	{ "no route handled", SGW_NO_ROUTE },
};

int sgw_errno(enum sgw_fault fault)
{
	static const int of[] = {
		[SGW_OK] = 0,
		[SGW_ABSENT] = -ENOENT,
		[SGW_TAKEN] = -EEXIST,
		[SGW_HOST_ABSENT] = -EINVAL,
		[SGW_MAPPED_HERE] = -EBUSY,
		[SGW_MAPPED_ALL] = -EBUSY,
		[SGW_MAPPED_OTHER] = -EBUSY,
		[SGW_MAPPED] = -EBUSY,
		[SGW_NOT_MAPPED] = -EINVAL,
		[SGW_NOT_APPROVED] = -EACCES,
		[SGW_REMOVING] = -EAGAIN,
		[SGW_SHRINK] = -ERANGE,
		[SGW_NO_ROOM] = -ENOSPC,
		[SGW_CONFIG] = -EINVAL,
		[SGW_ARGUMENT] = -EINVAL,
		[SGW_DENIED] = -EACCES,
		[SGW_BUSY] = -EAGAIN,
		[SGW_LOST] = -EAGAIN,
		[SGW_NO_ROUTE] = -EPROTO,
		[SGW_REFUSED] = -EINVAL,
	};

	return of[fault];
}

static enum sgw_fault by_code(unsigned code)
{
	for (size_t i = 0; i < ARRAY_LEN(codes); i++)
		if (codes[i].code == code)
			return codes[i].fault;
	return SGW_OK;
}

static enum sgw_fault by_text(const char *text)
{
	for (size_t i = 0; i < ARRAY_LEN(parts); i++)
		if (strcasestr(text, parts[i].part))
			return parts[i].fault;
	return SGW_OK;
}

/* Without anything that the MDM said: it may never have heard of the call. */
static enum sgw_fault by_status(long status, bool said)
{
	switch (status) {
	case 400:
		return SGW_ARGUMENT;
	case 401:
	case 403:
		return SGW_DENIED;
	case 404:
	case 405:
	case 501:
		return SGW_NO_ROUTE;
	case 429:
		return SGW_BUSY;
	default:
		break;
	}
	if (status < 500)
		return SGW_REFUSED;
	return said ? SGW_REFUSED : SGW_LOST;
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
		*message = **symbol ? *symbol : rest_text(answer, "message");
	if (!json_is_object(detail) || !rest_u64(json_object_get(detail, "rc"), code) || !*code)
		if (!rest_u64(json_object_get(answer, "errorCode"), code))
			*code = 0;
}

enum sgw_fault sgw_judge(long status, const json_t *answer, char *text, size_t cap, unsigned *code)
{
	enum sgw_fault fault = SGW_OK;
	const char *symbol, *message;
	uint64_t number;

	reason(answer, &symbol, &message, &number);
	*code = number <= UINT32_MAX ? (unsigned)number : 0;
	copy_text(text, cap, message);
	if (*code && *code <= SGW_CODE_STABLE)
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
