#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 25_driver.sh - the volume driver as Volman and Docker use it: over a unix socket, TCP and
# mutual TLS, on real mounts, through its death, and until it is evacuated
fits="dir nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/driver.sh
. "${BASH_SOURCE%/*}/lib/driver.sh"

# ---- one volume after another -----------------------------------------------

create() { # NAME [OPTS-WITHOUT-SOURCE]
	ok Create "{\"Name\":\"$1\",\"Opts\":{\"source\":\"$source\"${2:+,$2}}}"
}

as_volman_does() {
	create 'vol_one' '"mount":"/data","experimental":true'
	create 'vol_two' '"readonly":"true"'
	[ "$(ask Activate | field Implements)" = '["VolumeDriver"]' ] || fail "Activate"
	mounts_at vol_one
	mounts_at vol_two
	echo text >"$root_dir/vol_one/file"
	cp /bin/bash "$root_dir/vol_one/big"
	[ "$(cat "$root_dir/vol_two/file")" = text ] || fail "the second name does not see the file"
	fails_as 'Read-only' touch "$root_dir/vol_two/x"
	errs Unmount '{"Name":"vol_three"}' 'Volume vol_three does not exist'
	ok Unmount '{"Name":"vol_two"}'
	errs Unmount '{"Name":"vol_two"}' 'does not exist'
	[ "$(cat "$root_dir/vol_one/file")" = text ] || fail "a surplus Unmount hit another's mount"
	ok Unmount '{"Name":"vol_one"}'
	[ ! -e "$root_dir/vol_one" ] || fail "the folder is still there"
	cmp /bin/bash "$store/big" || fail "not everything is on the store after Unmount"
	[ "$(ask List | field Volumes)" = '[]' ] || fail "R11: not forgotten: $(ask List)"
}

