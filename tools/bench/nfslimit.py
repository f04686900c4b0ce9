#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How near an NFS mount comes to what its server and the backend alone can do.

Sweeps nfsraw (the NFS backend without FUSE and cache) over depths and numbers of
connections, then measures libnfs's nfs-cp and a mount with the best number of
connections on the same server, all in one run: MiB/s of a large file read cold and
written with fsync, and 4 KiB random cold reads at depth 16 by connections.
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

MIB = 1 << 20


def drop_caches():
    os.sync()
    with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
        f.write("3")


class Limit:
    def __init__(self, stage, args):
        self.stage, self.args = stage, args
        self.export = stage.tmpfs("export")
        self.server = Ganesha(stage, self.export)
        self.raw = {}                       # (mode, depth, nconnect): MiB/s or IOPS

    def uri(self, name=""):
        return self.server.uri.replace("?", "/" + name + "?") if name else self.server.uri

    def run_raw(self, mode, depth, nconnect):
        name = "raw-out" if mode == "write" else "big.dat"
        rows.prime(self.args.prime_mib)
        out = rows.run([self.stage.program("nfsraw"), "-d", str(depth), "-n", str(nconnect), "-s",
                        str(self.args.size_mib), "-t", str(self.args.runtime), self.server.uri,
                        name, mode], stdout=subprocess.PIPE, timeout=self.args.limit)
        got = json.loads(out)
        self.raw[mode, depth, nconnect] = got["iops" if mode == "rread" else "mib_s"]

    def sweep(self):
        for nconnect in self.args.nconnect:
            for depth in self.args.depth:
                for mode in "read", "write", "rread":
                    self.run_raw(mode, depth, nconnect)

    def best(self, mode):
        return max((v, k) for k, v in self.raw.items() if k[0] == mode)

    def nfs_cp(self):
        """MiB/s down and up; None where it is not installed."""
        if not shutil.which("nfs-cp"):
            return None, None
        local = os.path.join(self.stage.tmpfs("local"), "big")
        rates = []
        for cmd in (["nfs-cp", self.uri("big.dat"), local], ["nfs-cp", local, self.uri("cp-out")]):
            rows.prime(self.args.prime_mib)
            t0 = time.monotonic()
            rows.run(cmd)
            rates.append(self.args.size_mib / (time.monotonic() - t0))
        return rates

    def mount(self, nconnect):
        """MiB/s of a cold read and of a write with fsync."""
        place = Ours(self.stage, self.server.uri, "n%d" % nconnect, True,
                     "nconnect=%d,%s" % (nconnect, self.args.options))
        rates, block = [], os.urandom(MIB)
        rows.prime(self.args.prime_mib)
        place.mount()
        drop_caches()
        t0 = time.monotonic()
        with open(os.path.join(place.point, "big.dat"), "rb", buffering=0) as f:
            while f.read(MIB):
                pass
        rates.append(self.args.size_mib / (time.monotonic() - t0))
        t0 = time.monotonic()
        with open(os.path.join(place.point, "out"), "wb", buffering=0) as f:
            for _ in range(self.args.size_mib):
                f.write(block)
            os.fsync(f.fileno())
        rates.append(self.args.size_mib / (time.monotonic() - t0))
        place.umount()
        return rates

    def mount_random(self, nconnect):
        place = Ours(self.stage, self.server.uri, "r%d" % nconnect, True,
                     "nconnect=%d,%s" % (nconnect, self.args.options))
        place.mount()
        drop_caches()
        out = rows.run(["fio", "--name=j", "--filename=" + os.path.join(place.point, "big.dat"),
                        "--rw=randread", "--bs=4k", "--ioengine=psync", "--thread",
                        "--numjobs=16", "--group_reporting", "--invalidate=0",
                        "--size=%dm" % (self.args.size_mib // 16),
                        "--offset_increment=%dm" % (self.args.size_mib // 16),
                        "--runtime=%d" % self.args.runtime, "--random_generator=lfsr",
                        "--output-format=json"], stdout=subprocess.PIPE).decode()
        place.umount()
        return json.loads(out[out.index("{"):])["jobs"][0]["read"]["iops"]

    def make_file(self):
        block = os.urandom(MIB)
        with open(os.path.join(self.export, "big.dat"), "wb") as f:
            for _ in range(self.args.size_mib):
                f.write(block)


def numbers(text):
    return [int(n) for n in text.split(",")]


def show(limit, best_n, mounts, randoms, cp):
    print("%-6s %5s %9s  %9s" % ("raw", "depth", "nconnect", "rate"))
    for (mode, depth, nconnect), rate in sorted(limit.raw.items()):
        print("%-6s %5d %9d  %9.0f %s" % (mode, depth, nconnect, rate,
                                          "IOPS" if mode == "rread" else "MiB/s"))
    for i, mode in enumerate(("read", "write")):
        rate = limit.best(mode)[0]
        print("%-6s raw %.0f, mount (nconnect=%d) %.0f MiB/s: %.2f of it; nfs-cp %s" % (
            mode, rate, best_n, mounts[i], mounts[i] / rate,
            "not installed" if cp[i] is None else "%.0f: raw is %.2f of that" % (
                cp[i], rate / cp[i])))
    for nconnect, rate in randoms.items():
        print("random 4 KiB cold reads through the mount, 16 jobs, nconnect=%d: %.0f IOPS" % (
            nconnect, rate))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release", help="folder of the programs")
    parser.add_argument("--depth", type=numbers, default=[1, 4, 16, 64], metavar="N,...")
    parser.add_argument("--nconnect", type=numbers, default=[1, 2, 4], metavar="N,...")
    parser.add_argument("--size-mib", type=int, default=1024)
    parser.add_argument("--runtime", type=int, default=3, help="seconds of random reads")
    parser.add_argument("--prime-mib", type=int, default=3072)
    parser.add_argument("--limit", type=int, default=120, help="seconds a step may take")
    parser.add_argument("--options", default="cache_size=4g", help="mount options of persifs")
    args = parser.parse_args()
    if os.geteuid():
        sys.exit("nfslimit: needs root, for mounts")
    with Stage(args.build) as stage:
        limit = Limit(stage, args)
        limit.make_file()
        limit.sweep()
        best_n = limit.best("read")[1][2]
        show(limit, best_n, limit.mount(best_n),
             {n: limit.mount_random(n) for n in args.nconnect}, limit.nfs_cp())


if __name__ == "__main__":
    main()
