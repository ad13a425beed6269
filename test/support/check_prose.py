#!/usr/bin/env python3
"""What hand-written documents promise, held against the tables. Run from the repository's root.

check_prose.py flow [FILE...]             the tables of FILE (default: docs/tcp-states.md and its translation): each diagnosis
                                          of core/diagnoses.inc has its place, nothing else is named, the examples exist
check_prose.py translations [FILE...]     each FILE (default: all *.zh.md) carries the hash of the text that it translates
check_prose.py refresh FILE...            write that hash anew: after the translation itself has been brought up to date
check_prose.py links [FILE...]            every relative link leads to a file (default: all *.md)
"""
import glob
import hashlib
import os
import re
import sys

FLOW = ["docs/tcp-states.md", "docs/tcp-states.zh.md"]
# Directories that show the tool rather than a diagnosis.
NOT_OF_A_DIAGNOSIS = {"demo"}
MARK = re.compile(r"<!-- translates (\S+) sha256:([0-9a-f]{64}|-) -->")
CODE = re.compile(r"`([^`]+)`")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def rows(path, macro):
    """The string in second place of every row, up to the next row."""
    return re.findall(r"^%s\([A-Z_]+,\s*\"([a-z-]+)\"" % macro, read(path), re.M)


def table_rows(text, mark):
    """Cells of the table behind the line <!-- mark -->, its head left out."""
    found = re.search(r"<!-- %s -->\n+((?:\|.*\n)+)" % mark, text)
    return [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in found[1].splitlines()[2:]] if found else []


def flow(paths):
    ids = rows("core/diagnoses.inc", "CW_DIAGNOSIS")
    variants = [v for v in rows("core/listener_variants.inc", "CW_LISTENER_VARIANT") if v != "unknown"]
    examples = {os.path.basename(os.path.dirname(d)) for d in glob.glob("examples/*/")} - NOT_OF_A_DIAGNOSIS
    bad = []
    for path in paths or FLOW:
        text = read(path)
        steps, apart = table_rows(text, "flow"), table_rows(text, "no-step")
        if not steps or not apart:
            bad.append(f"{path}: no table behind <!-- flow --> or <!-- no-step -->")
        named = [word for row in steps for word in CODE.findall(row[2])]
        placed = named + [word for row in apart for word in CODE.findall(row[0])]
        shown = [word for row in steps for word in re.findall(r"\]\(\.\./examples/([^/)]+)/?\)", row[3])]
        shown += [word for row in apart for word in re.findall(r"\]\(\.\./examples/([^/)]+)/?\)", row[-1])]
        bad += [f"{path}: {i} of core/diagnoses.inc is in none of the tables" for i in ids if i not in placed]
        bad += [f"{path}: listener state {v} is not in the flow's table" for v in variants if v not in named]
        bad += [f"{path}: there is no diagnosis {i}" for i in placed if i not in ids + variants]
        bad += [f"{path}: there is no examples/{e}" for e in shown if e not in examples]
        bad += [f"{path}: examples/{e} is in none of the tables" for e in sorted(examples) if e not in shown]
        for row in steps + apart:
            for example in re.findall(r"\]\(\.\./examples/([^/)]+)/?\)", row[-1]):
                if not any(example.startswith(i + "-") for i in CODE.findall(" ".join(row[:3]))):
                    bad.append(f"{path}: examples/{example} stands beside another diagnosis")
    bad += [f"examples/{e}: its name begins with no diagnosis" for e in sorted(examples)
            if not any(e.startswith(i + "-") for i in ids)]
    return bad


def all_files(suffix):
    found = []
    for directory, names, files in os.walk("."):
        names[:] = sorted(n for n in names if not n.startswith((".", "build")))
        found += [os.path.relpath(os.path.join(directory, f)) for f in sorted(files) if f.endswith(suffix)]
    return found


def original(path):
    """The match of the mark in the first lines, and the path and hash of the text that is translated."""
    mark = MARK.search("\n".join(read(path).splitlines()[:3]))
    if not mark:
        return None, None, None
    source = os.path.join(os.path.dirname(path), mark[1])
    with open(source, "rb") as f:
        return mark, source, hashlib.sha256(f.read()).hexdigest()


def translations(paths):
    bad = []
    for path in paths or all_files(".zh.md"):
        mark, source, digest = original(path)
        if not mark:
            bad.append(f"{path}: its first lines do not say <!-- translates FILE sha256:HASH -->")
        elif mark[2] != digest:
            bad.append(f"{path}: stale, {source} has changed since; bring the translation up to date, then run "
                       f"'make translation-done FILE={path}'")
    return bad


def refresh(paths):
    for path in paths:
        mark, _, digest = original(path)
        if not mark:
            return [f"{path}: its first lines do not say <!-- translates FILE sha256:HASH -->"]
        text = read(path)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace(mark[0], f"<!-- translates {mark[1]} sha256:{digest} -->", 1))
    return [] if paths else ["which file? make translation-done FILE=README.zh.md"]


def links(paths):
    bad = []
    for path in paths or all_files(".md"):
        text = re.sub(r"^```.*?^```|^    .*?$|`[^`]*`", "", read(path), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if re.match(r"[a-z]+:|#", target):
                continue
            file = os.path.join(os.path.dirname(path), target.split("#")[0])
            if not os.path.exists(file):
                bad.append(f"{path}: link to {target}, which does not exist")
    return bad


def main():
    modes = {"flow": flow, "translations": translations, "refresh": refresh, "links": links}
    if len(sys.argv) < 2 or sys.argv[1] not in modes:
        sys.exit(__doc__)
    bad = modes[sys.argv[1]](sys.argv[2:])
    for line in bad:
        print(line, file=sys.stderr)
    sys.exit(1 if bad else 0)


main()
