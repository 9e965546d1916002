"""How a database is reached: SQLite or PostgreSQL by its URL, and what is asked of each connection."""

from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url

# A server whose machine or network is gone says no goodbye. Without these, libpq waits two hours for its answer, and
# with it whichever thread writes, and so all who write; so it is given up after about ten seconds.
CONNECTION = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}
# The same the other way round: a client that is gone says no goodbye either, and until the server notices, its rows
# stay locked for everyone else.
SERVER = {
    "tcp_keepalives_idle": 5,
    "tcp_keepalives_interval": 2,
    "tcp_keepalives_count": 3,
    "tcp_user_timeout": 10_000,
}


def _asked(url: URL) -> tuple[str, ...]:
    asked = url.query.get("options", ())
    return (asked,) if isinstance(asked, str) else asked


def open_engine(url: str) -> Engine:
    """Give the engine of the database at `url`; SQLite's folder is made. Connections are opened when first used."""
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite":
        # What the URL itself asks of the server comes last, and wins.
        options = " ".join([*(f"-c {name}={value}" for name, value in SERVER.items()), *_asked(parsed)])
        return create_engine(
            parsed.set(drivername="postgresql+psycopg"),
            pool_pre_ping=True,
            pool_size=8,
            max_overflow=8,
            connect_args=CONNECTION | {"options": options},
            hide_parameters=True,  # or each failing statement would put digests of secrets and people's notes in logs
        )
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(
        parsed,
        pool_size=8,
        max_overflow=8,
        connect_args={"check_same_thread": False, "timeout": 15},
        hide_parameters=True,  # as above
    )

    @event.listens_for(engine, "connect")
    def _open(connection: Any, _: object) -> None:
        # SQLAlchemy, not the driver, says when a transaction begins (see _begin).
        connection.isolation_level = None
        # secure_delete: some builds write zeros over what is removed, which costs as much as writing a photo does.
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "busy_timeout=15000",
            "secure_delete=FAST",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("huella_begin", "BEGIN"))

    return engine
