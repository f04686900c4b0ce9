#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 31_podman.sh - podman with the driver as a volume plugin of containers.conf: volumes are
# created, used by one container and by two, told and removed; no daemon of podman's runs
# shellcheck disable=SC2016,SC2119 # what a container's shell expands; arguments that may be left out
fits="dir nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/plugin.sh
. "$lib/plugin.sh"
# shellcheck source=lib/container.sh
. "$lib/container.sh"

podman_prepare() {
	need podman
	mkdir -p "$work/podman"
	mount -t tmpfs tmpfs "$work/podman"
	cat >"$work/podman/containers.conf" <<-CONF
		[engine]
		cgroup_manager = "cgroupfs"
		events_logger = "none"
		runtime = "crun"
		[engine.volume_plugins]
		persifs = "$driver_socket"
	CONF
	export CONTAINERS_CONF=$work/podman/containers.conf
	container_image "$work/image.tar"
	pod import -q "$work/image.tar" app >/dev/null || fail "podman imports no image"
}

pod() {
	podman --root "$work/podman/root" --runroot "$work/podman/run" --tmpdir "$work/podman/tmp" \
		--storage-driver vfs "$@" </dev/null
}
# No cgroups: none is asked for anything, and machines differ.
pod_run() { pod run --rm --network none --cgroups disabled "$@"; }

count_of() { driver_call Get "{\"Name\":\"$1\"}" | sed -n 's/.*"MountCount": *\([0-9]*\).*/\1/p'; }
is_mounted_at_driver() { grep -qF " $driver_root/$1 fuse" /proc/self/mounts; }
is_unmounted_at_driver() { ! is_mounted_at_driver "$1"; }

volume_is_created_and_told() {
	pod volume create --driver persifs -o "source=$uri" files >/dev/null || fail "volume create"
	pod volume ls | grep 'persifs *files' >/dev/null || fail "volume ls: $(pod volume ls)"
	pod volume inspect files | grep -F "$uri" >/dev/null || fail "volume inspect tells no source"
	[ "$(count_of files)" = 0 ] || fail "created, and mounted"
}

# Section 5 and R7: later containers mount it without creating it again.
containers_one_after_the_other() {
	pod_run -v files:/data app sh -ec 'echo one >/data/one; mkdir -m 777 /data/open' || fail "the first container"
	is_unmounted_at_driver files || fail "mounted after the container's end"
	pod_run -v files:/data --user 2000:2000 app sh -ec '[ "$(cat /data/one)" = one ]; echo two >/data/open/two' ||
		fail "the second container"
	[ "$(cat "$store/open/two")" = two ] || fail "R13: not in the store"
	[ "$(stat -c %u "$store/open/two")" = 2000 ] || fail "the file belongs to $(stat -c %u "$store/open/two")"
	pod_run -v files:/data app grep ' /data ' /proc/self/mounts >"$work/flags"
	grep nosuid "$work/flags" | grep nodev >/dev/null || fail "podman drops nosuid,nodev: $(cat "$work/flags")"
	fails_as "Read-only file system" pod_run -v files:/data:ro app touch /data/new
}

two_containers_share_it() {
	pod run -d --name first --network none --cgroups disabled -v files:/data app sleep 3600 >/dev/null || fail "first"
	pod run -d --name second --network none --cgroups disabled -v files:/data:ro app sleep 3600 >/dev/null || fail "second"
	pod exec first sh -c 'echo shared >/data/shared'
	[ "$(pod exec second cat /data/shared)" = shared ] || fail "the second container reads something else"
	pod rm -f -t 0 first >/dev/null
	is_mounted_at_driver files || fail "one container's end unmounts another's volume"
	[ "$(pod exec second cat /data/shared)" = shared ] || fail "the second container lost its volume"
	pod rm -f -t 0 second >/dev/null
	is_unmounted_at_driver files || fail "mounted after the last container's end"
}

# R16: a driver that is new has the volume still.
driver_restarts_in_between() {
	driver_stop
	driver_start
	[ "$(pod_run -v files:/data app cat /data/one)" = one ] || fail "after a restart of the driver"
}

# podman takes an Err for one only with a status other than 200 (R4), so it goes on without a
# mountpoint, and the runtime fails: the words are in the driver's log alone.
bad_options_fail_the_container() {
	pod volume create --driver persifs -o "source=$uri" -o colour=red bad >/dev/null || fail "R5: refused at Create"
	if pod_run -v bad:/data app true 2>"$work/bad"; then fail "a volume with a bad option mounts"; fi
	is_unmounted_at_driver bad || fail "a refused volume is mounted"
	pod volume rm bad >/dev/null || fail "volume rm after a failed Mount"
}

scenario() {
	driver_prepare
	container_prepare
	driver_start
	podman_prepare
	volume_is_created_and_told
	containers_one_after_the_other
	two_containers_share_it
	driver_restarts_in_between
	bad_options_fail_the_container
	pod volume rm files >/dev/null || fail "volume rm"
	[ -z "$(count_of files)" ] || fail "section 7 Remove: the volume is still known"
	driver_stop
	driver_done
	umount -l "$work/podman"
}

run_scenario "$@"
