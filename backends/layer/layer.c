/* SPDX-License-Identifier: Apache-2.0 */
#include "backends/layer/layer.h"

#include <errno.h>

int layers_open(const char *spec, struct backend *below, struct backend **out, struct err *err)
{
	if (spec && *spec)
		return err_set(err, -EINVAL, "unknown layer '%.100s'", spec);
	*out = below;
	return 0;
}
