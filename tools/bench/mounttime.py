#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long the volume driver takes from the call of Mount to a usable folder.

Three cases on an NFS server of this machine: the volume's daemon has to be started, it
runs (another name, the same options), it runs and another session is wanted (another
identity).  Each round: Create, Mount (timed, with a look into the folder), Unmount, by
HTTP over the unix socket.  Median, 95 % and worst, in milliseconds, beside the goals.
Needs root.  Not part of the tests.
"""
import argparse
import glob
import http.client
import json
import os
import socket
import statistics
import sys
import time

from compare import enter_namespace
from peers import Ganesha, Stage, wait_until

GOALS = {"daemon started": 150.0, "daemon runs": 20.0, "another session": 20.0}  # ms


class Driver(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)

    def call(self, route, **body):
        self.request("POST", "/VolumeDriver." + route, json.dumps(body))
        answer = json.loads(self.getresponse().read())
        if answer.get("Err"):
            sys.exit("%s %s: %s" % (route, body, answer["Err"]))
        return answer


def start_driver(stage):
    folder = stage.folder("driver")
    sock = os.path.join(folder, "s")
    config = os.path.join(folder, "driver.json")
    with open(config, "w", encoding="utf-8") as f:
        json.dump({"listen": ["unix:" + sock], "admin": "127.0.0.1:0",
                   "mount_root": os.path.join(folder, "volumes"), "budget": "1g"}, f)
    process = stage.start([stage.program("persifs-driver"), "--config", config],
                          os.path.join(folder, "log"), env=stage.env)
    wait_until(lambda: os.path.exists(sock), "the driver's socket", process)
    return Driver(sock)


def timed_mount(driver, name):
    """Milliseconds until the folder can be listed."""
    t0 = time.monotonic()
    point = driver.call("Mount", Name=name, ID="bench")["Mountpoint"]
    os.listdir(point)
    return (time.monotonic() - t0) * 1000


def away(driver, name):
    driver.call("Unmount", Name=name, ID="bench")
    driver.call("Remove", Name=name)


def one_round(driver, source, times, runtime):
    opts = {"source": source}
    driver.call("Create", Name="first", Opts=opts)
    times["daemon started"].append(timed_mount(driver, "first"))
    driver.call("Create", Name="second", Opts=opts)
    times["daemon runs"].append(timed_mount(driver, "second"))
    driver.call("Create", Name="third", Opts=dict(opts, uid="1000", gid="1000"))
    times["another session"].append(timed_mount(driver, "third"))
    for name in ("third", "second", "first"):
        away(driver, name)
    wait_until(lambda: not glob.glob(runtime + "/*.lock"), "the end of the daemon")


def main():
    p = argparse.ArgumentParser(description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--build", default="build/release", help="where the programs are")
    p.add_argument("--rounds", type=int, default=50)
    args = p.parse_args()
    enter_namespace()
    times = {case: [] for case in GOALS}
    with Stage(args.build) as stage:
        export = stage.tmpfs("export")
        os.chmod(export, 0o777)
        server = Ganesha(stage, export)
        driver = start_driver(stage)
        for _ in range(args.rounds):
            one_round(driver, server.uri, times, stage.env["PERSIFS_RUNTIME_DIR"])
    print("%-18s %8s %8s %8s %8s" % ("Mount, ms", "median", "95 %", "worst", "goal"))
    for case, all_of in times.items():
        print("%-18s %8.1f %8.1f %8.1f %8.0f" % (
            case, statistics.median(all_of), sorted(all_of)[int(len(all_of) * 0.95)],
            max(all_of), GOALS[case]))


if __name__ == "__main__":
    main()
