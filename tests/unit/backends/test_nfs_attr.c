/* SPDX-License-Identifier: Apache-2.0 */
/* Which of two replies about a node is believed, when they overtake each other. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "backends/nfs/nfs_impl.h"

static struct {
	struct nfs_backend b;
	struct nfs_node node;
} t;

static int up(void **state)
{
	(void)state;
	memset(&t, 0, sizeof t);
	t.node.base.be = &t.b.base;
	t.node.base.type = S_IFREG;
	mutex_init(&t.node.lock, LOCK_be_node);
	return 0;
}

static int down(void **state)
{
	(void)state;
	mutex_done(&t.node.lock);
	return 0;
}

static struct be_attr attr(time_t mtime, time_t ctime)
{
	return (struct be_attr){ .mode = S_IFREG | 0644,
				 .size = 5,
				 .mtime.tv_sec = mtime,
				 .ctime.tv_sec = ctime };
}

/* A SETATTR of ours that sets mtime, as the server tells of it. */
static void change_mtime(time_t mtime, time_t ctime, struct nstamp sent)
{
	struct nfs_wcc wcc = { .post_valid = true, .post = attr(mtime, ctime) };

	nattr_begin(&t.node);
	nattr_wcc(&t.node, &wcc, sent);
	nattr_end(&t.node);
}

static void know(time_t mtime, time_t ctime)
{
	struct be_attr a = attr(mtime, ctime);

	nattr_update(&t.node, &a, nattr_stamp(&t.b));
}

/* What is believed without asking is this; nothing is fine too. */
static void believed_at_most(time_t mtime)
{
	struct be_attr a;

	if (nattr_fresh(&t.node, &a))
		assert_int_equal(a.mtime.tv_sec, mtime);
}

static void an_older_reply_changes_nothing(void **state)
{
	struct be_attr old = attr(10, 10), now;
	struct nstamp before;

	(void)state;
	know(10, 10);
	before = nattr_stamp(&t.b);
	change_mtime(3, 20, nattr_stamp(&t.b));
	nattr_update(&t.node, &old, before);
	assert_true(nattr_fresh(&t.node, &now));
	assert_int_equal(now.mtime.tv_sec, 3);
}

static void a_newer_reply_that_was_overtaken_is_taken(void **state)
{
	struct be_attr later = attr(30, 30), now;
	struct nstamp before = nattr_stamp(&t.b);

	(void)state;
	know(10, 10);
	nattr_update(&t.node, &later, before);
	assert_true(nattr_fresh(&t.node, &now));
	assert_int_equal(now.mtime.tv_sec, 30);
}

/* Two changes in one tick of the server's clock: the order of replies proves nothing. */
static void within_a_tick_nothing_is_believed(void **state)
{
	struct be_attr old = attr(10, 10);
	struct nstamp before;

	(void)state;
	know(10, 10);
	before = nattr_stamp(&t.b);
	change_mtime(3, 10, nattr_stamp(&t.b));
	nattr_update(&t.node, &old, before);
	believed_at_most(3);
}

/* The server's clock was set back between a write and a change of ours. */
static void a_change_of_ours_counts_whatever_the_clock_says(void **state)
{
	struct nstamp before;

	(void)state;
	know(10, 10);
	before = nattr_stamp(&t.b);
	know(11, 11);
	change_mtime(3, 5, before);
	believed_at_most(3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(an_older_reply_changes_nothing, up, down),
		cmocka_unit_test_setup_teardown(a_newer_reply_that_was_overtaken_is_taken, up,
						down),
		cmocka_unit_test_setup_teardown(within_a_tick_nothing_is_believed, up, down),
		cmocka_unit_test_setup_teardown(a_change_of_ours_counts_whatever_the_clock_says, up,
						down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
