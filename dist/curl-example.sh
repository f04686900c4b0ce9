#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# curl-example.sh - what a platform asks of the broker, by curl; the storage is a simulated ScaleIO
set -eu
cd "$(mktemp -d)"

persifs-sim scaleio --listen tcp:127.0.0.1:8080 --root "$PWD/array" &
sim=$!
persifs-broker make-key broker.key
cat >broker.json <<END
{ "listen": ["tcp:127.0.0.1:8999"], "store": "sqlite:$PWD/broker.db", "key_file": "$PWD/broker.key",
  "users": [{ "name": "platform", "password": "secret" }],
  "providers": { "gold": { "type": "scaleio", "url": "http://127.0.0.1:8080", "user": "admin", "password": "password" } },
  "services": [{ "id": "s1", "name": "scaleio", "description": "Disks", "plans": [{ "id": "p1", "name": "small",
    "description": "8 GiB", "provider": "gold", "protection_domain": "pd1", "pool": "pool1", "size": "8g" }] }] }
END
persifs-broker --config broker.json &
trap 'kill $! $sim' EXIT

osb() { # METHOD PATH [BODY]
	printf '\n$ %s\n' "$*"
	curl -sS --fail-with-body --retry 9 --retry-connrefused -u platform:secret -H 'X-Broker-API-Version: 2.17' \
		-H 'Content-Type: application/json' -X "$1" "http://127.0.0.1:8999/v2/$2" ${3:+-d "$3"} -o answer
	cat answer && echo
}
osb GET catalog
osb PUT 'service_instances/i1?accepts_incomplete=true' \
	'{ "service_id": "s1", "plan_id": "p1", "organization_guid": "o1", "space_guid": "c1" }'
until osb GET service_instances/i1/last_operation && grep -q '"succeeded"' answer; do sleep 1; done
osb PUT service_instances/i1/service_bindings/b1 '{ "service_id": "s1", "plan_id": "p1", "app_guid": "a1" }'
# A cell of the platform creates and mounts what volume_mounts tells, and the app runs. Then everything goes again:
osb DELETE 'service_instances/i1/service_bindings/b1?service_id=s1&plan_id=p1'
osb DELETE 'service_instances/i1?accepts_incomplete=true&service_id=s1&plan_id=p1'
until osb GET service_instances/i1/last_operation && grep -q '"succeeded"' answer; do sleep 1; done
