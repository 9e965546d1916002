"""Drawn photos that no camera waits for: a small sketch at once, and the whole picture as soon as it is drawn.

So a page lives within seconds, and on a slow or busy machine photos get softer instead of rare.
"""

import multiprocessing
import os
import signal
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from multiprocessing.connection import Connection

from PIL import Image

from deploy.local.drawing.light import Exposed
from deploy.local.photos import DrawnPhotos
from deploy.local.scenes import SIZE, Scene, exposed, photo_of, to_jpeg
from deploy.local.story import Shot, Space, Story

KEPT = 24
NICE = 10  # the whole pictures have time; the system that they are shown to has not
CLOSE_S = 5.0

Seen = tuple[Scene, int]
Draw = Callable[[Scene, int, tuple[int, int]], Exposed]


class Apart:
    """Draws in a process of its own and of low priority.

    A thread of low priority would stop every camera whenever it waits for the processor while it has Python's lock.
    """

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_draw_for, args=(there,), name="drawing", daemon=True)
        self._process.start()
        there.close()

    def __call__(self, scene: Scene, side: int, size: tuple[int, int]) -> Exposed:
        """Return the scene as it is drawn there. Raises EOFError or OSError once it was closed."""
        self._here.send((scene, side, size))
        drawn: Exposed = self._here.recv()
        return drawn

    def close(self) -> None:
        """End the process, whatever it is drawing."""
        self._process.terminate()
        self._process.join(CLOSE_S)


def _draw_for(asked: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the demo, which ends this process
    os.nice(NICE)
    with suppress(EOFError, OSError):  # whoever asked is gone
        while True:
            asked.send(exposed(*asked.recv()))


class SketchedPhotos:
    """Photos of a scene's sketch until `draw` has drawn the scene whole; the same for the same shot but for that.

    One sketch and one whole picture are drawn at a time: it is the processor that they wait for, and what a drawing
    needs of memory is needed once. `close` it, and then whoever draws.
    """

    def __init__(self, spaces: Sequence[Space], draw: Draw, size: tuple[int, int] = SIZE) -> None:
        self._size = size
        self._draw = draw
        self._drawn = DrawnPhotos(spaces, size)
        self._sketching = threading.Lock()
        self._changed = threading.Condition()
        self._kept: OrderedDict[tuple[Seen, bool], Exposed] = OrderedDict()
        self._wanted: dict[str, Seen] = {}
        self._closed = False
        self._preparing: threading.Thread | None = None
        self._thread = threading.Thread(target=self._draw_wanted, name="drawing", daemon=True)
        self._thread.start()

    def take(self, camera_id: str, shot: Shot) -> bytes:
        """Return the photo that a camera takes of what is before it."""
        seen = self._drawn.scene(camera_id, shot)
        return to_jpeg(photo_of(self._whole(camera_id, seen) or self._sketch(seen), *seen, shot.moment))

    def prepare(self, shots: Mapping[str, Shot]) -> None:
        """Begin to sketch what cameras will see first, in the order in which they will ask, without waiting for it."""
        self._preparing = threading.Thread(target=self._prepare, args=(shots,), name="sketching", daemon=True)
        self._preparing.start()

    def prepared(self, within_s: float) -> bool:
        """Wait until that is done, and return whether it was within so many seconds."""
        if self._preparing is not None:
            self._preparing.join(within_s)
        return self._preparing is None or not self._preparing.is_alive()

    def _prepare(self, shots: Mapping[str, Shot]) -> None:
        for camera_id, shot in shots.items():
            if self._closed:
                return
            self._sketch(self._drawn.scene(camera_id, shot))

    def close(self) -> None:
        """Draw no more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _whole(self, camera_id: str, seen: Seen) -> Exposed | None:
        """Return the whole picture if it was drawn; else ask for it, in the place of what this camera saw before."""
        with self._changed:
            whole = self._find(seen, whole=True)
            if whole is None:
                self._wanted[camera_id] = seen
                self._changed.notify_all()
            return whole

    def _sketch(self, seen: Seen) -> Exposed:
        with self._changed:
            sketch = self._find(seen, whole=False)
        if sketch is not None:  # it waits for nobody else's
            return sketch
        with self._sketching:
            with self._changed:
                sketch = self._find(seen, whole=False)
            if sketch is None:
                small = exposed(*seen, (self._size[0] // 2, self._size[1] // 2))
                sketch = replace(small, picture=small.picture.resize(self._size, Image.Resampling.BICUBIC))
                self._keep(seen, sketch, whole=False)
            return sketch

    def _draw_wanted(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._closed)
                if self._closed:
                    return
                seen = self._wanted.pop(next(iter(self._wanted)))
                if self._find(seen, whole=True) is not None:  # another look at the same
                    continue
            try:
                self._keep(seen, self._draw(*seen, self._size), whole=True)
            except (EOFError, OSError):
                if not self._closed:  # it was ended from outside: sketches are what there is from now on
                    print("No more whole pictures: the process that draws them has ended", file=sys.stderr)
                return

    def _find(self, seen: Seen, *, whole: bool) -> Exposed | None:
        found = self._kept.get((seen, whole))
        if found is not None:
            self._kept.move_to_end((seen, whole))
        return found

    def _keep(self, seen: Seen, drawn: Exposed, *, whole: bool) -> None:
        with self._changed:
            self._kept[seen, whole] = drawn
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)


@contextmanager
def sketched(story: Story, first_s: float) -> Iterator[SketchedPhotos]:
    """Give photos of a story's shelter, those of `first_s` seconds after its start being sketched at once."""
    with closing(Apart()) as draw, closing(SketchedPhotos(story.spaces, draw)) as photos:
        photos.prepare({camera: story.shot(camera, first_s, 0) for space in story.spaces for camera in space.cameras})
        yield photos
