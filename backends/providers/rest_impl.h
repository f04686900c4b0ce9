/* SPDX-License-Identifier: Apache-2.0 */
/* rest_impl.h - between rest.c (clients, handles, tries) and rest_try.c (one try over libcurl) */
#ifndef BACKENDS_PROVIDERS_REST_IMPL_H
#define BACKENDS_PROVIDERS_REST_IMPL_H

#include <curl/curl.h>

#include "backends/providers/rest.h"

enum rest_outcome {
	TRY_ANSWERED,
	TRY_NOT_SENT, /* no connection was made */
	TRY_LOST,     /* it may have been received; no whole answer came */
	TRY_FAILED,   /* for good: rest_try.code says why */
};

/* One try at one URL. */
struct rest_try {
	/* in; borrowed */
	const struct rest_request *q;
	const char *base, *ca_file;
	bool insecure;
	uint64_t connect_ms, total_ms;
	size_t reply_max;
	/* out */
	enum rest_outcome outcome;
	int code; /* -errno unless answered */
	char why[CURL_ERROR_SIZE];
	struct rest_reply reply; /* when answered; the caller's */
};

void rest_try_run(CURL *curl, struct rest_try *t);

#endif
