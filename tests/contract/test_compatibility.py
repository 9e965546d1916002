"""A change that breaks others is seen, and one that only adds is let through."""

import copy
from collections.abc import Callable
from typing import Any

import pytest

from shared.messages import ClassifyFrames, RecordEstimates
from tests.contract.compatibility import openapi_problems, schema_problems

Json = dict[str, Any]
Change = Callable[[Json], object]


def frame(schema: Json) -> Json:
    found: Json = schema["$defs"]["FrameToClassify"]
    return found


def remove(schema: Json, name: str) -> None:
    del schema["properties"][name]
    if name in schema["required"]:
        schema["required"].remove(name)


MESSAGE_BREAKS: dict[str, Change] = {
    "a field is removed": lambda s: remove(s, "images_url"),
    "a field of a part is removed": lambda s: remove(frame(s), "sha256"),
    "an optional field is removed": lambda s: remove(s, "traceparent"),
    "a field is retyped": lambda s: s["properties"]["chunk"].update(type="integer"),
    "a field of a part is retyped": lambda s: frame(s)["properties"]["receipt"].update(type="integer"),
    "a field gets another form": lambda s: frame(s)["properties"]["observed_at"].pop("format"),
    "a new field is required": lambda s: s["required"].append("new") or s["properties"].update(new={"type": "string"}),
    "a field may be missing": lambda s: s["required"].remove("images_url"),
    "an optional field is required": lambda s: s["required"].append("traceparent"),
    "a bound is tightened": lambda s: s["properties"]["frames"].update(maxItems=8),
    "a bound is loosened": lambda s: s["properties"]["frames"].update(maxItems=1000),
    "a pattern is changed": lambda s: frame(s)["properties"]["sha256"].update(pattern=".*"),
    "the schema number is another": lambda s: s["properties"]["schema"].update(const=2),
    "other fields are forbidden": lambda s: s.update(additionalProperties=False),
}
MESSAGE_KEEPS: dict[str, Change] = {
    "nothing": lambda s: None,
    "an optional field is new": lambda s: s["properties"].update(new={"type": "string"}),
    "an optional field of a part is new": lambda s: frame(s)["properties"].update(new={"type": "integer"}),
    "the text is another": lambda s: s.update(description="Other words.", title="Other"),
    "a part has another name": lambda s: (
        s["$defs"].update(Other=s["$defs"].pop("FrameToClassify"))
        or s["properties"]["frames"].update(items={"$ref": "#/$defs/Other"})
    ),
}


@pytest.mark.parametrize("change", MESSAGE_BREAKS.values(), ids=MESSAGE_BREAKS.keys())
def test_a_message_that_breaks_others_is_seen(change: Change) -> None:
    old = ClassifyFrames.model_json_schema(by_alias=True)
    new = copy.deepcopy(old)
    change(new)
    assert schema_problems(old, new, "message")


@pytest.mark.parametrize("change", MESSAGE_KEEPS.values(), ids=MESSAGE_KEEPS.keys())
def test_a_message_that_only_grows_is_let_through(change: Change) -> None:
    old = ClassifyFrames.model_json_schema(by_alias=True)
    new = copy.deepcopy(old)
    change(new)
    assert schema_problems(old, new, "message") == []


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s["properties"]["results"]["items"]["oneOf"].pop(),
        lambda s: s["$defs"]["EstimateResult"]["properties"]["label"]["enum"].append("raccoon"),
        lambda s: s["$defs"]["EstimateResult"]["properties"]["label"]["enum"].remove("unsure"),
        lambda s: remove(s["$defs"]["SpeciesProbabilities"], "dog"),
        lambda s: s["properties"]["results"]["items"]["oneOf"].append({"type": "string"}),
    ],
    ids=["an outcome less", "a label more", "a label less", "a probability less", "an outcome more"],
)
def test_results_that_break_others_are_seen(change: Change) -> None:
    old = RecordEstimates.model_json_schema(by_alias=True)
    new = copy.deepcopy(old)
    change(new)
    assert schema_problems(old, new, "message")


def thing(name: str) -> Json:
    return {
        "type": "object",
        "required": ["id", "state"],
        "properties": {
            "id": {"type": "string", "maxLength": 64},
            "state": {"type": "string", "enum": ["open", "shut"]},
            "parent": {"$ref": f"#/components/schemas/{name}"},
            "note": {"anyOf": [{"type": "string"}, {"type": "null"}]},
        },
    }


