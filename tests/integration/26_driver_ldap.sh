#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 26_driver_ldap.sh - username and password of a volume become uid and gid by a real
# directory (slapd), over TLS, and no password is told to anybody
fits="dir"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"
# shellcheck source=lib/driver.sh
. "${BASH_SOURCE%/*}/lib/driver.sh"

slapd_pid=''

# The directory: who may search, and a user with uid and gid.
directory_start() {
	local port=$1 tls_port=$2
	mkdir -p "$work/ldap"
	cat >"$work/slapd.conf" <<-CONF
		include /etc/ldap/schema/core.schema
		include /etc/ldap/schema/cosine.schema
		include /etc/ldap/schema/nis.schema
		modulepath /usr/lib/ldap
		moduleload back_mdb
		TLSCACertificateFile $work/tls/ca.pem
		TLSCertificateFile $work/tls/server.pem
		TLSCertificateKeyFile $work/tls/server.key
		database mdb
		suffix "dc=example,dc=org"
		rootdn "cn=admin,dc=example,dc=org"
		rootpw aZ7q
		directory $work/ldap
		access to attrs=userPassword by anonymous auth by * none
		access to * by dn.exact="cn=admin,dc=example,dc=org" read by * none
	CONF
	slapd -d 0 -f "$work/slapd.conf" -h "ldap://127.0.0.1:$port ldaps://127.0.0.1:$tls_port" \
		</dev/null >"$work/log/slapd" 2>&1 &
	slapd_pid=$!
	wait_until 20 server_listens "$tls_port" || fail "slapd does not listen: $(tail -n 2 "$work/log/slapd")"
	ldapadd -x -H "ldap://127.0.0.1:$port" -D cn=admin,dc=example,dc=org -w aZ7q >"$work/log/ldapadd" 2>&1 <<-LDIF || fail "ldapadd"
		dn: dc=example,dc=org
		objectClass: dcObject
		objectClass: organization
		o: example
		dc: example

		dn: uid=alice,dc=example,dc=org
		objectClass: account
		objectClass: posixAccount
		uid: alice
		cn: Alice
		uidNumber: 4321
		gidNumber: 8765
		homeDirectory: /home/alice
		userPassword: pZ7q

		dn: uid=root,dc=example,dc=org
		objectClass: account
		objectClass: posixAccount
		uid: root
		cn: Root
		uidNumber: 0
		gidNumber: 0
		homeDirectory: /root
		userPassword: pZ7q
	LDIF
}

create_as() { # USER PASSWORD
	ok Create "{\"Name\":\"l\",\"Opts\":{\"source\":\"$source\",\"username\":\"$1\",\"password\":\"$2\"}}"
}

# One way to reach the directory: the user's files are alice's, wrong words are refused.
works_over() { # URI [MORE-KEYS]
	driver_start "\"ldap\":{\"uri\":\"$1\",\"base\":\"dc=example,dc=org\",\"ca\":\"$work/tls/ca.pem\",
		\"bind_dn\":\"cn=admin,dc=example,dc=org\",\"bind_password_file\":\"$work/bindpw\"${2:+, $2}}"
	create_as alice pZ7q
	mounts_at l
	touch "$root_dir/l/file"
	[ "$(stat -c %u:%g "$store/file")" = 4321:8765 ] || fail "the file is $(stat -c %u:%g "$store/file")'s"
	rm "$root_dir/l/file"
	ok Unmount '{"Name":"l"}'
	create_as alice wrongZ7q
	errs Mount '{"Name":"l"}' 'SafeDescription.*username or password is wrong'
	create_as bob pZ7q
	errs Mount '{"Name":"l"}' 'SafeDescription.*username or password is wrong'
	create_as 'alice)(uid=*' pZ7q
	errs Mount '{"Name":"l"}' 'SafeDescription.*username or password is wrong'
	create_as '*' pZ7q
	errs Mount '{"Name":"l"}' 'SafeDescription.*username or password is wrong'
	create_as root pZ7q
	errs Mount '{"Name":"l"}' 'SafeDescription.*no uid and gid'
	ok Create "{\"Name\":\"l\",\"Opts\":{\"source\":\"$source\"}}"
	ok Create "{\"Name\":\"n\",\"Opts\":{\"source\":\"$source\",\"username\":\"alice\"}}"
	errs Mount '{"Name":"n"}' 'SafeDescription.*Missing mandatory options: password'
	ok Remove '{"Name":"n"}'
	ok Remove '{"Name":"l"}'
	driver_stop
}

refused_over() { # URI CA
	driver_start "\"ldap\":{\"uri\":\"$1\",\"base\":\"dc=example,dc=org\",\"ca\":\"$2\"}"
	create_as alice pZ7q
	errs Mount '{"Name":"l"}' 'SafeDescription.*directory of users does not answer'
	ok Remove '{"Name":"l"}'
	driver_stop
}

scenario() {
	local port tls_port f
	need slapd ldapadd
	driver_prepare
	port=$(free_port) tls_port=$(free_port)
	chmod 777 "$store"
	certificates
	printf 'aZ7q\n' >"$work/bindpw"
	directory_start "$port" "$tls_port"
	works_over "ldap://127.0.0.1:$port"
	works_over "ldap://127.0.0.1:$port" '"start_tls":true'
	works_over "ldaps://127.0.0.1:$tls_port"
	refused_over "ldaps://127.0.0.1:$tls_port" "$work/tls/otherca.pem"
	end_process "$slapd_pid"
	refused_over "ldap://127.0.0.1:$port" "$work/tls/ca.pem"
	for f in "$work/log/driver" "$root_dir/driver-state.json"; do
		! grep -aq Z7q "$f" || fail "R15: a password is in $f: $(grep -a Z7q "$f" | head -n 1)"
	done
	grep -q REDACTED "$work/log/driver" || fail "R15: not told that there was a password"
	no_sanitizer_reports
}

run_scenario "$@"
