#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 50_block_restart.sh - the server of a network device is killed and started again, over and over, under a load that knows
# what every sector holds. The server has a volatile cache, which is lost each time. Nobody above may notice: no error, no
# lost or stale byte. Then it stops for three seconds in the middle of a load, and goes on.
fits="nbd nvme"
# shellcheck disable=SC2034 # for target.sh
own_targets=yes
export STORE_MIB=256
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

SIM=${SIM:-$root/build/$VARIANT/persifs-sim}
DEVTEST=${DEVTEST:-$root/build/$VARIANT/tests/tools/devtest}
SIZE_MIB=48 SCALE_MIB=$(scaled 1 4)
PROGRESS=$((SCALE_MIB << 20)) # bytes that the server wrote to its file
server_pid='' device_uri='' load_pid='' mark=0

# ---- servers: NAME_start starts $server_pid and sets $device_uri; NAME_listens tells when it does ---------------

nbd_start() {
	rm -f "$work/socket"
	nbdkit -f -U "$work/socket" "$(tool nbdkit-powercut-plugin.so)" file="$work/store/image" size=${SIZE_MIB}M \
		seed="$SEED" >>"$work/log/server" 2>&1 &
	server_pid=$!
	device_uri="nbd+unix:///?socket=$work/socket"
}
nbd_listens() { [ -S "$work/socket" ]; }
nbd_can() { need nbdkit; }

nvme_port=''
nvme_start() {
	: >"$work/log/listen"
	"$SIM" nvme --listen "tcp:127.0.0.1:${nvme_port:-0}" --file "$work/store/image" --size ${SIZE_MIB}m --volatile-cache \
		--seed "$SEED" >"$work/log/listen" 2>>"$work/log/server" &
	server_pid=$!
}
nvme_listens() {
	device_uri=$(sed -n 's/.*listening on //p' "$work/log/listen")
	nvme_port=${device_uri##*127.0.0.1:} nvme_port=${nvme_port%%/*}
	[ -n "$nvme_port" ]
}
nvme_can() {
	[ -x "$SIM" ] || skip "no program $SIM"
	grep -q volatile-cache <<<"$("$SIM" nvme --help 2>/dev/null)" || skip "persifs-sim has no nvme"
}

start() {
	"${target}_start"
	wait_until 20 "${target}_listens" || fail "the server does not start"
	mark=0
}

written() { sed -n 's/^wchar: //p' "/proc/$server_pid/io"; }

stop() {
	kill -KILL "$server_pid"
	wait "$server_pid" 2>/dev/null || true
	server_pid=''
}

# ---- the load --------------------------------------------------------------------------------------------------

load_start() {
	mark=$(written)
	"$DEVTEST" --uri "$device_uri" --test load --restartable --settle-ms 50 --ops 60000000 --seed "$SEED" \
		--limit-s 3000 >"$work/log/load" 2>&1 &
	load_pid=$!
}

load_end() { # ends it early; all that it did is judged
	local rc=0
	kill -TERM "$load_pid" || true
	wait "$load_pid" || rc=$?
	[ "$rc" = 0 ] || fail "devtest: status $rc: $(grep -v 'nbd: \|nvme: ' "$work/log/load" | tail -n 5)"
	grep -q 'devtest: passed' "$work/log/load" || fail "devtest: $(tail -n 3 "$work/log/load")"
	log "$(grep '^load:' "$work/log/load" | tail -n 1)"
}

lives() { kill -0 "$1" 2>/dev/null; }

# The server wrote so much to its file, of this load and since it started.
has_worked() {
	lives "$load_pid" || fail "devtest has ended: $(tail -n 5 "$work/log/load")"
	lives "$server_pid" || fail "the server has ended: $(tail -n 5 "$work/log/server")"
	[ "$(written)" -gt $((mark + PROGRESS)) ]
}

killed_again_and_again() { # N
	local i
	load_start
	for ((i = 1; i <= $1; i++)); do
		wait_until 60 has_worked || fail "no progress before restart $i"
		stop
		# Sometimes it stays away for a while.
		[ $((i % 4)) != 0 ] || sleep 0.3
		start
	done
	wait_until 60 has_worked || fail "no progress after the last restart"
	load_end
	[ "$(sed -n 's/^load:.*reconnects \([0-9]*\).*/\1/p' "$work/log/load" | tail -n 1)" -ge "$1" ] ||
		fail "fewer reconnects than $1 restarts"
	[ "$(sed -n 's/^load:.*resent \([0-9]*\),.*/\1/p' "$work/log/load" | tail -n 1)" -gt 0 ] ||
		fail "nothing was sent again"
}

stopped_for_a_while() {
	load_start
	wait_until 60 has_worked || fail "no progress"
	kill -STOP "$server_pid"
	sleep 3
	lives "$load_pid" || fail "devtest has ended while its server stood still"
	kill -CONT "$server_pid"
	sleep 0.5
	load_end
}

scenario() {
	"${target}_can"
	[ -x "$DEVTEST" ] || DEVTEST=$(tool devtest)
	start
	killed_again_and_again "$(scaled 8 100 4)"
	stopped_for_a_while
	stop
}

run_scenario "$@"
