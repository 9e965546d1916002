"""The README names every setting, route and metric of this service, and no other."""

import re
from pathlib import Path

from prometheus_client import REGISTRY

from services.image_classifier import classify
from services.image_classifier.api import batch_predictions, batches, feedback, inference, models, predictions, rollout
from services.image_classifier.rollout import controller
from services.image_classifier.settings import Settings
from shared.settings import ServiceSettings

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_every_setting_of_its_own_is_in_the_table() -> None:
    fields = {name: field for name, field in Settings.model_fields.items() if name not in ServiceSettings.model_fields}
    prefix = Settings.model_config["env_prefix"]
    names = {str(field.validation_alias or f"{prefix}{name}".upper()) for name, field in fields.items()}
    assert names == set(re.findall(rf"{prefix}\w+|HUELLA_INGEST_URL", README))
    assert all(field.description for field in fields.values())


def test_every_default_that_is_a_number_is_what_the_table_says() -> None:
    prefix = Settings.model_config["env_prefix"]
    told = dict(re.findall(rf"^\| `({prefix}\w+)` \| (\d[\d ]*) \|", README, re.MULTILINE))
    fields = {f"{prefix}{name}".upper(): field.default for name, field in Settings.model_fields.items()}
    assert len(told) > 15
    assert {name: float(number.replace(" ", "")) for name, number in told.items()} == {
        name: fields[name] for name in told
    }


def test_every_route_is_in_the_table() -> None:
    modules = (models, predictions, batches, batch_predictions, rollout, feedback, inference)
    routes = {f"{method} {route.path}" for module in modules for route in module.router.routes
              for method in route.methods}  # fmt: skip
    assert routes == set(re.findall(r"`((?:GET|POST|PUT|PATCH|DELETE) /[^`]+)`", README))


def test_every_metric_is_named() -> None:
    assert classify.CHUNKS
    assert controller.DRIFTING
    kinds = {"counter": "_total"}
    ours = {
        metric.name + kinds.get(metric.type, "")
        for metric in REGISTRY.collect()
        if metric.name.startswith("huella_classifier_")
    }
    assert ours == set(re.findall(r"huella_classifier_[a-z_]+", README))
