"""The evidence of one space that may still change, folded as far as it goes, and remembered from message to message.

What a worker remembers is true only while nobody else folded the space: each fold writes a name of its own into the
space's row, in its transaction, and a remembered window is used only if it bears the name that the row has. A fold
that was rolled back leaves a name that no row ever has.
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from services.aggregation.belief import Belief, Fold, FoldedStay, Sightings, Span
from services.aggregation.occupancy import Image, Rules

REMEMBERED_IMAGES = 50_000
"""Images remembered by one process, over all spaces: some 30 MB."""


@dataclass(frozen=True, slots=True)
class Mark:
    """The state of a fold just before a bucket."""

    bucket: int
    belief: Belief
    spans: tuple[Span, ...]
    closed: tuple[FoldedStay, ...]


@dataclass(slots=True)
class Window:
    """Evidence from a horizon before the checkpoint on, by bucket and camera, with the marks of its last fold."""

    buckets: dict[int, dict[str, dict[str, Image]]] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    sightings: Sightings = field(default_factory=Sightings)
    touched: int | None = None
    """First bucket that changed since the last fold; None if the whole window is to be folded."""

    def put(self, bucket: int, camera_id: str, images: dict[str, Image]) -> None:
        """Make these the images of a camera in a bucket."""
        cameras = self.buckets.setdefault(bucket, {})
        before = cameras.get(camera_id, {})
        for digest in before.keys() - images.keys():
            self.sightings.remove(bucket, camera_id, digest)
        for digest in images.keys() - before.keys():
            self.sightings.add(bucket, camera_id, digest)
        cameras[camera_id] = images
        if self.touched is not None:
            self.touched = min(self.touched, bucket)

    def number_of_images(self) -> int:
        """Return how many images the window holds."""
        return sum(len(images) for cameras in self.buckets.values() for images in cameras.values())

    def fold(self, start: Belief, folded_before: int, stale_after_s: int, rules: Rules) -> Fold:
        """Fold all buckets from `folded_before` on, beginning with `start`, or where the last fold still holds."""
        fold = Fold(start, stale_after_s, rules, sightings=self.sightings)
        touched = self.touched
        kept = [] if touched is None else [mark for mark in self.marks if folded_before <= mark.bucket <= touched]
        begin = folded_before
        if kept:
            # A mark is the state before its bucket: the last one is where to begin again.
            last = kept.pop()
            fold.belief, begin = last.belief, last.bucket
            fold.spans = [span for span in last.spans if span.since_us > start.since_us]
            fold.closed = [stay for stay in last.closed if _ended_after(stay, start, folded_before)]
        marks = kept
        for bucket in sorted(one for one in self.buckets if one >= begin):
            marks.append(Mark(bucket, fold.belief, tuple(fold.spans), tuple(fold.closed)))
            fold.take(bucket, self.buckets[bucket])
        self.marks = marks
        self.touched = max(self.buckets, default=folded_before) + rules.bucket_s
        return fold

    def belief_before(self, bucket: int, fold: Fold) -> Belief:
        """Return what was believed before a bucket of the fold just done, when no time has passed since."""
        return next((mark.belief for mark in self.marks if mark.bucket >= bucket), fold.belief)

    def forget_before(self, bucket: int) -> None:
        """Let go of the evidence before a bucket."""
        for old in [one for one in self.buckets if one < bucket]:
            for camera_id, images in self.buckets.pop(old).items():
                for digest in images:
                    self.sightings.remove(old, camera_id, digest)


def _ended_after(stay: FoldedStay, checkpoint: Belief, folded_before: int) -> bool:
    """Return whether a fold from the checkpoint on would itself end this stay."""
    open_then = checkpoint.stays.get(stay.species)
    return stay.from_us >= folded_before * 1_000_000 or (open_then is not None and open_then.from_us == stay.from_us)


class Windows:
    """The windows that one process remembers, the least used let go first."""

    def __init__(self, limit: int = REMEMBERED_IMAGES) -> None:
        self._limit = limit
        self._windows: OrderedDict[str, tuple[str, int, Window]] = OrderedDict()
        self._images = 0

    def take(self, space_id: str, fold: str) -> Window | None:
        """Hand out the window of a space if it is that of the fold of this name; it is remembered no more."""
        name, images, window = self._windows.pop(space_id, ("", 0, None))
        self._images -= images
        return window if name == fold else None

    def keep(self, space_id: str, fold: str, window: Window) -> None:
        """Remember a window under the name of its fold."""
        self.take(space_id, "")
        images = window.number_of_images()
        self._windows[space_id] = (fold, images, window)
        self._images += images
        while self._images > self._limit:
            _, (_, dropped, _) = self._windows.popitem(last=False)
            self._images -= dropped
