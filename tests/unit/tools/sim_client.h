/* SPDX-License-Identifier: Apache-2.0 */
/* sim_client.h - a plain client for the simulators' tests: libcurl, and nothing of ours */
#ifndef TESTS_UNIT_TOOLS_SIM_CLIENT_H
#define TESTS_UNIT_TOOLS_SIM_CLIENT_H

#include <curl/curl.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLIENT_LIMIT_MS 20000L

struct client {
	unsigned port;
	const char *user, *password; /* basic; password NULL: none */
	const char *bearer;          /* instead */
	const char *ca;              /* PEM file: https */
	const char *type;            /* of bodies; NULL: application/json */
	long limit_ms;               /* 0: CLIENT_LIMIT_MS */
	CURL *curl;                  /* keeps its connection between calls; NULL: one a call */
};

struct reply {
	CURLcode rc;
	long status;
	char *body; /* never NULL */
	size_t len;
	json_t *json; /* NULL: the body is none */
	char type[64];
};

static inline size_t client_take(char *data, size_t size, size_t n, void *arg)
{
	struct reply *r = arg;
	char *body = realloc(r->body, r->len + size * n + 1);

	if (!body)
		return 0;
	r->body = body;
	memcpy(body + r->len, data, size * n);
	r->len += size * n;
	body[r->len] = '\0';
	return size * n;
}

static inline void client_setup(CURL *curl, const struct client *c, struct curl_slist **headers)
{
	char text[512];

	snprintf(text, sizeof text, "Content-Type: %s", c->type ? c->type : "application/json");
	*headers = curl_slist_append(NULL, text);
	if (c->bearer) {
		snprintf(text, sizeof text, "Authorization: Bearer %s", c->bearer);
		*headers = curl_slist_append(*headers, text);
	} else if (c->password) {
		curl_easy_setopt(curl, CURLOPT_USERNAME, c->user ? c->user : "");
		curl_easy_setopt(curl, CURLOPT_PASSWORD, c->password);
	}
	curl_easy_setopt(curl, CURLOPT_HTTPHEADER, *headers);
	if (c->ca)
		curl_easy_setopt(curl, CURLOPT_CAINFO, c->ca);
	curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(curl, CURLOPT_PROXY, "");
	curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, c->limit_ms ? c->limit_ms : CLIENT_LIMIT_MS);
}

/* To be freed by client_done(). */
static inline struct reply client_call(const struct client *c, const char *method, const char *path,
				       const char *body)
{
	struct reply r = { .body = calloc(1, 1) };
	struct curl_slist *headers = NULL;
	CURL *curl = c->curl ? c->curl : curl_easy_init();
	char url[1024], *type = NULL;

	snprintf(url, sizeof url, "%s://127.0.0.1:%u%s", c->ca ? "https" : "http", c->port, path);
	curl_easy_reset(curl);
	client_setup(curl, c, &headers);
	curl_easy_setopt(curl, CURLOPT_URL, url);
	curl_easy_setopt(curl, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(curl, CURLOPT_CUSTOMREQUEST, method);
	if (body)
		curl_easy_setopt(curl, CURLOPT_POSTFIELDS, body);
	curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, client_take);
	curl_easy_setopt(curl, CURLOPT_WRITEDATA, &r);
	r.rc = curl_easy_perform(curl);
	curl_easy_getinfo(curl, CURLINFO_RESPONSE_CODE, &r.status);
	curl_easy_getinfo(curl, CURLINFO_CONTENT_TYPE, &type);
	snprintf(r.type, sizeof r.type, "%s", type ? type : "");
	r.json = json_loads(r.body, JSON_DECODE_ANY, NULL);
	curl_slist_free_all(headers);
	if (!c->curl)
		curl_easy_cleanup(curl);
	return r;
}

static inline void client_done(struct reply *r)
{
	json_decref(r->json);
	free(r->body);
	memset(r, 0, sizeof *r);
}

#endif
