#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 49_block_devices.sh - every transport is a device: random requests with many in flight against a shadow, the rules
# of device.h, growth, the end with requests in flight; and what the layers say of it (tests/device). A target a transport, a row a server.
fits="uring threads loop nbd qemu nvme"
# shellcheck disable=SC2034 # of target.sh
own_targets=yes STORE_MIB=2048
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

DEVTEST=${DEVTEST:-$root/build/$VARIANT/tests/tools/devtest} # under test, so of this variant
SIM=${SIM:-$root/build/$VARIANT/persifs-sim}
ops=$(scaled 3000 100000 1500)
few=$(scaled 600 20000 300) # where the server is slow on purpose
mib=$(scaled 32 128 24)      # of a device
rows=0

# devtest URI [OPTION...]: a row
devtest() {
	local uri=$1 rc=0
	shift
	timeout 900 "$DEVTEST" --uri "$uri" --seed "$SEED" --limit-s "$(scaled 60 600)" "$@" >"$work/log/devtest" 2>&1 || rc=$?
	sed 's/^/  /' "$work/log/devtest"
	[ "$rc" = 0 ] || fail "status $rc of: $DEVTEST --uri $uri --seed $SEED $*"
	rows=$((rows + 1))
}

row() { log "-- $*"; }

image() { # a new file
	img=$store/img
	rm -f "$img"
	truncate -s "${mib}M" "$img"
}
larger=$((mib * 3 / 2))

# ---- files and block devices ---------------------------------------------------

layers() { # URI
	row "record: the log has what happened, and tells what was durable"
	devtest "$1" --test replay --ops "$ops"
	row "powercut"
	devtest "$1" --test cuts --ops "$ops" --cuts "$(scaled 20 200)" --size 16777216
	row "fault: the nth of each fails"
	devtest "$1" --test faults --size 1048576
	row "delay and jitter"
	devtest "$1" --layers "delay:all=100us,jitter=3ms,seed=$SEED" --ops "$few" --size 8388608
}

# The state tells what may be there; the file's lock tells when the last request of the dead is over.
killed() { # URI
	local i pid state=$work/shadow
	row "kill -9 with requests in flight"
	rm -f "$state"
	for i in $(seq "$(scaled 3 40)"); do
		"$DEVTEST" --uri "$1" --seed "$((SEED + i))" --state "$state" --test load --ops 10000000 >"$work/log/devtest" 2>&1 &
		pid=$!
		wait_until 20 load_begins || fail "no load: $(cat "$work/log/devtest")"
		sleep "0.$((RANDOM % 4 + 1))"
		kill -KILL "$pid" || fail "it has ended: $(cat "$work/log/devtest")"
		wait "$pid" 2>/dev/null || true
	done
	devtest "$1" --state "$state" --verify-only
	rm "$state"
}
load_begins() { [ -s "$work/log/devtest" ]; }

file_rows() { # ENGINE
	local uri
	image
	uri="file:$img?engine=$1"
	row "a file on ext4, with growth"
	devtest "$uri" --ops "$ops" --grow-cmd "truncate -s ${larger}M '$img'"
	if [ "$1" = uring ] && ! grep -q uring "$work/log/devtest"; then fail "the engine is not the one asked for"; fi
	image
	row "buffered"
	devtest "$uri&buffered=yes" --ops "$few"
	row "queue=1"
	devtest "$uri&queue=1" --ops "$few"
	image
	killed "$uri"
	layers "$uri"
	mkdir "$work/tmpfs"
	mount -t tmpfs tmpfs "$work/tmpfs" || return 0
	truncate -s "${mib}M" "$work/tmpfs/img"
	row "a file on tmpfs"
	devtest "file:$work/tmpfs/img?engine=$1" --ops "$few"
	umount "$work/tmpfs"
}

loop_rows() {
	local sector dev engine
	need losetup
	for sector in 512 4096; do
		for engine in uring threads; do
			image
			dev=$(losetup --show -f -b "$sector" "$img") || skip "no loop device can be made"
			loop=$dev
			row "blocks of $sector, $engine"
			devtest "file:$dev?engine=$engine" --ops "$ops" --grow-cmd "truncate -s ${larger}M '$img' && losetup -c '$dev'"
			[ "$sector$engine" != 4096uring ] || layers "$dev"
			losetup -d "$dev"
			loop=''
		done
	done
}

