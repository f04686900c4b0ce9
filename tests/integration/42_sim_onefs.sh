#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 42_sim_onefs.sh - the simulated OneFS and its real NFS server: an export that a REST call
# makes can be mounted by who is on its lists, and by nobody else
fits="dir"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

SIM=${SIM:-$root/build/$VARIANT/persifs-sim}
sim_pid='' sim_url='' nfs_port='' exports=/platform/2/protocols/nfs/exports

sim_is_up_or_dead() { grep -q listening "$work/log/sim.out" || ! kill -0 "$sim_pid" 2>/dev/null; }

sim_start() {
	nfs_port=$(free_port)
	: >"$work/log/sim.out" # of an earlier one
	"$SIM" onefs --listen tcp:127.0.0.1:0 --root "$store" --state "$work/sim.state" \
		--set ganesha=yes --set "nfs_port=$nfs_port" --set "mount_port=$(free_port)" \
		</dev/null >"$work/log/sim.out" 2>"$work/log/sim" &
	sim_pid=$!
	wait_until 30 sim_is_up_or_dead || fail "the simulator neither starts nor ends"
	sim_url=$(sed -n 's/^persifs-sim: listening on //p' "$work/log/sim.out")
	[ -n "$sim_url" ] || fail "the simulator does not start: $(tail -n 2 "$work/log/sim")"
	mount_port=$(sed -n 's/.*MNT_Port = \([0-9]*\).*/\1/p' "$store/ganesha.conf")
}

# says STATUS METHOD PATH [CURL-OPTION...]: what the call must answer; prints the body
says() {
	local want=$1 answer
	answer=$(curl -s --max-time 30 -u admin:password -X "$2" -w '\n%{http_code}' "${@:4}" "$sim_url$3") ||
		fail "$2 $3: curl ended with $?"
	[ "${answer##*$'\n'}" = "$want" ] || fail "$2 $3: $answer, expected $want"
	printf '%s' "${answer%$'\n'*}"
}
body() { echo "-HContent-Type: application/json"; }
send() { # STATUS METHOD PATH JSON
	says "$1" "$2" "$3" "$(body)" -d "$4"
}

make_dir() { # NAME MODE
	says 200 PUT "/namespace/ifs/$1?recursive=true" -H 'x-isi-ifs-target-type: container' \
		-H "x-isi-ifs-access-control: $2"
}

uri_of() { echo "nfs://127.0.0.1/ifs/$1?nfsport=$nfs_port&mountport=$mount_port&version=3"; }
mount_export() { timeout 60 "$PERSIFS" mount "$(uri_of "$1")" "$mnt" </dev/null; }
is_refused() { fails_with "this host has no access" mount_export "$1"; }
leave() { timeout 60 "$PERSIFS" umount "$mnt" || fail "umount: status $?"; }

ganesha_pid() { cat "$store/ganesha.pid"; }

a_listed_client_reads_and_writes() {
	make_dir cf/v1 0777
	send 201 POST "$exports" '{"paths":["/ifs/cf/v1"],"clients":["localhost","10.0.0.0/8"]}' >/dev/null
	is_refused cf/v1 # "localhost" is the cluster itself
	send 204 PUT "$exports/1" '{"clients":["localhost","127.0.0.1"]}'
	mount_export cf/v1 || fail "a listed client is refused"
	echo text >"$mnt/file"
	sync "$mnt/file"
	[ "$(cat "$store/ifs/cf/v1/file")" = text ] || fail "the data is not in the folder"
	echo more >"$store/ifs/cf/v1/other"
	[ "$(cat "$mnt/other")" = more ] || fail "the folder's data cannot be read"
	leave
}

lists_and_mappings_are_enforced() {
	make_dir cf/v2 0755
	send 201 POST "$exports" '{"paths":["/ifs/cf/v2"],"read_only_clients":["127.0.0.1"]}' >/dev/null
	mount_export cf/v2 || fail "a client for reading is refused"
	fails_as "Read-only file system" touch "$mnt/x"
	leave
	# root is nobody there, until it is in root_clients
	send 204 PUT "$exports/2" '{"read_only_clients":[],"clients":["127.0.0.1"]}'
	mount_export cf/v2
	fails_as "Permission denied" touch "$mnt/x"
	leave
	send 204 PUT "$exports/2" '{"root_clients":["127.0.0.1"]}'
	mount_export cf/v2
	touch "$mnt/x" || fail "root of a root client may not write"
	leave
	send 204 PUT "$exports/2" '{"root_clients":[],"map_root":{"enabled":false}}'
	mount_export cf/v2
	touch "$mnt/y" || fail "root that is not mapped may not write"
	leave
	# open to everybody
	send 204 PUT "$exports/2" '{"clients":[]}'
	mount_export cf/v2 || fail "an export without clients is not open"
	leave
	says 204 DELETE "$exports/2"
	fails_with "" mount_export cf/v2
}

usage_is_real() {
	send 201 POST /platform/1/quota/quotas '{"path":"/ifs/cf/v1","type":"directory","enforced":true,
		"include_snapshots":false,"thresholds_include_overhead":false,"container":true,
		"thresholds":{"hard":1048576}}' >/dev/null
	mount_export cf/v1
	dd if=/dev/zero of="$mnt/big" bs=64k count=32 conv=fsync status=none
	leave
	says 200 GET '/platform/1/quota/quotas?path=/ifs/cf/v1' | grep -q '"hard_exceeded":true' ||
		fail "the quota does not see what was written"
	says 409 DELETE '/namespace/ifs/cf/v1?recursive=true' | grep -q AEC_CONFLICT
	says 204 DELETE '/platform/1/quota/quotas?path=/ifs/cf/v1&type=directory'
}

# The server that a simulator leaves behind would hold its port for ever.
it_takes_its_server_along() {
	local pid
	pid=$(ganesha_pid)
	kill -KILL "$sim_pid"
	wait "$sim_pid" 2>/dev/null || true
	wait_until 10 process_is_gone "$pid" || fail "a killed simulator leaves its server behind"
	sim_start
	mount_export cf/v1 || fail "the export is gone after a restart"
	[ "$(cat "$mnt/file")" = text ] || fail "the data is gone after a restart"
	leave
	pid=$(ganesha_pid)
	kill -TERM "$sim_pid"
	wait "$sim_pid" || fail "the simulator ended with status $?"
	process_is_gone "$pid" || fail "SIGTERM leaves its server behind"
	sim_pid=''
}

scenario() {
	need curl ganesha.nfsd rpcbind rpcinfo
	[ -x "$SIM" ] || skip "no program $SIM"
	[ "$(id -u)" = 0 ] || skip "an NFS server wants root"
	rpcbind_start
	sim_start
	a_listed_client_reads_and_writes
	lists_and_mappings_are_enforced
	usage_is_real
	it_takes_its_server_along
	server_stop
}

run_scenario "$@"
