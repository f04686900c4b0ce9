/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to the broker: "METHOD PATH\n" and a body. Each is answered by an object, and none, whatever it says,
 * gets 500. The store is a file of its own, on the fake storage, without workers. */
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "tests/fake/fake_broker.h"
#include "tests/fake/fake_provider.h"

#define AUTH "Basic dTpw"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct fake_broker f;

static void finish(void)
{
	fake_broker_stop(&f);
}

static void start(void)
{
	static bool started;

	if (started)
		return;
	started = true;
	if (fake_broker_start(&f, NULL) || !fake_broker_stop_workers(&f, 10000))
		abort();
	atexit(finish);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *end = memchr(data, '\n', size), *space;
	char method[8] = "", path[300] = "";
	struct osb_call q = { .method = method,
			      .path = path,
			      .authorization = AUTH,
			      .version = "2.17",
			      .accepts_incomplete = "true",
			      .service_id = "s-nfs",
			      .plan_id = "existing" };
	struct osb_reply r;
	json_t *j;
	char *body;

	start();
	space = end ? memchr(data, ' ', (size_t)(end - (const char *)data)) : NULL;
	if (!space || space - (const char *)data >= (ptrdiff_t)sizeof method ||
	    end - space > (ptrdiff_t)sizeof path)
		return 0;
	memcpy(method, data, (size_t)(space - (const char *)data));
	memcpy(path, space + 1, (size_t)(end - space - 1));
	q.len = size - (size_t)(end + 1 - (const char *)data);
	body = malloc(q.len + 1); /* its end is watched */
	if (!body)
		return 0;
	memcpy(body, end + 1, q.len);
	body[q.len] = '\0';
	q.body = body;
	/* What made something here would wait for workers. */
	if (!strstr(body, "\"folder\"") && !strstr(path, "dashboard")) {
		osb_answer(&f.b, &q, &r);
		j = json_loads(r.text, 0, NULL);
		if (!json_is_object(j) || (r.status >= 500 && r.status != 503))
			abort();
		json_decref(j);
		free(r.text);
	}
	free(body);
	return 0;
}
