"""`make classify`: predicts a folder's photos with the system that runs here, or with the part of one that it takes."""

import dataclasses
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Final

import httpx
import typer

from deploy.local.running import Interrupted, configured, has_holder, interruptible, not_ready, running, runs
from deploy.local.system import PROGRAMS, CannotStart, System
from services.image_classifier import batch

NEEDED: Final = ("image_classifier", "image_classifier_batch_worker")
READY_WITHIN_S: Final = 120.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def classify(
    photos: Annotated[Path, typer.Argument(help="The folder of photos.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
) -> None:
    """Write what the model says of each photo below a folder."""
    problem = batch.problem_of(photos, out)
    if problem:
        print(f"Not done: {problem}", file=sys.stderr)
        raise typer.Exit(1)
    try:
        system = configured()
        raise typer.Exit(
            batch.run(photos, out, system.url("image_classifier")) if serves(system) else alone(system, photos, out)
        )
    except CannotStart as error:
        print(f"Huella can't start: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def needed(system: System) -> System:
    """Return the part of a system that predicts photos."""
    return dataclasses.replace(system, programs=tuple(one for one in PROGRAMS if one.name in NEEDED))


def serves(system: System) -> bool:
    """Return whether a system that runs here can be used, waiting for one that is starting, or ending.

    Raises CannotStart if that takes too long.
    """
    part = needed(system)
    deadline, told = time.monotonic() + READY_WITHIN_S, False
    with httpx.Client(timeout=2, trust_env=False) as client:
        while runs(system):
            # One whose first process was killed ends by itself, within a minute: it is not to be begun with.
            if has_holder(system) and not not_ready(part, client):
                return True
            if time.monotonic() > deadline:
                raise CannotStart(
                    f"a system runs on {system.data} and does not answer, or was started by another version of Huella: "
                    f"end it, or see {system.logs}"
                )
            if not told:
                say(f"Waiting for the system on {system.data}, which is starting or ending")
                told = True
            time.sleep(0.5)
    return False


def alone(system: System, photos: Path, out: Path) -> int:
    """Start the classifier by itself for as long as it takes. Raises CannotStart."""
    part = needed(system)
    try:
        with interruptible(), running(part, say, READY_WITHIN_S):
            # Ctrl-C now ends the command, which says how to go on; then the classifier ends with it.
            signal.signal(signal.SIGINT, signal.default_int_handler)
            return batch.run(photos, out, part.url("image_classifier"))
    except Interrupted:
        return 130


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    app()
