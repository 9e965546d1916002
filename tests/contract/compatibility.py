"""What may change in a contract that others rely on: things are added; what was there stays.

A schema is read by one side and written by another, and the two may be of different age. So in a *request* (written by
outsiders, read by us) rules may only be loosened, in an *answer* (written by us) only tightened, and a *message* of the
queue (both, of any age) stays as it is but for optional fields. `$ref`s are followed; titles and texts don't matter.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Literal

Direction = Literal["request", "answer", "message"]
Json = Mapping[str, Any]

TEXT = {"title", "description", "example", "examples", "default", "deprecated", "$defs", "discriminator", "readOnly"}
STRUCTURE = {"properties", "required", "items", "additionalProperties", "anyOf", "oneOf", "allOf"}
LEAST = {"minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"}
MOST = {"maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"}
METHODS = ("get", "put", "post", "delete", "patch", "head", "options")


def schema_problems(old: Json, new: Json, direction: Direction, at: str = "") -> list[str]:
    """Return what in the JSON Schema document `new` breaks those who rely on `old`; nothing if it is compatible."""
    return list(_Comparison(old, new, direction).problems(old, new, at))


def openapi_problems(old: Json, new: Json) -> list[str]:
    """Return what in the OpenAPI document `new` breaks those who rely on `old`; nothing if it is compatible."""
    problems: list[str] = []
    for path, methods in old["paths"].items():
        for method in METHODS:
            if method not in methods:
                continue
            at = f"{method.upper()} {path}"
            present = new["paths"].get(path, {}).get(method)
            problems += (
                [f"{at}: was removed"] if present is None else _operation(old, new, methods[method], present, at)
            )
    return problems


def _operation(old_root: Json, new_root: Json, old: Json, new: Json, at: str) -> Iterator[str]:
    request = _Comparison(old_root, new_root, "request")
    answer = _Comparison(old_root, new_root, "answer")
    before, after = _parameters(old), _parameters(new)
    for name, parameter in before.items():
        if name not in after:
            yield f"{at}: parameter {name} was removed"
            continue
        if after[name].get("required") and not parameter.get("required"):
            yield f"{at}: parameter {name} is required now"
        yield from request.problems(parameter["schema"], after[name]["schema"], f"{at}: parameter {name}")
    for name in after.keys() - before.keys():
        if after[name].get("required"):
            yield f"{at}: parameter {name} is new and required"
    if new.get("requestBody", {}).get("required") and not old.get("requestBody", {}).get("required"):
        yield f"{at}: a body is required now"
    yield from _content(request, old.get("requestBody", {}), new.get("requestBody", {}), f"{at}: body")
    for status, response in old["responses"].items():
        if not status.startswith("2"):
            continue
        if status not in new["responses"]:
            yield f"{at}: answer {status} was removed"
        else:
            yield from _content(answer, response, new["responses"][status], f"{at}: answer {status}")


def _parameters(operation: Json) -> dict[str, Any]:
    return {f"{item['name']} ({item['in']})": item for item in operation.get("parameters", [])}


def _content(comparison: "_Comparison", old: Json, new: Json, at: str) -> Iterator[str]:
    for media_type, content in old.get("content", {}).items():
        if media_type not in new.get("content", {}):
            yield f"{at}: {media_type} was removed"
        else:
            yield from comparison.problems(
                content.get("schema", {}), new["content"][media_type].get("schema", {}), f"{at} {media_type}"
            )


class _Comparison:
    """Compares two schemas, each with references into a document of its own."""

    def __init__(self, old_root: Json, new_root: Json, direction: Direction) -> None:
        self._old_root, self._new_root, self._direction = old_root, new_root, direction
        self._open: set[tuple[str, str]] = set()

    def problems(self, old: Json, new: Json, at: str) -> Iterator[str]:
        names = (str(old.get("$ref", "")), str(new.get("$ref", "")))
        if all(names):
            if names in self._open:
                return  # a type that contains itself is compared once
            self._open.add(names)
        try:
            yield from self._resolved(_resolve(self._old_root, old), _resolve(self._new_root, new), at)
        finally:
            self._open.discard(names)

    def _resolved(self, old: Json, new: Json, at: str) -> Iterator[str]:
        yield from self._properties(old, new, at)
        for keyword in ("items", "additionalProperties"):
            before, after = old.get(keyword), new.get(keyword)
            if isinstance(before, Mapping) and isinstance(after, Mapping):
                yield from self.problems(before, after, f"{at}[]")
            elif before != after:
                yield f"{at}: {keyword} changed"
        for keyword in ("anyOf", "oneOf", "allOf"):
            yield from self._choices(old.get(keyword, []), new.get(keyword, []), f"{at}: {keyword}")
        for keyword in sorted((old.keys() | new.keys()) - TEXT - STRUCTURE):
            if not self._may_become(keyword, old.get(keyword), new.get(keyword)):
                yield f"{at}: {keyword} was {old.get(keyword)!r} and is {new.get(keyword)!r}"

    def _properties(self, old: Json, new: Json, at: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name, schema in before.items():
            if name not in after:
                yield f"{at}.{name}: was removed"
            else:
                yield from self.problems(schema, after[name], f"{at}.{name}")
        demanded, promised = set(new.get("required", [])), set(old.get("required", []))
        if self._direction != "answer":
            for name in sorted(demanded - promised):
                yield f"{at}.{name}: is required now"
        if self._direction != "request":
            for name in sorted((promised - demanded) & after.keys()):
                yield f"{at}.{name}: may be missing now"

    def _choices(self, old: list[Json], new: list[Json], at: str) -> Iterator[str]:
        if self._direction != "answer":
            yield from (
                f"{at}: {_name(o)} was removed or changed" for o in old if not self._any(o, new, old_first=True)
            )
        if self._direction != "request":
            yield from (f"{at}: {_name(n)} is new or changed" for n in new if not self._any(n, old, old_first=False))

    def _any(self, one: Json, many: list[Json], *, old_first: bool) -> bool:
        pairs = [(one, other) if old_first else (other, one) for other in many]
        return any(not list(self.problems(old, new, "")) for old, new in pairs)

    def _may_become(self, keyword: str, old: Any, new: Any) -> bool:
        if old == new:
            return True
        if self._direction == "message":
            return False
        wide, narrow = (new, old) if self._direction == "request" else (old, new)
        if keyword == "enum" and old is not None and new is not None:
            return set(narrow) <= set(wide)
        if keyword in LEAST | MOST | {"pattern", "format", "enum"}:
            if wide is None:
                return True
            if narrow is None or keyword in {"pattern", "format", "enum"}:
                return False
            return bool(wide <= narrow if keyword in LEAST else wide >= narrow)
        return False


def _resolve(root: Json, schema: Json) -> Json:
    while "$ref" in schema:
        found: Any = root
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def _name(schema: Json) -> str:
    return str(schema.get("$ref", schema.get("type", "a choice"))).rpartition("/")[2]
