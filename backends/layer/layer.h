/* SPDX-License-Identifier: Apache-2.0 */
/* layer.h - stackable layers: faults, delays and traces above any backend
 *
 * A layer fills the same table as a backend and passes on what it does not
 * touch; nodes are the lower backend's own. Closing a layer closes what is
 * below it. */
#ifndef BACKENDS_LAYER_LAYER_H
#define BACKENDS_LAYER_LAYER_H

#include "backends/backend.h"

/* Puts the layers of spec, first one lowest, above below. Layers are separated
 * by commas; a part that does not start with a layer's name belongs to the one
 * before it: "fault:write=3:EIO,read=1+:EIO,trace". NULL and "" give below
 * itself. On failure below is still the caller's and nothing is above it. */
int layers_open(const char *spec, struct backend *below, struct backend **out, struct err *err);

#endif
