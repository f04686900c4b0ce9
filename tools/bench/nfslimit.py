#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How near an NFS mount comes to what its server and the backend alone can do.

Sweeps nfsraw (the NFS backend without FUSE and cache) over depths and numbers of
connections.  Then the best of each mode, a mount, and libnfs's nfs-cp take turns on
the same server: a large file read cold, written anew with fsync, and written over
with fsync.  Ratios are within one round, shown as geometric mean with 95 % interval;
beside them what the machine's CPU time would allow if no CPU were ever idle.  Last,
4 KiB random cold reads by 16 threads, over numbers of connections.

Without --link client and server share the machine's CPUs and memory, and nothing else limits
them: raw is then what the CPUs can copy. With it all goes through a loopback device of a network
namespace of its own that passes so much, as from a server with such a port.  With --flow each
connection has such a limit in what it receives, as behind bonded ports; for the random reads.
Needs root.  Not part of the tests.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import time

import rows
from peers import Ganesha, Ours, Stage
from ratios import ratio_text
from rows import MIB

MODES = ("read", "write", "rewrite")
FLOWS = 64


def shape(args):
    """Commands of tc: a limit for all, or one for each connection, by the client's port.

    Ports that the kernel chooses are even, and near each other: seven bits make 64 ways, of
    which two connections seldom share one."""
    if args.link:
        return ["qdisc add dev lo root tbf rate %s burst 1mb latency 20ms" % args.link]
    commands = ["qdisc add dev lo root handle 1: htb default 999"]
    commands.append("class add dev lo parent 1: classid 1:999 htb rate 100gbit burst 4mb quantum 60000")
    for way in range(FLOWS):
        commands.append("class add dev lo parent 1: classid 1:%d htb rate %s burst 128kb quantum 60000"
                        % (way + 1, args.flow))
        commands.append("filter add dev lo parent 1: protocol ip u32 match ip dport %d 0x%x "
                        "flowid 1:%d" % (way * 2, (FLOWS - 1) * 2, way + 1))
    return commands


def behind_link(args):
    """Starts this program anew in a network namespace whose loopback device has limits."""
    # Ganesha looks its address up, which fails where the only address is loopback's.
    prepare = ("ip link set lo up && ip link add other type veth peer name end && "
               "ip addr add 192.0.2.1/24 dev other && ip link set other up && "
               "ip link set end up && printf '%s\\n' \"$1\" | tc -batch - && shift && exec \"$@\"")
    os.execvp("unshare", ["unshare", "-n", "sh", "-c", prepare, "sh", "\n".join(shape(args)),
                          sys.executable, sys.argv[0], "--in-namespace"] + sys.argv[1:])


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("3")


def read_all(path):
    buf = bytearray(MIB)
    with open(path, "rb", buffering=0) as f:
        while f.readinto(buf):
            pass


def write_all(path, flags, mib, block):
    fd = os.open(path, os.O_WRONLY | flags, 0o644)
    try:
        for _ in range(mib):
            os.write(fd, block)
        os.fsync(fd)
    finally:
        os.close(fd)


class Limit:
    def __init__(self, stage, args):
        self.stage, self.args = stage, args
        self.export = stage.tmpfs("export")
        self.local = os.path.join(stage.tmpfs("local"), "big")
        self.server = Ganesha(stage, self.export)
        self.block = os.urandom(MIB)
        self.raw = {}                       # (mode, depth, nconnect): MiB/s or IOPS
        self.files = 0

    def uri(self, name):
        return self.server.uri.replace("?", "/" + name + "?")

    def timed(self, work):
        """(MiB/s, CPU seconds of the whole machine)."""
        rows.prime(self.args.prime_mib)
        cpu, t0 = rows.machine_cpu(), time.monotonic()
        work()
        return self.args.size_mib / (time.monotonic() - t0), rows.machine_cpu() - cpu

    # --- the backend alone ---

    def run_raw(self, mode, depth, nconnect, keep=False):
        name = "big.dat" if mode.endswith("read") else "raw-out"
        cmd = [self.stage.program("nfsraw"), "--depth", str(depth), "--nconnect", str(nconnect), "--size",
               "%dm" % self.args.size_mib, "--runtime", str(self.args.runtime)] + ["--keep"] * keep
        out = rows.run(cmd + [self.server.uri, name, mode], stdout=subprocess.PIPE,
                       timeout=self.args.limit)
        return json.loads(out)["iops" if mode == "rread" else "mib_s"]

    def sweep(self):
        for nconnect in self.args.nconnect:
            for depth in self.args.depth:
                for mode in MODES + ("rread",):
                    rows.prime(self.args.prime_mib)
                    self.raw[mode, depth, nconnect] = self.run_raw(mode, depth, nconnect)

    def best(self, mode):
        """Depth and connections of the fastest."""
        return max((v, k) for k, v in self.raw.items() if k[0] == mode)[1][1:]

    def raw_again(self, mode, keep=False):
        rate = []
        _, cpu = self.timed(lambda: rate.append(self.run_raw(mode, *self.best(mode), keep)))
        return rate[0], cpu

    def new_name(self):
        """Of a file that never was: servers remember what a name was."""
        last = os.path.join(self.export, "out%d" % self.files)
        if os.path.exists(last):
            os.truncate(last, 0)            # the server may keep it open
            os.unlink(last)
        self.files += 1
        return "out%d" % self.files

    # --- peers ---

    def nfs_cp(self, mode):
        """MiB/s of libnfs's copy program; None where it is not installed or does not fit."""
        if mode == "rewrite" or not shutil.which("nfs-cp"):
            return None
        if mode == "read":
            rows.remove(self.local)
            cmd = [self.uri("big.dat"), self.local]
        else:
            cmd = [self.local, self.uri(self.new_name())]
        return self.timed(lambda: rows.run(["nfs-cp"] + cmd))[0]

    def mounted(self, label, nconnect):
        place = Ours(self.stage, self.server.uri, label, True,
                     "nconnect=%d,%s" % (nconnect, self.args.options))
        place.mount()
        drop_caches()
        return place

    def mount(self, mode):
        place = self.mounted("m", self.best("read")[1])
        name = {"read": "big.dat", "write": self.new_name(), "rewrite": "raw-out"}[mode]
        path, mib = os.path.join(place.point, name), self.args.size_mib
        got = self.timed({
            "read": lambda: read_all(path),
            "write": lambda: write_all(path, os.O_CREAT | os.O_EXCL, mib, self.block),
            "rewrite": lambda: write_all(path, 0, mib, self.block)}[mode])
        place.umount()
        return got

    def mount_random(self, nconnect):
        place = self.mounted("r", nconnect)
        rows.prime(self.args.prime_mib)
        share = self.args.size_mib // 16
        out = rows.run(["fio", "--name=j", "--filename=" + os.path.join(place.point, "big.dat"),
                        "--rw=randread", "--bs=4k", "--ioengine=psync", "--thread",
                        "--numjobs=16", "--group_reporting", "--invalidate=0",
                        "--size=%dm" % share, "--offset_increment=%dm" % share,
                        "--runtime=%d" % self.args.runtime, "--random_generator=lfsr",
                        "--output-format=json"], stdout=subprocess.PIPE).decode()
        place.umount()
        return json.loads(out[out.index("{"):])["jobs"][0]["read"]["iops"]

    def make_file(self):
        rows.prime(self.args.prime_mib)
        write_all(os.path.join(self.export, "big.dat"), os.O_CREAT, self.args.size_mib, self.block)


