#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 14_failover.sh - the server dies, another one on the same store takes over at
# another address, and the name leads there: programs see a delay only
fits="nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/load.sh
. "${BASH_SOURCE%/*}/lib/load.sh"

name_leads_to() { printf '127.0.0.1 localhost\n%s cluster.test\n' "$1" >"$work/hosts"; }

node_takes_over() { # ADDRESS
	server_kill
	sed -i "s/Bind_addr = [0-9.]*/Bind_addr = $1/" "$work/ganesha.conf"
	name_leads_to "$1"
	server_run
}

scenario() {
	local moves i
	moves=$(scaled 3 20 2)
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || skip "/etc/hosts is not ours to change"
	name_leads_to 127.0.0.1
	mount --bind "$work/hosts" /etc/hosts
	uri=${uri/127.0.0.1/cluster.test}
	target_save
	target_mount rpc_timeout=5
	load_start "$(scaled 32 512 16)"
	for ((i = 0; i < moves; i++)); do
		sleep "1.$((RANDOM % 10))"
		node_takes_over "127.0.0.$((2 - i % 2))"
	done
	sleep 2
	load_stop
	target_umount
	load_check "$store"
}

run_scenario "$@"
