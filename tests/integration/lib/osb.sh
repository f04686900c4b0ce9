# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2034 # shares variables with test.sh and its scenarios
# osb.sh - a persifs-broker of the run's own, for scenarios that speak to it alone
#
#   osb_start ARGUMENT...    starts it; $osb_url is where it answers, $osb_pid
#   osb_stop                 by SIGTERM, which it obeys at once
#   postgres_start, postgres_stop   Debian's server for its store, at a socket in $work alone; $postgres_uri
# $work/broker.json is its configuration, which the scenario writes.

BROKER=${PERSIFS_BROKER:-$root/build/$VARIANT/persifs-broker}
osb_pid='' osb_url='' postgres_pid='' postgres_uri=''

osb_ready_or_dead() { grep -q '^persifs-broker: ready' "$work/log/broker.out" || process_is_gone "$osb_pid"; }

osb_start() {
	[ -x "$BROKER" ] || skip "no program $BROKER"
	: >"$work/log/broker.out" # of an earlier one
	"$BROKER" --config "$work/broker.json" "$@" </dev/null >"$work/log/broker.out" 2>>"$work/log/broker" &
	osb_pid=$!
	wait_until 20 osb_ready_or_dead || fail "the broker neither starts nor ends"
	osb_url=$(sed -n 's/^persifs-broker: ready on tcp:/http:\/\//p' "$work/log/broker.out")
	[ -n "$osb_url" ] || fail "the broker does not start: $(tail -n 2 "$work/log/broker")"
}

osb_stop() {
	kill -TERM "$osb_pid"
	wait_until 20 process_is_gone "$osb_pid" || fail "SIGTERM does not end the broker"
	wait "$osb_pid" || fail "the broker ended with status $?"
	osb_pid=''
}

# It refuses to be root.
as_postgres() { setpriv --reuid=postgres --regid=postgres --clear-groups "$@"; }

postgres_answers() { as_postgres "$postgres_bin/psql" -h "$work/pg" postgres -c 'SELECT 1' >/dev/null 2>&1; }

postgres_start() {
	postgres_bin=$(printf '%s\n' /usr/lib/postgresql/*/bin | tail -n 1)
	[ -x "$postgres_bin/postgres" ] || skip "no PostgreSQL on this machine"
	need setpriv
	mkdir "$work/pg"
	chown postgres:postgres "$work/pg"
	(cd "$work/pg" && as_postgres "$postgres_bin/initdb" -D data -A trust -U postgres -E UTF8 --no-sync --locale=C.UTF-8 \
		--no-instructions) >"$work/log/initdb" 2>&1 || fail "initdb: $(tail -n 2 "$work/log/initdb")"
	(cd "$work/pg" && exec setpriv --reuid=postgres --regid=postgres --clear-groups "$postgres_bin/postgres" -D data -k "$work/pg" -h '' -F) \
		</dev/null >"$work/log/postgres" 2>&1 &
	postgres_pid=$!
	wait_until 30 postgres_answers || fail "PostgreSQL does not start: $(tail -n 2 "$work/log/postgres")"
	postgres_uri="postgresql:///postgres?host=$work/pg&user=postgres"
}

postgres_stop() {
	[ -n "$postgres_pid" ] || return 0
	end_process "$postgres_pid"
	postgres_pid=''
}
