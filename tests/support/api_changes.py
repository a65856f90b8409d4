"""Compares two OpenAPI documents of one major version: what was there must stay, and only more may come.

    python -m tests.support.api_changes EARLIER LATER

Prints what a client of the earlier document would meet, and exits 1 where there is any of it. What clients send is
compared in one direction, what they get in the other: a parameter may allow more, an answer may hold more fields. Where
neither can be said of a keyword, each change of it counts. No package of our registries does this for OpenAPI 3.1.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Schema = Mapping[str, Any]
_METHODS = ("get", "head", "post", "put", "patch", "delete", "options")
_LEAST = ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties")
_MOST = ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties")
_ONLY = ("pattern", "format", "multipleOf", "const")
"""Keywords that refuse whatever they do not name, and that nothing else can be compared with."""
_NESTED = ("type", "enum", "items", "properties", "required", "additionalProperties", "anyOf", "default")
_WORDS = {"description", "title", "summary", "example", "examples", "deprecated", "$comment"}
_COMPARED = {*_LEAST, *_MOST, *_ONLY, *_NESTED, *_WORDS}


def breaks(before: Schema, after: Schema) -> list[str]:
    """Return each break with its place, in the order of the earlier document."""
    return list(_Documents(before, after).compared())


@dataclass(frozen=True)
class _Documents:
    """The earlier document and the later one."""

    before: Schema
    after: Schema

    def compared(self) -> Iterator[str]:
        for path, operations in self.before["paths"].items():
            for method in filter(operations.__contains__, _METHODS):
                found = self.after["paths"].get(path, {}).get(method)
                place = f"{method.upper()} {path}"
                if found is None:
                    yield f"{place} is gone"
                else:
                    yield from self._operation(place, operations[method], found)

    def _operation(self, place: str, before: Schema, after: Schema) -> Iterator[str]:
        if before.get("operationId") != after.get("operationId"):
            # generated clients name their functions by it
            yield f"{place}: operationId {before.get('operationId')} is {after.get('operationId')} now"
        admitted = after.get("security", self.after.get("security", []))
        for way in before.get("security", self.before.get("security", [])):
            if way not in admitted:
                yield f"{place}: {' and '.join(way) or 'nothing'} admits no more"
        yield from self._parameters(place, before, after)
        yield from self._body(place, before.get("requestBody"), after.get("requestBody"))
        yield from self._answers(place, before["responses"], after["responses"])

    def _parameters(self, place: str, before: Schema, after: Schema) -> Iterator[str]:
        earlier, later = (
            {(one["in"], one["name"]): one for one in map(document.resolved, operation.get("parameters", []))}
            for document, operation in ((_Document(self.before), before), (_Document(self.after), after))
        )
        for key, parameter in earlier.items():
            where = f"{place}: {key[0]} parameter {key[1]}"
            if key not in later:
                yield f"{where} is gone"
                continue
            if later[key].get("required") and not parameter.get("required"):
                yield f"{where} is required now"
            yield from self._asked(where, parameter["schema"], later[key]["schema"])
        for key, parameter in later.items():
            if key not in earlier and parameter.get("required"):
                yield f"{place}: {key[0]} parameter {key[1]} is new, and required"

    def _body(self, place: str, before: Schema | None, after: Schema | None) -> Iterator[str]:
        if before is None:
            if after is not None and after.get("required"):
                yield f"{place}: a body is required now"
            return
        if after is None:
            yield f"{place}: the body is gone"
            return
        if after.get("required") and not before.get("required"):
            yield f"{place}: the body is required now"
        for media_type, content in before["content"].items():
            if media_type not in after["content"]:
                yield f"{place}: no body of {media_type} is taken any more"
            else:
                yield from self._asked(f"{place}: body", content["schema"], after["content"][media_type]["schema"])

    def _answers(self, place: str, before: Schema, after: Schema) -> Iterator[str]:
        for status, given in before.items():
            answer = _Document(self.before).resolved(given)
            if status not in after:
                if status < "400":
                    yield f"{place}: no answer {status} any more"
                continue
            found = _Document(self.after).resolved(after[status])
            for name in answer.get("headers", {}):
                if name not in found.get("headers", {}):
                    yield f"{place}: {status} without the header {name}"
            for media_type, content in answer.get("content", {}).items():
                where = f"{place}: {status} {media_type}"
                if media_type not in found.get("content", {}):
                    yield f"{where} is gone"
                else:
                    # the events of a stream have none
                    given, now = (each.get("schema", {}) for each in (content, found["content"][media_type]))
                    yield from self._answered(where, given, now)

    def _asked(self, place: str, before: Schema, after: Schema) -> Iterator[str]:
        """Say where the later schema refuses what the earlier one allowed."""
        before, after = _Document(self.before).resolved(before), _Document(self.after).resolved(after)
        yield from _narrower(place, before, after, "does not allow")
        if "default" in before and before["default"] != after.get("default"):
            yield f"{place}: the default {before['default']!r} is {after.get('default')!r} now"
        for name, schema in before.get("properties", {}).items():
            if name in after.get("properties", {}):
                yield from self._asked(f"{place}.{name}", schema, after["properties"][name])
            elif after.get("additionalProperties") is False:
                yield f"{place}.{name} is gone"
        for name in sorted({*after.get("required", ())} - {*before.get("required", ())}):
            yield f"{place}.{name} is required now"
        if "items" in before and "items" in after:
            yield from self._asked(f"{place}[]", before["items"], after["items"])
        yield from self._others(place, before, after)

    def _answered(self, place: str, before: Schema, after: Schema) -> Iterator[str]:
        """Say where the later schema allows what the earlier one did not, or promises less."""
        before, after = _Document(self.before).resolved(before), _Document(self.after).resolved(after)
        yield from _narrower(place, after, before, "may be what it never was:")
        for name, schema in before.get("properties", {}).items():
            if name in after.get("properties", {}):
                yield from self._answered(f"{place}.{name}", schema, after["properties"][name])
            else:
                yield f"{place}.{name} is gone"
        for name in sorted({*before.get("required", ())} & {*after.get("properties", ())}):
            if name not in after.get("required", ()):
                yield f"{place}.{name} may be left out"
        if "items" in before and "items" in after:
            yield from self._answered(f"{place}[]", before["items"], after["items"])
        yield from self._others(place, before, after, answered=True)

    def _others(self, place: str, before: Schema, after: Schema, *, answered: bool = False) -> Iterator[str]:
        """Compare alternatives, and the keywords of which only a change can be told."""
        earlier, later = before.get("anyOf", []), after.get("anyOf", [])
        if len(earlier) != len(later):
            yield f"{place}: other alternatives"
        for number, (one, other) in enumerate(zip(earlier, later, strict=False)):
            compare = self._answered if answered else self._asked
            yield from compare(f"{place}<{number}>", one, other)
        for keyword in sorted((before.keys() | after.keys()) - _COMPARED):
            if before.get(keyword) != after.get(keyword):
                yield f"{place}: {keyword} is another"


@dataclass(frozen=True)
class _Document:
    """One document, whose references are followed."""

    whole: Schema

    def resolved(self, part: Schema) -> Schema:
        while "$ref" in part:
            found: Any = self.whole
            for step in part["$ref"].removeprefix("#/").split("/"):
                found = found[step]
            part = found
        return part


def _types(schema: Schema) -> set[str] | None:
    given = schema.get("type")
    if given is None:
        return None
    found = {given} if isinstance(given, str) else {*given}
    return found | {"integer"} if "number" in found else found


def _narrower(place: str, wide: Schema, narrow: Schema, word: str) -> Iterator[str]:
    """Say which values `wide` has and `narrow` has not."""
    has, may = _types(wide), _types(narrow)
    if may is not None and (has is None or has - may):
        yield f"{place} {word} {'any type' if has is None else ', '.join(sorted(has - may))}"
    if "enum" in narrow:
        extra = [value for value in wide.get("enum", ["any value"]) if value not in narrow["enum"]]
        if extra:
            yield f"{place} {word} {', '.join(map(str, extra))}"
    for keyword in _LEAST:
        if keyword in narrow and (keyword not in wide or wide[keyword] < narrow[keyword]):
            yield f"{place} {word} {keyword} {wide.get(keyword, 'unbounded')}, but {narrow[keyword]}"
    for keyword in _MOST:
        if keyword in narrow and (keyword not in wide or wide[keyword] > narrow[keyword]):
            yield f"{place} {word} {keyword} {wide.get(keyword, 'unbounded')}, but {narrow[keyword]}"
    for keyword in _ONLY:
        if keyword in narrow and wide.get(keyword) != narrow[keyword]:
            yield f"{place} {word} {keyword} {wide.get(keyword, 'unbounded')}, but {narrow[keyword]}"
    if narrow.get("additionalProperties") is False and wide.get("additionalProperties", True) is not False:
        yield f"{place} {word} further members"


def main(words: list[str]) -> int:
    """Compare two files."""
    before, after = (json.loads(Path(word).read_text("utf-8")) for word in words)
    found = breaks(before, after)
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
