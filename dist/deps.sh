#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Installs the packages of deps.txt that are missing; silent and quick when none is.
set -eu

list=$(dirname "$0")/deps.txt

missing_of() {
	for package in "$@"; do
		state=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) || state=
		[ "$state" = 'ii ' ] || printf '%s\n' "$package"
	done
}

# One question for all of them first: the usual case is that nothing is missing.
# shellcheck disable=SC2046 # package names are words
set -- $(sed 's/#.*//' "$list")
if [ "$(dpkg-query -W -f '${db:Status-Abbrev}\n' "$@" 2>/dev/null | grep -c '^ii')" -eq $# ]; then
	exit 0
fi
# shellcheck disable=SC2046
set -- $(missing_of "$@")
[ $# -gt 0 ] || exit 0

if [ "$(id -u)" -ne 0 ]; then
	echo "deps: missing, and only root can install them: $*" >&2
	exit 1
fi
echo "deps: installing $*"

# Servers among the packages are for tests, which start their own: none may come up by itself.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
	trap 'rm -f "$policy"' EXIT
	trap 'exit 1' HUP INT TERM
	printf '#!/bin/sh\nexit 101\n' > "$policy"
	chmod 755 "$policy"
fi
log=$(mktemp)
export DEBIAN_FRONTEND=noninteractive
if ! { apt-get -q update && apt-get -qy install --no-install-recommends "$@"; } > "$log" 2>&1; then
	tail -n 20 "$log" >&2
	echo "deps: apt-get failed; the whole output is in $log" >&2
	exit 1
fi
rm -f "$log"
