"""`make classify`: predicts a folder's photos with the system that runs here, or with the part of one that it takes."""

import dataclasses
import signal
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from deploy.local.running import Interrupted, configured, interruptible, running, runs
from deploy.local.system import PROGRAMS, CannotStart, System
from services.image_classifier import batch

NEEDED: Final = ("image_classifier", "image_classifier_worker")
READY_WITHIN_S: Final = 120.0

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def classify(
    photos: Annotated[Path, typer.Argument(help="The folder of photos.")],
    out: Annotated[Path, typer.Option(help="The CSV file to write.")],
) -> None:
    """Write what the model says of each photo below a folder."""
    try:
        system = configured()
        raise typer.Exit(
            batch.run(photos, out, system.url("image_classifier")) if runs(system) else alone(system, photos, out)
        )
    except CannotStart as error:
        print(f"Huella can't start: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def alone(system: System, photos: Path, out: Path) -> int:
    """Start the classifier by itself for as long as it takes. Raises CannotStart."""
    part = dataclasses.replace(system, programs=tuple(one for one in PROGRAMS if one.name in NEEDED))
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
