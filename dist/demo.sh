#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# demo.sh BUILD - the whole way, by hand: a simulated Isilon with a real NFS server, the service broker, the
# volume driver of a cell. A platform orders a share, binds it to an app, the cell mounts it, a container
# writes, another one reads; the data is proven on the array; then everything is given back. It runs in
# namespaces of its own and leaves nothing behind.
set -eu

build=$(realpath "${1:-build/release}")
here=$(dirname "$(realpath "$0")")

if [ "${PERSIFS_DEMO_NS:-}" != 1 ]; then
	work=$(mktemp -d /tmp/persifs-demo.XXXXXX)
	trap 'rm -rf --one-file-system "$work"' EXIT
	trap 'exit 130' HUP INT TERM
	PERSIFS_DEMO_NS=1 unshare --mount --net --pid --fork --kill-child --mount-proc --propagation private \
		sh "$0" "$build" "$work"
	exit
fi
work=$2
array=$work/array
root=$work/volumes
cell=$work/driver.sock
broker=http://127.0.0.1:8999
chmod 755 "$work"
mkdir -m 755 "$array" "$root"

# Of a machine of its own: /run for rpcbind and sockets, a loopback, and cgroups that crun takes.
mount -t tmpfs tmpfs /run
mkdir /run/rpcbind
ip link set lo up
ip addr add 192.0.2.1/32 dev lo
[ "$(stat -f -c %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 cgroup2 /sys/fs/cgroup

step() {
	number=$((${number:-0} + 1))
	printf '\n=== %d. %s\n' "$number" "$*"
}
show() { printf '$ %s\n' "$*"; }
fail() {
	echo "demo: $*" >&2
	tail -n 5 "$work"/*.log >&2
	exit 1
}

# start NAME WORD COMMAND...: in the background, until its output has the word
start() {
	name=$1 word=$2 tries=0
	shift 2
	"$@" >"$work/$name.log" 2>&1 &
	until grep -q -- "$word" "$work/$name.log"; do
		tries=$((tries + 1))
		if [ $tries -gt 400 ] || ! kill -0 $!; then fail "$name does not start"; fi
		sleep 0.05
	done
	grep -m 1 -- "$word" "$work/$name.log"
}

# osb METHOD PATH [BODY]: as Cloud Foundry's Cloud Controller asks; the answer in $work/answer
osb() {
	# shellcheck disable=SC2016 # no: it is in double quotes
	show "curl -X $1 $broker/v2/$2${3:+ -d '$3'}"
	curl -sS --fail-with-body -u platform:secret -H 'X-Broker-API-Version: 2.17' -X "$1" -o "$work/answer" \
		${3:+-H Content-Type:application/json -d "$3"} "$broker/v2/$2" || fail "$(cat "$work/answer")"
	cat "$work/answer"
	echo
}

# over ID: the operation on the instance has ended well
over() {
	until osb GET "service_instances/$1/last_operation" && ! grep -q 'in progress' "$work/answer"; do sleep 0.5; done
	grep -q succeeded "$work/answer" || fail "the operation failed"
}

# value KEY...: of the last answer
value() {
	python3 -c 'import json, sys
v = json.load(open(sys.argv[1]))
for k in sys.argv[2:]: v = v[int(k) if k.isdigit() else k]
print(v if isinstance(v, str) else json.dumps(v))' "$work/answer" "$@"
}

# call ROUTE JSON: as a cell's Volman, or Docker, asks
call() {
	show "curl --unix-socket driver.sock http://driver/VolumeDriver.$1 -d '$2'"
	curl -sS --unix-socket "$cell" "http://driver/VolumeDriver.$1" -d "$2" >"$work/said"
	cat "$work/said"
	echo
	! grep -q '"Err": *"[^"]' "$work/said" || fail "$1 failed"
}

# in_container NAME OPTION COMMAND: busybox, run by crun as uid 2000, with the volume where the bind said
in_container() {
	"$here/../tests/tools/bundle.py" "$work/$1" --uid 2000 --bind "$root/$volume:$dir:${2}nosuid,nodev" -- sh -c "$3"
	show "(container $1, uid 2000) $3"
	crun --root "$work/crun" --cgroup-manager=disabled run --bundle "$work/$1" "demo-$1" </dev/null
}

# array_call PATH: the platform API of the simulated Isilon
array_call() { curl -sS -u admin:password "http://127.0.0.1:8080$1"; }

step "An Isilon (simulated: the platform API and namespace API of OneFS; its exports are served by a real nfs-ganesha)"
rpcbind -f >"$work/rpcbind.log" 2>&1 &
until [ -S /run/rpcbind.sock ]; do sleep 0.05; done
show persifs-sim onefs --listen tcp:127.0.0.1:8080 --set ganesha=yes
start sim 'listening on' "$build/persifs-sim" onefs --listen tcp:127.0.0.1:8080 --root "$array" \
	--set ganesha=yes --set nfs_port=2049 --set mount_port=20048

step "The service broker, which sells shares of that Isilon to the platform"
"$build/persifs-broker" make-key "$work/broker.key"
cat >"$work/broker.json" <<J
{ "listen": ["tcp:127.0.0.1:8999"], "store": "sqlite:$work/broker.db", "key_file": "$work/broker.key",
  "users": [{ "name": "platform", "password": "secret" }],
  "providers": { "isilon": { "type": "onefs", "url": "http://127.0.0.1:8080", "user": "admin", "password": "password",
    "nfs_host": "127.0.0.1", "networks": ["127.0.0.0/8"] } },
  "services": [{ "id": "isilon-service", "name": "isilon", "description": "Shares that outlive containers", "plans": [
    { "id": "small-plan", "name": "small", "description": "1 GiB, grows to 8", "provider": "isilon", "size": "1g", "max_size": "8g",
      "uid": 3000, "gid": 3000 }] }] }
J
chmod 600 "$work/broker.json"
show persifs-broker --config broker.json
start broker 'ready on' "$build/persifs-broker" --config "$work/broker.json"

step "The volume driver of a cell"
printf '{"sources": ["nfs://127.0.0.1"], "budget": "256m"}\n' >"$work/driver.json"
show persifs-driver --config driver.json --listen unix:driver.sock
start driver driver-server.started "$build/persifs-driver" --config "$work/driver.json" --listen "unix:$cell" \
	--admin 127.0.0.1:7590 --mount-root "$root"

ids='"service_id": "isilon-service", "plan_id": "small-plan"'
step "cf create-service isilon small orders"
osb PUT 'service_instances/orders?accepts_incomplete=true' "{ $ids, \"organization_guid\": \"org\", \"space_guid\": \"space\" }"
over orders
array_call /platform/2/protocols/nfs/exports | python3 -c 'import json, sys
for e in json.load(sys.stdin)["exports"]: print("on the array: export", e["id"], e["paths"][0], "for", e["clients"])'

step "cf bind-service shop orders"
osb PUT service_instances/orders/service_bindings/shop "{ $ids, \"bind_resource\": { \"app_guid\": \"shop\" } }"
volume=$(value volume_mounts 0 device volume_id)
options=$(value volume_mounts 0 device mount_config)
dir=$(value volume_mounts 0 container_dir)

step "The cell mounts what the broker answered, and two containers of the app use it"
call Create "{\"Name\": \"$volume\", \"Opts\": $options}"
call Mount "{\"Name\": \"$volume\"}"
in_container shop-0 '' "for i in 1 2 3; do echo \"order \$i\" >>$dir/orders; done
	dd if=/dev/urandom of=$dir/scan bs=1M count=32 2>/dev/null; ls -ln $dir"
in_container shop-1 '' "cat $dir/orders"
(cd "$root/$volume" && sha256sum orders scan) >"$work/through-the-mount"
call Unmount "{\"Name\": \"$volume\"}"
! grep -F " $root/" /proc/self/mountinfo || fail "still mounted"

step "The folder on the array, without persifs"
folder=$(find "$array/ifs" -name orders -exec dirname {} \;)
ls -ln "$folder"
(cd "$folder" && sha256sum orders scan) >"$work/on-the-array"
cmp "$work/through-the-mount" "$work/on-the-array" || fail "the array has other data"
[ "$(cat "$folder/orders")" = "$(printf 'order %d\n' 1 2 3)" ] || fail "the orders are wrong"
echo "identical: every byte that the containers wrote is on the array, owned by uid 3000"

step "cf update-service orders -c '{\"size\": \"4g\"}'"
osb PATCH 'service_instances/orders?accepts_incomplete=true' '{ "service_id": "isilon-service", "parameters": { "size": "4g" } }'
over orders
array_call /platform/1/quota/quotas | python3 -c 'import json, sys
for q in json.load(sys.stdin)["quotas"]: print("on the array: quota of", q["thresholds"]["hard"] >> 30, "GiB")'

step "cf unbind-service, cf delete-service"
osb DELETE 'service_instances/orders/service_bindings/shop?service_id=isilon-service&plan_id=small-plan'
osb DELETE 'service_instances/orders?accepts_incomplete=true&service_id=isilon-service&plan_id=small-plan'
over orders
show persifs-broker sweep --config broker.json
"$build/persifs-broker" sweep --config "$work/broker.json" --grace 0
[ -z "$(find "$array/ifs" -name orders)" ] || fail "the data is still on the array"
array_call /platform/2/protocols/nfs/exports | grep -q '"total": *0' || fail "an export is left"
echo "nothing is left: no export, no quota, no folder on the array, no mount on the cell"
curl -sS -m 20 http://127.0.0.1:7590/evacuate >/dev/null