def show_sweep(limit):
    print("%-8s %5s %9s  %9s" % ("raw", "depth", "nconnect", "rate"))
    for (mode, depth, nconnect), rate in sorted(limit.raw.items()):
        print("%-8s %5d %9d  %9.0f %s" % (mode, depth, nconnect, rate,
                                          "IOPS" if mode == "rread" else "MiB/s"))


def show_mode(limit, mode, reps):
    raw, mount, cp, kept = [], [], [], []
    for _ in range(reps):
        raw.append(limit.raw_again(mode))
        mount.append(limit.mount(mode))
        cp.append(limit.nfs_cp(mode))
        if mode == "read":
            kept.append(limit.raw_again(mode, True)[0])
    rates = [r for r, _ in raw]
    print("%s: raw %.0f, mount %.0f MiB/s: %s of raw; CPU seconds %.2f and %.2f: "
          "the mount can reach %.2f" % (
              mode, max(rates), max(r for r, _ in mount),
              ratio_text(zip([r for r, _ in mount], rates)), min(c for _, c in raw),
              min(c for _, c in mount), limit.args.size_mib / max(rates) /
              (min(c for _, c in mount) / os.cpu_count())))
    if kept:
        print("%s: raw into fresh memory %.0f MiB/s: the mount is %s of it" % (
            mode, max(kept), ratio_text(zip([r for r, _ in mount], kept))))
    if None not in cp:
        print("%s: nfs-cp %.0f MiB/s: raw is %s of it" % (mode, max(cp), ratio_text(zip(rates, cp))))


def show_random(limit, reps):
    base = None
    for nconnect in limit.args.nconnect:
        rates = [limit.mount_random(nconnect) for _ in range(reps)]
        base = base or rates
        print("random 4 KiB cold reads through the mount, 16 threads, nconnect=%d: %.0f IOPS, "
              "%s of nconnect=%d" % (nconnect, max(rates), ratio_text(zip(rates, base)),
                                     limit.args.nconnect[0]))


def numbers(text):
    return [int(n) for n in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release", help="folder of the programs")
    parser.add_argument("--depth", type=numbers, default=[1, 4, 16, 64], metavar="N,...")
    parser.add_argument("--nconnect", type=numbers, default=[1, 2, 4], metavar="N,...")
    parser.add_argument("--reps", type=int, default=5, help="rounds behind each ratio")
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--runtime", type=int, default=3, help="seconds of random reads")
    parser.add_argument("--prime-mib", type=int, default=5000,
                        help="memory touched before each step: more than it will fill")
    parser.add_argument("--limit", type=int, default=120, help="seconds a step may take")
    parser.add_argument("--link", metavar="RATE", help="limit to a network's, as tc says it: 10gbit")
    parser.add_argument("--flow", metavar="RATE", help="limit of each connection: 400mbit")
    parser.add_argument("--parts", type=lambda s: s.split(","), default=["files", "random"],
                        metavar="PART,...", help="files, random")
    parser.add_argument("--in-namespace", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--options", default="cache_size=4g", help="mount options of persifs")
    args = parser.parse_args()
    if os.geteuid():
        sys.exit("nfslimit: needs root, for mounts")
    if args.link and args.flow:
        parser.error("one of --link and --flow is enough")
    if (args.link or args.flow) and not args.in_namespace:
        behind_link(args)
    with Stage(args.build) as stage:
        limit = Limit(stage, args)
        limit.make_file()
        if "files" in args.parts:
            limit.sweep()
            show_sweep(limit)
            for mode in MODES:
                show_mode(limit, mode, args.reps)
        if "random" in args.parts:
            show_random(limit, args.reps)


if __name__ == "__main__":
    main()
