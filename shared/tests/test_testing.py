"""The fixtures that all tests stand on do what they say."""

from pathlib import Path

import psycopg
import pytest
from redis import AuthenticationError, Redis
from sqlalchemy import make_url

from shared.broker import create_redis
from shared.database import Database
from shared.testing import TokenFor, wait_until
from shared.tokens import Keyring, Role


def test_each_database_is_fresh_and_answers(database_url: str) -> None:
    database = Database(database_url)
    database.check()
    database.write(lambda connection: connection.exec_driver_sql("CREATE TABLE only_here (n INTEGER)"))
    database.close()


def test_the_databases_are_passworded(postgresql_server: str) -> None:
    url = make_url(postgresql_server).set(password="guess")
    with pytest.raises(psycopg.OperationalError, match="password"):
        psycopg.connect(url.render_as_string(hide_password=False))


def test_redis_is_empty_real_and_passworded(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        assert "redis_version" in client.info()
        client.set("a", "b")
    stranger = create_redis(redis_url.replace(make_url(redis_url).password or "", "guess"))
    with stranger, pytest.raises(AuthenticationError):
        stranger.ping()


def test_tokens_are_believed(keys: Path, token_for: TokenFor) -> None:
    keyring = Keyring(keys)
    assert keyring.identify(token_for("operator"), "aggregation").may(Role.VIEWER)
    token = token_for(Role.SERVICE, audience="camera_ingest")
    assert keyring.identify(token, "camera_ingest").issuer == "aggregation"
    with pytest.raises(ValueError, match="audience"):
        token_for("service")


def test_waiting_ends_with_what_was_awaited() -> None:
    with pytest.raises(TimeoutError, match="the moon"):
        wait_until("the moon", lambda: False, within_s=0.01)
