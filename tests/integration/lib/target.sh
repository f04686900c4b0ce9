# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # some variables are those of test.sh and server.sh
# target.sh - what a scenario runs on: mounting, unmounting, and what must be gone
#
# Targets: plain   no persifs at all, a bind mount: proves the scenario itself
#          dir     persifs on a local folder
#          memory  persifs on its memory backend (data is gone at unmount)
#          nfs     persifs on nfs-ganesha over a local folder
#          nfsmem  persifs on nfs-ganesha's memory file system
#          nfsfault  persifs on tests/server, which fails on purpose
# A scenario with own_targets=yes has others, which it prepares itself (kinds of storage, say); one with without_persifs=yes
# tests something else.
#
# After target_prepare: $mnt where the target is mounted, $uri what is mounted,
# $store the folder behind it.
# State lies in files of $work, so that remount.sh, another process, can go on.

# Targets without a mount: a broker's store.
is_store() { [ "$target" = sqlite ] || [ "$target" = postgres ]; }
is_persifs() { [ "$target" != plain ] && ! is_store && [ "${without_persifs:-}" != yes ]; }
# Does data outlive an unmount?
is_lasting() { [ "$target" != memory ]; }

target_prepare() {
	mnt=$work/mnt store=$work/store
	mkdir -p "$mnt" "$store" "$work/log" "$work/run" "$work/san"
	chmod 755 "$store"
	if is_persifs; then
		[ -x "$PERSIFS" ] || skip "no program $PERSIFS"
		[ -c /dev/fuse ] || skip "no /dev/fuse"
	fi
	export PERSIFS_RUNTIME_DIR=$work/run
	export ASAN_OPTIONS="${ASAN_OPTIONS:+$ASAN_OPTIONS:}log_path=$work/san/asan:detect_leaks=1"
	export UBSAN_OPTIONS="${UBSAN_OPTIONS:+$UBSAN_OPTIONS:}log_path=$work/san/ubsan:print_stacktrace=1"
	export TSAN_OPTIONS="${TSAN_OPTIONS:+$TSAN_OPTIONS:}log_path=$work/san/tsan:second_deadlock_stack=1"
	fast_folder "$store" "${STORE_MIB:-6144}"
	case $target in
	plain) uri=$store ;;
	sqlite | postgres) ;;
	dir) uri=dir:$store ;;
	memory) uri=memory: ;;
	nfs) server_start VFS "$store" && uri=$server_uri ;;
	nfsmem) server_start MEM /mem && uri=$server_uri ;;
	nfsfault) server_start_fault && uri=$server_uri ;;
	*)
		[ "${own_targets:-}" = yes ] || fail "no target '$target'"
		uri=dir:$store
		;;
	esac
	target_save
}

# fast_folder DIR MIB: gives DIR an ext4 of its own in memory, where a flush costs
# nothing and file handles exist; stays the plain folder where that cannot be.
fast_folder() {
	[ "${PERSIFS_TEST_NS:-}" = 1 ] && [ -e /dev/loop-control ] && command -v mkfs.ext4 >/dev/null || return 0
	mkdir -p "$1" "$1.img"
	mount -t tmpfs -o size="$2m" tmpfs "$1.img"
	truncate -s "$2M" "$1.img/img"
	mkfs.ext4 -q -F -m 0 -E lazy_itable_init=1,lazy_journal_init=1,root_owner=0:0 "$1.img/img"
	mount -o loop,user_xattr,acl "$1.img/img" "$1"
	rmdir "$1/lost+found"
}

target_save() { declare -p target mnt uri store work >"$work/state"; }

# target_backing: the server's own folder behind the mount; nothing when there is none
target_backing() {
	case $target in
	plain | dir | nfs) echo "$store" ;;
	esac
}

# stat_of KEY [DIR]: one value of persifs-ctl stat
stat_of() {
	"$PERSIFS_CTL" stat "${2:-$mnt}" --json |
		sed -n "s/^ *\"$1\": *\"\{0,1\}\([^\",]*\)\"\{0,1\},\{0,1\}\$/\1/p" | head -n 1
}

# Seconds that any step of mounting or unmounting may take
STEP_SECONDS=60

is_mounted() { grep -qF " $mnt fuse" /proc/self/mounts; }

