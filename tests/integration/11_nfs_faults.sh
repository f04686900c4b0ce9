#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# 11_nfs_faults.sh - what a server or a network does wrong: a hard mount hides all
# that loses nothing, and survives the rest
#
# ONLY=NAME... runs some faults, those that are known to fail among them.
fits="nfsfault"
# shellcheck source=lib/test.sh
. "${BASH_SOURCE%/*}/lib/test.sh"

# What NFSv3 and a silly rename cannot do, see 04_model.sh.
WITHOUT=punch,fallocate,zero_range,xattr,tmpfile,exchange,noreplace,dirtimes,rmdir_open,dirhandle

# NAME:PER-MILLE of each lossless fault, beside one for sure. What costs a wait is rare.
LOSSLESS=(drop:3 lose:3 delay:100 duplicate:200 reorder:200 cut:40 half:3 stall:3 refuse:3
	restart:40 crash:40 jukebox:3 short_read:500 short_write:500 fragments:300 wrong_xid:3
	unknown:300 no_attr:200 no_handle:500 close_accept:500)
# Of these, those that cost no waiting: most calls meet one.
STORM=(duplicate:200 fragments:300 unknown:300 no_attr:200 no_handle:300 short_read:300 short_write:300
	reorder:20 cut:10 restart:4 crash:4)
HOSTILE=(stale toosmall serverfault bad_count long_opaque huge_opaque marker truncated garble
	auth_error prog_mismatch garbage_args system_err huge_list endless_list same_cookie
	empty_list bad_type other_type other_fileid short_verf)

# Bugs of the client, to be taken out of this list by who mends them:
KNOWN_TO_FAIL=""

# Lies about content are believed as long as the mount lasts.
LIES="garble"
# Those about what a file is, as long as attributes are.
HEALS="other_type other_fileid"
HEAL_SECONDS=65

OPTIONS=rpc_timeout=400ms
LIMIT=$(scaled 60 600 120) # seconds for one run of the model

# The faults of a list that are to run now, without figures.
chosen() { # NAME[:FIGURE]...
	local f
	for f; do
		case " ${ONLY:-} " in
		*" ${f%:*} "*) echo "$f" ;;
		"  ") case " $KNOWN_TO_FAIL " in *" ${f%:*} "*) ;; *) echo "$f" ;; esac ;;
		esac
	done
}

said() { server_say stats | sed -n "s/^$1 //p"; }
once='count=1' # of a fault, beside its share
set_faults() { # NAME:PER-MILLE...
	local f
	for f; do server_say "fault ${f%:*} $once permille=${f#*:}" >/dev/null; done
}

check_store() {
	local answer
	answer=$(server_say check 2>&1) || fail "the server's files are broken under $1: $answer"
}

# ---- lossless -------------------------------------------------------------------

# For the model's end of a round: the faults are over, and nothing is cached.
write_remount() {
	cat >"$work/again.sh" <<-EOF
		set -Eeuo pipefail
		. '$lib/test.sh'
		. '$work/state'
		server_say clear >/dev/null
		target_remount '$OPTIONS'
	EOF
}

run_model() { # NAME OPS PROCESSES
	local ref=$work/refs/$1
	mkdir "$ref" "$mnt/$1"
	set_faults "${@:4}"
	timeout "$LIMIT" "$model" --seed "$SEED" --ops "$2" --processes "$3" --rounds 1 \
		--without "$WITHOUT" --remount "bash '$work/again.sh'" "$mnt/$1" "$ref" \
		>"$work/log/model" 2>&1 || fail "model under '${*:4}', seed $SEED, status $?"
	check_store "$1"
	[ "$(said unstable_pages)" = 0 ] || fail "'$1' left $(said unstable_pages) pages uncommitted"
}

each_lossless() { # OPS
	local f name try first=$SEED
	for f in $(chosen "${LOSSLESS[@]}"); do
		name=${f%:*}
		# A short run may never read, say, what it has not cached: another one then.
		for try in 1 2 3 4 5; do
			run_model "$name.$try" "$1" 1 "$f"
			if [ "$name" = close_accept ] || [ "$(said "fault $name")" ]; then break; fi
			SEED=$((SEED + 1))
		done
		[ "$SEED" -lt $((first + 5)) ] || fail "no $name happened, seeds $first to $SEED"
		SEED=$first
	done
	log "each passed: $(said fault | paste -sd' '); lost pages $(said lost_pages)"
}

# All at once, each a tenth as often.
mixed_lossless() { # OPS
	local f n some=() once=""
	for f in $(chosen "${LOSSLESS[@]}"); do
		some+=("${f%:*}:$(((${f#*:} + 9) / 10))")
	done
	for n in 1 4; do
		run_model "mixed$n" "$1" "$n" "${some[@]}"
		log "mixed passed, processes: $n"
	done
}

storm() { # OPS
	local n
	for n in 1 4; do
		run_model "storm$n" "$1" "$n" "${STORM[@]}"
		log "storm passed, processes: $n"
	done
}

all_faults() { said fault | awk '{ n += $2 } END { print n + 0 }'; }

