#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 47_dashboard.sh - the pages about instances, of a real broker in a real browser: readable on a phone and on a
# desktop, light and dark, and whatever stands in a text stays a text. Pictures: build/$VARIANT/logs/dashboard-*.png
# shellcheck disable=SC2119,SC2034 # arguments that may be left out; own_targets is read by target.sh
fits="local"
own_targets=yes
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/osb.sh
. "$lib/osb.sh"

# What would run, load or break out, were it not escaped.
SCRIPT='<script>alert(1)</script>'
IMAGE='"><img src=x onerror=alert(2)>'
SVG="'><svg onload=alert(3)>&amp;</dd></main>"
APP=0c6f8c1e-9b7d-4f0a-8d6e-3a1b5c7d9e2f

configure() {
	osb_port=$(free_port)
	mkdir -p "$work/root"
	"$BROKER" make-key "$work/key"
	cat >"$work/broker.json" <<-J
		{ "listen": ["tcp:127.0.0.1:$osb_port"], "key_file": "$work/key", "store": "sqlite:$work/broker.db",
		  "users": [{ "name": "u", "password": "p" }],
		  "dashboard": { "url": "http://127.0.0.1:$osb_port", "link_lifetime": "1h" },
		  "providers": { "disk": { "type": "local", "root": "$work/root" }, "nas": { "type": "existing" },
		    "away": { "type": "onefs", "url": "https://127.0.0.1:1", "user": "u", "password": "p",
		      "nfs_host": "127.0.0.1", "networks": ["10.0.0.0/8"], "base_path": "/ifs/cf", "insecure": true } },
		  "services": [{ "id": "s", "name": "volumes", "description": "Volumes", "plan_updateable": false, "plans": [
		    { "id": "folder", "name": "folder", "description": "A folder", "provider": "disk", "size": "1g" },
		    { "id": "image", "name": "image", "description": "A disk of 64 MiB for one app", "provider": "disk",
		      "kind": "image", "size": "32m", "max_size": "64m" },
		    { "id": "share", "name": "existing", "description": "A share that exists", "provider": "nas" },
		    { "id": "array", "name": "array", "description": "On an array", "provider": "away", "size": "1g" }] }] }
	J
	"$BROKER" --config "$work/broker.json" --check-config >/dev/null || fail "the configuration is refused"
}

# api METHOD PATH [BODY]: the answer's body, which has to be a success
api() {
	curl -s --max-time 60 --fail-with-body -u u:p -H 'X-Broker-API-Version: 2.17' -H 'Content-Type: application/json' \
		-X "$1" ${3:+-d "$3"} "$osb_url$2" || fail "$1 $2: curl ended with $?"
}

json() { # KEY: of the object on stdin
	python3 -c 'import json,sys; print(json.load(sys.stdin).get(sys.argv[1], ""))' "$1"
}

# body PLAN [KEY JSON]...: of a create or bind, with hostile names as the platform would send them
body() {
	python3 - "$@" <<-'PY'
		import json, sys
		plan, rest = sys.argv[1], sys.argv[2:]
		body = {"service_id": "s", "plan_id": plan}
		body.update({rest[i]: json.loads(rest[i + 1]) for i in range(0, len(rest), 2)})
		print(json.dumps(body))
	PY
}
quoted() { python3 -c 'import json,sys; print(json.dumps(sys.argv[1]))' "$1"; }

is_over() { [ "$(api GET "/v2/service_instances/$1/last_operation" | json state)" = succeeded ]; }

# make ID PLAN CONTEXT [KEY JSON]...
make() {
	api PUT "/v2/service_instances/$1?accepts_incomplete=true" "$(body "$2" context "$3" "${@:4}")" >/dev/null
}

link_of() {
	local link
	link=$(api GET "/v2/service_instances/$1" | json dashboard_url)
	[[ $link == "http://127.0.0.1:$osb_port/dashboard/$1?t="* ]] || fail "the link is '$link'"
	echo "$link"
}

# look NAME LINK [--has TEXT | --lacks TEXT]...: later, all with one browser
look() {
	python3 - "$@" >>"$work/pages" <<-'PY'
		import json, sys
		name, url, rest = sys.argv[1], sys.argv[2], sys.argv[3:]
		pairs = list(zip(rest[::2], rest[1::2]))
		print(json.dumps({"name": name, "url": url, "has": [t for o, t in pairs if o == "--has"],
		                  "lacks": [t for o, t in pairs if o == "--lacks"]}))
	PY
}

# Pictures are kept beside the logs.
look_at_all() {
	local shots=$root/build/$VARIANT/logs
	mkdir -p "$shots"
	"$root/tests/tools/webdriver.py" --shots "$shots/dashboard" --log "$work/log/chromium" --size 390x844 \
		--size 1280x800 <"$work/pages" 2>"$work/log/webdriver" || fail "$(tail -n 1 "$work/log/webdriver")"
}

