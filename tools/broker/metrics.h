/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h - the broker's counters, and those of its providers, as Prometheus reads them */
#ifndef TOOLS_BROKER_METRICS_H
#define TOOLS_BROKER_METRICS_H

#include <stdio.h>

struct broker;

void broker_metrics_print(FILE *out, struct broker *b);

#endif
