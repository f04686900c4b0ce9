/* SPDX-License-Identifier: Apache-2.0 */
/* tsan.h - what ThreadSanitizer cannot see by itself; nothing in other builds
 *
 * TSAN_RELEASE(p), TSAN_ACQUIRE(p): an order that the kernel provides.
 * TSAN_PAYLOAD(statement): copies bytes of files. As with any page cache, a program
 * that reads what another is writing gets a mixture; that is its own affair. */
#ifndef COMMON_TSAN_H
#define COMMON_TSAN_H

#ifdef __has_feature
#if __has_feature(thread_sanitizer)
#define BUILT_WITH_TSAN
#endif
#endif
#ifdef __SANITIZE_THREAD__
#define BUILT_WITH_TSAN
#endif

#ifdef BUILT_WITH_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
void AnnotateIgnoreReadsBegin(const char *file, int line);
void AnnotateIgnoreReadsEnd(const char *file, int line);
void AnnotateIgnoreWritesBegin(const char *file, int line);
void AnnotateIgnoreWritesEnd(const char *file, int line);
#define TSAN_ACQUIRE(p) __tsan_acquire(p)
#define TSAN_RELEASE(p) __tsan_release(p)
#define TSAN_PAYLOAD(statement)                                \
	do {                                                   \
		AnnotateIgnoreReadsBegin(__FILE__, __LINE__);  \
		AnnotateIgnoreWritesBegin(__FILE__, __LINE__); \
		statement;                                     \
		AnnotateIgnoreWritesEnd(__FILE__, __LINE__);   \
		AnnotateIgnoreReadsEnd(__FILE__, __LINE__);    \
	} while (0)
#else
#define TSAN_ACQUIRE(p) ((void)(p))
#define TSAN_RELEASE(p) ((void)(p))
#define TSAN_PAYLOAD(statement) \
	do {                    \
		statement;      \
	} while (0)
#endif

#endif
