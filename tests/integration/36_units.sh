#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 36_units.sh - the systemd units: systemd finds nothing wrong with them, mounts can reach the
# machine's namespace, and a stop of the driver does not reach its daemons
# shellcheck disable=SC2119 # arguments that may be left out
fits="dir"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/plugin.sh
. "$lib/plugin.sh"

# What gives a service a mount namespace of its own, systemd.exec(5).
PRIVATE='^(Private(Tmp|Devices|Mounts|IPC)|Protect[A-Za-z]+|ProcSubset|(ReadOnly|ReadWrite|Inaccessible|Exec|NoExec|Bind|BindReadOnly)Paths'
PRIVATE+='|TemporaryFileSystem|RootDirectory|RootImage|MountImages|ExtensionImages|DynamicUser|MountAPIVFS|MountFlags)='

verifies() { # UNIT
	local said
	sed "s|/usr/local/bin/persifs-driver|$work/bin/persifs-driver|; s|/usr/local/bin/persifs |$work/bin/persifs |" \
		"$root/dist/$1" >"$work/units/$1"
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

is_hardened() {
	systemd-analyze security --offline=true --threshold=75 "$work/units/persifs-driver.service" >"$work/log/security" 2>&1 ||
		fail "less hardened than it was: $(tail -n 1 "$work/log/security")"
	log "$(tail -n 1 "$work/log/security")"
}

# What the unit lets through, one a line.
allowed_calls() {
	systemd-analyze syscall-filter >"$work/groups"
	sed -n 's/^SystemCallFilter=//p' "$root/dist/persifs-driver.service" | python3 -c '
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
print("\n".join(sorted(set().union(*map(expand, sys.stdin.read().split() + ["@default"])))))' "$work/groups"
}

# Driver and daemons inherit the filter: what they call, from start to end, must be in it.
filter_fits_what_is_called() {
	local where called
	driver_prepare
	# What finds leaks at the end of a sanitized program cannot do so under strace.
	# shellcheck disable=SC2016 # the shell of the script expands it
	printf '#!/bin/sh\nASAN_OPTIONS=$ASAN_OPTIONS:detect_leaks=0 exec strace -D -f -qq -o "%s" "%s" "$@"\n' "$work/trace" "$DRIVER" >"$work/traced"
	chmod +x "$work/traced"
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
	sed -n 's/^[0-9]* *\([a-z_0-9]*\)(.*/\1/p' "$work/trace" | sort -u >"$work/called"
	called=$(wc -l <"$work/called")
	[ "$called" -gt 60 ] || fail "only $called calls were seen"
	allowed_calls | sort -u >"$work/allowed"
	[ -z "$(comm -23 "$work/called" "$work/allowed")" ] || fail "the filter stops $(comm -23 "$work/called" "$work/allowed" | paste -sd' ')"
	log "$called system calls are used, $(wc -l <"$work/allowed") let through"
	driver_done
}

scenario() {
	need systemd-analyze strace python3
	mkdir -p "$work/units" "$work/bin"
	cp /bin/true "$work/bin/persifs-driver"
	cp /bin/true "$work/bin/persifs"
	verifies persifs-evacuate.service
	verifies persifs-driver.service
	verifies persifs@.service
	verify_would_tell
	mounts_reach_the_machine persifs-driver.service
	mounts_reach_the_machine persifs@.service
	daemons_outlive_the_driver
	is_hardened
	filter_fits_what_is_called
}

run_scenario "$@"
