"""How a service brings its database to the newest revision when it starts, one process at a time."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog
from alembic import command, context
from alembic.config import Config
from sqlalchemy import Engine, MetaData, text
from sqlalchemy.exc import OperationalError

from shared.engine import open_engine

log = structlog.get_logger(__name__)

MIGRATION_LOCK = 0x4875656C6C61
# Services and their database start together, and the server takes its time to make itself ready the first time.
START_S = 60.0


def migrate(url: str, migrations: Path) -> None:
    """Bring the database at `url` to the newest revision of the folder `migrations`, one process at a time.

    Waits up to START_S seconds for a server that does not answer yet. Raises OperationalError if it does not by then.
    """
    config = Config()
    config.set_main_option("script_location", str(migrations))
    config.set_main_option("path_separator", "os")
    engine = open_engine(url)
    try:
        _wait_for_answer(engine)
        with _migration_lock(engine), engine.connect() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    finally:
        engine.dispose()


def _wait_for_answer(engine: Engine) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            with engine.connect():
                return
        except OperationalError as error:
            if time.monotonic() > deadline:
                raise
            log.warning("the database does not answer yet", error=str(error.orig).partition("\n")[0][:300])
        time.sleep(1)


@contextmanager
def _migration_lock(engine: Engine) -> Iterator[None]:
    if engine.dialect.name == "sqlite":
        with Path(f"{engine.url.database}.migrating").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
        return
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:key)"), {"key": MIGRATION_LOCK})
        try:
            yield
        finally:
            connection.execute(text("SELECT pg_advisory_unlock(:key)"), {"key": MIGRATION_LOCK})


def run_migrations(metadata: MetaData) -> None:
    """The body of each service's `migrations/env.py`: run on the connection that `migrate` opened."""
    connection = context.config.attributes["connection"]
    context.configure(connection=connection, target_metadata=metadata, render_as_batch=True)
    with context.begin_transaction():
        context.run_migrations()