# ---- NBD ---------------------------------------------------------------------------

server_answers() { [ -S "$work/nbd.sock" ] || ! kill -0 "$nbd_pid" 2>/dev/null; }

serve() { # COMMAND...: an NBD server on $work/nbd.sock
	rm -f "$work/nbd.sock"
	"$@" </dev/null >>"$work/log/nbd" 2>&1 &
	nbd_pid=$!
	wait_until 10 server_answers || fail "no socket of $1"
	[ -S "$work/nbd.sock" ] || fail "$1 ended: $(tail -n 3 "$work/log/nbd")"
}

# nbdkit_row NAME OPS "SERVER ARGUMENTS" [DEVTEST OPTION...]
nbdkit_row() {
	local what=$1 n=$2 server=$3
	shift 3
	row "nbdkit: $what"
	# shellcheck disable=SC2086 # words on purpose
	serve nbdkit -f -U "$work/nbd.sock" $server
	devtest "$nbd_uri" --ops "$n" "$@"
	end_process "$nbd_pid"
	nbd_pid=''
}

# While a test runs, from here: what happens to the server.
pause_now_and_then() {
	wait_until 20 load_begins || return 0
	while python3 - "$work/pause.sock" 2>/dev/null <<-'PY'; do
		import socket, sys, time
		s = socket.socket(socket.AF_UNIX)
		s.connect(sys.argv[1])
		s.sendall(b"p")
		assert s.recv(1) == b"P"
		time.sleep(0.2)
		s.sendall(b"r")
		assert s.recv(1) == b"R"
	PY
		echo paused >>"$work/pauses"
		sleep 0.1
	done
}
errors_for_a_while() {
	wait_until 20 load_begins || return 0
	touch "$work/error"
	sleep 0.3
	rm "$work/error"
}

nbd_rows() {
	local side
	need nbdkit python3
	image
	nbd_uri="nbd+unix:///?socket=$work/nbd.sock"
	nbdkit_row "memory" "$ops" "memory ${mib}M"
	nbdkit_row "file" "$ops" "file $img"
	nbdkit_row "one connection" "$few" "--filter=multi-conn memory ${mib}M multi-conn-mode=disable"
	nbdkit_row "neither FUA nor zeros" "$few" "--filter=fua --filter=nozero memory ${mib}M zeromode=none"
	! grep -q '^devtest: .*, FUA' "$work/log/devtest" || fail "the server has FUA all the same"
	nbdkit_row "blocks of 4096, transfers of 1 MiB, and strict" "$few" "--filter=blocksize-policy memory ${mib}M
		blocksize-minimum=4096 blocksize-preferred=65536 blocksize-maximum=1M blocksize-error-policy=error"
	nbdkit_row "cow" "$few" "--filter=cow file $img"
	nbdkit_row "log" "$few" "--filter=log memory ${mib}M logfile=$work/log/requests"
	grep -q ' Write id=' "$work/log/requests" || fail "the filter saw no request"
	rm "$work/log/requests"
	nbdkit_row "delay" "$few" "--filter=delay memory ${mib}M rdelay=1ms wdelay=2ms"
	# Without FUA: one error of a write with it fails the device, and ends the load early.
	nbdkit_row "errors, which reach the caller" "$few" "--filter=fua --filter=error memory ${mib}M error-pread-rate=2% error-pwrite-rate=2% error=EIO" \
		--may-fail --test load
	grep -q ' errors [1-9]' "$work/log/devtest" || fail "no error was met"
	: >"$work/log/devtest"
	: >"$work/log/nbd"
	errors_for_a_while &
	side=$!
	nbdkit_row "errors for a while, which the server retries" "$ops" "--filter=retry --filter=error memory ${mib}M
		error-rate=100% error=EIO error-file=$work/error retry-delay=1" --test load
	wait "$side"
	grep -q injecting "$work/log/nbd" || fail "no error was met"
	: >"$work/log/devtest"
	pause_now_and_then &
	side=$!
	nbdkit_row "pause" "$ops" "--filter=pause memory ${mib}M pause-control=$work/pause.sock" --test load,load,load
	wait "$side"
	log "paused $(wc -l <"$work/pauses") times"
	serve nbdkit -f -U "$work/nbd.sock" "memory" "${mib}M"
	layers "$nbd_uri"
	end_process "$nbd_pid"
}

