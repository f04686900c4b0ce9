#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 43_block_cells.sh - block volumes of a simulated ScaleIO on two cells, a driver each: formatted once, on one cell at a
# time, given back, and put right by the next driver wherever one was killed. In the place of the
# ext4 engine the kernel mounts the device, and persifs the folder.
fits="dir"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/driver.sh
. "${BASH_SOURCE%/*}/lib/driver.sh"
# shellcheck source=lib/standin.sh
. "${BASH_SOURCE%/*}/lib/standin.sh"

SIM=${SIM:-$root/build/$VARIANT/persifs-sim}
guid_a=2B7E1C90-4D55-4E0B-9A61-0F3C8D1172AA guid_b=90F5C3B2-1111-4E0B-9A61-0F3C8D1172BB
declare -A pids

# ---- the array ----------------------------------------------------------------

array() { # METHOD PATH [BODY]: the answer
	curl -s --max-time 30 -X "$1" -u ":$token" -H Content-Type:application/json ${3:+-d "$3"} "$sim$2"
}

sim_listens() { sim=$(sed -n 's/.*listening on //p' "$work/log/sim"); [ -n "$sim" ]; }

array_start() {
	[ -x "$SIM" ] || skip "no program $SIM"
	: >"$work/log/sim"
	"$SIM" scaleio --listen tcp:127.0.0.1:0 --root "$work/array" --set sdcs=0 --set device_delay_ms=200 \
		>"$work/log/sim" 2>&1 &
	sim_pid=$!
	wait_until 20 sim_listens || fail "the simulator does not start"
	token=$(curl -s -u admin:password "$sim/api/login" | tr -d '"')
	host_is a "$guid_a" Connected
	host_is b "$guid_b" Connected
	pool=$(array GET /api/types/StoragePool/instances | grep -o '"id":"[0-9a-f]*","name":"pool1"' | head -n 1 | cut -d'"' -f4)
}

host_is() { # CELL GUID STATE
	array POST /_sim/scaleio/sdc "{\"guid\":\"$2\",\"name\":\"cell-$1\",\"ip\":\"10.0.0.$((1 + $(printf %d "'$1") - 97))\",\"state\":\"$3\",\"approved\":true}" |
		grep -q '"id"' || fail "no host $1"
}

# volume OWNER: as a broker makes it, with the mark of a new one; $volume is its id
volume() {
	local name
	name=$(python3 - "$1" <<-'PY'
		import hashlib, sys
		n = int.from_bytes(hashlib.blake2b(sys.argv[1].encode(), digest_size=16).digest(), "big") << 2
		print("cf-n" + "".join("0123456789abcdefghjkmnpqrstvwxyz"[n >> (5 * i) & 31] for i in range(25, -1, -1)))
	PY
	)
	volume=$(array POST /api/types/Volume/instances \
		"{\"name\":\"$name\",\"volumeSizeInKb\":\"8388608\",\"storagePoolId\":\"$pool\",\"volumeType\":\"ThinProvisioned\"}" |
		sed -n 's/.*"id":"\([0-9a-f]*\)".*/\1/p')
	[ -n "$volume" ] || fail "no volume for $1"
}

mapped_to() { array GET "/api/instances/Volume::$volume" | grep -o '"sdcName":"[^"]*"' | cut -d'"' -f4 | tr '\n' ' '; }
is_mapped_to() { [ "$(mapped_to)" = "$1" ]; }
comes_to_be_mapped_to() { wait_until 30 is_mapped_to "$1" || fail "mapped to '$(mapped_to)', want '$1'"; }

# fault NAME CALL MS: of the next such call about the volume
fault() {
	array POST /_sim/faults "{\"match\":\"POST /api/instances/Volume::$volume/action/$2\",\"fault\":\"$1\",\"times\":1,\"ms\":$3}" >/dev/null
}
fault_hit() { array GET /_sim | grep -q '"hits":[1-9]\|"faults":\[\]'; }
no_faults() { array DELETE /_sim/faults >/dev/null; }