# A daemon in the background logs to syslog, of which a run has none. DEBUG=1
# keeps it in the foreground, and all it says in log/mount.
mount_in_foreground() {
	"$PERSIFS" mount -f -o "$1" "$uri" "$mnt" </dev/null >>"$work/log/mount" 2>&1 &
	wait_until "$STEP_SECONDS" is_mounted || fail "persifs mount -f: $(tail -n 3 "$work/log/mount")"
}

# target_mount [OPTION,...]
target_mount() {
	if ! is_persifs; then
		mount --bind "$store" "$mnt"
		case ,${1:-}, in *,ro,*) mount -o remount,bind,ro "$mnt" ;; esac
		return
	fi
	if [ "${DEBUG:-}" = 1 ]; then
		mount_in_foreground "${1:+$1,}log_level=debug,layers=trace"
	else
		timeout "$STEP_SECONDS" "$PERSIFS" mount ${1:+-o "$1"} "$uri" "$mnt" \
			</dev/null >>"$work/log/mount" 2>&1 || fail "persifs mount: $(tail -n 3 "$work/log/mount")"
	fi
	mountpoint -q "$mnt" || fail "persifs mount returned, but nothing is mounted"
	{ stat_of supervisor_pid && stat_of worker_pid; } >"$work/pids"
	[ "$(wc -w <"$work/pids")" = 2 ] || fail "stat tells no supervisor and worker"
}

target_umount() {
	if ! is_persifs; then
		umount "$mnt"
		return
	fi
	"$PERSIFS_CTL" stat "$mnt" --json >"$work/log/stat" || fail "persifs-ctl stat before unmount"
	timeout "$STEP_SECONDS" "$PERSIFS" umount "$mnt" </dev/null >>"$work/log/umount" 2>&1 ||
		fail "persifs umount: status $?: $(tail -n 3 "$work/log/umount")"
	nothing_is_left
}

# target_remount [OPTION,...]: afterwards nothing is cached anywhere
target_remount() {
	target_umount
	target_mount "$@"
}

# A command for other programs that remounts the target.
remount_command() { echo "bash '$lib/remount.sh' '$work'"; }

# Processes that run the tested program in this run.
persifs_pids() {
	local p
	for p in /proc/[0-9]*; do
		[ "$p/exe" -ef "$PERSIFS" ] || continue
		[ "${PERSIFS_TEST_NS:-}" = 1 ] || grep -qzx "PERSIFS_TEST_WORK=$work" "$p/environ" 2>/dev/null || continue
		echo "${p#/proc/}"
	done
	return 0
}
no_persifs_runs() { [ -z "$(persifs_pids)" ]; }

# After an unmount or a failed mount: no mount, process, socket or report.
nothing_is_left() {
	! grep -qF " $mnt " /proc/self/mounts || fail "still mounted: $(grep -F " $mnt " /proc/self/mounts)"
	wait_until 20 no_persifs_runs || fail "still running: $(ps -o pid,stat,wchan,args -p "$(persifs_pids | paste -sd,)")"
	no_sanitizer_reports
}

no_sanitizer_reports() {
	local f
	for f in "$work"/san/*; do
		[ -s "$f" ] || continue
		head -n 80 "$f"
		fail "a sanitizer reported: ${f##*/}"
	done
	return 0
}

# The end of a scenario that passed.
target_finish() {
	! mountpoint -q "$mnt" || target_umount
	no_sanitizer_reports
	server_stop
}

target_show_logs() {
	local f
	for f in "$work"/log/*; do
		[ -s "$f" ] || continue
		case $f in */stat) continue ;; esac # kept with KEEP=1
		echo "--- ${f##*/}"
		grep -vE ' :(EVENT|NULL) :|DBUS|dbus|keytab|gssd|principal|RADOS' "$f" | tail -n 15 || true
	done
	for f in "$work"/san/*; do
		[ -s "$f" ] || continue
		echo "--- ${f##*/}"
		head -n 60 "$f"
	done
}

# Whatever happened: nothing of ours stays, by pid and by path.
target_release() {
	local p
	end_process "${driver_pid:-}" # of driver.sh
	for p in $(persifs_pids); do kill -KILL "$p" 2>/dev/null; done
	server_stop
	awk -v w="$work/" 'index($2, w) == 1 { print $2 }' /proc/self/mounts | sort -r |
		while read -r m; do umount -l "$m" 2>/dev/null; done
	return 0
}
