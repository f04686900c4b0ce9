#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 13_server_restart.sh - a server that is killed and started again, many times, while
# programs write and make and remove files: they see a delay, no error, no wrong byte
fits="nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/load.sh
. "${BASH_SOURCE%/*}/lib/load.sh"

server_kill_and_start() {
	server_kill
	sleep "0.$((RANDOM % 6))"
	server_run
}

scenario() {
	local restarts i
	restarts=$(scaled 4 50 2)
	target_mount rpc_timeout=5,nconnect=3
	load_start "$(scaled 48 1024 16)"
	for ((i = 0; i < restarts; i++)); do
		sleep "$((1 + RANDOM % 2)).$((RANDOM % 10))"
		server_kill_and_start
	done
	sleep 1
	load_stop
	target_umount
	load_check "$store"
}

run_scenario "$@"
