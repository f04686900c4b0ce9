/* SPDX-License-Identifier: Apache-2.0 */
/* Opens and removals of one file take turns, and an open is not lost for ever to a program that
 * keeps replacing the file's name. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* cmocka wants the four above first */
#include <cmocka.h>
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "backends/nfs/silly_impl.h"
#include "common/clock.h"

static struct {
	struct nfs_backend b;
	struct nfs_node first, second; /* one name leads to them, one after the other */
	const struct be_call call;
} t;

static void node_up(struct nfs_node *n)
{
	n->base.be = &t.b.base;
	n->base.type = S_IFREG;
	mutex_init(&n->lock, LOCK_be_node);
}

static int up(void **state)
{
	(void)state;
	memset(&t.b, 0, sizeof t.b);
	memset(&t.first, 0, sizeof t.first);
	memset(&t.second, 0, sizeof t.second);
	mutex_init(&t.b.removal_lock, LOCK_be_tree);
	cond_init(&t.b.removal_over);
	node_up(&t.first);
	node_up(&t.second);
	return 0;
}

static int down(void **state)
{
	(void)state;
	mutex_done(&t.first.lock);
	mutex_done(&t.second.lock);
	cond_done(&t.b.removal_over);
	mutex_done(&t.b.removal_lock);
	return 0;
}

/* A RENAME of something else over the name of n. */
struct replacer {
	pthread_t thread;
	struct nfs_node *n;
	bool found_open;
	int rc;
};

static void *replace(void *arg)
{
	struct replacer *r = arg;

	r->rc = removal_begin(r->n, &t.call, &r->found_open);
	if (!r->rc)
		removal_end(r->n, true);
	return NULL;
}

static void first_is_replaced_before_its_open(void)
{
	struct replacer r = { .n = &t.first };

	be_nfs_open_expect(&t.first); /* nothing was lost yet: nobody waits */
	replace(&r);
	assert_int_equal(r.rc, 0);
	assert_false(r.found_open);
	assert_int_equal(be_nfs_open_count(&t.first, &t.call), -ESTALE);
}

static void the_open_after_a_lost_one_is_waited_for(void **state)
{
	struct replacer r = { .n = &t.second };

	(void)state;
	first_is_replaced_before_its_open();
	be_nfs_open_expect(&t.second); /* the kernel has asked for the name again */
	assert_int_equal(pthread_create(&r.thread, NULL, replace, &r), 0);
	usleep(20000);
	assert_int_equal(be_nfs_open_count(&t.second, &t.call), 0);
	pthread_join(r.thread, NULL);
	assert_int_equal(r.rc, 0);
	assert_true(r.found_open);
	be_nfs_open_uncount(&t.second);
}

static void a_removal_does_not_wait_for_ever(void **state)
{
	struct replacer r = { .n = &t.second };

	(void)state;
	first_is_replaced_before_its_open();
	be_nfs_open_expect(&t.second); /* for a stat() */
	replace(&r);
	assert_int_equal(r.rc, 0);
	assert_false(r.found_open);
}

static void an_interrupted_removal_does_not_wait(void **state)
{
	_Atomic bool interrupted = true;
	const struct be_call call = { .interrupted = &interrupted };
	bool open;

	(void)state;
	first_is_replaced_before_its_open();
	be_nfs_open_expect(&t.second);
	assert_int_equal(removal_begin(&t.second, &call, &open), -EINTR);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, up, down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_open_after_a_lost_one_is_waited_for),
		TEST(a_removal_does_not_wait_for_ever),
		TEST(an_interrupted_removal_does_not_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
