#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 10_cli.sh - the words of the command line: help, version, exit status, stat,
# drain, tune, foreground, and plain mount and umount once installed
fits="dir memory nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

help_and_version() {
	local word
	for word in mount umount; do
		"$PERSIFS" --help | grep -q "persifs $word" || fail "--help does not tell of $word"
	done
	"$PERSIFS" mount --help >"$work/help"
	for word in cache_size page_size dirty_background dirty_limit dirty_age readahead_max policy \
		consistency attr_timeout entry_timeout negative_timeout ro uid gid owner_uid owner_gid \
		allow_other nconnect rsize wsize resvport hard soft timeout log_level; do
		grep -qw "$word" "$work/help" || fail "mount --help does not tell of $word"
	done
	"$PERSIFS" --version | grep -q '^persifs [0-9]' || fail "--version"
	"$PERSIFS_CTL" --version | grep -q '^persifs-ctl [0-9]' || fail "ctl --version"
	"$PERSIFS_CTL" --help | grep -q stat || fail "ctl --help"
	fails_with help "$PERSIFS"
	fails_with frobnicate "$PERSIFS" frobnicate
	fails_with help "$PERSIFS_CTL"
	fails_with "$work" "$PERSIFS_CTL" stat "$work"
	fails_with "$work" "$PERSIFS_CTL" drain "$work"
}

stat_tells() {
	local key
	[ "$(stat_of uri)" = "$uri" ] || fail "uri: '$(stat_of uri)', not '$uri'"
	for key in supervisor_pid worker_pid; do
		kill -0 "$(stat_of $key)" || fail "$key is no process"
	done
	[ "$(stat_of supervisor_pid)" != "$(stat_of worker_pid)" ] || fail "supervisor and worker are one process"
	for key in survive dirty_bytes fuse_requests fuse_read backend_reads backend_writes nfs_read cache_hits; do
		[ -n "$(stat_of $key)" ] || fail "stat --json has no $key"
	done
	"$PERSIFS_CTL" stat "$mnt" | grep worker_pid >/dev/null || fail "stat for people"
	[ "$(stat_of fuse_requests)" -gt 0 ] || fail "nothing is counted"
	if command -v python3 >/dev/null; then
		"$PERSIFS_CTL" stat "$mnt" --json | python3 -m json.tool >/dev/null || fail "stat --json is no JSON"
	fi
}

tune_changes() {
	"$PERSIFS_CTL" tune "$mnt" dirty_age=7 || fail "tune dirty_age"
	"$PERSIFS_CTL" tune "$mnt" dirty_background=20 dirty_limit=40 cache_size=96m || fail "tune three"
	fails_with dirty_limit=999 "$PERSIFS_CTL" tune "$mnt" dirty_limit=999
	fails_with bogus "$PERSIFS_CTL" tune "$mnt" bogus=1
	fails_with page_size "$PERSIFS_CTL" tune "$mnt" page_size=4k
	head -c 3M /dev/urandom >"$work/data"
	cp "$work/data" "$mnt/data"
	"$PERSIFS_CTL" drain "$mnt" || fail drain
	cmp "$work/data" "$mnt/data"
	rm "$mnt/data"
}

foreground_stays() {
	"$PERSIFS" mount -f "$uri" "$mnt" </dev/null >"$work/log/foreground" 2>&1 &
	local pid=$!
	wait_until 20 is_mounted || fail "mount -f does not mount"
	wait_until 20 test -n "$(stat_of worker_pid)" || fail "no answer of the foreground mount"
	kill -0 "$pid" || fail "mount -f did not stay"
	echo x >"$mnt/x" && rm "$mnt/x"
	"$PERSIFS" umount "$mnt" || fail "umount of a foreground mount"
	wait "$pid" || fail "mount -f ended with status $?"
	nothing_is_left
}

# What the caller had open is not held by the daemon as long as the mount is there.
no_descriptor_is_inherited() {
	local pid
	exec 8>"$work/mine"
	target_mount
	exec 8>&-
	while read -r pid; do
		[ -z "$(find "/proc/$pid/fd" -lname "$work/mine")" ] || fail "process $pid inherited a descriptor"
	done <"$work/pids"
	target_umount
}

# SIGTERM to the supervisor: data is written, the mount goes.
sigterm_drains() {
	target_mount
	echo "last words" >"$mnt/words"
	kill -TERM "$(stat_of supervisor_pid)"
	wait_until 30 no_persifs_runs || fail "still running after SIGTERM"
	! is_mounted || fail "still mounted after SIGTERM"
	[ -z "$(target_backing)" ] || [ "$(cat "$store/words")" = "last words" ] || fail "data is lost"
	no_sanitizer_reports
}

plain_mount_and_umount() {
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || return 0 # /sbin of the machine stays as it is
	mkdir -p "$work/sbin.up" "$work/sbin.work"
	mount -t overlay -o "lowerdir=/usr/sbin,upperdir=$work/sbin.up,workdir=$work/sbin.work" overlay /usr/sbin 2>/dev/null || {
		log "left out: no overlay to install into"
		return 0
	}
	ln -sf "$PERSIFS" /usr/sbin/mount.fuse.persifs
	ln -sf "$PERSIFS" /usr/sbin/umount.fuse.persifs
	mount -t fuse.persifs -o cache_size=32m,nodev "$uri" "$mnt" || fail "mount -t fuse.persifs"
	is_mounted || fail "mount(8) mounted nothing"
	grep -F " $mnt " /proc/self/mounts | grep -q nosuid || fail "the mount is not nosuid"
	head -c 3M /dev/urandom >"$work/data"
	cp "$work/data" "$mnt/data"
	umount "$mnt" || fail "umount(8)"
	nothing_is_left
	[ -z "$(target_backing)" ] || cmp "$work/data" "$store/data"
	fails_with bogus mount -t fuse.persifs -o bogus=1 "$uri" "$mnt"
	umount /usr/sbin
}

scenario() {
	help_and_version
	target_mount
	stat_tells
	tune_changes
	target_umount
	foreground_stays
	no_descriptor_is_inherited
	sigterm_drains
	plain_mount_and_umount
}

run_scenario "$@"
