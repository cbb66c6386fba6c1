"""The page of the HTTP API, from the description that the media chat itself serves and is tested by."""

import json
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from docutils import nodes
from frames import table
from sphinx.util.docutils import SphinxDirective

import protosuite.mediachat

FILE = Path(protosuite.mediachat.__file__).parent / "openapi.json"

Fields = Mapping[str, Any]


class OpenApi(SphinxDirective):
    """Every call with its parameters, body and answers; then the objects that they speak of."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(FILE))
        text = "\n".join(_page(json.loads(FILE.read_text("utf-8"))))
        return self.parse_text_to_nodes(text, allow_section_headings=True)


def _page(api: Fields) -> Iterator[str]:
    for path, methods in api["paths"].items():
        for method, call in methods.items():
            yield from _call(api, f"{method.upper()} {path}", call)
    for name, schema in api["components"]["schemas"].items():
        yield from (f".. _schema-{name.lower()}:", "", *_heading(name))
        yield from _told(schema.get("description"))
        yield from _object(schema)


def _call(api: Fields, name: str, call: Fields) -> Iterator[str]:
    yield from _heading(name)
    yield from (f"{call['summary']}.", "")
    yield from _told(call.get("description"))
    if {} not in call.get("security", [{}]):
        yield from ("Only with a token.", "")
    rows = [
        (
            f"``{each['name']}``" + ("" if each.get("required") else ", optional"),
            each["in"],
            _kind(each["schema"]),
            _plain(each.get("description", "")),
        )
        for each in (_found(api, each) for each in call.get("parameters", ()))
    ]
    if rows:
        yield from (*table([("parameter", "in", "is", "meaning"), *rows], "20 10 30 40"), "")
    if "requestBody" in call:
        yield from ("The body:", "")
        yield from _content(_found(api, call["requestBody"]))
    rows = []
    for status, response in call["responses"].items():
        answer = _found(api, response)
        phrase = f" {HTTPStatus(int(status)).phrase}" if status.isdigit() else ""
        shown = "; ".join(_shown(content.get("schema", {})) for content in answer.get("content", {}).values())
        rows.append((f"``{status}``{phrase}", _plain(answer["description"]), shown))
    yield from (*table([("answer", "when", "with"), *rows], "25 50 25"), "")


def _content(body: Fields) -> Iterator[str]:
    for type, content in body["content"].items():
        schema = content.get("schema", {})
        yield from (f"``{type}``" + ("" if "properties" in schema else f": {_shown(schema)}"), "")
        yield from _object(schema)


def _object(schema: Fields) -> Iterator[str]:
    needed = schema.get("required", ())
    rows = [
        (
            f"``{name}``" + ("" if name in needed else ", optional"),
            _shown(field),
            _plain(field.get("description", "")),
        )
        for name, field in schema.get("properties", {}).items()
    ]
    if rows:
        yield from (*table([("field", "is", "meaning"), *rows], "25 35 40"), "")


def _shown(schema: Fields) -> str:
    """A schema in a few words."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f":ref:`{name} <schema-{name.lower()}>`"
    if schema.get("type") == "array":
        return f"list of {_shown(schema['items'])}"
    if schema.get("type") == "object" and "properties" in schema:
        return ", ".join(f"``{name}``: {_shown(field)}" for name, field in schema["properties"].items())
    for several in ("oneOf", "anyOf"):
        if several in schema:
            return " or ".join(_shown(each) for each in schema[several])
    return _kind(schema)


def _kind(schema: Fields) -> str:
    types = schema.get("type", "bytes")
    words = [" or ".join(types) if isinstance(types, list) else str(types)]
    if "enum" in schema:
        words = [", ".join(f"``{json.dumps(each)}``" for each in schema["enum"])]
    if "const" in schema:
        words = [f"``{json.dumps(schema['const'])}``"]
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and high is not None:
        words.append(f"{low} to {high:,}" if high < 2**53 - 1 else f"from {low}")
    elif low is not None:
        words.append(f"from {low}")
    if "maxLength" in schema:
        words.append(f"{schema.get('minLength', 0)} to {schema['maxLength']:,} characters")
    if "default" in schema:
        words.append(f"default {json.dumps(schema['default'])}")
    return _plain(", ".join(words))


def _told(text: str | None) -> Iterator[str]:
    if text:
        yield from (_plain(text), "")


def _plain(text: str) -> str:
    """Markdown's code as ours, on one line."""
    return " ".join(text.split()) if "``" in text else " ".join(text.split()).replace("`", "``")


def _found(api: Fields, value: Fields) -> Fields:
    """`value`, or what it refers to."""
    found = value
    if "$ref" in value:
        found = api
        for part in value["$ref"].removeprefix("#/").split("/"):
            found = found[part]
    return found


def _heading(text: str) -> tuple[str, str, str]:
    return text, "-" * len(text), ""
