#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 20_silly_sweep.sh - a file that was removed while open leaves nothing behind: not when
# its daemon is killed, nor when its removal fails; and those of others are left alone
fits="nfsfault nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# Names in a folder of the server, hidden ones included.
names_in() { # DIR
	case $target in
	nfs) ls -A "$store/$1" ;;
	nfsfault) server_say "dump $1" | sed -n 's/^name \(.*\) ino .*/\1/p' ;;
	esac
}
holds_names() { [ "$(names_in "$1" | wc -l)" = "$2" ]; }
expect_names() { wait_until 10 holds_names "$1" "$2" || fail "$1 holds '$(names_in "$1" | paste -sd' ')' at the server, want $2"; }

# Another cell, on a machine of its own as far as it knows.
other_up() {
	other=$work/other
	mkdir -p "$other" "$work/run2"
	PERSIFS_RUNTIME_DIR=$work/run2 timeout 30 "$PERSIFS" mount "$uri" "$other" </dev/null \
		>>"$work/log/mount" 2>&1 || fail "the second mount failed"
}

# The daemon dies, and is mounted again.
kill_and_mount() {
	kill -KILL "$(tail -n 1 "$work/pids")"
	wait_until 20 process_is_gone "$(head -n 1 "$work/pids")" || fail "the supervisor stays"
	exec 7>&-
	! is_mounted || umount -i -l "$mnt"
	target_mount 8>&- # a daemon keeps what it was started with
}

open_and_remove() { # FILE
	exec 7>"$1"
	echo content >&7
	rm "$1"
}

killed_daemons_names_go_when_listed() {
	mkdir "$mnt/d"
	exec 8>"$other/d/theirs"
	echo theirs >&8
	rm "$other/d/theirs"
	open_and_remove "$mnt/d/ours"
	expect_names d 2
	[ -z "$(ls -A "$mnt/d")" ] || fail "silly names are listed"
	expect_names d 2
	kill_and_mount
	ls "$mnt/d"
	expect_names d 1
	[ "$(cat <"/proc/$$/fd/8")" = theirs ] || fail "the other cell's open file is gone"
	exec 8>&-
	expect_names d 0
	rmdir "$mnt/d"
}

# Nobody sees why it should not be empty.
killed_daemons_names_do_not_hold_a_folder() {
	mkdir "$mnt/e"
	open_and_remove "$mnt/e/ours"
	expect_names e 1
	kill_and_mount
	rmdir "$mnt/e" || fail "a dead daemon's name holds the folder"
}

failed_removals_are_tried_again() {
	mkdir "$mnt/f"
	open_and_remove "$mnt/f/ours"
	server_say "fault serverfault count=1 proc=REMOVE" >/dev/null
	exec 7>&-
	wait_until 10 removal_failed || fail "no removal failed"
	holds_names f 1 || fail "it was removed"
	touch "$mnt/f/x" # what the kernel has listed is not the truth any more
	ls "$mnt/f" >/dev/null
	expect_names f 1
	rm -r "$mnt/f"
}
removal_failed() { server_say stats | grep -q '^fault serverfault 1'; }

a_clean_end_leaves_no_lock() {
	[ "$(locks)" = 1 ] || fail "no lock while mounted: $(ls "$work/run")"
	target_umount
	[ "$(locks)" = 0 ] || fail "locks left: $(ls "$work/run")"
	target_mount
}
locks() { find "$work/run" -name '*.nfs' | wc -l; }

scenario() {
	target_mount
	a_clean_end_leaves_no_lock
	other_up
	killed_daemons_names_go_when_listed
	killed_daemons_names_do_not_hold_a_folder
	[ "$target" != nfsfault ] || failed_removals_are_tried_again
	PERSIFS_RUNTIME_DIR=$work/run2 timeout 30 "$PERSIFS" umount "$other" || fail "umount of the other cell"
	target_umount
}

run_scenario "$@"
