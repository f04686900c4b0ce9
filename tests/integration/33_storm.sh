#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 33_storm.sh - 50 volumes under 4 names each are mounted and unmounted in parallel, under I/O,
# again and again: nothing leaks, counts are right, an unmount is lazy, and the next
# Mount sees every byte (R13)
# shellcheck disable=SC2119 # arguments that may be left out
fits="dir nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/driver.sh
. "$lib/driver.sh"

scenario() {
	local path mark arguments
	driver_prepare
	driver_start
	path=${uri%%\?*} arguments=${uri#"$path"}
	mark=${arguments:0:1} arguments=${arguments:1}
	timeout "$(scaled 140 3000)" "$root/tests/tools/storm.py" "unix://$driver_socket" --driver-pid "$driver_pid" \
		--program "$PERSIFS" --backing "$store" --root "$driver_root" --source "$path/{}$mark$arguments" \
		--volumes "$(scaled 50 50 10)" --rounds "$(scaled 2 20)" --seed "$SEED" || fail "the storm, with seed $SEED"
	driver_stop
	driver_done
}

run_scenario "$@"