as_docker_does() {
	local i
	create d
	for i in 1 2 3; do mounts_at d '"ID":"c0ffee"'; done
	ok Unmount '{"Name":"d","ID":"c0ffee"}'
	[ "$(ask Get '{"Name":"d"}' | grep -o '"MountCount":[0-9]*')" = '"MountCount":2' ] || fail "count"
	echo docker >"$root_dir/d/docker"
	ok Remove '{"Name":"d"}' # Unmounts got lost
	! grep -qF " $root_dir/d " /proc/self/mounts || fail "Remove does not unmount"
	[ "$(cat "$store/docker")" = docker ] || fail "data is lost"
	[ "$(curl -s -H 'Transfer-Encoding: chunked' -H 'Accept: application/vnd.docker.plugins.v1.2+json' \
		--unix-socket "$socket" -d '{}' "http://x/VolumeDriver.List" | field Err)" = '' ] || fail "chunked"
	create d
	mounts_at d '"ID":"c0ffee"'
	ok Unmount '{"Name":"d","ID":"c0ffee"}'
	mounts_at d '"ID":"c0ffee"' # R7: still known
	ok Unmount '{"Name":"d","ID":"c0ffee"}'
	ok Remove '{"Name":"d"}'
}

developers_mistakes() {
	errs Create '{"Name":"m","Opts":{"colour":"red"}}' 'Missing mandatory options: source'
	create m '"colour":"red"'
	errs Mount '{"Name":"m"}' 'SafeDescription.*Not allowed options: colour'
	ok Create '{"Name":"m","Opts":{"source":"dir:/etc"}}'
	errs Mount '{"Name":"m"}' 'SafeDescription.*not among those that are allowed'
	create m '"uid":"0,allow_other","gid":"1"'
	errs Mount '{"Name":"m"}' 'SafeDescription.*uid'
	create m '"persifs.policy":"bogus"'
	errs Mount '{"Name":"m"}' 'SafeDescription.*policy'
	ok Create "{\"Name\":\"m\",\"Opts\":{\"source\":\"${source/store/store-that-is-not-there}\"}}"
	errs Mount '{"Name":"m"}' 'SafeDescription'
	[ ! -e "$root_dir/m" ] || fail "R12: a folder is left"
	ok Remove '{"Name":"m"}'
	errs Create '{"Name":"../m","Opts":{}}' 'Volume name'
	errs Mount '{"Name":"../m"}' 'Volume name'
	[ ! -e "$work/m" ] || fail "R14"
}

lazy_unmount() {
	create lazy
	mounts_at lazy
	exec 7>"$root_dir/lazy/open"
	echo late >&7
	ok Unmount '{"Name":"lazy"}'
	! grep -qF " $root_dir/lazy " /proc/self/mounts || fail "still in the table of mounts"
	exec 7>&-
	create lazy
	mounts_at lazy
	[ "$(cat "$root_dir/lazy/open")" = late ] || fail "R13: the next Mount does not see every byte"
	ok Unmount '{"Name":"lazy"}'
}

# ---- TCP and TLS --------------------------------------------------------------

over_tcp_and_tls() {
	local port answer
	driver_stop
	certificates
	driver_start '"tls":{"cert":"'"$work/tls/server.pem"'","key":"'"$work/tls/server.key"'","client_ca":"'"$work/tls/ca.pem"'",
		"discovery_ca":"'"$work/tls/ca.pem"'","discovery_cert":"'"$work/tls/client.pem"'"}'
	port=$(sed -n 's/.*"Addr": "https:\/\/127.0.0.1:\([0-9]*\)".*/\1/p' "$work/discovery/persifs.json")
	[ -n "$port" ] || fail "R6: $(cat "$work/discovery/persifs.json")"
	grep -q '"UniqueVolumeIds": true' "$work/discovery/persifs.json" || fail "R9"
	answer=$(tls "$port" --cert "$work/tls/client.pem" --key "$work/tls/client.key") || fail "mTLS"
	[ "$answer" = '{"Implements":["VolumeDriver"]}' ] || fail "mTLS: $answer"
	answer=$(tls "$port") || true
	[[ $answer != *Implements* ]] || fail "served without a certificate"
	answer=$(tls "$port" --cert "$work/tls/stranger.pem" --key "$work/tls/stranger.key") || true
	[[ $answer != *Implements* ]] || fail "served a stranger's certificate"
	answer=$(tls "$port" --tls-max 1.1 --cert "$work/tls/client.pem" --key "$work/tls/client.key") || true
	[[ $answer != *Implements* ]] || fail "TLS 1.1 was taken"
	driver_stop
	[ ! -e "$work/discovery/persifs.json" ] || fail "R6: the discovery file is left"
	[ ! -e "$socket" ] || fail "the socket is left"
	driver_start
	port=$(sed -n 's/.*"Addr": "http:\/\/127.0.0.1:\([0-9]*\)".*/\1/p' "$work/discovery/persifs.json")
	[ "$(curl -s -X POST "http://127.0.0.1:$port/Plugin.Activate")" = '{"Implements":["VolumeDriver"]}' ] || fail "TCP"
}

# ---- death --------------------------------------------------------------------

refused_as() { # WHY OPTION...
	local why=$1
	shift
	! timeout 10 "$DRIVER" --config "$work/driver.json" --listen "unix:$work/second.sock" \
		--admin "127.0.0.1:$(free_port)" "$@" >/dev/null 2>"$work/log/second" || fail "a second driver: $*"
	grep -q "$why" "$work/log/second" || fail "a second driver: $(cat "$work/log/second")"
}

second_driver_is_refused() {
	refused_as 'another driver works there'
	refused_as 'another driver works with it' --mount-root "$work/second" --state "$root_dir/driver-state.json"
	driver_stop
	driver_start "\"state\": \"$work/elsewhere/state\""
	refused_as 'another driver works with it' --mount-root "$work/second" --state "$work/elsewhere/state"
	driver_stop
	driver_start
}

restart_disturbs_nothing() {
	create keep
	mounts_at keep
	mounts_at keep
	exec 7>"$root_dir/keep/open"
	driver_stop
	echo while >&7
	driver_start
	echo after >&7
	exec 7>&-
	[ "$(cat "$root_dir/keep/open")" = $'while\nafter' ] || fail "R16: the mount did not survive"
	[ "$(ask Get '{"Name":"keep"}' | grep -o '"MountCount":[0-9]*')" = '"MountCount":2' ] || fail "R16: count"
	driver_kill
	driver_start
	[ "$(cat "$root_dir/keep/open")" = $'while\nafter' ] || fail "R16: the mount did not survive kill -9"
	ok Unmount '{"Name":"keep"}'
	ok Unmount '{"Name":"keep"}'
	[ ! -e "$root_dir/keep" ] || fail "not unmounted"
}

# Without a state file that can be read, what is mounted is known all the same.
spoiled_state() {
	create spoiled
	mounts_at spoiled
	driver_kill
	echo '{"Version":1,"Vol' >"$root_dir/driver-state.json"
	driver_start
	[ -e "$root_dir/driver-state.json.bad" ] || fail "not put aside"
	[ "$(ask Get '{"Name":"spoiled"}' | grep -o '"MountCount":[0-9]*')" = '"MountCount":1' ] || fail "not taken over"
	errs Create '{"Name":"driver-state.json.bad"}' 'taken by the driver'
	ok Unmount '{"Name":"spoiled"}'
	[ ! -e "$root_dir/spoiled" ] || fail "not unmounted"
	rm "$root_dir/driver-state.json.bad"
}

# The driver dies while six Mounts run; whatever was done, the next calls resolve it.
killed_while_mounting() {
	local i pids=() rounds
	rounds=$(scaled 2 10 1)
	for ((r = 0; r < rounds; r++)); do
		pids=()
		for i in 1 2 3 4 5 6; do create "k$i"; done
		for i in 1 2 3 4 5 6; do
			ask Mount "{\"Name\":\"k$i\"}" >/dev/null 2>&1 &
			pids+=($!)
		done
		sleep "0.0$((r * 3 % 10))"
		driver_kill
		wait "${pids[@]}" || true
		driver_start
		for i in 1 2 3 4 5 6; do
			mounts_at "k$i"
			echo "$i" >"$root_dir/k$i/k"
			ok Remove "{\"Name\":\"k$i\"}"
		done
		[ "$(ls -A "$root_dir")" = driver-state.json ] || fail "left: $(ls -A "$root_dir")"
		! grep -F " $root_dir/" /proc/self/mounts || fail "mounts are left"
	done
}

# persifs that a killed driver had started may mount after its successor has looked: it is in the way, once.
late_mount_of_a_killed_driver() {
	cat >"$work/late" <<-SH
		#!/bin/sh
		mkdir "$work/came" 2>/dev/null && "$PERSIFS" "\$@"
		exec "$PERSIFS" "\$@"
	SH
	chmod +x "$work/late"
	driver_kill
	mounter=$work/late driver_start
	create late
	mounts_at late
	[ "$(grep -cF " $root_dir/late " /proc/self/mounts)" = 1 ] || fail "not one mount"
	grep -q 'came late' "$work/log/driver" || fail "nothing was in the way"
	ok Unmount '{"Name":"late"}'
	[ ! -e "$root_dir/late" ] || fail "not unmounted"
	driver_kill
	driver_start
}

six_at_once() {
	local i pids=()
	create six
	for i in 1 2 3 4 5 6; do
		ask Mount '{"Name":"six"}' >"$work/six$i" &
		pids+=($!)
	done
	wait "${pids[@]}" || fail "curl"
	[ "$(grep -cF " $root_dir/six " /proc/self/mounts)" = 1 ] || fail "not one mount"
	[ "$(ask Get '{"Name":"six"}' | grep -o '"MountCount":[0-9]*')" = '"MountCount":6' ] || fail "not a count of 6"
	for i in 1 2 3 4 5 6; do ok Unmount '{"Name":"six"}'; done
}

# A mount whose daemon was killed is made anew by the next Mount.
dead_daemon() {
	create dead
	mounts_at dead
	kill -KILL "$(stat_of worker_pid "$root_dir/dead")"
	wait_until 10 no_persifs_runs || fail "the daemon does not die"
	mounts_at dead
	echo again >"$root_dir/dead/again" || fail "the mount is dead"
	ok Unmount '{"Name":"dead"}'
	ok Unmount '{"Name":"dead"}' || true
}

# A daemon that was stopped answers nobody; the driver does not wait for it.
hung_daemon() {
	local pids begun
	create hung
	mounts_at hung
	pids=$(stat_of worker_pid "$root_dir/hung")
	kill -STOP "$pids"
	begun=$SECONDS
	ask List >/dev/null
	curl -s --max-time 10 "$admin/metrics" >"$work/metrics" || fail "metrics hang"
	grep -q 'persifs_up{mount="hung"} 0' "$work/metrics" || fail "the hung daemon counts as up"
	[ $((SECONDS - begun)) -lt 8 ] || fail "the scrape waited"
	kill -CONT "$pids"
	ok Unmount '{"Name":"hung"}'
}

metrics_and_health() {
	local session
	create seen
	mounts_at seen
	create seen2
	mounts_at seen2
	curl -s "$admin/metrics" >"$work/metrics"
	grep -q '^persifs_driver_requests_total{route="mount"} [1-9]' "$work/metrics" || fail "requests"
	grep -q '^persifs_up{mount="seen"} 1' "$work/metrics" || fail "up"
	grep -q '^persifs_fuse_requests_total{volume="[^"]*"} [1-9]' "$work/metrics" || fail "counters"
	session=$(sed -n 's/^persifs_mount_info{mount="seen",volume="[^"]*",session="\([0-9:]*\)"} 1$/\1/p' "$work/metrics")
	grep -q "^persifs_session_requests_total{volume=\"[^\"]*\",session=\"$session\",uid=\"\",gid=\"\"} [1-9]" \
		"$work/metrics" || fail "counters of the session '$session'"
	grep -q "^persifs_mount_info{mount=\"seen2\",volume=\"[^\"]*\",session=\"$session\"} 1$" "$work/metrics" || fail "seen2"
	[ "$(grep -c '^persifs_dirty_bytes{' "$work/metrics")" = 1 ] || fail "one daemon is told twice"
	ok Unmount '{"Name":"seen2"}'
	curl -s "$admin/health" | grep -q '"Name":"seen","State":"mounted"' || fail "health"
	[ "$(curl -s "$admin/ping")" = '{"Err":""}' ] || fail "ping"
	ok Unmount '{"Name":"seen"}'
}

# One sum for all: a new daemon shrinks the others.
budget_is_divided() {
	mkdir -p "$work/other"
	create b1
	mounts_at b1
	wait_until 10 cache_is b1 256m || fail "b1 has $(stat_of cache_size "$root_dir/b1")"
	ok Create "{\"Name\":\"b2\",\"Opts\":{\"source\":\"dir:$work/other\",\"persifs.cache_size\":\"16m\"}}"
	mounts_at b2
	cache_is b2 16m || fail "b2 has $(stat_of cache_size "$root_dir/b2")"
	wait_until 10 cache_is b1 240m || fail "b1 has $(stat_of cache_size "$root_dir/b1")"
	exec 7>"$root_dir/b2/open"
	ok Unmount '{"Name":"b2"}'
	create b3
	mounts_at b3 # has the driver look again
	sleep 1
	cache_is b1 240m || fail "b1 has $(stat_of cache_size "$root_dir/b1") while b2's daemon still runs"
	exec 7>&-
	wait_until 10 cache_is b1 256m || fail "b1 does not grow again"
	ok Unmount '{"Name":"b3"}'
	ok Unmount '{"Name":"b1"}'
}
cache_is() { [ "$(stat_of cache_size "$root_dir/$1")" = "$2" ]; }

# ---- secrets and the end --------------------------------------------------------

no_secret_is_told() {
	local f
	ok Create "{\"Name\":\"s\",\"Opts\":{\"source\":\"$source\",\"username\":\"uZ7q\",\"password\":\"pZ7q\"}}"
	errs Mount '{"Name":"s"}' 'SafeDescription.*directory'
	ask Mount '{"Name":"s"}' >"$work/log/answers"
	ask Get '{"Name":"s"}' >>"$work/log/answers"
	curl -s "$admin/health" "$admin/metrics" >>"$work/log/answers"
	for f in "$work/log/answers" "$work/log/driver" "$root_dir/driver-state.json" \
		/proc/"$driver_pid"/cmdline /proc/"$driver_pid"/environ; do
		! grep -aq Z7q "$f" || fail "R15: a secret is in $f"
	done
	grep -q REDACTED "$work/log/driver" || fail "R15: not told that there was one"
	driver_stop
	driver_start
	errs Mount '{"Name":"s"}' 'must be created again'
	ok Remove '{"Name":"s"}'
}

evacuate() {
	local answer
	answer=$(curl -s --max-time 60 "$admin/evacuate") || fail "evacuate"
	[ "$(field Err <<<"$answer")" = '' ] || fail "evacuate: $answer"
	wait_until 10 process_is_gone "$driver_pid" || fail "the driver does not end"
	wait "$driver_pid" || fail "the driver ended with status $?"
	driver_pid=''
}

evacuated() {
	create e1
	create e2
	mounts_at e1
	mounts_at e2 '"ID":"x"'
	echo last >"$root_dir/e1/last"
	evacuate
	[ "$(ls -A "$root_dir")" = driver-state.json ] || fail "left: $(ls -A "$root_dir")"
	[ ! -e "$work/discovery/persifs.json" ] || fail "the discovery file is left"
	! curl -s "$admin/ping" || fail "ping is answered"
	[ "$(cat "$store/last")" = last ] || fail "data is lost"
	driver_start # as after a reboot
	errs Get '{"Name":"e1"}' 'does not exist'
	mounts_at e2 '"ID":"x"' # R7
	ok Remove '{"Name":"e2"}'
	evacuate
	[ -z "$(ls -A "$root_dir")" ] || fail "left: $(ls -A "$root_dir")"
}

nothing_runs() {
	wait_until 20 no_persifs_runs || fail "still running: $(ps -o pid,stat,args -p "$(persifs_pids | paste -sd,)")"
}

scenario() {
	driver_prepare
	driver_start
	as_volman_does
	as_docker_does
	developers_mistakes
	lazy_unmount
	six_at_once
	metrics_and_health
	budget_is_divided
	nothing_runs
	restart_disturbs_nothing
	second_driver_is_refused
	spoiled_state
	killed_while_mounting
	late_mount_of_a_killed_driver
	nothing_runs
	dead_daemon
	hung_daemon
	over_tcp_and_tls
	no_secret_is_told
	evacuated
	nothing_runs
	no_sanitizer_reports
}

run_scenario "$@"
