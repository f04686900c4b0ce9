#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 30_clients.sh - the driver and its two clients, Volman and dockerd, as tests/tools has them, over
# a unix socket, TCP and mutual TLS: each row of the protocol; and the driver's life: discovery
# files, SIGTERM and SIGKILL under mounts, state, secrets, evacuation
# shellcheck disable=SC2119 # arguments that may be left out
fits="dir nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/plugin.sh
. "$lib/plugin.sh"

bench() { "$@" --source "$uri" --backing "$store" --root "$driver_root" --ctl "$PERSIFS_CTL"; }
as_docker() { # ADDRESS [ARGUMENT...]
	bench "$root/tests/tools/dockerd.py" "$@" || fail "a check as dockerd at $1"
}
as_volman() { bench "$root/tests/tools/volman.py" --paths "$driver_specs" --mount-limit "$(scaled 3 3 20)" || fail "a check as Volman"; }
volman_call() { "$root/tests/tools/volman.py" --paths "$driver_specs" --call "$@"; }

over_socket_and_tcp() {
	as_docker "unix://$driver_socket"
	as_docker "tcp://127.0.0.1:$driver_port"
	as_volman
}

# R1 and section 1: the certificates that the discovery file names are enough, and needed.
over_mutual_tls() {
	local tls=$work/tls
	driver_stop
	driver_tls
	driver_start
	as_docker "https://127.0.0.1:$driver_port" --cacert "$tls/ca.pem" --cert "$tls/client.pem" --key "$tls/client.key"
	as_docker "https://127.0.0.1:$driver_port" --cert "$tls/client.pem" --key "$tls/client.key" --only activate # as Docker without CAFile
	as_volman
	if curl -sf --cacert "$tls/ca.pem" -X POST "https://127.0.0.1:$driver_port/VolumeDriver.List"; then
		fail "section 1: a client without certificate is served"
	fi
	if curl -sf -X POST "http://127.0.0.1:$driver_port/VolumeDriver.List"; then fail "section 1: plain HTTP is served"; fi
	if curl -sf --tls-max 1.1 --cacert "$tls/ca.pem" --cert "$tls/client.pem" --key "$tls/client.key" \
		--ciphers DEFAULT@SECLEVEL=0 -X POST "https://127.0.0.1:$driver_port/VolumeDriver.List"; then
		fail "section 1: TLS 1.1 is served"
	fi
	driver_stop
	driver_configure
	driver_start
}

# Section 10: state and mounts outlive the driver, however it ends (R16).
driver_ends_under_mounts() { # driver_stop | driver_kill
	local where worker count
	driver_call Create "{\"Name\":\"life\",\"Opts\":{\"source\":\"$uri\"}}" >/dev/null
	driver_call Mount '{"Name":"life","ID":"a"}' >/dev/null
	driver_call Mount '{"Name":"life","ID":"b"}' >/dev/null
	where=$driver_root/life
	worker=$(stat_of worker_pid "$where")
	exec 9>"$where/held"
	echo before >&9
	"$1"
	[ "$1" = driver_kill ] || [ -z "$(ls -A "$driver_specs")" ] || fail "R6: the discovery file stays after SIGTERM"
	echo meanwhile >&9 || fail "R16: the mount is dead with its driver"
	[ "$(stat_of worker_pid "$where")" = "$worker" ] || fail "R16: another daemon"
	driver_start
	echo after >&9
	exec 9>&-
	[ -n "$(ls -A "$driver_specs")" ] || fail "R6: no discovery file after a start"
	count=$(driver_call Get '{"Name":"life"}')
	grep -q '"MountCount": 2' <<<"$count" || fail "section 10: the count after a restart: $count"
	driver_call Unmount '{"Name":"life","ID":"a"}' >/dev/null
	mountpoint -q "$where" || fail "a restart forgets a count"
	driver_call Unmount '{"Name":"life","ID":"b"}' >/dev/null
	! mountpoint -q "$where" || fail "mounted after the last Unmount"
	driver_call Mount '{"Name":"life","ID":"c"}' >/dev/null || fail "R7: not mounted from restored Opts"
	[ "$(cat "$where/held")" = $'before\nmeanwhile\nafter' ] || fail "data is lost over a restart"
	driver_call Remove '{"Name":"life"}' >/dev/null
}

pipes_of() { find "/proc/$1/fd" -lname 'pipe:*' -printf '%l\n' | sort; }

# The end of the daemon's parent and of its log's reader is no signal to it; nothing is shared.
daemons_live_apart() {
	local pid
	driver_call Create "{\"Name\":\"apart\",\"Opts\":{\"source\":\"$uri\"}}" >/dev/null
	driver_call Mount '{"Name":"apart","ID":"a"}' >/dev/null
	for pid in $(stat_of supervisor_pid "$driver_root/apart") $(stat_of worker_pid "$driver_root/apart"); do
		[ "$(ps -o sid= -p "$pid")" != "$(ps -o sid= -p "$driver_pid")" ] || fail "R16: a daemon is in the driver's session"
		[ -z "$(comm -12 <(pipes_of "$pid") <(pipes_of "$driver_pid"))" ] || fail "R16: a daemon holds a pipe of the driver's"
		[ -z "$(find "/proc/$pid/fd" -lname "$driver_log")" ] || fail "R16: a daemon logs through the driver's descriptor"
	done
	driver_call Remove '{"Name":"apart"}' >/dev/null
}

