# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# test.sh - frame of an integration scenario
#
# A scenario names the targets it fits, sources this file, defines scenario()
# for one target and ends with a call that does the rest:
#
#   #!/usr/bin/env bash
#   fits="dir memory nfs"
#   . "${BASH_SOURCE%/*}/lib/test.sh"
#   scenario() { target_mount; ...; target_umount; }
#   run_scenario "$@"
#
# Run by hand: NN_name.sh [TARGET...]; without arguments $TARGET, else every
# target that fits. Exit status: 0 passed, 77 skipped with a reason, else failed.
#
# Each run has namespaces of its own for mounts, processes and network (only a
# loopback), so that runs do not meet and nothing outlives one: their end ends
# every process and unmounts everything, even after SIGKILL. What is left behind
# is looked for before, by target_umount.
#
# Variables: VARIANT (release), PERSIFS, PERSIFS_CTL (programs under test),
# SCALE (ci or long), SEED, KEEP=1 (keep the work folder), TMPDIR.
set -Eeuo pipefail
unset MAKEFLAGS MFLAGS MAKELEVEL # of the make that started us

lib=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$lib/../../.." && pwd)
VARIANT=${VARIANT:-release}
PERSIFS=${PERSIFS:-$root/build/$VARIANT/persifs}
PERSIFS_CTL=${PERSIFS_CTL:-$root/build/$VARIANT/persifs-ctl}
TOOLS=${TOOLS:-$root/build/release/tests/tools} # not under test: never a slow variant
SCALE=${SCALE:-ci}
SEED=${SEED:-$(date +%s)}
export VARIANT PERSIFS PERSIFS_CTL TOOLS SCALE SEED

# Set for scenario(): the target, where it is mounted, what is mounted, the folder
# behind it, and the run's own folder.
# shellcheck disable=SC2034 # for scenarios
target='' mnt='' uri='' store='' work='' server_uri=''

log() { printf '%s  %s\n' "$(date +%T.%1N)" "$*"; }
reason='' # why the run failed, told last
fail() {
	reason="$*"
	exit 1
}
skip() {
	log "skipped: $*"
	exit 77
}

# scaled CI LONG [SLOW]: the value for this scale; SLOW for ci with a sanitizer
scaled() {
	case $SCALE:$VARIANT in
	long:*) echo "$2" ;;
	*:asan | *:tsan) echo "${3:-$1}" ;;
	*) echo "$1" ;;
	esac
}

# need PROGRAM...: skips without one of them
need() {
	local p
	for p; do command -v "$p" >/dev/null || skip "no $p on this machine"; done
}

# tool NAME: path of a program from tests/tools, built when missing
tool() {
	if ! [ -x "$TOOLS/$1" ]; then
		make -s -C "$root" VARIANT=release test-tools >&2 || return 1
	fi
	echo "$TOOLS/$1"
}

# fails_with TEXT COMMAND...: must fail with one line on stderr that holds TEXT
fails_with() {
	local text=$1 rc=0 out
	shift
	out=$("$@" 2>&1 >/dev/null) || rc=$?
	[ "$rc" -ne 0 ] || fail "succeeded, but should not: $*"
	[ "$rc" -lt 124 ] || fail "ended with status $rc: $*: $out"
	[ "$(grep -c . <<<"$out")" = 1 ] || fail "not one line on stderr of $*: '$out'"
	grep -qF -- "$text" <<<"$out" || fail "'$text' is not in the message of $*: '$out'"
	log "as expected: $out"
}

# fails_as ERRNO_TEXT COMMAND...: must fail and say this text of strerror()
fails_as() {
	local text=$1 out
	shift
	if out=$(LC_ALL=C "$@" 2>&1 >/dev/null); then fail "succeeded, but should not: $*"; fi
	grep -qF -- "$text" <<<"$out" || fail "$*: '$out', expected '$text'"
}

# wait_until SECONDS COMMAND...: waits for an event with a deadline
wait_until() {
	local end=$((SECONDS + $1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || return 1
		sleep 0.02
	done
}

# shellcheck source=target.sh
. "$lib/target.sh"
# shellcheck source=server.sh
. "$lib/server.sh"

# ---- the run of one target --------------------------------------------------

cleanup() {
	local rc=$?
	trap - EXIT ERR
	set +e
	cd /
	[ "$rc" = 0 ] || [ "$rc" = 77 ] || target_show_logs
	target_release
	[ "$rc" = 0 ] || [ "$rc" = 77 ] || log "FAILED: ${reason:-status $rc}"
	exit "$rc"
}

# Inside the namespaces: private /run, a loopback with an address that the
# resolver counts as one (else it refuses even numeric addresses).
enter_namespaces() {
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || return 0
	mount -t tmpfs tmpfs /run
	mkdir /run/rpcbind /run/lock
	ip link set lo up
	ip addr add 192.0.2.1/32 dev lo
}

run_inner() {
	target=$1
	work=$PERSIFS_TEST_WORK
	trap cleanup EXIT
	trap 'reason=ended; exit 143' TERM INT
	trap 'reason=${reason:-line $LINENO of ${BASH_SOURCE[0]##*/}: $BASH_COMMAND}' ERR
	enter_namespaces
	target_prepare
	scenario
	target_finish
}

# end_run PID: of unshare, whose child is the first process of the namespace and
# takes all others with it; without namespaces of the run itself, which cleans up.
end_run() {
	local first
	first=$(cat "/proc/$1/task/$1/children" 2>/dev/null)
	if [ "${PERSIFS_TEST_NS:-}" = 1 ] && [ -n "$first" ]; then
		kill -KILL "${first%% *}"
	else
		kill -TERM "$1"
	fi
	wait "$1" || true
}

run_outer() {
	local ns=() rc=0 work
	work=$(mktemp -d "${TMPDIR:-/tmp}/persifs-test.XXXXXX")
	chmod 755 "$work"
	export PERSIFS_TEST_WORK=$work
	# shellcheck disable=SC2064 # this work folder, now
	[ "${KEEP:-}" = 1 ] || trap "rm -rf --one-file-system '$work'" EXIT
	if unshare --mount --net --pid --fork true 2>/dev/null && command -v ip >/dev/null; then
		ns=(unshare --mount --net --pid --fork --kill-child --mount-proc)
		export PERSIFS_TEST_NS=1
	fi
	"${ns[@]}" bash "$0" --inner "$1" &
	child=$!
	trap 'end_run "$child"; exit 143' TERM INT
	wait "$child" || rc=$?
	[ "${KEEP:-}" = 1 ] && log "kept $work"
	return "$rc"
}

run_all() {
	local t rc worst=77
	for t; do
		log "== ${0##*/} on $t"
		rc=0
		bash "$0" "$t" || rc=$?
		case $rc in
		0) [ "$worst" != 77 ] || worst=0 ;;
		77) ;;
		*) worst=$rc ;;
		esac
	done
	return "$worst"
}

run_scenario() {
	case ${1:-} in
	--targets) echo "${fits:?}" ;;
	--inner) run_inner "$2" ;;
	*)
		local names=("$@")
		# shellcheck disable=SC2206 # words on purpose
		[ $# -gt 0 ] || names=(${TARGET:-$fits})
		if [ ${#names[@]} -gt 1 ]; then
			run_all "${names[@]}"
		else
			run_outer "${names[0]}"
		fi
		;;
	esac
}
