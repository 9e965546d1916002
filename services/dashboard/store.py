"""The dashboard's database: people, sessions and invitations. Callers hold secrets; the database holds digests."""

import hashlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from services.dashboard.domain import name_key
from services.dashboard.tables import invitations, people, sessions
from shared.database import Database
from shared.tokens import Role

SEEN_EVERY = timedelta(minutes=1)


class NameTaken(Exception):
    """Somebody has that name already."""


class LastAdministrator(Exception):
    """The change would leave nobody who can administer."""


class BadInvitation(Exception):
    """The invitation is unknown, used, or has ended."""


@dataclass(frozen=True)
class Person:
    """Somebody who can log in."""

    key: str
    name: str
    role: Role
    created_at: datetime
    seen_at: datetime | None


@dataclass(frozen=True)
class Session:
    """A log-in: who, and the token that each of its forms must carry."""

    digest: str
    person: Person
    csrf: str
    began_at: datetime


@dataclass(frozen=True)
class Invitation:
    """A link that was given to somebody who has no log-in yet."""

    digest: str
    role: Role
    invited_by: str | None
    until: datetime


def digest(secret: str) -> str:
    """Return the SHA-256 under which a random secret of 256 bits is kept."""
    return hashlib.sha256(secret.encode()).hexdigest()


