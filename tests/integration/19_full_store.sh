#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 19_full_store.sh - a server that is full or whose quota is used up: the truth at fsync,
# nothing lost, and df shows it (D5, D8); and a read-only .snapshot inside it
fits="nfsfault"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

MIB=1048576
USER_ID=1000

as_user() { setpriv --reuid "$USER_ID" --regid "$USER_ID" --clear-groups "$@"; }

said() { sed -n "s/.*\<$1[= ]\([^ ]*\).*/\1/p" "$work/fill.out" | tail -n 1; }

# fill_up FILE ERRNO COMMAND: the error comes once to each handle; COMMAND makes room, and
# then all that was written gets there without another error.
fill_up() {
	rm -f "$work/fill.in" "$work/fill.out"
	mkfifo "$work/fill.in"
	as_user "$fill" "$1" $((4 * MIB)) <"$work/fill.in" >"$work/fill.out" &
	exec 8>"$work/fill.in"
	wait_until 60 grep -q . "$work/fill.out" || fail "fill says nothing"
	[ "$(said write)" = "$2" ] || [ "$(said fsync)" = "$2" ] || fail "no $2: $(cat "$work/fill.out")"
	[ "$(said other)" = "$2" ] || fail "the second handle was not told: $(cat "$work/fill.out")"
	[ "$(stat_of dirty_bytes)" -gt 0 ] || fail "nothing is kept"
	server_say "$3" >/dev/null
	echo >&8
	exec 8>&-
	wait $! || fail "fill failed"
	grep -q '^again fsync=0 other=0 close=0' "$work/fill.out" || fail "not over: $(tail -n 1 "$work/fill.out")"
	"$fill" --check "$1" "$(said wrote)" || fail "other content in the cache"
	server_say "cat stable ${1#"$mnt/"}" >"$work/stored"
	"$fill" --check "$work/stored" "$(said wrote)" || fail "other content at the server"
}

df_shows() { # TOTAL-KIB COMMAND...
	local total
	total=$("${@:2}" df -k --output=size "$mnt" | tail -n 1)
	[ "$((total))" = "$1" ] || fail "df shows $total KiB, not $1"
}

quota_is_told() {
	server_say "quota $USER_ID $((2 * MIB))" >/dev/null
	df_shows 2048 as_user
	df_shows $((1 << 30)) env # of others it is not the quota
	fill_up "$mnt/quota" EDQUOT "quota $USER_ID $((64 * MIB))"
	df_shows $((64 * 1024)) as_user
	server_say "quota 0 0" >/dev/null
}

full_store_is_told() {
	server_say "limit $((6 * MIB))" >/dev/null
	df_shows $((6 * 1024)) env
	fill_up "$mnt/full" ENOSPC "limit 0"
}

# As storage systems show snapshots: there for who knows the name.
snapshot_is_read_only_and_alone() {
	local snap=$mnt/.snapshot
	mkdir -p "$mnt/keep/sub" "$mnt/mine"
	echo old >"$mnt/keep/file"
	chmod 777 "$mnt/keep" "$mnt/keep/sub" && chmod 666 "$mnt/keep/file"
	echo locked >"$mnt/mine/locked"
	chmod 444 "$mnt/mine/locked"
	server_say "snapshot keep" >/dev/null
	target_remount attr_timeout=0,default_permissions=no # the server is asked
	[ "$(ls -A "$mnt")" = $'full\nmine\nquota' ] || fail "listed: $(ls -A "$mnt")"
	[ "$(cat "$snap/file")" = old ] || fail "cannot read in the snapshot"
	[ "$(ls "$snap")" = $'file\nsub' ] || fail "cannot list the snapshot"
	fails_as "Read-only file system" as_user touch "$snap/new"
	fails_as "Read-only file system" as_user dd if=/dev/zero of="$snap/file" count=1 conv=notrunc
	# Neither the one nor the other answer is for all.
	fails_as "Permission denied" as_user dd if=/dev/zero of="$mnt/mine/locked" count=1 conv=notrunc
	fails_as "Read-only file system" as_user dd if=/dev/zero of="$snap/file" count=1 conv=notrunc
	fails_as "Read-only file system" mkdir "$snap/d"
	fails_as "Read-only file system" rm -f "$snap/file"
	fails_as "Read-only file system" chmod 600 "$snap/file"
	fails_as "Read-only file system" mv "$snap/file" "$snap/other"
	fails_as "Invalid cross-device link" ln "$snap/file" "$mnt/mine/file"
	# mv copies, and then cannot take the original away.
	fails_as "Read-only file system" mv "$snap/file" "$mnt/mine/"
	echo new >"$mnt/mine/other"
	fails_as "Read-only file system" mv "$mnt/mine/other" "$snap/"
	[ "$(cat "$mnt/mine/other" "$snap/file")" = $'new\nold' ] || fail "something moved"
}

scenario() {
	need setpriv
	fill=$(tool fill)
	target_mount attr_timeout=0
	chmod 777 "$mnt"
	quota_is_told
	full_store_is_told
	snapshot_is_read_only_and_alone
	answer=$(server_say check 2>&1) || fail "the server's files are broken: $answer"
	target_umount
}

run_scenario "$@"
