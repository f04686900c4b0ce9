#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 36_units.sh - the systemd units: systemd finds nothing wrong with them, mounts can reach the
# machine's namespace, and a stop of the driver does not reach its daemons; the broker's has what it needs,
# and its sample is a right configuration; `make install` puts all of them in place
# shellcheck disable=SC2119 # arguments that may be left out
fits="dir"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/plugin.sh
. "$lib/plugin.sh"
# shellcheck source=lib/osb.sh
. "$lib/osb.sh"

# What gives a service a mount namespace of its own, systemd.exec(5).
PRIVATE='^(Private(Tmp|Devices|Mounts|IPC)|Protect[A-Za-z]+|ProcSubset|(ReadOnly|ReadWrite|Inaccessible|Exec|NoExec|Bind|BindReadOnly)Paths'
PRIVATE+='|TemporaryFileSystem|RootDirectory|RootImage|MountImages|ExtensionImages|DynamicUser|MountAPIVFS|MountFlags)='

verifies() { # UNIT
	local said
	sed "s|/usr/local/bin/|$work/bin/|" "$root/dist/$1" >"$work/units/$1"
	said=$(systemd-analyze verify --man=no "$work/units/$1" 2>&1) || fail "$1: $said"
	! grep -F "$1" <<<"$said" || fail "$1: $said"
}

# systemd-analyze is silent about units that it knows nothing wrong of; this one it must not be.
verify_would_tell() {
	sed 's/^KillMode=.*/KillMode=nobody/' "$root/dist/persifs-driver.service" >"$work/units/wrong.service"
	fails_as "kill mode" systemd-analyze verify --man=no "$work/units/wrong.service"
}

mounts_reach_the_machine() { # UNIT
	! grep -E "$PRIVATE" "$root/dist/$1" || fail "$1 has a mount namespace of its own"
}

daemons_outlive_the_driver() {
	local setting
	for setting in KillMode=process OOMPolicy=continue RuntimeDirectoryPreserve=yes; do
		grep -qx "$setting" "$root/dist/persifs-driver.service" || fail "without $setting daemons end with the driver"
	done
	! grep -E '^(Requires|BindsTo|PartOf)=' "$root"/dist/persifs-evacuate.service || fail "a restart evacuates"
}

# is_hardened UNIT TENTHS: its exposure is below
is_hardened() {
	systemd-analyze security --offline=true --threshold="$2" "$work/units/$1" >"$work/log/security" 2>&1 ||
		fail "$1 is less hardened than it was: $(tail -n 1 "$work/log/security")"
	log "$(tail -n 1 "$work/log/security")"
}

# What the unit lets through, one a line; "~" takes away.
allowed_calls() { # UNIT
	systemd-analyze syscall-filter >"$work/groups"
	sed -n 's/^SystemCallFilter=//p' "$root/dist/$1" | python3 -c '
import sys
groups, name = {}, None
for line in open(sys.argv[1]):
    word = line.split("#")[0].strip()
    if line.startswith("@"):
        name = word
        groups[name] = []
    elif word and name:
        groups[name].append(word)
def expand(word):
    return {word} if word[0] != "@" else set().union(*map(expand, groups[word]))
allowed = expand("@default")
for line in sys.stdin:
    calls = set().union(*map(expand, line.strip("~\n").split()))
    allowed = allowed - calls if line[0] == "~" else allowed | calls
print("\n".join(sorted(allowed)))' "$work/groups"
}

# traced PROGRAM: $work/traced runs it and writes its calls to $work/trace. What finds leaks at the end of a
# sanitized program cannot do so under strace.
traced() {
	# shellcheck disable=SC2016 # the shell of the script expands it
	printf '#!/bin/sh\nASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 exec strace -D -f -qq -o "%s" "%s" "$@"\n' "$work/trace" "$1" >"$work/traced"
	chmod +x "$work/traced"
	rm -f "$work/trace"
}

# filter_lets_pass UNIT LEAST: all that is in $work/trace, at least so many calls
filter_lets_pass() {
	local called
	sed -n 's/^[0-9]* *\([a-z_0-9]*\)(.*/\1/p' "$work/trace" | sort -u >"$work/called"
	called=$(wc -l <"$work/called")
	[ "$called" -gt "$2" ] || fail "only $called calls were seen"
	allowed_calls "$1" | sort -u >"$work/allowed"
	[ -z "$(comm -23 "$work/called" "$work/allowed")" ] || fail "$1 stops $(comm -23 "$work/called" "$work/allowed" | paste -sd' ')"
	log "$1: $called system calls are used, $(wc -l <"$work/allowed") let through"
}

