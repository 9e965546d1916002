"""Receipts tell when they were given, and two ledgers are equal exactly when their digests are."""

from datetime import UTC, datetime, timedelta

import pytest
import uuid_utils
from hypothesis import given
from hypothesis import strategies as st

from shared.receipts import given_at, hour_of, ledger_digest

receipts = st.lists(st.uuids(version=4).map(str), unique=True, max_size=30)


def test_a_receipt_tells_when_it_was_given() -> None:
    before = datetime.now(UTC)
    receipt = str(uuid_utils.uuid7())
    assert before - timedelta(milliseconds=1) <= given_at(receipt) <= datetime.now(UTC)
    assert hour_of("018bcfe5-6800-7000-8000-000000000000") == datetime(2023, 11, 14, 22, tzinfo=UTC)


@pytest.mark.parametrize("receipt", ["", "not a receipt", "018bcfe5-6800-4000-8000-000000000000"])
def test_what_is_no_uuid7_is_no_receipt(receipt: str) -> None:
    with pytest.raises(ValueError, match="UUID"):
        given_at(receipt)


@given(receipts)
def test_order_and_pruning_leave_the_digest_alone(ledger: list[str]) -> None:
    assert ledger_digest(ledger) == ledger_digest(sorted(ledger))
    half = len(ledger) // 2
    assert ledger_digest(ledger[half:], start=ledger_digest(ledger[:half])) == ledger_digest(ledger)


@given(receipts.filter(bool))
def test_one_receipt_more_less_or_twice_is_seen(ledger: list[str]) -> None:
    whole = ledger_digest(ledger)
    assert whole != ledger_digest(ledger[1:])
    assert whole != ledger_digest([*ledger, ledger[0]])
    assert whole != ledger_digest([*ledger[1:], "another"])


def test_the_digest_is_fixed_for_ever() -> None:
    assert ledger_digest([]) == "0" * 16
    assert ledger_digest(["a"]) == "ca978112ca1bbdca"
