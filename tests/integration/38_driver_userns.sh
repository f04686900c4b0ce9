#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 38_driver_userns.sh - driver and daemons wholly inside a user namespace of an ordinary user,
# with one id and with ranges of newuidmap; containers are children of the namespace
fits="dir nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/user.sh
. "$lib/user.sh"

DRIVER=${DRIVER:-$root/build/$VARIANT/persifs-driver}

# For dir it is his; a server's folder is opened to all.
open_store() {
	case $target in
	dir) chown "$user_id:$user_id" "$store" ;;
	nfs) chmod 777 "$store" ;;
	esac
}

# Run as root of the namespace. RANGES: there are more ids than one.
owner_script() {
	cat <<-'SH'
		set -eu
		fail() { echo "FAILED: $*" >&2; tail -n 5 "$HOME/driver.log" >&2; exit 1; }
		ask() { curl -s --max-time 60 --unix-socket "$HOME/driver.sock" -d "$2" "http://x/VolumeDriver.$1"; }
		ok() { answer=$(ask "$1" "$2") || :; case $answer in *'"Err":""'*) ;; *) fail "$1 $2: '$answer'" ;; esac }
		inside() { # DIR COMMAND: in a container
			bwrap --ro-bind / / --proc /proc --dev /dev --tmpfs /run --bind "$1" /run/data --unshare-pid sh -c "$2"
		}
		vol=$HOME/volumes
		cat >"$HOME/driver.json" <<-J
			{ "listen": ["unix:$HOME/driver.sock"], "admin": "127.0.0.1:$ADMIN", "mount_root": "$vol",
			  "persifs": "$PERSIFS", "sources": ["$SOURCES"], "budget": "64m",
			  "mount_defaults": "sandbox=$SANDBOX" }
		J
		"$DRIVER" --config "$HOME/driver.json" >"$HOME/driver.out" 2>"$HOME/driver.log" &
		driver=$!
		trap 'kill "$driver" 2>/dev/null || :' EXIT
		for i in $(seq 100); do ! grep -qs driver-server.started "$HOME/driver.out" || break; sleep 0.1; done
		grep -q driver-server.started "$HOME/driver.out" || fail "the driver does not start"
		ok Create "{\"Name\":\"app\",\"Opts\":{\"source\":\"$URI\"}}"
		ok Mount "{\"Name\":\"app\"}"
		echo "$TEXT" >"$vol/app/$NAME"
		[ "$(inside "$vol/app" "cat /run/data/$NAME; echo inner >/run/data/$NAME.inner")" = "$TEXT" ] || fail "inside it is another file"
		[ "$(cat "$vol/app/$NAME.inner")" = inner ] || fail "what the container wrote is not there"
		ok Create "{\"Name\":\"look\",\"Opts\":{\"source\":\"$URI\",\"readonly\":true}}"
		ok Mount "{\"Name\":\"look\"}"
		inside "$vol/look" "cat /run/data/$NAME; ! echo x 2>&1 >/run/data/x" | grep -q 'Read-only file system' || fail "a read-only container may write"
		if [ -n "$RANGES" ]; then
			chmod 777 "$vol/app"
			setpriv --reuid 2000 --regid 2000 --clear-groups -- sh -c "echo mine >'$vol/app/$NAME.2000'"
			[ "$(stat -c %u:%g "$vol/look/$NAME.2000")" = 2000:2000 ] || fail "it belongs to $(stat -c %u:%g "$vol/look/$NAME.2000")"
		fi
		# Mounts outlive the driver.
		kill -KILL "$driver"
		wait "$driver" 2>/dev/null || :
		[ "$(cat "$vol/app/$NAME")" = "$TEXT" ] || fail "the mount went with the driver"
		: >"$HOME/driver.out" # the last one's word is in it until the next has started
		"$DRIVER" --config "$HOME/driver.json" >"$HOME/driver.out" 2>>"$HOME/driver.log" &
		driver=$!
		for i in $(seq 100); do ! grep -q driver-server.started "$HOME/driver.out" || break; sleep 0.1; done
		ok Unmount "{\"Name\":\"look\"}"
		ok Unmount "{\"Name\":\"app\"}"
		! grep -q "$vol" /proc/self/mountinfo || fail "still mounted"
		kill "$driver"
		wait "$driver" || fail "the driver ended with status $?"
	SH
}

run_as_owner() { # RANGES SANDBOX COMMAND...
	local text=$RANDOM$RANDOM sources=nfs://127.0.0.1 name
	name=f$text # a server may remember those that went behind its back
	[ "$target" != dir ] || sources=dir:$store
	owner_script >"$work/owner.sh"
	as_user PERSIFS="$PERSIFS" DRIVER="$work/bin/persifs-driver" URI="$uri" SOURCES="$sources" ADMIN="$(free_port)" \
		TEXT=$text NAME="$name" RANGES="$1" SANDBOX="$2" timeout 60 "${@:3}" bash "$work/owner.sh" 2>>"$work/log/owner" ||
		fail "$*: $(tail -n 7 "$work/log/owner")"
	[ "$(cat "$store/$name")" = "$text" ] || fail "the data is not in the store"
	[ "$(cat "$store/$name.inner")" = inner ] || fail "the container's data is not in the store"
	wait_until 10 none_of_his || fail "his processes are left: $(ps -o pid,args -u "$user_id")"
}
none_of_his() { ! pgrep -u "$user_id" persifs >/dev/null; }

scenario() {
	need curl bwrap newuidmap setpriv
	make_user "$DRIVER"
	open_store
	run_as_owner "" auto unshare -Urm --
	run_as_owner "" off unshare -Urm --
	log "a namespace with one id"
	run_as_owner yes auto unshare -Um --map-root-user --map-auto --
	if [ "$target" = dir ]; then
		[ "$(stat -c %u "$store"/f*.2000)" = $((first_sub + 1999)) ] || fail "shifted to $(stat -c %u "$store"/f*.2000)"
	fi
	log "a namespace with ranges"
}

run_scenario "$@"
