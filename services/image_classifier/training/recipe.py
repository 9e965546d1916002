"""What decides what a run learns."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, Self

NETWORKS: Final = ("mobilenet_v3_small", "mobilenet_v3_large", "shufflenet_v2_x1_0", "regnet_y_400mf")
"""The architectures of torchvision that can be trained, the cheapest family first."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides what a run learns; a run is resumed only under the same recipe."""

    network: str = NETWORKS[0]
    epochs: int = 15
    batch: int = 64
    rate: float = 2e-3
    weight_decay: float = 0.04
    warm_up: float = 0.06
    smoothing: float = 0.02
    ema: float = 0.999
    sizes: tuple[tuple[int, float], ...] = ((96, 0.6), (128, 1.0))
    """Pixels a side, and the share of the epochs after which the next size begins: smaller pictures teach the same
    shapes in half the time, and the last epochs see what serving sees. 64 pixels are too few: loss stayed at 0.52."""
    strongest: float = 0.7
    """How strong augmentation becomes, from 0 to 1 ..."""
    strongest_from: float = 0.5
    """... and the share of the epochs over which it grows from nothing: at full strength from the start, the network
    of this size had learnt nothing after an epoch."""
    cutmix: float = 0.0
    """The share of examples in which a rectangle of another photo covers part of the first, at full strength."""
    pasted: float = 0.2
    """The share of examples with an animal or a patch pasted in, at full strength: what is small in a frame."""
    teacher: str = ""
    """SHA-256 of the checkpoint whose probabilities the run learns too; none if it learns from labels alone."""
    teacher_share: float = 0.5
    """How much of the loss is the teacher's, from 0 to 1; without a teacher it means nothing."""
    start_from: str = ""
    """SHA-256 of the checkpoint, or of the graph of a model version, whose weights the run begins with; none if it
    begins from scratch."""
    repeated: tuple[tuple[str, int], ...] = ()
    """Sources whose photos are seen several times an epoch, and how often: small ones, or those that are hard."""
    seed: int = 1
    hold_out: tuple[str, ...] = ()
    """Sources that are never trained on, so that they can tell how the model does elsewhere."""

    def __post_init__(self) -> None:
        if self.network not in NETWORKS:
            raise ValueError(f"network {self.network} is none of {', '.join(NETWORKS)}")

    @property
    def served_size(self) -> int:
        """Pixels a side that the model version will be given: an eighth more than in the last epochs.

        A crop is enlarged to the size of training, so that animals look larger there than in whole pictures; larger
        whole pictures make up for it (Touvron et al. 2019, "Fixing the train-test resolution discrepancy").
        """
        return self.sizes[-1][0] * 9 // 8

    def size(self, epoch: int) -> int:
        """Give the pixels a side of an epoch's pictures; epochs count from 0."""
        return next(size for size, until in self.sizes if epoch < until * self.epochs)

    def strength(self, epoch: int) -> float:
        """Give how strong an epoch's augmentation is, from 0 to 1."""
        grown = epoch / (self.strongest_from * self.epochs) if self.strongest_from else 1.0
        return self.strongest * min(1.0, grown)

    def described(self) -> dict[str, Any]:
        """Give the recipe as JSON can hold it."""
        return {
            **asdict(self),
            "hold_out": list(self.hold_out),
            "sizes": [list(part) for part in self.sizes],
            "repeated": [list(part) for part in self.repeated],
        }

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """Read what `described` gave; what a recipe did not have yet when it was written has its default.

        Raises ValueError if it says something that this code knows nothing of.
        """
        unknown = described.keys() - {field.name for field in fields(cls)}
        if unknown:
            raise ValueError(f"the recipe has {', '.join(sorted(unknown))}, of which this version knows nothing")
        sizes = described.get("sizes", cls().sizes)
        return cls(
            **{
                **described,
                "hold_out": tuple(described.get("hold_out", ())),
                "sizes": tuple((int(size), float(until)) for size, until in sizes),
                "repeated": tuple((str(source), int(times)) for source, times in described.get("repeated", ())),
            }
        )


def sizes(text: str) -> tuple[tuple[int, float], ...]:
    """Read sizes from the command line: `96:0.6,128:1`."""
    parts = (part.partition(":") for part in text.split(","))
    return tuple((int(size), float(until)) for size, _, until in parts)


def repeated(text: str) -> tuple[tuple[str, int], ...]:
    """Read from the command line how often sources are seen an epoch: `ka:3,drawn:4`."""
    parts = (part.partition(":") for part in text.split(",") if part)
    return tuple((source, int(times)) for source, _, times in parts)
