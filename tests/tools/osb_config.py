#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""osb_config.py PROGRAM FILE - what persifs-broker --check-config says of wrong files: one line, with file and key

FILE is a right one, as 48_osb.sh writes it; it is left as it is.
"""
import copy
import json
import os
import subprocess
import sys
import tempfile

LIMIT_S = 30


def expect(true, text):
    if not true:
        sys.exit(f"FAIL {text}")


def at(path, value):
    """A change: the key at the path (dots, numbers) gets the value; None removes it."""
    def change(config):
        *outer, key = [int(k) if k.isdigit() else k for k in path.split(".")]
        for k in outer:
            config = config[k]
        if value is None:
            del config[key]
        else:
            config[key] = value
    return change


SECOND = {"id": "folder", "name": "twice", "description": "x", "provider": "disk"}
WRONG = [
    (at("colour", "red"), 'key "colour"'),
    (at("listen", "tcp:127.0.0.1:1"), 'key "listen"'),
    (at("listen", ["tcp:nowhere:1"]), 'key "listen"'),
    (at("admin", "x"), 'key "admin"'),
    (at("users", []), 'key "users"'),
    (at("users", [{"name": "a"}]), 'key "users[0]"'),
    (at("users", [{"name": "a", "password": "secret-1", "password_hash": "secret-2"}]), 'key "users[0]"'),
    (at("users", [{"name": "a:b", "password": "secret-1"}]), 'key "users[0].name"'),
    (at("users", [{"name": "a", "password_hash": "secret-1"}]), 'key "users[0].password_hash"'),
    (at("key_file", None), 'key "key_file"'),
    (at("key_file", "/nonexistent/key"), 'key "key_file"'),
    (at("tls", {"cert": "/nonexistent"}), 'key "tls.cert"'),
    (at("tls", {"colour": 1}), 'key "tls.colour"'),
    (at("dashboard", {"url": "gopher://x"}), 'key "dashboard.url"'),
    (at("dashboard", {"link_lifetime": "1x"}), 'key "dashboard.link_lifetime"'),
    (at("workers", 0), 'key "workers"'),
    (at("lease", "soon"), 'key "lease"'),
    (at("log_level", "loud"), 'key "log_level"'),
    (at("store", "mysql://secret-1"), 'key "store"'),
    (at("store", "sqlite:relative"), 'key "store"'),
    (at("driver", "a/b"), 'key "driver"'),
    (at("providers.disk.type", "tape"), 'key "providers.disk'),
    (at("providers.disk.colour", 1), 'key "providers.disk'),
    (at("providers.disk.root", None), 'key "providers.disk'),
    (at("services", None), 'key "services"'),
    (at("services.0.plans", []), 'key "services[0].plans"'),
    (at("services.0.id", None), 'key "services[0].id"'),
    (at("services.0.name", "with space"), 'key "services[0].name"'),
    (at("services.1.plans.0.provider", "nobody"), 'key "services[1].plans[0].provider"'),
    (at("services.1.plans.0.size", "2x"), 'key "services[1].plans[0].size"'),
    (at("services.1.plans.0.max_size", "1m"), 'key "services[1].plans[0].size"'),
    (at("services.1.plans.0.mode", "0999"), 'key "services[1].plans[0].mode"'),
    (at("services.1.plans.0.kind", "tape"), 'key "services[1].plans[0]'),
    (at("services.1.plans.0.bind_options", ["nothing"]), 'key "services[1].plans[0].bind_options"'),
    (at("services.1.plans.0.mount_defaults", {"nothing": 1}), 'key "services[1].plans[0].mount_defaults"'),
    (at("services.1.plans.0.container_dir", "here"), 'key "services[1].plans[0].container_dir"'),
    (at("services.1.plans.0.maintenance_info", {"version": "one"}), 'key "services[1].plans[0].maintenance_info.version"'),
    (at("services.0.plans.0", SECOND), 'plans['),
    ("{", "line 1"),
    ('{\n"listen": [],\n"listen": []\n}', "line 3"),
    ("[]", "object"),
    ("", "line 1"),
]


def said_of(program, path):
    done = subprocess.run([program, "--config", path, "--check-config"], capture_output=True, text=True, timeout=LIMIT_S, check=False)
    return done.returncode, done.stdout, done.stderr


def check_config(program, config):
    with open(config, encoding="utf-8") as f:
        good = json.load(f)
    expect(said_of(program, config)[0] == 0, f"the right file: {said_of(program, config)}")
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "wrong.json")
        for change, says in WRONG:
            text = change
            if callable(change):
                wrong = copy.deepcopy(good)
                change(wrong)
                text = json.dumps(wrong, indent=1)
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
            status, out, err = said_of(program, path)
            what = f"{text if not callable(change) else says}: status {status}, '{out}', '{err}'"
            expect(status == 2 and not out and err.count("\n") == 1, what)
            expect(path in err and says in err and "secret-" not in err, what)
        os.unlink(path)
        status, _, err = said_of(program, path)
        expect(status == 2 and path in err, f"no file: {status} {err}")
    print(f"{len(WRONG) + 1} wrong files, each named with its key")


if __name__ == "__main__":
    check_config(*sys.argv[1:])
