"""The contracts in the repository are what the code does, and messages of the present schema are read for ever."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

import jsonschema
import pytest

from services.aggregation import deliveries
from services.aggregation.settings import Settings as AggregationSettings
from services.aggregation.worker import MIGRATIONS, record_estimates
from services.image_classifier.classify import Tools, classify_frames
from services.image_classifier.decode import decode
from services.image_classifier.images import FetchFailed
from services.image_classifier.model_version import ModelVersion
from services.image_classifier.rollout import store
from services.image_classifier.rollout.lineup import alone
from services.image_classifier.tests.tiny_model import write_tiny_model
from shared.database import Database
from shared.messages import MESSAGES, to_wire
from shared.migrations import migrate
from tests.contract.export import contracts, problems, read

EXAMPLES = sorted((Path(__file__).parent / "messages").glob("*/*.json"))
NOW = contracts()


@pytest.mark.parametrize("path", NOW)
def test_the_contract_in_the_repository_is_current(path: str) -> None:
    committed = read(path)
    assert committed is not None, f"{path} is missing: run `make contracts`"
    assert problems(path, committed, NOW[path]) == [], "others rely on what this changes"
    assert committed == NOW[path], f"{path} is older than the code: run `make contracts`"


def test_aggregation_tells_the_sum_of_all_by_the_stripe_that_the_classifier_reads_alone() -> None:
    assert deliveries.WHOLE == store.WHOLE


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_each_example_is_valid_by_the_exported_schema_and_read_by_the_code(path: Path) -> None:
    name = path.name.partition(".")[0]
    example = json.loads(path.read_text())
    message = MESSAGES[name].model_validate(example)
    validator = jsonschema.Draft202012Validator(NOW[f"shared/schemas/{name}.json"])
    validator.validate(example)
    validator.validate(to_wire(message))
    assert MESSAGES[name].model_validate(to_wire(message)) == message


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.name.startswith("classify")], ids=lambda p: p.stem)
def test_the_classifier_takes_each_example(path: Path, tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []

    def fetch(url: str, receipts: Sequence[str]) -> NoReturn:
        asked.append(receipts)
        raise FetchFailed("the test ends here")

    in_force = alone(ModelVersion.load(write_tiny_model(tmp_path / "tiny")))
    tools = Tools(
        "http://127.0.0.1:8001", lambda: in_force, decode, fetch, publish=lambda _: None, record=lambda _: None
    )
    example = json.loads(path.read_text())
    classify_frames(example, tools)
    assert asked == [[frame["receipt"] for frame in example["frames"]]]


@pytest.mark.parametrize("path", [path for path in EXAMPLES if path.name.startswith("record")], ids=lambda p: p.stem)
def test_aggregation_counts_each_example(path: Path, tmp_path: Path) -> None:
    settings = AggregationSettings(data=tmp_path, base_port=8000)
    migrate(settings.database_url, MIGRATIONS)
    database = Database(settings.database_url)
    try:
        recorded = record_estimates(database, settings, json.loads(path.read_text()))
    finally:
        database.close()
    assert recorded is not None
    outcomes = [row["outcome"] for row in json.loads(path.read_text())["results"]]
    assert (len(recorded.counted), recorded.rejected) == (outcomes.count("estimate"), outcomes.count("rejected"))


def test_every_message_and_outcome_has_an_example() -> None:
    assert {path.name.partition(".")[0] for path in EXAMPLES} == set(MESSAGES)
    rows = [row for path in EXAMPLES for row in json.loads(path.read_text()).get("results", [])]
    assert {row["outcome"] for row in rows} == {"estimate", "rejected", "retry"}
    assert {row.get("label") for row in rows} >= {"cat", "dog", "both", "none", "unsure"}


@pytest.mark.parametrize("path", [path for path in NOW if path.endswith("openapi.json")])
def test_operations_are_told_apart_and_described(path: str) -> None:
    document: dict[str, Any] = NOW[path]
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    assert [name for name, operation in zip(names, operations, strict=True) if not operation.get("summary")] == []
    # The Open Inference Protocol has its own version in its addresses, of which ours have only the first.
    versioned = {route.startswith(("/v1/", "/v2")) for route in document["paths"]}
    assert versioned == {"dashboard" not in path}  # a page's address is for people, who bookmark it
