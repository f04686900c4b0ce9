#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 17_export.sh - an export that is taken away and given back, and a root under another
# handle: the mount goes on, and unwritten data is kept (D8)
fits="nfsfault nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# ganesha reads its configuration again.
# shellcheck disable=SC2154 # server_pid is server.sh's
ganesha_reload() { kill -HUP "$server_pid"; }

export_remove() {
	case $target in
	nfsfault) server_say "export remove" >/dev/null ;;
	nfs)
		cp "$work/ganesha.conf" "$work/ganesha.all"
		sed -i '/^EXPORT {/,/^}/d' "$work/ganesha.conf"
		ganesha_reload
		;;
	esac
	wait_until 10 root_is_stale || fail "the export cannot be taken away"
}
export_restore() {
	case $target in
	nfsfault) server_say "export restore" >/dev/null ;;
	nfs)
		cp "$work/ganesha.all" "$work/ganesha.conf"
		ganesha_reload
		;;
	esac
}

root_is_stale() { [[ $(LC_ALL=C ls "$mnt" 2>&1) == *"Stale file handle"* ]]; }
root_is_there() { ls "$mnt" >/dev/null 2>&1; }
root_comes_back() { wait_until 10 root_is_there || fail "not there again: $1"; }

in_store() { # FILE
	case $target in
	nfs) cat "$store/$1" ;;
	nfsfault) server_say "cat $1" ;;
	esac
}

# Waits until what was written before is in the store, or fails.
drained() { timeout 20 "$PERSIFS_CTL" drain "$mnt" >/dev/null 2>&1; }

a_file_goes_on_through_an_outage() {
	mkdir -p "$mnt/d"
	echo before >"$mnt/d/file"
	exec 7>"$mnt/d/open"
	echo first >&7
	sync "$mnt/d/open"
	export_remove
	fails_as "Stale file handle" ls "$mnt"
	echo second >&7 # cached: nobody has to be asked
	fails_as "Stale file handle" sync "$mnt/d/open"
	[ "$(stat_of dirty_bytes)" -gt 0 ] || fail "dirty data was dropped"
	export_restore
	root_comes_back "export"
	drained || fail "what was kept cannot be written: $(stat_of last_error)"
	exec 7>&-
	[ "$(cat "$mnt/d/file")" = before ] || fail "the file holds other data"
	[ "$(in_store d/open)" = $'first\nsecond' ] || fail "lost: '$(in_store d/open)'"
	touch "$mnt/new" "$mnt/d/new"
	rm "$mnt/new" "$mnt/d/new"
}

# A program that stays in the folder works on, with every kind of call.
use_root() { # DIR
	(
		cd "$1" || exit 1
		ls -la >/dev/null && mkdir sub && echo x >sub/x && echo y >y && ln y z && mv z sub/z &&
			ln -s y s && [ "$(cat s)" = y ] && mv sub sub2 && mkfifo p && chmod 755 . &&
			rm -r sub2 y s p && df . >/dev/null
	)
}

the_root_has_another_handle() {
	local inode
	inode=$(stat -c %i "$mnt")
	cd "$mnt" || fail "cannot enter"
	server_say "handles root" >/dev/null
	use_root . || fail "the root's new handle was not taken"
	server_say "handles root" >/dev/null
	mkdir "$mnt/from-root" || fail "a folder cannot be made in the root"
	server_say "handles root" >/dev/null
	mv "$mnt/from-root" "$mnt/to-root" || fail "a name in the root cannot be changed"
	rmdir "$mnt/to-root"
	[ "$(stat -c %i .)" = "$inode" ] || fail "the root is another file now"
	cd /
}

# The first to find the handle stale is the call that has it twice; the new one is
# longer, then shorter.
a_rename_has_the_handle_twice() {
	local i
	target_remount attr_timeout=60,entry_timeout=60
	for i in 1 2 3; do
		echo "$i" >"$mnt/from"
		echo old >"$mnt/to"
		ls -l "$mnt/from" "$mnt/to" >/dev/null
		server_say "handles root" >/dev/null
		perl -e 'rename("$ARGV[0]/from", "$ARGV[0]/to") or die "rename: $!\n"' "$mnt" ||
			fail "a rename in the root, new handle $i"
		[ "$(cat "$mnt/to")" = "$i" ] || fail "rename $i did something else"
		[ ! -e "$mnt/from" ] || fail "rename $i left the old name"
	done
	target_remount attr_timeout=0,entry_timeout=0,dirty_age=1h
}

all_handles_are_others() {
	echo text >"$mnt/kept"
	sync "$mnt/kept"
	server_say "handles all" >/dev/null
	[ "$(cat "$mnt/kept")" = text ] || fail "not found under its new handle"
	use_root "$mnt" || fail "not usable with new handles"
	[ "$(cat "$mnt/d/file")" = before ] || fail "a folder was not found under its new handle"
}

# Asked for by many at once, and again and again: one MNT a second.
the_server_is_not_stormed() {
	local before start now i asking=()
	export_remove
	before=$(calls_of MNT) start=$(date +%s%N)
	for ((i = 0; i < 100; i++)); do
		ls "$mnt" >/dev/null 2>&1 && fail "a root that is not there was listed"
		ls "$mnt" >/dev/null 2>&1 &
		asking+=($!)
	done
	for i in "${asking[@]}"; do wait "$i" || true; done
	now=$(($(calls_of MNT) - before))
	[ "$now" -ge 1 ] || [ $((($(date +%s%N) - start) / 1000000)) -lt 1000 ] || fail "MNT was not asked"
	[ "$now" -le $((($(date +%s%N) - start) / 1000000000 + 2)) ] || fail "MNT was asked $now times"
	export_restore
	root_comes_back storm
}
calls_of() { server_say stats | sed -n "s/^call $1 //p"; }

# Under the same path another folder: what programs hold would mean something else.
another_folder_is_refused() {
	mkdir "$mnt/other"
	server_say "export /other" >/dev/null
	server_say "handles root" >/dev/null
	fails_as "Stale file handle" ls "$mnt"
	server_say "export /" >/dev/null
	root_comes_back "folder"
	[ -d "$mnt/other" ] || fail "not the old root"
}

scenario() {
	# Nothing is believed without asking, so that the outage is seen.
	target_mount attr_timeout=0,entry_timeout=0,dirty_age=1h
	a_file_goes_on_through_an_outage
	if [ "$target" = nfsfault ]; then
		the_root_has_another_handle
		a_rename_has_the_handle_twice
		all_handles_are_others
		the_server_is_not_stormed
		another_folder_is_refused
		answer=$(server_say check 2>&1) || fail "the server's files are broken: $answer"
	fi
	target_umount
}

run_scenario "$@"
