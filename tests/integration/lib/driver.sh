# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154 # shares variables with test.sh
# driver.sh - a persifs-driver of the run's own, with folders and ports of its own
#
#   driver_prepare          once a run: the mount root, shared as a cell's is, and certificates
#   driver_start [ARGUMENT...]   starts it, waits until it is ready; $driver_pid
#   driver_stop, driver_kill     SIGTERM, promptly; SIGKILL
#   driver_tls              arguments that make the TCP address one of mutual TLS
#   driver_done             what must hold at the end: nothing mounted, known or left
#
# It listens at $driver_socket and at 127.0.0.1:$driver_port; $driver_root is its mount root,
# $driver_specs where its discovery files are, $driver_admin its admin address.

DRIVER=${PERSIFS_DRIVER:-$root/build/$VARIANT/persifs-driver}
driver_pid=''

driver_prepare() {
	need python3 curl openssl
	[ -x "$DRIVER" ] || skip "no program $DRIVER"
	[ "${PERSIFS_TEST_NS:-}" = 1 ] || skip "the driver's mounts want a namespace of the run's own"
	driver_root=$work/vcap/data/volumes/persifs driver_specs=$work/voldrivers
	driver_socket=$work/run/driver.sock driver_log=$work/log/driver
	mkdir -p "$driver_root" "$driver_specs"
	mount --bind "$driver_root" "$driver_root"
	mount --make-shared "$driver_root"
	driver_port=$(free_port) driver_admin=127.0.0.1:$(free_port)
}

driver_says() { grep -q "$1" "$driver_log"; }
driver_is_up_or_dead() { driver_says driver-server.started || process_is_gone "$driver_pid"; }

driver_start() {
	: >"$driver_log"
	"$DRIVER" --listen "unix:$driver_socket" --listen "tcp:127.0.0.1:$driver_port" --admin "$driver_admin" \
		--mount-root "$driver_root" --discovery "$driver_specs" --state "$work/driver.state" "$@" \
		</dev/null >>"$driver_log" 2>&1 &
	driver_pid=$!
	wait_until 10 driver_is_up_or_dead || fail "the driver is not ready"
	! process_is_gone "$driver_pid" || fail "the driver did not start: $(tail -n 3 "$driver_log")"
}

driver_stop() {
	kill -TERM "$driver_pid"
	wait_until 5 process_is_gone "$driver_pid" || fail "SIGTERM does not end the driver"
	wait "$driver_pid" || fail "the driver ended with status $?"
}

driver_kill() {
	kill -KILL "$driver_pid"
	wait "$driver_pid" 2>/dev/null || true
}

driver_mounts() { grep -F " $driver_root/" /proc/self/mountinfo || true; }

driver_done() {
	[ -z "$(driver_mounts)" ] || fail "mounts are left: $(driver_mounts)"
	[ -z "$(ls -A "$driver_root")" ] || fail "the mount root is not empty: $(ls -A "$driver_root")"
	wait_until 20 no_persifs_runs || fail "daemons are left: $(ps -o pid,args -p "$(persifs_pids | paste -sd,)")"
	no_sanitizer_reports
}

# driver_call ROUTE [JSON]: the answer, as dockerd would get it; status 1 with an Err
driver_call() { "$root/tests/tools/dockerd.py" "unix://$driver_socket" --call "$@"; }
