import pytest

from services.image_classifier.domain import (
    FORCED,
    Label,
    PresenceThresholds,
    Probabilities,
    Quality,
    Thresholds,
    label,
)

THRESHOLDS = Thresholds(cat=PresenceThresholds(0.8, 0.2), dog=PresenceThresholds(0.7, 0.3))


@pytest.mark.parametrize(
    ("cat", "dog", "expected"),
    [
        (0.9, 0.1, Label.CAT),
        (0.1, 0.9, Label.DOG),
        (0.9, 0.9, Label.BOTH),
        (0.1, 0.1, Label.NONE),
        (0.8, 0.3, Label.CAT),  # the thresholds themselves decide
        (0.2, 0.7, Label.DOG),
        (0.5, 0.1, Label.UNSURE),
        (0.1, 0.5, Label.UNSURE),
        (0.9, 0.5, Label.UNSURE),  # surely a cat, perhaps a dog: neither cat nor both is known
        (0.75, 0.75, Label.UNSURE),  # each species has thresholds of its own
    ],
)
def test_a_label_needs_both_species_decided(cat: float, dog: float, expected: Label) -> None:
    assert label(Probabilities(cat, dog), THRESHOLDS, Quality.OK) is expected


@pytest.mark.parametrize("quality", [q for q in Quality if q is not Quality.OK])
def test_a_bad_picture_is_unsure_however_sure_the_model_is(quality: Quality) -> None:
    assert label(Probabilities(0.99, 0.01), THRESHOLDS, quality) is Label.UNSURE


@pytest.mark.parametrize(("cat", "dog"), [(0.0, 1.0), (0.5, 0.5), (0.499, 0.501), (1.0, 1.0)])
def test_forced_thresholds_always_decide(cat: float, dog: float) -> None:
    assert label(Probabilities(cat, dog), FORCED, Quality.OK) is not Label.UNSURE


@pytest.mark.parametrize("wrong", [-0.01, 1.01, float("nan")])
def test_a_probability_outside_0_to_1_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        Probabilities(cat=0.5, dog=wrong)


@pytest.mark.parametrize(("above", "below"), [(0.2, 0.8), (1.1, 0.5), (0.5, -0.1), (float("nan"), 0.5)])
def test_thresholds_out_of_order_are_refused(above: float, below: float) -> None:
    with pytest.raises(ValueError, match="order"):
        PresenceThresholds(present_above=above, absent_below=below)
