#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How near the transports of block devices come to fio, and commits to the kernel's.

  file   devbench on an image file, by the ring and by threads, beside fio's io_uring engine
  nbd    devbench beside fio's nbd engine, each on the same nbdkit memory device
  jrn    jrnbench on an ext4 image, beside threads that call fchmod() and fsync() on files of one
         that the kernel mounted from a loop device, with direct I/O, on the same disk

All sides of a row take turns, in an order that changes from round to round; a ratio is of one
round, and shown is their geometric mean with its 95 % interval.  Above 1 ours is quicker.
Needs root.  Not part of the tests; works in --folder, on a disk that does O_DIRECT.
"""
import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import rows
from peers import Stage, detach, wait_until
from ratios import ratio_text
from rows import MIB

NBD_MIB = 256
JRN_MIB = 512
JRN_FILES = 8


class Skip(Exception):
    """Something that a row needs is not here."""


# --- one side of a row: a function that returns a rate -----------------------

def devbench(stage, args, uri, rw, bs, depth):
    def measure():
        cmd = [stage.program("devbench"), "--device", uri, "--rw", rw, "--bs", str(bs), "--depth",
               str(depth), "--runtime", str(args.runtime), "--json"]
        return json.loads(rows.run(cmd, stdout=subprocess.PIPE, timeout=args.limit))["iops"]
    return measure


def fio(args, engine, rw, bs, depth):
    """engine: fio's own arguments, of the engine and of what it works on."""
    def measure():
        cmd = ["fio", "--name=j"] + engine + [
            "--rw=" + rw, "--bs=%d" % bs, "--iodepth=%d" % depth, "--norandommap=1", "--randrepeat=0",
            "--time_based", "--runtime=%d" % args.runtime, "--output-format=json"]
        out = rows.run(cmd, stdout=subprocess.PIPE, timeout=args.limit).decode()
        job = json.loads(out[out.index("{"):])["jobs"][0]
        return job["read"]["iops"] + job["write"]["iops"]
    return measure


def take_turns(sides, reps):
    """A list of rates a side; each round begins with another side."""
    rates = {name: [] for name in sides}
    for i in range(reps):
        names = list(sides)
        for name in names[i % len(names):] + names[:i % len(names)]:
            rates[name].append(sides[name]())
    return rates


def show(label, rates, peer, goals):
    """True when the mean of no side is below its goal."""
    for name, seen in rates.items():
        if name == peer:
            continue
        text = ratio_text(zip(seen, rates[peer]))
        met = float(text.split()[0]) >= goals[name]
        print("%-22s %-8s %9.0f  %-8s %9.0f  %-20s goal %.2f%s" % (
            label, name, statistics.median(seen), peer, statistics.median(rates[peer]), text,
            goals[name], "" if met else ", missed"), flush=True)
        yield met


# --- files -------------------------------------------------------------------

POINTS = [("randread", 4096, 1), ("randread", 4096, 16), ("randread", 4096, 64),
          ("randwrite", 4096, 1), ("randwrite", 4096, 16), ("randwrite", 4096, 64),
          ("read", MIB, 8), ("write", MIB, 8)]


def make_image(path, mib):
    """Wholly written: blocks that were never written cost more."""
    block = os.urandom(MIB)
    with open(path, "wb") as f:
        for _ in range(mib):
            f.write(block)
        f.flush()
        os.fsync(f.fileno())


def file_rows(stage, args):
    image = os.path.join(args.work, "image")
    make_image(image, args.size_mib)
    engine = ["--ioengine=io_uring", "--direct=1", "--filename=" + image]
    for rw, bs, depth in POINTS:
        sides = {"uring": devbench(stage, args, "file:%s?engine=uring" % image, rw, bs, depth),
                 "threads": devbench(stage, args, "file:%s?engine=threads" % image, rw, bs, depth),
                 "fio": fio(args, engine, rw, bs, depth)}
        yield from show("%s %dk x%d" % (rw, bs >> 10, depth), take_turns(sides, args.reps), "fio",
                        {"uring": 0.95, "threads": 0.7})
    os.unlink(image)


# --- nbd ---------------------------------------------------------------------