# says STATUS LINK: without a browser; the headers that every page has
says() {
	local got
	got=$(curl -s --max-time 20 -o "$work/page" -D "$work/headers" -w '%{http_code}' "$2")
	[ "$got" = "$1" ] || fail "$2: status $got, expected $1"
	grep -qi "^Content-Security-Policy: default-src 'none'; style-src 'sha256-[A-Za-z0-9+/=]*'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'" \
		"$work/headers" || fail "$2: no strict policy: $(cat "$work/headers")"
	grep -qi '^Content-Type: text/html' "$work/headers" || fail "$2 is no page"
	grep -qi '^Cache-Control: no-store' "$work/headers" || fail "$2 may be kept"
	grep -qi '^Referrer-Policy: no-referrer' "$work/headers" || fail "$2 tells its link to others"
}

a_disk_with_hostile_names_is_shown_as_text() {
	local image link
	make i-hostile image "{\"instance_name\":$(quoted "$SCRIPT"),\"space_name\":$(quoted "$IMAGE"),\"organization_name\":$(quoted "$SVG")}"
	wait_until 20 is_over i-hostile || fail "no image is made"
	api PATCH '/v2/service_instances/i-hostile?accepts_incomplete=true' "$(body image parameters '{"size":"64m"}')" >/dev/null
	wait_until 20 is_over i-hostile || fail "the image does not grow"
	api PUT /v2/service_instances/i-hostile/service_bindings/b1 "$(body image app_guid "$(quoted "$APP")" \
		parameters "{\"mount\":$(quoted "/data/\"quoted\" 'and' <b>bold</b>")}")" >/dev/null
	api PUT /v2/service_instances/i-hostile/service_bindings/b2 "$(body image app_guid "$(quoted "$APP")" \
		parameters '{"readonly":true}')" >/dev/null
	image=$(find "$work/root" -type f -size 64M) # the only one
	head -c 52M /dev/urandom | dd of="$image" conv=notrunc status=none
	link=$(link_of i-hostile)
	says 200 "$link"
	! grep -qE '<script|<img|onload=alert\(3\)>&|<b>' "$work/page" || fail "a text is not escaped"
	look hostile "$link" --has "$SCRIPT" --has "$IMAGE" --has "$SVG" --has ready --has 'volumes · image' \
		--has '81 % used' --has '64 MiB' --has '52 MiB' --has "App 0c6f8c1e…" --lacks "$APP" \
		--has "/data/\"quoted\" 'and' <b>bold</b>" --has 'read and write' --has read-only --has well --has Update --has Creation \
		--has succeeded --has UTC
}

# Enough of everything that a page could become too wide or too long.
many_bindings_and_long_names_fit_on_a_phone() {
	local n
	make i-many share "{\"instance_name\":\"orders-$(printf 'x%.0s' {1..150})\"}" parameters '{"share":"nas.example.org/export/orders"}'
	for ((n = 1; n < 10; n++)); do
		api PUT "/v2/service_instances/i-many/service_bindings/b$n" \
			"{\"service_id\":\"s\",\"plan_id\":\"share\",\"app_guid\":\"$n$APP\",\"parameters\":{\"mount\":\"/$(printf 'y%.0s' {1..300})\"}}" >/dev/null
	done
	look many "$(link_of i-many)" --has 'App 10c6f8c1…' --has 'App 90c6f8c1…' --lacks 'and more' \
		--has 'that of the share' --has 'not watched' --has 'not known'
}

an_array_that_is_away_is_told() {
	local link
	link=$(api PUT '/v2/service_instances/i-away?accepts_incomplete=true' "$(body array context '{"instance_name":"reports"}')" |
		json dashboard_url)
	look away "$link" --has 'being created' --has 'in progress' --has Begun --lacks Ended --has '1 GiB'
}

other_links_open_nothing() {
	local link
	link=$(link_of i-many)
	says 403 "${link%?t=*}"
	look forged "${link%???}abc" --has 'This link has expired' --has 'cf service NAME' --lacks orders
	says 403 "${link/i-many/i-hostile}" # of another instance
	says 403 "http://127.0.0.1:$osb_port/dashboard/i-many?t=99999999999.${link##*.}"
	says 404 "http://127.0.0.1:$osb_port/dashboard/"
	says 404 "http://127.0.0.1:$osb_port/dashboard/a/b?t=1"
}

one_that_is_unbound_and_deleted_has_none() {
	local link
	make i-short folder '{"instance_name":"short"}'
	api PUT /v2/service_instances/i-short/service_bindings/b "$(body folder app_guid "$(quoted "$APP")")" >/dev/null
	api DELETE '/v2/service_instances/i-short/service_bindings/b?service_id=s&plan_id=folder' >/dev/null
	link=$(link_of i-short)
	says 200 "$link"
	grep -q 'no app uses this volume' "$work/page" || fail "still bound: $(cat "$work/page")"
	! grep -q 0c6f8c1e "$work/page" || fail "still told: $(cat "$work/page")"
	api DELETE '/v2/service_instances/i-short?service_id=s&plan_id=folder' >/dev/null
	says 404 "$link"
	look deleted "$link" --has 'No such volume' --lacks short
}

scenario() {
	need python3 curl chromium chromedriver
	configure
	osb_start
	a_disk_with_hostile_names_is_shown_as_text
	many_bindings_and_long_names_fit_on_a_phone
	an_array_that_is_away_is_told
	other_links_open_nothing
	one_that_is_unbound_and_deleted_has_none
	log "the pages are made"
	look_at_all
	osb_stop
}

run_scenario "$@"
