#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 29_containers.sh - the mount inside containers of crun, runc and bubblewrap: who owns what,
# read-only binds, propagation, user namespaces with shifted ids, mapped mounts, set-id bits
# and devices, and an unmount under a running container
fits="dir nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/container.sh
. "$lib/container.sh"

VOLUME=/var/vcap/data/0f2a-volume # where an app finds it
SHIFT=100000                      # first id of the host for containers of a user namespace
APP=2000                          # who apps run as
# Asked for, for runtimes drop what they are not: crun from each bind, runc from read-only ones.
SAFE=nosuid,nodev
WIRE=3000                         # who a mapped mount is at the backend

owner() { stat -c %u:%g "$1"; }
owned() { # FILE UID:GID
	[ "$(owner "$1")" = "$2" ] || fail "$1 belongs to $(owner "$1"), not $2"
}

root_and_the_app_write_as_themselves() { # RUNTIME
	local file
	container "$1" root --bind "$mnt:$VOLUME" -- sh -ec "mkdir -m 777 $VOLUME/$1; echo root >$VOLUME/$1/root"
	container "$1" app --uid $APP --bind "$mnt:$VOLUME" -- sh -ec "
		echo app >$VOLUME/$1/app; ln -s app $VOLUME/$1/link; [ \$(stat -c %u $VOLUME/$1/link) = $APP ]
		[ \$(cat $VOLUME/$1/root) = root ]" || fail "$1: uid $APP"
	owned "$store/$1/root" 0:0
	for file in app link; do owned "$store/$1/$file" $APP:$APP; done
	[ "$(cat "$mnt/$1/app")" = app ] || fail "what a container wrote is not seen outside"
	fails_as "Permission denied" container "$1" app --uid $APP --bind "$mnt:$VOLUME" -- sh -c "echo x >$VOLUME/$1/root"
}

# Read-only is the bind's; it is the same superblock, so nothing is old in it.
read_only_is_erofs_and_coherent() { # RUNTIME
	local i
	container_start "$1" ro --bind "$mnt:$VOLUME:ro"
	fails_as "Read-only file system" container_exec "$1" ro sh -c "echo x >$VOLUME/new"
	fails_as "Read-only file system" container_exec "$1" ro touch "$VOLUME/$1/root"
	fails_as "Read-only file system" container_exec "$1" ro rm "$VOLUME/$1/root"
	for ((i = 0; i < 5; i++)); do
		echo "round $i" >"$mnt/$1/turns"
		[ "$(container_exec "$1" ro cat "$VOLUME/$1/turns")" = "round $i" ] || fail "a read-only container reads old data"
	done
	container_stop "$1" ro
}

# The mount's folder belongs to a shared mount, as an orchestrator's does.
share_volumes() {
	mkdir -p "$work/volumes" "$work/late"
	mount --bind "$work/volumes" "$work/volumes"
	mount --make-shared "$work/volumes"
	mkdir "$work/volumes/late"
}

sees_late() { container_exec "$1" "$2" grep -q " /var/vcap/data/late fuse" /proc/self/mounts; }

late_mount_is_seen_by_slaves_only() { # RUNTIME
	container_start "$1" slave --bind "$work/volumes:/var/vcap/data:rslave"
	container_start "$1" private --bind "$work/volumes:/var/vcap/data:rprivate"
	"$PERSIFS" mount "dir:$work/late" "$work/volumes/late" || fail "no late mount"
	sees_late "$1" slave || fail "$1: a late mount is not seen with rslave"
	! sees_late "$1" private || fail "$1: a late mount is seen with rprivate"
	container_exec "$1" slave sh -c 'echo late >/var/vcap/data/late/file'
	"$PERSIFS" umount "$work/volumes/late" || fail "$1: the late mount cannot be unmounted"
	! sees_late "$1" slave || fail "$1: the late mount is still seen after its unmount"
	[ "$(cat "$work/late/file")" = late ] || fail "what was written to the late mount is lost"
	container_stop "$1" slave
	container_stop "$1" private
}

