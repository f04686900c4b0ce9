#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 13_server_restart.sh - a server that is killed and started again, many times, while
# programs write and make and remove files: they see a delay, no error, no wrong byte
fits="nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/load.sh
. "${BASH_SOURCE%/*}/lib/load.sh"

# shellcheck disable=SC2154 # server_pid is server.sh's
server_kill_and_start() {
	kill -KILL "$server_pid"
	wait "$server_pid" 2>/dev/null || true
	sleep "0.$((RANDOM % 6))"
	ganesha.nfsd -F -f "$work/ganesha.conf" -p "$work/ganesha.pid" -L "$work/log/ganesha" \
		</dev/null >>"$work/log/ganesha.out" 2>&1 &
	server_pid=$!
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
