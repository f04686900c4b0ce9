#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# demo.sh BUILD - what a platform does, by hand: starts the volume driver, creates and mounts a volume
# over HTTP, writes to it from a container of crun, reads it from another that has it read-only, unmounts
# it, and proves that the data is in the folder behind it. Leaves nothing behind.
set -eu

build=$(realpath "${1:-build/release}")
here=$(dirname "$(realpath "$0")")

# Mounts of the demo are seen by nobody else, and end with it.
if [ "${PERSIFS_DEMO_NS:-}" != 1 ]; then
	PERSIFS_DEMO_NS=1 exec unshare --mount --propagation private sh "$0" "$build"
fi

work=$(mktemp -d /tmp/persifs-demo.XXXXXX)
export PERSIFS_RUNTIME_DIR="$work/run"
store=$work/store
root=$work/volumes
socket=$work/driver.sock
driver=
chmod 755 "$work"
mkdir -m 755 "$PERSIFS_RUNTIME_DIR" "$store" "$root"

clean_up() {
	[ -z "$driver" ] || curl -s -m 20 "http://127.0.0.1:$admin/evacuate" >/dev/null || :
	[ -z "$driver" ] || wait "$driver" || :
	rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' HUP INT TERM

# A machine with cgroups of both versions is refused by crun.
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup

show() {
	printf '\n$ %s\n' "$*"
}

tell() {
	printf '\n--- %s\n' "$*"
}

fail() {
	echo "demo: $*" >&2
	exit 1
}

free_port() {
	python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# call ROUTE JSON: as Docker or a Cloud Foundry cell would
call() {
	show "curl --unix-socket driver.sock http://driver/VolumeDriver.$1 -d '$2'"
	curl -s --unix-socket "$socket" "http://driver/VolumeDriver.$1" -d "$2" >"$work/answer"
	cat "$work/answer" && echo
	if grep -q '"Err": *"[^"]' "$work/answer"; then fail "$1 failed"; fi
}

# in_container NAME MOUNT COMMAND: busybox, run by crun, with the mount as its /data
in_container() {
	"$here/../tests/tools/bundle.py" "$work/$1" --uid 2000 --bind "$2" -- sh -c "$3"
	tell "in container $1, as uid 2000: $3"
	crun --root "$work/crun" --cgroup-manager=disabled run --bundle "$work/$1" "demo-$$-$1" </dev/null
}

admin=$(free_port)
printf '{"sources": ["dir:%s"], "budget": "256m"}\n' "$store" >"$work/driver.json"
: >"$work/log"
show persifs-driver --config driver.json --listen unix:driver.sock
"$build/persifs-driver" --config "$work/driver.json" --listen "unix:$socket" --admin "127.0.0.1:$admin" \
	--mount-root "$root" >"$work/log" 2>&1 &
driver=$!
tries=0
until grep -q driver-server.started "$work/log"; do
	tries=$((tries + 1))
	if [ $tries -gt 100 ] || ! kill -0 "$driver"; then fail "the driver does not start: $(cat "$work/log")"; fi
	sleep 0.05
done
grep driver-server.started "$work/log"

chown 3000:3000 "$store"
call Create "{\"Name\": \"orders\", \"Opts\": {\"source\": \"dir:$store\", \"uid\": \"3000\", \"gid\": \"3000\"}}"
call Mount '{"Name": "orders", "ID": "shop"}'
call Create "{\"Name\": \"orders-ro\", \"Opts\": {\"source\": \"dir:$store\", \"uid\": \"3000\", \"gid\": \"3000\", \"readonly\": true}}"
call Mount '{"Name": "orders-ro", "ID": "report"}'

# shellcheck disable=SC2016 # the container's shell expands it
in_container shop "$root/orders:/data:nosuid,nodev" 'for i in 1 2 3; do echo "order $i" >>/data/orders; done
	dd if=/dev/urandom of=/data/scan bs=1M count=32 2>/dev/null; ls -ln /data'
in_container report "$root/orders-ro:/data:ro,nosuid,nodev" 'cat /data/orders; echo more >>/data/orders || echo "(as it should be)"' 2>&1

tell "one source, two mounts, one daemon with one cache:"
for name in orders orders-ro; do
	printf '%-10s ' "$name"
	"$build/persifs-ctl" stat "$root/$name" | grep worker_pid
done
(cd "$root/orders" && sha256sum orders scan) >"$work/through-the-mount"

call Unmount '{"Name": "orders", "ID": "shop"}'
call Unmount '{"Name": "orders-ro", "ID": "report"}'
if grep -F " $root/" /proc/self/mountinfo; then fail "still mounted"; fi

tell "the folder behind it, now without persifs:"
ls -ln "$store"
(cd "$store" && sha256sum orders scan) >"$work/in-the-store"
cmp "$work/through-the-mount" "$work/in-the-store"
[ "$(cat "$store/orders")" = "$(printf 'order %d\n' 1 2 3)" ] || fail "the orders are wrong"
echo "identical: every byte that the container wrote is in the store, owned by uid 3000"
