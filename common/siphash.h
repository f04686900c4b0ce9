/* SPDX-License-Identifier: Apache-2.0 */
/* siphash.h - SipHash-2-4: a short tag that nobody makes without the key
 *
 * By Aumasson and Bernstein; the unit test has their vectors. Any thread. */
#ifndef COMMON_SIPHASH_H
#define COMMON_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint64_t key[2], const void *data, size_t len);

#endif
