#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 53_nvmet.sh - our NVMe/TCP initiator against somebody else's target: that of the Linux kernel, in a qemu guest made of Debian
# packages (tests/tools/nvmet_guest.py). The simulated target shares the codec with the initiator; this one does not.
#
# NVMET_KERNEL: a folder with an unpacked linux-image-6.1.0-*-amd64, or / where it is installed; tests/README.md tells how.
fits="nvmet"
# shellcheck disable=SC2034 # of target.sh
own_targets=yes STORE_MIB=256
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

DEVTEST=${DEVTEST:-$root/build/$VARIANT/tests/tools/devtest} # under test, so of this variant
NVMET_KERNEL=${NVMET_KERNEL:-/}
NQN=nqn.2014-08.example.persifs:guest
BOOT_S=120 # emulated, on a busy machine
ops=$(scaled 2000 20000 1000)
guest_pid='' load_pid='' uri_of_guest=''

guest() { # ACTION [OPTION...]
	python3 "$root/tests/tools/nvmet_guest.py" "$1" --work "$work/guest" "${@:2}"
}

guest_is_up_or_dead() { grep -q 'nvmet ready' "$work/guest/console" 2>/dev/null || ! kill -0 "$guest_pid" 2>/dev/null; }

guest_start() {
	local port
	mkdir "$work/guest"
	truncate -s 64M "$store/small" "$store/large"
	port=$(free_port)
	guest run --kernel "$NVMET_KERNEL" --port "$port" --nqn "$NQN" \
		--image "$store/small:512" --image "$store/large:4096" >"$work/log/guest" 2>&1 &
	guest_pid=$!
	wait_until "$BOOT_S" guest_is_up_or_dead || fail "the guest does not come up: $(tail -n 3 "$work/guest/console")"
	kill -0 "$guest_pid" 2>/dev/null || fail "the guest has ended: $(tail -n 3 "$work/log/guest" "$work/guest/console")"
	uri_of_guest=nvme-tcp://127.0.0.1:$port
	log "Linux $(sed -n 's/.*Linux version \([^ ]*\).*/\1/p' "$work/guest/console")"
}

# devtest PARAMETERS [OPTION...]
devtest() {
	local rc=0
	timeout 900 "$DEVTEST" --uri "$uri_of_guest/$NQN?$1" --seed "$SEED" --limit-s "$(scaled 120 900)" "${@:2}" \
		>"$work/log/devtest" 2>&1 || rc=$?
	sed 's/^/  /' "$work/log/devtest"
	[ "$rc" = 0 ] || fail "status $rc of devtest for '$1', seed $SEED; the guest: $(tail -n 3 "$work/guest/console")"
}

load_begins() { [ -s "$work/log/devtest" ] || ! kill -0 "$load_pid" 2>/dev/null; }

# The guest's port goes away under load, and comes back: nobody above may notice.
port_goes_and_comes() { # PARAMETERS
	local i
	: >"$work/log/devtest"
	devtest "$1" --test load --restartable --settle-ms 100 --ops $((ops * 10)) >"$work/log/load" &
	load_pid=$!
	for i in 1 2 3; do
		wait_until 60 load_begins || fail "no load begins"
		sleep 1
		guest say down || fail "the port does not go"
		sleep 0.5
		guest say up || fail "the port does not come back"
	done
	wait "$load_pid" || fail "under restart $i: $(tail -n 3 "$work/log/load")"
	cat "$work/log/load"
	grep -q 'reconnects [3-9]' "$work/log/load" || fail "the connection was not lost three times"
}

leave() {
	local rc=$?
	set +e
	trap - ERR
	[ "$rc" = 0 ] || tail -n 20 "$work/guest/console" 2>/dev/null
	end_process "$load_pid"
	end_process "$guest_pid"
	(exit "$rc")
	cleanup
}

scenario() {
	local why
	need python3
	why=$(guest check --kernel "$NVMET_KERNEL" 2>&1) || skip "$why"
	[ -x "$DEVTEST" ] || make -s -C "$root" VARIANT="$VARIANT" "build/$VARIANT/tests/tools/devtest" >&2
	trap leave EXIT
	guest_start
	log "-- what discovery found is told where no subsystem is named"
	fails_with "$NQN at " "$DEVTEST" --uri "$uri_of_guest/"
	log "-- blocks of 512"
	devtest "nsid=1" --ops "$ops"
	log "-- blocks of 4096"
	devtest "nsid=2" --ops "$ops"
	for digests in hdgst=yes ddgst=yes "hdgst=yes&ddgst=yes"; do
		log "-- $digests"
		devtest "nsid=2&$digests" --test load --ops "$ops"
	done
	devtest "nsid=1&hdgst=yes&ddgst=yes&queues=1" --ops "$ops"
	log "-- the port goes and comes"
	port_goes_and_comes "nsid=1&hdgst=yes&ddgst=yes"
	! grep -q 'digest error\|BUG:\|Oops' "$work/guest/console" || fail "the guest: $(grep 'digest error\|BUG:\|Oops' "$work/guest/console" | head -n 3)"
}

run_scenario "$@"
