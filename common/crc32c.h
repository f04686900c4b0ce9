/* SPDX-License-Identifier: Apache-2.0 */
/* crc32c.h - CRC-32C (Castagnoli, RFC 3720 B.4), by the CPU's instruction where it has one
 *
 * The plain register: start value and final inversion are the caller's. jbd2 and ext4 start with ~0 and do not
 * invert; NVMe/TCP digests start with ~0 and invert. Any thread. */
#ifndef COMMON_CRC32C_H
#define COMMON_CRC32C_H

#include <stddef.h>
#include <stdint.h>

uint32_t crc32c(uint32_t crc, const void *p, size_t n);

#endif
