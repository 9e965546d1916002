"""Where the bytes of a batch's inputs come from: the upload that is kept, or camera_ingest."""

from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager

from services.image_classifier.batches import claims
from services.image_classifier.batches.claims import Input
from services.image_classifier.images import Images
from shared.database import Database

Fetch = Callable[[Sequence[str]], AbstractContextManager[Images]]


def kept(database: Database, batch_id: str, part: Sequence[Input]) -> Generator[tuple[int, bytes | str]]:
    """Give the bytes of uploaded inputs by number; those of a batch that was cancelled meanwhile are gone."""
    with database.read() as connection:
        found = claims.read_contents(connection, batch_id, [one.number for one in part])
    yield from found.items()


def fetched(fetch: Fetch, part: Sequence[Input]) -> Generator[tuple[int, bytes | str]]:
    """Give the bytes of receipts' images by number, or why there are none. Raises FetchFailed."""
    numbers = {one.name: one.number for one in part}
    missing = set(numbers)
    with fetch(list(numbers)) as images:
        for receipt, content in images.members:
            if receipt in missing:
                missing.remove(receipt)
                yield numbers[receipt], content if content is not None else "larger than the classifier takes"
    for receipt in missing:
        known = receipt in images.states
        yield numbers[receipt], "its image is not kept any more" if known else "camera_ingest does not know it"
