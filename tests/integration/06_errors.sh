#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 06_errors.sh - a full disk, a quota, a read-only store and every wrong way to
# mount give the right errno or one clear line; nothing is lost or left behind
fits="dir memory nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

MIB=1048576

# mount_fails TEXT URI DIR [OPTION,...]: one line with TEXT, nothing left
mount_fails() {
	fails_with "$1" timeout "$STEP_SECONDS" "$PERSIFS" mount ${4:+-o "$4"} "$2" "$3"
	nothing_is_left
}

# ---- wrong words, wrong places --------------------------------------------------

wrong_option_is_named_with_its_value() {
	mount_fails no_such_option "$uri" "$mnt" no_such_option=77
	mount_fails cache_size=lots "$uri" "$mnt" cache_size=lots
	mount_fails page_size=5000 "$uri" "$mnt" page_size=5000
	mount_fails consistency=perhaps "$uri" "$mnt" consistency=perhaps
	mount_fails dirty_limit=200 "$uri" "$mnt" dirty_limit=200
	mount_fails policy=random "$uri" "$mnt" ro,policy=random
	mount_fails no-such-scheme "no-such-scheme:/x" "$mnt"
	fails_with usage "$PERSIFS" mount "$uri"
}

wrong_mountpoint_is_told() {
	mount_fails "$work/none" "$uri" "$work/none"
	: >"$work/file"
	mount_fails "$work/file" "$uri" "$work/file"
	target_mount
	echo kept >"$mnt/here"
	fails_with "$mnt" timeout "$STEP_SECONDS" "$PERSIFS" mount "$uri" "$mnt"
	[ "$(grep -cF " $mnt " /proc/self/mounts)" = 1 ] || fail "mounted twice on one folder"
	[ "$(cat "$mnt/here")" = kept ] || fail "the first mount is gone"
	rm "$mnt/here"
	target_umount
}

missing_device_is_told() {
	# shellcheck disable=SC2016 # the inner shell expands
	fails_with /dev/fuse unshare --mount bash -c '
		mount -t tmpfs tmpfs /dev && mknod -m 666 /dev/null c 1 3 && mknod -m 666 /dev/urandom c 1 9 &&
		exec timeout 30 "$1" mount "$2" "$3"' _ "$PERSIFS" "$uri" "$mnt"
	nothing_is_left
}

wrong_folder_is_told() {
	mount_fails "$work/none" "dir:$work/none" "$mnt"
	mount_fails "$work/file" "dir:$work/file" "$mnt"
	mount_fails relative "dir:relative/path" "$mnt"
	mount_fails dir: "dir:" "$mnt"
}