# ---- the cells ----------------------------------------------------------------

programs() {
	stand_in_programs
	printf '#!/bin/sh\necho %s\n' "$guid_b" >"$work/drv_cfg"
	chmod +x "$work/drv_cfg"
}

on() { # CELL: whom driver.sh's functions speak to
	cell=$1 socket=$work/$1.sock root_dir=$work/$1 driver_pid=${pids[$1]:-}
}

cell_says_started() { grep -q driver-server.started "$work/log/driver-$cell.out" || ! kill -0 "$driver_pid" 2>/dev/null; }

cell_start() { # CELL [KEYS]
	local guid=$guid_a who keys='"block_wait": 20'
	[ -z "${2:-}" ] || keys=$2
	on "$1"
	[ "$1" = a ] || guid=$guid_b
	who='"sdc_guid": "'$guid'"'
	[ "$1" = a ] || who='"drv_cfg": "'$work/drv_cfg'"'
	cat >"$work/$1.json" <<-J
		{ "listen": ["unix:$socket"], "admin": "127.0.0.1:${admin_ports[$1]}", "mount_root": "$root_dir",
		  "persifs": "$work/persifs", "budget": "64m", "log_level": "debug", "mkfs": "$work/mkfs",
		  "device_dir": "$work/array/sdc/$guid/dev/disk/by-id", "unmount_wait": 5, "cell": { $who },
		  "providers": { "gold": { "type": "scaleio", "url": "$sim", "user": "admin", "password": "password" } }, $keys }
	J
	"$DRIVER" --config "$work/$1.json" --check-config >/dev/null || fail "the configuration of $1 is refused"
	: >"$work/log/driver-$1.out"
	PERSIFS_RUNTIME_DIR=$work/run-$1 "$DRIVER" --config "$work/$1.json" </dev/null >"$work/log/driver-$1.out" 2>>"$work/log/driver-$1" &
	driver_pid=$! pids[$1]=$driver_pid
	wait_until 20 cell_says_started || fail "driver $1 neither starts nor ends"
	grep -q driver-server.started "$work/log/driver-$1.out" || fail "driver $1: $(tail -n 2 "$work/log/driver-$1")"
}

cell_kill() {
	kill -KILL "$driver_pid" 2>/dev/null || true
	wait "$driver_pid" 2>/dev/null || true
}

create() { # NAME [KEYS]
	ok Create "{\"Name\":\"$1\",\"Opts\":{\"source\":\"scaleio://gold/$volume\"${2:+,$2}}}"
}

reads() { [ "$(cat "$root_dir/$1/file")" = "$2" ] || fail "$1 on cell $cell holds '$(cat "$root_dir/$1/file")', want '$2'"; }

