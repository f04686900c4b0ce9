# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # shares variables with test.sh and its scenarios
# driver.sh - the volume driver in a scenario, and a client of it
#
#   driver_prepare           folders; sets $root_dir, $socket, $admin, $source
#   driver_start [KEYS]      starts it; KEYS are more of its configuration, JSON. $mounter (default $PERSIFS) mounts
#   ask ROUTE [BODY]         the answer
#   ok ROUTE BODY            must be without Err
#   errs ROUTE BODY PATTERN  must have an Err that matches
#   mounts_at NAME [KEYS]    Mount must answer the right folder, mounted
#   tls PORT [CURL-OPTION...]   calls Activate
# driver_stop, driver_kill, certificates: cell.sh

# shellcheck source=cell.sh
. "$lib/cell.sh"

driver_prepare() {
	need curl
	[ -x "$DRIVER" ] || skip "no program $DRIVER"
	root_dir=$work/volumes socket=$work/driver.sock admin_port=$(free_port)
	admin=http://127.0.0.1:$admin_port
	source=$uri
}

driver_started() { grep -q driver-server.started "$work/log/driver.out" 2>/dev/null; }
driver_started_or_dead() { driver_started || ! kill -0 "$driver_pid" 2>/dev/null; }

driver_start() {
	cat >"$work/driver.json" <<-J
		{ "listen": ["unix:$socket", "tcp:127.0.0.1:0"], "admin": "127.0.0.1:$admin_port",
		  "mount_root": "$root_dir", "discovery": "$work/discovery", "persifs": "${mounter:-$PERSIFS}",
		  "sources": ["dir:$store", "dir:$work/other", "nfs://127.0.0.1"], "budget": "256m",
		  "log_level": "debug"${1:+, $1} }
	J
	"$DRIVER" --config "$work/driver.json" --check-config >/dev/null || fail "the configuration is refused"
	: >"$work/log/driver.out"
	"$DRIVER" --config "$work/driver.json" </dev/null >"$work/log/driver.out" 2>>"$work/log/driver" &
	driver_pid=$!
	wait_until 20 driver_started_or_dead || fail "the driver neither starts nor ends"
	driver_started || fail "the driver does not start: $(tail -n 2 "$work/log/driver")"
}

ask() { # ROUTE [BODY]
	local path=VolumeDriver.$1
	[ "$1" != Activate ] || path=Plugin.Activate
	curl -s --max-time 60 -X POST --unix-socket "$socket" -H Content-Type: ${2:+-d "$2"} "http://x/$path"
}

# field KEY: its value in the compact JSON on stdin; of a string, what is inside
field() { sed -n "s/.*\"$1\":\(\"\(\([^\"\\\\]\|\\\\.\)*\)\"\|\[[^]]*\]\|[0-9a-z]*\).*/\2\n\1/p" | awk 'NR == 1 && $0 != "" { print; exit } NR == 2 && $0 != "\"\"" { print }'; }

ok() {
	local answer
	answer=$(ask "$@") || fail "$1: curl ended with $?"
	[[ $answer == *'"Err":""'* ]] || fail "$*: $answer"
}

errs() {
	local answer
	answer=$(ask "$1" "$2") || fail "$1: curl ended with $?"
	[[ $answer != *'"Err":""'* ]] || fail "$1 $2: succeeded"
	grep -q -- "$3" <<<"$answer" || fail "$1 $2: '$answer', expected '$3'"
}

mounts_at() {
	local answer
	answer=$(ask Mount "{\"Name\":\"$1\"${2:+,$2}}") || fail "Mount $1: curl ended with $?"
	[ "$answer" = "{\"Mountpoint\":\"$root_dir/$1\",\"Err\":\"\"}" ] || fail "Mount $1: $answer"
	grep -qF " $root_dir/$1 fuse.persifs " /proc/self/mounts || fail "$1 is not mounted"
}

tls() { # PORT [CURL-OPTION...]
	local port=$1
	shift
	curl -s --max-time 20 --cacert "$work/tls/ca.pem" "$@" -X POST "https://127.0.0.1:$port/Plugin.Activate"
}
