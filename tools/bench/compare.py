#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures persifs beside its peers, in interleaved pairs of passes.

  memory  persifs memory:          beside libfuse's passthrough_ll over tmpfs
  dir     persifs dir: over tmpfs  beside libfuse's passthrough_ll over tmpfs
  nfs     persifs nfs:// from a local nfs-ganesha  beside the bare folder it exports
  knfs    persifs nfs://           beside the kernel's NFS client, same server
  self    passthrough_ll beside itself: how far the machine alone moves the ratios

One ratio a pair of passes and row, above 1 when persifs is better; shown are
their geometric mean and its 95 % interval (Student's t on the logarithms).
memory: forgets its files when unmounted, so in that pair a cold point is sync
and drop_caches for both.  Needs root.  Not part of the tests.
"""
import argparse
import json
import os
import signal
import statistics
import sys
import time

import rows
from peers import Bare, Ganesha, KernelNfs, Ours, Passthrough, Stage
from ratios import interval


def pair_memory(stage, args):
    return (Ours(stage, "memory:", "memory", False, args.options),
            Passthrough(stage, stage.tmpfs("store"), "peer", False, args.peer_options))


def pair_dir(stage, args):
    return (Ours(stage, "dir:" + stage.tmpfs("store"), "dir", True, args.options),
            Passthrough(stage, stage.tmpfs("store2"), "peer", True, args.peer_options))


def pair_nfs(stage, args):
    server = Ganesha(stage, stage.tmpfs("export"))
    return Ours(stage, server.uri, "nfs", True, args.options), Bare(stage.tmpfs("bare"))


def pair_knfs(stage, args):
    server = Ganesha(stage, stage.tmpfs("export"))
    return Ours(stage, server.uri, "nfs", True, args.options), KernelNfs(stage, server, "knfs")


def pair_self(stage, args):
    return (Passthrough(stage, stage.tmpfs("store"), "one", False, args.peer_options),
            Passthrough(stage, stage.tmpfs("store2"), "two", False, args.peer_options))


PAIRS = {"memory": pair_memory, "dir": pair_dir, "nfs": pair_nfs, "knfs": pair_knfs,
         "self": pair_self}
WITH_GOALS = {"memory"}     # elsewhere the peer is a limit or a yardstick, not a rival


def say(text):
    print(text, file=sys.stderr, flush=True)


def one_pass(place, sources, params):
    """Mounts, runs the rows, unmounts; the other side is not mounted meanwhile."""
    place.mount()
    measured = rows.Pass(place, sources, params)
    measured.run(say)
    place.ensure()
    place.umount()
    return {"rows": measured.results, "peak_rss_kib": measured.peak_kib or None}


def ratio_of(row, ours, peer):
    """Above 1 when ours is better; None when a side failed or took no time at all."""
    a, b = ours.get(row.name, {}).get("value"), peer.get(row.name, {}).get("value")
    if not a or not b:
        return None
    return b / a if row.lower_is_better else a / b


def summarise(passes, goals):
    """One record a row over all pairs of passes."""
    table = {}
    for row in rows.ROWS:
        values = [[p["rows"].get(row.name, {}).get("value") for p in side] for side in passes]
        errors = [p["rows"][row.name]["error"] for side in passes for p in side
                  if "error" in p["rows"].get(row.name, {})]
        ratios = [ratio_of(row, a["rows"], b["rows"]) for a, b in zip(*passes)]
        ratios = [r for r in ratios if r]
        record = {"unit": row.unit, "small": row.small, "errors": errors}
        for name, seen in zip(("ours", "peer"), values):
            seen = [v for v in seen if v is not None]
            record[name] = statistics.median(seen) if seen else None
        if ratios:
            mean, low, high = interval(ratios)
            record.update(ratio=mean, low=low, high=high, pairs=len(ratios))
            if goals:
                record["goal"] = goals[row.small]
                record["reached"] = (high or mean) >= record["goal"]
        if ratios or errors:
            table[row.name] = record
    return table


def shown(value):
    return "-" if value is None else "%.4g" % value if abs(value) < 1e5 else "%.0f" % value


def print_table(pair, names, table):
    print("\n%s: %s beside %s" % (pair, *names))
    print("%-16s %-9s %10s %10s %8s  %-15s %6s" % (
        "row", "unit", "ours", "peer", "ratio", "95 % interval",
        "goal" if pair in WITH_GOALS else ""))
    for name, r in table.items():
        line = "%-16s %-9s %10s %10s" % (name, r["unit"], shown(r["ours"]), shown(r["peer"]))
        if "ratio" in r:
            span = "%.2f .. %.2f" % (r["low"], r["high"]) if r["low"] else "one pair"
            line += " %8.2f  %-15s" % (r["ratio"], span)
        if "goal" in r:
            line += " %6.2f%s" % (r["goal"], "" if r["reached"] else "  missed")
        if r["errors"]:
            line += "  ERROR " + r["errors"][0]
        print(line)
    sys.stdout.flush()


def run_pair(pair, args, params):
    with Stage(args.build) as stage:
        rows.make_sources(stage.sources, params.tree_files)
        sides = PAIRS[pair](stage, args)
        passes = ([], [])
        for rep in range(args.reps):
            for i in ((0, 1), (1, 0))[rep % 2]:      # who goes first alternates
                say("[%s %d/%d] %s" % (pair, rep + 1, args.reps, sides[i].name))
                passes[i].append(one_pass(sides[i], stage.sources, params))
        names = [s.name for s in sides]
    table = summarise(passes, (args.goal, args.goal_small) if pair in WITH_GOALS else None)
    print_table(pair, names, table)
    return {"ours": names[0], "peer": names[1], "table": table,
            "passes": {"ours": passes[0], "peer": passes[1]}}


def parse():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", default="memory,nfs", metavar="PAIR,...",
                        help="default %(default)s; known: " + ", ".join(PAIRS))
    parser.add_argument("--reps", type=int, default=3, help="pairs of passes, default %(default)s")
    parser.add_argument("--quick", action="store_true",
                        help="small sizes and one second a timed row: a look, not a measurement")
    parser.add_argument("--build", default="build/release", help="folder of the programs")
    parser.add_argument("--options", default="", help="mount options of persifs")
    parser.add_argument("--peer-options", default="default_permissions,xattr",
                        help="mount options of passthrough_ll; default %(default)s: what persifs has")
    parser.add_argument("--goal", type=float, default=1.0)
    parser.add_argument("--goal-small", type=float, default=1.5,
                        help="of rows made of small operations, default %(default)s")
    parser.add_argument("--out", default="", help="where the JSON goes")
    rows.add_arguments(parser)
    args = parser.parse_args()
    args.pairs = args.pairs.split(",")
    for pair in args.pairs:
        if pair not in PAIRS:
            parser.error("no such pair: " + pair)
    if args.reps < 1:
        parser.error("--reps wants at least 1")
    if os.geteuid():
        parser.error("mounting and dropping caches need root")
    return args


def params_of(args):
    params = rows.params_from(args)
    if args.quick:
        params.size_mib = min(params.size_mib, 256)
        params.files, params.tree_files = min(params.files, 2000), min(params.tree_files, 1500)
        params.runtime, params.dbench_time = min(params.runtime, 1), min(params.dbench_time, 2)
        params.prime_mib = min(params.prime_mib, 1024)
    return params


def enter_namespace():
    """Starts over in a mount namespace of its own: a copy of our mounts in somebody
    else's would keep them alive after umount, and ours all end with this process."""
    if os.environ.get("PERSIFS_BENCH_NS") != "1":
        os.environ["PERSIFS_BENCH_NS"] = "1"
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable]
                  + sys.argv)


def main():
    args = parse()
    enter_namespace()
    params = params_of(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))     # so that stages clean up
    out = {"when": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
           "kernel": os.uname().release, "cpus": os.cpu_count(),
           "params": {k: v for k, v in vars(params).items() if k not in ("only", "skip")},
           "pairs": {}}
    failed = False
    for pair in args.pairs:
        try:
            out["pairs"][pair] = run_pair(pair, args, params)
        except (RuntimeError, OSError) as e:
            say("%s: not measured: %s" % (pair, e))
            out["pairs"][pair] = {"error": str(e)}
            failed = True
        if args.out:
            with open(args.out, "w", encoding="utf-8") as f:
                json.dump(out, f, indent=1)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
