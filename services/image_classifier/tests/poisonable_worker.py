"""A worker that one photo can kill, for tests: `python -m services.image_classifier.tests.poisonable_worker [batches]`.

It is the real worker with another decoder. A photo whose bytes hold POISON (a JPEG's comment may) ends the process at
once, as a reader that crashes on a broken file would.
"""

import os
import signal
import sys

from services.image_classifier import decode, worker
from services.image_classifier.batches import worker as batch_worker
from services.image_classifier.decode import Picture
from services.image_classifier.settings import Settings

POISON = b"huella-test-poison"


def decode_or_die(data: bytes, size: int) -> Picture:
    """Decode as always, unless the photo is poison."""
    if POISON in data:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode.decode(data, size)


if __name__ == "__main__":
    (batch_worker if sys.argv[1:] == ["batches"] else worker).run(Settings(), decode=decode_or_die)
