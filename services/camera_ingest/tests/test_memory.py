"""What the C library keeps of freed memory."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

needs_glibc = pytest.mark.skipif(
    not hasattr(ctypes.CDLL(None), "mallopt"), reason="no mallopt: this C library has nothing to set"
)
ROOT = Path(__file__).parents[3]
# Sixteen photos at once, as ingest has them: taken, written and freed.
FAULTS = """
import resource, sys
from services.camera_ingest.memory import keep_for_the_next_photo
print(keep_for_the_next_photo() if sys.argv[1] == "keep" else None)
for round in range(40):
    if round == 20:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    photos = [bytearray(b"x") * 158_000 for _ in range(16)]
    del photos
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 20)
"""


def faults(how: str, **variables: str) -> tuple[str, int]:
    """Return what was told, and the page faults of a round in a process of its own."""
    command = [sys.executable, "-c", FAULTS, how]
    run = subprocess.run(command, capture_output=True, text=True, check=True, env=variables, cwd=ROOT)
    told, number = run.stdout.split()
    return told, int(number)


@needs_glibc
def test_photos_of_ordinary_size_cost_no_page_faults() -> None:
    told, kept = faults("keep")
    assert (told, kept <= 2) == ("True", True)
    assert faults("as it is")[1] > 30  # 600 where pages are of 4 kB


@needs_glibc
def test_what_an_operator_set_stays() -> None:
    told, given_back = faults("keep", MALLOC_TRIM_THRESHOLD_="131072", MALLOC_MMAP_THRESHOLD_="131072")
    assert (told, given_back > 30) == ("False", True)
