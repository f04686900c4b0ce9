#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bosh.py - renders a BOSH job as an agent would, below another folder than /var/vcap

    bosh.py JOB VCAP [NAME=JSON...]

JOB is the folder with spec, monit and templates. Knows of ERB what the templates use: values of properties,
.to_json, and if, unless and end in lines of their own.
"""
import json
import os
import re
import sys

VALUE = re.compile(r'<%= p\("([\w.]+)"\)(\.to_json)? %>')
BRANCH = re.compile(r'^<% (if|unless) p\("([\w.]+)"\) %>$')


def read_spec(path):
    """Templates and defaults of properties."""
    templates, properties, section, name = {}, {}, None, None
    with open(path, encoding="utf-8") as lines:
        for line in lines.read().splitlines():
            if re.match(r"^\w", line):
                section = line.split(":")[0]
            elif section == "templates" and line.strip():
                source, target = line.strip().split(": ")
                templates[source] = target
            elif section == "properties" and re.match(r"^  \S+:$", line):
                name = line.strip()[:-1]
            elif section == "properties" and line.startswith("    default: "):
                properties[name] = json.loads(line.removeprefix("    default: "))
    return templates, properties


def render(text, properties):
    out, shown = [], [True]
    for line in text.splitlines():
        branch = BRANCH.match(line)
        if branch:
            shown.append(bool(properties[branch[2]]) == (branch[1] == "if"))
        elif line == "<% end %>":
            shown.pop()
        elif all(shown):
            out.append(VALUE.sub(lambda m: json.dumps(properties[m[1]]) if m[2] else str(properties[m[1]]), line))
    text = "\n".join(out) + "\n"
    if "<%" in text or len(shown) != 1:
        raise SystemExit("bosh.py: something is not rendered: " + text)
    return text


def main():
    job, vcap = sys.argv[1:3]
    templates, properties = read_spec(job + "/spec")
    for pair in sys.argv[3:]:
        name, _, value = pair.partition("=")
        if name not in properties:
            raise SystemExit(f"bosh.py: no property {name}")
        properties[name] = json.loads(value)
    if set(templates) != set(os.listdir(job + "/templates")):
        raise SystemExit("bosh.py: spec and templates differ")
    files = {"templates/" + source: target for source, target in templates.items()}
    files["monit"] = "monit"
    for source, target in files.items():
        path = f"{vcap}/jobs/{os.path.basename(job)}/{target}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(f"{job}/{source}", encoding="utf-8") as template, open(path, "w", encoding="utf-8") as out:
            out.write(render(template.read(), properties).replace("/var/vcap", vcap))
        os.chmod(path, 0o755 if "/bin/" in path else 0o640)


main()