def nbd_rows(stage, args):
    if not shutil.which("nbdkit"):
        raise Skip("nbdkit is not installed")
    if "nbd" not in rows.run(["fio", "--enghelp"], stdout=subprocess.PIPE).decode().split():
        raise Skip("this fio has no nbd engine")
    sock = os.path.join(stage.folder("nbd"), "sock")
    server = stage.start(["nbdkit", "-f", "-U", sock, "memory", "%dM" % NBD_MIB], "nbdkit.log")
    wait_until(lambda: os.path.exists(sock), "nbdkit", server)
    uri = "nbd+unix:///?socket=" + sock
    engine = ["--ioengine=nbd", "--uri=" + uri, "--size=%dm" % NBD_MIB]
    for rw, bs, depth in POINTS:
        sides = {"nbd": devbench(stage, args, uri, rw, bs, depth),
                 "fio": fio(args, engine, rw, bs, depth)}
        yield from show("nbd %s %dk x%d" % (rw, bs >> 10, depth), take_turns(sides, args.reps),
                        "fio", {"nbd": 0.9})


# --- commits -----------------------------------------------------------------

def mke2fs(path):
    with open(path, "wb") as f:
        f.truncate(JRN_MIB * MIB)
    rows.run(["mke2fs", "-q", "-F", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0",
              path])


def jrnbench(stage, args, image, threads):
    """Waits of threads for their commits a second; one commit serves many."""
    def measure():
        cmd = [stage.program("jrnbench"), "--device", "file:" + image, "--threads", str(threads),
               "--runtime", str(args.runtime), "--json"]
        return json.loads(rows.run(cmd, stdout=subprocess.PIPE, timeout=args.limit))["fsyncs_s"]
    return measure


def fsync_storm(folder, threads, runtime):
    """Calls of fsync() a second, each after a change of the file's mode."""
    def one(i, done):
        fd = os.open(os.path.join(folder, "f%d" % i), os.O_RDWR | os.O_CREAT, 0o644)
        while time.monotonic() < end:
            os.fchmod(fd, 0o600 if done[i] % 2 else 0o644)
            os.fsync(fd)
            done[i] += 1
        os.close(fd)

    counts = [0] * threads
    start = time.monotonic()
    end = start + runtime
    workers = [threading.Thread(target=one, args=(i, counts)) for i in range(threads)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    return sum(counts) / (time.monotonic() - start)


def loop_mounted(stage, image):
    device = rows.run(["losetup", "--direct-io=on", "--show", "-f", image],
                      stdout=subprocess.PIPE).decode().strip()
    stage.callback(subprocess.run, ["losetup", "-d", device], check=False)
    point = stage.folder("kernel")
    stage.callback(detach, point)
    rows.run(["mount", "-t", "ext4", device, point])
    return point


def jrn_rows(stage, args):
    ours, theirs = (os.path.join(args.work, name) for name in ("jrn-ours", "jrn-kernel"))
    stage.program("jrnbench")
    mke2fs(ours)
    mke2fs(theirs)
    point = loop_mounted(stage, theirs)
    for threads in (1, JRN_FILES):
        sides = {"jrn": jrnbench(stage, args, ours, threads),
                 "kernel": lambda n=threads: fsync_storm(point, n, args.runtime)}
        yield from show("fsync by %d threads" % threads, take_turns(sides, args.reps), "kernel",
                        {"jrn": 1.0})


PARTS = {"file": file_rows, "nbd": nbd_rows, "jrn": jrn_rows}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", default="build/release", help="folder of the programs")
    parser.add_argument("--parts", type=lambda s: s.split(","), default=list(PARTS), metavar="PART,...")
    parser.add_argument("--folder", default="/var/tmp", help="on the disk to be measured")
    parser.add_argument("--reps", type=int, default=5, help="rounds behind each ratio")
    parser.add_argument("--size-mib", type=int, default=1024, help="of the image file")
    parser.add_argument("--runtime", type=int, default=3, help="seconds of each measurement")
    parser.add_argument("--limit", type=int, default=120, help="seconds a step may take")
    args = parser.parse_args()
    unknown = [p for p in args.parts if p not in PARTS]
    if unknown:
        parser.error("there is no part %s; there are %s" % (unknown[0], ", ".join(PARTS)))
    if os.geteuid():
        sys.exit("blocklimit: needs root, for mounts")
    missed = 0
    with Stage(args.build) as stage:
        args.work = tempfile.mkdtemp(prefix="persifs-block-", dir=args.folder)
        stage.callback(shutil.rmtree, args.work, ignore_errors=True)
        for name in args.parts:
            try:
                missed += sum(not met for met in PARTS[name](stage, args))
            except Skip as why:
                print("%s: skipped: %s" % (name, why))
            except RuntimeError as error:
                print("%s: failed: %s" % (name, error))
                missed += 1
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