nothing_is_left() { # on CELL
	on "$1"
	! ls "$work/array/sdc/"*/dev/disk/by-id/* >/dev/null 2>&1 || fail "a device is left on a cell"
	[ ! -e "$root_dir/driver-state.json.arrays" ] || fail "cell $1 still holds $(cat "$root_dir/driver-state.json.arrays")"
}

# ---- what must hold -----------------------------------------------------------

the_first_mount_formats_and_data_survives() {
	volume first
	on a
	create one '"volume":{"owner":"first","plan":{"uid":2000,"gid":2000}}'
	mounts_at one
	is_mapped_to 'cell-a ' || fail "mapped to '$(mapped_to)'"
	[ -e "$work/array/sdc/$guid_a/dev/disk/by-id/emc-vol-5e8d0c3a7b91f20f-$volume" ] || fail "no device"
	[ "$(stat -c %u:%g "$root_dir/one")" = 2000:2000 ] || fail "the root belongs to $(stat -c %u:%g "$root_dir/one")"
	echo text >"$root_dir/one/file"
	create two # the same volume by another name, without what the broker knows
	mounts_at two
	reads two text
	ok Unmount '{"Name":"one"}'
	reads two text
	is_mapped_to 'cell-a ' || fail "the last name is still mounted, and the volume mapped to '$(mapped_to)'"
	ok Unmount '{"Name":"two"}'
	comes_to_be_mapped_to ''
	create one
	mounts_at one
	reads one text
	[ "$(formats)" = 1 ] || fail "formatted $(formats) times"
	ok Unmount '{"Name":"one"}'
	comes_to_be_mapped_to ''
	nothing_is_left a
}

a_file_that_is_open_keeps_the_volume() {
	on a
	create one
	mounts_at one
	exec 7>"$root_dir/one/open"
	ok Unmount '{"Name":"one"}'
	sleep 1
	is_mapped_to 'cell-a ' || fail "taken from under an open file"
	echo late >&7
	exec 7>&-
	comes_to_be_mapped_to ''
	create one
	mounts_at one
	[ "$(cat "$root_dir/one/open")" = late ] || fail "what was written late is lost"
	ok Unmount '{"Name":"one"}'
	comes_to_be_mapped_to ''
}

the_second_cell_waits_for_the_first() {
	local waiting
	on a
	create one
	mounts_at one
	echo from-a >"$root_dir/one/file"
	on b
	create one
	ask Mount '{"Name":"one"}' >"$work/answer" &
	waiting=$!
	sleep 1.5
	kill -0 "$waiting" 2>/dev/null || fail "the second cell does not wait: $(cat "$work/answer")"
	on a
	ok Unmount '{"Name":"one"}'
	wait "$waiting" || fail "curl ended with $?"
	on b
	grep -qF "\"Mountpoint\":\"$root_dir/one\"" "$work/answer" || fail "$(cat "$work/answer")"
	reads one from-a
	is_mapped_to 'cell-b ' || fail "mapped to '$(mapped_to)'"
}

the_second_cell_is_told_who_has_it() {
	cell_kill_and_start b '"block_wait": 1'
	on a
	cell_kill_and_start a '"block_wait": 1'
	create one
	errs Mount '{"Name":"one"}' 'SafeDescription.*in use on another cell (cell-b).*within 1 seconds'
	is_mapped_to 'cell-b ' || fail "mapped to '$(mapped_to)'"
	on b
	reads one from-a
}

cell_kill_and_start() { # CELL KEYS: what is mounted stays
	on "$1"
	cell_kill
	cell_start "$1" "${2:-}"
}

a_dead_holder_is_fenced_by_policy_alone() {
	host_is b "$guid_b" Disconnected
	cell_kill_and_start a '"block_wait": 1'
	create one
	errs Mount '{"Name":"one"}' 'in use on another cell'
	cell_kill_and_start a '"block_wait": 3, "fence": "disconnected:1"'
	create one
	host_is b "$guid_b" Connected
	errs_soon=$(ask Mount '{"Name":"one"}')
	[[ $errs_soon == *'in use on another cell'* ]] || fail "a connected holder was fenced: $errs_soon"
	# Its machine is dead: nothing of it has the device any more.
	on b
	ok Unmount '{"Name":"one"}'
	comes_to_be_mapped_to ''
	array POST "/api/instances/Volume::$volume/action/addMappedSdc" "{\"guid\":\"$guid_b\",\"allowMultipleMappings\":\"FALSE\"}" >/dev/null
	host_is b "$guid_b" Disconnected
	on a
	create one
	mounts_at one
	is_mapped_to 'cell-a ' || fail "mapped to '$(mapped_to)'"
	reads one from-a
	ok Unmount '{"Name":"one"}'
	comes_to_be_mapped_to ''
	host_is b "$guid_b" Connected
	nothing_is_left a
}

# The driver of cell a dies there while it mounts.
dies_in_mount() { # STEP
	local asking
	case $1 in
	before-map) fault delay addMappedSdc 1500 ;;
	after-map) fault slow addMappedSdc 1500 ;;
	before-set_used) fault delay setVolumeName 1500 ;;
	after-set_used) fault slow setVolumeName 1500 ;;
	*) echo "$1" >"$work/kill_at" ;;
	esac
	ask Mount '{"Name":"k"}' >/dev/null 2>&1 &
	asking=$!
	case $1 in
	*map | *set_used)
		wait_until 20 fault_hit || fail "$1: the array is not asked"
		sleep 0.3
		;;
	*) wait_until 20 process_is_gone "$driver_pid" || fail "$1: the driver lives on" ;;
	esac
	cell_kill
	wait "$asking" 2>/dev/null || true
	rm -f "$work/kill_at"
	no_faults
}

a_killed_driver_is_followed_by_one_that_puts_it_right() { # STEP...
	local step before
	on a
	for step; do
		volume "killed-$step"
		cell_kill_and_start a
		create k
		dies_in_mount "$step"
		before=$(formats)
		cell_start a
		[ "$step" != after-mount ] || ask Unmount '{"Name":"k"}' >/dev/null
		comes_to_be_mapped_to ''
		create k
		mounts_at k
		case $step in
		before-set_used) [ $(($(formats) - before)) -le 1 ] || fail "$step: formatted twice" ;; # the call is still on its way
		after-set_used | before-mount | after-mount) [ "$(formats)" = "$before" ] || fail "$step: formatted again" ;;
		*) [ "$(formats)" = $((before + 1)) ] || fail "$step: formatted $(($(formats) - before)) times" ;;
		esac
		echo "$step" >"$root_dir/k/file"
		before=$(formats)
		dies_in_unmount_after "$step"
		cell_start a
		comes_to_be_mapped_to ''
		create k
		mounts_at k
		reads k "$step"
		[ "$(formats)" = "$before" ] || fail "$step: formatted again after use"
		ok Unmount '{"Name":"k"}'
		comes_to_be_mapped_to ''
		log "killed at $step: put right"
	done
	nothing_is_left a
}

# Every other time before the array has it back, else after.
dies_in_unmount_after() { # STEP
	local asking fault=slow
	[[ $1 != before-* ]] || fault=delay
	fault "$fault" removeMappedSdc 1500
	ask Unmount '{"Name":"k"}' >/dev/null 2>&1 &
	asking=$!
	wait_until 20 fault_hit || fail "$1: the array is not asked to take the volume back"
	sleep 0.3
	cell_kill
	wait "$asking" 2>/dev/null || true
	no_faults
}

evacuation_gives_all_back() {
	volume evacuated
	cell_kill_and_start a
	create e
	mounts_at e
	echo kept >"$root_dir/e/file"
	curl -s --max-time 60 "http://127.0.0.1:${admin_ports[a]}/evacuate" | grep -q '"Err":""' || fail "evacuate"
	wait_until 10 process_is_gone "$driver_pid" || fail "the driver does not end"
	is_mapped_to '' || fail "mapped to '$(mapped_to)' after evacuation"
	nothing_is_left a
}

no_secret_is_seen() {
	! grep -rn '"password"\|:password' "$work"/log/driver-* "$work"/[ab]/*.json* 2>/dev/null || fail "R15"
}

scenario() {
	local steps=(before-map after-map before-mkfs after-mkfs before-set_used after-set_used before-mount after-mount)
	declare -gA admin_ports
	need curl python3 mkfs.ext4
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || skip "loop devices want namespaces of the run's own"
	[ -e /dev/loop-control ] || skip "no loop devices"
	[ -x "$DRIVER" ] || skip "no program $DRIVER"
	admin_ports=([a]=$(free_port) [b]=$(free_port))
	programs
	array_start
	cell_start a
	cell_start b
	the_first_mount_formats_and_data_survives
	a_file_that_is_open_keeps_the_volume
	the_second_cell_waits_for_the_first
	the_second_cell_is_told_who_has_it
	a_dead_holder_is_fenced_by_policy_alone
	# shellcheck disable=SC2046 # words on purpose
	a_killed_driver_is_followed_by_one_that_puts_it_right $(scaled "after-map after-mkfs after-set_used" "${steps[*]}")
	evacuation_gives_all_back
	no_secret_is_seen
	on b
	cell_kill
	end_process "$sim_pid"
}

run_scenario "$@"
