/* SPDX-License-Identifier: Apache-2.0 */
/* local_map.c - which machine has an image: the text of a symbolic link, which only one can make */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backends/providers/local_impl.h"

/* By what a machine goes; NULL: nothing that can be noted. */
static const char *identity(const struct provider_host *h)
{
	const char *id = h->sdc_guid ? h->sdc_guid : h->nqn ? h->nqn : h->address;

	return id && *id && strlen(id) < NAME_MAX ? id : NULL;
}

/* Who has it; "" nobody. */
static void read_holder(int root, const char *name, char *buf, size_t cap)
{
	char side[LOCAL_SIDE_MAX];
	ssize_t n;

	local_side_name("map", name, side);
	n = readlinkat(root, side, buf, cap - 1);
	buf[n > 0 ? n : 0] = '\0';
}

int local_map_image(int root, const char *name, const struct provider_host *host,
		    struct provider_mapping *out, struct err *err)
{
	const char *id = identity(host);
	char side[LOCAL_SIDE_MAX], holder[NAME_MAX + 1];
	struct stat st;

	if (!id)
		return err_set(err, -EINVAL, "a machine without a name cannot use volumes");
	local_side_name("map", name, side);
	if (!symlinkat(id, root, side))
		return 0;
	if (errno != EEXIST)
		return local_failed(err, "make", side);
	read_holder(root, name, holder, sizeof holder);
	out->was_mapped = !strcmp(holder, id);
	if (out->was_mapped)
		return 0;
	snprintf(out->holder, sizeof out->holder, "%.120s", holder);
	snprintf(out->holder_guid, sizeof out->holder_guid, "%.60s", holder);
	out->holder_connected = true; /* a file cannot tell: nobody is to be fenced for that */
	if (local_has_side(root, "map", name, &st))
		out->holder_since = (uint64_t)st.st_mtim.tv_sec;
	return err_set(err, -EBUSY, "volume %s is used by %.100s", name, holder);
}

void local_unmap_image(int root, const char *name, const struct provider_host *host)
{
	const char *id = identity(host);
	char holder[NAME_MAX + 1];

	read_holder(root, name, holder, sizeof holder);
	if (id && !strcmp(holder, id))
		local_drop_side(root, "map", name);
}
