/* SPDX-License-Identifier: Apache-2.0 */
/* osb_test.h - requests of a platform, and what is expected of their answers */
#ifndef TESTS_UNIT_TOOLS_OSB_TEST_H
#define TESTS_UNIT_TOOLS_OSB_TEST_H

#include "tests/unit/tools/broker_test.h"

#define IDS "service_id=s-files&plan_id=big"
#define FILES(plan) "\"service_id\":\"s-files\",\"plan_id\":\"" plan "\""
#define CONTEXT "\"context\":{\"platform\":\"cloudfoundry\"}"
#define MAKE(plan) "{" FILES(plan) "," CONTEXT "}"
#define BIND(app) "{" FILES("big") ",\"bind_resource\":{\"app_guid\":\"" app "\"}}"

static inline void expect(const char *method, const char *path, const char *body, unsigned status,
			  const char *word)
{
	struct fake_answer a = fake_call(&f, method, path, body);

	if (a.status != status || strcmp(fake_text(&a, "error"), word ? word : ""))
		print_error("%s %s %s: %u %s\n", method, path, body ? body : "", a.status, a.text);
	assert_int_equal(a.status, status);
	assert_string_equal(fake_text(&a, "error"), word ? word : "");
	assert_true(json_is_object(a.json)); /* bodies are never empty */
	if (status >= 400 && status != 410)
		assert_true(strlen(fake_text(&a, "description")) > 0);
	fake_answer_done(&a);
}

static inline void expect_text(const char *method, const char *path, const char *body,
			       unsigned status, const char *part)
{
	struct fake_answer a = fake_call(&f, method, path, body);

	if (a.status != status || !strstr(a.text, part))
		print_error("%s %s %s: %u %s\n", method, path, body ? body : "", a.status, a.text);
	assert_int_equal(a.status, status);
	assert_non_null(strstr(a.text, part));
	fake_answer_done(&a);
}

static inline void make(const char *id, const char *plan)
{
	char path[300], body[300];

	snprintf(path, sizeof path, I "%s" ASYNC, id);
	snprintf(body, sizeof body, "{\"service_id\":\"s-files\",\"plan_id\":\"%s\"," CONTEXT "}",
		 plan);
	expect("PUT", path, body, 202, NULL);
	assert_string_equal(fake_wait(&f, id), "succeeded");
}

struct line {
	const char *method, *path, *body;
	unsigned status;
	const char *word;
};

static inline void run(const struct line *l, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (*l[i].method == '~')
			assert_string_equal(fake_wait(&f, l[i].path), l[i].body);
		else
			expect(l[i].method, l[i].path, l[i].body, l[i].status, l[i].word);
	}
}

#endif