wrong_server_is_told() {
	local port bad=${uri//nfsport=*/}
	port=$(free_port)
	mount_fails no-such-host.invalid "nfs://no-such-host.invalid/x?nfsport=$port&mountport=$port" "$mnt"
	mount_fails 127.0.0.1 "nfs://127.0.0.1$store?nfsport=$port&mountport=$port" "$mnt" soft,timeout=2
	mount_fails /not/exported "${uri/$store/\/not\/exported}" "$mnt"
	mount_fails bogusarg "$uri&bogusarg=7" "$mnt"
	mount_fails version "${uri/version=3/version=9}" "$mnt"
	mount_fails nfsport "${bad}nfsport=99999&mountport=1" "$mnt"
}

# ---- busy, read-only --------------------------------------------------------------

busy_mount_stays() {
	target_mount
	echo text >"$mnt/f"
	exec 7<"$mnt/f"
	fails_with "$mnt" timeout "$STEP_SECONDS" "$PERSIFS" umount "$mnt"
	[ "$(cat "$mnt/f")" = text ] || fail "the mount does not work after a refused unmount"
	exec 7<&-
	rm "$mnt/f"
	target_umount
	fails_with "$mnt" timeout "$STEP_SECONDS" "$PERSIFS" umount "$mnt"
}

read_only_checks() {
	[ "$(cat "$mnt/f")" = text ] || fail "cannot read"
	fails_as "Read-only file system" touch "$mnt/new"
	fails_as "Read-only file system" dd if=/dev/zero of="$mnt/f" count=1 conv=notrunc
	fails_as "Read-only file system" mkdir "$mnt/d"
	fails_as "Read-only file system" rm -f "$mnt/f"
	fails_as "Read-only file system" chmod 600 "$mnt/f"
	fails_as "Read-only file system" ln "$mnt/f" "$mnt/g"
	fails_as "Read-only file system" mv "$mnt/f" "$mnt/g"
	fails_as "Read-only file system" truncate -s 0 "$mnt/f"
	fails_as "Read-only file system" touch -d 2001-01-01 "$mnt/f"
}

read_only_mount_gives_erofs() {
	is_lasting || return 0
	echo text >"$store/f"
	target_mount ro
	read_only_checks
	target_umount
	rm "$store/f"
}

read_only_export_gives_erofs() {
	echo text >"$store/f"
	server_stop
	server_start VFS "$store" RO
	uri=$server_uri
	target_mount
	read_only_checks
	target_umount
	server_stop
	server_start VFS "$store"
	uri=$server_uri
	rm "$store/f"
}

# ---- full disk --------------------------------------------------------------------

# What fill said: field KEY of the last line with it.
said() { sed -n "s/.*\<$1[= ]\([^ ]*\).*/\1/p" "$work/fill.out" | tail -n 1; }

fill_start() { # FILE BYTES: fill runs with its stdin as descriptor 8
	rm -f "$work/fill.in" "$work/fill.out"
	mkfifo "$work/fill.in"
	"$fill" "$1" "$2" <"$work/fill.in" >"$work/fill.out" &
	fill_pid=$!
	exec 8>"$work/fill.in"
	wait_until 90 grep -q . "$work/fill.out" || fail "fill says nothing"
	log "fill: $(cat "$work/fill.out")"
}

fill_go_on() {
	echo >&8
	exec 8>&-
	wait "$fill_pid" || fail "fill failed"
	log "fill: $(tail -n 1 "$work/fill.out")"
}

error_was_told() { # ERRNO
	local n
	n=$(said wrote)
	[ "$(said write)" = "$1" ] || [ "$(said fsync)" = "$1" ] || fail "no $1 at write or fsync: $(cat "$work/fill.out")"
	[ "$(said write)" = 0 ] || [ "$(said fsync)" != 0 ] || [ "$n" -gt 0 ] || fail "nothing was written"
	[ "$(said fsync)" = 0 ] || [ "$(said other)" = "$1" ] || fail "the second handle was not told: $(cat "$work/fill.out")"
}

# A program that meets the full disk goes on when there is room again.
full_disk_keeps_what_was_acknowledged() { # FOLDER-OF-THE-SMALL-DISK
	local n
	dd if=/dev/urandom of="$mnt/ballast" bs=1M count=30 conv=fsync status=none
	fill_start "$mnt/file" $((18 * MIB))
	error_was_told ENOSPC
	n=$(said wrote)
	rm "$mnt/ballast"
	fill_go_on
	[ "$(said close) $(said other)" = "0 0" ] || fail "not written though there is room: $(cat "$work/fill.out")"
	"$fill" --check "$mnt/file" "$n" || fail "acknowledged data is wrong in the mount"
	"$fill" --check "$1/file" "$n" || fail "acknowledged data is wrong behind the mount"
	rm "$mnt/file"
}

# A removed file takes room until the daemon has been told to forget it.
has_room() { [ $(($(stat -f -c '%a * %S' "$1"))) -gt $((25 * MIB)) ]; }

# One that ends instead: the unmount is refused, not the data dropped.
unmount_on_a_full_disk_is_refused() { # FOLDER-OF-THE-SMALL-DISK
	local n dirty
	dd if=/dev/urandom of="$mnt/ballast" bs=1M count=30 conv=fsync status=none
	"$fill" "$mnt/file" $((18 * MIB)) </dev/null >"$work/fill.out"
	error_was_told ENOSPC
	n=$(said wrote)
	dirty=$(stat_of dirty_bytes)
	log "left dirty: $dirty bytes"
	if [ "$dirty" -gt 0 ]; then
		fails_with "" timeout "$STEP_SECONDS" "$PERSIFS" umount "$mnt"
		mountpoint -q "$mnt" || fail "the mount is gone with its dirty data"
	fi
	rm "$mnt/ballast"
	wait_until 20 has_room "$1" || fail "the removed ballast still takes room"
	target_umount
	"$fill" --check "$1/file" "$n" || fail "acknowledged data is wrong behind the mount"
}

full_disk() {
	local small=$work/small saved=$uri
	fast_folder "$small" 48
	mountpoint -q "$small" || {
		log "left out: no small disk can be made here"
		return 0
	}
	case $target in
	dir) uri=dir:$small ;;
	nfs)
		server_stop
		server_start VFS "$small"
		uri=$server_uri
		;;
	esac
	target_mount
	full_disk_keeps_what_was_acknowledged "$small"
	unmount_on_a_full_disk_is_refused "$small"
	[ "$target" != nfs ] || server_stop
	umount "$small"
	uri=$saved
}

# This kernel may have no quota; the fault layer says what one would say.
quota_error_is_told() {
	[ "$target" = dir ] || return 0
	target_mount "layers=fault:write=1+:EDQUOT"
	"$fill" "$mnt/file" $((4 * MIB)) </dev/null >"$work/fill.out"
	log "fill: $(cat "$work/fill.out")"
	error_was_told EDQUOT
	rm "$mnt/file"
	target_umount
}

scenario() {
	fill=$(tool fill)
	: "${fill_pid:=}"
	wrong_option_is_named_with_its_value
	wrong_mountpoint_is_told
	missing_device_is_told
	[ "$target" != dir ] || wrong_folder_is_told
	[ "$target" != nfs ] || wrong_server_is_told
	busy_mount_stays
	read_only_mount_gives_erofs
	[ "$target" != nfs ] || read_only_export_gives_erofs
	[ "$target" = memory ] || full_disk
	quota_error_is_told
}

run_scenario "$@"
