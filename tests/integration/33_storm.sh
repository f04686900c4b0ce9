#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 33_storm.sh - 50 volumes under 4 names each are mounted and unmounted in parallel, under I/O,
# again and again: nothing leaks, counts are right, an unmount is lazy, and the next
# Mount sees every byte (R13)
# shellcheck disable=SC2119 # arguments that may be left out
fits="dir nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/plugin.sh
. "$lib/plugin.sh"

VOLUMES=$(scaled 50 50 10)

# Each volume is a file system of its own to its clients: the folders of one would be sessions of one
# daemon, which has SESSIONS_MAX of them.
eval "$(declare -f server_conf | sed '1s/server_conf/server_conf_of_one/')"
server_conf() {
	local i
	server_conf_of_one "$@"
	for ((i = 0; i < VOLUMES; i++)); do
		mkdir -p "$2/$i"
		cat <<-CONF
			EXPORT {
				Export_Id = $((i + 10)); Filesystem_Id = 77.$((i + 10)); Path = $2/$i; Pseudo = /export$i; Access_Type = RW;
				Squash = No_Root_Squash; SecType = sys; Protocols = 3; Transports = TCP;
				FSAL { Name = $1; }
			}
		CONF
	done
}

scenario() {
	local path mark arguments
	driver_prepare
	driver_start
	path=${uri%%\?*} arguments=${uri#"$path"}
	mark=${arguments:0:1} arguments=${arguments:1}
	# A sanitizer keeps what was freed for a while.
	timeout "$(scaled 140 3000)" "$root/tests/tools/storm.py" "unix://$driver_socket" --driver-pid "$driver_pid" \
		--program "$PERSIFS" --backing "$store" --root "$driver_root" --source "$path/{}$mark$arguments" \
		--volumes "$VOLUMES" --rounds "$(scaled 2 20)" --seed "$SEED" \
		--growth "$(scaled 16 16 512)" || fail "the storm, with seed $SEED"
	driver_stop
	driver_done
}

run_scenario "$@"
