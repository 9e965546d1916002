"""How recorded stays follow a refold: those that are recorded never move nor vanish. Pure, standard library.

A stay is recorded once the checkpoint has passed its beginning, or as soon as a person decided something about it.
Until then (ten minutes at most) a photo that comes late may still move its beginning, or show that there was none.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from services.aggregation.belief import FoldedStay
from services.aggregation.domain import Species


@dataclass(frozen=True, slots=True)
class KeptStay:
    """A stay as it stands in the database."""

    id: str
    species: Species
    from_us: int
    until_us: int | None
    recorded: bool


@dataclass(frozen=True, slots=True)
class Revision:
    """What to write: `opened` are new, `revised` pairs a kept stay with its new from and until, `withdrawn` go."""

    opened: list[FoldedStay]
    revised: list[tuple[KeptStay, int, int | None]]
    withdrawn: list[KeptStay]


def revise(kept: Sequence[KeptStay], folded: Sequence[FoldedStay], now_us: int) -> Revision:
    """Compare the stays of a space that may still change with what the fold says.

    Equal (species, from) are the same stay; else a kept and a folded stay of one species that overlap are. A recorded
    stay keeps its beginning; one that the fold no longer has ends at `now_us`, the newest evidence.
    """
    pairs: list[tuple[KeptStay, FoldedStay]] = []
    unpaired = sorted(folded, key=lambda stay: (stay.from_us, stay.species))
    alone = []
    for stay in sorted(kept, key=lambda stay: (stay.from_us, stay.id)):
        match = next((one for one in unpaired if (one.species, one.from_us) == (stay.species, stay.from_us)), None)
        if match is None:
            alone.append(stay)
        else:
            unpaired.remove(match)
            pairs.append((stay, match))
    lonely = []
    for stay in alone:
        match = next((one for one in unpaired if one.species is stay.species and _overlap(one, stay)), None)
        if match is None:
            lonely.append(stay)
        else:
            unpaired.remove(match)
            pairs.append((stay, match))
    revised = []
    for stay, match in pairs:
        from_us = stay.from_us if stay.recorded else match.from_us
        until_us = None if match.until_us is None else max(match.until_us, from_us)
        if (from_us, until_us) != (stay.from_us, stay.until_us):
            revised.append((stay, from_us, until_us))
    withdrawn = [stay for stay in lonely if not stay.recorded]
    revised += [
        (stay, stay.from_us, max(now_us, stay.from_us)) for stay in lonely if stay.recorded and stay.until_us is None
    ]
    return Revision(unpaired, revised, withdrawn)


def _overlap(one: FoldedStay, other: KeptStay) -> bool:
    starts_in_time = other.until_us is None or one.from_us <= other.until_us
    ends_in_time = one.until_us is None or one.until_us >= other.from_us
    return starts_in_time and ends_in_time