shifted_ids_are_the_hosts() { # RUNTIME
	container "$1" shifted --shift $SHIFT --bind "$mnt:$VOLUME" -- sh -ec "
		echo r >$VOLUME/$1/shifted-root; [ \$(stat -c %u $VOLUME/$1/shifted-root) = 0 ]
		[ \$(stat -c %u $VOLUME/$1/root) = 65534 ]" || fail "$1: root of a user namespace"
	container "$1" shifted --shift $SHIFT --uid $APP --bind "$mnt:$VOLUME" -- sh -ec "
		echo a >$VOLUME/$1/shifted-app" || fail "$1: uid $APP of a user namespace"
	owned "$store/$1/shifted-root" "$SHIFT:$SHIFT"
	owned "$store/$1/shifted-app" "$((SHIFT + APP)):$((SHIFT + APP))"
	(umask 077 && echo secret >"$mnt/$1/secret")
	fails_as "Permission denied" container "$1" shifted --shift $SHIFT --bind "$mnt:$VOLUME" -- cat "$VOLUME/$1/secret"
	fails_as "Read-only file system" container "$1" shifted --shift $SHIFT --bind "$mnt:$VOLUME:ro,$SAFE" -- \
		touch "$VOLUME/$1/shifted-root"
}

# A program of root's with a set-id bit, and a device: the one gives nothing, the other cannot be opened.
set_ids_and_devices_are_dead() { # RUNTIME
	local options
	cp /bin/busybox "$mnt/$1/busybox"
	chmod 4755 "$mnt/$1/busybox"
	mknod -m 666 "$mnt/$1/null" c 1 3 || fail "no device in the mount"
	for options in rw,$SAFE ro,$SAFE; do
		[ "$(container "$1" app --uid $APP --bind "$mnt:$VOLUME:$options" -- "$VOLUME/$1/busybox" id -u)" = $APP ] ||
			fail "$1: a set-id bit of the mount has an effect"
		fails_as "Permission denied" container "$1" app --uid $APP --bind "$mnt:$VOLUME:$options" -- cat "$VOLUME/$1/null"
	done
	rm "$mnt/$1/null" "$mnt/$1/busybox"
}

# One identity at the backend for everybody; the app sees its own id, shifted or not.
mapped_files_are_the_apps() { # RUNTIME
	container "$1" mapped --uid $APP --bind "$mnt:$VOLUME" -- sh -ec "
		echo m >$VOLUME/$1-mapped; [ \$(stat -c %u:%g $VOLUME/$1-mapped) = $APP:$APP ]
		chown $APP:$APP $VOLUME/$1-mapped; chmod 600 $VOLUME/$1-mapped; cat $VOLUME/$1-mapped >/dev/null" ||
		fail "$1: the app is no owner of its file"
	owned "$store/$1-mapped" $WIRE:$WIRE
	fails_as "Operation not permitted" container "$1" root --bind "$mnt:$VOLUME" -- chown 5:5 "$VOLUME/$1-mapped"
	# Root inside is the same identity at the backend, and no more than that.
	fails_as "Permission denied" container "$1" root --bind "$mnt:$VOLUME" -- cat "$VOLUME/roots"
}
mapped_files_are_the_shifted_apps() { # RUNTIME
	container "$1" shifted --shift $SHIFT --uid $APP --bind "$mnt:$VOLUME" -- sh -ec "
		echo m >$VOLUME/$1-shifted; [ \$(stat -c %u:%g $VOLUME/$1-shifted) = $APP:$APP ]
		chmod 600 $VOLUME/$1-shifted; cat $VOLUME/$1-shifted >/dev/null" || fail "$1: the shifted app is no owner"
	owned "$store/$1-shifted" $WIRE:$WIRE
}

mapped_mounts() {
	local runtime
	(umask 077 && echo secret >"$store/roots")
	chown $WIRE:$WIRE "$store"
	target_mount uid=$WIRE,gid=$WIRE
	for runtime in crun runc; do mapped_files_are_the_apps $runtime; done
	target_umount
	target_mount "uid=$WIRE,gid=$WIRE,owner_uid=$((SHIFT + APP)),owner_gid=$((SHIFT + APP))"
	for runtime in crun runc; do mapped_files_are_the_shifted_apps $runtime; done
	target_umount
	chown 0:0 "$store"
}

