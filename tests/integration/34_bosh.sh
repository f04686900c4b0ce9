#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 34_bosh.sh - the BOSH job from pre-start to drain, with a stand-in for the rep: the drain waits for
# the rep, removes the discovery file, evacuates, ends the driver; and ends itself whatever hangs
fits="nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/plugin.sh
. "$lib/plugin.sh"

render() { # [PROPERTY=JSON...]
	"$root/tests/tools/bosh.py" "$root/dist/bosh/jobs/persifs-driver" "$vcap" "listen=\"127.0.0.1:$driver_port\"" \
		"admin=\"$driver_admin\"" "sources=[\"dir:$store\",\"nfs://\"]" 'budget="512m"' "$@" || fail "the job cannot be rendered"
}

job() { "$vcap/jobs/persifs-driver/bin/$1" "${@:2}"; }
volman() { "$root/tests/tools/volman.py" --paths "$specs" "$@"; }
is_found() { volman --call Plugin.Activate >/dev/null 2>&1; }
pid_of_driver() { cat "$vcap/sys/run/persifs-driver/pid"; }

start_job() {
	job pre-start || fail "pre-start"
	job ctl start || fail "ctl start"
	wait_until 10 is_found || fail "no driver is found: $(tail -n 3 "$vcap/sys/log/persifs-driver/driver.log")"
	driver_pid=$(pid_of_driver)
}

# What pgrep finds as rep; it purges at its start, as the real one does.
start_rep() {
	volman --purge >/dev/null || fail "the rep's purge"
	[ -x "$work/rep" ] || cp /bin/sleep "$work/rep"
	"$work/rep" 600 &
	rep=$!
}
end_rep() {
	kill "$rep"
	wait "$rep" 2>/dev/null || true
}

container_up() { # NAME
	volman --call Create "{\"Name\":\"$1\",\"Opts\":{\"source\":\"$uri\"}}" >/dev/null || fail "Create $1"
	volman --call Mount "{\"Name\":\"$1\"}" >/dev/null || fail "Mount $1"
	mountpoint -q "$mounts/$1" || fail "$1 is not mounted"
}

drain_start() { # REP EVACUATE PING: limits in seconds
	PERSIFS_DRAIN_REP_S=$1 PERSIFS_DRAIN_EVACUATE_S=$2 PERSIFS_DRAIN_PING_S=$3 job drain >"$work/drained" &
	drain=$!
}
drain_ends() { # SECONDS
	wait_until "$1" process_is_gone "$drain" || fail "the drain does not end: $(tail -n 3 "$vcap/sys/log/persifs-driver/drain.log")"
	wait "$drain" || fail "the drain ends with status $?"
	[ "$(cat "$work/drained")" = 0 ] || fail "BOSH reads '$(cat "$work/drained")', not 0"
}
drain_says() { grep -qs "$1" "$vcap/sys/log/persifs-driver/drain.log"; }

# monit's restart is no matter of the apps (R16), and is done twice.
restart_leaves_mounts() {
	echo before >"$mounts/app/file"
	job ctl start
	[ "$(pid_of_driver)" = "$driver_pid" ] || fail "a second start starts a second driver"
	job ctl stop
	process_is_gone "$driver_pid" || fail "ctl stop leaves the driver"
	job ctl stop
	[ -z "$(ls "$specs")" ] || fail "R6: the discovery file outlives the driver"
	echo meanwhile >>"$mounts/app/file" || fail "R16: the mount ends with the driver"
	start_job
	[ "$(cat "$mounts/app/file")" = $'before\nmeanwhile' ] || fail "the file is not what was written"
}

drain_in_order() {
	start_rep
	container_up app2
	echo last >"$mounts/app2/last"
	drain_start 60 60 60
	wait_until 10 drain_says "waiting for the rep" || fail "the drain does not begin"
	sleep 1
	[ -e "$specs/persifs.json" ] || fail "the discovery file goes before the rep"
	mountpoint -q "$mounts/app2" || fail "evacuated under a rep"
	end_rep
	drain_ends 60
	[ -z "$(ls "$specs")" ] || fail "R6: a discovery file is left"
	process_is_gone "$driver_pid" || fail "the driver is left"
	! grep -F " $mounts/" /proc/self/mountinfo || fail "a mount is left"
	[ "$(cat "$store/last")" = last ] || fail "data is lost"
}

# A drain that never ends would block the cell's update.
drain_ends_whatever_hangs() {
	local start=$SECONDS
	start_job
	start_rep
	container_up stuck
	kill -STOP "$driver_pid"
	drain_start 1 2 2
	drain_ends 30
	end_rep
	drain_says "the rep is still there" || fail "the limit for the rep is not told"
	drain_says "no answer to /evacuate" || fail "the limit for the evacuation is not told"
	process_is_gone "$driver_pid" || fail "a driver that hangs is left"
	[ -z "$(ls "$specs")" ] || fail "R6: a discovery file is left"
	log "a drain with everything hung took $((SECONDS - start)) s"
	# The mount is its daemon's; the next driver finds it, and the purge of the rep ends it.
	start_job
	volman --purge >/dev/null
	! mountpoint -q "$mounts/stuck" || fail "an orphan is left after the purge"
	drain_start 1 10 10
	drain_ends 30
	drain_start 1 1 1 # nothing runs
	drain_ends 10
}

# A job that was disabled leaves nothing for the rep to complain of.
disabled() {
	echo '{}' >"$specs/persifs.json"
	render disable=true
	job pre-start
	[ -z "$(ls "$specs")" ] || fail "R6: the file of a disabled job is left"
	! grep -q check "$vcap/jobs/persifs-driver/monit" || fail "monit watches a disabled job"
}

over_tls() {
	local tls=$work/tls name arguments=(tls.enabled=true)
	certificates
	for name in ca_cert:ca.pem server_cert:server.pem server_key:server.key client_cert:client.pem client_key:client.key; do
		arguments+=("tls.${name%%:*}=$(python3 -c 'import json, sys; print(json.dumps(open(sys.argv[1]).read()))' "$tls/${name#*:}")")
	done
	render "${arguments[@]}"
	start_job
	volman --names | grep https: >/dev/null || fail "no TLS: $(volman --names)"
	container_up secure
	drain_start 1 20 20
	drain_ends 30
}

scenario() {
	vcap=$work/vcap
	specs=$vcap/data/voldrivers mounts=$vcap/data/volumes/persifs
	driver_prepare
	umount "$driver_root" # sharing it is pre-start's
	mkdir -p "$vcap/packages/persifs"
	ln -s "${DRIVER%/*}" "$vcap/packages/persifs/bin"
	need findmnt pgrep
	render
	! shellcheck --version >/dev/null 2>&1 || shellcheck "$vcap"/jobs/persifs-driver/bin/* || fail "shellcheck"
	start_job
	findmnt -no PROPAGATION --target "$mounts" | grep shared >/dev/null || fail "the mount root is not shared"
	container_up app
	restart_leaves_mounts
	drain_in_order
	drain_ends_whatever_hangs
	over_tls
	disabled
	umount "$mounts" || fail "something is left below the mount root"
	wait_until 20 no_persifs_runs || fail "daemons are left"
}

run_scenario "$@"
