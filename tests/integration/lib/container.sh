# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # shares variables with test.sh
# container.sh - containers of crun and runc, whose bundles tests/tools/bundle.py makes
#
#   container_prepare [rw]       once a run: what the runtimes need of the machine
#   container RUNTIME NAME [OPTION of bundle.py...] -- COMMAND...   runs it, waits; its status
#   container_start RUNTIME NAME [OPTION...]     one that only waits for container_exec
#   container_exec RUNTIME NAME COMMAND...       in one that runs, as its user
#   container_stop RUNTIME NAME
#
# No container asks for a limit, and groups are the machine's: crun is told to leave them alone, and
# runc to do without where it may not, so a run that fails leaves none behind.

container_prepare() {
	need python3 busybox crun runc
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || skip "containers want namespaces of the run's own"
	# A machine with cgroups of both versions is refused by crun.
	mount -t cgroup2 -o "${1:-ro}" cgroup2 /sys/fs/cgroup || skip "no cgroup2 can be mounted here"
	mkdir -p "$work/bundles" /run/crun /run/runc
}

runtime() { # RUNTIME ARGUMENT...
	case $1 in
	crun) crun --root /run/crun --cgroup-manager=disabled "${@:2}" ;;
	runc) runc --rootless=true --root /run/runc "${@:2}" ;;
	esac
}

# Unique on the machine, whose cgroups are shared by everybody.
container_id() { echo "${work##*.}-$1"; }

container() {
	local bundle=$work/bundles/$2
	"$root/tests/tools/bundle.py" "$bundle" "${@:3}" || fail "no bundle for $2"
	runtime "$1" run --bundle "$bundle" "$(container_id "$2")" </dev/null
}

container_start() {
	rm -f "$work/log/container-$2" # of an earlier one
	container "$@" -- sh -c 'echo up; exec sleep 3600' >"$work/log/container-$2" 2>&1 &
	wait_until 20 grep -qsx up "$work/log/container-$2" || fail "container $2 of $1: $(tail -n 2 "$work/log/container-$2")"
}

container_exec() { runtime "$1" exec "$(container_id "$2")" "${@:3}" </dev/null; }

container_is_gone() { ! runtime "$1" state "$(container_id "$2")" >/dev/null 2>&1; }
container_stop() {
	runtime "$1" kill "$(container_id "$2")" KILL
	wait_until 20 container_is_gone "$1" "$2" || fail "container $2 of $1 does not end"
}

# container_image FILE: a root folder as a tar, for engines that import it as an image
container_image() {
	"$root/tests/tools/bundle.py" "$work/bundles/image" -- true || fail "no root folder for an image"
	tar -C "$work/bundles/image/rootfs" -cf "$1" .
}