# Driver and daemons inherit the filter: what they call, from start to end, must be in it.
filter_fits_what_is_called() {
	local where
	driver_prepare
	traced "$DRIVER"
	DRIVER=$work/traced driver_start
	driver_call Create "{\"Name\":\"traced\",\"Opts\":{\"source\":\"$uri\",\"persifs.dirty_age\":\"1\"}}" >/dev/null
	where=$driver_root/traced
	driver_call Mount '{"Name":"traced","ID":"a"}' >/dev/null || fail "no mount under strace"
	cp /bin/busybox "$where/file"
	chown 5:5 "$where/file"
	chmod 4755 "$where/file"
	ln "$where/file" "$where/link"
	mkfifo "$where/fifo"
	flock "$where/link" sync -f "$where/link"
	setfattr -n user.x -v y "$where/link" && getfattr --absolute-names -d "$where/link" >/dev/null
	fallocate -p -o 0 -l 4096 "$where/link"
	ls -laR "$where" >/dev/null
	rm -r "${where:?}"/*
	driver_call Remove '{"Name":"traced"}' >/dev/null || fail "Remove under strace"
	driver_stop
	wait_until 20 no_persifs_runs || fail "daemons are left"
	filter_lets_pass persifs-driver.service 60
	driver_done
}

# The sample with a key of the run's own; what is commented out is right, too.
sample_of_the_broker_is_right() {
	local sample=$root/dist/persifs-broker.json.example name
	"$BROKER" make-key "$work/broker.key"
	"$BROKER" --config "$sample" --key-file "$work/broker.key" --check-config || fail "the sample is refused"
	python3 - "$sample" "$work/all.json" "$work" <<-'PY'
		import json, sys
		def all_of(value):
		    if isinstance(value, list):
		        return [all_of(v) for v in value]
		    if not isinstance(value, dict):
		        return value
		    out = {k: all_of(v) for k, v in value.items() if not k.startswith("//")}
		    for k, v in value.items():
		        name = k[2:].strip()
		        if k.startswith("//") and not isinstance(v, str):
		            out[name] = out.get(name, []) + all_of(v) if isinstance(v, list) else all_of(v)
		    return out
		config = all_of(json.load(open(sys.argv[1])))
		del config["tls"]  # no such files here
		for provider in config["providers"].values():
		    for key in ("ca_file", "password_file"):
		        if key in provider:
		            provider[key] = sys.argv[3] + "/broker.key"
		json.dump(config, open(sys.argv[2], "w"))
	PY
	"$BROKER" --config "$work/all.json" --key-file "$work/broker.key" --check-config || fail "what the sample comments out is wrong"
	for name in scaleio onefs; do grep -q "$name" "$work/all.json" || fail "no $name in the sample"; done
}

# As the broker works: start, requests, operations on disk, reload, end.
broker_fits_its_filter() {
	local body='{"service_id":"s","plan_id":"p","context":{}}' call
	mkdir -p "$work/srv"
	cat >"$work/broker.json" <<-J
		{ "listen": ["tcp:127.0.0.1:0"], "key_file": "$work/broker.key", "store": "sqlite:$work/broker.db",
		  "audit_log": "$work/audit", "users": [{ "name": "u", "password": "p" }],
		  "dashboard": { "url": "http://127.0.0.1" },
		  "providers": { "disk": { "type": "local", "root": "$work/srv" } },
		  "services": [{ "id": "s", "name": "s", "description": "s", "plans": [{ "id": "p", "name": "p", "description": "p",
		    "provider": "disk", "size": "1g", "max_size": "2g", "uid": 5, "gid": 5 }] }] }
	J
	traced "$BROKER"
	BROKER=$work/traced osb_start
	for call in "PUT /v2/service_instances/i" "PATCH /v2/service_instances/i" "PUT /v2/service_instances/i/service_bindings/b" \
		"DELETE /v2/service_instances/i/service_bindings/b" "GET /v2/service_instances/i" "DELETE /v2/service_instances/i"; do
		# shellcheck disable=SC2086 # two words
		set -- $call
		case $1 in
		GET) curl -s --fail -u u:p -H 'X-Broker-API-Version: 2.17' "$osb_url$2" >/dev/null ;;
		DELETE) curl -s --fail -u u:p -H 'X-Broker-API-Version: 2.17' -X DELETE "$osb_url$2?service_id=s&plan_id=p" >/dev/null ;;
		*) curl -s --fail -u u:p -H 'X-Broker-API-Version: 2.17' -H 'Content-Type: application/json' -X "$1" \
			-d "${body%\}},\"app_guid\":\"a\"}" "$osb_url$2" >/dev/null ;;
		esac || fail "$call under strace"
	done
	kill -HUP "$osb_pid"
	wait_until 10 grep -q 'the new configuration holds' "$work/log/broker" || fail "no reload under strace"
	osb_stop
	filter_lets_pass persifs-broker.service 40
}

install_puts_all_in_place() {
	local name
	[ -x "$root/build/$VARIANT/persifs" ] && command -v pod2man make >/dev/null || return 0
	make -s -C "$root" VARIANT="$VARIANT" install DESTDIR="$work/inst" PREFIX=/opt/persifs >"$work/log/install" 2>&1 ||
		fail "make install: $(tail -n 1 "$work/log/install")"
	for name in bin/persifs-broker bin/persifs-sim share/man/man8/persifs-broker.8 share/man/man5/persifs-broker.json.5 \
		share/man/man1/persifs-sim.1 share/bash-completion/completions/persifs-broker share/doc/persifs/persifs-broker.json.example \
		lib/systemd/system/persifs-broker.service lib/systemd/system/persifs-driver.service; do
		[ -s "$work/inst/opt/persifs/$name" ] || fail "make install leaves out $name"
	done
	grep -qx 'ExecStart=/opt/persifs/bin/persifs-broker --config /etc/persifs/broker.json' \
		"$work/inst/opt/persifs/lib/systemd/system/persifs-broker.service" || fail "the unit looks for its program elsewhere"
}

scenario() {
	local name
	need systemd-analyze strace python3
	mkdir -p "$work/units" "$work/bin"
	for name in persifs persifs-driver persifs-broker; do cp /bin/true "$work/bin/$name"; done
	verifies persifs-evacuate.service
	verifies persifs-driver.service
	verifies persifs@.service
	verifies persifs-broker.service
	verify_would_tell
	mounts_reach_the_machine persifs-driver.service
	mounts_reach_the_machine persifs@.service
	daemons_outlive_the_driver
	is_hardened persifs-driver.service 75
	is_hardened persifs-broker.service 20
	sample_of_the_broker_is_right
	broker_fits_its_filter
	install_puts_all_in_place
	filter_fits_what_is_called
}

run_scenario "$@"
