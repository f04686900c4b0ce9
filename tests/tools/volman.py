#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""volman.py - a client of volume drivers that behaves as Volman in a Diego cell's rep does

    volman.py --paths DIR[:DIR...] --driver NAME --source URI --backing DIR --root DIR [--only NAME]
              [--mount-limit SECONDS] [--names]
    volman.py --paths DIR[:DIR...] --driver NAME --purge       what the rep does at its start
    volman.py --paths DIR[:DIR...] --driver NAME --call ROUTE [JSON]

It finds drivers by their files, activates them, keeps connections, sends no Content-Type, and no body for
calls without argument. A container's volumes are created and mounted one after the other, named
VOLUMEID_CONTAINERGUID; its destruction unmounts all of them once, mounted or not, sometimes twice.
"""
import argparse
import glob
import json
import os
import re
import secrets
import socket
import subprocess
import sys
import threading
import time
import uuid

from voldriver import (APP, CHECKS, PROMPT_SECONDS, Bench, Driver, Failed, add_arguments, as_app, check, expect, in_parallel,
                       mounts, read, run_checks, safe_description, tls_context, wait_until, write)

UNMOUNT_SECONDS = 5     # section 11.7: a mount has left the table


# ---- section 4: discovery ---------------------------------------------------

def address_of(text):
    if text.startswith(("http://", "https://")):
        return text
    return "http://" + text.removeprefix("tcp://")


def spec_of(path):
    """The content of a discovery file, in the form of a .json."""
    with open(path, encoding="utf-8") as file:
        return json.load(file) if path.endswith(".json") else {"Addr": file.readline().strip()}


def discover(paths):
    """Name -> (file, content): .json before .spec, earlier directories first; no dot in a name."""
    found = {}
    for folder in paths.split(":"):
        for kind in ("json", "spec"):
            for path in sorted(glob.glob(f"{folder}/*.{kind}")):
                name = os.path.basename(path).removesuffix("." + kind)
                if "." not in name and name not in found:
                    found[name] = (path, spec_of(path))
    return found


def client_of(spec):
    address = address_of(spec["Addr"])
    tls = None
    if address.startswith("https:"):
        config = spec["TLSConfig"]
        tls = tls_context(config["CAFile"], config["CertFile"], config["KeyFile"])
    return Driver(address, tls, {"User-Agent": "Go-http-client/1.1"})


class Volman:
    def __init__(self, paths, name):
        self.paths, self.name = paths, name
        self.client, self.spec = None, None

    def discover(self):
        """A round: every driver is activated; whoever fails is not known until the next one."""
        found = discover(self.paths).get(self.name)
        self.client = None
        expect(found, f"no discovery file of {self.name} in {self.paths}")
        self.spec = found[1]
        client = client_of(self.spec)
        for _ in range(2):
            expect("VolumeDriver" in client.ok("Plugin.Activate")["Implements"], "Activate without VolumeDriver")
        self.client = client
        return client

    def purge(self):
        """One Unmount for each listed volume, whatever its count; errors are logged only."""
        volumes = self.client.ok("List")["Volumes"]
        for volume in volumes:
            answer = self.client.call("Unmount", {"Name": volume["Name"]})
            if answer.get("Err"):
                print("purge:", volume["Name"], answer["Err"])
        return volumes

    def volume_id(self, volume, container):
        if not self.spec.get("UniqueVolumeIds"):
            return volume
        return volume.replace("_", "=") + "_" + container.replace("_", "=")


class Container:
    """`mounts_wanted` is a list of (volume id, mount_config)."""

    def __init__(self, volman, mounts_wanted):
        self.volman, self.wanted = volman, mounts_wanted
        self.guid = str(uuid.uuid4()) + "-0001"
        self.names = [volman.volume_id(v, self.guid) for v, _ in mounts_wanted]
        self.where = []

    def create(self):
        """The first error ends it."""
        for name, (_, config) in zip(self.names, self.wanted):
            self.volman.client.ok("Create", {"Name": name, "Opts": config})
            self.where.append(self.volman.client.ok("Mount", {"Name": name})["Mountpoint"])
        return self

    def destroy(self):
        for name in self.names:
            self.volman.client.call("Unmount", {"Name": name})


class VolmanBench(Bench):
    def __init__(self, args, volman):
        super().__init__(args, volman.discover())
        self.volman = volman
        self.paths = args.paths
        self.mount_limit = args.mount_limit
        self.source_host = re.sub(r"^\w+://([^/:?]*).*", r"\1", args.source) if "//" in args.source else None

    def container(self, *configs, volume=None):
        wanted = [(volume or f"{uuid.uuid4()}-{i}", c) for i, c in enumerate(configs)]
        container = Container(self.volman, wanted)
        self.names.update(container.names)
        return container

    def refused(self, *words, **opts):
        """The SafeDescription of a Mount that has to fail, which holds these words."""
        name = self.name()
        answer = self.driver.call("Create", {"Name": name, "Opts": self.opts(**opts)})
        expect(not answer.get("Err"), f"R5: Create refuses {opts}, and nobody will be told: {answer}")
        text = safe_description(self.driver.err("Mount", {"Name": name}))
        expect(text, f"R5: no SafeDescription for {opts}")
        for word in words:
            expect(word in text, f"'{word}' is not in '{text}'")
        expect(not self.source_host or self.source_host not in text, f"R5: an address in '{text}'")
        expect(self.is_gone(name), f"R12: a refused Mount leaves something of {name}")
        self.driver.err("Unmount", {"Name": name})
        return text


# ---- section 4: finding the driver ------------------------------------------

@check("R6, section 4: discovery files")
def the_discovery_file_is_for_everybody(bench):
    path, spec = discover(bench.paths)[bench.volman.name]
    expect(path.endswith(".json"), f"{path} is no .json")
    expect(os.stat(path).st_mode & 0o444 == 0o444, "the file is not readable for the rep's user")
    expect(os.stat(os.path.dirname(path)).st_mode & 0o555 == 0o555, "the folder is not passable")
    expect(address_of(spec["Addr"]).startswith(("http://", "https://")), f"R1: an address for nobody: {spec['Addr']}")
    expect(not [n for n in os.listdir(os.path.dirname(path)) if n.startswith(".") or n.endswith("tmp")],
           "a temporary file is left")


@check("R9, section 6: UniqueVolumeIds")
def unique_ids_are_asked_for(bench):
    expect(bench.volman.spec.get("UniqueVolumeIds") is True, f"UniqueVolumeIds is {bench.volman.spec}")


@check("R8, section 6: discovery every 30 s, several times a round")
def rounds_of_discovery_are_answered_at_once(bench):
    for _ in range(10):
        start = time.monotonic()
        bench.volman.discover()
        expect(time.monotonic() - start < PROMPT_SECONDS, "a round takes longer than it may")


# ---- section 6: containers --------------------------------------------------

@check("section 6: container creation and destruction; section 11.2 to 11.4")
def a_container_with_two_volumes(bench):
    for i in range(2):      # the platform stops and starts the same app again and again
        container = bench.container(bench.opts(), bench.opts(readonly=True)).create()
        first, second = container.where
        expect(first.startswith(bench.root + "/") and os.path.isdir(first), f"section 8: {first}")
        path = f"{first}/note{i}"
        write(path, "text")
        expect(read(path) == "text", "what was written reads back otherwise")
        expect(read(f"{second}/note{i}") == "text", "R10: the read-only volume of the same source is behind")
        os.unlink(path)
        container.destroy()
        expect(all(bench.is_gone(n) for n in container.names), "section 11.4: the path is not gone")


@check("R9: surplus Unmounts harm nobody")
def surplus_unmounts_of_a_container(bench):
    volume = str(uuid.uuid4())
    stays = bench.container(bench.opts(), volume=volume).create()
    broken = bench.container(bench.opts(), {"source": "nfs://127.0.0.1/no?nfsport=9&mountport=9"}, bench.opts())
    try:
        broken.create()
    except Failed:
        pass
    else:
        expect(False, "a container without its server starts")
    twin = bench.container(bench.opts(), volume=volume).create()
    for container in (broken, broken, twin, twin):      # a destruction that is repeated, and of what never was
        container.destroy()
    expect(stays.where[0] in mounts(), "the destruction of one container unmounts another's volume")
    write(stays.where[0] + "/stays", "here")
    expect(all(bench.is_gone(n) for n in broken.names + twin.names), "destroyed, and still mounted")
    stays.destroy()


@check("R10: one source, one file system and one cache, whatever names and options")
def bindings_of_one_source_share_it(bench):
    plain = bench.container(bench.opts()).create().where[0]
    read_only = bench.container(bench.opts(ro="true")).create().where[0]
    mapped = bench.container(bench.opts(uid=1500, gid=1500)).create().where[0]
    below = bench.container({"source": bench.subfolder("sub")}).create().where[0]
    workers = {bench.stat(where, "worker_pid") for where in (plain, read_only, mapped)}
    expect(len(workers) == 1, f"daemons {workers} for one source")
    if bench.source.startswith("nfs:"):     # a folder of this machine is a volume for itself
        expect(bench.stat(below, "worker_pid") in workers, "a subfolder of an export has a daemon of its own")
    for i in range(20):
        write(plain + "/shared", f"round {i}")
        expect(read(read_only + "/shared") == f"round {i}", "read-only reads old data")
        expect(read(mapped + "/shared") == f"round {i}", "another mapping reads old data at its next open")
        write(below + "/deep", f"round {i}")
        expect(read(read_only + "/sub/deep") == f"round {i}", "a subfolder's file is old above it")
    as_app("/bin/sh", "-c", f"echo mapped >{mapped}/mapped")
    expect(read(plain + "/mapped") == "mapped\n", "what the mapped one closed is not read")
    expect(os.stat(plain + "/mapped").st_uid == 1500 and os.stat(mapped + "/mapped").st_uid == APP, "owners")
    try:
        write(read_only + "/new", "x")
    except OSError as err:
        expect(err.strerror == "Read-only file system", err.strerror)
    else:
        expect(False, "a readonly volume is writable")


@check("R11: without ID, forgotten at the last Unmount")
def forgotten_at_the_last_unmount(bench):
    name = bench.create()
    bench.mount(name)
    bench.unmount(name)
    expect(name not in bench.listed(), "still listed")
    bench.driver.err("Get", {"Name": name})
    bench.driver.err("Mount", {"Name": name})


def silent_server():
    """A server that accepts, and never says a word; its source."""
    server = socket.socket()
    server.bind(("127.0.0.1", 0))
    server.listen(16)
    port = server.getsockname()[1]
    return server, f"nfs://127.0.0.1/silent?nfsport={port}&mountport={port}"


@check("R12: a Mount nobody waits for; R8: a server that is silent")
def a_client_hangs_up_during_mount(bench):
    server, source = silent_server()
    name, other = bench.name(), bench.create()
    bench.driver.ok("Create", {"Name": name, "Opts": {"source": source}})
    impatient = client_of(bench.volman.spec).connect()
    impatient.timeout = 0.5
    try:
        impatient.request("POST", "/VolumeDriver.Mount", json.dumps({"Name": name}).encode())
        impatient.getresponse()
        expect(False, "the Mount of a silent server is answered at once")
    except TimeoutError:
        pass
    for route, body in (("Plugin.Activate", None), ("Capabilities", None), ("List", None), ("Get", {"Name": name}),
                        ("Path", {"Name": name})):
        start = time.monotonic()
        bench.driver.call(route, body)
        expect(time.monotonic() - start < PROMPT_SECONDS, f"R8: {route} waits for a Mount that hangs")
    bench.mount(other)      # different names run in parallel
    impatient.close()
    limit = bench.mount_limit + 5
    expect(wait_until(limit, lambda: bench.is_gone(name) and not mount_count(bench, name)),
           f"an abandoned Mount leaves something after {limit} s")
    server.close()


def mount_count(bench, name):
    return bench.listed().get(name, {"MountCount": 0})["MountCount"]


@check("section 7: Mount fails within its limit, with words for the developer")
def a_silent_server_fails_within_the_limit(bench):
    server, source = silent_server()
    start = time.monotonic()
    bench.refused(source=source)
    took = time.monotonic() - start
    expect(took < bench.mount_limit + 5, f"{took:.1f} s; the limit is {bench.mount_limit} s")
    server.close()


@check("section 6: List, then one Unmount for each volume")
def purge_at_the_start_of_the_rep(bench):
    names = [bench.create() for _ in range(3)]
    for name in names:
        bench.mount(name)
    listed = {v["Name"] for v in bench.volman.purge()}
    expect(set(names) <= listed, "List does not tell all")
    expect(all(bench.is_gone(n) for n in names), "orphans are left")


# ---- section 7: each row ----------------------------------------------------

@check("section 7 Create")
def create_records_and_mounts_nothing(bench):
    name = bench.create()
    expect(bench.is_gone(name) and name in bench.listed(), "new name")
    bench.create(name, readonly=True)                    # known name: new Opts replace the old
    where = bench.mount(name)
    expect("ro" in mounts()[where], "the new Opts do not count")
    bench.create(name, readonly=False)                   # known and mounted: undisturbed
    expect(where in mounts() and bench.count(name) == 1, "Create disturbs a mount")
    bench.driver.err("Create", {"Opts": bench.opts()})   # no Name
    for body in ({"Opts": {}}, {}):                      # no usable source: R5 leaves it to Mount
        name = bench.name()
        if not bench.driver.call("Create", dict(body, Name=name)).get("Err"):
            expect("source" in (safe_description(bench.driver.err("Mount", {"Name": name})) or ""), "Mount without source")


@check("section 7 Mount")
def mount_counts_and_looks(bench):
    name = bench.create()
    where = bench.mount(name)
    expect(bench.count(name) == 1, "first")
    expect(bench.mount(name) == where and bench.count(name) == 2, "again")
    subprocess.run(["umount", "-i", "-l", where], check=True)   # no live mount any more
    expect(bench.mount(name) == where and bench.count(name) == 3, "again, without a live mount")
    write(where + "/anew", "x")
    for _ in range(3):
        bench.unmount(name)
    expect(bench.is_gone(name), "mounted after the last Unmount")
    bench.driver.err("Mount", {"Name": bench.name()})


@check("section 7 Unmount")
def unmount_counts_and_forgets(bench):
    name = bench.create()
    where = bench.mount(name)
    bench.mount(name)
    bench.unmount(name)
    expect(where in mounts() and bench.count(name) == 1, "count above 1")
    bench.unmount(name)
    expect(bench.is_gone(name), "last one")
    bench.driver.err("Unmount", {"Name": name})
    for never in (bench.name(), bench.create()):
        expect("does not exist" in bench.driver.err("Unmount", {"Name": never}), "section 11.5: the suite's wording")


@check("section 7 Unmount: mount vanished")
def a_vanished_mount_is_an_error_and_goes_down(bench):
    name = bench.create()
    where = bench.mount(name)
    subprocess.run(["umount", "-i", "-l", where], check=True)
    err = bench.driver.err("Unmount", {"Name": name})
    expect("does not exist" in err, f"Err is '{err}'")
    expect(mount_count(bench, name) == 0 and bench.is_gone(name), "the count stays up")


@check("section 7 Remove, Path, Get, List")
def the_other_rows(bench):
    unknown = bench.name()
    bench.driver.ok("Remove", {"Name": unknown})
    for route in ("Path", "Get"):
        bench.driver.err(route, {"Name": unknown})
    name = bench.create()
    bench.driver.err("Path", {"Name": name})
    where = bench.mount(name)
    expect(bench.driver.ok("Path", {"Name": name})["Mountpoint"] == where, "Path")
    expect(bench.driver.ok("Get", {"Name": name})["Volume"]["Mountpoint"] == where, "Get")
    expect(bench.listed()[name] == {"Name": name, "Mountpoint": where, "MountCount": 1} or
           bench.listed()[name]["MountCount"] == 1, "List")
    bench.driver.ok("Remove", {"Name": name})
    expect(bench.is_gone(name) and name not in bench.listed(), "Remove mounted")


@check("section 7: six simultaneous Mounts of one name")
def six_mounts_at_once_are_one(bench):
    name = bench.create()
    expect(len(set(in_parallel(6, lambda _: bench.mount(name)))) == 1, "several mountpoints")
    expect(bench.count(name) == 6, f"count {bench.count(name)}")
    for _ in range(6):
        bench.unmount(name)
    expect(bench.is_gone(name), "left")


@check("R13, section 11.7: lazy unmount")
def unmount_is_lazy_and_loses_nothing(bench):
    name = bench.create()
    where = bench.mount(name)
    with open(where + "/lazy", "wb", buffering=0) as held:
        held.write(b"a" * (8 << 20))
        bench.unmount(name)
        expect(wait_until(UNMOUNT_SECONDS, lambda: bench.is_gone(name)), "the path stays while a file is open")
        bench.driver.ok("Remove", {"Name": name})
        again = bench.mount(bench.create())
        expect(os.path.getsize(again + "/lazy") == 8 << 20, "the next Mount sees another size")
        with open(again + "/lazy", "rb") as file:
            expect(file.read() == b"a" * (8 << 20), "the next Mount sees other bytes")
        held.write(b"end")
    expect(wait_until(30, lambda: os.path.getsize(os.path.join(bench.backing, "lazy")) == (8 << 20) + 3),
           "what was written after the unmount is lost")


# ---- section 8: names -------------------------------------------------------

NASTY = ["", ".", "..", "/", "a/b", "../x", "..\\x", "a\\b", "/etc", "x/../../y", "a\nb", "a\x00b", "a\x1fb", "a\x7fb",
         "n" * 256, "n" * 4096, "../" * 100 + "etc"]


@check("R14: names cannot leave ROOT, in any operation")
def nasty_names_are_refused_everywhere(bench):
    before = set(os.listdir(os.path.dirname(bench.root)))
    for name in NASTY:
        for route in ("Create", "Mount", "Unmount", "Path", "Get", "Remove"):
            body = {"Name": name, "Opts": bench.opts()} if route == "Create" else {"Name": name}
            err = bench.driver.err(route, body)
            expect(len(err) < 2048, f"{route}: an Err of {len(err)} bytes")
    expect(not bench.listed(), f"listed: {list(bench.listed())}")
    expect(set(os.listdir(os.path.dirname(bench.root))) == before and not os.listdir(bench.root), "something was made")


@check("section 8: lengths and characters of names")
def names_of_the_platforms_are_taken(bench):
    unique = "b" * 70 + "_" + "c" * 73
    for name in (unique, "Docker.name_1-x", "a", "with=equals_x", "x..y"):
        bench.create(name)
        bench.mount(name)
        bench.unmount(name)


@check("section 8: mountpoints")
def apps_pass_to_the_mountpoint(bench):
    name = bench.create()
    where = bench.mount(name)
    expect(os.path.isabs(where), "not absolute")
    as_app("/bin/ls", where)
    expect({"nosuid", "nodev"} <= set(mounts()[where]), f"options {mounts()[where]}")
    expect("allow_other" in mounts()[where], "others may not enter")


# ---- section 9: options -----------------------------------------------------

TAKEN = [
    {}, {"mount": "/var/x"}, {"experimental": True}, {"experimental": "x"}, {"auto_cache": True}, {"auto_cache": {"a": 1}},
    {"cache": True}, {"cache": "true"}, {"cache": False}, {"version": "3"}, {"version": "3.0"}, {"version": 3},
    {"version": "4"}, {"version": "4.0"}, {"version": 4}, {"version": "4.1"}, {"version": 4.1}, {"version": "4.2"},
    {"readonly": True}, {"readonly": "true"}, {"ro": True}, {"ro": "true"}, {"readonly": False}, {"ro": "false"},
    {"uid": 1500, "gid": 1500}, {"uid": "1500", "gid": "1500"}, {"uid": "1500", "gid": 1500},
    {"uid": "1500", "gid": "1500", "auto_cache": "true", "mount": "/x", "experimental": "true", "cache": "true"},
]


@check("R3, section 9: keys and forms that people send; section 11.8")
def options_are_taken_in_each_form(bench):
    for opts in TAKEN:
        name = bench.create(**opts)
        where = bench.mount(name)
        read_only = str(opts.get("readonly", opts.get("ro", False))).lower() == "true"
        expect(("ro" in mounts()[where]) == read_only, f"{opts}: mounted with {mounts()[where]}")
        if not read_only:
            as_app("/bin/sh", "-c", f"echo x >{where}/app; rm {where}/app")
        bench.unmount(name)


@check("section 9: what Mount refuses, with a SafeDescription")
def options_are_refused_with_words(bench):
    bench.refused("Not allowed options", "colour", "shape", colour="red", shape={"round": True})
    bench.refused("gid", uid=1500)
    bench.refused("uid", gid=1500)
    for bad in (0, "0", -1, "-1", "x", "", 1.5, [], {}, True, "1e3", "99999999999999999999"):
        bench.refused(uid=bad, gid=1500)
        bench.refused(uid=1500, gid=bad)
    for opts in ({"readonly": "maybe"}, {"ro": 7}, {"version": "9"}, {"version": {}}):
        bench.refused(next(iter(opts)), **opts)


@check("section 9: no read access for that uid")
def a_folder_that_the_uid_cannot_read(bench):
    source = bench.subfolder("locked")
    os.chmod(bench.backing + "/locked", 0o700)
    bench.refused("access", source=source, uid=1500, gid=1500)
    name = bench.name()
    bench.driver.ok("Create", {"Name": name, "Opts": {"source": source}})
    bench.mount(name)                       # others may


@check("section 9, 11.5: missing keys are named")
def missing_options_are_named(bench):
    bench.refused("password", username="somebody")
    bench.refused("username", password="hunter2")


PASSWORD = "hunter2-" + "correct-horse"


@check("R15, section 11.6: secrets appear nowhere")
def a_password_is_not_told(bench):
    name = bench.name()
    bench.driver.call("Create", {"Name": name, "Opts": bench.opts(username="somebody", password=PASSWORD)})
    answers = [bench.driver.call(r, {"Name": name}) for r in ("Mount", "Get", "Path", "Unmount")] + [bench.driver.call("List")]
    expect(PASSWORD not in json.dumps(answers), "the password is in an answer")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        for kind in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{kind}", "rb") as file:
                    expect(PASSWORD.encode() not in file.read(), f"the password is in the {kind} of process {pid}")
            except OSError:
                pass


@check("sections 1 and 6: calls in parallel, of many containers")
def twelve_containers_at_once(bench):
    volume = str(uuid.uuid4())

    def life(i):
        container = bench.container(bench.opts(), volume=volume).create()
        name = f"parallel{i}-{secrets.token_hex(4)}"
        write(container.where[0] + "/" + name, str(i) * 1000)
        container.destroy()
        return name

    for i, name in enumerate(in_parallel(12, life)):
        bench.is_stored(name, str(i) * 1000)


def watch(volman, stop):
    """Discovery goes on while the checks run, as in the rep; a late answer fails the run."""
    client = client_of(volman.spec)
    while not stop.wait(0.2):
        start = time.monotonic()
        client.ok("Plugin.Activate")
        took = time.monotonic() - start
        if took > 2 * PROMPT_SECONDS:
            print(f"FAIL R8: Activate took {took:.1f} s", file=sys.stderr)
            os._exit(1)


def main():
    parser = argparse.ArgumentParser(description="a client of volume drivers that behaves as Volman does")
    add_arguments(parser)
    parser.add_argument("--paths", default="/var/vcap/data/voldrivers")
    parser.add_argument("--driver", default="persifs")
    parser.add_argument("--mount-limit", type=float, default=60, help="longest that a Mount may take")
    parser.add_argument("--purge", action="store_true", help="only what happens at the start of a rep")
    parser.add_argument("--names", action="store_true", help="only tell which drivers are known")
    parser.add_argument("--call", nargs="+", metavar="ROUTE", help="one call instead of the checks")
    args = parser.parse_args()
    if args.names:
        print("\n".join(f"{name} {spec['Addr']}" for name, (_, spec) in discover(args.paths).items()))
        return 0
    volman = Volman(args.paths, args.driver)
    client = volman.discover()
    if args.purge:
        print(len(volman.purge()))
        return 0
    if args.call:
        answer = client.call(args.call[0], json.loads(args.call[1]) if len(args.call) > 1 else None)
        print(json.dumps(answer))
        return 1 if answer.get("Err") else 0
    stop = threading.Event()
    threading.Thread(target=watch, args=(volman, stop), daemon=True).start()
    status = run_checks(VolmanBench(args, volman), args.only)
    stop.set()
    print(f"{len(CHECKS)} checks as Volman at {volman.spec['Addr'].split(':')[0]}")
    return status


sys.exit(main())
