"""The words of aggregation, and the rules that need no probability: what counts, what is free or up for adoption."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum


class Occupancy(StrEnum):
    """What is shown of a space; `UNSURE` and `STALE` are answers of the first rank, not errors."""

    EMPTY = "empty"
    CAT = "cat"
    DOG = "dog"
    BOTH = "both"
    UNSURE = "unsure"
    STALE = "stale"


class Species(StrEnum):
    """What a stay is of."""

    CAT = "cat"
    DOG = "dog"


class Label(StrEnum):
    """What a person can say of a frame."""

    CAT = "cat"
    DOG = "dog"
    BOTH = "both"
    NONE = "none"

    def shows(self, species: Species) -> bool:
        """Return whether the label says that `species` is in the frame."""
        return self is Label.BOTH or self.value == species.value


class Purpose(StrEnum):
    """What a space is for."""

    ADOPTION = "adoption"
    QUARANTINE = "quarantine"
    STAFF = "staff"


class AdoptionState(StrEnum):
    """What people decided of a stay."""

    AVAILABLE = "available"
    RESERVED = "reserved"
    ADOPTED = "adopted"
    NOT_AVAILABLE = "not_available"


def first_state(purpose: Purpose) -> AdoptionState:
    """Return the adoption state of a stay that nobody has decided about yet."""
    return AdoptionState.AVAILABLE if purpose is Purpose.ADOPTION else AdoptionState.NOT_AVAILABLE


@dataclass(frozen=True, slots=True)
class ShownSpace:
    """What totals need of a space."""

    id: str
    purpose: Purpose
    in_service: bool
    occupancy: Occupancy


@dataclass(frozen=True, slots=True)
class ShownStay:
    """What totals need of an open stay."""

    space_id: str
    species: Species
    state: AdoptionState
    number_of_animals: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The shelter in numbers: spaces in service by occupancy, animals up for adoption, spaces free."""

    spaces: dict[Occupancy, int]
    cats_up_for_adoption: int
    dogs_up_for_adoption: int
    spaces_free: int


def totals(spaces: Iterable[ShownSpace], open_stays: Iterable[ShownStay]) -> Totals:
    """Add up the spaces in service; a space out of service is shown but counts nowhere, nor do its stays."""
    in_service = {space.id: space for space in spaces if space.in_service}
    by_occupancy = dict.fromkeys(Occupancy, 0)
    free = 0
    for space in in_service.values():
        by_occupancy[space.occupancy] += 1
        free += space.purpose is Purpose.ADOPTION and space.occupancy is Occupancy.EMPTY
    animals = dict.fromkeys(Species, 0)
    for stay in open_stays:
        if stay.state is AdoptionState.AVAILABLE and stay.space_id in in_service:
            animals[stay.species] += stay.number_of_animals
    return Totals(by_occupancy, animals[Species.CAT], animals[Species.DOG], free)


def is_stale(last_evidence_us: int | None, stale_after_s: int, now_us: int) -> bool:
    """Return whether nothing was seen of a space for longer than it allows; times in microseconds since 1970."""
    return last_evidence_us is None or now_us - last_evidence_us > stale_after_s * 1_000_000