# Listings that need several calls, from a server that forgets its cookies.
listing() {
	local f
	seq -f 'a-name-long-enough-%06g' "$(scaled 3000 30000)" >"$work/names"
	mkdir "$mnt/long"
	(cd "$mnt/long" && xargs touch <"$work/names")
	for f in "bad_cookie:$(scaled 500 100)" fragments:500 no_attr:500 no_handle:500 cut:100; do
		target_remount "$OPTIONS"
		set_faults "$f"
		# shellcheck disable=SC2012 # plain names
		ls "$mnt/long" | cmp - "$work/names" || fail "a listing differs under $f"
		[ "$(said "fault ${f%:*}")" ] || fail "no ${f%:*} happened"
		server_say clear >/dev/null
	done
}

# ---- hostile --------------------------------------------------------------------

# Anything may fail here, and a root that is stale all the time is asked for once a second;
# but nothing may hang.
look_around() { # DIR
	local rc=0
	# shellcheck disable=SC2016 # the other shell's
	timeout -k 5 60 sh -c 'ls -lR "$1"; cat "$1"/*; ls -la "$1"/sub; cat "$1"/sub/*; readlink "$1"/link
		touch "$1"/new && rm "$1"/new; df "$1"' - "$1" >/dev/null 2>&1 || rc=$?
	[ "$rc" -lt 124 ]
}

prepare_tree() { # DIR
	mkdir -p "$1/sub"
	for i in $(seq 40); do echo "file $i" >"$1/file$i"; done
	head -c 3000000 /dev/urandom >"$1/sub/data"
	ln -s file1 "$1/link"
	sum=$(sha256sum <"$1/sub/data")
}

worker_kib() { sed -n 's/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p' "/proc/$(tail -n 1 "$work/pids")/status"; }

all_files_are_there() { [ "$(find "$mnt/tree" -type f 2>/dev/null | wc -l)" = 41 ]; }

is_well_after() { # FAULT
	local files
	[ "$(stat_of worker_pid)" = "$(tail -n 1 "$work/pids")" ] || fail "'$1' killed the worker"
	case " $HEALS " in
	*" $1 "*) wait_until "$HEAL_SECONDS" all_files_are_there || fail "the lies of '$1' are still believed" ;;
	esac
	# What was said of names may be believed until the folder changes.
	touch "$mnt/tree/sub/now" && rm -f "$mnt/tree/sub/now" "$mnt/tree/new"
	files=$(find "$mnt/tree" -type f | wc -l)
	[ "$files" = 41 ] || fail "$files files instead of 41 after '$1'"
	[ "$(sha256sum <"$mnt/tree/sub/data")" = "$sum" ] || fail "other data after '$1'"
	[ "$(worker_kib)" -lt $((400 << 10)) ] || fail "the worker has $(worker_kib) KiB after '$1'"
	check_store "$1"
}

each_hostile() {
	local f
	prepare_tree "$mnt/tree"
	for f in $(chosen "${HOSTILE[@]}"); do
		target_remount "$OPTIONS,attr_timeout=0,entry_timeout=0"
		set_faults "$f:300"
		look_around "$mnt/tree" || fail "something hangs under '$f'"
		server_say clear >/dev/null
		case " $LIES " in *" $f "*) target_remount "$OPTIONS" ;; esac
		is_well_after "$f"
	done
	log "survived: $(chosen "${HOSTILE[@]}" | paste -sd' ')"
}

# A program sits in what was said to be a folder; the others see the file that it is.
a_lie_that_is_held_heals() {
	local holder
	[ -z "${ONLY:-}" ] || [[ " $ONLY " == *" other_type "* ]] || return 0
	target_remount "$OPTIONS,attr_timeout=0,entry_timeout=0"
	ls -d "$mnt/tree" >/dev/null
	server_say "fault other_type count=1 proc=LOOKUP" >/dev/null
	(cd "$mnt/tree/file1" && exec sleep 300) &
	holder=$!
	wait_until 5 sits_in "$holder" || fail "the lie was not believed"
	wait_until 10 file1_is_read || fail "a file is not seen while a program holds a lie about it"
	kill "$holder"
	wait "$holder" 2>/dev/null || true
}
sits_in() { [[ "$(readlink "/proc/$1/cwd")" == */file1 ]]; }
file1_is_read() {
	ls -l "$mnt/tree" >/dev/null 2>&1 || true
	touch "$mnt/tree/new" && rm "$mnt/tree/new" # the kernel's listing is another then
	[ "$(cat "$mnt/tree/file1" 2>/dev/null)" = "file 1" ]
}

scenario() {
	model=$(tool model)
	fast_folder "$work/refs" 2048
	target_mount "$OPTIONS"
	write_remount
	[ -n "${ONLY:-}" ] || run_model none "$(scaled 4000 100000 2000)" 1
	each_lossless "$(scaled 300 20000 150)"
	if [ -z "${ONLY:-}" ]; then
		mixed_lossless "$(scaled 800 10000 400)"
		storm "$(scaled 500 30000 300)"
		log "$(all_faults) faults so far"
		[ "$(all_faults)" -ge "$(scaled 1000 100000 500)" ] || fail "too few faults: $(all_faults)"
		listing
	fi
	each_hostile
	a_lie_that_is_held_heals
	target_umount
}

run_scenario "$@"
