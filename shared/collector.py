"""How Python's cycle collector works in a process that serves."""

import gc

YOUNG = 20_000
"""Objects made since the last collection that start the next one; Python's own 700 is a few requests' worth."""


def collect_rarely() -> None:
    """Leave what is loaded by now out of every later collection, and collect the rest less often.

    Modules, routes and table definitions are there for good, and a full collection that walks over them stops a
    service for a tenth of a second. Call it once, when all is loaded. Cycles are still found, so memory stays bounded.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(YOUNG, 20, 20)
