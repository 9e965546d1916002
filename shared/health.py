"""`/livez` (the process answers) and `/readyz` (it can do its work now), the same on every service."""

from collections.abc import Callable, Mapping

import structlog
from fastapi import FastAPI
from fastapi.responses import JSONResponse

log = structlog.get_logger(__name__)

Check = Callable[[], None]


def install(app: FastAPI, checks: Mapping[str, Check]) -> None:
    """Serve both; a check returns when all is well and raises when not. Details go to the log, not to strangers."""

    @app.get("/livez", include_in_schema=False)
    async def livez() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> JSONResponse:
        results = {name: _run(name, check) for name, check in checks.items()}
        ready = all(result == "ok" for result in results.values())
        body = {"status": "ok" if ready else "unavailable", "checks": results}
        return JSONResponse(body, status_code=200 if ready else 503)


def _run(name: str, check: Check) -> str:
    try:
        check()
    except Exception as error:  # noqa: BLE001 - a health check reports every failure, whatever it is
        log.warning("not ready", check=name, error=str(error)[:200], kind=type(error).__name__)
        return "failed"
    return "ok"
