#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# demo.sh BUILD - mounts a folder, writes and reads through the mount, shows statistics,
# unmounts, and proves that the data is in the folder. Leaves nothing behind.
set -eu

build=$(realpath "${1:-build/release}")
work=$(mktemp -d /tmp/persifs-demo.XXXXXX)
export PERSIFS_RUNTIME_DIR="$work/run"
store=$work/store
mnt=$work/mnt
mkdir -m 755 "$PERSIFS_RUNTIME_DIR" "$store" "$mnt"

clean_up() {
	if grep -qF " $mnt " /proc/self/mountinfo; then
		"$build/persifs" umount "$mnt" || umount -i -l "$mnt" || :
	fi
	rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' HUP INT TERM

show() {
	printf '\n$ %s\n' "$*"
}

show persifs mount "dir:$store" "$mnt"
"$build/persifs" mount "dir:$store" "$mnt"
grep -F " $mnt " /proc/self/mountinfo | cut -d' ' -f5-

show "write 200 files and one of 32 MiB, read them back through the mount"
mkdir "$mnt/small"
i=0
while [ $i -lt 200 ]; do
	echo "file number $i" > "$mnt/small/$i"
	i=$((i + 1))
done
head -c 33554432 /dev/urandom > "$mnt/large"
ln -s large "$mnt/link"
(cd "$mnt" && find . -type f -exec sha256sum {} + | sort) > "$work/through-the-mount"
wc -l < "$work/through-the-mount" | xargs printf '%d files read\n'

show persifs-ctl stat "$mnt"
"$build/persifs-ctl" stat "$mnt"

show persifs umount "$mnt"
"$build/persifs" umount "$mnt"
if grep -qF " $mnt " /proc/self/mountinfo; then
	echo "demo: still mounted" >&2
	exit 1
fi

show "compare with the folder behind it, now without persifs"
(cd "$store" && find . -type f -exec sha256sum {} + | sort) > "$work/in-the-store"
cmp "$work/through-the-mount" "$work/in-the-store"
[ "$(readlink "$store/link")" = large ]
echo "identical: every byte that was written is in the store"