API: Json = {
    "openapi": "3.1.0",
    "paths": {
        "/v1/things/{id}": {
            "put": {
                "parameters": [
                    {"name": "id", "in": "path", "required": True, "schema": {"type": "string"}},
                    {"name": "dry", "in": "query", "schema": {"type": "boolean"}},
                ],
                "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "responses": {
                    "200": {
                        "description": "It.",
                        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Answer"}}},
                    },
                    "404": {"description": "None."},
                },
            }
        }
    },
    "components": {"schemas": {"Thing": thing("Thing"), "Answer": thing("Answer")}},
}


def operation(api: Json) -> Json:
    found: Json = api["paths"]["/v1/things/{id}"]["put"]
    return found


def body(api: Json) -> Json:
    found: Json = api["components"]["schemas"]["Thing"]
    return found


def answer(api: Json) -> Json:
    found: Json = api["components"]["schemas"]["Answer"]
    return found


API_BREAKS: dict[str, Change] = {
    "a route is removed": lambda a: a["paths"].clear(),
    "a method is removed": lambda a: (
        a["paths"]["/v1/things/{id}"].update(post=operation(a)) or a["paths"]["/v1/things/{id}"].pop("put")
    ),
    "a parameter is removed": lambda a: operation(a)["parameters"].pop(),
    "a parameter is required": lambda a: operation(a)["parameters"][1].update(required=True),
    "a parameter is retyped": lambda a: operation(a)["parameters"][1]["schema"].update(type="integer"),
    "a new parameter is required": lambda a: operation(a)["parameters"].append(
        {"name": "new", "in": "query", "required": True, "schema": {"type": "string"}}
    ),
    "a body is required": lambda a: operation(a)["requestBody"].update(required=True),
    "a body's field is required": lambda a: body(a)["required"].append("note"),
    "a body's field is removed": lambda a: remove(body(a), "note"),
    "a body's bound is tightened": lambda a: body(a)["properties"]["id"].update(maxLength=10),
    "a body's choice is removed": lambda a: body(a)["properties"]["state"]["enum"].remove("open"),
    "a body's null is refused": lambda a: body(a)["properties"]["note"]["anyOf"].pop(),
    "an answer is removed": lambda a: operation(a)["responses"].pop("200"),
    "an answer's form is removed": lambda a: operation(a)["responses"]["200"]["content"].clear(),
    "an answer's field is removed": lambda a: remove(answer(a), "state"),
    "an answer's field is retyped": lambda a: answer(a)["properties"]["id"].update(type="integer"),
    "an answer's field may be missing": lambda a: answer(a)["required"].remove("id"),
    "an answer has a new choice": lambda a: answer(a)["properties"]["state"]["enum"].append("ajar"),
    "an answer's field may be a number too": lambda a: answer(a)["properties"]["note"]["anyOf"].append(
        {"type": "integer"}
    ),
}
API_KEEPS: dict[str, Change] = {
    "nothing": lambda a: None,
    "a route is new": lambda a: a["paths"].update({"/v1/new": {"get": {"responses": {"200": {}}}}}),
    "an optional parameter is new": lambda a: operation(a)["parameters"].append(
        {"name": "new", "in": "query", "schema": {"type": "string"}}
    ),
    "a body's bound is loosened": lambda a: body(a)["properties"]["id"].update(maxLength=100),
    "a body has a new choice": lambda a: body(a)["properties"]["state"]["enum"].append("ajar"),
    "a body's field may be missing": lambda a: body(a)["required"].remove("state"),
    "a body has an optional field": lambda a: body(a)["properties"].update(new={"type": "string"}),
    "an answer has a new field": lambda a: (
        answer(a)["properties"].update(new={"type": "string"}) or answer(a)["required"].append("new")
    ),
    "an answer's field is always there": lambda a: answer(a)["required"].append("note"),
    "an answer's bound is tightened": lambda a: answer(a)["properties"]["id"].update(maxLength=10),
    "an answer has a choice less": lambda a: answer(a)["properties"]["state"]["enum"].remove("open"),
    "an error is told otherwise": lambda a: operation(a)["responses"].pop("404"),
}


@pytest.mark.parametrize("change", API_BREAKS.values(), ids=API_BREAKS.keys())
def test_an_api_that_breaks_others_is_seen(change: Change) -> None:
    new = copy.deepcopy(API)
    change(new)
    assert openapi_problems(API, new)


@pytest.mark.parametrize("change", API_KEEPS.values(), ids=API_KEEPS.keys())
def test_an_api_that_only_grows_is_let_through(change: Change) -> None:
    new = copy.deepcopy(API)
    change(new)
    assert openapi_problems(API, new) == []