class Store:
    """All that the dashboard keeps; every method is one transaction and is called from a thread."""

    def __init__(self, database: Database, idle: timedelta, absolute: timedelta) -> None:
        self.database = database
        self.idle = idle
        self.absolute = absolute

    def has_people(self) -> bool:
        """Return whether anybody can log in yet."""
        with self.database.read() as connection:
            return connection.execute(sa.select(people.c.key).limit(1)).first() is not None

    def people(self) -> list[Person]:
        """Return everybody, by name."""
        with self.database.read() as connection:
            rows = connection.execute(sa.select(people).order_by(people.c.key)).all()
        return [_person(row) for row in rows]

    def password_of(self, name: str) -> tuple[Person, str] | None:
        """Return the person of that name and the hash of their password, or None."""
        with self.database.read() as connection:
            row = connection.execute(sa.select(people).where(people.c.key == name_key(name))).first()
        return None if row is None else (_person(row), row.password)

    def set_password(self, person: str, password: str) -> None:
        """Keep a new password hash and end every session of the person."""

        def change(connection: sa.Connection) -> None:
            connection.execute(sa.update(people).where(people.c.key == person).values(password=password))
            connection.execute(sa.delete(sessions).where(sessions.c.person == person))

        self.database.write(change)

    def rehash(self, person: str, old: str, new: str) -> None:
        """Replace a hash by one of the same password with today's cost, unless the password was changed meanwhile."""
        change = sa.update(people).where(people.c.key == person, people.c.password == old).values(password=new)
        self.database.write(lambda connection: connection.execute(change))

    def set_role(self, person: str, role: Role) -> None:
        """Give the person another role, from their next request on. Raises LastAdministrator."""

        def change(connection: sa.Connection) -> None:
            connection.execute(sa.update(people).where(people.c.key == person).values(role=role.value))
            _require_administrator(connection)

        self.database.write(change)

    def remove(self, person: str) -> None:
        """Remove the person and end their sessions. Raises LastAdministrator."""

        def change(connection: sa.Connection) -> None:
            connection.execute(sa.delete(sessions).where(sessions.c.person == person))
            connection.execute(sa.delete(people).where(people.c.key == person))
            _require_administrator(connection)

        self.database.write(change)

    def begin_session(self, person: str, now: datetime) -> tuple[str, Session]:
        """Begin a log-in; return its secret, which only the browser keeps, and the session."""
        secret, csrf = secrets.token_urlsafe(32), secrets.token_urlsafe(32)
        row = {"digest": digest(secret), "person": person, "csrf": csrf, "began_at": now, "used_at": now}

        def change(connection: sa.Connection) -> None:
            ended = sa.or_(sessions.c.used_at < now - self.idle, sessions.c.began_at < now - self.absolute)
            connection.execute(sa.delete(sessions).where(ended))
            connection.execute(sa.insert(sessions).values(row))
            connection.execute(sa.update(people).where(people.c.key == person).values(seen_at=now))

        self.database.write(change)
        session = self.session(secret, now)
        if session is None:
            raise LookupError("the person was removed while logging in")
        return secret, session

    def session(self, secret: str, now: datetime, used: bool = True) -> Session | None:
        """Return the session of that secret if it has not ended, and, if `used`, note so once a minute."""
        key = digest(secret)
        joined = sa.select(sessions, people).join(people, people.c.key == sessions.c.person)
        with self.database.read() as connection:
            row = connection.execute(joined.where(sessions.c.digest == key)).first()
        if row is None or now - row.used_at > self.idle or now - row.began_at > self.absolute:
            return None
        if used and now - row.used_at > SEEN_EVERY:
            note = sa.update(sessions).where(sessions.c.digest == key).values(used_at=now)
            self.database.submit(lambda connection: connection.execute(note))
        return Session(row.digest, _person(row), row.csrf, row.began_at)

    def number_of_sessions(self, person: str, now: datetime) -> int:
        """Return how many log-ins of the person have not ended."""
        count = sa.select(sa.func.count()).where(
            sessions.c.person == person,
            sessions.c.used_at >= now - self.idle,
            sessions.c.began_at >= now - self.absolute,
        )
        with self.database.read() as connection:
            return int(connection.execute(count).scalar_one())

    def end_session(self, key: str) -> None:
        """End one log-in, named by its digest."""
        self.database.write(lambda connection: connection.execute(sa.delete(sessions).where(sessions.c.digest == key)))

    def end_sessions(self, person: str) -> None:
        """End every log-in of the person."""
        ended = sa.delete(sessions).where(sessions.c.person == person)
        self.database.write(lambda connection: connection.execute(ended))

    def invite(self, role: Role, invited_by: str | None, until: datetime) -> str:
        """Make an invitation and return its secret, for a link that is good once."""
        secret = secrets.token_urlsafe(32)
        row = {"digest": digest(secret), "role": role.value, "invited_by": invited_by, "until": until}
        self.database.write(lambda connection: connection.execute(sa.insert(invitations).values(row)))
        return secret

    def invitation(self, secret: str, now: datetime) -> Invitation:
        """Return the invitation of that secret. Raises BadInvitation."""
        with self.database.read() as connection:
            return _good_invitation(connection, digest(secret), now)

    def invitations(self, now: datetime) -> list[Invitation]:
        """Return the invitations that can still be taken, except the first link."""
        query = sa.select(invitations).where(invitations.c.until > now, invitations.c.invited_by.is_not(None))
        with self.database.read() as connection:
            return [_invitation(row) for row in connection.execute(query.order_by(invitations.c.until)).all()]

    def withdraw(self, key: str) -> None:
        """Withdraw an invitation, named by its digest."""
        gone = sa.delete(invitations).where(invitations.c.digest == key)
        self.database.write(lambda connection: connection.execute(gone))

    def accept(self, secret: str, name: str, password: str, now: datetime) -> Person:
        """Make the invited person, with a password hash, and use the invitation up.

        Raises BadInvitation, or NameTaken (then the invitation stays good).
        """
        key = name_key(name)

        def change(connection: sa.Connection) -> Person:
            invitation = _good_invitation(connection, digest(secret), now)
            # Two browsers may hold the same link: only the one whose delete finds the row goes on.
            if (
                connection.execute(sa.delete(invitations).where(invitations.c.digest == invitation.digest)).rowcount
                != 1
            ):
                raise BadInvitation
            if connection.execute(sa.select(people.c.key).where(people.c.key == key)).first() is not None:
                raise NameTaken
            row = {"key": key, "name": name, "password": password, "role": invitation.role.value, "created_at": now}
            connection.execute(sa.insert(people).values(row))
            connection.execute(sa.delete(invitations).where(invitations.c.until <= now))
            return Person(key, name, invitation.role, now, None)

        return self.database.write(change)


def _good_invitation(connection: sa.Connection, key: str, now: datetime) -> Invitation:
    row = connection.execute(sa.select(invitations).where(invitations.c.digest == key)).first()
    if row is None or row.until <= now:
        raise BadInvitation
    # A first link is void as soon as somebody exists: restarts may have made several.
    if row.invited_by is None and connection.execute(sa.select(people.c.key).limit(1)).first() is not None:
        raise BadInvitation
    return _invitation(row)


def _require_administrator(connection: sa.Connection) -> None:
    if connection.execute(sa.select(people.c.key).where(people.c.role == Role.ADMIN.value).limit(1)).first() is None:
        raise LastAdministrator


def _person(row: sa.Row[tuple[object, ...]]) -> Person:
    return Person(row.key, row.name, Role(row.role), row.created_at, row.seen_at)


def _invitation(row: sa.Row[tuple[object, ...]]) -> Invitation:
    return Invitation(row.digest, Role(row.role), row.invited_by, row.until)
