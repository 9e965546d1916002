"""What the C library keeps of freed memory, so that the next photo need not ask the system for it again."""

import ctypes
import os
from typing import Final

MIB: Final = 1024 * 1024
# Names of glibc's <malloc.h>, by the variables with which an operator sets the same.
_OPTIONS: Final = {
    "MALLOC_MMAP_THRESHOLD_": (-3, 4 * MIB),  # what is larger is the system's at once when it is freed
    "MALLOC_TRIM_THRESHOLD_": (-1, 8 * MIB),  # so much of an arena's end is kept
}


def keep_for_the_next_photo() -> bool:
    """Let glibc keep freed photos of ordinary size instead of giving them back after each; tells whether it does.

    By default it gives back what is free at an arena's end beyond some hundred kB, as much as a few photos take: each
    had its pages taken from the system, zeroed and given back, 49 page faults a frame. And after a photo of 10 MB it
    would keep as much in every arena; now it does not. Both options are set, since one alone freezes the other at
    128 kB. What an operator set stays; another C library is left as it is.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None or any(name in os.environ for name in _OPTIONS):
        return False
    return all(mallopt(option, value) for option, value in _OPTIONS.values())
