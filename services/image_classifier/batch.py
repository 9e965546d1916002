"""Predicts a folder's photos by the public API: `python -m services.image_classifier.batch FOLDER --out results.csv`.

It sends them as batches of up to 1,000, shows how far they are, and writes a row a photo once all are done. What it
sends is noted beside the result in `<out>.jobs`, so the same command goes on where it stopped, whatever stopped it.
"""

import argparse
import os
import sys
from pathlib import Path
from typing import IO, Final

import httpx

from services.image_classifier.batches.folder import classify_folder
from services.image_classifier.batches.journal import CannotGoOn
from services.image_classifier.batches.public_api import Say
from services.image_classifier.batches.rules import INPUTS_LIMIT
from shared.settings import ServiceSettings
from shared.tokens import PEOPLE, Role, Signer

TOKEN_S: Final = 7 * 86_400


def open_client(url: str) -> httpx.Client:
    """Return a client with an operator's token: HUELLA_TOKEN, the file HUELLA_TOKEN_FILE, or one of our own key's.

    Raises CannotGoOn if there is none of them.
    """
    token, file = os.environ.get("HUELLA_TOKEN"), os.environ.get("HUELLA_TOKEN_FILE")
    try:
        if not token and file:
            token = Path(file).read_text().strip()
        if not token:
            token = Signer(ServiceSettings().keys_folder, "cli").mint("classify", Role.OPERATOR, PEOPLE, TOKEN_S)
    except OSError as error:
        raise CannotGoOn(
            f"there is no token: {error.filename} can't be read. Set HUELLA_TOKEN or HUELLA_TOKEN_FILE to an "
            "operator's, or HUELLA_DATA to the folder of a system on this machine."
        ) from None
    # A batch is answered once all of it is kept.
    patience = httpx.Timeout(300, connect=5)
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=patience, trust_env=False)


def progress_line(stream: IO[str]) -> Say:
    """Return what shows progress: one line that is written over at a terminal, else a line for each change."""
    last = [""]

    def say(text: str) -> None:
        if text != last[0]:
            end = "" if stream.isatty() else "\n"
            start = "\r\x1b[K" if stream.isatty() else ""
            print(f"{start}{text}", end=end, file=stream, flush=True)
            last[0] = text

    return say


def problem_of(folder: Path, out: Path) -> str | None:
    """Return why there is nothing to be done with a folder and a file for the result, or None."""
    if not folder.is_dir():
        return f"{folder} is no folder"
    if out.is_dir() or not out.resolve().parent.is_dir():
        return f"{out} can't be written: it is a folder, or its folder does not exist"
    return None


def run(folder: Path, out: Path, url: str, part: int = INPUTS_LIMIT) -> int:
    """Do all of it and tell how it went; 0 with a result, 1 without, 130 when it was interrupted."""
    say = progress_line(sys.stderr)
    again = "What was sent is predicted meanwhile; the same command goes on where this one stopped."
    try:
        problem = problem_of(folder, out)
        if problem:
            raise CannotGoOn(problem)
        with open_client(url) as client:
            number, errors = classify_folder(folder, out, client, say, part)
    except CannotGoOn as error:
        print(f"\nNot done: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"\nInterrupted. {again}", file=sys.stderr)
        return 130
    print(f"\n{number:,} photos, {errors:,} of them errors: {out}", file=sys.stderr)
    return 0


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(
        prog="python -m services.image_classifier.batch",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folder", type=Path, help="photos, in this folder and all below it")
    parser.add_argument("--out", type=Path, required=True, help="the CSV file to write")
    url = f"http://127.0.0.1:{ServiceSettings().base_port + 2}"
    parser.add_argument("--url", default=url, help="the classifier, or a gateway before it (%(default)s)")
    parser.epilog = (
        "The token is an operator's, from HUELLA_TOKEN or the file that HUELLA_TOKEN_FILE names; on the machine of\n"
        "`make up` none is needed. It ends with 0 with a result, 1 without, 130 when it was interrupted."
    )
    parser.add_argument("--part", type=int, default=INPUTS_LIMIT, help="photos of a batch (%(default)s)")
    given = parser.parse_args()
    return run(given.folder, given.out, given.url, max(1, min(INPUTS_LIMIT, given.part)))


if __name__ == "__main__":
    sys.exit(main())
