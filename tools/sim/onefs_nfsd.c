/* SPDX-License-Identifier: Apache-2.0 */
/* onefs_nfsd.c - nfs-ganesha as the NFS service of the simulated cluster */
#include <errno.h>
#include "tools/sim/onefs_impl.h"

int onefs_nfsd_start(struct onefs *o, struct err *err)
{
	(void)o;
	return err_set(err, -EOPNOTSUPP, "ganesha is not supported yet");
}

void onefs_nfsd_stop(struct onefs *o)
{
	(void)o;
}

void onefs_nfsd_reload(struct onefs *o)
{
	(void)o;
}
