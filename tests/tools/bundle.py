#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bundle.py - makes an OCI bundle, as crun and runc run it, around a static busybox

    bundle.py DIR [--uid N] [--bind SRC:DST[:OPTION,...]]... [--shift FIRST] -- COMMAND...

DIR/rootfs is read-only inside; --bind adds a folder with the options of mount(8) (ro,
rprivate, rslave). --shift gives the container a user namespace whose ids begin at FIRST
of the host. The parents of a DST are made in the root folder.
"""
import argparse
import json
import os
import shutil

IDS = 65536  # ids of a user namespace
CAPABILITIES = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FOWNER", "CAP_FSETID", "CAP_KILL",
                "CAP_MKNOD", "CAP_SETGID", "CAP_SETUID"]
LINKS = ["sh", "cat", "chmod", "chown", "cp", "dd", "echo", "env", "id", "ln", "ls", "mkdir", "mknod", "mount",
         "grep", "mv", "printf", "rm", "sleep", "stat", "sync", "tail", "test", "touch", "true", "wc"]


def make_root(root, binds):
    for folder in ["bin", "dev", "proc", "sys", "tmp", "var/vcap/data", "etc"]:
        os.makedirs(os.path.join(root, folder), exist_ok=True)
    if not os.path.exists(root + "/bin/busybox"):
        shutil.copy("/bin/busybox", root + "/bin/busybox")
        for name in LINKS:
            os.symlink("busybox", root + "/bin/" + name)
        with open(root + "/etc/passwd", "w", encoding="ascii") as passwd:
            passwd.write("root:x:0:0::/:/bin/sh\nvcap:x:2000:2000::/:/bin/sh\n")
    for bind in binds:
        os.makedirs(root + bind.split(":")[1], exist_ok=True)


def mounts_of(binds):
    out = [{"destination": "/proc", "type": "proc", "source": "proc"},
           {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
            "options": ["nosuid", "mode=755", "size=64k"]}]
    for bind in binds:
        source, target, options = (bind + ":").split(":")[:3]
        out.append({"destination": target, "type": "bind", "source": source,
                    "options": ["rbind"] + [o for o in options.split(",") if o]})
    return out


def config(args):
    namespaces = [{"type": t} for t in ["pid", "ipc", "uts", "mount", "network"]]
    linux = {"namespaces": namespaces, "resources": {"devices": [{"allow": True, "access": "rwm"}]}}
    if args.shift:
        namespaces.append({"type": "user"})
        mapping = [{"containerID": 0, "hostID": args.shift, "size": IDS}]
        linux.update(uidMappings=mapping, gidMappings=mapping)
    # As Docker does: without it crun cuts the root off from the host before it binds.
    if any("slave" in bind for bind in args.bind):
        linux["rootfsPropagation"] = "rslave"
    # No noNewPrivileges: that set-id bits have no effect must be the mount's doing.
    process = {"terminal": False, "user": {"uid": args.uid, "gid": args.uid}, "cwd": "/",
               "args": args.command, "env": ["PATH=/bin"], "noNewPrivileges": False,
               "capabilities": {k: CAPABILITIES for k in ["bounding", "effective", "permitted"]}}
    return {"ociVersion": "1.0.0", "process": process, "root": {"path": "rootfs", "readonly": True},
            "hostname": "container", "mounts": mounts_of(args.bind), "linux": linux}


def main():
    parser = argparse.ArgumentParser(description="makes an OCI bundle around busybox")
    parser.add_argument("dir")
    parser.add_argument("--uid", type=int, default=0)
    parser.add_argument("--bind", action="append", default=[])
    parser.add_argument("--shift", type=int, default=0)
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    make_root(args.dir + "/rootfs", args.bind)
    with open(args.dir + "/config.json", "w", encoding="utf-8") as out:
        json.dump(config(args), out, indent=1)


main()
