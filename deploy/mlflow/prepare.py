"""Before the server starts: its tables as this version wants them and, with a login, its settings and the loop's user.

The Secret says what the password is: a new one there holds from the next start on, also with a database that was kept.
"""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path

import sqlalchemy
from mlflow import db
from mlflow.store.db.utils import create_sqlalchemy_engine_with_retry

CONFIG = "MLFLOW_AUTH_CONFIG_PATH"
LOCK = 5000  # any number that nobody else takes in MLflow's database


def prepare(environ: Mapping[str, str]) -> None:
    """Safe to repeat, and to run in several replicas at once."""
    database = environ["MLFLOW_BACKEND_STORE_URI"]
    engine = create_sqlalchemy_engine_with_retry(database)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            # To the end of this transaction, one replica at a time: behind PgBouncer, too, where a session has no end.
            connection.execute(sqlalchemy.text(f"SELECT pg_advisory_xact_lock({LOCK})"))
        db.commands(["upgrade", database], standalone_mode=False)
        if path := environ.get(CONFIG):
            user = environ["MLFLOW_AUTH_ADMIN_USERNAME"]
            write(Path(path), settings(database, user))
            keep(database, user, environ["MLFLOW_AUTH_ADMIN_PASSWORD"])
    engine.dispose()


def settings(database: str, user: str) -> dict[str, str]:
    """The login's own, which MLflow reads from a file only."""
    return {
        "database_uri": database.replace("%", "%%"),  # the file is read with interpolation
        "admin_username": user,
        "default_permission": "READ",  # what users may who are added by hand
        # Comparing a password takes about 50 ms by design: a right one is cached for this long.
        "auth_cache_ttl_seconds": "60",
    }


def write(path: Path, section: Mapping[str, str]) -> None:
    """For this user's eyes only: the database's password is in it."""
    config = configparser.RawConfigParser()
    config["mlflow"] = section
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        config.write(file)


def keep(database: str, user: str, password: str) -> None:
    """The user exists, may do everything, and has this password."""
    # Reads the file that CONFIG names when it is imported.
    from mlflow.server.auth.sqlalchemy_store import SqlAlchemyStore

    store = SqlAlchemyStore()
    store.init_db(database)
    if not store.has_user(user):
        store.create_user(user, password, is_admin=True)
    elif not store.authenticate_user(user, password) or not store.get_user(user).is_admin:
        store.update_user(user, password=password, is_admin=True)


def missing(environ: Mapping[str, str]) -> list[str]:
    """The variables that are not set and must be."""
    login = ("MLFLOW_AUTH_ADMIN_USERNAME", "MLFLOW_AUTH_ADMIN_PASSWORD") if environ.get(CONFIG) else ()
    return [name for name in ("MLFLOW_BACKEND_STORE_URI", *login) if not environ.get(name)]


if __name__ == "__main__":
    if names := missing(os.environ):
        sys.exit(f"prepare: {', '.join(names)} not set: make secrets (with a login: MLFLOW_LOGIN=1 make secrets)")
    prepare(os.environ)
