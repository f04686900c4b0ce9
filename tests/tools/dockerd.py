#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""dockerd.py - a client of a volume driver that behaves as dockerd does

    dockerd.py ADDRESS --source URI --backing DIR --root DIR [--only NAME]   all checks
    dockerd.py ADDRESS --call ROUTE [JSON]                                   one call

ADDRESS is unix://, tcp://, http:// or https://, the last with --cacert, --cert and --key. What dockerd
does differently from Volman: an Accept header, bodies that are empty, "{}" or end in a newline, sometimes
chunked; Get before Create; an ID with each Mount and Unmount; Unmounts that get lost; Remove.
"""
import argparse
import datetime
import itertools
import json
import os
import secrets
import sys
import time

from voldriver import (APP, CHECKS, PROMPT_SECONDS, Bench, Driver, add_arguments, as_app, check, expect, in_parallel, mounts,
                       read, run_checks, safe_description, tls_context, write)

ACCEPT = "application/vnd.docker.plugins.v1.2+json"
TURN = itertools.count()


def encode(body):
    """Each call in another of the forms in which dockerd's encoder was seen to send it."""
    turn = next(TURN) % 3
    text = b"" if body is None and turn == 0 else json.dumps(body or {}).encode()
    if turn == 1:
        text += b"\n"
    if turn == 2:
        half = len(text) // 2
        return iter([text[:half], text[half:] + b"\n"])
    return text


def container_id():
    return secrets.token_hex(32)


# ---- sections 1 to 3: transport, routes, errors -----------------------------

@check("section 2 Activate")
def activate_names_a_volume_driver(bench):
    expect("VolumeDriver" in bench.driver.ok("Plugin.Activate")["Implements"], "no VolumeDriver")


@check("section 2 Capabilities, section 11.1")
def scope_is_local_or_global(bench):
    scope = bench.driver.ok("Capabilities")["Capabilities"]["Scope"]
    expect(scope in ("local", "global"), f"Scope is {scope}")


@check("section 2 List")
def list_of_nothing_is_an_empty_array(bench):
    answer = bench.driver.ok("List")
    expect(answer["Volumes"] == [], f"Volumes is {answer['Volumes']}")


@check("R2")
def no_header_is_required_and_an_empty_body_is_an_object(bench):
    forms = [b"", b"{}", b"{}\n", b" \n", iter([b"{", b"}\n"]), iter([])]
    for body in forms:
        for headers in ({}, {"Accept": "application/vnd.docker.plugins.v1+json"}, {"Content-Type": "text/plain"}):
            chunks = list(body) if not isinstance(body, bytes) else None
            status, _, data = bench.driver.raw("/VolumeDriver.List", iter(chunks) if chunks is not None else body,
                                               headers=headers)
            expect(status == 200 and json.loads(data)["Volumes"] == [], f"{chunks or body}: {status} {data!r}")


@check("R4")
def whatever_goes_wrong_is_json_with_err(bench):
    for route in ("Create", "Mount", "Unmount", "Remove", "Path", "Get"):
        for body in (b"{", b"nonsense", b"[]", b'"text"', b"7", b"\xff\xfe", b'{"Name":', b'{"Name":7}', b'{"Name":null}',
                     b'{"Name":{}}', b'{"Name":["x"]}', b"{}", b"{" * 5000):
            status, headers, data = bench.driver.raw("/VolumeDriver." + route, body)
            expect(status == 200, f"{route} {body[:20]!r}: status {status}")
            expect(headers.get_content_type() == "application/json", f"{route}: {headers.get_content_type()}")
            expect(json.loads(data).get("Err"), f"{route} {body[:20]!r} succeeded: {data!r}")
    for body in (b'{"Name":"x","Opts":7}', b'{"Name":"x","Opts":"text"}', b'{"Name":"x","Opts":[]}'):
        _, _, data = bench.driver.raw("/VolumeDriver.Create", body)
        expect(json.loads(data).get("Err"), f"{body!r} succeeded")


@check("R4")
def an_unknown_route_is_json_with_err(bench):
    for path in ("/VolumeDriver.Frobnicate", "/", "/Plugin.Activate/x"):
        status, _, data = bench.driver.raw(path, b"{}")
        expect(json.loads(data).get("Err"), f"{path}: {status} {data!r}")


