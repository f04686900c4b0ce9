#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 24_other_servers.sh - servers that are not like most: one with cookies beyond 2^63 that
# remembers no repeated request, while all goes wrong at once, under verified fio; and two
# nodes with different verifiers on one store, of which one goes down again and again
fits="nfsfault"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/load.sh
. "${BASH_SOURCE%/*}/lib/load.sh"

# Faults a thousand calls, of those that lose nothing.
MIX=(drop:2 lose:2 delay:20 duplicate:40 reorder:40 cut:8 half:1 stall:1 refuse:1 restart:4 crash:4
	short_read:100 short_write:100 fragments:60 wrong_xid:1 unknown:60 no_attr:40 no_handle:50)
OPTIONS=rpc_timeout=400ms

another_server() { # OPTION...
	server_stop
	rm -f "$work/fault.ready"
	server_start_fault "$@"
	uri=$server_uri
	target_save
}

faults_on() {
	local f
	for f in "${MIX[@]}"; do server_say "fault ${f%:*} permille=${f#*:}" >/dev/null; done
}
faults_off() { server_say clear >/dev/null; }
happened() { server_say stats | awk '$1 == "fault" { n += $3 } END { print n + 0 }'; }

long_listing() { # NAMES
	seq -f 'a-name-long-enough-%06g' "$1" >"$work/names"
	mkdir "$mnt/long"
	(cd "$mnt/long" && xargs touch <"$work/names")
	target_remount "$OPTIONS"
	# shellcheck disable=SC2012 # plain names
	ls "$mnt/long" | cmp - "$work/names" || fail "a listing with high cookies differs"
	find "$mnt/long" -type f | wc -l | grep -qx "$1" || fail "find does not see $1 files"
	rm -r "$mnt/long"
}

verified_fio() { # MIB SECONDS
	local how
	for how in write randwrite; do
		fio --name="$how" --filename="$mnt/fio" --rw="$how" --bsrange=4k-256k --size="$1m" \
			--verify=crc32c --do_verify=1 --verify_fatal=1 --verify_state_save=0 --end_fsync=1 --ioengine=psync \
			--randseed="$SEED" --minimal >>"$work/log/fio" 2>&1 || fail "fio $how, seed $SEED"
		timeout 60 "$PERSIFS_CTL" drain "$mnt" || fail "cannot be drained"
	done
	rm "$mnt/fio"
}

names_of_both_nodes() {
	printf '127.0.0.1 localhost\n127.0.0.1 cluster.test\n127.0.0.2 cluster.test\n' >"$work/hosts"
	mount --bind "$work/hosts" /etc/hosts
}

# Verifiers differ: what was not committed is written again.
nodes_take_turns() { # TIMES MIB
	local port i
	port=$(free_port)
	another_server --port "$port" --port2 "$port" --address2 127.0.0.2
	names_of_both_nodes
	# shellcheck disable=SC2034 # target.sh's
	uri=${server_uri/127.0.0.1/cluster.test}
	target_save
	target_mount rpc_timeout=2,nconnect=2
	load_start "$2"
	for ((i = 0; i < $1; i++)); do
		sleep "1.$((RANDOM % 10))"
		server_say "node $((1 + i % 2)) down" >/dev/null
		sleep "0.$((RANDOM % 10))"
		server_say "node $((1 + i % 2)) up" >/dev/null
	done
	load_stop
	target_remount rpc_timeout=2
	load_check "$mnt"
	[ "$(server_say stats | sed -n 's/^unstable_pages //p')" = 0 ] || fail "pages are left uncommitted"
	target_umount
	umount /etc/hosts
}

scenario() {
	local n
	need fio
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || skip "/etc/hosts is not ours to change"
	another_server --cookies high --no-drc
	target_mount "$OPTIONS"
	long_listing "$(scaled 2000 50000)"
	target_remount "$OPTIONS,wsize=16k,rsize=16k" # many calls
	faults_on
	verified_fio "$(scaled 8 128 4)"
	n=$(happened)
	faults_off
	[ "$n" -ge "$(scaled 20 5000 10)" ] || fail "only $n faults"
	log "fio verified under $n faults"
	target_umount
	nodes_take_turns "$(scaled 3 50 2)" "$(scaled 16 64 8)"
}

run_scenario "$@"