# R15: a password is in no file, log, core pattern or argument; its place is told.
secrets_appear_nowhere() {
	local secret=hunter3-correct-horse answer
	answer=$(driver_call Create "{\"Name\":\"secret\",\"Opts\":{\"source\":\"$uri\",\"username\":\"u\",\"password\":\"$secret\"}}")
	answer+=$(driver_call Mount '{"Name":"secret"}' || true)
	answer+=$(driver_call Unmount '{"Name":"secret"}' || true)
	! grep -qF "$secret" <<<"$answer" || fail "R15: the password is in an answer: $answer"
	! grep -rqF "$secret" "$work/log" "$work/driver.state" "$driver_specs" || fail "R15: the password is in a file"
	driver_says REDACTED || fail "section 11.6: no REDACTED in the driver's output"
	driver_call Remove '{"Name":"secret"}' >/dev/null || fail "section 11.5: Remove after a refused Mount"
}

admin() { curl -s --max-time 60 "http://$driver_admin/$1"; }

# Section 10: answers, empties the root, ends; the mounts it had are written.
evacuation() {
	local i
	[ "$(admin ping | tr -d ' \n')" = '{"Err":""}' ] || fail "section 10: /ping says $(admin ping)"
	for i in 1 2 3; do
		driver_call Create "{\"Name\":\"evacuated$i\",\"Opts\":{\"source\":\"$uri\"}}" >/dev/null
		driver_call Mount "{\"Name\":\"evacuated$i\"}" >/dev/null
		echo "$i" >"$driver_root/evacuated$i/evacuated$i"
	done
	exec 9>"$driver_root/evacuated1/open"
	admin evacuate >"$work/evacuated" || fail "section 10: no answer to /evacuate"
	exec 9>&-
	wait_until 10 process_is_gone "$driver_pid" || fail "section 10: the driver does not end after /evacuate"
	! admin ping || fail "section 10: /ping still answers"
	for i in 1 2 3; do [ "$(cat "$store/evacuated$i")" = "$i" ] || fail "evacuation loses data"; done
	[ -z "$(ls -A "$driver_specs")" ] || fail "R6: the discovery file stays after an evacuation"
}

curl_call() { curl -s --unix-socket "$driver_socket" "http://driver/VolumeDriver.$1" -d "$2" >/dev/null; }

# A store that hangs: evacuation ends within its limit and tells what is dirty; the daemon keeps that.
evacuation_with_a_hung_server() {
	local start writer i count=3
	driver_configure evacuate_timeout=4
	driver_start
	for ((i = 0; i < count; i++)); do
		curl_call Create "{\"Name\":\"hung$i\",\"Opts\":{\"source\":\"$uri\",\"persifs.dirty_age\":\"60\"}}"
		curl_call Mount "{\"Name\":\"hung$i\"}"
		mountpoint -q "$driver_root/hung$i" || fail "hung$i is not mounted"
	done
	# One process and one descriptor: each close would write what is dirty.
	python3 -c 'import os, sys, time
os.write(os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY), b"kept\n")
open(sys.argv[2], "w").close()
time.sleep(600)' "$driver_root/hung0/hung" "$work/written" &
	writer=$!
	wait_until 10 test -e "$work/written" || fail "nothing can be written"
	# shellcheck disable=SC2154 # server.sh's
	kill -STOP "$server_pid"
	start=$SECONDS
	admin evacuate >"$work/evacuated" || fail "no answer to /evacuate with a hung server"
	[ $((SECONDS - start)) -le 12 ] || fail "evacuation with a limit of 4 s took $((SECONDS - start)) s"
	[ "$(sed 's/.*"Dirty"//' "$work/evacuated" | grep -o '"hung[0-9]*"' | sort -u | wc -l)" = "$count" ] ||
		fail "not all names of the dirty volume are told: $(cat "$work/evacuated")"
	wait_until 10 process_is_gone "$driver_pid" || fail "the driver does not end"
	[ -z "$(driver_mounts)" ] || fail "mounts are left after an evacuation"
	kill -CONT "$server_pid"
	end_process "$writer"
	wait_until 60 no_persifs_runs || fail "the daemon does not end after the server is back"
	[ "$(cat "$store/hung")" = kept ] || fail "what was dirty at the evacuation is lost"
}

# Sections 10 and 11.9: ready within a second (more on a machine that runs other tests), and SIGINT ends it.
start_and_end() {
	local start
	driver_configure
	start=$(date +%s%N)
	driver_start
	[ $((($(date +%s%N) - start) / 1000000)) -lt 3000 ] || fail "section 10: ready after $((($(date +%s%N) - start) / 1000000)) ms"
	kill -INT "$driver_pid"
	wait_until 5 process_is_gone "$driver_pid" || fail "section 11.9: SIGINT does not end the driver"
}

scenario() {
	chmod 777 "$store"
	driver_prepare
	start_and_end
	driver_start
	over_socket_and_tcp
	over_mutual_tls
	driver_ends_under_mounts driver_stop
	driver_ends_under_mounts driver_kill
	daemons_live_apart
	secrets_appear_nowhere
	evacuation
	[ "$target" != nfs ] || evacuation_with_a_hung_server
	rm -f "$driver_root"/*.json
	driver_done
}

run_scenario "$@"
