#!/usr/bin/env python3
"""Checks JSON files against a JSON Schema, with Python's own library alone: schema_check.py SCHEMA FILE...

Knows the keywords that docs/report.schema.json uses and refuses others, so that none goes unchecked. Numbers must be JSON:
NaN and Infinity, repeated members and text that is not UTF-8 are errors."""
import json
import re
import sys

IGNORED = {"$schema", "title", "description", "$defs"}
TYPES = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "integer": lambda v: isinstance(v, int) and not isinstance(v, bool),
    "number": lambda v: isinstance(v, (int, float)) and not isinstance(v, bool),
    "null": lambda v: v is None,
}


class Checker:
    def __init__(self, schema):
        self.root = schema

    def errors(self, value, schema, path):
        for keyword, argument in schema.items():
            if keyword in IGNORED:
                continue
            check = getattr(self, "check_" + keyword.lstrip("$"), None)
            if check is None:
                raise SystemExit(f"schema_check.py does not know the keyword {keyword!r}: teach it")
            yield from check(value, argument, schema, path)

    def check_ref(self, value, argument, schema, path):
        target = self.root
        for part in argument.removeprefix("#/").split("/"):
            target = target[part]
        yield from self.errors(value, target, path)

    def check_type(self, value, argument, schema, path):
        names = argument if isinstance(argument, list) else [argument]
        if not any(TYPES[name](value) for name in names):
            yield f"{path}: {value!r} is not of type {argument}"

    def check_const(self, value, argument, schema, path):
        if value != argument:
            yield f"{path}: {value!r} is not {argument!r}"

    def check_enum(self, value, argument, schema, path):
        if value not in argument:
            yield f"{path}: {value!r} is none of {argument}"

    def check_oneOf(self, value, argument, schema, path):
        if sum(not list(self.errors(value, one, path)) for one in argument) != 1:
            yield f"{path}: {value!r} does not match exactly one of {argument}"

    def check_required(self, value, argument, schema, path):
        if isinstance(value, dict):
            yield from (f"{path}: {name} is missing" for name in argument if name not in value)

    def check_properties(self, value, argument, schema, path):
        if isinstance(value, dict):
            for name, one in argument.items():
                if name in value:
                    yield from self.errors(value[name], one, f"{path}.{name}")

    def check_additionalProperties(self, value, argument, schema, path):
        if isinstance(value, dict):
            for name in value.keys() - schema.get("properties", {}).keys():
                if argument is False:
                    yield f"{path}: {name} is not a known member"
                else:
                    yield from self.errors(value[name], argument, f"{path}.{name}")

    def check_items(self, value, argument, schema, path):
        if isinstance(value, list):
            for i, one in enumerate(value):
                yield from self.errors(one, argument, f"{path}[{i}]")

    def check_minItems(self, value, argument, schema, path):
        if isinstance(value, list) and len(value) < argument:
            yield f"{path}: fewer than {argument} elements"

    def check_minimum(self, value, argument, schema, path):
        if TYPES["number"](value) and value < argument:
            yield f"{path}: {value} is less than {argument}"

    def check_pattern(self, value, argument, schema, path):
        if isinstance(value, str) and not re.search(argument, value):
            yield f"{path}: {value!r} does not match {argument}"


def unique(pairs):
    names = [name for name, _ in pairs]
    if len(names) != len(set(names)):
        raise ValueError(f"repeated member in {names}")
    return dict(pairs)


def refuse(constant):
    raise ValueError(f"{constant} is not JSON")


def load(name):
    with open(name, encoding="utf-8", errors="strict") as file:
        return json.load(file, object_pairs_hook=unique, parse_constant=refuse)


def main(schema_name, *names):
    schema = load(schema_name)
    bad = 0
    for name in names:
        for error in Checker(schema).errors(load(name), schema, "report"):
            print(f"{name}: {error}")
            bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    if len(sys.argv) < 3:
        raise SystemExit(__doc__)
    sys.exit(main(*sys.argv[1:]))
