/* SPDX-License-Identifier: Apache-2.0 */
/* nvme_cli.h - "persifs-sim nvme": another program in the same file; main() hands over before it parses anything */
#ifndef TOOLS_SIM_NVME_CLI_H
#define TOOLS_SIM_NVME_CLI_H

/* argv[0] is "nvme". The exit status. Once in a process. */
int nvme_cli(int argc, char **argv);

#endif
