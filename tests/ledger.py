"""Did every photo that a camera was told is accepted come to count, once? The arithmetic of Jepsen's total-queue.

See https://github.com/jepsen-io/jepsen/blob/main/jepsen/src/jepsen/checker.clj (`total-queue`).
"""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

Frame = tuple[str, str]
"""A camera's id and its own name for the photo."""


@dataclass(frozen=True)
class Ledger:
    """What became of the photos; each set holds receipts, `attempted` and `acknowledged` are numbers of photos.

    lost: acknowledged and never counted. unexpected: counted, though no camera ever tried to send it. doubled: counted
    twice, or one of several counted receipts of one photo. recovered: counted, though the camera got no answer.
    """

    attempted: int
    acknowledged: int
    counted: int
    lost: frozenset[str]
    unexpected: frozenset[str]
    doubled: frozenset[str]
    recovered: frozenset[str]

    @property
    def kept(self) -> bool:
        """Whether the promise was kept: accepted means counted, once."""
        return not (self.lost or self.unexpected or self.doubled)

    def __str__(self) -> str:
        sets = {name: getattr(self, name) for name in ("lost", "unexpected", "doubled", "recovered")}
        numbers = f"attempted {self.attempted}, acknowledged {self.acknowledged}, counted {self.counted}"
        return numbers + "".join(f", {name} {len(receipts)}" for name, receipts in sets.items())


def compare(
    attempted: Iterable[Frame],
    acknowledged: Iterable[tuple[Frame, str]],
    counted: Iterable[str],
    frame_of: Callable[[str], Frame | None],
) -> Ledger:
    """Compare the cameras' logs with the receipts that aggregation counted, each as often as it has it.

    `acknowledged` are the photos that were answered 201 or 200, with their receipts; `frame_of` says which photo a
    receipt is for that no camera was told of, or None if there is none such.
    """
    tried, answers, times = set(attempted), dict.fromkeys(acknowledged), Counter(counted)
    frames = {receipt: frame for frame, receipt in answers}
    strange = {receipt: frame_of(receipt) for receipt in times.keys() - frames.keys()}
    recovered = {receipt: frame for receipt, frame in strange.items() if frame in tried}
    owners = Counter((frames | recovered)[receipt] for receipt in times.keys() & (frames.keys() | recovered.keys()))
    doubled = {receipt for receipt, number in times.items() if number > 1}
    doubled |= {receipt for receipt, frame in (frames | recovered).items() if owners[frame] > 1 and receipt in times}
    return Ledger(
        attempted=len(tried),
        acknowledged=len({frame for frame, _ in answers}),
        counted=times.total(),
        lost=frozenset(frames.keys() - times.keys()),
        unexpected=frozenset(strange.keys() - recovered.keys()),
        doubled=frozenset(doubled),
        recovered=frozenset(recovered),
    )