@check("section 1: unknown keys; section 2: Opts null or absent")
def unknown_keys_are_ignored_and_opts_may_be_missing(bench):
    name = bench.name()
    for opts in ({}, {"Opts": None}, {"Opts": {}}):
        bench.driver.err("Create", dict({"Name": name}, **opts))  # section 7: no usable source
    bench.driver.ok("Create", {"Name": name, "Opts": bench.opts(), "Labels": {"a": [1]}, "Version": 7})
    bench.driver.ok("Mount", {"Name": name, "ID": container_id(), "Reason": None})


@check("section 1: connections are kept alive")
def one_connection_serves_many_calls(bench):
    driver = bench.driver
    driver.ok("List")
    first = driver.local.connection
    for _ in range(20):
        driver.ok("List")
    expect(first is not None and driver.local.connection is first, "the driver closes connections")


# ---- section 5: how Docker calls --------------------------------------------

@check("section 5: Get then Create; section 7 Get, Create")
def docker_volume_create(bench):
    name = bench.name()
    bench.driver.err("Get", {"Name": name})
    bench.driver.ok("Create", {"Name": name, "Opts": bench.opts()})
    volume = bench.driver.ok("Get", {"Name": name})["Volume"]
    expect(volume["Name"] == name and volume["MountCount"] == 0, f"Get: {volume}")
    expect(volume.get("Mountpoint", "") == "", f"not mounted, and has a mountpoint: {volume}")
    if "CreatedAt" in volume:
        datetime.datetime.fromisoformat(volume["CreatedAt"].replace("Z", "+00:00"))
    expect(isinstance(volume.get("Status", {}), dict), "Status is no object")
    expect(bench.is_gone(name), "section 7 Create: something is mounted")
    expect(bench.listed()[name]["MountCount"] == 0, "List tells another count")


def docker_run(bench, name, text):
    """A container's life: mount, use, unmount."""
    user = container_id()
    where = bench.mount(name, ID=user)
    write(where + "/docker", text)
    expect(read(where + "/docker") == text, "what was written reads back otherwise")
    bench.unmount(name, ID=user)
    expect(bench.is_gone(name), "section 8: the mountpoint stays after the last Unmount")
    bench.is_stored("docker", text)


@check("R7")
def a_volume_stays_known_until_remove(bench):
    name = bench.create()
    for i in range(3):
        docker_run(bench, name, f"round {i}\n")
        volume = bench.driver.ok("Get", {"Name": name})["Volume"]
        expect(volume["MountCount"] == 0 and not volume.get("Mountpoint"), f"after the last Unmount: {volume}")
        expect(name in bench.listed(), "section 7 List: a known volume is not listed")
    bench.driver.ok("Remove", {"Name": name})
    bench.driver.err("Get", {"Name": name})


@check("section 5: count calls, not IDs")
def docker_cp_into_a_running_container(bench):
    name, user = bench.create(), container_id()
    where = bench.mount(name, ID=user)
    bench.mount(name, ID=user)          # docker cp
    expect(bench.count(name) == 2, f"one ID counts once: {bench.count(name)}")
    bench.unmount(name, ID=user)
    expect(bench.count(name) == 1 and where in mounts(), "docker cp takes the mount from under its container")
    write(where + "/still", "here")
    bench.unmount(name, ID=user)
    expect(bench.is_gone(name), "mounted after the last Unmount")


@check("section 5: docker cp on a stopped container")
def mount_and_unmount_in_between(bench):
    name, user = bench.create(), container_id()
    for _ in range(4):
        bench.mount(name, ID=user)
        bench.unmount(name, ID=user)
    expect(bench.is_gone(name) and name in bench.listed(), "not mounted and known is wanted")


@check("section 5: several containers, one mountpoint, a count")
def six_containers_share_a_mount(bench):
    name = bench.create()
    ids = [container_id() for _ in range(6)]
    where = set(in_parallel(6, lambda i: bench.mount(name, ID=ids[i])))
    expect(len(where) == 1, f"several mountpoints: {where}")
    expect(bench.count(name) == 6, f"six Mounts at once count {bench.count(name)}")
    for i in range(6):
        expect(not bench.is_gone(name), f"gone after {i} of 6 Unmounts")
        bench.unmount(name, ID=ids[i])
        expect(bench.count(name) == 5 - i, f"after {i + 1} Unmounts the count is {bench.count(name)}")
    expect(bench.is_gone(name), "mounted after the last of six Unmounts")


@check("section 5: Unmounts get lost; section 7 Remove mounted")
def remove_with_a_count_above_0(bench):
    name, user = bench.create(), container_id()
    where = bench.mount(name, ID=user)
    write(where + "/lost", "unmount")
    bench.mount(name, ID=user)          # after a crash of dockerd, with the ID from before
    bench.mount(name, ID=container_id())
    bench.driver.ok("Remove", {"Name": name})
    expect(bench.is_gone(name), "Remove leaves a mount")
    bench.driver.err("Get", {"Name": name})
    bench.is_stored("lost", "unmount")


