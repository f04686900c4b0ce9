/* SPDX-License-Identifier: Apache-2.0 */
/* powercut.c - nbdkit plugin: a file behind a volatile cache, which the end of the server loses
 *
 *   nbdkit ./nbdkit-powercut-plugin.so file=PATH [size=BYTES] [seed=N] [multi=0]
 *
 * What is written lies in memory until a flush or FUA moves it to the file; a kill -9, or any
 * other end, is a power cut. With a seed, about half of the 512-byte sectors of each write go to the file at once,
 * chosen by it: so a cut leaves an arbitrary subset of what was not flushed, torn at sectors. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define SECTOR 512u
#define SIZE_MAX_BYTES (1ll << 30) /* the cache is as large as the file */

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static char *path;
static int64_t size;
static uint64_t seed;
static int multi = 1;
static int fd = -1;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
/* guarded by lock */
static uint8_t *cache; /* of the whole file; valid where dirty */
static bool *dirty;    /* a sector each */
static uint64_t luck;

static int cut_config(const char *key, const char *value)
{
	if (!strcmp(key, "file")) {
		free(path);
		path = nbdkit_absolute_path(value);
		return path ? 0 : -1;
	}
	if (!strcmp(key, "size")) {
		size = nbdkit_parse_size(value);
		return size < 0 ? -1 : 0;
	}
	if (!strcmp(key, "seed"))
		return nbdkit_parse_uint64_t(key, value, &seed);
	if (!strcmp(key, "multi")) {
		multi = nbdkit_parse_bool(value);
		return multi < 0 ? -1 : 0;
	}
	nbdkit_error("unknown parameter '%s'", key);
	return -1;
}

static int cut_complete(void)
{
	if (path)
		return 0;
	nbdkit_error("parameter file is missing");
	return -1;
}

static int cut_ready(void)
{
	off_t end;

	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	if (end < 0 || (end < size && ftruncate(fd, size))) {
		nbdkit_error("%s: %m", path);
		return -1;
	}
	if (end > size)
		size = end;
	size -= size % SECTOR;
	if (size == 0 || size > SIZE_MAX_BYTES) {
		nbdkit_error("%s: size %lld cannot be", path, (long long)size);
		return -1;
	}
	cache = calloc(1, (size_t)size);
	dirty = calloc((size_t)size / SECTOR, sizeof *dirty);
	luck = seed;
	return cache && dirty ? 0 : -1;
}

static void cut_unload(void)
{
	free(cache);
	free(dirty);
	free(path);
	if (fd >= 0)
		close(fd);
}

static void *cut_open(int readonly)
{
	(void)readonly;
	return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t cut_size(void *handle)
{
	(void)handle;
	return size;
}

static int yes(void *handle)
{
	(void)handle;
	return 1;
}

static int cut_multi(void *handle)
{
	(void)handle;
	return multi;
}

static int cut_can_fua(void *handle)
{
	(void)handle;
	return NBDKIT_FUA_NATIVE;
}

static int cut_blocks(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
	(void)handle;
	*minimum = SECTOR;
	*preferred = 4096;
	*maximum = 32u << 20;
	return 0;
}

static bool next_bit_locked(void)
{
	luck = luck * 6364136223846793005ull + 1442695040888963407ull;
	return luck >> 63;
}

/* To the file, as far as cached. */
static int destage_locked(uint64_t from, uint64_t end)
{
	for (uint64_t s = from; s < end; s++) {
		if (!dirty[s])
			continue;
		if (pwrite(fd, cache + s * SECTOR, SECTOR, (off_t)(s * SECTOR)) != SECTOR) {
			nbdkit_error("%s: %m", path);
			return -1;
		}
		dirty[s] = false;
	}
	return 0;
}

/* data NULL: zeros. Offsets are multiples of SECTOR: cut_blocks() says so, and the client obeys. */
static int change(const uint8_t *data, uint32_t count, uint64_t off, uint32_t flags)
{
	uint64_t from = off / SECTOR, end = (off + count) / SECTOR;
	int rc = 0;

	if (off % SECTOR || count % SECTOR) {
		nbdkit_set_error(EINVAL);
		return -1;
	}
	pthread_mutex_lock(&lock);
	if (data)
		memcpy(cache + off, data, count);
	else
		memset(cache + off, 0, count);
	memset(dirty + from, 1, (size_t)(end - from));
	if (flags & NBDKIT_FLAG_FUA)
		rc = destage_locked(from, end);
	else
		for (uint64_t s = from; seed && s < end && !rc; s++)
			rc = next_bit_locked() ? destage_locked(s, s + 1) : 0;
	pthread_mutex_unlock(&lock);
	return rc;
}

static int cut_pread(void *handle, void *buf, uint32_t count, uint64_t off, uint32_t flags)
{
	ssize_t n;

	(void)handle;
	(void)flags;
	pthread_mutex_lock(&lock);
	n = pread(fd, buf, count, (off_t)off);
	for (uint64_t at = off, next; n == (ssize_t)count && at < off + count; at = next) {
		next = (at / SECTOR + 1) * SECTOR;
		if (next > off + count)
			next = off + count;
		if (dirty[at / SECTOR])
			memcpy((uint8_t *)buf + (at - off), cache + at, (size_t)(next - at));
	}
	pthread_mutex_unlock(&lock);
	return n == (ssize_t)count ? 0 : -1;
}

static int cut_pwrite(void *handle, const void *buf, uint32_t count, uint64_t off, uint32_t flags)
{
	(void)handle;
	return change(buf, count, off, flags);
}

static int cut_zero(void *handle, uint32_t count, uint64_t off, uint32_t flags)
{
	(void)handle;
	return change(NULL, count, off, flags);
}

static int cut_flush(void *handle, uint32_t flags)
{
	int rc;

	(void)handle;
	(void)flags;
	pthread_mutex_lock(&lock);
	rc = destage_locked(0, (uint64_t)size / SECTOR);
	pthread_mutex_unlock(&lock);
	return rc;
}

static struct nbdkit_plugin plugin = {
	.name = "powercut",
	.version = "1",
	.config = cut_config,
	.config_complete = cut_complete,
	.get_ready = cut_ready,
	.unload = cut_unload,
	.open = cut_open,
	.get_size = cut_size,
	.block_size = cut_blocks,
	.can_write = yes,
	.can_flush = yes,
	.can_trim = yes,
	.can_zero = yes,
	.can_fua = cut_can_fua,
	.can_multi_conn = cut_multi,
	.pread = cut_pread,
	.pwrite = cut_pwrite,
	.zero = cut_zero,
	.trim = cut_zero,
	.flush = cut_flush,
	.errno_is_preserved = 0,
};

struct nbdkit_plugin *plugin_init(void); /* its macro declares nothing */
NBDKIT_REGISTER_PLUGIN(plugin)
