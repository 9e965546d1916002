"""People, sessions, invitations and tries on both databases."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from services.dashboard import throttle as module
from services.dashboard.store import BadInvitation, LastAdministrator, NameTaken, Store
from services.dashboard.tables import tries
from services.dashboard.throttle import Throttle
from shared.database import Database, now
from shared.tokens import Role

IDLE, ABSOLUTE = timedelta(hours=12), timedelta(days=7)
HOUR = timedelta(hours=1)


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database, IDLE, ABSOLUTE)


def add(store: Store, name: str, role: Role) -> None:
    store.accept(store.invite(role, "tests", now() + HOUR), name, "hash", now())


def test_an_invitation_is_good_once_and_until_its_end(store: Store) -> None:
    first = store.invite(Role.ADMIN, None, now() + HOUR)
    assert store.accept(first, "Marta", "hash", now()).role is Role.ADMIN
    with pytest.raises(BadInvitation):
        store.accept(first, "Eve", "hash", now())
    late = store.invite(Role.VIEWER, "Marta", now() + HOUR)
    with pytest.raises(BadInvitation):
        store.accept(late, "Leo", "hash", now() + 2 * HOUR)
    taken = store.invite(Role.VIEWER, "Marta", now() + HOUR)
    with pytest.raises(NameTaken):
        store.accept(taken, "MARTA", "hash", now())
    assert store.accept(taken, "Leo", "hash", now()).role is Role.VIEWER
    assert [person.name for person in store.people()] == ["Leo", "Marta"]


def test_somebody_always_administers(store: Store) -> None:
    add(store, "Marta", Role.ADMIN)
    add(store, "Leo", Role.VIEWER)
    with pytest.raises(LastAdministrator):
        store.remove("marta")
    with pytest.raises(LastAdministrator):
        store.set_role("marta", Role.VIEWER)
    store.set_role("leo", Role.ADMIN)
    store.remove("marta")
    assert [person.role for person in store.people()] == [Role.ADMIN]


def test_sessions_end_with_the_password_and_everywhere(store: Store) -> None:
    add(store, "Marta", Role.ADMIN)
    secrets = [store.begin_session("marta", now())[0] for _ in range(3)]
    assert store.number_of_sessions("marta", now()) == 3
    session = store.session(secrets[0], now())
    assert session is not None
    store.end_session(session.digest)
    assert [store.session(secret, now()) is not None for secret in secrets] == [False, True, True]
    store.set_password("marta", "new hash")
    assert [store.session(secret, now()) for secret in secrets] == [None] * 3


def test_tries_are_counted_across_replicas_and_a_right_one_clears_the_name(database: Database) -> None:
    replicas, moment = [Throttle(database), Throttle(database)], now()
    waits = [replicas[number % 2].take("Marta", f"192.0.2.{number}", moment) for number in range(6)]
    assert waits == [0, 0, 0, 0, 0, 1]
    assert replicas[0].take(" marta ", "192.0.2.9", moment + timedelta(seconds=0.9)) > 0
    assert replicas[0].take("marta", "192.0.2.9", moment + timedelta(seconds=1)) == 0
    assert replicas[1].take("marta", "192.0.2.9", moment + timedelta(seconds=2)) == 1  # then two seconds
    replicas[1].right("Marta", "192.0.2.9")
    assert replicas[0].take("Marta", "192.0.2.9", moment + timedelta(seconds=2)) == 0


def test_many_names_from_one_address_are_slowed_down_and_forgotten_after_an_hour(database: Database) -> None:
    throttle, moment = Throttle(database), now()
    waits = [throttle.take(f"name {number}", "2001:db8::1", moment) for number in range(21)]
    assert waits == [0] * 20 + [1]
    assert throttle.take("another", "2001:db8::2", moment) == 1  # the same household
    assert throttle.take("another", "2001:db8::1", moment + HOUR + timedelta(seconds=1)) == 0


def test_sprayed_names_do_not_fill_the_database(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KEYS", 10)
    throttle, moment = Throttle(database), now()
    for number in range(30):
        throttle.take(f"name {number}", f"192.0.2.{number}", moment + timedelta(seconds=number))
    with database.read() as connection:
        assert len(connection.execute(sa.select(tries.c.key)).all()) <= 10
