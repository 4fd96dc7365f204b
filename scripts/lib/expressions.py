#!/usr/bin/env python3
"""Holds the dashboard and the alert rules to what /metrics tells: every name and every label's value in their expressions
must be there. Writes the dashboard's expressions as a file of rules, for promtool to read them as PromQL.

Usage: expressions.py METRICS RULES   (the text of /metrics; the file to write)
"""

import json
import re
import sys

import yaml

DASHBOARD = "scripts/deploy/grafana.json"
ALERTS = "scripts/deploy/alerts.yaml"
# What Prometheus itself adds: the targets, and whether they answer.
TARGET_LABELS = {"job", "instance"}
PROMETHEUS_NAMES = {"up"}

SAMPLE = re.compile(r'^([a-z_]+)(?:\{(.*)\})? \S+$')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')
SELECTOR = re.compile(r'\b((?:entry|process)_[a-z_]+|up)\b(?:\{([^}]*)\})?')
MATCHER = re.compile(r'([a-z_]+)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"')


def main(metrics, rules):
    with open(metrics, encoding="utf-8") as file:
        series = [SAMPLE.match(line).groups() for line in file if not line.startswith("#")]
    known = {}
    for name, labels in series:
        known.setdefault(name, []).append(dict(LABEL.findall(labels or "")))
    with open(DASHBOARD, encoding="utf-8") as file:
        dashboard = json.load(file)
    with open(ALERTS, encoding="utf-8") as file:
        alerts = yaml.safe_load(file)
    shown = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    warned = [rule["expr"] for group in alerts["groups"] for rule in group["rules"]]
    asked = [variable["query"] for variable in dashboard["templating"]["list"] if variable["type"] == "query"]
    if min(len(shown), len(warned), len(asked)) < 2:
        sys.exit("expressions: hardly anything was found in the files")
    used = set()
    for expression in shown + warned + asked:
        used |= check(expression, known)
    # Whoever adds a figure decides whether it is to be seen.
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in known if name.startswith("entry_")}
    unseen = families - {re.sub(r"_(bucket|sum|count)$", "", name) for name in used}
    if unseen:
        sys.exit(f"expressions: the dashboard does not show {', '.join(sorted(unseen))}")
    ids = [panel["id"] for panel in dashboard["panels"]]
    if len(set(ids)) < len(ids):
        sys.exit("expressions: two panels have the same id")
    plain = [expression.replace("$__rate_interval", "5m") for expression in shown]
    records = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(plain)]
    with open(rules, "w", encoding="utf-8") as file:
        yaml.safe_dump({"groups": [{"name": "dashboard", "rules": records}]}, file)
    print(f"expressions: {len(shown)} of the dashboard and {len(warned)} alerts name what is there", file=sys.stderr)


def check(expression, known):
    names = set()
    for name, matchers in SELECTOR.findall(expression):
        if name in PROMETHEUS_NAMES:
            continue
        if name not in known:
            sys.exit(f"expressions: there is no {name}, but in: {expression}")
        names.add(name)
        wanted = [matcher for matcher in MATCHER.findall(matchers) if matcher[0] not in TARGET_LABELS]
        for label, kind, value in wanted:
            values = {labels.get(label) for labels in known[name]}
            # Each alternative of a pattern must be one, too.
            meant = value.split("|") if kind.endswith("~") else [value]
            if not set(meant) <= values:
                sys.exit(f"expressions: {name} has no {label} {value}, but in: {expression}")
    for labels in re.findall(r"\bby \(([^)]*)\)", expression):
        present = {label for name in names for one in known[name] for label in one}
        odd = {label.strip() for label in labels.split(",")} - present - TARGET_LABELS
        if odd:
            sys.exit(f"expressions: nothing has a label {', '.join(odd)}, but in: {expression}")
    return names


if __name__ == "__main__":
    main(*sys.argv[1:])
