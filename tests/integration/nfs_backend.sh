#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# nfs_backend.sh - the NFS backend without a mount, against a real server: the
# scenarios of tests/backend. ONLY="name ..." runs the named ones.
fits="nfs"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# The flags that the library was built with, as far as linking needs them.
variant_flags() {
	case $VARIANT in
	asan) echo -O1 -DPERSIFS_DEBUG -fsanitize=address,undefined -fno-sanitize-recover=all ;;
	tsan) echo -O1 -DPERSIFS_DEBUG -fsanitize=thread ;;
	debug) echo -O1 -DPERSIFS_DEBUG ;;
	cov) echo -O1 -DPERSIFS_DEBUG --coverage ;;
	*) echo -O2 ;;
	esac
}

scenario() {
	local build only
	build=$(dirname "$PERSIFS") only=${ONLY:-}
	need "${CC:-gcc}"
	[ -f "$build/libpersifs.a" ] || skip "no library $build/libpersifs.a"
	# shellcheck disable=SC2046 # words on purpose
	(cd "$root" && "${CC:-gcc}" -std=gnu17 -g -pthread -I. -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 \
		$(variant_flags) -o "$work/nfs_live" tests/backend/nfs_live*.c "$build/libpersifs.a" \
		$(pkg-config --libs fuse3 libnfs jansson)) || fail "cannot build nfs_live"
	# shellcheck disable=SC2086 # words on purpose
	"$work/nfs_live" "$server_uri" $only
}

run_scenario "$@"
