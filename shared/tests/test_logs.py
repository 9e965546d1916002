"""A log line is one JSON object, whoever writes it."""

import json
import subprocess
import sys

SCRIPT = """
import logging, structlog
from shared import logs
logs.configure("tests", "json", "info")
structlog.contextvars.bind_contextvars(chunk="c1")
structlog.get_logger("ours").info("hello", frames=3)
structlog.get_logger("ours").debug("too small")
logging.getLogger("uvicorn.error").warning("from %s", "uvicorn")
logging.getLogger("uvicorn.access").info("GET /?token=secret")
logging.getLogger("httpx").info("HTTP Request: GET http://x/?token=secret")
logging.getLogger("celery").error("from celery")
try:
    raise ValueError("two\\nlines")
except ValueError:
    structlog.get_logger("ours").exception("failed")
"""


def test_every_line_is_json_with_the_service_and_no_url_of_a_caller() -> None:
    run = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    lines = [json.loads(line) for line in run.stdout.splitlines()]
    assert [line["event"] for line in lines] == ["hello", "from uvicorn", "from celery", "failed"]
    assert {line["service"] for line in lines} == {"tests"}
    assert {line["chunk"] for line in lines} == {"c1"}
    assert lines[0]["frames"] == 3
    assert all(line["timestamp"].endswith("Z") and line["level"] for line in lines)
    assert "ValueError: two\nlines" in lines[3]["exception"]