qemu_rows() {
	local format cache
	need qemu-nbd qemu-img
	nbd_uri="nbd+unix:///?socket=$work/nbd.sock"
	for format in raw qcow2; do
		for cache in none writeback; do
			rm -f "$store/img"
			qemu-img create -q -f "$format" "$store/img" "${mib}M"
			row "$format, cache $cache"
			serve qemu-nbd -t -e 8 -f "$format" --cache="$cache" --discard=unmap -k "$work/nbd.sock" "$store/img"
			devtest "$nbd_uri" --ops "$ops"
			end_process "$nbd_pid"
		done
	done
}

# ---- NVMe/TCP ------------------------------------------------------------------------

target_listens() { nvme_uri=$(sed -n 's/.*listening on \(nvme-tcp:.*\)/\1/p' "$work/log/sim" | head -n 1) && [ -n "$nvme_uri" ] || ! kill -0 "$sim_pid" 2>/dev/null; }

# nvme_row NAME OPS "TARGET OPTIONS" [DEVTEST OPTION...]; $params are those of the URI, $storm faults of the target.
nvme_row() {
	local what=$1 n=$2 options=$3
	shift 3
	row "persifs-sim nvme: $what"
	: >"$work/log/sim"
	# shellcheck disable=SC2086 # words on purpose
	"$SIM" nvme --listen 127.0.0.1:0 --size "${mib}m" --seed "$SEED" ${storm:+--fault "$storm"} $options >"$work/log/sim" 2>&1 &
	sim_pid=$!
	wait_until 10 target_listens || fail "the target does not listen"
	[ -n "$nvme_uri" ] || fail "the target ended: $(tail -n 2 "$work/log/sim")"
	devtest "$nvme_uri${params:-}" --ops "$n" "$@"
	end_process "$sim_pid"
	sim_pid=''
}

nvme_rows() {
	[ -x "$SIM" ] || skip "no program $SIM"
	nvme_row "memory" "$ops" ""
	params="?hdgst=yes&ddgst=yes" nvme_row "blocks of 4096, digests" "$ops" "--block-size 4096"
	nvme_row "volatile cache" "$ops" "--volatile-cache"
	nvme_row "small transfers" "$few" "--mdts 5 --in-capsule 4096 --maxh2cdata 8192"
	storm="storm permille=$(scaled 50 20)" nvme_row "a storm of faults" "$ops" "--volatile-cache" --test load --restartable --settle-ms 20
	grep -q 'reconnects [1-9]' "$work/log/devtest" || fail "no connection was lost"
	# Longer than a dead connection's writes take to land; with a settling time of 1 ms this fails.
	storm="late op=write ms=30 permille=20 times=0" nvme_row "writes that land after their connection" "$few" "" --test load \
		--restartable --settle-ms 400 --size 1048576
	nvme_row "the record layer" "$ops" "--volatile-cache" --test replay
	nvme_row "power cuts above" "$ops" "" --test cuts
}

# ---- all -------------------------------------------------------------------------------

scenario() {
	nbd_pid='' sim_pid='' loop=''
	[ -x "$DEVTEST" ] || make -s -C "$root" VARIANT="$VARIANT" "build/$VARIANT/tests/tools/devtest" >&2
	trap leave EXIT
	log "seed $SEED, $ops requests a row"
	case $target in
	uring | threads) file_rows "$target" ;;
	loop) loop_rows ;;
	nbd) nbd_rows ;;
	qemu) qemu_rows ;;
	nvme) nvme_rows ;;
	esac
	log "$rows rows passed"
}

# Loop devices are the machine's: no namespace takes them along.
leave() {
	local rc=$?
	set +e
	trap - ERR
	end_process "$nbd_pid"
	end_process "$sim_pid"
	[ -z "$loop" ] || losetup -d "$loop"
	(exit "$rc")
	cleanup
}

run_scenario "$@"