@check("section 5: after a failed Mount no Unmount follows; R12")
def a_failed_mount_leaves_nothing(bench):
    name = bench.name()
    bench.driver.ok("Create", {"Name": name, "Opts": {"source": "nfs://127.0.0.1/nowhere?nfsport=9&mountport=9"}})
    for _ in range(2):
        answer = bench.driver.call("Mount", {"Name": name, "ID": container_id()})
        expect(answer["Err"] and not answer.get("Mountpoint"), f"a Mount without server: {answer}")
        expect(bench.is_gone(name) and bench.count(name) == 0, "a failed Mount leaves a count or a directory")
    bench.driver.ok("Remove", {"Name": name})


@check("section 7 Path")
def path_is_the_mountpoint_or_nothing(bench):
    name = bench.name()
    bench.driver.err("Path", {"Name": name})
    bench.create(name)
    before = bench.driver.call("Path", {"Name": name})
    expect(before.get("Err") or not before.get("Mountpoint"), f"Path of what is not mounted: {before}")
    where = bench.mount(name, ID=container_id())
    expect(bench.driver.ok("Path", {"Name": name})["Mountpoint"] == where, "Path and Mount differ")
    expect(bench.driver.ok("Get", {"Name": name})["Volume"]["Mountpoint"] == where, "Get and Mount differ")
    expect(bench.listed()[name]["Mountpoint"] == where, "List and Mount differ")


@check("section 7 Remove unknown")
def removing_the_unknown_succeeds(bench):
    bench.driver.ok("Remove", {"Name": bench.name()})


@check("R3: Docker's values are strings")
def options_are_strings(bench):
    first = bench.create(uid="1500", gid="1500", readonly="false")
    where = bench.mount(first, ID=container_id())
    as_app("/bin/sh", "-c", f"echo app >{where}/strings")
    owner = os.stat(os.path.join(bench.backing, "strings")).st_uid
    expect(owner == 1500, f"uid as a string: the file is {owner}'s")
    expect(os.stat(where + "/strings").st_uid == APP, "the app does not see itself as owner")
    second = bench.create(ro="true")
    try:
        write(bench.mount(second, ID=container_id()) + "/x", "x")
    except OSError as err:
        expect(err.strerror == "Read-only file system", f"ro=true: {err.strerror}")
    else:
        expect(False, "ro=true is writable")


@check("R8")
def what_is_in_memory_is_answered_at_once(bench):
    name = bench.create()
    for route, body in (("Plugin.Activate", None), ("Capabilities", None), ("List", None), ("Get", {"Name": name})):
        start = time.monotonic()
        bench.driver.ok(route, body)
        expect(time.monotonic() - start < PROMPT_SECONDS, f"{route} takes {time.monotonic() - start:.2f} s")


@check("section 1: calls come in parallel")
def sixteen_volumes_at_once(bench):
    names = [bench.create() for _ in range(16)]
    in_parallel(16, lambda i: [docker_round(bench, names[i]) for _ in range(3)])
    expect(all(bench.is_gone(n) for n in names), "something is left")


def docker_round(bench, name):
    user = container_id()
    where = bench.mount(name, ID=user)
    write(f"{where}/{name}", name)
    bench.unmount(name, ID=user)
    bench.is_stored(name, name)


def main():
    parser = argparse.ArgumentParser(description="a client of a volume driver that behaves as dockerd does")
    parser.add_argument("address")
    add_arguments(parser)
    for name in ("--cacert", "--cert", "--key"):
        parser.add_argument(name)
    parser.add_argument("--call", nargs="+", metavar="ROUTE", help="one call instead of the checks")
    args = parser.parse_args()
    tls = tls_context(args.cacert, args.cert, args.key) if args.address.startswith("https:") else None
    driver = Driver(args.address, tls, {"Accept": ACCEPT, "User-Agent": "Go-http-client/1.1"}, encode)
    if args.call:
        answer = driver.call(args.call[0], json.loads(args.call[1]) if len(args.call) > 1 else None)
        print(json.dumps(answer))
        return 1 if answer.get("Err") else 0
    status = run_checks(Bench(args, driver), args.only)
    print(f"{len(CHECKS)} checks as dockerd over {args.address.split(':')[0]}")
    return status


sys.exit(main())
