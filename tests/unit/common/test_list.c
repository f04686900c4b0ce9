/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/list.h"

struct item {
	int value;
	struct list link;
};

static void push(struct list *head, struct item *it, int value)
{
	it->value = value;
	list_push_back(head, &it->link);
}

static void assert_values(struct list *head, const int *values, size_t n)
{
	size_t i = 0;

	list_for_each(it, head) {
		assert_true(i < n);
		assert_int_equal(list_entry(it, struct item, link)->value, values[i++]);
	}
	assert_int_equal(i, n);
	/* and backwards */
	for (struct list *it = head->prev; it != head; it = it->prev)
		assert_int_equal(list_entry(it, struct item, link)->value, values[--i]);
}

static void elements_keep_their_order(void **state)
{
	struct list head = LIST_INIT(head);
	struct item it[4];

	(void)state;
	assert_true(list_empty(&head));
	assert_null(list_pop(&head));
	push(&head, &it[0], 1);
	push(&head, &it[1], 2);
	it[2].value = 0;
	list_push_front(&head, &it[2].link);
	assert_values(&head, (const int[]){ 0, 1, 2 }, 3);
	assert_ptr_equal(list_first(&head, struct item, link), &it[2]);
	assert_ptr_equal(list_pop(&head), &it[2].link);
	assert_values(&head, (const int[]){ 1, 2 }, 2);
}

static void deleting_twice_is_harmless(void **state)
{
	struct list head = LIST_INIT(head);
	struct item it[2];

	(void)state;
	push(&head, &it[0], 1);
	push(&head, &it[1], 2);
	list_del(&it[0].link);
	list_del(&it[0].link);
	assert_true(list_empty(&it[0].link));
	assert_values(&head, (const int[]){ 2 }, 1);
}

static void splicing_moves_all(void **state)
{
	struct list a = LIST_INIT(a), b = LIST_INIT(b);
	struct item it[4];

	(void)state;
	push(&a, &it[0], 1);
	list_splice(&a, &b);
	assert_values(&a, (const int[]){ 1 }, 1);
	push(&b, &it[1], 2);
	push(&b, &it[2], 3);
	list_splice(&a, &b);
	assert_true(list_empty(&b));
	assert_values(&a, (const int[]){ 1, 2, 3 }, 3);
}

static void elements_may_be_deleted_while_walking(void **state)
{
	struct list head = LIST_INIT(head);
	struct item it[5];

	(void)state;
	for (int i = 0; i < 5; i++)
		push(&head, &it[i], i);
	list_for_each_safe(at, next, &head)
		if (list_entry(at, struct item, link)->value % 2 == 0)
			list_del(at);
	assert_values(&head, (const int[]){ 1, 3 }, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elements_keep_their_order),
		cmocka_unit_test(deleting_twice_is_harmless),
		cmocka_unit_test(splicing_moves_all),
		cmocka_unit_test(elements_may_be_deleted_while_walking),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