# Gone for the host at once, and served for the container until that ends; nothing is lost.
unmount_under_a_running_container() { # RUNTIME
	target_mount
	container_start "$1" holder --bind "$mnt:$VOLUME:$SAFE"
	container_exec "$1" holder sh -c "echo before >$VOLUME/$1-before"
	"$PERSIFS" umount -l "$mnt" || fail "a lazy unmount"
	! is_mounted || fail "still mounted after a lazy unmount"
	container_exec "$1" holder sh -ec "
		[ \$(cat $VOLUME/$1-before) = before ]; dd if=/dev/zero of=$VOLUME/$1-after bs=1M count=20 2>/dev/null
		echo end >>$VOLUME/$1-after" || fail "$1: the mount is dead in the container"
	container_stop "$1" holder
	nothing_is_left
	[ "$(cat "$store/$1-before")" = before ] || fail "what was written before is lost"
	[ "$(tail -c 4 "$store/$1-after")" = end ] || fail "what was written after the unmount is lost"
	[ "$(stat -c %s "$store/$1-after")" = $(((20 << 20) + 4)) ] || fail "the file has a wrong size"
}

sandbox() { # OPTION... COMMAND...
	bwrap --unshare-pid --unshare-ipc --die-with-parent --ro-bind "$work/bundles/root/rootfs" / --proc /proc --dev /dev "$@"
}

in_bubblewrap() {
	local dir=$VOLUME/bwrap as="setpriv --reuid 1500 --regid 1500 --clear-groups"
	need bwrap setpriv
	target_mount
	mkdir -m 777 "$mnt/bwrap"
	sandbox --bind "$mnt" $VOLUME sh -c "echo r >$dir/root" || fail "bubblewrap by root"
	owned "$store/bwrap/root" 0:0
	# An ordinary user's sandbox, who is the app inside.
	$as "$(command -v bash)" -c "$(declare -f sandbox); work=$work; sandbox --unshare-user --uid $APP --gid $APP \\
		--bind $mnt $VOLUME sh -ec 'echo u >$dir/user; [ \$(stat -c %u $dir/user) = $APP ]'" || fail "bubblewrap by a user"
	owned "$store/bwrap/user" 1500:1500
	fails_as "Read-only file system" sandbox --ro-bind "$mnt" $VOLUME touch "$dir/new"
	echo fresh >"$mnt/bwrap/turns"
	[ "$(sandbox --ro-bind "$mnt" $VOLUME cat "$dir/turns")" = fresh ] || fail "a read-only sandbox reads old data"
	cp /bin/busybox "$mnt/bwrap/busybox"
	chmod 4755 "$mnt/bwrap/busybox"
	[ "$($as "$mnt/bwrap/busybox" id -u)" = 1500 ] || fail "a set-id bit of the mount has an effect"
	sandbox --bind "$mnt" $VOLUME cat /proc/self/mounts >"$work/mounts"
	grep " $VOLUME fuse" "$work/mounts" | grep nosuid | grep nodev >/dev/null || fail "bubblewrap drops nosuid,nodev"
	target_umount
	log "bubblewrap: done"
}

in_crun_and_runc() {
	local runtime
	target_mount
	share_volumes
	for runtime in crun runc; do
		root_and_the_app_write_as_themselves $runtime
		read_only_is_erofs_and_coherent $runtime
		late_mount_is_seen_by_slaves_only $runtime
		shifted_ids_are_the_hosts $runtime
		set_ids_and_devices_are_dead $runtime
		log "$runtime: done"
	done
	target_umount
}

scenario() {
	container_prepare
	in_crun_and_runc
	mapped_mounts
	unmount_under_a_running_container crun
	unmount_under_a_running_container runc
	in_bubblewrap
}

run_scenario "$@"
