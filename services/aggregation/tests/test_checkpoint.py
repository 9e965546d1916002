"""Checkpoints: a belief in the database."""

from hypothesis import given
from hypothesis import strategies as st

from services.aggregation.belief import Belief
from services.aggregation.checkpoint import read_belief, write_belief


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4))
def test_a_belief_survives_being_written_and_read(weights: list[float]) -> None:
    e, c, d, b = (weight / sum(weights) for weight in weights)
    belief = Belief((e, c, d, b), bucket=10, since_us=7, last_evidence_us=9)
    assert read_belief(write_belief(belief)) == belief
